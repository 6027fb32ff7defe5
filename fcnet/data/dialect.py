"""Which character separates the fields of a text table, and whether its first record can be a header."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence

from fcnet.data.numbers import Grammar
from fcnet.data.problems import Problems
from fcnet.errors import ConfigError, DataError

CANDIDATES = (",", ";", "\t", "|")
SAMPLE = 100
NAMES = {",": "','", ";": "';'", "\t": "'\\t'", "|": "'|'"}


def detect(text: str, prefer: str | None = None) -> str | None:
    """The delimiter of a table whose text starts like this; None where no candidate fits, so that it has one column.

    A candidate fits if it splits the first record into at least two fields, and at least nine in ten of the first 100
    records into as many; of those that fit, the one with most fields. `prefer` wins if it fits.
    """
    best, most = None, 1
    for candidate in CANDIDATES:
        widths = _widths(text, candidate)
        if not widths or widths[0] < 2 or 10 * Counter(widths)[widths[0]] < 9 * len(widths):
            continue
        if candidate == prefer:
            return candidate
        if widths[0] > most:
            best, most = candidate, widths[0]
    return best


def _widths(text: str, delimiter: str) -> list[int]:
    """The number of fields of the first records; a record that the sample cuts off counts if nothing else is there."""
    widths: list[int] = []
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if record:
                widths.append(len(record))
            if len(widths) == SAMPLE:
                break
    except csv.Error:
        pass
    return widths


def check_delimiter(delimiter: str) -> None:
    """ConfigError unless it is `auto` or one character that can separate fields."""
    if delimiter == "auto" or (len(delimiter) == 1 and delimiter not in '"\r\n\0' and delimiter.isascii()):
        return
    raise ConfigError(
        f'"{delimiter}" cannot separate fields; give one character, such as "," ";" "|" or "\\t", or auto',
        key="data.delimiter",
    )


def header(
    record: Sequence[str], line: int, file: str, expected: Sequence[str], *, settled: bool = False
) -> tuple[str, ...]:
    """The column names of a header record, without blanks around them.

    DataError for names that are empty or occur twice, and for a first record that looks like data: at least half of
    its fields are numbers and it has none of the `expected` names. `settled`: there is no config to change.
    """
    names = tuple(name.strip() for name in record)
    grammar = Grammar()
    numbers = sum(grammar.number(name) is not None for name in names)
    counted = names == tuple(map(str, range(len(names)))) and len(names) > 1
    if 2 * numbers >= len(names) > 0 and numbers and not counted and not set(expected) & set(names):
        cure = "put a line with the columns' names above it"
        raise DataError(
            f'the first line looks like data ("{names[0]}"{", …" if len(names) > 1 else ""}); '
            f"{cure if settled else f'set data.header: false, or {cure}'}",
            file=file,
            line=line,
        )
    problems = Problems(file)
    first: dict[str, int] = {}
    for i, name in enumerate(names, start=1):
        if not name:
            end = "; does every line end with a delimiter?" if i == len(names) else ""
            problems.add("columns without a name", line, f"column {i} has no name{end}")
        elif name in first:
            problems.add(
                "names that occur twice", line, f'columns {first[name]} and {i} are both named "{name}"; rename one'
            )
        else:
            first[name] = i
    problems.check()
    return names


def is_heading(sample: str, delimiter: str) -> bool:
    """Whether the first record of a sample names columns: different texts, over a column where all else is numbers."""
    try:
        records = [record for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if record]
    except csv.Error:
        return False
    grammar = Grammar()

    def number(cell: str) -> bool:
        return grammar.number(cell) is not None

    first, *rest = [[cell.strip() for cell in record] for record in records[:SAMPLE]] or [[]]
    if len(set(first)) < len(first) or any(number(name) or name in grammar.missing for name in first):
        return False
    columns = [list(column) for column in zip(*(record for record in rest if len(record) == len(first)), strict=True)]
    return any(
        any(map(number, column)) and all(number(cell) or cell in grammar.missing for cell in column)
        for column in columns
    )
