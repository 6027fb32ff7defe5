"""Statistics of a column of numbers, in float64, which no number is too large for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SAFE = 1e150
"""Numbers up to this one may be squared, and as many of them added up as memory holds."""


def moments(values: Array) -> tuple[float, float]:
    """Mean and standard deviation (of the population) of float64 values, in two passes; (mean, 1) if constant.

    >>> moments(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    # a power of two, so that no sum and no difference of numbers near the largest float overflows
    part = 2.0 ** -(len(values).bit_length() + 1) if max(-low, high) > SAFE else 1.0
    scaled = values * part if part < 1 else values
    mean = float(np.mean(scaled))
    centred = scaled - mean
    rest = float(np.mean(centred))  # what rounding left over
    mean += rest
    centred -= rest
    largest = max(high * part - mean, mean - low * part)
    unit = 1.0 if 1 / SAFE < largest < SAFE else largest  # of others the squares are no normal numbers
    if unit != 1:
        centred /= unit
    deviation = unit * float(np.sqrt(np.mean(np.square(centred, out=centred)))) / part
    return mean / part, deviation if 0.0 < deviation < np.inf else 1.0


def vanishing(values: Array, mean: float, scale: float, dtype: str) -> int:
    """How many of the values (n,) leave mean, but by less than a normal number of the dtype: they count as the mean.

    Where the deviation was found, scale is of the values' own size, and nothing of account can vanish.

    >>> vanishing(np.array([0.0, 1e-45, 2.0]), 0.0, 1.0, "float32")
    1
    """
    if scale != 1:
        return 0
    away = np.abs(values - mean)
    return int(np.count_nonzero((away > 0) & (away < np.finfo(dtype).tiny)))


def median(values: Array) -> float:
    """The median, as numpy.median has it, of (n,) finite numbers, n > 0, which change places."""
    middle = len(values) // 2
    values.partition(middle)
    if len(values) % 2:
        return float(values[middle])
    return float(np.mean([values[:middle].max(), values[middle]]))
