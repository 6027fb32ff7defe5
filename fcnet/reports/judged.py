"""What can be seen in the predictions of one part of the data: who is taken for whom, how sure, how far off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.target import Target
from fcnet.metrics import Decided, Metric
from fcnet.records import dataclass

Array = NDArray[Any]

ROWS = 50_000
"""Of a longer part so many rows, evenly chosen, are looked at."""

BINS = 10


@dataclass(frozen=True)
class Judged:
    """Rows of the part `name`, of which there are `total`: y, p and w (n,) as metrics see them (see `Metric.value`).

    `rows` (n,) are their places among the rows of the data set.
    """

    name: str
    total: int
    target: Target
    rows: Array
    y: Array
    p: Array
    w: Array

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of p are about: classes, labels, targets."""
        return tuple(map(str, self.target.classes or self.target.names))

    @property
    def decided(self) -> Array:
        """Of classes the one that is said of each row, (n,)."""
        return self.target.decided(self.p)

    def seen(self, metric: Metric) -> Array | Decided:
        """What a metric judges of the predictions."""
        if metric.by_decision and self.target.classes is not None:
            return Decided(self.decided, self.p.shape, bool(np.isfinite(self.p).all()))
        return self.p

    def cost(self) -> Array:
        """How wrong each row is, (n,): −ln p(right), its mean over labels, the mean |error| over spreads of targets."""
        if self.y.ndim == 1:
            return -np.log(np.maximum(self.p[np.arange(len(self.y)), self.y], 1e-300))
        if self.target.shares:
            right = np.where(self.y == 1, self.p, 1 - self.p)
            return np.asarray(-np.log(np.maximum(right, 1e-300)).mean(axis=1))
        spread = self.y.std(axis=0)
        return np.asarray((np.abs(self.y - self.p) / np.where(spread > 0, spread, 1.0)).mean(axis=1))

    def worst(self, n: int) -> Array:
        """The places in y of the n rows that are most wrong, the worst first; rows without weight are left out."""
        cost = np.where(self.w > 0, self.cost(), -1.0)
        order = np.argsort(-cost, kind="stable")[:n]
        return order[cost[order] > 0]


def spaced(n: int) -> Array:
    """n places, or `ROWS` evenly chosen ones of more, (·,) int64."""
    return np.arange(n) if n <= ROWS else np.unique(np.linspace(0, n - 1, ROWS).astype(np.int64))


def confusion(y: Array, decided: Array, w: Array, k: int) -> Array:
    """(k, k): the weight of the rows of each class (down) that are taken for each class (across)."""
    return np.bincount(y * k + decided, w, k * k).reshape(k, k)


@dataclass(frozen=True)
class Sides:
    """The two curves of a class against the rest, each point a threshold on p, from the highest to the lowest.

    `caught`: the share of its rows that are above; `alarms`: the share of other rows; `precision`: its share above.
    """

    caught: Array
    alarms: Array
    precision: Array
    area: float
    share: float
    average_precision: float


def sides(positive: Array, p: Array, w: Array) -> Sides | None:
    """The curves of p (n,) for `positive` (n,) bool; None where there is no row of one of the two."""
    order = np.argsort(-p, kind="stable")
    p, positive, w = p[order], positive[order], w[order]
    ends = np.flatnonzero(np.r_[p[1:] != p[:-1], True])
    hits, misses = (np.cumsum(np.where(each, w, 0.0))[ends] for each in (positive, ~positive))
    if not hits[-1] > 0 or not misses[-1] > 0:
        return None
    caught, alarms = hits / hits[-1], misses / misses[-1]
    precision = hits / np.maximum(hits + misses, 1e-300)
    area = float(np.trapezoid(np.r_[0.0, caught], np.r_[0.0, alarms]))
    average = float(np.sum(np.diff(np.r_[0.0, caught]) * precision))
    share = float(hits[-1] / (hits[-1] + misses[-1]))
    return Sides(np.r_[0.0, caught], np.r_[0.0, alarms], np.r_[precision[:1], precision], area, share, average)


@dataclass(frozen=True)
class Calibration:
    """Rows in bins of about equal weight by what was said, (bins,): the mean said, the share that came true, weight."""

    said: Array
    true: Array
    weight: Array

    @property
    def error(self) -> float:
        """The mean distance between the two, by weight (the expected calibration error)."""
        return float(np.average(np.abs(self.said - self.true), weights=self.weight))


def calibration(said: Array, true: Array, w: Array, bins: int = BINS) -> Calibration:
    """Of probabilities `said` (n,) that the events `true` (n,) of 0 and 1 would happen."""
    order = np.argsort(said, kind="stable")
    said, true, w = said[order], true[order].astype(np.float64), w[order]
    kept = w > 0
    said, true, w = said[kept], true[kept], w[kept]
    starts = np.flatnonzero(np.r_[True, said[1:] != said[:-1]])  # equal probabilities are in one bin
    each = np.stack([np.add.reduceat(v, starts) for v in (w, w * said, w * true)])
    at = np.minimum((np.cumsum(each[0]) - 0.5 * each[0]) / w.sum() * bins, bins - 1).astype(np.int64)
    sums = np.stack([np.bincount(at, v, bins) for v in each])
    there = sums[0] > 0
    total = sums[0][there]
    return Calibration(sums[1][there] / total, sums[2][there] / total, total)


def histogram(values: Array, w: Array, bins: int = 30) -> tuple[Array, Array]:
    """(edges, weights) of the finite values (n,); the outermost hundredths lie in the outermost bins."""
    sound = np.isfinite(values) & (w > 0)
    values, w = values[sound], w[sound]
    if not len(values):
        return np.array([0.0, 1.0]), np.zeros(1)
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) > 400 else (values.min(), values.max())
    if not high > low:
        low, high = low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    edges = np.linspace(low, high, bins + 1)
    at = np.clip(((values - low) / (high - low) * bins).astype(np.int64), 0, bins - 1)
    return edges, np.bincount(at, w, bins)


def lookup(columns: Mapping[str, Any], names: Sequence[str], row: int) -> list[str]:
    """The cells of a row of a table as texts; a missing one is a dash."""
    cells = []
    for name in names:
        column = columns[name]
        if column.codes is not None:
            code = int(column.codes[row])
            cells.append(column.levels[code] if code >= 0 else "–")
        else:
            at, value = row, float("nan")
            for chunk in column.chunks:
                if at < len(chunk):
                    value = float(chunk[at])
                    break
                at -= len(chunk)
            cells.append("–" if np.isnan(value) else f"{value:.6g}")
    return cells
