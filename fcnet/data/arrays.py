"""Builds the table out of arrays: what an NPZ file holds, or the columns that a Python caller hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.columns import Plan, Want
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data
from fcnet.data.table import Column, Table
from fcnet.errors import DataError

Array = NDArray[Any]

LARGEST_EXACT = 2**53


def table_of_arrays(
    x: Array,
    y: Array | None,
    columns: Array | None,
    options: Data,
    grammar: Grammar,
    plan: Plan,
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
    return table_of_columns(parts, grammar, plan, shown, notices)


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
    parts: Mapping[str, Array], grammar: Grammar, plan: Plan, shown: str, notices: tuple[str, ...] = ()
) -> Table:
    """The table of columns by name, each (n,): numbers, booleans or texts, None and NaN being missing."""
    wants = plan(tuple(parts))
    n = len(next(iter(parts.values()))) if parts else 0
    if not n:
        raise DataError("there are no rows", file=shown)
    columns: dict[str, Column] = {}
    raw: dict[str, Sequence[str]] = {}
    for name, values in parts.items():
        if name in wants:
            want = wants[name]
            if want.raw:
                raw[name] = ["" if is_missing(value) else str(value) for value in values.tolist()]
            columns[name] = column_of(name, values, want, grammar, shown)
    return Table(shown, n, tuple(parts), columns, None, raw, notices)


def array_of(values: Any) -> Array:
    """An array, a list, or a column of a frame, as an array; times as texts. DataError for what is ragged."""
    if hasattr(values, "to_numpy"):
        array = np.asarray(values.to_numpy())
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            raise DataError("rows of different lengths are no table", file="data") from None
    if array.dtype.kind in "mM":
        return array.astype(str).astype(object)
    return array


def is_missing(value: object) -> bool:
    """Whether a value in an array of objects stands for a missing cell."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def column_of(name: str, values: Array, want: Want, grammar: Grammar, shown: str, at: int = 0) -> Column:
    """A column of numbers, booleans or texts; `at` is the index of its first row, for messages. DataError."""
    n = len(values)
    if values.dtype.kind == "O":
        values = _plain_type(name, values, shown)
    kind = values.dtype.kind
    if kind in "US":
        return _texts(name, [str(v) for v in values.tolist()], want, grammar, shown, at)
    if kind == "O":
        return _texts(name, ["" if is_missing(v) else str(v) for v in values.tolist()], want, grammar, shown, at)
    if kind == "b":
        if want.kind == "number":
            return Column(name, n, (values.astype(np.float64),))
        codes = values.astype(np.int32)
        chunks = () if want.kind in ("auto", "text", "both") else (values.astype(np.float64),)
        return Column(name, n, chunks, codes, ("False", "True"), boolean=True)
    if kind not in "iuf" or (kind == "f" and values.dtype.itemsize > 8):
        raise DataError(f'column "{name}" is of the type {values.dtype}, which is not read; convert it', file=shown)
    check_numbers(name, values, grammar, shown, at)
    if want.kind == "text":
        texts = ["" if is_missing(v) else str(v) for v in values.tolist()]
        return _texts(name, texts, want, grammar, shown, at)
    return Column(name, n, (values,))


def _plain_type(name: str, values: Array, shown: str) -> Array:
    """An array of objects as one of numbers where each is a number or missing, of booleans likewise; else as it is."""
    present = [v for v in values.tolist() if not is_missing(v)]
    if any(isinstance(v, list | dict | tuple | bytes | set) for v in present):
        raise DataError(f'column "{name}" holds Python objects; give numbers or texts', file=shown)
    if present and all(isinstance(v, bool) for v in present) and len(present) == len(values):
        return values.astype(bool)
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        try:
            return np.array([np.nan if is_missing(v) else float(v) for v in values.tolist()])
        except OverflowError:
            raise DataError(f'column "{name}" holds a number outside float64', file=shown) from None
    return values


def check_numbers(name: str, values: Array, grammar: Grammar, shown: str, at: int = 0) -> None:
    """DataError at the first value that is infinite, outside the dtype, or an integer that float64 cannot hold."""
    if values.dtype.kind == "f":
        bad = np.abs(values) > np.float64(grammar.limit)
        what = f"is infinite or outside {grammar.dtype}"
    elif values.dtype.itemsize < 8:
        return
    else:
        bad = (values > LARGEST_EXACT) | (values < -LARGEST_EXACT if values.dtype.kind == "i" else False)
        what = "is an integer beyond 2**53, which float64 does not hold exactly"
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(f'row index {at + first}: column "{name}": {values[first]} {what}; mend or drop it', file=shown)


def _texts(name: str, texts: list[str], want: Want, grammar: Grammar, shown: str, at: int = 0) -> Column:
    if want.kind == "number":
        values, bad = grammar.parse(texts)
        if bad:
            raise DataError(f'row index {at + bad[0]}: column "{name}": {grammar.why_not(texts[bad[0]])}', file=shown)
        return Column(name, len(texts), (values,))
    levels: dict[str, int] = {}
    codes = np.array(
        [-1 if grammar.is_missing(text) else levels.setdefault(text, len(levels)) for text in texts], dtype=np.int32
    )
    return Column(name, len(texts), (), codes, tuple(levels))
