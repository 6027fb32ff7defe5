"""Reads Parquet files through polars: whole for training, a slice of rows at a time for prediction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fcnet.data.arrays import column_of
from fcnet.data.bulk import fault
from fcnet.data.columns import Want, Wants
from fcnet.data.foreign import looks_like
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.table import Column, Table
from fcnet.data.typed import Unread, check_series, strings
from fcnet.errors import DataError

if TYPE_CHECKING:
    import polars as pl

CELLS = 1 << 20
"""A slice holds about so many cells."""


def read_parquet(
    opened: Opened, path: Path, grammar: Grammar, plan: Wants, poll: Callable[[], object], step: int | None = None
) -> Iterator[Table]:
    """The table in slices of a million cells, or of `step` rows; a `step` of 0 is all rows at once.

    DataError for what is no Parquet file or damaged, for nested and binary columns that are wanted, for infinite
    numbers, and where polars is not installed.
    """
    shown = opened.shown
    start = opened.file.read(4)
    opened.file.seek(0)
    if start != b"PAR1":
        what = looks_like(start)
        raise DataError(f"is not a Parquet file{f' but looks like {what}' if what else ''}", file=shown)
    found = fault()
    if found is not None:
        why = "" if found.missing else f", which {found.what}"
        raise DataError(
            f"reading Parquet needs polars{why}: {found.cure}, or convert the file to CSV or NPZ", file=shown
        )
    import polars as pl
    from polars import selectors

    with _damage(shown):
        source = pl.scan_parquet(path, glob=False)
        names = tuple(source.collect_schema().names())
        n = int(source.select(pl.len()).collect().item())
        declared = _declared(opened)
    wants = {name: _as_declared(want) if name in declared else want for name, want in plan(names).items()}
    if not n:
        raise DataError("there are no rows", file=shown)
    wanted = [name for name in names if name in wants]
    size = max(CELLS // max(len(wanted), 1), 1) if step is None else step or n
    for at in range(0, n, size):
        poll()
        rows = min(size, n - at)
        with _damage(shown):
            # By its name: a text may stand for others, "*" for all and "^x.*$" for those that match.
            frame = source.select(selectors.by_name(wanted)).slice(at, rows).collect()
        yield _table(frame, rows, at, names, wants, grammar, shown)


def _declared(opened: Opened) -> frozenset[str]:
    """The columns that pandas wrote as categories: polars reads those of numbers as numbers."""
    import polars as pl

    try:
        columns = json.loads(pl.read_parquet_metadata(opened.file).get("pandas", ""))["columns"]
        return frozenset(entry["field_name"] for entry in columns if entry["pandas_type"] == "categorical")
    except (ValueError, KeyError, TypeError, RecursionError):  # what is written there is the writer's own affair
        return frozenset()
    finally:
        opened.file.seek(0)


def _as_declared(want: Want) -> Want:
    """How to read a column of declared categories whose type is yet to be found."""
    return replace(want, kind="text") if want.kind in ("auto", "both") else want


def _table(
    frame: pl.DataFrame,
    n: int,
    at: int,
    names: tuple[str, ...],
    wants: Mapping[str, Want],
    grammar: Grammar,
    shown: str,
) -> Table:

    columns: dict[str, Column] = {}
    raw: dict[str, Sequence[str]] = {}
    for series in frame.iter_columns():
        name, want = series.name, wants[series.name]
        if want.raw:
            try:
                check_series(series)
            except Unread as error:
                raise DataError(f'column "{name}" {error}', file=shown) from None
            raw[name] = strings(series).fill_null("").to_list()
        if want.kind is not None:
            columns[name] = column_of(name, series, want, grammar, shown, at)
    return Table(shown, n, names, columns, None, raw, (), at)


@contextmanager
def _damage(shown: str) -> Iterator[None]:
    """Turns what polars says of a damaged file into ours."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        why = str(error).partition("\n")[0][:200]
        raise DataError(
            f"the Parquet file is damaged, or of a kind that polars does not read ({why})", file=shown
        ) from None
