"""How far a figure might be off by the chance of which rows it was computed on: the bootstrap, always the same draws.

Efron, "Bootstrap methods: another look at the jackknife" (1979): rows are drawn anew, as many as there are and with
repetition, and the figure is computed again. A row drawn c times is a row of weight c, so that a figure that knows
weights needs nothing else. Of many rows some are looked at, with weights that vary as little as those of all rows
would ("A scalable bootstrap for massive data", Kleiner et al. 2014, with one bag).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet import random
from fcnet.records import dataclass

Array = NDArray[Any]

RESAMPLES = 200, 1000
"""The fewest and the most."""

ROWS, CELLS = 250, 1 << 19
"""Of more rows than that so many are looked at that all resamples have about so many numbers."""

LEVEL = 0.95


@dataclass(frozen=True)
class Resamples:
    """R resamples of n ≥ 1 rows: the `rows` (b,) that are looked at, sorted, and their `weights` (R, b), of mean 1."""

    rows: Array
    weights: Array

    @classmethod
    def of(cls, n: int, width: int = 1) -> Resamples:
        """Those of n rows, of which figures keep `width` numbers each; equal n and width give equal draws."""
        fewest, most = RESAMPLES
        b = min(n, max(ROWS, CELLS // (fewest * width)))
        resamples = min(most, max(fewest, CELLS // (b * width)))
        key = random.key(0, "bootstrap")
        rows = np.arange(n) if b >= n else np.sort(random.permutation(n, key)[:b])
        drawn = (random.uniform(resamples * b, key, 1) * b).astype(np.int64).reshape(resamples, b)
        places = drawn + b * np.arange(resamples)[:, None]
        counts = np.bincount(places.ravel(), minlength=resamples * b).reshape(resamples, b)
        # A count of n draws among b rows, over its mean n / b, varies by b / n of what one of b draws does.
        return cls(rows, 1.0 + np.sqrt(b / max(n, b)) * (counts - 1.0))


def middle(values: Array) -> tuple[float, float]:
    """The middle `LEVEL` of the values (R,) of a figure on resamples; NaN where more than half of them are none."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
