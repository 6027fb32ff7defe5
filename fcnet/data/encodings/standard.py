"""Numbers of mean 0 and deviation 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from fcnet.data.encodings.encoding import Array, FittedState
from fcnet.data.statistics import moments
from fcnet.formulas import Expr
from fcnet.records import dataclass


@dataclass(frozen=True)
class Standard:
    """(x − mean) / scale, by mean and standard deviation of the training rows; scale is 1 where all are one number."""

    name: Literal["standard"] = "standard"
    state: ClassVar[tuple[str, ...]] = ("mean", "scale")

    def fit(self, values: Array, rows: int, column: str) -> FittedState:
        """Both, in float64."""
        mean, scale = moments(values)
        return {"mean": (mean,), "scale": (scale,)}

    def f(self, x: Expr, state: Mapping[str, Expr]) -> Expr:
        """(x − mean) / scale."""
        return (x - state["mean"]) / state["scale"]
