"""Numbers by their median and quartiles, which a few huge ones do not move, and clipped smoothly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from fcnet.data.encodings.encoding import Array, FittedState
from fcnet.formulas import Expr, maximum, minimum, sqrt
from fcnet.records import dataclass

LARGE = 1e15
"""From here on t / √(1 + t²) is 1 in float64, and t² is still a number in float32."""


@dataclass(frozen=True)
class Robust:
    """u / √(1 + (u / 3)²), u = (x − median) · factor, which stays between −3 and 3 (Holzmüller et al. 2024).

    `factor` is 1 / (the third quartile − the first); where these are equal 1 / (0.5 · (greatest − least)), and 0 where
    all numbers are one.
    """

    name: Literal["robust"] = "robust"
    state: ClassVar[tuple[str, ...]] = ("median", "factor")

    def fit(self, values: Array, rows: int, column: str) -> FittedState:
        """Median and quartiles, interpolated between the two nearest numbers."""
        part = 0.25 if np.abs(values).max() > np.finfo(np.float64).max / 4 else 1.0  # so that differences are finite
        first, median, third = np.quantile(values * part, [0.25, 0.5, 0.75]).tolist()
        spread = third - first or 0.5 * float(np.ptp(values * part))
        factor = min(part / spread, float(np.finfo(np.float64).max)) if spread else 0.0
        return {"median": (median / part,), "factor": (factor,)}

    def f(self, x: Expr, state: Mapping[str, Expr]) -> Expr:
        """With t = u / 3 it is 3 t / √(1 + t²), whose square is kept from overflowing."""
        t = maximum(minimum((x - state["median"]) * state["factor"] / 3.0, LARGE), -LARGE)
        return 3.0 * t / sqrt(1.0 + t * t)
