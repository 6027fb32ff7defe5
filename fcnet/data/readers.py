"""The kinds of files that hold tables, by the ends of their names, and how each is read: whole, or chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fcnet.data.columns import Gatherer, Want, Wants, common_spelling
from fcnet.data.cures import from_stdin
from fcnet.data.delimited import Block, Delimited
from fcnet.data.npz import read_npz
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.options import Data
from fcnet.data.parquet import read_parquet
from fcnet.data.problems import Problems
from fcnet.data.table import Column, Table
from fcnet.errors import DataError
from fcnet.records import dataclass


def quietly() -> None:
    """Polls nothing."""


def numbered(width: int) -> Sequence[str]:
    """x0, x1, …: the names of columns without names."""
    return [f"x{j}" for j in range(width)]


@dataclass(frozen=True)
class Request:
    """What to read: the file and its name in messages, the config's data section, and how to read each column.

    `expected`: names that a header should have; `complete`: it has them all. `prefer`: the delimiter to try first.
    `headless`: the names of so many columns where the file has no header. `poll` is called between blocks and may
    raise, to stop.
    """

    path: Path | BinaryIO
    shown: str
    options: Data
    grammar: Grammar
    plan: Wants
    expected: tuple[str, ...] = ()
    complete: bool = False
    prefer: str | None = None
    headless: Callable[[int], Sequence[str]] = numbered
    poll: Callable[[], object] = quietly


@dataclass(frozen=True)
class Reading:
    """A table that was read whole, the hash of its file, and the delimiter where there is one."""

    table: Table
    sha256: str
    delimiter: str | None = None


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read."""

    read: Callable[[Request], Reading]
    """The whole table, with column types found by looking at all of it."""
    stream: Callable[[Request], Iterator[Table]]
    """The table in chunks of a few megabytes; the plan may ask for no `auto`."""


def reader(path: Path | BinaryIO) -> Reader:
    """The reader for a file, by its name; a stream is CSV."""
    if not isinstance(path, Path):
        return READERS[".csv"]
    name = path.name.lower().removesuffix(".gz")
    return READERS.get(os.path.splitext(name)[1], READERS[".csv"])


def _open(request: Request, opened: Opened, problems: Problems) -> Delimited:
    gz: bool | None = None
    prefer = request.prefer
    if isinstance(request.path, Path) and not from_stdin(request.path.name):
        name = request.path.name.lower()
        gz = name.endswith(".gz")
        if prefer is None and name.removesuffix(".gz").endswith(".tsv"):
            prefer = "\t"
    return Delimited(
        opened,
        request.grammar,
        problems,
        delimiter=request.options.delimiter if request.prefer is None else "auto",
        prefer=prefer,
        headless=None if request.options.header else request.headless,
        expected=request.expected,
        complete=request.complete,
        skip=request.options.skip,
        gz=gz,
    )


def read_delimited(request: Request) -> Reading:
    """A whole CSV or TSV file. DataError names every row and cell that is wrong."""
    keep_text: frozenset[str] = frozenset()
    while True:
        problems = Problems(request.shown)
        with Opened(request.path, request.shown) as opened:
            source = _open(request, opened, problems)
            wants = request.plan(source.names)
            columns = [
                (j, Gatherer(name, wants[name], request.grammar, name in keep_text))
                for j, name in zip(source.places, source.names, strict=True)
                if name in wants
            ]
            lines = [np.zeros(0, dtype=np.int64)]

            def wanted(columns: list[tuple[int, Gatherer]] = columns) -> set[int]:
                return {j for j, gatherer in columns if not gatherer.textual}

            for block in source.blocks(wanted):
                request.poll()
                lines.append(block.lines)
                for j, gatherer in columns:
                    gatherer.add(block, j)
            sha256 = opened.finish()
        late = {gatherer.name for _, gatherer in columns if gatherer.needs_text}
        if not late:
            break
        keep_text |= (
            late  # a text was met late in a column of numbers, whose texts were not kept: once more from the start
        )
    where = np.concatenate(lines)
    if not len(where) and not problems:
        raise DataError("the file has a header and no rows", file=request.shown)
    found: dict[str, Column] = {}
    spelling = common_spelling(gatherer for _, gatherer in columns)
    for _, gatherer in columns:
        found[gatherer.name] = gatherer.column(problems, spelling)
    of_columns = (text for _, gatherer in columns for text in gatherer.notices)
    notices = (*source.notices(), *source.doubts(), *of_columns)
    problems.raise_any()
    raw = {gatherer.name: gatherer.raw for _, gatherer in columns if wants[gatherer.name].raw}
    table = Table(request.shown, len(where), source.names, found, where, raw, notices, left_out=source.left_out)
    return Reading(table, sha256, source.delimiter)


