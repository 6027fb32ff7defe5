"""What stands behind the last layer: how wide it is, what is learnt of y, and what a prediction is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnet.backends.base import Backend, Eager
from fcnet.backends.ops import Apply, Array, like
from fcnet.data.target import Numbers, Target
from fcnet.formulas import Formula
from fcnet.nn.losses import Loss


@dataclass(frozen=True)
class Head:
    """A loss, bound to the target that it learns."""

    loss: Loss
    target: Target

    @property
    def columns(self) -> int:
        """The columns of y."""
        return self.target.columns(self.loss.learns)

    @property
    def n_out(self) -> int:
        """The units of the output layer: those columns for each part of what the loss wants to be told of them."""
        return self.columns * len(self.loss.parts)

    @property
    def width(self) -> int:
        """The numbers that are predicted of a row."""
        return self.target.width * len(self.loss.said)

    def one_hot(self, dtype: Any) -> Array | None:
        """The (K, K) table of one-hot rows, where the loss wants one column a class; None where y is numbers."""
        return np.eye(self.columns, dtype=dtype) if self.loss.learns == "one_hot" else None

    def predictions(self, backend: Backend, a: Array) -> Array:
        """What metrics and users see, float64, of the outputs a (n, n_out), whose memory is used up.

        Probabilities (n, K) of classes, two of them for a single sigmoid output, (n, L) of labels; numbers in the
        target's own units, (n, n_targets) for each that the loss says, side by side.
        """
        loss, target = self.loss, self.target
        if target.shares and self.columns < target.width:
            a = np.concatenate([-a, a], axis=-1)  # 1 − σ(a) is σ(−a), where the difference would leave nothing
        if not loss.on_values:
            parts, k = loss.split(like("a", a)), Eager(backend, {"a": a})
            k.add(Apply(Formula(dict(zip(parts, loss.link(loss.symbols), strict=True))), parts, parts))
        p = a.astype(np.float64)
        if not isinstance(target, Numbers):
            return p
        said = loss.say(p.reshape(len(p), len(loss.parts), target.width))
        return np.hstack([target.decode(said[:, i], spread=each.spread) for i, each in enumerate(loss.said)])
