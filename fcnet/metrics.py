"""What a prediction is worth: one number for a whole part of the data, and what the trivial predictor would get.

A metric sees targets y, predictions p and row weights w of all rows of a part at once, in float64, so it cannot
depend on how the rows were batched. Class weights belong to the loss alone: no metric knows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fcnet.data.options import Task
from fcnet.data.target import TASKS, Classes, Labels, Numbers, Target
from fcnet.errors import ConfigError, Problem

Array = NDArray[Any]
Formula = Callable[[Array, Array, Array], float]

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

    def better(self, a: float, b: float) -> bool:
        """Whether a is strictly better than b; a NaN is never better, and every number is better than a NaN."""
        if np.isnan(a) or np.isnan(b):
            return not np.isnan(a) and bool(np.isnan(b))
        return a > b if self.greater_is_better else a < b


def accuracy(y: Array, p: Array, w: Array) -> float:
    """The share of rows whose most probable class is the right one: Σ w [argmax p = y] / Σ w.

    Of equally probable classes the first counts. Several labels: the mean over the labels of the share of rows with
    [p > ½] = y (one minus the Hamming loss), not the share of rows with every label right.
    """
    return float(np.mean(np.average(_guess(y, p) == y, axis=0, weights=w)))


def balanced_accuracy(y: Array, p: Array, w: Array) -> float:
    """The mean over the classes of the share of their rows that is found; classes without a row do not count."""
    hits, actual, _ = _counts(y, p, w)
    return _mean_of_ratios(hits, actual)


def f1_macro(y: Array, p: Array, w: Array) -> float:
    """The mean over the classes (or labels) of F₁ = 2 · hits / (actual + predicted), each a sum of weights.

    A class that is neither there nor predicted has no F₁ and does not count.
    """
    hits, actual, predicted = _counts(y, p, w)
    return _mean_of_ratios(2 * hits, actual + predicted)


def log_loss(y: Array, p: Array, w: Array) -> float:
    """The mean of −ln p(right class), in nats; several labels: the mean over labels of −ln p or −ln (1 − p).

    As in scikit-learn, a probability below the machine epsilon of p's own type counts as that epsilon: 15.9 nats are
    the most that a row of float32 can cost, 36.0 of float64. What a net's outputs cost is known without this floor.
    """
    right = p[np.arange(len(y)), y] if y.ndim == 1 else np.where(y == 1, p, 1 - p)
    ell = -np.log(np.maximum(right, np.finfo(p.dtype).eps).astype(np.float64))
    return float(np.mean(np.average(ell, axis=0, weights=w)))


def roc_auc(y: Array, p: Array, w: Array) -> float:
    """The chance that a row of the class gets a higher p than a row that is not of it; equal p count one half.

    Two classes: of the second class. More classes, several labels: the mean over them, each against the rest. A class
    with no rows, or with nothing else, has no area and does not count.
    """
    if y.ndim == 1:
        classes = [1] if p.shape[1] == 2 else range(p.shape[1])
        areas = [_area(y == k, p[:, k], w) for k in classes]
    else:
        areas = [_area(y[:, k] == 1, p[:, k], w) for k in range(p.shape[1])]
    return _mean_of_defined(np.array(areas))


def rmse(y: Array, p: Array, w: Array) -> float:
    """The root of the mean squared error, in the target's units; several targets: the mean of their roots."""
    return float(np.mean(np.sqrt(np.average(_error(y, p) ** 2, axis=0, weights=w))))


def mae(y: Array, p: Array, w: Array) -> float:
    """The mean absolute error, in the target's units; several targets: the mean over them."""
    return float(np.mean(np.average(np.abs(_error(y, p)), axis=0, weights=w)))


def r2(y: Array, p: Array, w: Array) -> float:
    """R² = 1 − Σ w (y − p)² / Σ w (y − ȳ)², where ȳ is the mean of these rows; several targets: the mean over them.

    A target that is constant over the rows has no R² and does not count.
    """
    deviation = _columns(y) - np.average(_columns(y), axis=0, weights=w)
    total = w @ deviation**2
    residual = w @ _error(y, p) ** 2
    return 1.0 - _mean_of_ratios(residual, np.where(np.ptp(_columns(y), axis=0) > 0, total, 0.0))


def score(
    metrics: Iterable[Metric], y: Array, p: Array | Decided, w: Array | None, guess: Array, nats: Array | None = None
) -> dict[str, dict[Literal["value", "trivial"], float]]:
    """Every metric of p, and beside it that of the same `guess` (n_out,) for every row; see `Target.guess`."""
    everywhere: Array = np.broadcast_to(guess, p.shape)
    # NumPy would write the same row out n times to look for the largest of each.
    same = Decided(np.full(len(y), guess.argmax()), p.shape, bool(np.isfinite(guess).all())) if y.ndim == 1 else None
    return {
        m.name: {
            "value": m.value(y, p, w, nats),
            "trivial": m.value(y, same if same is not None and m.by_decision else everywhere, w),
        }
        for m in metrics
    }


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
    """For each class or label, (K,) float64: the weight of the rows found, of its rows, of those predicted as such."""
    guess = _guess(y, p)
    if y.ndim == 1:
        k = p.shape[1]
        hit = guess == y
        return np.bincount(y[hit], w[hit], k), np.bincount(y, w, k), np.bincount(guess, w, k)
    return w @ (guess * y), w @ y, w @ guess


def _mean_of_ratios(numerator: Array, denominator: Array) -> float:
    """The mean of the ratios whose denominator is positive; NaN if there is none."""
    defined = denominator > 0
    return _mean_of_defined(numerator[defined] / denominator[defined])


def _mean_of_defined(values: Array) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _area(positive: Array, p: Array, w: Array) -> float:
    """The area under the ROC curve, (n,) each: Σ over rows of equal p of positives · (negatives below + ½ beside)."""
    order = np.argsort(p)
    p, positive, w = p[order], positive[order], w[order]
    starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    positives = np.add.reduceat(np.where(positive, w, 0.0), starts)
    negatives = np.add.reduceat(np.where(positive, 0.0, w), starts)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return float("nan")
    return float(positives @ (np.cumsum(negatives) - 0.5 * negatives) / pairs)


def _columns(y: Array) -> Array:
    return y.astype(np.float64).reshape(len(y), -1)


def _error(y: Array, p: Array) -> Array:
    return _columns(y) - _columns(p)


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", (Classes, Labels), True, accuracy, by_decision=True),
    "balanced_accuracy": Metric("balanced_accuracy", (Classes,), True, balanced_accuracy, by_decision=True),
    "log_loss": Metric("log_loss", (Classes, Labels), False, log_loss, in_nats=True),
    "f1_macro": Metric("f1_macro", (Classes, Labels), True, f1_macro, by_decision=True),
    "roc_auc": Metric("roc_auc", (Classes, Labels), True, roc_auc),
    "rmse": Metric("rmse", (Numbers,), False, rmse),
    "mae": Metric("mae", (Numbers,), False, mae),
    "r2": Metric("r2", (Numbers,), True, r2),
}
