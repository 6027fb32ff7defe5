"""Reads columns of sources that have types of their own (NumPy, pandas, polars): as numbers, or as coded texts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.bulk import first_seen
from fcnet.data.spelling import canonical, spelled
from fcnet.records import dataclass

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[Any]

LARGEST_EXACT = 2**53
DAYS = 95_000_000
"""So many days from 1970, some 260,000 years, polars still finds a date; farther off lies what stands for infinity."""
SECONDS = "give its seconds instead, in pandas and polars with .dt.total_seconds()"


class Unread(Exception):
    """A type that is no cell of a table: what it is called, and what to do about it."""

    def __init__(self, kind: str, cure: str = "convert it to numbers or text") -> None:
        super().__init__(f"is of the type {kind}, which is not read; list it under data.exclude, or {cure}")


class Inexact(Exception):
    """The whole number `value` at `index` is none that float64 holds."""

    def __init__(self, index: int, value: int) -> None:
        super().__init__(index, value)
        self.index, self.value = index, value


@dataclass(frozen=True)
class Categories:
    """A column of declared categories: codes (n,) into `values`, −1 where missing."""

    codes: Array
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return self.codes.shape

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class Coded:
    """Cells that are no numbers, or are not to be: codes (n,) int32 into different texts, −1 where missing.

    `boolean`: the texts are False and True. `declared`: they are texts in the source, and not the spelling of values.
    `numbers` (k,): the values that the texts spell, where they spell numbers or booleans.
    """

    codes: Array
    texts: Sequence[str]
    numbers: Array | None = None
    boolean: bool = False
    declared: bool = False


def column(values: Any) -> Any:
    """A column as `read` takes it: a polars series as it is, declared categories of pandas, else a NumPy array.

    ValueError for rows of different lengths.
    """
    if type(values).__module__.partition(".")[0] == "polars":
        return values if hasattr(values, "null_count") and hasattr(values, "dtype") else values.to_numpy()
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        cells = values.data.astype(object)
        cells[values.mask] = None
        return cells
    if hasattr(values, "to_numpy"):
        if hasattr(values, "cat") and hasattr(values.cat, "codes"):
            return Categories(np.asarray(values.cat.codes).astype(np.int32), column(values.cat.categories))
        return np.asarray(values.to_numpy())
    return np.asarray(values)


def read(values: Any, as_text: bool = False) -> Array | Coded:
    """A column as numbers (n,), NaN where missing, or as coded texts; `as_text` wants numbers as texts too.

    Raises Unread for a type that is no cell, Inexact for a whole number beyond 2**53 among objects or missing cells
    (of NumPy's own types nothing is checked).
    """
    if isinstance(values, Categories):
        return _declared(values)
    if not isinstance(values, np.ndarray):
        return _of_series(values, as_text)
    kind = values.dtype.kind
    if kind == "O":
        return _of_objects(values, as_text)
    if kind == "U":
        codes, texts = first_seen([str(text) for text in values.tolist()])
        return Coded(codes, texts, declared=True)
    if kind == "T":
        return _of_objects(values.astype(object), as_text)
    if kind == "b":
        return Coded(values.astype(np.int32), ("False", "True"), np.arange(2.0), boolean=True)
    if kind == "M":
        return _different(values, np.isnat(values))
    if kind not in "iuf" or values.dtype.itemsize > 8:
        raise Unread(str(values.dtype), _cure(values.dtype))
    if as_text:
        return _different(values, np.isnan(values))
    return values


def as_written(values: Array) -> list[str]:
    """The cells (n,) of an array as texts, missing ones empty."""
    return ["" if is_missing(cell) else str(cell) for cell in values.tolist()]


def same_cells(a: Any, b: Any) -> bool:
    """Whether two columns of one length hold the same cells."""
    try:
        one, other = (read(values, as_text=True) for values in (a, b))
    except (Unread, OverflowError):
        return False
    assert isinstance(one, Coded)
    assert isinstance(other, Coded)
    pairs = np.unique(np.stack([one.codes, other.codes], axis=1), axis=0).tolist()
    texts = [*one.texts, None], [*other.texts, None]
    return all(texts[0][i] == texts[1][j] for i, j in pairs)


def _cure(dtype: np.dtype[Any]) -> str:
    """What to do about a column of a NumPy type that is not read."""
    cures = {"m": 'divide it by numpy.timedelta64(1, "s")', "c": "give .real, .imag or abs() of it instead"}
    cures |= {"S": "convert it with .astype(str)", "f": 'convert it with .astype("float64")'}
    cures |= {"V": "take its fields apart" if dtype.names else 'convert it with .astype("float32")'}
    return cures.get(dtype.kind, "convert it to numbers or text")


def _different(values: Array, missing: Array) -> Coded:
    """Numbers or times (n,) as codes into the spellings of the different ones."""
    found, inverse = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[~missing] = inverse
    if found.dtype.kind == "M":
        return Coded(codes, list(map(canonical, found.astype(str).tolist())))
    return Coded(codes, list(map(spelled, found)), found.astype(np.float64))


def _declared(categories: Categories) -> Coded:
    """Declared categories stay categories, also those of numbers."""
    inner = read(categories.values, as_text=True)
    assert isinstance(inner, Coded)
    places = np.append(inner.codes, -1).astype(np.int32)
    return Coded(places[categories.codes], inner.texts, inner.numbers, inner.boolean, inner.declared)


def _of_objects(values: Array, as_text: bool) -> Array | Coded:
    """An array of Python objects as what its elements are."""
    cells = values.tolist()
    present = [not is_missing(cell) for cell in cells]
    types = {type(cell) for cell, there in zip(cells, present, strict=True) if there}
    for kind in types:
        _check_object(kind)
    if types and all(issubclass(kind, bool | np.bool_) for kind in types):
        truths = [int(cell) if there else -1 for cell, there in zip(cells, present, strict=True)]
        return Coded(np.array(truths, dtype=np.int32), ("False", "True"), np.arange(2.0), boolean=True)
    numbers = all(issubclass(kind, Real | Decimal) and not issubclass(kind, bool | np.bool_) for kind in types)
    if numbers and not as_text:
        for i, (cell, there) in enumerate(zip(cells, present, strict=True)):
            if there and isinstance(cell, int | np.integer) and abs(int(cell)) > LARGEST_EXACT:
                raise Inexact(i, int(cell))
        return np.array([float(cell) if there else np.nan for cell, there in zip(cells, present, strict=True)])
    places, texts = first_seen([spelled(cell) for cell, there in zip(cells, present, strict=True) if there])
    codes = np.full(len(cells), -1, dtype=np.int32)
    codes[np.array(present, dtype=bool)] = places
    return Coded(
        codes,
        texts,
        np.array([float(text) for text in texts]) if numbers else None,
        declared=bool(types) and all(issubclass(kind, str) for kind in types),
    )


def _check_object(kind: type) -> None:
    """Unread where objects of a class are no cells: durations, complex numbers, containers, and what has no text."""
    if issubclass(kind, dt.timedelta | np.timedelta64):
        raise Unread(kind.__name__, SECONDS)
    if issubclass(kind, complex | np.complexfloating):
        raise Unread(kind.__name__, "give .real, .imag or abs() of it instead")
    nameless = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    if nameless or issubclass(kind, bytes | bytearray | list | tuple | dict | set | frozenset | np.ndarray):
        raise Unread(f"object, with Python objects such as {kind.__name__}")


def is_missing(cell: object) -> bool:
    """Whether a cell is None, NaN, NaT or pandas's NA."""
    if isinstance(cell, Decimal):
        return cell.is_nan()
    if isinstance(cell, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(cell != cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def check_series(series: pl.Series) -> None:
    """Unread for a polars series of no cells: durations, nested types, bytes, objects, times that are no dates."""
    import polars as pl

    kind = series.dtype
    if kind == pl.Duration:
        raise Unread(str(kind), SECONDS)
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise Unread(str(kind))
    if kind in (pl.Date, pl.Datetime):
        a_day = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}.get(
            getattr(kind, "time_unit", ""), 1
        )
        most = min(DAYS * a_day, 2**63 - 1)
        if not series.to_physical().is_between(-most, most).all():
            raise Unread(f"{kind} with times that no calendar has, such as infinity", "drop them")


def _of_series(series: pl.Series, as_text: bool) -> Array | Coded:
    """A polars series, likewise."""
    import polars as pl

    check_series(series)
    kind: Any = series.dtype
    wide = str(kind) in ("Int128", "UInt128")  # which NumPy has not
    if kind == pl.Boolean:
        codes = series.cast(pl.Int32).fill_null(-1).to_numpy()
        return Coded(codes, ("False", "True"), np.arange(2.0), boolean=True)
    if kind == pl.Null:
        series, kind = series.cast(pl.Float64), pl.Float64()
    if kind.is_numeric() and as_text:
        series = series.fill_nan(None) if kind.is_float() else series
        whole = kind.is_integer()
        coded = _of_strings(series.cast(pl.String), lambda text: text if whole else spelled(float(text)))
        return replace(coded, numbers=np.array([float(text) for text in coded.texts]))
    if kind.is_numeric():
        if kind.is_integer() and (series.null_count() or wide):
            _check_exact(series)
            series = series.cast(pl.Float64)
        return (series.cast(pl.Float64) if kind.is_decimal() else series).to_numpy()
    if kind == pl.Datetime and getattr(kind, "time_zone", None):
        naive = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return _of_strings(naive.cast(pl.String), lambda text: canonical(f"{text}+00:00"))
    if kind.is_temporal():
        return _of_strings(strings(series), canonical)
    return replace(_of_strings(strings(series)), declared=True)


def strings(series: pl.Series) -> pl.Series:
    """A polars series as texts, whole: a cast drops the fraction of a time of day."""
    import polars as pl

    return series.dt.to_string("%H:%M:%S%.f") if series.dtype == pl.Time else series.cast(pl.String)


def _of_strings(series: pl.Series, spell: Callable[[str], str] | None = None) -> Coded:
    """Texts of polars as codes, each of the different ones spelled anew."""
    import polars as pl

    levels = series.drop_nulls().unique(maintain_order=True)
    if not len(levels):
        return Coded(np.full(len(series), -1, dtype=np.int32), ())
    codes = series.cast(pl.Enum(levels)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    texts = levels.to_list()
    if spell is not None:
        places, texts = first_seen([spell(text) for text in texts])
        codes = np.append(places, np.int32(-1))[codes]
    return Coded(codes, texts)


def _check_exact(series: pl.Series) -> None:
    """Inexact for the first whole number beyond 2**53."""
    ends: list[Any] = [series.min(), series.max()]
    largest = max((abs(value) for value in ends if value is not None), default=0)
    if largest > LARGEST_EXACT:
        found = ((i, v) for i, v in enumerate(series.to_list()) if v is not None and abs(v) > LARGEST_EXACT)
        raise Inexact(*next(found))
