"""What moves from a table to a net: rows of numbers, and of codes of categories."""

from __future__ import annotations

from typing import Any

from fcnet.backends.ops import Array
from fcnet.records import dataclass


@dataclass(frozen=True)
class Rows:
    """n rows: numbers x (n, n_in) and codes c (n, n_cat) int32, −1 for what training has not seen; None without any."""

    x: Array
    c: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Array) -> Rows:
        return Rows(*(array[rows] for array in self.arrays.values()))

    @property
    def arrays(self) -> dict[str, Array]:
        """Those that there are, by the names of a batch's buffers."""
        return {"x": self.x} if self.c is None else {"x": self.x, "c": self.c}

    def astype(self, dtype: Any) -> Rows:
        """The numbers in another type."""
        return Rows(self.x.astype(dtype, copy=False), self.c)
