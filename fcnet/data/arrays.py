"""Builds the table out of arrays: what an NPZ file holds, or the columns that a Python caller hands over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.columns import Want, Wants
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data
from fcnet.data.table import Column, Table
from fcnet.data.typed import LARGEST_EXACT, Coded, Inexact, Unread, as_written, column, read
from fcnet.errors import DataError

Array = NDArray[Any]

_HALF = re.compile("[\ud800-\udfff]")


def table_of_arrays(
    x: Array,
    y: Array | None,
    columns: Array | None,
    options: Data,
    grammar: Grammar,
    plan: Wants,
    shown: str,
    notices: tuple[str, ...] = (),
) -> Table:
    """The table of features x (n, n_in) and targets y (n,) or (n, n_out), whose columns `columns` names.

    DataError for shapes that do not fit, values that are infinite or not exact in float64, and names that do not fit.
    """
    if x.ndim == 1:
        x = x.reshape(-1, 1)
    if x.ndim != 2 or not x.shape[1]:
        raise DataError(f'"{options.x}" has the shape {x.shape}; it must be rows × columns', file=shown)
    names = feature_names(columns, x.shape[1], shown)
    parts: dict[str, Array] = {name: x[:, j] for j, name in enumerate(names)}
    if y is not None:
        for name, values in _targets(y, options, len(x), x.shape, shown).items():
            if name in parts:
                raise DataError(f'"{name}" names a feature and the target; set data.target', file=shown)
            parts[name] = values
    return table_of_columns(parts, grammar, plan, shown, notices, names if _within(x, grammar) else ())


def _within(x: Array, grammar: Grammar) -> bool:
    """Whether none of the numbers is infinite or outside the dtype, by one pass instead of one a column."""
    if x.dtype.kind != "f" or x.dtype.itemsize > 8 or not x.size or len(grammar.marks):
        return False
    low, high = float(np.fmin.reduce(x, axis=None)), float(np.fmax.reduce(x, axis=None))  # of those that are there
    return -grammar.limit <= low and high <= grammar.limit


def with_target(options: Data) -> Data:
    """The section with the target's name for an NPZ file, whose array `options.y` is the target unless one is named."""
    return options if options.target is not None else replace(options, target=options.y)


def feature_names(columns: Array | None, width: int, shown: str) -> list[str]:
    """The names of so many columns of features: those of the array `columns`, else x0, x1, …; DataError."""
    if columns is None:
        return [f"x{j}" for j in range(width)]
    names = [str(name) for name in columns.reshape(-1)]
    if columns.dtype.kind not in "UO" or len(names) != width or len(set(names)) < width or not all(names):
        raise DataError(f'"columns" must hold {width} different names, one for each column', file=shown)
    return names


def _targets(y: Array, options: Data, n: int, shape: tuple[int, ...], shown: str) -> dict[str, Array]:
    targets = options.target if isinstance(options.target, list) else [options.target]
    names = [str(target) for target in targets]
    if y.ndim not in (1, 2) or len(y) != n:
        raise DataError(
            f'"{options.x}" has the shape {shape} and "{options.y}" {y.shape}; they must have as many rows', file=shown
        )
    if y.ndim == 1:
        y = y.reshape(-1, 1)
    if y.shape[1] != len(names):
        raise DataError(
            f'"{options.y}" has the shape {y.shape}, with {y.shape[1]} targets, and data.target names {len(names)}; '
            "list a name for each",
            file=shown,
        )
    return {name: y[:, j] for j, name in enumerate(names)}


def table_of_columns(
    parts: Mapping[str, Array],
    grammar: Grammar,
    plan: Wants,
    shown: str,
    notices: tuple[str, ...] = (),
    within: Sequence[str] = (),
) -> Table:
    """The table of columns by name, each (n,): numbers, booleans or texts, None and NaN being missing.

    `within`: those of which it is known that they hold no number outside the dtype.
    """
    _check_texts(tuple(parts), "the name of a column", shown)
    wants = plan(tuple(parts))
    n = len(next(iter(parts.values()))) if parts else 0
    if not n:
        raise DataError("there are no rows", file=shown)
    columns: dict[str, Column] = {}
    raw: dict[str, Sequence[str]] = {}
    sound = set(within)
    for name, values in parts.items():
        if name in wants:
            want = wants[name]
            if want.raw:
                raw[name] = as_written(values)
            if want.kind is not None:
                known = name in sound and want.kind != "text"
                columns[name] = Column(name, n, (values,)) if known else column_of(name, values, want, grammar, shown)
    return Table(shown, n, tuple(parts), columns, None, raw, notices)


