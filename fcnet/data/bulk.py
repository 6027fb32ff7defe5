"""Converts blocks of text without quotes as a whole, where that provably gives what the exact reader would give.

By polars where it is installed and the block is large enough, else, where all is plain numbers, by NumPy.
"""

from __future__ import annotations

import codecs
import mmap
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fcnet import extras, files
from fcnet.data.numbers import Grammar
from fcnet.records import dataclass

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[Any]

LARGE = 1 << 20
"""Blocks of fewer bytes are not worth the import of polars."""
LONGEST_FIELD = 131_072


def pages(shape: tuple[int, int]) -> Array:
    """Zeros float64 in memory of its own, which the system has back as soon as nothing refers to it."""
    count = shape[0] * shape[1]
    memory = mmap.mmap(-1, max(count, 1) * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype=np.float64, count=count).reshape(shape)


def first_seen(cells: Sequence[str]) -> tuple[Array, list[str]]:
    """Texts as codes (n,) int32 into a list of the different ones, in the order of their first cells."""
    levels: dict[str, int] = {}
    codes = np.array([levels.setdefault(text, len(levels)) for text in cells], dtype=np.int32)
    return codes, list(levels)


@dataclass(frozen=True)
class TextBlock:
    """The bytes of a block whose every line is a row of `width` cells without quotes, each ending in LF."""

    data: bytes
    mark: int
    width: int

    @cached_property
    def small(self) -> bool:
        """Whether there may be numbers so near to 0 that they are read as 0."""
        return b"e-" in self.data or b"E-" in self.data

    @cached_property
    def ends(self) -> Array:
        """Where each cell ends, (n, width)."""
        codes = np.frombuffer(self.data, dtype=np.uint8)
        return np.flatnonzero((codes == self.mark) | (codes == 10)).reshape(-1, self.width)

    def cells(self, column: int) -> list[str]:
        """The texts of one column."""
        stop = self.ends[:, column]
        start = self.ends[:, column - 1] + 1 if column else np.append(0, self.ends[:-1, -1] + 1)
        data = self.data
        return [data[a:b].decode() for a, b in zip(start.tolist(), stop.tolist(), strict=True)]


@dataclass(frozen=True)
class NumberBlock:
    """A block of plain numbers: `columns` (width, n), and the text that they were made of."""

    columns: Array
    lines: Array
    text: TextBlock

    def cells(self, column: int) -> Sequence[str]:
        """The texts of one column."""
        return self.text.cells(column)

    def coded(self, column: int) -> tuple[Array, list[str]]:
        """The texts of one column as codes (n,) into a list of the different ones."""
        return first_seen(self.cells(column))

    def numbers(self, column: int) -> Array | None:
        """The numbers of one column."""
        result: Array = self.columns[column]
        return result


@dataclass(frozen=True)
class FrameBlock:
    """A block as polars read it: some columns as numbers, the others as texts."""

    columns: Mapping[int, Array]
    texts: Mapping[int, pl.Series]
    lines: Array
    text: TextBlock

    def cells(self, column: int) -> Sequence[str]:
        """The texts of one column."""
        if column in self.columns:
            return self.text.cells(column)
        cells: list[str] = self.texts[column].to_list()
        return cells

    def coded(self, column: int) -> tuple[Array, list[str]]:
        """The texts of one column as codes (n,) into a list of the different ones."""
        if column in self.columns:
            return first_seen(self.cells(column))
        import polars as pl

        series = self.texts[column]
        levels = series.unique(maintain_order=True)
        codes = series.cast(pl.Enum(levels)).to_physical().to_numpy()
        return codes.astype(np.int32), levels.to_list()

    def numbers(self, column: int) -> Array | None:
        """The numbers of one column; None where it was read as text."""
        return self.columns.get(column)


def fault() -> extras.PackageFault | None:
    """What keeps polars from being used, None for nothing."""
    return extras.fault("polars", _polars)


def _polars() -> ModuleType:
    """Polars, after it has read a table as it does here, and written it."""
    import polars as pl

    schema = {"0": pl.Float64, "1": pl.String}
    table = pl.read_csv(b"1.5,a\n,b\n", has_header=False, separator=",", quote_char=None, schema=schema)
    texts = table.to_series(1)
    codes = texts.cast(pl.Enum(texts.unique(maintain_order=True))).to_physical().to_numpy()
    lines = table.write_csv(include_header=False, quote_style="never", line_terminator="\n")
    if (table.to_series(0).null_count(), codes.tolist(), lines) != (1, [0, 1], "1.5,a\n,b\n"):
        raise ArithmeticError("a table of two rows comes out as another")
    return pl


def at_hand() -> bool:
    """Whether polars may do what could be done without it: not under `ulimit -v`, where it aborts the process."""
    if files.address_space() is not None:
        return False
    found = fault()
    if found is not None and not found.missing:
        extras.say("polars", f"polars {found.what}; tables are read and written more slowly; {found.cure}")
    return found is None


