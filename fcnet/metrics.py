"""What a prediction is worth: one number for a whole part of the data, and what the trivial predictor would get.

A metric sees targets y, predictions p and row weights w of all rows of a part at once, in float64, so it cannot
depend on how the rows were batched. Class weights belong to the loss alone: no metric knows them.

Where row weights w are (n,) they may be (R, n) too, R sets of weights at once, of which each has a value; so resamples
of a part cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fcnet.bootstrap import Resamples, middle
from fcnet.data.options import Task
from fcnet.data.statistics import SAFE
from fcnet.data.target import TASKS, Binary, Classes, Labels, Numbers, Target
from fcnet.errors import ConfigError, Problem
from fcnet.records import dataclass

Array = NDArray[Any]
Formula = Callable[[Array, Array, Array], Any]

BINS = 15
"""Bins of probability in which `ece` compares."""

CELLS = 1 << 21
"""So many probabilities or predicted numbers are worked on at a time."""


@dataclass(frozen=True)
class Decided:
    """What is left of the probabilities (n, K) of more rows and classes than are kept: the most probable class (n,)."""

    classes: Array
    shape: tuple[int, ...]
    finite: bool


@dataclass(frozen=True)
class Metric:
    """A figure of merit: which kinds of targets it is for, which direction is better, and its formula.

    `formula(y, p, w)` sees at least one row, finite p and weights w (n,) float64 whose sum is positive. `in_nats`: it
    is the mean over the rows of what each costs in nats, which a net's outputs tell more exactly than p does.
    """

    name: str
    kinds: tuple[type[Target], ...]
    greater_is_better: bool
    formula: Formula
    in_nats: bool = False
    by_decision: bool = False
    """Whether it asks of the probabilities of classes only which is the largest: `Decided` is enough."""
    at_once: bool = False
    """Whether `formula` takes w (R, n) too, and gives (R,): without it, resamples are worked off one by one."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that have such targets."""
        return tuple(task for task, kind in TASKS.items() if issubclass(kind, self.kinds))

    def value(self, y: Array, p: Array | Decided, w: Array | None = None, nats: Array | None = None) -> float:
        """The metric of predictions p for targets y with row weights w (n,), None for equal ones.

        binary, multiclass: y (n,) class indices, p (n, K) probabilities, K = 2 for binary; multilabel: y (n, L) of 0
        and 1, p (n, L) probabilities; regression: y and p (n, n_out), both in the target's own units. `nats` (n,): what
        each row costs, where that is known without p. NaN where it is not defined: no rows, no weight, predictions
        that are not finite, and what the formula says.
        """
        w = np.ones(len(y)) if w is None else w.astype(np.float64)
        if not w.sum() > 0 or not (p.finite if isinstance(p, Decided) else _finite(p)):
            return float("nan")
        if self.in_nats and nats is not None:
            return float(np.average(nats, weights=w))
        return float(self.formula(y, p, w))  # type: ignore[arg-type]  # of `Decided` the formula asks no more

    def values(self, y: Array, p: Array | Decided, w: Array, nats: Array | None = None) -> Array:
        """`value` under each of R sets of weights w (R, n), as (R,)."""
        if not self.at_once or not (p.finite if isinstance(p, Decided) else _finite(p)):
            return np.array([self.value(y, p, each, nats) for each in w])
        found = np.full(len(w), np.nan)
        sound = w.sum(axis=1) > 0
        if self.in_nats and nats is not None:
            found[sound] = _average(nats, w[sound])
        else:
            found[sound] = self.formula(y, p, w[sound])  # type: ignore[arg-type]  # as in `value`
        return found

    def better(self, a: float, b: float) -> bool:
        """Whether a is strictly better than b; a NaN is never better, and every number is better than a NaN."""
        if np.isnan(a) or np.isnan(b):
            return not np.isnan(a) and bool(np.isnan(b))
        return a > b if self.greater_is_better else a < b


def accuracy(y: Array, p: Array, w: Array) -> Any:
    """The share of rows whose most probable class is the right one: Σ w [argmax p = y] / Σ w.

    Of equally probable classes the first counts. Several labels: the mean over the labels of the share of rows with
    [p > ½] = y (one minus the Hamming loss), not the share of rows with every label right.
    """
    return _average(_guess(y, p) == y, w)


def balanced_accuracy(y: Array, p: Array, w: Array) -> Any:
    """The mean over the classes of the share of their rows that is found; classes without a row do not count."""
    hits, actual, _ = _counts(y, p, w)
    return _mean_of_ratios(hits, actual)


