"""What in a table is hardly meant: a feature that gives the target away, names that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.encode import listed
from fcnet.data.problems import SHOWN
from fcnet.data.roles import Roles
from fcnet.data.table import Column, Table

Array = NDArray[Any]

GLANCE = 1000
"""Rows that are looked at first: for most features these decide."""

PROOF = 20
"""Rows that must agree beyond the first of each value: with two values they do so by chance in 1 table of 2²⁰."""


class _Values:
    """The values y (n,) of a target, and for each row the first one that has the same value."""

    def __init__(self, y: Array) -> None:
        self.y = y
        _, self.firsts, inverse = np.unique(y, return_index=True, return_inverse=True)
        self.first = self.firsts[inverse.reshape(-1)]

    def given_by(self, x: Array, comparable: bool) -> str | None:
        """How a feature's cells x (n,) give these away; None where they do not, or where too few rows agree.

        `comparable`: whether equal numbers in x and y stand for equal cells.
        """
        if len(x) <= PROOF:
            return None
        if comparable and np.array_equal(x, self.y):
            return "equals"
        if len(self.firsts) + PROOF > len(x) or not (x == x[self.first]).all():
            return None
        return "says the same as" if len(np.unique(x[self.firsts])) == len(self.firsts) else None


def giveaways(table: Table, rows: Array, roles: Roles) -> list[str]:
    """A notice for each feature that in the rows with a target is that target.

    Its cells are equal, or each of its values goes with one of the target's and each of those with one of its own.
    Where hardly any value comes twice, that says nothing, and equal cells alone do.
    """
    glance = rows[rows < GLANCE]
    notices = []
    for target in (table.columns[name] for name in roles.targets):
        seen = _Values(_cells(_head(target))[glance])
        whole: _Values | None = None
        for column in (table.columns[name] for name in roles.features):
            comparable = column.levels == target.levels if column.levels else column.numeric and target.numeric
            if seen.given_by(_cells(_head(column))[glance], comparable) is None:
                continue
            whole = whole or _Values(_cells(target)[rows])
            how = whole.given_by(_cells(column)[rows], comparable)
            if how is not None:
                notices.append(
                    f'column "{column.name}" {how} the target "{target.name}" in every row; list it under data.exclude '
                    "if it is not known where the target is not"
                )
    return notices


def _cells(column: Column) -> Array:
    """The numbers of a column, or the codes of its categories."""
    if column.numeric:
        return column.numbers()
    assert column.codes is not None
    return column.codes


def _head(column: Column) -> Column:
    """The first GLANCE rows of a column."""
    chunks, n = [], 0
    for chunk in column.chunks:
        chunks.append(chunk[: GLANCE - n])
        n += len(chunk)
        if n >= GLANCE:
            break
    return replace(column, chunks=tuple(chunks), codes=None if column.codes is None else column.codes[:GLANCE])


def alike(names: Sequence[str]) -> list[str]:
    """A notice of names that differ only by case, blanks, or how Unicode writes one and the same character."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    found = [group for group in groups.values() if len(group) > 1]
    if not found:
        return []
    more = f", and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    said = "; ".join(listed(group, 4) for group in islice(found, SHOWN))
    return [f"columns whose names differ only by case, blanks or the form of their characters: {said}{more}"]
