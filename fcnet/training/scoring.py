"""What a net predicts and how good that is: outputs to probabilities or numbers, loss and metrics of a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fcnet.backends.base import Array, Backend, Eager, Tape
from fcnet.data.source import fill_targets, one_hot
from fcnet.data.target import Target
from fcnet.formulas import Formula, Sym
from fcnet.metrics import Metric, score
from fcnet.nn.losses import Loss, value
from fcnet.training.program import Forward


def predictions(backend: Backend, loss: Loss, target: Target, a: Array) -> Array:
    """What metrics and users see, float64, of the outputs a (n, n_out), whose memory is used up.

    Probabilities (n, K) of classes, two of them for a single sigmoid output, (n, L) of labels; numbers (n, n_out) in
    the target's own units.
    """
    z = loss.link.f(Sym("a"))
    if z is not Sym("a"):
        Eager(backend).apply(Formula({"z": z}), {"a": a}, {"z": a})
    p = a.astype(np.float64)
    if target.task == "regression":
        return np.asarray(target.decode(p))
    if target.classes is not None and p.shape[-1] == 1:
        return np.concatenate([1.0 - p, p], axis=-1)
    return p


def truths(target: Target, y: Array) -> Array:
    """Targets as metrics want them: class indices (n,), labels (n, L), or numbers (n, n_out) in their own units."""
    return np.asarray(target.decode(y)) if target.task == "regression" else y


class Scorer:
    """Loss and metrics of any rows of a data set under the parameters that `forward` reads.

    x, y, w are a whole data set's, as `fcnet.data` gives them; `guess` is what one would predict from the training
    targets alone. `poll` is called between batches and may raise, to stop.
    """

    def __init__(
        self,
        backend: Backend,
        forward: Forward,
        loss: Loss,
        target: Target,
        metrics: Sequence[Metric],
        guess: Array,
        data: tuple[Array, Array, Array | None],
        poll: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend, self.forward, self.loss, self.target = backend, forward, loss, target
        self.metrics, self.guess, self.poll = metrics, guess, poll
        self.x, self.y, self.w = data
        n_out, dtype = forward.network.n_out, forward.θ.dtype
        self.one_hot = one_hot(loss, target, dtype)
        self._a, self._y = (np.zeros((forward.rows, n_out), dtype) for _ in range(2))
        self._ℓ = np.zeros((forward.rows, 1), dtype)
        self._tape = Tape(backend)
        value(self._tape, loss, self._a, self._y, self._ℓ)

    def __call__(self, rows: Array) -> tuple[float, dict[str, Any]]:
        """(Σ w ℓ / Σ w, {metric: {"value", "trivial"}}) over the given rows."""
        a = np.empty((len(rows), self._a.shape[1]), self._a.dtype)
        w = None if self.w is None else self.w[rows]
        ℓ = np.empty(len(rows))
        with np.errstate(all="ignore"):  # what overflows is not finite in the scores, which says it
            for start in range(0, len(rows), len(self._a)):
                self.poll()
                part = rows[start : start + len(self._a)]
                n = len(part)
                a[start : start + n] = self._a[:n] = self.forward(self.x, part)
                fill_targets(self.y, self.one_hot, part, self._y[:n])
                self._tape.run()
                ℓ[start : start + n] = self._ℓ[:n, 0]
        loss = float(np.average(ℓ, weights=w)) if w is None or w.sum() > 0 else float("nan")
        p = predictions(self.backend, self.loss, self.target, a)
        y = truths(self.target, self.y[rows])
        return loss, score(self.metrics, y, p, w, self.guess)


def summary(loss: float, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """One part of metrics.json."""
    return {"loss": loss, **metrics}
