"""What in a table is hardly meant: a feature that gives the target away, names that look alike."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.encode import listed
from fcnet.data.problems import SHOWN
from fcnet.data.roles import Roles
from fcnet.data.table import Column, Table

Array = NDArray[Any]

GLANCE = 50
"""Rows that are looked at first: for most features these decide."""

PROOF = 30
"""Bits: two columns are taken for one where they would agree by chance in one of 2³⁰ tables, or fewer."""


def giveaways(table: Table, rows: Array, roles: Roles) -> list[str]:
    """A notice for each feature that in the rows with a target is that target.

    Its cells are equal, or each of its values goes with one of the target's and each of those with one of its own.
    Where hardly any value comes twice, or hardly any differs, that says nothing. Columns are compared by what their
    cells have in common, so that the time grows with the columns, and not with the pairs of them.
    """
    glance = rows[rows < GLANCE]
    alike: dict[object, list[Column]] = {}
    for target in (table.columns[name] for name in roles.targets):
        alike.setdefault(_pattern(_head(target)[glance]), []).append(target)
    whole: dict[object, dict[bytes, list[Column]]] = {}
    notices = []
    for column in (table.columns[name] for name in roles.features):
        key = _pattern(_head(column)[glance])
        if key not in alike:
            continue
        if key not in whole:
            whole[key] = {}
            for target in alike[key]:
                whole[key].setdefault(_same(_cells(target)[rows]), []).append(target)
        x = _cells(column)[rows]
        for target in whole[key].get(_same(x), []):
            comparable = column.levels == target.levels if column.levels else column.numeric and target.numeric
            if comparable and np.array_equal(x, _cells(target)[rows]) and _bits(x, renamed=False) >= PROOF:
                how = "equals"
            elif _bits(x, renamed=True) >= PROOF:
                how = "says the same as"
            else:
                continue
            notices.append(
                f'column "{column.name}" {how} the target "{target.name}" in every row; list it under data.exclude if '
                "it is not known where the target is not"
            )
    return notices


def _pattern(cells: Array) -> object:
    """For each of a few cells the first that is equal, or the cells themselves where no two are equal."""
    values = cells.tolist()
    first: dict[object, int] = {}
    pattern = [first.setdefault(value, i) for i, value in enumerate(values)]
    return tuple(pattern if len(first) < len(values) else values)


def _same(cells: Array) -> bytes:
    """A digest of what `_pattern` says of all cells; of the cells themselves where a pattern proves nothing."""
    _, first, inverse = np.unique(cells, return_index=True, return_inverse=True)
    proof = _bits(cells, renamed=True) >= PROOF
    said = first[inverse.reshape(-1)] if proof else np.asarray(cells, dtype=np.float64) + 0.0  # −0 is 0
    return hashlib.sha256(np.ascontiguousarray(said).data).digest()


def _bits(cells: Array, renamed: bool) -> float:
    """log₂ of n! / Π n_v!, the number of orders of cells of which n_v have the value v.

    With `renamed`, of orders that stay different when the k values change names: k! fewer.

    >>> round(2 ** _bits(np.array([0, 0, 1]), renamed=False)), round(2 ** _bits(np.array([4, 5, 6]), renamed=True))
    (3, 1)
    """
    _, counts = np.unique(cells, return_counts=True)
    sizes, times = np.unique(counts, return_counts=True)
    same = sum(m * math.lgamma(n + 1) for n, m in zip(sizes.tolist(), times.tolist(), strict=True))
    names = math.lgamma(len(counts) + 1) if renamed else 0.0
    return float(math.lgamma(len(cells) + 1) - same - names) / math.log(2)


def _cells(column: Column) -> Array:
    """The numbers of a column, or the codes of its categories."""
    if column.numeric:
        return column.numbers()
    assert column.codes is not None
    return column.codes


def _head(column: Column) -> Array:
    """The cells of the first GLANCE rows of a column, or of more."""
    if column.numeric and len(column.chunks[0]) >= min(GLANCE, column.n):
        return column.chunks[0]
    return _cells(column)


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
