"""What the validation part says of a trained net's predictions: how sure they are, where to decide, how far off.

All of it is fitted when the training is over, and changes no parameter of the net.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.config.schema import Config, Threshold
from fcnet.errors import UsageError
from fcnet.metrics import CELLS, METRICS, Decided
from fcnet.records import dataclass
from fcnet.training.head import Head

GAIN = 3.32
"""So many nats the temperature must save on all validation rows for `auto` to take it: one in a hundred nets that need
none would save as much (χ², one degree of freedom). Of nets that learnt smoothed labels, which make them less sure than
they should be, any saving is enough."""

PRIOR = 4.0
"""How many nats per unit of s − ln s − 1 it costs to move s = 1 / T away from 1: a deviation of ½ for ln T."""

SCORES = 2_000
"""So many of the sorted scores are kept: any coverage is at most a 2,000th more than with all of them."""

SCALES = (1 / 32, 32.0)
"""1 / T is between these."""

CANDIDATES = 500
"""Thresholds that are tried."""

VALUES = 100_000
"""So many scores at most stand in a header, of all targets together."""


@dataclass(frozen=True)
class Calibrator:
    """What was found: the temperature T and the threshold of the decision, and of `rows` validation rows how far each
    was off, sorted: `scores` (targets, m) float64, every n/m-th of them, the largest too (Vovk et al. 2005)."""

    temperature: float = 1.0
    threshold: float | None = None
    scores: Array | None = None
    rows: int = 0

    @staticmethod
    def given(config: Config) -> Calibrator:
        """What the config says itself."""
        return Calibrator(threshold=None if isinstance(config.threshold, Threshold) else config.threshold)

    def applied(self, head: Head) -> Head:
        """The head that predicts so."""
        decides = head.target if self.threshold is None else replace(head.target, threshold=self.threshold)
        return replace(head, temperature=self.temperature, target=decides)

    def header(self) -> dict[str, Any]:
        """The part of a checkpoint's header."""
        scores = None if self.scores is None else self.scores.tolist()
        return {"temperature": self.temperature, "threshold": self.threshold, "rows": self.rows, "scores": scores}

    @staticmethod
    def restore(found: Mapping[str, Any] | None, head: Head) -> Calibrator:
        """What a header holds for `head`; of one without, that nothing was found. ValueError where it is wrong."""
        if found is None:
            return Calibrator()
        rows, width, given = int(found["rows"]), len(head.target.names), found.get("scores")
        if (given is None) != (rows == 0):
            raise ValueError(f"calibration.rows: {rows}, and calibration.scores does not fit it")
        scores = None if given is None else np.array(given, np.float64)
        if scores is not None and scores.shape != (width, _kept(rows, width)):
            raise ValueError(f"calibration.scores: it is {scores.shape}, not {(width, _kept(rows, width))}")
        if scores is not None and (np.diff(scores) < 0).any():
            raise ValueError("calibration.scores: they are not sorted")
        return Calibrator(float(found["temperature"]), found["threshold"], scores, rows)

    def limits(self, coverage: float, file: str) -> Array:
        """How far off, (targets,), a prediction must be thought to be for that share of rows to be covered.

        Split conformal prediction: of n rows like those to come, the ⌈(n + 1) · coverage⌉-th smallest score, so that at
        least that share is covered on average, and at most 1 / (n + 1) + 1 / SCORES more. UsageError where the
        checkpoint has no scores, or too few.
        """
        if not 0 < coverage < 1:
            meant = f"; as a share of a hundred write {coverage / 100:g}" if 1 < coverage < 100 else ", such as 0.9"
            raise UsageError(f"--coverage {coverage:g}: it is a share between 0 and 1{meant}")
        if self.scores is None:
            raise UsageError(
                "--coverage: this checkpoint does not say how far off its predictions are. best.npz of a complete run "
                "with validation rows does; finish the run with --resume, or train again with data.validation",
                file=file,
            )
        n, m = self.rows, self.scores.shape[1]
        rank = math.ceil(round((n + 1) * coverage, 9))
        if rank > n:
            most = math.floor(1000 * n / (n + 1)) / 1000
            raise UsageError(
                f"--coverage {coverage:g}: {n:,} validation rows stand for at most {most:g}; ask for less, or train "
                "with more of them",
                file=file,
            )
        return np.asarray(self.scores[:, (rank - 1) * m // n])


def _kept(rows: int, width: int) -> int:
    """How many scores of so many rows are kept for each of `width` targets."""
    return min(rows, SCORES, max(1, VALUES // width))


def thinned(rows: Array, width: int) -> Array:
    """Of so many rows that their outputs would not fit into memory every second, third, …, else all."""
    return np.asarray(rows[:: -(-len(rows) * width // CELLS) or 1])


def fit(backend: Backend, head: Head, config: Config, a: Array, y: Array, w: Array | None) -> Calibrator:
    """What validation rows say, as far as the config asks: of outputs a (n, n_out), targets y as the data have them and
    weights w (n,) or None.

    Rows of weight 0 say nothing, and all others count alike for `scores`.
    """
    if w is not None:
        a, y, w = a[w > 0], y[w > 0], w[w > 0]
    found = Calibrator.given(config)
    if not len(y) or not np.isfinite(a).all():
        return found
    if config.calibration != "none" and head.target.shares:
        outputs = a.astype(np.float64)
        s = best_scale(outputs, y, w)
        enough = 0.0 if getattr(head.loss, "label_smoothing", 0.0) else GAIN
        if config.calibration == "temperature" or saved(outputs, y, s, w) > enough:
            found = replace(found, temperature=1.0 / s)
    p = found.applied(head).predictions(backend, a.copy())
    truths = head.target.truths(y)
    if isinstance(config.threshold, Threshold):
        found = replace(found, threshold=best_threshold(config.threshold.metric, truths, p, w))
    scores = np.sort(head.strangeness(p, truths), axis=0).T
    n, m = len(y), _kept(len(y), len(scores))
    kept = -(-np.arange(1, m + 1) * n // m) - 1
    return replace(found, scores=np.ascontiguousarray(scores[:, kept]), rows=n) if np.isfinite(scores).all() else found


def nats(a: Array, y: Array, s: float) -> tuple[Array, Array, Array]:
    """−ln p(truth) of each row (n,) with outputs s · a, and its first and second derivative by s; all float64.

    y: class indices (n,) for softmax or one sigmoid, or (n, L) of 0 and 1 for a sigmoid each, of which the mean counts.
    """
    if a.shape[1] == 1 or y.ndim == 2:
        sign = np.where(y.reshape(a.shape) == 1, -a, a)  # ℓ = ln(1 + exp(s · sign))
        e = np.exp(-np.abs(s * sign))
        σ = np.where(sign >= 0, 1, e) / (1 + e)
        ℓ = np.maximum(s * sign, 0) + np.log1p(e)
        return ℓ.mean(axis=1), (σ * sign).mean(axis=1), (σ * (1 - σ) * sign**2).mean(axis=1)
    a = a - a[np.arange(len(y)), y][:, None]
    top = (s * a).max(axis=1, keepdims=True)
    e = np.exp(s * a - top)
    total = e.sum(axis=1, keepdims=True)
    e /= total
    mean = (e * a).sum(axis=1)
    return (top + np.log(total))[:, 0], mean, (e * (a - mean[:, None]) ** 2).sum(axis=1)


def best_scale(a: Array, y: Array, w: Array | None = None) -> float:
    """The s = 1 / T of least nats of all rows + PRIOR · (s − ln s − 1): few rows, or many without an error, do not make
    a net as sure, or unsure, as they happen to look.

    It is convex in s: Newton's steps, and the bracket's middle where they leave it (Guo et al. 2017, without a prior).
    """
    low, high = SCALES
    s, n = 1.0, len(y)
    for _ in range(100):
        _, slope, bend = (n * float(np.average(each, weights=w)) for each in nats(a, y, s))
        slope += PRIOR * (1 - 1 / s)
        low, high = (s, high) if slope < 0 else (low, s)
        step = s - slope / (bend + PRIOR / s**2)
        step = step if low < step < high else math.sqrt(low * high)
        if abs(step - s) <= 1e-9 * s:
            break
        s = step
    return s


def saved(a: Array, y: Array, s: float, w: Array | None = None) -> float:
    """The nats that outputs s · a cost less than a, on all rows."""
    before, after = (float(np.average(nats(a, y, each)[0], weights=w)) for each in (1.0, s))
    return len(y) * (before - after)


def best_threshold(metric: str, y: Array, p: Array, w: Array | None) -> float:
    """The threshold between probabilities of the rows for which the metric is best; of equally good ones the nearest to
    one half."""
    values = np.unique(p[:, 1])
    between = (values[1:] + values[:-1]) / 2
    tried = [0.5, *between[:: -(-len(between) // CANDIDATES) or 1].tolist()]
    of = METRICS[metric]
    scores = [of.value(y, Decided((p[:, 1] > t).astype(np.int64), p.shape, True), w) for t in tried]
    best = 0
    for i, (t, score) in enumerate(zip(tried, scores, strict=True)):
        nearer = score == scores[best] and abs(t - 0.5) < abs(tried[best] - 0.5)
        if of.better(score, scores[best]) or nearer:
            best = i
    return float(tried[best])
