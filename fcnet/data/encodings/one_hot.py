"""Categories as an input for each level."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fcnet.data.encodings.encoding import Array, CategoryColumn
from fcnet.records import dataclass


@dataclass(frozen=True)
class OneHot:
    """1 at the level of the cell and 0 at all others; missing cells are a level where training has some."""

    name: Literal["one_hot"] = "one_hot"
    into: ClassVar[Literal["x", "c"]] = "x"
    state: ClassVar[tuple[str, ...]] = ()

    def fit(self, column: str, levels: tuple[str, ...], at: Array) -> CategoryColumn:
        """Levels, and whether missing cells are one."""
        return CategoryColumn(column, self, levels, bool((at < 0).any()))

    def inputs(self, fitted: CategoryColumn) -> tuple[str, ...]:
        """column=level, and column= for missing cells."""
        missing = (f"{fitted.name}=",) if fitted.missing_level else ()
        return (*(f"{fitted.name}={level}" for level in fitted.levels), *missing)

    def width(self, fitted: CategoryColumn) -> int:
        """One for each level."""
        return fitted.size

    def write(self, fitted: CategoryColumn, at: Array, out: Array) -> None:
        """Ones at the levels; zeros for what training has not seen."""
        out[...] = 0
        known = np.flatnonzero(at >= 0)
        out[known, at[known]] = 1
