"""The exact reader of CSV and TSV: what it accepts is the definition of the format.

Records come in blocks of a few megabytes. A block without quotes may be converted as a whole; every other block goes
through the csv module in its strict mode. Both ways give the same cells.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fcnet.data import layout
from fcnet.data.ahead import ahead
from fcnet.data.bulk import LONGEST_FIELD, FrameBlock, NumberBlock, convert, first_seen
from fcnet.data.cures import typed, without_line
from fcnet.data.dialect import (
    BLANK,
    NAMES,
    detect,
    detect_unusual,
    header,
    is_heading,
    one_character,
    records_of,
    squeezed,
)
from fcnet.data.foreign import foreign
from fcnet.data.numbers import BLANKS, Grammar
from fcnet.data.opened import Opened, pieces
from fcnet.data.problems import Problems
from fcnet.errors import DataError, FcnetError
from fcnet.records import dataclass

Array = NDArray[Any]

BLOCK = 6 << 20
LINES = 1 << 19
"""The most lines of a block: a line of two bytes costs as much memory as one of twenty."""
AT_ONCE = 3
"""Blocks that are converted at a time: one alone leaves cores idle before and after its cells are taken apart, and
what is made of blocks between the others takes a core as well."""
LONGEST_LINE = 1 << 26
PLACES, GLANCE = 16, 4096
"""In so many places of a block so many bytes tell how long its lines are."""
LAST = 3
"""So many records at the end are looked at for totals,"""
LONGEST_TAIL = 10_000
"""if they take no more bytes than so many each."""
SAMPLE = 1000
"""So many lines are looked at to tell the dialect,"""
ENOUGH = 1 << 20
"""or the lines in so many bytes."""
_BOMS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))


class Block(Protocol):
    """Some records of a file: n rows, each with the physical line at which it begins."""

    @property
    def lines(self) -> Array:
        """The line at which each row begins, (n,) int64."""

    def cells(self, column: int) -> Sequence[str]:
        """The texts of one column."""

    def coded(self, column: int) -> tuple[Array, list[str]]:
        """The texts of one column as codes (n,) int32 into a list of the different ones, in the order of the rows."""

    def numbers(self, column: int) -> Array | None:
        """The numbers of one column, NaN where a cell is empty; None if that is not known to be all there is to it."""


@dataclass(frozen=True)
class Records:
    """A block as the csv module read it."""

    records: list[list[str]]
    lines: Array

    @cached_property
    def _columns(self) -> list[tuple[str, ...]]:
        return list(zip(*self.records, strict=True))

    def cells(self, column: int) -> Sequence[str]:
        """The texts of one column."""
        return self._columns[column]

    def coded(self, column: int) -> tuple[Array, list[str]]:
        """The texts of one column as codes (n,) into a list of the different ones."""
        return first_seen(self._columns[column])

    def numbers(self, column: int) -> Array | None:
        """None: the texts must be looked at."""
        return None


class Delimited:
    """One pass over a CSV or TSV file: the dialect and the columns' names at once, then blocks of records.

    `headless`: names so many columns, for a file without a header. `expected`: names that show that a first record of
    numbers is a header all the same; if they are `complete`, all columns that are needed, the header is the line where
    they stand. `skip`: so many lines stand above the table. `prefer`: the delimiter to take wherever it fits. Rows of a
    wrong width are added to `problems` and left out; what makes the rest of the file unreadable raises DataError with
    all found so far.
    """

    def __init__(
        self,
        opened: Opened,
        grammar: Grammar,
        problems: Problems,
        *,
        delimiter: str = "auto",
        prefer: str | None = None,
        headless: Callable[[int], Sequence[str]] | None = None,
        expected: Sequence[str] = (),
        complete: bool = False,
        skip: int = 0,
        gz: bool | None = False,
    ) -> None:
        self._blank = 0
        self._said: list[str] = []
        self._repeats: list[int] = []
        self._last: list[tuple[int, Sequence[str]]] = []
        self._file = opened.shown
        self._grammar = grammar
        self._problems = problems
        text = _whole_lines(pieces(opened, BLOCK, gz), self._file)
        # A stream may be silent for ever: what waits for it must be the main thread, which signals interrupt, and must
        # have done with all that came before.
        self._ahead = 1 if opened.stream else AT_ONCE
        self._lines = _Lines(text if opened.stream else opened.close_first(ahead(text)), self._fatal)
        first = next(self._lines.blocks, None)
        while first is not None and len(first) < ENOUGH and _count_lines(first) < min(SAMPLE, LINES):
            if (more := self._next(early=True)) is None:
                break
            first += more
        if first is None or not first.strip():
            raise DataError("the file is empty" if first is None else "the file has only blank lines", file=self._file)
        self._lines.push(first)
        searched = complete and headless is None
        delimiter = self._above(one_character(delimiter), 0 if searched else skip)
        if searched:
            self._go_to_header(delimiter, prefer, expected, skip)
        top, above = self._lines.waiting, self._lines.line - 1
        found = self._find(prefer, expected)
        self.delimiter = (found or ",") if delimiter == "auto" else delimiter
        if self.delimiter == BLANK:
            self._lines.change(squeezed)
            if delimiter == "auto" and prefer != BLANK:
                self._said.append("runs of blanks separate the fields")
        self._reader = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        sample = "".join(self._lines.waiting)
        record = self._record()
        if record is None:
            raise DataError("the file has only blank lines", file=self._file)
        line, fields = record
        if len(fields) == 1 and delimiter != "auto" and found and found != BLANK:
            cure = typed("data.delimiter", found)
            raise DataError(f"one column found; did you mean {cure}?", file=self._file, line=line)
        rows = list(records_of(sample, self.delimiter))
        self._heading: tuple[int, str] | None = None
        self._units: list[str] = []
        self._header: list[str] | None = None
        self._header_bytes = b""
        self._words: set[int] = set()
        self._start = 0
        self._first: list[tuple[int, list[str]]] = []
        if headless is None:
            if not complete and self._doubtful(fields, expected):
                self._suggest_skip(layout.begins(top, delimiter, prefer, expected), above)
            header(fields, line, self._file, expected, rows[1:], settled=grammar.settled)
            self._layout = layout.lay_out(fields, rows[1:])
            self._units = layout.units(rows[1:], grammar)
            self._header = fields if len(fields) > 1 else None
            self._header_bytes = self.delimiter.join(fields).encode() if len(fields) > 1 else b""
            self._words = {j for j, name in enumerate(fields) if name.strip() and grammar.number(name) is None}
            self.names = self._layout.names
        else:
            self._layout = layout.plain(len(fields))
            self.names = tuple(headless(len(fields)))
            self._first = [(line, fields)]
            if is_heading(sample, self.delimiter):
                self._heading = line, fields[0].strip()
        self.places = self._layout.places
        """Where the columns of these names stand among the fields of a record."""

    def _above(self, delimiter: str, skip: int) -> str:
        """Pass over the lines above the table; the delimiter, which a first line `sep=;` names where none is given."""
        named = layout.separator(self._lines.waiting[0])
        if skip or named is not None:
            self._pass_over(max(skip, 1))
        if skip and self._grammar.settled:
            lines = "the first line is" if skip == 1 else f"the first {skip:,} lines are"
            self._said.append(f"{lines} passed over, as {typed('data.skip', skip)} says")
        if named is None or delimiter != "auto":
            return delimiter
        self._said.append(f'line 1 says that "{NAMES.get(named, named)}" separates the fields')
        return named

    def _pass_over(self, n: int) -> None:
        for _ in range(n):
            if next(self._lines, None) is None:
                raise DataError(
                    f"{typed('data.skip', n)}, and the file has {self._lines.line - 1:,} lines", file=self._file
                )
        self._lines.recent.clear()

    def _go_to_header(self, delimiter: str, prefer: str | None, expected: Sequence[str], skip: int) -> None:
        """Pass over what stands above the first line that has all the names that are expected, if there is one.

        Further down than a header is looked for it may stand where it stood in training, below `skip` lines.
        """
        lines = self._lines.waiting
        starts = (0, skip) if skip >= layout.TOP else (0,)
        for start in starts if expected else ():
            if found := layout.begins(lines[start:], delimiter, prefer, expected, complete=True):
                if above := start + found[0]:
                    self._pass_over(above)
                    line = self._lines.line
                    self._said.append(f"the header is on line {line:,}; what stands above it is passed over")
                return

    def _find(self, prefer: str | None, expected: Sequence[str]) -> str | None:
        """The delimiter that the text seems to have; None where it has one column."""
        sample = "".join(self._lines.waiting)
        found = detect(sample, prefer)
        if found is None and not set(expected) & set(layout.names_of(sample, ",")):
            found = detect_unusual(sample, prefer)
        return found

    def _doubtful(self, fields: Sequence[str], expected: Sequence[str]) -> bool:
        """Whether the header may stand further down: names are lacking here."""
        names = {field.strip() for field in fields}
        known = set(expected) & names
        empty = sum(not field.strip() for field in fields)
        return 2 * empty > len(fields) or (not known and (bool(expected) or len(fields) == 1))

    def _suggest_skip(self, found: tuple[int, str] | None, above: int) -> None:
        if found is not None and found[0]:
            skip = above + found[0]
            cure = "delete what stands above it" if self._grammar.settled else f"set {typed('data.skip', skip)}"
            raise DataError(
                f'the table seems to begin on line {skip + 1} ("{found[1]}", …); {cure}',
                file=self._file,
                line=above + 1,
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is to be said of columns that have no name."""
        return self._layout.left_out

    def notices(self) -> tuple[str, ...]:
        """What else is to be said, after the last block."""
        lines = len(self._repeats)
        said = [*self._said, *self._layout.notices]
        if lines:
            said.append(
                f"line {self._repeats[0]:,} repeats the header, and is left out"
                if lines == 1
                else f"{lines:,} lines repeat the header, and are left out; the first is line {self._repeats[0]:,}"
            )
        if self._blank:
            said.append(f"skipped {self._blank:,} blank line{'s' if self._blank > 1 else ''}")
        return tuple(said)

    def blocks(self, numbers: Callable[[], Collection[int]] | None = None) -> Iterator[Block]:
        """The records, block after block, once; `numbers`: the columns to convert in the next block, by default all."""
        every = self.places
        if self._first or self._lines.unread:
            text = self._lines.take()
            if self._first:
                text = "".join(self._lines.recent).encode() + text
            # Not ahead: what the columns hold is found out here, and decides how the next blocks are converted.
            found = self._converted(text, numbers() if numbers else every)
            del text  # nothing is held while others work on the block
            block = self._checked(self._exact() if found is None else self._counted(found))
            del found
            if len(block.lines):
                yield block
            del block
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting: deque[tuple[bytes, Future[FrameBlock | NumberBlock | None]]] = deque()
            while True:
                while len(waiting) < self._ahead and (more := self._next(bool(waiting))) is not None:
                    waiting.append((more, pool.submit(self._converted, more, numbers() if numbers else every)))
                more = None
                if not waiting:
                    break
                text, future = waiting.popleft()
                found = future.result()
                del future
                if found is None:  # the last record may go on in the next block, which nobody may then have taken
                    self._lines.blocks = itertools.chain([text for text, _ in waiting], self._lines.blocks)
                    waiting.clear()
                    self._lines.push(text)
                del text
                block = self._checked(self._exact() if found is None else self._counted(found))
                del found
                if len(block.lines):
                    yield block
                del block

    def _next(self, early: bool) -> bytes | None:
        """The next text; an error of the file that is met `early` waits until what stands before it is done with."""
        try:
            return next(self._lines.blocks, None)
        except FcnetError as error:
            if not early:
                raise
            self._lines.blocks = _raising(error)
            return None

    def doubts(self) -> tuple[str, ...]:
        """Say of lines that look like no rows what they look like: a header read as data, units, totals.

        As a problem in place of those that such a line made; as a notice if it made none.
        """
        return (*self._doubt_first(), *self._doubt_last())

    def _doubt_first(self) -> Iterator[str]:
        if self._heading is not None:
            line, name = self._heading
            settled = self._grammar.settled
            cure = (
                "delete it: the net was trained on a table without" if settled else f"set {typed('data.header', True)}"
            )
            said = f'the first line looks like a header ("{name}"{", …" if len(self.names) > 1 else ""})'
            if self._problems:
                self._problems.instead(line, "headers", f"{said}; {cure}")
            else:
                yield f"{said}, and is read as data; {cure} if it is one"
        if self._units and (len(self._units) > 1 or self._problems.at(self._start)):
            texts = ", ".join(f'"{text[:20]}"' for text in self._units[:3])
            cure = without_line(self._start, self._file)
            self._problems.instead(
                self._start, "lines of units", f"looks like a line of units ({texts}), no row; {cure}"
            )

    def _doubt_last(self) -> Iterator[str]:
        for line, record in reversed(self._last):
            wrong = self._problems.at(line)
            cell = next((cell.strip() for cell in record if cell.strip()), "")
            cure = without_line(line, self._file)
            if layout.looks_like_totals(record):
                said = f'looks like a line of totals ("{cell[:20]}", …)'
                if wrong or any(not cell.strip() for cell in record):
                    self._problems.instead(line, "lines of totals", f"{said}; {cure}")
                else:
                    yield f"line {line:,} {said}, and is read as data; {cure}"
            elif wrong and len(record) == 1 < self._layout.width and self._grammar.number(cell) is None:
                self._problems.instead(
                    line, "lines below the table", f'looks like a line below the table ("{cell[:20]}"); {cure}'
                )
            else:
                return

    def _record(self) -> tuple[int, list[str]] | None:
        """The next record that is not blank, and the line at which it begins."""
        while self._lines.unread:
            line = self._lines.line
            self._lines.recent.clear()
            try:
                record = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as error:
                raise self._broken(error) from None
            if record:
                return line, record
            self._blank += 1
        return None

    def _exact(self) -> Block:
        """The records that begin in the text pushed last, by the csv module."""
        width = self._layout.width
        records = [fields for _, fields in self._first]
        starts = [line for line, _ in self._first]
        self._first = []
        last = deque(self._last, LAST)
        while (found := self._record()) is not None:
            line, record = found
            if record == self._header:
                self._repeats.append(line)
                continue
            last.append((line, record))
            if len(record) != width:
                where = "the header has" if width > 1 and width == len(self.names) else "the table has"
                self._problems.add(
                    "rows of a wrong width", line, f"{_fields(len(record))}, {where} {width}{self._why(record, width)}"
                )
                continue
            records.append(record)
            starts.append(line)
        self._last = list(last)
        return Records(records, np.array(starts, dtype=np.int64))

    def _checked(self, block: Block) -> Block:
        """The block; where all lines are to end with a delimiter, what stands behind it in any is a problem."""
        if not len(block.lines):
            return block
        self._start = self._start or int(block.lines[0])
        if self._layout.empty is not None:
            codes, texts = block.coded(self._layout.empty)
            filled = [code for code, text in enumerate(texts) if text.strip(BLANKS)]
            for row in np.flatnonzero(np.isin(codes, filled)).tolist():
                text = (
                    f'"{texts[codes[row]][:40]}" stands in a column without a name, where the lines above have nothing'
                )
                self._problems.add("cells without a column", int(block.lines[row]), text)
        return block

    def _why(self, record: list[str], width: int) -> str:
        if len(record) == 1 and not record[0].strip():
            return "; a line of blanks is no row: delete it"
        if len(record) == width + 1 and not record[-1]:
            return "; does the line end with a delimiter too many?"
        return "; is a delimiter missing, or one too many that wants quotes?"

    def _converted(self, text: bytes, numbers: Collection[int]) -> FrameBlock | NumberBlock | None:
        """A block converted as a whole, its lines counted from 0, or None; then nothing has happened."""
        if not self._grammar.plain:
            return None
        # A repeated header is a wrong cell in a column of numbers: where there is one, it need not be looked for.
        if self._header_bytes and self._words.isdisjoint(numbers) and self._header_bytes in text:
            return None
        return convert(text, self.delimiter, self._layout.width, self._grammar, numbers)

    def _counted(self, block: FrameBlock | NumberBlock) -> Block:
        """A converted block with the lines that it has in the file."""
        line = self._first[0][0] if self._first else self._lines.line
        self._lines.skip(len(block.lines) - len(self._first))
        self._first = []
        data = block.text.data
        tail = data[-LAST * LONGEST_TAIL :].split(b"\n")[len(data) > LAST * LONGEST_TAIL : -1][-LAST:]
        first = line + len(block.lines) - len(tail)
        rows = [(first + i, row.decode(errors="replace").split(self.delimiter)) for i, row in enumerate(tail)]
        self._last = [*self._last, *rows][-LAST:]
        return replace(block, lines=block.lines + line)

    def _broken(self, error: csv.Error) -> DataError:
        """What the csv module gave up on, at the line and field where it stood."""
        lines = self._lines.recent
        line, field, opened = _position(lines, self.delimiter)
        line += self._lines.line - len(lines)
        opened += self._lines.line - len(lines)
        what = str(error)
        if "unexpected end" in what:
            at = opened
            text = f'quote opened on line {opened} never closed; close it, or write "" for a quote inside quotes'
        elif "field larger" in what:
            at = line
            text = f"column {field}: a field of more than {LONGEST_FIELD:,} characters"
            if opened < line:
                at, text = opened, f"{text}; was a quote opened on line {opened} never closed?"
        else:
            at = line
            text = f'column {field}: text after a closing quote; write "" for a quote inside quotes'
        self._problems.add("broken records", at, text)
        return self._problems.error()

    def _fatal(self, line: int, text: str) -> DataError:
        self._problems.add("lines that cannot be read", line, text)
        return self._problems.error()


