"""How good a net is: loss and metrics of any rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fcnet.backends.base import Backend, joined
from fcnet.backends.ops import Array, Tape, like
from fcnet.data import Dataset
from fcnet.data.source import fill_targets
from fcnet.metrics import CELLS, Decided, Metric, score
from fcnet.nn.losses import value
from fcnet.nn.rows import Rows
from fcnet.records import dataclass
from fcnet.training.head import Head

HELD = 4096
"""Rows that are scored at a time where it was computed before what a net says of them."""


class Outputs(Protocol):
    """What a net says of rows, of which so many, `rows`, are computed at a time."""

    n_out: int
    dtype: Any
    rows: int

    def __call__(self, inputs: Rows, rows: Array | None = None) -> Array:
        """(n, n_out) for those of the inputs that `rows` names, all of them by default."""
        ...


@dataclass(frozen=True)
class Voices:
    """Nets over the same inputs, each with its weight, and the head that they learnt with; `share`: which of the inputs
    these are, None for all."""

    forward: Outputs
    head: Head
    weights: tuple[float, ...]
    share: Mapping[str, slice] | None = None

    def summed(self, inputs: Rows, rows: Array | None, into: Head) -> Array:
        """As `Head.summed`."""
        if self.share is not None:
            inputs = Rows(*(array[:, self.share[name]] for name, array in inputs.arrays.items()))
        a = self.forward(inputs, rows)
        return self.head.summed(a.reshape(len(self.weights), *a.shape[-2:]), self.weights, into)


class Mixed:
    """What one net with this head would say that predicts the weighted mean of what all these nets predict."""

    def __init__(self, voices: Sequence[Voices], head: Head) -> None:
        self.voices, self.head, forward = tuple(voices), head, voices[0].forward
        self.n_out, self.dtype, self.rows = forward.n_out, forward.dtype, forward.rows

    def __call__(self, inputs: Rows, rows: Array | None = None) -> Array:
        """(n, n_out)."""
        first, *others = (each.summed(inputs, rows, self.head) for each in self.voices if any(each.weights))
        return self.head.said(sum(others, first)).astype(self.dtype)


class Held:
    """What was said of some rows before, `a` (n, n_out) for these `rows` (n,) of `total`."""

    def __init__(self, a: Array, rows: Array, total: int) -> None:
        self.a, self.rows = a, min(len(rows), HELD)
        self.n_out, self.dtype = a.shape[-1], a.dtype
        self._place = np.zeros(total, np.int64)
        self._place[rows] = np.arange(len(rows))

    def __call__(self, inputs: Rows, rows: Array | None = None) -> Array:
        """(n, n_out)."""
        return self.a if rows is None else self.a[self._place[rows]]


class Remembered:
    """What `outputs` say, asked once for each row of so many in `total`; each time where that is too much to keep."""

    def __init__(self, outputs: Outputs, total: int) -> None:
        self.outputs, self.n_out, self.dtype, self.rows = outputs, outputs.n_out, outputs.dtype, outputs.rows
        kept = total if total * self.n_out <= CELLS else 0
        self._a, self._known = np.empty((kept, self.n_out), self.dtype), np.zeros(kept, bool)

    def __call__(self, inputs: Rows, rows: Array | None = None) -> Array:
        """(n, n_out)."""
        if rows is None or not len(self._known):
            return self.outputs(inputs, rows)
        if not self._known[rows].all():
            self._a[rows] = self.outputs(inputs, rows)
            self._known[rows] = True
        return self._a[rows]


class Scorer:
    """Loss and metrics of any rows of a data set by what `forward` says of them.

    Inputs, y, w are a whole data set's, as `fcnet.data` gives them; w weighs the loss, and `row_weights` the metrics.
    `guess` is what one would predict from the training targets alone. `poll` is called between batches and may raise,
    to stop.
    """

    def __init__(
        self,
        backend: Backend,
        forward: Outputs,
        head: Head,
        metrics: Sequence[Metric],
        guess: Array,
        data: tuple[Rows, Array, Array | None],
        row_weights: Array | None = None,
        poll: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend, self.forward, self.head = backend, forward, head
        self.metrics, self.guess, self.poll = metrics, guess, poll
        self.inputs, self.y, self.w = data
        self.row_weights = row_weights
        n_out, dtype = forward.n_out, forward.dtype
        self.one_hot = head.one_hot(dtype)
        self._a, self._y = (np.zeros((forward.rows, n), dtype) for n in (n_out, head.columns))
        self._ℓ = np.zeros((forward.rows, 1), dtype)
        # What a row costs in nats is its ℓ, but for what the loss adds to it.
        loss, plain = head.loss, head.loss.nats
        self._nats = None if plain is None else self._ℓ if plain == loss else np.zeros_like(self._ℓ)
        tape, arrays = Tape(), {"a": self._a, "y": self._y, "ℓ": self._ℓ}
        a, y, ℓ = (like(name, array) for name, array in arrays.items())
        value(tape, loss, a, y, ℓ)
        if plain is not None and self._nats is not None and plain != loss:
            arrays["nats"] = self._nats
            value(tape, plain, a, y, like("nats", self._nats))
        self._p = self._a
        if not loss.on_values:
            arrays["p"] = self._p = np.zeros((forward.rows, head.linked), dtype)
            head.link(tape, a, like("p", self._p))
        self._step = backend.compile(tape.ops, arrays)

    def __call__(self, rows: Array, *, intervals: bool = False) -> tuple[float, dict[str, Any]]:
        """(Σ w ℓ / Σ w, {metric: {"value", "trivial"}}) over the given rows; see `score` for `intervals`."""
        w, row_weights = (None if each is None else each[rows] for each in (self.w, self.row_weights))
        ℓ = np.empty(len(rows))
        nats = None if self._nats is None else np.empty(len(rows))
        target, n_out = self.head.target, max(self._a.shape[1], self.head.width)
        size = max(CELLS // n_out // len(self._a), 1) * len(self._a)
        few = len(rows) <= size or target.classes is None
        decided = not few and all(m.by_decision or (m.in_nats and nats is not None) for m in self.metrics)
        found: list[Array] = []
        for at in range(0, max(len(rows), 1), size):
            part = slice(at, at + size)
            p = self._predict(rows[part], ℓ[part], None if nats is None else nats[part])
            finite = np.isfinite(p).all(axis=1, keepdims=True) if decided else None
            found.append(target.point(p) if finite is None else np.where(finite, target.decided(p)[:, None], -1))
        p = found[0] if len(found) == 1 else joined(found)
        loss = float(np.average(ℓ, weights=w)) if w is None or w.sum() > 0 else float("nan")
        y = target.truths(self.y[rows])
        predicted = Decided(p[:, 0], (len(p), n_out), bool((p >= 0).all())) if decided else p
        moved = target.threshold != 0.5 and not decided
        chosen = Decided(target.decided(p), p.shape, bool(np.isfinite(p).all())) if moved else None
        return loss, score(self.metrics, y, predicted, row_weights, self.guess, nats, chosen, intervals=intervals)

    def _predict(self, rows: Array, ℓ: Array, nats: Array | None) -> Array:
        """The predictions of some rows; what they cost goes into ℓ and nats."""
        p = np.empty((len(rows), self._p.shape[1]))
        with np.errstate(all="ignore"):  # what overflows is not finite in the scores, which says it
            for start in range(0, len(rows), len(self._a)):
                self.poll()
                part = rows[start : start + len(self._a)]
                n = len(part)
                self._a[:n] = self.head.tempered(self.forward(self.inputs, part))
                fill_targets(self.y, self.one_hot, part, self._y[:n])
                self._step.run()
                p[start : start + n] = self._p[:n]
                ℓ[start : start + n] = self._ℓ[:n, 0]
                if nats is not None and self._nats is not None:
                    nats[start : start + n] = self._nats[:n, 0]
        return self.head.told(p)

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
