"""Finds the columns that number the rows, an index or identifiers: a net would learn by heart what new rows lack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.table import Column, Table

Array = NDArray[Any]

ENOUGH = 20
"""Rows from which on whole numbers hardly rise from row to row by chance: 1 table in 20!."""

GLANCE = (30, 1000)
"""So many cells are looked at first, and then so many: of most columns these decide."""

INDEX = re.compile(r"__index_level_[0-9]+__")
"""The names that pandas gives to the levels of an index without a name when it writes Parquet."""

READ_BACK = re.compile(r"Unnamed: 0(\.[0-9]+)?")
"""The names that pandas gives to such an index when it reads the CSV that it wrote, once or more often."""


def numbering(table: Table, names: Sequence[str]) -> list[tuple[str, str]]:
    """Those of the features `names` that number the rows: (column, why, and what keeps it).

    An index that pandas wrote or read back, and in tables of 20 rows and more the columns of whole numbers, none
    missing, that only rise or only fall from row to row, or are n consecutive numbers in any order. Where nothing else
    would be left, the columns of whole numbers stay: a table of x = 1 … n and y is a function of x.
    """
    found = {name: "it is the index that pandas wrote" for name in names if INDEX.fullmatch(name)}
    rest = [name for name in names if name not in found]
    counted = {name: why for name in rest if (why := _counts(table.columns[name]))}
    if len(counted) < len(rest):
        found |= counted
    cure = "to keep it, list all features under data.features, it among them"
    return [(name, f'column "{name}" is left out: {found[name]}; {cure}') for name in names if name in found]


def _counts(column: Column) -> str | None:
    """How a column numbers the rows; None where it does not."""
    if column.n < ENOUGH or not column.numeric:
        return None
    for size in GLANCE:
        glance = np.asarray(column.chunks[0][:size], dtype=np.float64)
        if not _whole(glance) or len(set(glance.tolist())) < len(glance):
            return None
    values = column.numbers()
    if not _whole(values):
        return None
    if READ_BACK.fullmatch(column.name) and len(np.unique(values)) == column.n:
        return "it is the index that pandas wrote"
    steps = np.diff(values)
    if (steps > 0).all() or (steps < 0).all():
        return f"its whole numbers only {'rise' if steps[0] > 0 else 'fall'} from row to row, as row numbers do"
    low, high = values.min(), values.max()
    if high - low == column.n - 1 and len(np.unique(values)) == column.n:
        return f"it holds every whole number from {low:.0f} to {high:.0f} once, as identifiers do"
    return None


def _whole(values: Array) -> bool:
    """Whether all are whole numbers, and none is missing."""
    return bool((values == np.floor(values)).all())