class _Lines:
    """The physical lines of a file, as the csv module asks for them, and how many of them it has had."""

    def __init__(self, blocks: Iterator[bytes], fatal: Callable[[int, str], DataError]) -> None:
        self.blocks = blocks
        self.recent: list[str] = []
        self.line = 1
        """The number of the next line."""
        self._fatal = fatal
        self._bad: tuple[int, str] | None = None
        self._rest = _lines(b"")
        self._some: list[str] = []
        self._at = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while not self.unread:
            more = next(self.blocks, None)  # a quoted field goes on in the next block
            if more is None:
                raise StopIteration
            self.push(more)
        line = self._some[self._at]
        self._at += 1
        self.line += 1
        if line[0] == "\ufeff" and not self.recent:  # where files were joined
            line = line[1:]
        self.recent.append(line)
        return line

    @property
    def unread(self) -> bool:
        """Whether there are lines pushed and not yet asked for."""
        if self._at == len(self._some):
            self._some, self._at = list(itertools.islice(self._rest, SAMPLE)), 0
            if not self._some:
                self._raise_bad()
        return bool(self._some)

    @property
    def waiting(self) -> list[str]:
        """The next lines of those just pushed, as far as a look at the dialect needs them."""
        if not self.unread:
            return []
        self._some = [*self._some[self._at :], *itertools.islice(self._rest, self._at)]
        self._at = 0
        return self._some

    def change(self, whole_lines: Callable[[bytes], bytes]) -> None:
        """Change all that is not yet read, block by block, into other bytes of as many lines."""
        self._load(whole_lines(self.take()))
        self.blocks = map(whole_lines, self.blocks)

    def push(self, block: bytes) -> None:
        """Hand out the lines of a block; those before are all read. A line that is no text raises in its turn."""
        at, text = len(block), ""
        try:
            if not block.isascii():
                block.decode("utf-8")
        except UnicodeDecodeError as error:
            at = error.start
            column = at - max(block.rfind(b"\n", 0, at), block.rfind(b"\r", 0, at))
            text = (
                f"byte {column} of the line is 0x{block[at]:02x}, which is not UTF-8; "
                "if the file is Latin-1, convert it: iconv -f latin1 -t utf-8"
            )
        if (nul := block.find(0, 0, at)) >= 0:
            at, text = nul, "a NUL character; the file is damaged, or no text"
        if text:
            block = block[: max(block.rfind(b"\n", 0, at), block.rfind(b"\r", 0, at)) + 1]
            self._bad = self.line + _count_lines(block), text
        self._load(block)

    def _load(self, block: bytes) -> None:
        self._rest, self._some, self._at = _lines(block), [], 0

    def _raise_bad(self) -> None:
        if self._bad is not None:
            raise self._fatal(*self._bad)

    def take(self) -> bytes:
        """The lines waiting, as bytes again; they stay."""
        block = ("".join(self._some[self._at :]) + self._rest.read()).encode()
        self._load(block)
        return block

    def skip(self, n: int) -> None:
        """Count n lines as read elsewhere; those waiting are among them."""
        self._load(b"")
        self.line += n
        self._raise_bad()


