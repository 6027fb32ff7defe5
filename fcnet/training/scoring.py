"""What a net predicts and how good that is: outputs to probabilities or numbers, loss and metrics of a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fcnet.backends.base import Backend, Eager, joined
from fcnet.backends.ops import Apply, Array, Tape, like
from fcnet.data import Dataset
from fcnet.data.source import fill_targets, one_hot
from fcnet.data.target import Target
from fcnet.formulas import Formula, Sym
from fcnet.metrics import CELLS, Decided, Metric, score
from fcnet.nn.losses import Loss, in_nats, value
from fcnet.nn.rows import Rows
from fcnet.training.program import Forward


def predictions(backend: Backend, loss: Loss, target: Target, a: Array) -> Array:
    """What metrics and users see, float64, of the outputs a (n, n_out), whose memory is used up.

    Probabilities (n, K) of classes, two of them for a single sigmoid output, (n, L) of labels; numbers (n, n_out) in
    the target's own units.
    """
    if target.classes is not None and a.shape[-1] == 1:
        a = np.concatenate([-a, a], axis=-1)  # 1 − σ(a) is σ(−a), where the difference would leave nothing
    z = loss.link.f(Sym("a"))
    if z is not Sym("a"):
        k = Eager(backend, {"a": a})
        k.add(Apply(Formula({"z": z}), {"a": like("a", a)}, {"z": like("a", a)}))
    p = a.astype(np.float64)
    if target.task == "regression":
        return np.asarray(target.decode(p))
    return p


def truths(target: Target, y: Array) -> Array:
    """Targets as metrics want them: class indices (n,), labels (n, L), or numbers (n, n_out) in their own units."""
    return np.asarray(target.decode(y)) if target.task == "regression" else y


class Scorer:
    """Loss and metrics of any rows of a data set under the parameters that `forward` reads.

    Inputs, y, w are a whole data set's, as `fcnet.data` gives them; w weighs the loss, and `row_weights` the metrics.
    `guess` is what one would predict from the training targets alone. `poll` is called between batches and may raise,
    to stop.
    """

    def __init__(
        self,
        backend: Backend,
        forward: Forward,
        loss: Loss,
        target: Target,
        metrics: Sequence[Metric],
        guess: Array,
        data: tuple[Rows, Array, Array | None],
        row_weights: Array | None = None,
        poll: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend, self.forward, self.loss, self.target = backend, forward, loss, target
        self.metrics, self.guess, self.poll = metrics, guess, poll
        self.inputs, self.y, self.w = data
        self.row_weights = row_weights
        n_out, dtype = forward.network.n_out, forward.θ.dtype
        self.one_hot = one_hot(loss, target, dtype)
        self._a, self._y = (np.zeros((forward.rows, n_out), dtype) for _ in range(2))
        self._ℓ = np.zeros((forward.rows, 1), dtype)
        # What a row costs in nats is its ℓ, but for what the loss adds to it.
        plain = in_nats(loss)
        self._nats = None if plain is None else self._ℓ if plain == loss else np.zeros_like(self._ℓ)
        tape, arrays = Tape(), {"a": self._a, "y": self._y, "ℓ": self._ℓ}
        a, y, ℓ = (like(name, array) for name, array in arrays.items())
        value(tape, loss, a, y, ℓ)
        if plain is not None and self._nats is not None and plain != loss:
            arrays["nats"] = self._nats
            value(tape, plain, a, y, like("nats", self._nats))
        self._step = backend.compile(tape.ops, arrays)

    def __call__(self, rows: Array) -> tuple[float, dict[str, Any]]:
        """(Σ w ℓ / Σ w, {metric: {"value", "trivial"}}) over the given rows."""
        w, row_weights = (None if each is None else each[rows] for each in (self.w, self.row_weights))
        ℓ = np.empty(len(rows))
        nats = None if self._nats is None else np.empty(len(rows))
        n_out = max(self._a.shape[1], len(self.target.classes or ()))
        size = max(CELLS // n_out // len(self._a), 1) * len(self._a)
        few = len(rows) <= size or self.target.classes is None
        decided = not few and all(m.by_decision or (m.in_nats and nats is not None) for m in self.metrics)
        found: list[Array] = []
        for at in range(0, max(len(rows), 1), size):
            part = slice(at, at + size)
            p = self._predict(rows[part], ℓ[part], None if nats is None else nats[part])
            finite = np.isfinite(p).all(axis=1, keepdims=True) if decided else None
            found.append(p if finite is None else np.where(finite, p.argmax(axis=1, keepdims=True), -1))
        p = found[0] if len(found) == 1 else joined(found)
        loss = float(np.average(ℓ, weights=w)) if w is None or w.sum() > 0 else float("nan")
        y = truths(self.target, self.y[rows])
        predicted = Decided(p[:, 0], (len(p), n_out), bool((p >= 0).all())) if decided else p
        return loss, score(self.metrics, y, predicted, row_weights, self.guess, nats)

    def _predict(self, rows: Array, ℓ: Array, nats: Array | None) -> Array:
        """The predictions of some rows; what they cost goes into ℓ and nats."""
        a = np.empty((len(rows), self._a.shape[1]), self._a.dtype)
        with np.errstate(all="ignore"):  # what overflows is not finite in the scores, which says it
            for start in range(0, len(rows), len(self._a)):
                self.poll()
                part = rows[start : start + len(self._a)]
                n = len(part)
                a[start : start + n] = self._a[:n] = self.forward(self.inputs, part)
                fill_targets(self.y, self.one_hot, part, self._y[:n])
                self._step.run()
                ℓ[start : start + n] = self._ℓ[:n, 0]
                if nats is not None and self._nats is not None:
                    nats[start : start + n] = self._nats[:n, 0]
        return predictions(self.backend, self.loss, self.target, a)

    def flat(self, rows: Array) -> bool:
        """Whether the net's outputs are one and the same for rows whose inputs differ; the first rows are looked at."""
        part = rows[: len(self._a)]
        with np.errstate(all="ignore"):
            a = self.forward(self.inputs, part)
            spread = a.max(axis=0) - a.min(axis=0)
            same = bool((spread <= 4 * np.finfo(a.dtype).eps * np.abs(a).max(axis=0)).all())
        return same and any(bool((array[part] != array[part[0]]).any()) for array in self.inputs.arrays.values())


def weighted_by(data: Dataset) -> dict[str, str]:
    """What metrics.json and `eval` say of rows that count by a column of weights; nothing where all count alike."""
    return {} if data.row_weights is None or data.resolved.weight is None else {"weighted_by": data.resolved.weight}


def summary(loss: float, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """One part of metrics.json."""
    return {"loss": loss, **metrics}
