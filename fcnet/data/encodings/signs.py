"""Columns of two categories as one input."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fcnet.data.encodings.encoding import Array, CategoryColumn
from fcnet.data.encodings.one_hot import OneHot
from fcnet.records import dataclass


@dataclass(frozen=True)
class Signs:
    """−1 at the first of two levels and 1 at the second, 0 for missing cells and what is unknown; one_hot at others.

    As in RealMLP (Holzmüller, Grinsztajn and Steinwart 2024).
    """

    name: Literal["signs"] = "signs"
    into: ClassVar[Literal["x", "c"]] = "x"
    state: ClassVar[tuple[str, ...]] = ()

    def fit(self, column: str, levels: tuple[str, ...], at: Array) -> CategoryColumn:
        """The two levels, or what one_hot makes of another number."""
        return CategoryColumn(column, self, levels) if len(levels) == 2 else OneHot().fit(column, levels, at)

    def inputs(self, fitted: CategoryColumn) -> tuple[str, ...]:
        """column=level of the level that is 1."""
        return (f"{fitted.name}={fitted.levels[1]}",)

    def width(self, fitted: CategoryColumn) -> int:
        """One."""
        return 1

    def write(self, fitted: CategoryColumn, at: Array, out: Array) -> None:
        """−1, 1 or 0."""
        out[:, 0] = np.where(at < 0, 0, 2 * at - 1)
