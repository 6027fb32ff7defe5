"""Categories as numbers of their levels, for layers that look them up."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from fcnet.data.encodings.encoding import Array, CategoryColumn
from fcnet.data.encodings.one_hot import OneHot
from fcnet.data.encodings.signs import Signs
from fcnet.records import dataclass
from fcnet.registry import MAX_COUNT, Ge, Le


@dataclass(frozen=True)
class Codes:
    """The place of the cell among the levels, for the layer `embedding`; −1 for missing cells and what is unknown."""

    above: Annotated[int, Ge(0), Le(MAX_COUNT)] = 0
    """Columns with no more levels than this are as `few` says; missing cells count as one where training has some."""
    few: Literal["one_hot", "signs"] = "one_hot"
    """How these are encoded."""
    name: Literal["codes"] = "codes"
    into: ClassVar[Literal["x", "c"]] = "c"
    state: ClassVar[tuple[str, ...]] = ()

    def fit(self, column: str, levels: tuple[str, ...], at: Array) -> CategoryColumn:
        """Levels, or what another encoding makes of few of them."""
        few = (Signs() if self.few == "signs" else OneHot()).fit(column, levels, at)
        return few if few.size <= self.above or not levels else CategoryColumn(column, self, levels)

    def inputs(self, fitted: CategoryColumn) -> tuple[str, ...]:
        """The column."""
        return (fitted.name,)

    def width(self, fitted: CategoryColumn) -> int:
        """One."""
        return 1

    def write(self, fitted: CategoryColumn, at: Array, out: Array) -> None:
        """The places."""
        out[:, 0] = at