def f1_macro(y: Array, p: Array, w: Array) -> Any:
    """The mean over the classes (or labels) of F₁ = 2 · hits / (actual + predicted), each a sum of weights.

    A class that is neither there nor predicted has no F₁ and does not count.
    """
    hits, actual, predicted = _counts(y, p, w)
    return _mean_of_ratios(2 * hits, actual + predicted)


def f1(y: Array, p: Array, w: Array) -> Any:
    """F₁ = 2 · hits / (actual + predicted) of the second of two classes; NaN where that is nowhere."""
    hits, actual, predicted = (count[..., 1:] for count in _counts(y, p, w))
    return _mean_of_ratios(2 * hits, actual + predicted)


def log_loss(y: Array, p: Array, w: Array) -> Any:
    """The mean of −ln p(right class), in nats; several labels: the mean over labels of −ln p or −ln (1 − p).

    As in scikit-learn, a probability below the machine epsilon of p's own type counts as that epsilon: 15.9 nats are
    the most that a row of float32 can cost, 36.0 of float64. What a net's outputs cost is known without this floor.
    """
    right = p[np.arange(len(y)), y] if y.ndim == 1 else np.where(y == 1, p, 1 - p)
    ell = -np.log(np.maximum(right, np.finfo(p.dtype).eps).astype(np.float64))
    return _average(ell, w)


def ece(y: Array, p: Array, w: Array) -> Any:
    """The expected calibration error Σ |weight of the rows that are right − Σ w p| / Σ w over 15 equal bins of p.

    p is that of the most probable class (Guo et al. 2017); of several labels each one's own, and the mean over them.
    """
    if y.ndim == 1:
        p, right = p.max(axis=1)[:, None], (p.argmax(axis=1) == y)[:, None]
    else:
        right = y == 1
    bins = np.clip((p * BINS).astype(np.int64), 0, BINS - 1)
    columns = zip(bins.T, (p - right).T, strict=True)
    gaps = [np.abs(_by_class(each, w * gap, BINS)).sum(axis=-1) for each, gap in columns]
    return np.mean(gaps, axis=0) / w.sum(axis=-1)


def roc_auc(y: Array, p: Array, w: Array) -> Any:
    """The chance that a row of the class gets a higher p than a row that is not of it; equal p count one half.

    Two classes: of the second class. More classes, several labels: the mean over them, each against the rest. A class
    with no rows, or with nothing else, has no area and does not count.
    """
    if y.ndim == 1:
        classes = [1] if p.shape[1] == 2 else range(p.shape[1])
        areas = [_area(y == k, p[:, k], w) for k in classes]
    else:
        areas = [_area(y[:, k] == 1, p[:, k], w) for k in range(p.shape[1])]
    return _mean_of_defined(np.stack(areas, axis=-1))


def rmse(y: Array, p: Array, w: Array) -> Any:
    """The root of the mean squared error, in the target's units; several targets: the mean of their roots."""
    error = _error(y, p)
    unit = _units(error)
    return np.mean(unit * np.sqrt(_averages((error / unit) ** 2, w)), axis=-1)


def mae(y: Array, p: Array, w: Array) -> Any:
    """The mean absolute error, in the target's units; several targets: the mean over them."""
    return _average(np.abs(_error(y, p)), w)


def r2(y: Array, p: Array, w: Array) -> Any:
    """R² = 1 − Σ w (y − p)² / Σ w (y − ȳ)², where ȳ is the mean of these rows; several targets: the mean over them.

    A target that is constant over the rows that weigh something has no R² and does not count.
    """
    y, error = _columns(y), _error(y, p)
    unit = np.maximum(_units(y), _units(error))
    columns = zip((y / unit).T, (error / unit).T, strict=True)
    return 1.0 - _mean_of_defined(np.stack([_unexplained(*column, w) for column in columns], axis=-1))


def score(
    metrics: Iterable[Metric],
    y: Array,
    p: Array | Decided,
    w: Array | None,
    guess: Array,
    nats: Array | None = None,
    decided: Decided | None = None,
    *,
    intervals: bool = False,
) -> dict[str, dict[str, float]]:
    """Every metric of p, and beside it that of the same `guess` (n_out,) for every row; see `Target.guess`.

    `decided`: what is decided, where that is not the most probable class. `intervals`: also `low` and `high`, between
    which it is on 95 % of resamples of the rows.
    """
    everywhere: Array = np.broadcast_to(guess, p.shape)
    # NumPy would write the same row out n times to look for the largest of each.
    same = Decided(np.full(len(y), guess.argmax()), p.shape, bool(np.isfinite(guess).all())) if y.ndim == 1 else None
    found = {
        m.name: {
            "value": m.value(y, decided if decided is not None and m.by_decision else p, w, nats),
            "trivial": m.value(y, same if same is not None and m.by_decision else everywhere, w),
        }
        for m in metrics
    }
    if intervals and len(y):
        resampled = Resampled(y, p, w, nats)
        decisions = resampled if decided is None else Resampled(y, decided, w, nats)
        for m in metrics:
            of = decisions if m.by_decision else resampled
            found[m.name]["low"], found[m.name]["high"] = of.interval(m, found[m.name]["value"])
    return found