def convert(
    text: bytes, delimiter: str, width: int, grammar: Grammar, numbers: Collection[int]
) -> FrameBlock | NumberBlock | None:
    """The rows of a block, lines counted from 0, the columns `numbers` as numbers if possible; None if in doubt."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    if len(text) >= LARGE and grammar.decimal == "." and at_hand():
        return frame(text, delimiter, width, grammar, numbers)
    return plain_numbers(text, delimiter, width, grammar)


def frame(text: bytes, delimiter: str, width: int, grammar: Grammar, numbers: Collection[int]) -> FrameBlock | None:
    """A block without quotes, read by polars; None where that might differ from the exact reader.

    Rows of a wrong width: polars refuses those that are too long and fills up those that are too short, so if the last
    column has no gap, or there are as many delimiters as rows × (width − 1), every row has just enough. Blank lines and
    stray control characters: every row ends with a line end, so as many rows as control characters leave no other.
    Numbers: of the cells that polars takes, the grammar takes all but infinities and NaN, and those are looked for.
    """
    import polars as pl

    mark = delimiter.encode()
    codes = np.frombuffer(text, dtype=np.uint8)
    if b'"' in text or mark in b"0123456789.eE+-" or not _short_fields(text, mark) or not _utf8(text):
        return None
    names = [str(j) for j in range(width)]
    try:
        table = pl.read_csv(
            text,
            has_header=False,
            separator=delimiter,
            quote_char=None,
            schema={name: pl.Float64 if j in numbers else pl.String for j, name in enumerate(names)},
        )
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return None
    rows = table.height
    controls = int(np.count_nonzero(codes < 32))
    marks = int(np.count_nonzero(codes == mark[0])) if mark < b" " or table.to_series(-1).null_count() else None
    if (
        table.width != width
        or controls - (marks or 0) * (mark < b" ") != rows
        or marks not in (None, rows * (width - 1))
        or (width == 1 and table.to_series().null_count())
    ):
        return None
    wanted = [j for j in range(width) if j in numbers]
    store = pages((len(wanted), rows))
    nulls = 0
    for i, j in enumerate(wanted):
        series = table.to_series(j)
        nulls += series.null_count()
        store[i] = series.to_numpy()
    if not _finite(store, nulls, grammar.limit):
        return None
    texts = {j: table.to_series(j).fill_null("") for j in range(width) if j not in numbers}
    lines = np.arange(rows, dtype=np.int64)
    return FrameBlock({j: store[i] for i, j in enumerate(wanted)}, texts, lines, TextBlock(text, mark[0], width))


def _short_fields(text: bytes, mark: bytes) -> bool:
    """Whether no field is too long for the exact reader, as a separator in each half of that length shows."""
    half = LONGEST_FIELD // 2
    return all(
        text.find(mark, at, at + half) >= 0 or text.find(b"\n", at, at + half) >= 0
        for at in range(0, len(text) - half, half)
    )


def _utf8(text: bytes) -> bool:
    """Whether it is UTF-8 without the mark that stands where files were joined."""
    if text.isascii():
        return True
    if codecs.BOM_UTF8 in text:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _finite(values: Array, missing: int, limit: float) -> bool:
    """Whether so many values are NaN and no other is beyond the limit."""
    if not missing:
        return not values.size or bool(values.min() >= -limit and values.max() <= limit)
    absent = np.isnan(values)
    return int(absent.sum()) == missing and bool(np.all(absent | (np.abs(values) <= limit)))


def plain_numbers(text: bytes, delimiter: str, width: int, grammar: Grammar) -> NumberBlock | None:
    """A block that is nothing but rows of `width` plain numbers or empty cells; None if it is anything else.

    Exact because every separator must stand where a table has it, every other character must be one that numbers are
    made of, and the converter must use up each cell: of such cells it takes those, and gives the values, that float()
    does.
    """
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    mark = delimiter.encode()
    point = grammar.decimal.encode()
    if mark in b"0123456789.eE+-na" or mark == point or text.translate(None, b"0123456789eE+-\n" + mark + point):
        return None
    if not text.endswith(b"\n"):
        text += b"\n"
    codes = np.frombuffer(text, dtype=np.uint8)
    flat = np.flatnonzero((codes == mark[0]) | (codes == 10))
    if not flat.size or flat.size % width:
        return None
    ends = flat.reshape(-1, width)
    breaks = codes[ends] == 10
    if not breaks[:, -1].all() or breaks[:, :-1].any():
        return None
    widths = np.diff(flat, prepend=-1) - 1
    empty = bool((widths == 0).any())
    if empty and width == 1:
        return None  # a blank line, which is no row
    values: Array | None
    if not empty and int(widths.max()) <= 15 and not text.translate(None, b"0123456789\n" + mark):
        values = _whole(codes, flat, widths)
    elif int(widths.max()) <= LONGEST_FIELD:
        values = _decimals(text, mark, point, empty)
    else:
        values = None
    if values is None or values.size != flat.size or not bool(np.all(~(np.abs(values) > grammar.limit))):
        return None
    rows = len(ends)
    columns = pages((width, rows))
    columns[...] = values.reshape(rows, width).T
    return NumberBlock(columns, np.arange(rows, dtype=np.int64), TextBlock(text, mark[0], width))


def _whole(codes: Array, ends: Array, widths: Array) -> Array:
    """Cells of at most 15 digits and nothing else, digit by digit for all cells at once: exact in float64."""
    starts = ends - widths
    values: Array = (codes[starts] - 48).astype(np.float64)
    longer = np.arange(len(ends))
    for k in range(1, int(widths.max())):
        longer = longer[widths[longer] > k]
        values[longer] = values[longer] * 10 + (codes[starts[longer] + k] - 48)
    return values


def _decimals(text: bytes, mark: bytes, point: bytes, empty: bool) -> Array | None:
    """Rows of numbers in general, by NumPy's reader of text; None where it refuses one, or one is too large."""
    if point == b",":
        text = text.replace(b",", b".")
    if empty:
        for gap in (mark + mark, mark + mark, mark + b"\n", b"\n" + mark):
            text = text.replace(gap, gap[:1] + b"nan" + gap[1:])
        if text.startswith(mark):
            text = b"nan" + text
    lines = text[:-1].decode("ascii").split("\n")
    try:
        values: Array = np.loadtxt(lines, delimiter=mark.decode("ascii"), comments=None, ndmin=2)
    except ValueError:
        return None
    return None if np.isinf(values).any() else values