def array_of(values: Any) -> Any:
    """An array, a list, or a column of a frame, as `typed.read` takes it. DataError for what is ragged."""
    try:
        return column(values)
    except ValueError:
        raise DataError("rows of different lengths are no table", file="data") from None


def column_of(name: str, values: Any, want: Want, grammar: Grammar, shown: str, at: int = 0) -> Column:
    """A column of numbers, booleans or texts; `at` is the index of its first row, for messages. DataError.

    `values`: what `typed.column` gives.
    """
    n = len(values)
    try:
        cells = read(values, as_text=want.kind == "text")
        if isinstance(cells, Coded):
            return _categories(name, cells, want, grammar, shown, at)
        cells = _numbers(name, cells, grammar, shown, at)
    except Unread as error:
        raise DataError(f'column "{name}" {error}', file=shown) from None
    except Inexact as error:
        raise _beyond(name, error.value, shown, at + error.index) from None
    except OverflowError:
        raise DataError(f'column "{name}" holds a number outside float64', file=shown) from None
    return Column(name, n, (cells,))


def _numbers(name: str, values: Array, grammar: Grammar, shown: str, at: int) -> Array:
    """The values, NaN where they mean a missing cell; DataError as `_check_numbers`."""
    if not len(grammar.marks):
        _check_numbers(name, values, grammar, shown, at)
        return values
    marks = grammar.marks
    if values.dtype.kind == "f":  # 0.1 of float32 is that of float64
        marks = marks[np.abs(marks) <= np.finfo(values.dtype).max].astype(values.dtype)
    missing = np.isin(values, marks)
    _check_numbers(name, np.where(missing, values.dtype.type(0), values), grammar, shown, at)
    return np.where(missing, np.nan, values)


def _check_numbers(name: str, values: Array, grammar: Grammar, shown: str, at: int) -> None:
    """DataError at the first value that is infinite, outside the dtype, or an integer that float64 cannot hold."""
    if values.dtype.kind == "f":
        bad = np.abs(values) > np.float64(grammar.limit)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            what = f"is infinite or outside {grammar.dtype}"
            raise DataError(
                f'row index {at + first}: column "{name}": {values[first]} {what}; mend or drop it', file=shown
            )
        return
    if values.dtype.itemsize < 8:
        return
    bad = (values > LARGEST_EXACT) | (values < -LARGEST_EXACT if values.dtype.kind == "i" else False)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise _beyond(name, int(values[first]), shown, at + first)


def _beyond(name: str, value: int, shown: str, index: int) -> DataError:
    what = "is an integer beyond 2**53, which float64 does not hold exactly; mend or drop it"
    shown_value = str(value) if abs(value) < 10**40 else "a value of more than 40 digits"
    return DataError(f'row index {index}: column "{name}": {shown_value} {what}', file=shown)


def _check_texts(texts: Sequence[str], what: str, shown: str) -> None:
    """DataError where a text has half a character in it, which no file could keep."""
    half = next((text for text in texts if not text.isascii() and _HALF.search(text)), None)
    if half is not None:
        raise DataError(
            f'{what}: "{half}" holds half of a surrogate pair, as bytes that are not UTF-8 become; decode it anew',
            file=shown,
        )


def _categories(name: str, cells: Coded, want: Want, grammar: Grammar, shown: str, at: int) -> Column:
    """Coded cells as categories, or as numbers where those are wanted."""
    n = len(cells.codes)
    _check_texts(cells.texts, f'column "{name}"', shown)
    if cells.numbers is not None:
        numbers = _numbers(name, np.append(cells.numbers, np.nan)[cells.codes], grammar, shown, at)
        if want.kind == "number":
            return Column(name, n, (numbers,))
    elif want.kind == "number":
        values, bad = grammar.parse(cells.texts)
        wrong = np.flatnonzero(np.isin(cells.codes, bad))
        if len(wrong):
            text = cells.texts[cells.codes[wrong[0]]]
            raise DataError(f'row index {at + wrong[0]}: column "{name}": {grammar.why_not(text)}', file=shown)
        return Column(name, n, (np.append(values, np.nan)[cells.codes],))
    codes, texts = cells.codes, tuple(cells.texts)
    missing = np.array([grammar.is_missing(text) for text in texts], dtype=bool)
    if missing.any():
        places = np.append(np.where(missing, -1, np.cumsum(~missing) - 1), -1).astype(np.int32)
        codes = places[codes]
        texts = tuple(text for text, gone in zip(texts, missing, strict=True) if not gone)
    return Column(name, n, (), codes, texts, boolean=cells.boolean, declared=cells.declared)