class Resampled:
    """Targets y, predictions p, row weights w and nats of n ≥ 1 rows, as `Metric.value` takes them, on resamples."""

    def __init__(self, y: Array, p: Array | Decided, w: Array | None, nats: Array | None) -> None:
        self.y, self.p, self.nats = y, p, nats
        self.w = np.ones(len(y)) if w is None else w.astype(np.float64)
        self._drawn: dict[int, Resamples] = {}

    def _of(self, metric: Metric) -> tuple[Resamples, Array, Array | Decided, Array, Array | None]:
        """The draws, and y, p, w and nats of the rows that they look at; fewer where the metric sees much of each."""
        width = 1 if metric.by_decision or metric.in_nats else self.p.shape[1]
        if width not in self._drawn:
            self._drawn[width] = Resamples.of(len(self.y), width)
        drawn, p = self._drawn[width], self.p
        rows = drawn.rows
        some = Decided(p.classes[rows], p.shape, p.finite) if isinstance(p, Decided) else p[rows]
        return drawn, self.y[rows], some, self.w[rows], None if self.nats is None else self.nats[rows]

    def rows(self, metric: Metric) -> int:
        """How many of the rows are looked at."""
        return len(self._of(metric)[0].rows)

    def values(self, metric: Metric) -> Array:
        """The metric on each resample, (R,)."""
        drawn, y, p, w, nats = self._of(metric)
        return metric.values(y, p, w * drawn.weights, nats)

    def interval(self, metric: Metric, value: float) -> tuple[float, float]:
        """Between what the metric, which is `value` on all rows, is on 95 % of resamples; NaN where it is not defined.

        It holds `value`. Where only some of the rows are resampled, it lies around `value` as theirs lie around theirs,
        and does not pass what the right answers would get.
        """
        if np.isnan(value):
            return value, value
        low, high = middle(self.values(metric))
        drawn, y, p, w, nats = self._of(metric)
        if len(drawn.rows) < len(self.y):
            moved = value - metric.value(y, p, w, nats)
            right = metric.value(y, _right(y, p), w, None if nats is None else np.zeros_like(nats))
            low, high = low + moved, high + moved
            low, high = (low, min(high, right)) if metric.greater_is_better else (max(low, right), high)
        return min(low, value), max(high, value)


def _right(y: Array, p: Array | Decided) -> Array | Decided:
    """Predictions, of p's form, that are y."""
    if isinstance(p, Decided):
        return Decided(y, p.shape, True)
    return (y if y.ndim > 1 else y[:, None] == np.arange(p.shape[1])).astype(p.dtype)


def chosen(names: Literal["auto"] | Sequence[str], task: Task) -> tuple[Metric, ...]:
    """The metrics called `names`, in that order; `auto` is what the task says.

    Raises ConfigError for every name that is unknown or not for this task.
    """
    if names == "auto":
        names = TASKS[task].metrics
    fitting = ", ".join(name for name, metric in METRICS.items() if task in metric.tasks)
    problems = [
        Problem(f'"{name}" is no metric for a {task} target; choose from {fitting}', key="metrics")
        for name in names
        if name not in METRICS or task not in METRICS[name].tasks
    ]
    if problems:
        raise ConfigError(problems)
    return tuple(METRICS[name] for name in names)


def _guess(y: Array, p: Array | Decided) -> Array:
    """The class of each row (n,), or each of its labels (n, L); a tie is the first class, or no label."""
    if isinstance(p, Decided):
        return p.classes
    guess: Array = p.argmax(axis=1) if y.ndim == 1 else (p > 0.5).astype(y.dtype)
    return guess


