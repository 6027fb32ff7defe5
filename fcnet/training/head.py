"""What stands behind the last layer: how wide it is, what is learnt of y, and what a prediction is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnet.backends.base import Backend, Eager
from fcnet.backends.ops import Apply, Array, Ref, Tape, like
from fcnet.data.target import Numbers, Target
from fcnet.formulas import Expr, Formula, Sym
from fcnet.formulas.transform import evaluate
from fcnet.nn.losses import Loss
from fcnet.records import dataclass


@dataclass(frozen=True)
class Head:
    """A loss, bound to the target that it learns; outputs are divided by the `temperature`."""

    loss: Loss
    target: Target
    temperature: float = 1.0

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

    @property
    def linked(self) -> int:
        """The columns of what `link` makes."""
        return 2 * self.n_out if self._halved else self.n_out

    @property
    def _halved(self) -> bool:
        """Whether one sigmoid output stands for two classes."""
        return self.target.shares and self.columns < self.target.width

    def link(self, k: Tape, a: Ref, p: Ref) -> None:
        """Record p (n, linked), what the loss makes of the outputs a (n, n_out): probabilities, or numbers as they are
        learnt. p may be a where it is as wide.
        """
        if self._halved:  # 1 − σ(a) is σ(−a), where the difference would leave nothing
            k.add(Apply(Formula({"p": -Sym("a")}), {"a": a}, {"p": p[..., : self.n_out]}))
            k.add(Apply(Formula({"p": Sym("a")}), {"a": a}, {"p": p[..., self.n_out :]}))
            a = p
        parts, linked = (
            self.loss.split(a),
            Formula(dict(zip(self.loss.parts, self.loss.link(self.loss.symbols), strict=True))),
        )
        k.add(Apply(linked, parts, self.loss.split(p)))

    def tempered(self, a: Array) -> Array:
        """The outputs a (n, n_out), surer or less sure: a / temperature."""
        return a if self.temperature == 1 else np.asarray(a / np.asarray(self.temperature, a.dtype))

    def predictions(self, backend: Backend, a: Array) -> Array:
        """What metrics and users see, float64, of the outputs a (n, n_out), whose memory is used up."""
        a = self.tempered(a)
        p = np.empty((len(a), self.linked), a.dtype) if self._halved else a
        if not self.loss.on_values:
            self.link(Eager(backend, {"a": a, "p": p}), like("a", a), like("p" if self._halved else "a", p))
        return self.told(p.astype(np.float64))

    def mixed(self, a: Array, weights: Sequence[float]) -> Array:
        """What one net would have to say, (n, n_out), to predict the weighted mean of what several nets predict.

        a (M, n, n_out), M weights that sum to 1. Probabilities are averaged, or numbers as `told` keeps them, and
        never a itself; in float64, one net after another.
        """
        return self.said(self.summed(a, weights, self)).astype(a.dtype)

    def summed(self, a: Array, weights: Sequence[float], into: Head) -> Array:
        """Σ weight · what is averaged of outputs a (M, n, n_out), as `into` wants it, which learns the same."""
        p = self.averaged(a, into)
        total = np.zeros(p.shape[1:])
        for weight, each in zip(weights, p, strict=True):
            total += weight * each
        return total

    def averaged(self, a: Array, into: Head | None = None) -> Array:
        """What is averaged of outputs a (…, n, n_out) of several nets: (…, n, parts of it, columns) in float64.

        `into`: of which target numbers are standardised ones; by default this one's.
        """
        loss, parts = self.loss, len(self.loss.parts)
        apart = a.astype(np.float64).reshape(*a.shape[:-1], parts, -1)
        values = {part: np.ascontiguousarray(apart[..., i, :]) for i, part in enumerate(loss.parts)}
        p = [np.asarray(evaluate(each, values)) for each in loss.averaged(loss.symbols)]
        if isinstance(self.target, Numbers):
            target, given = self.target, (self if into is None else into).target
            kept = [(x if said.spread else target.within(x), said) for x, said in zip(p, loss.said, strict=False)]
            p = [target.moved(x, given, spread=said.spread) for x, said in kept]
        return np.stack(p, axis=-2)

    def said(self, p: Array) -> Array:
        """The outputs (n, n_out) in float64 of which p (n, …) is what is averaged."""
        mean = {f"p{i}": np.ascontiguousarray(p[:, i]) for i in range(p.shape[1])}
        return np.concatenate([evaluate(x, mean) for x in self.loss.unlink(tuple(map(Sym, mean)))], axis=-1)

    def told(self, p: Array) -> Array:
        """What metrics and users see, of what `link` has made, float64.

        Probabilities (n, K) of classes, two of them for a single sigmoid output, (n, L) of labels; numbers in the
        target's own units, (n, n_targets) for each that the loss says, side by side.
        """
        if not isinstance(self.target, Numbers):
            return p
        parts = dict(zip(self.loss.parts, np.split(p, len(self.loss.parts), axis=1), strict=True))
        values = {**parts, **self.target.scales}
        return np.hstack([np.asarray(evaluate(each, values)) for each in self.saying(self.target)])

    def saying(self, target: Numbers) -> list[Expr]:
        """What is said of each number, in the target's units, of the parts of p and of `scales`."""
        said = self.loss.say(self.loss.symbols)
        return [target.decoded(p, spread=each.spread) for p, each in zip(said, self.loss.said, strict=True)]

    def strangeness(self, p: Array, truths: Array) -> Array:
        """How far off predictions p are, (n, targets), as `Target.strangeness` says it of what the loss says is likely.

        `truths` as `Target.truths` has them.
        """
        return self.target.strangeness(self._likely(p), truths)

    def covering(self, p: Array, limits: Array) -> list[tuple[Any, int | None]]:
        """The columns of what is no further off than the limits (targets,), each with its number as in `filled`."""
        return self.target.covering(self._likely(p), limits)

    def _likely(self, p: Array) -> Array:
        """Probabilities as they are; of numbers (3, n, n_targets): from where to where, and in which unit."""
        if self.target.shares:
            return p
        said = p.reshape(len(p), len(self.loss.said), -1).swapaxes(0, 1)
        low, high, unit = self.loss.band
        return np.stack([said[low], said[high], np.ones_like(said[0]) if unit is None else said[unit]])
