"""Which character separates the fields of a text table, and whether its first record can be a header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from fcnet.data.cures import typed
from fcnet.data.numbers import Grammar
from fcnet.data.problems import Problems
from fcnet.errors import ConfigError, DataError

CANDIDATES = (",", ";", "\t", "|")
NAMES = {"\t": "\\t", " ": "a blank"}
SAMPLE = 100
BLANK = " "
"""As a delimiter: any run of blanks and tabs, once `squeezed` has made one blank of each."""
_RUNS = re.compile(rb'((?<![^ \t\r\n])"(?:[^"\r\n]|"")*")|[ \t]+')
_ENDS = re.compile(rb" ?(\r\n|\n|\r) ?")


def detect(text: str, prefer: str | None = None) -> str | None:
    """The delimiter of a table whose text starts like this; None where no candidate fits, so that it has one column.

    A candidate fits if it splits the first record into at least two fields, and at least nine in ten of the first 100
    records into as many; of those that fit, the one with most fields. `prefer`, which may be any character, wins if it
    fits; blanks are preferred only where they split into more fields than any candidate.
    """
    best, most = None, 1
    prefer = prefer and one_character(prefer)
    for candidate in CANDIDATES if prefer in (None, BLANK, *CANDIDATES) else (*CANDIDATES, prefer):
        widths = _widths(text, candidate)
        if not _fits(widths, 0):
            continue
        if candidate == prefer:
            return candidate
        if widths[0] > most:
            best, most = candidate, widths[0]
    if prefer == BLANK:
        widths = _widths(squeezed_text(text), BLANK)
        if widths and widths[0] > most and (_fits(widths, 0) or _fits(widths, 1)):
            return BLANK
    return best


def detect_unusual(text: str, prefer: str | None = None) -> str | None:
    """The delimiter where the header has a field less or more than the rows, or where blanks separate the fields.

    For tables that none of the candidates fits, so that they would have one column. Blanks are taken where every
    record has as many fields, or one more than the header, and one of its columns holds numbers alone.
    """
    order = sorted(CANDIDATES, key=lambda candidate: candidate != prefer)
    fitting = [c for c in order if any(_fits(_widths(text, c), more) for more in (1, -1))]
    if fitting:
        return fitting[0]
    records = list(records_of(squeezed_text(text), BLANK))
    widths = {len(record) for record in records[1:]}
    if len(records) < 3 or len(widths) > 1 or len(records[0]) < 2:
        return None
    more = widths.pop() - len(records[0])
    if more not in (0, 1):
        return None
    grammar = Grammar()
    columns = list(zip(*records[1:], strict=True))[more:]
    return BLANK if any(all(grammar.number(cell) is not None for cell in column) for column in columns) else None


def _fits(widths: Sequence[int], more: int) -> bool:
    """Whether the first record has at least two fields, and nine in ten of the others so many more."""
    if not widths or widths[0] < 2:
        return False
    same = Counter(widths[1:] if more else widths)[widths[0] + more]
    return same > 0 and 10 * same >= 9 * (len(widths) - (more != 0))


def records_of(text: str, delimiter: str, most: int = SAMPLE) -> Iterator[list[str]]:
    """The first records of a sample that are not blank, as far as they can be read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from islice(filter(None, reader), most)
    except csv.Error:
        return


def _widths(text: str, delimiter: str) -> list[int]:
    """The number of fields of the first records; a record that the sample cuts off counts if nothing else is there."""
    return list(map(len, records_of(text, delimiter)))


def squeezed(block: bytes) -> bytes:
    """Whole lines with one blank for each run of blanks and tabs outside of quotes, and none at their ends."""
    if b'"' in block:
        block = _RUNS.sub(lambda run: run[1] or b" ", block)
    else:
        block = block.replace(b"\t", b" ")
        while b"  " in block:
            block = block.replace(b"  ", b" ")
    return _ENDS.sub(rb"\1", block).strip(b" ")


def squeezed_text(text: str) -> str:
    """`squeezed` of a text."""
    return squeezed(text.encode()).decode()


def one_character(delimiter: str) -> str:
    """A delimiter as it is, or the tab that it spells."""
    return "\t" if delimiter == "\\t" else delimiter


def check_delimiter(delimiter: str) -> None:
    """ConfigError unless it is `auto` or one character that can separate fields."""
    mark = one_character(delimiter)
    if delimiter == "auto" or (len(mark) == 1 and mark not in '"\r\n\0' and mark.isascii()):
        return
    raise ConfigError(
        f'"{delimiter}" cannot separate fields; give one character, such as "," ";" "|" or "\\t", or auto',
        key="data.delimiter",
    )


def header(
    record: Sequence[str],
    line: int,
    file: str,
    expected: Sequence[str],
    rows: Sequence[Sequence[str]] = (),
    *,
    settled: bool = False,
) -> None:
    """DataError where a header record's names occur twice or are mostly lacking, or where it looks like data.

    It looks like data if at least half of its fields are numbers, or if it is like the `rows` below it, and it has none
    of the `expected` names. `settled`: there is no config to change.
    """
    names = [name.strip() for name in record]
    given = [name for name in names if name]
    numbers = sum(Grammar().number(name) is not None for name in given)
    counted = given == list(map(str, range(len(given)))) and len(given) > 1
    like_data = (2 * numbers >= len(given) > 0 and numbers and not counted) or _like(names, rows)
    if like_data and not set(expected) & set(given):
        cure = "put a line with the columns' names above it"
        key = "" if settled else f"set {typed('data.header', False)}, or "
        raise DataError(
            f'the first line looks like data ("{names[0]}"{", …" if len(names) > 1 else ""}); {key}{cure}',
            file=file,
            line=line,
        )
    problems = Problems(file)
    first: dict[str, int] = {}
    for i, name in enumerate(names, start=1):
        if not name:
            if 2 * len(given) < len(names):
                problems.add("columns without a name", line, f"column {i} has no name")
        elif name in first:
            problems.add(
                "names that occur twice", line, f'columns {first[name]} and {i} are both named "{name}"; rename one'
            )
        else:
            first[name] = i
    problems.raise_any()


def _like(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a record is like those below it: numbers above numbers, and texts that occur again."""
    rows = [row for row in rows if len(row) == len(first)]
    if len(rows) < 3:
        return False
    grammar = Grammar()
    numeric = again = 0
    for name, *cells in zip(first, *([cell.strip() for cell in row] for row in rows), strict=True):
        present = [cell for cell in cells if cell not in grammar.missing]
        if present and all(grammar.number(cell) is not None for cell in present):
            if grammar.number(name) is None and name not in grammar.missing - {""}:
                return False
            numeric += 1
        else:
            again += name in present
    return again > 0 < numeric or again == len(first)


def is_heading(sample: str, delimiter: str) -> bool:
    """Whether the first record of a sample names columns: different texts, over a column where all else is numbers."""
    grammar = Grammar()

    def number(cell: str) -> bool:
        return grammar.number(cell) is not None

    first, *rest = [[cell.strip() for cell in record] for record in records_of(sample, delimiter)] or [[]]
    if len(set(first)) < len(first) or any(number(name) or name in grammar.missing for name in first):
        return False
    columns = [list(column) for column in zip(*(record for record in rest if len(record) == len(first)), strict=True)]
    return any(
        any(map(number, column)) and all(number(cell) or cell in grammar.missing for cell in column)
        for column in columns
    )