def _finite(p: Array) -> bool:
    """Whether all of p is, a few rows at a time: the answers would take as much memory as an eighth of p."""
    step = max(CELLS // max(p[:1].size, 1), 1)
    return all(bool(np.isfinite(p[at : at + step]).all()) for at in range(0, len(p), step))


def _counts(y: Array, p: Array, w: Array) -> tuple[Array, Array, Array]:
    """For each class or label, (…, K) float64: the weight of the rows found, of its rows, of those predicted so."""
    guess = _guess(y, p)
    if y.ndim == 1:
        k = p.shape[1]
        hit = guess == y
        return _by_class(y[hit], w[..., hit], k), _by_class(y, w, k), _by_class(guess, w, k)
    return _sum(w, guess * y), _sum(w, y), _sum(w, guess)


def _by_class(codes: Array, w: Array, k: int) -> Array:
    """The weight of the rows of each of k classes, (…, k)."""
    if w.ndim == 1:
        return np.asarray(np.bincount(codes, w, k))
    found, there = np.zeros((len(w), k)), np.bincount(codes, minlength=k)
    if len(codes):
        starts = (np.cumsum(there) - there)[there > 0]
        found[:, there > 0] = np.add.reduceat(w[:, np.argsort(codes, kind="stable")], starts, axis=1)
    return found


def _mean_of_ratios(numerator: Array, denominator: Array) -> Array:
    """The mean over the last axis of the ratios whose denominator is positive; NaN if there is none."""
    ratios = np.full(np.shape(denominator), np.nan)
    return _mean_of_defined(np.divide(numerator, denominator, out=ratios, where=denominator > 0))


def _mean_of_defined(values: Array) -> Array:
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _average(values: Array, w: Array) -> Array:
    """Σ w values / Σ w over the rows, (…); of values (n, L) the mean over the L."""
    each = _averages(values, w)
    return each if values.ndim == 1 else np.asarray(np.mean(each, axis=-1))


def _averages(values: Array, w: Array) -> Array:
    """Σ w values / Σ w over the rows, (…) or (…, L)."""
    if w.ndim == 1:
        return np.asarray(np.average(values, axis=0, weights=w))
    total = w.sum(axis=-1)
    return np.asarray(_sum(w, values) / (total if values.ndim == 1 else total[:, None]))


def _sum(w: Array, values: Array) -> Array:
    """Σ w values over the rows, (…) or (…, L), without BLAS, whose bits depend on its threads."""
    return np.asarray(np.einsum("n,n...->..." if w.ndim == 1 else "rn,n...->r...", w, values.astype(np.float64)))


def _area(positive: Array, p: Array, w: Array) -> Array:
    """The area under the ROC curve, (…): Σ over rows of equal p of positives · (negatives below + ½ beside).

    p and positive (n,).
    """
    order = np.argsort(p)
    p, positive, w = p[order], positive[order], w[..., order]
    starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    positives = np.add.reduceat(np.where(positive, w, 0.0), starts, axis=-1)
    negatives = np.add.reduceat(np.where(positive, 0.0, w), starts, axis=-1)
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    below = np.cumsum(negatives, axis=-1) - 0.5 * negatives
    won = np.einsum("...n,...n->...", positives, below)  # without BLAS, as in `_sum`
    return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)


def _columns(y: Array) -> Array:
    return y.astype(np.float64).reshape(len(y), -1)


def _error(y: Array, p: Array) -> Array:
    return _columns(y) - _columns(p)


def _units(values: Array) -> Array:
    """Of each column of values (n, L) in what unit they can be squared: 1, or how large they are, (L,)."""
    largest = np.abs(values).max(axis=0)
    return np.where((largest > 1 / SAFE) & (largest < SAFE) | (largest == 0), 1.0, largest)


def _unexplained(y: Array, error: Array, w: Array) -> Array:
    """Σ w error² / Σ w (y − ȳ)² of y and error (n,), (…); NaN where all y that weigh something are one number."""
    weighs = w > 0
    varies = np.where(weighs, y, np.inf).min(axis=-1) < np.where(weighs, y, -np.inf).max(axis=-1)
    deviation = y - _averages(y, w)[..., None]
    total = np.einsum("...n,...n->...", w, deviation**2)
    nothing = np.full(w.shape[:-1], np.nan)
    return np.asarray(np.divide(_sum(w, error**2), total, out=nothing, where=varies & (total > 0)))


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", (Classes, Labels), True, accuracy, by_decision=True, at_once=True),
    "balanced_accuracy": Metric(
        "balanced_accuracy", (Classes,), True, balanced_accuracy, by_decision=True, at_once=True
    ),
    "log_loss": Metric("log_loss", (Classes, Labels), False, log_loss, in_nats=True, at_once=True),
    "f1": Metric("f1", (Binary,), True, f1, by_decision=True, at_once=True),
    "f1_macro": Metric("f1_macro", (Classes, Labels), True, f1_macro, by_decision=True, at_once=True),
    "roc_auc": Metric("roc_auc", (Classes, Labels), True, roc_auc, at_once=True),
    "ece": Metric("ece", (Classes, Labels), False, ece, at_once=True),
    "rmse": Metric("rmse", (Numbers,), False, rmse, at_once=True),
    "mae": Metric("mae", (Numbers,), False, mae, at_once=True),
    "r2": Metric("r2", (Numbers,), True, r2, at_once=True),
}