def stream_delimited(request: Request) -> Iterator[Table]:
    """A CSV or TSV file in chunks; wrong rows are gathered to the end of the file, then DataError."""
    problems = Problems(request.shown)
    with Opened(request.path, request.shown, hashed=False) as opened:
        source = _open(request, opened, problems)
        wants = request.plan(source.names)
        rows = 0
        kinds = {name: want.kind for name, want in wants.items()}
        numeric = {
            j for j, name in zip(source.places, source.names, strict=True) if kinds.get(name) not in ("text", None)
        }
        for block in source.blocks(lambda: numeric):
            request.poll()
            rows += len(block.lines)
            table = _typed(request, source, wants, block, problems)
            del block
            if not problems:
                yield table
            del table
        doubts = source.doubts()
        problems.raise_any()
        if not rows:
            raise DataError("the file has a header and no rows", file=request.shown)
        opened.finish()
        notices = (*source.notices(), *doubts)
    if notices:
        yield Table(request.shown, 0, source.names, {}, np.zeros(0, dtype=np.int64), {}, notices)


def _typed(request: Request, source: Delimited, wants: Mapping[str, Want], block: Block, problems: Problems) -> Table:
    """The table of one block, with the types that are wanted."""
    columns: dict[str, Column] = {}
    raw: dict[str, Sequence[str]] = {}
    for j, name in zip(source.places, source.names, strict=True):
        if name in wants:
            gatherer = Gatherer(name, wants[name], request.grammar)
            gatherer.add(block, j)
            columns[name] = gatherer.column(problems)
            if wants[name].raw:
                raw[name] = gatherer.raw
    return Table(request.shown, len(block.lines), source.names, columns, block.lines, raw, left_out=source.left_out)


def _read_npz(request: Request, *, hashed: bool = True) -> Reading:
    with Opened(_path(request), request.shown, hashed=hashed) as opened:
        table = read_npz(opened, request.options, request.grammar, request.plan, request.poll)
        return Reading(table, opened.finish())


def _stream_npz(request: Request) -> Iterator[Table]:
    yield _read_npz(request, hashed=False).table


def _path(request: Request) -> Path:
    assert isinstance(request.path, Path)
    return request.path


def _read_parquet(request: Request) -> Reading:
    path = _path(request)
    with Opened(path, request.shown) as opened:
        (table,) = read_parquet(opened, path, request.grammar, request.plan, request.poll, step=0)
        return Reading(table, opened.finish())


def _stream_parquet(request: Request) -> Iterator[Table]:
    path = _path(request)
    with Opened(path, request.shown, hashed=False) as opened:
        yield from read_parquet(opened, path, request.grammar, request.plan, request.poll)
        opened.finish()


_TEXT = Reader(read_delimited, stream_delimited)

READERS: dict[str, Reader] = {
    ".csv": _TEXT,
    ".tsv": _TEXT,
    ".npz": Reader(_read_npz, _stream_npz),
    ".parquet": Reader(_read_parquet, _stream_parquet),
}