def _whole_lines(source: Iterator[bytes], file: str) -> Iterator[bytes]:
    """The content cut into blocks that end with a line, without byte order mark; refuses what is no UTF-8 text."""
    rest = next(source, b"")
    for bom, name in _BOMS:
        if rest.startswith(bom):
            raise _encoding(name, file)
    if what := foreign(rest, file):
        raise DataError(what, file=file)
    start = rest[:64]
    if len(start) >= 4 and (not any(start[1::2]) or not any(start[0::2])):
        raise _encoding("UTF-16", file)
    rest = rest.removeprefix(codecs.BOM_UTF8)
    if not rest:
        return
    whole = itertools.chain((rest + next(source, b""),), source)
    rest = b""
    for piece in whole:
        # A CR at the very end may be half of a CRLF.
        cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
        if cut:
            yield from _few_lines(b"".join((rest, memoryview(piece)[:cut])))
            rest = piece[cut:]
        elif rest.endswith(b"\r"):
            yield rest
            rest = piece
        else:
            rest += piece
            if len(rest) > LONGEST_LINE:
                raise DataError(f"a line of more than {LONGEST_LINE:,} bytes; is this a table?", file=file)
    if rest:
        yield rest


def _few_lines(block: bytes) -> Iterator[bytes]:
    """Whole lines, as they are or in parts of at most LINES lines.

    To count them takes a tenth of the time that it takes to read them: it is spared where a look at a few places says
    that they are far from too many.
    """
    end = b"\n" if b"\n" in block else b"\r"
    places = range(0, len(block), max(len(block) // PLACES, GLANCE))
    seen = sum(block.count(end, at, at + GLANCE) for at in places)
    if 4 * seen * len(block) <= LINES * len(places) * GLANCE or block.count(end) <= LINES:
        yield block
        return
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == end[0])[LINES - 1 :: LINES] + 1
    for start, stop in itertools.pairwise([0, *ends.tolist(), len(block)]):
        if start < stop:
            yield block[start:stop]


def _raising(error: FcnetError) -> Iterator[bytes]:
    yield from ()
    raise error


def _lines(block: bytes) -> io.TextIOWrapper:
    """The lines of a block, each with its end, decoded as they are asked for: a fast path asks for hardly any."""
    return io.TextIOWrapper(io.BytesIO(block), encoding="utf-8", newline="")


def _encoding(name: str, file: str) -> DataError:
    return DataError(f"looks like {name}; convert it: iconv -f {name.lower()} -t utf-8", file=file)


def _count_lines(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"


def _position(lines: Sequence[str], delimiter: str) -> tuple[int, int, int]:
    """Where a strict reader gives up in the lines of one record: (line, field, line of the last opening quote).

    Lines count from 0 within the record, fields from 1.
    """
    field, quote_line, state, size = 1, 0, "start", 0
    for i, line in enumerate(lines):
        for c in line:
            size += 1
            if state == "start" and c == '"':
                state, quote_line, size = "quoted", i, 0
            elif state == "quoted":
                if c == '"':
                    state = "closing"
            elif state == "closing" and c == '"':
                state = "quoted"
            elif c == delimiter:
                state, size = "start", 0
                field += 1
            elif state == "closing" and c not in "\r\n":
                return i, field, quote_line
            else:
                state = "plain" if state == "start" else state
            if size > LONGEST_FIELD:
                return i, field, quote_line if state in ("quoted", "closing") else i
    return max(len(lines) - 1, 0), field, quote_line
