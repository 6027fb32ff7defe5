"""Numbers as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from fcnet.data.encodings.encoding import Array, FittedState
from fcnet.formulas import Expr
from fcnet.records import dataclass


@dataclass(frozen=True)
class Plain:
    """x itself; a checkpoint says mean 0 and scale 1."""

    name: Literal["none"] = "none"
    state: ClassVar[tuple[str, ...]] = ("mean", "scale")

    def fit(self, values: Array, rows: int, column: str) -> FittedState:
        """Nothing depends on the numbers."""
        return {"mean": (0.0,), "scale": (1.0,)}

    def f(self, x: Expr, state: Mapping[str, Expr]) -> Expr:
        """The number."""
        return x
