"""How much a net owes to each column: what its score loses when the column's cells are shuffled among the rows.

Breiman, "Random forests" (2001), of the net as it stands and rows that it has not learnt from.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array
from fcnet.data import Dataset
from fcnet.metrics import CELLS, Decided, Metric, Resampled, chosen
from fcnet.runs.model import BATCH, Predictor

REPEATS = 5
"""Shuffles of each column."""

WORK = 2_000_000
"""At most about so many rows are predicted."""

ROWS = 250, 10_000
"""The fewest and the most rows that are looked at, where there are so many."""


def importance(net: Predictor, data: Dataset, part: str) -> dict[str, Any]:
    """The loss in the net's first metric by column, the largest first: `mean` over the shuffles, its standard error
    `se`, and `low` and `high`, between which it lies on 95 % of such tables.

    All inputs that are made of a column move together. The error is that over resamples of the rows, as for the
    intervals of metrics: the chance of which rows these are, and of how they were shuffled. The shuffles are always the
    same, and so are the rows that are looked at where there are more than `rows` of them. Memory is that of those rows,
    twice, and of their predictions.
    """
    metric = (net.metrics or chosen("auto", net.target.task))[0]
    spans = net.encoder.spans()
    rows = _rows(data.parts[part], len(spans), max(net.encoder.n_in, net.head.width))
    inputs, w = data.inputs[rows], None if data.row_weights is None else data.row_weights[rows]
    y = net.target.truths(data.y[rows])
    sign = 1 if metric.greater_is_better else -1
    before = _seen(net, metric, net.probabilities(inputs))
    value, resampled = metric.value(y, before, w), Resampled(y, before, w, None)
    resamples = resampled.values(metric)
    key, n, columns = random.key(0, "importance"), len(rows), net.encoder.columns
    losses, lost = np.zeros((len(columns), REPEATS)), np.zeros((len(columns), len(resamples)))
    jobs = list(np.ndindex(losses.shape))
    together = max(1, BATCH // n)  # a block costs the same, whatever it holds
    for at in range(0, len(jobs), together):
        some = jobs[at : at + together]
        shuffled = inputs[np.tile(np.arange(n), len(some))]
        for i, (column, repeat) in enumerate(some):
            for where, span in spans[columns[column]].items():
                cells = shuffled.arrays[where][i * n : (i + 1) * n]
                cells[:, span] = cells[random.permutation(n, key, repeat)][:, span]
        for (column, repeat), p in zip(some, net.probabilities(shuffled).reshape(len(some), n, -1), strict=True):
            resampled.p = _seen(net, metric, p)
            losses[column, repeat] = sign * (value - metric.value(y, resampled.p, w))
            lost[column] += (resamples - resampled.values(metric)) / REPEATS
    found: list[dict[str, Any]] = []
    for name, each, over in zip(columns, losses, lost, strict=True):
        mean, error = float(np.mean(each)), float(np.std(over))
        low, high = mean - 1.96 * error, mean + 1.96 * error
        found.append({"column": name, "mean": mean, "se": error, "low": low, "high": high})
    found.sort(key=lambda each: math.inf if math.isnan(each["mean"]) else -each["mean"])
    return {"metric": metric.name, "rows": len(rows), "repeats": REPEATS, "columns": found}


def _rows(rows: Array, columns: int, width: int) -> Array:
    """Those that are looked at, in order: few enough for the work and the memory."""
    fewest, most = ROWS
    b = max(fewest, min(most, WORK // (REPEATS * columns), CELLS // width))
    return (
        rows if len(rows) <= b else rows[np.sort(random.permutation(len(rows), random.key(0, "importance/rows"))[:b])]
    )


def _seen(net: Predictor, metric: Metric, p: Array) -> Array | Decided:
    """What the metric judges of the net's predictions."""
    if metric.by_decision and net.target.classes is not None:
        return Decided(net.target.decided(p), p.shape, bool(np.isfinite(p).all()))
    return net.target.point(p)
