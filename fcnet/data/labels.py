"""What the cells of a target mean: the number of each, or its label, and which labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.numbers import BLANKS, Grammar
from fcnet.data.spelling import TRUTHS, Label, is_plain, keys, plain_number, shortest
from fcnet.data.table import Column, Table
from fcnet.errors import DataError

Array = NDArray[Any]


def numbers_in(table: Table, names: Sequence[str], rows: Array) -> Array:
    """The numbers (B, n) of several columns."""
    return np.column_stack([numbers_of(table.columns[name], table)[rows] for name in names])


def numbers_of(column: Column, table: Table) -> Array:
    """The numbers of a target column, (n,) float64, booleans as 0 and 1; DataError naming its first text if any."""
    if column.numeric:
        return column.numbers()
    assert column.codes is not None
    if all(text.strip() in TRUTHS for text in column.levels):
        truths = [float(TRUTHS[text.strip()]) for text in column.levels]
        result: Array = np.array([*truths, np.nan])[column.codes]
        return result
    grammar = Grammar()
    numbers = {i for i, text in enumerate(column.levels) if grammar.number(text) is not None}
    rows = [
        (
            int(i),
            f'column "{column.name}": {grammar.why_not(column.levels[code])}; the target of this task must be numbers',
        )
        for i, code in enumerate(column.codes.tolist())
        if code >= 0 and code not in numbers
    ]
    raise table.error(rows or [(0, f'column "{column.name}" is text; the target must be numbers')], "such cells")


def cells_of(column: Column, grammar: Grammar) -> tuple[Array, list[Label]]:
    """The cell of each row, as its position (n,) in the list of the different ones, −1 where missing; and that list."""
    if column.codes is None:
        values = column.numbers()
        narrow = any(np.asarray(chunk).dtype in (np.float16, np.float32) for chunk in column.chunks)
        distinct = np.unique(values[~np.isnan(values)])
        codes = np.where(np.isnan(values), -1, np.searchsorted(distinct, values)).astype(np.int64)
        return codes, [shortest(v) for v in (distinct.astype(np.float32) if narrow else distinct)]
    if column.boolean:
        return column.codes.astype(np.int64), [False, True]
    if not column.numeric:
        return column.codes.astype(np.int64), list(column.levels)
    texts = [text.strip(BLANKS) for text in column.levels]
    lut = np.array([-1 if text in grammar.missing else i for i, text in enumerate(texts)] + [-1], dtype=np.int64)
    return lut[column.codes], list(texts)


def labels_of(column: Column, grammar: Grammar) -> tuple[Array, list[Label]]:
    """The label of each row, as its position (n,) in the sorted list of labels, −1 where missing; and that list.

    Cells that `keys` makes the same are one label, which is said as a plain number where one of them is, else as the
    first of them. Numbers are sorted by value, texts as texts.
    """
    codes, cells = cells_of(column, grammar)
    if not all(isinstance(cell, str) for cell in cells):
        return codes, cells
    texts = [str(cells[i]) for i in np.flatnonzero(np.bincount(codes[codes >= 0])).tolist()]
    same = dict(zip(texts, keys(texts), strict=True))
    said: dict[str, str] = {}
    for text, key in same.items():
        if key not in said or (is_plain(text) and not is_plain(said[key])):
            said[key] = text
    values = {key: None if column.declared else grammar.number(text) for key, text in said.items()}
    numeric = None not in values.values()
    order = sorted(said, key=lambda key: (values[key] if numeric else 0, said[key]))
    place = {key: i for i, key in enumerate(order)}
    lut = np.array([place.get(same.get(str(cell), ""), -1) for cell in cells] + [-1], dtype=np.int64)
    return lut[codes], [said[key] for key in order]


def as_numbers(labels: Sequence[Label], declared: bool) -> tuple[Label, ...]:
    """Labels as numbers where every one is a plain number, and not `declared` to be text; else as they stand."""
    texts = [label for label in labels if isinstance(label, str)]
    if declared or len(texts) < len(labels) or not all(map(is_plain, texts)):
        return tuple(labels)
    return tuple(map(plain_number, texts))


def check_blanks(column: Column, table: Table) -> None:
    """DataError if two levels of a column differ only by blanks around them."""
    assert column.codes is not None
    seen: dict[str, str] = {}
    for text in column.levels:
        other = seen.setdefault(text.strip(), text)
        if other != text:
            row = int(np.flatnonzero(column.codes == column.levels.index(text))[0])
            raise DataError(
                table.problem(
                    row,
                    f'column "{column.name}": "{text}" and "{other}" differ only by blanks; write them alike',
                )
            )
