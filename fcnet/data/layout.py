"""Where the table of a text file begins, how wide it is, and which of its columns have names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

from fcnet.data.dialect import BLANK, detect, detect_unusual, is_heading, records_of, squeezed_text
from fcnet.data.numbers import BLANKS, Grammar
from fcnet.records import dataclass

TOP = 50
"""The header is looked for among so many lines."""
_SEPARATOR = re.compile(r'"?sep=(\\t|[^"\r\n])"?[\r\n]*', re.IGNORECASE)
_TOTALS = re.compile(
    r"(grand |sub)?-?(totals?|sums?|averages?|avg|means?|std|min(imum)?|max(imum)?|counts?"
    r"|summe|gesamt|insgesamt|somme)\b.{0,20}",
    re.IGNORECASE,
)
_ROW_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class RecordLayout:
    """The columns that have names, and where they stand among the `width` fields of a record.

    `empty`: the place of the field after a delimiter that ends each line, which holds nothing. `left_out`: what is
    said of columns of data that no name leads to; `notices`: what else was found out.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    width: int
    empty: int | None = None
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def separator(line: str) -> str | None:
    """The delimiter that a first line such as `sep=;` names, as Excel writes and reads it.

    >>> separator("sep=;"), separator("sepal,petal")
    (';', None)
    """
    found = _SEPARATOR.fullmatch(line)
    return None if found is None else found[1].replace("\\t", "\t")


def plain(width: int) -> RecordLayout:
    """Every field of a record is a column with a name; the names are yet to be given."""
    return RecordLayout((), tuple(range(width)), width)


def lay_out(fields: Sequence[str], rows: Sequence[Sequence[str]]) -> RecordLayout:
    """The layout that a header and the first rows below it agree on.

    Taken are: rows that all have a field more than the header, if it is empty at the end of each (every line ends with
    a delimiter) or different at the start of each (row names, as R writes them); a header alone that ends with a
    delimiter; fields of the header that are empty, whose columns are left out.
    """
    names = [name.strip() for name in fields]
    width = len(names)
    usual = _usual([len(row) for row in rows])
    rows = [row for row in rows if len(row) == usual]
    if usual == width + 1:
        if not any(row[-1].strip(BLANKS) for row in rows):
            said = "every line below the header ends with a delimiter"
            return RecordLayout(tuple(names), tuple(range(width)), usual, empty=width, notices=(said,))
        first = [row[0] for row in rows]
        if len(set(first)) == len(first) > 1:
            said = f"the header has {width} names for {usual} columns: the first column ({_some(first)}) is taken for "
            return RecordLayout(
                tuple(names), tuple(range(1, usual)), usual, left_out=(f"{said}the rows' names, and left out",)
            )
    if usual == width - 1 and width > 1 and not names[-1]:
        return RecordLayout(
            tuple(names[:-1]), tuple(range(usual)), usual, notices=("the header ends with a delimiter",)
        )
    places = tuple(i for i, name in enumerate(names) if name)
    empty = width - 1 if names and not names[-1] and not any(map(_last, rows)) else None
    left_out = tuple(
        f"column {i + 1} has no name and is left out{_holding([row[i] for row in rows if i < len(row)])}"
        for i, name in enumerate(names)
        if not name and i != empty
    )
    notices = () if empty is None else ("every line ends with a delimiter",)
    return RecordLayout(tuple(names[i] for i in places), places, width, empty, left_out, notices)


def _usual(widths: Sequence[int]) -> int | None:
    """The width of at least nine in ten records; None where there is no such."""
    ((width, count),) = Counter(widths).most_common(1) or [(0, 0)]
    return width if count and 10 * count >= 9 * len(widths) else None


def _last(row: Sequence[str]) -> str:
    return row[-1].strip(BLANKS)


def _some(cells: Sequence[str]) -> str:
    shown = ", ".join(f'"{cell.strip()[:20]}"' for cell in cells[:2])
    return shown + (", …" if len(cells) > 2 else "")


def _holding(cells: Sequence[str]) -> str:
    """What the first cells of a column look like, to be said of a column without a name."""
    present = [cell.strip(BLANKS) for cell in cells if cell.strip(BLANKS)]
    if not present:
        return ": it is empty"
    if all(map(_ROW_NUMBER.fullmatch, present)):
        numbers = [int(cell) for cell in present]
        if all(a < b for a, b in pairwise(numbers)):
            return f": it holds row numbers ({numbers[0]}, …)"
    return f": it holds {_some(present)}; write a name above it to use it"


def begins(
    lines: Sequence[str], delimiter: str, prefer: str | None, expected: Collection[str], *, complete: bool = False
) -> tuple[int, str] | None:
    """How many of these lines stand above the header, and the first name in it; None where no line fits.

    A line fits that has the `expected` names, all if they are `complete`, else any; or, where they are not, a line of
    different texts over columns of numbers, if it has another width than the first line or that has gaps.
    """
    wanted, first = set(expected), None
    for above in range(min(len(lines), TOP)):
        if not lines[above].strip():
            continue
        text = "".join(lines[above : above + 2 * TOP])
        mark = delimiter if delimiter != "auto" else detect(text, prefer) or detect_unusual(text, prefer) or ","
        names = names_of(text, mark)
        if first is None:
            first = names
        if not any(names):
            continue
        if wanted <= set(names) if complete else wanted & set(names):
            return above, names[0]
        better = len(names) > 1 and (len(names) != len(first) or "" in first)
        if not complete and above and better and is_heading(text, mark):
            return above, names[0]
    return None


def names_of(text: str, delimiter: str) -> list[str]:
    """The fields of the first record, without blanks around them."""
    record = next(records_of(squeezed_text(text) if delimiter == BLANK else text, delimiter, 1), [])
    return [name.strip() for name in record]


def units(rows: Sequence[Sequence[str]], grammar: Grammar) -> list[str]:
    """The texts that the first row has in columns that else hold numbers, if it has a number in none of them."""
    if len(rows) < 3:
        return []
    first, *rest = rows
    columns = zip(*(row for row in rest if len(row) == len(first)), strict=True)
    cells = [cell.strip(BLANKS) for cell, column in zip(first, columns, strict=False) if _numbers(column, grammar)]
    if any(grammar.number(cell) is not None for cell in cells):
        return []
    return [cell for cell in cells if cell not in grammar.missing]


def _numbers(cells: Sequence[str], grammar: Grammar) -> bool:
    """Whether the cells are numbers and missing cells, and not all are missing."""
    numbers = [grammar.number(cell) is not None for cell in cells]
    return any(numbers) and all(
        number or cell.strip(BLANKS) in grammar.missing for number, cell in zip(numbers, cells, strict=True)
    )


def looks_like_totals(record: Sequence[str]) -> bool:
    """Whether a record says of itself that it sums up those above.

    >>> looks_like_totals(["Grand total", "12"]), looks_like_totals(["Totnes", "12"])
    (True, False)
    """
    first = next((cell.strip(BLANKS) for cell in record if cell.strip(BLANKS)), "")
    return _TOTALS.fullmatch(first.rstrip(":")) is not None
