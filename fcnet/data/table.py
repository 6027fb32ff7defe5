"""A table in memory: typed columns, and where each row stood in its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.problems import SHOWN
from fcnet.errors import DataError, Problem, more
from fcnet.records import dataclass

Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One column of n cells, as numbers, as categories, or (a target) as both.

    `chunks`: its numbers one piece after another, NaN where missing; empty where any cell is no number.
    `codes` (n,) int32: the position in `levels` of each cell's text, −1 where missing.
    """

    name: str
    n: int
    chunks: tuple[Array, ...] = ()
    codes: Array | None = None
    levels: tuple[str, ...] = ()
    boolean: bool = False
    """Of categories that are booleans in their source: the levels are False and True."""
    declared: bool = False
    """Of categories that are texts by the type of their source, whatever they spell."""

    @property
    def numeric(self) -> bool:
        """Whether every cell is missing or a number."""
        return bool(self.chunks)

    def numbers(self) -> Array:
        """The numbers, (n,) float64, NaN where missing; a new array."""
        return np.concatenate([np.asarray(chunk, dtype=np.float64) for chunk in self.chunks])

    @property
    def empty(self) -> bool:
        """Whether all cells are missing."""
        if self.chunks:
            return all(bool(np.isnan(chunk).all()) for chunk in self.chunks)
        assert self.codes is not None
        return bool((self.codes < 0).all())

    def missing(self) -> Array:
        """Where the cells are missing, (n,) bool."""
        if self.chunks:
            return np.isnan(self.numbers())
        assert self.codes is not None
        result: Array = self.codes < 0
        return result

    def piece(self, rows: slice) -> Column:
        """The cells of some rows of a column of one chunk at most; no more levels than rows, so the work is theirs."""
        chunks, codes, levels = tuple(chunk[rows] for chunk in self.chunks), self.codes, self.levels
        n = rows.stop - rows.start
        if codes is not None:
            codes = codes[rows]
            if len(levels) > n:
                present, codes = np.unique(codes, return_inverse=True)
                levels = tuple(levels[i] for i in present.tolist() if i >= 0)
                codes = (codes - int(present[0] < 0)).astype(np.int32)
        return replace(self, n=n, chunks=chunks, codes=codes, levels=levels)


@dataclass(frozen=True)
class Table:
    """Typed columns by name, in the order of the file.

    `names` are all columns of the file, also those that were not read. `lines` (n,) are the physical lines at which
    the rows begin, None where the rows come from arrays. `raw` holds the cells that are to be carried over as they are.
    """

    file: str
    n: int
    names: tuple[str, ...]
    columns: dict[str, Column]
    lines: Array | None = None
    raw: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    first: int = 0
    """The index of the first row, where the rows have no lines."""
    matrix: Array | None = None
    """The array (n, ·) in C order whose columns are the first of `names`, where it may be written over."""
    left_out: tuple[str, ...] = ()
    """A notice of each column of the file that has no name, and so is not among `names`."""

    def pieces(self, rows: int) -> Iterator[Table]:
        """The table in tables of at most so many rows, in order; this one itself where it has no more."""
        if self.n <= rows:
            if self.n:
                yield self
            return
        columns = {
            name: replace(column, chunks=(np.concatenate(column.chunks),)) if len(column.chunks) > 1 else column
            for name, column in self.columns.items()
        }
        for start in range(0, self.n, rows):
            part = slice(start, min(start + rows, self.n))
            yield Table(
                self.file,
                part.stop - start,
                self.names,
                {name: column.piece(part) for name, column in columns.items()},
                None if self.lines is None else self.lines[part],
                {name: cells[part] for name, cells in self.raw.items()},
                () if start else self.notices,
                self.first + start,
            )

    def problem(self, row: int, text: str) -> Problem:
        """A problem of one row, with its line, or with its index (from 0) where the table has no lines."""
        if self.lines is None:
            return Problem(f"row index {self.first + row}: {text}", file=self.file)
        return Problem(text, file=self.file, line=int(self.lines[row]))

    def refuse_left_out(self) -> None:
        """DataError if columns were left out because they have no name."""
        if self.left_out:
            raise DataError(Problem(text, file=self.file) for text in self.left_out)

    def error(self, rows: Iterable[tuple[int, str]], kind: str) -> DataError:
        """An error of the first five (row, text) and the number of the rest; `kind` completes "and 7 more …"."""
        found = list(rows)
        problems = [self.problem(row, text) for row, text in found[:SHOWN]]
        if len(found) > SHOWN:
            problems.append(Problem(more(len(found) - SHOWN, kind), file=self.file))
        return DataError(problems)
