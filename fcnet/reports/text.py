"""Lines for people: counts, figures with equal decimals, names that fit, and lines that fold between their parts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from fcnet.errors import escape

LABEL = 9
"""The least width of the label that opens a line of a summary."""

DOT = " · "


def cells(text: str) -> int:
    """The number of terminal cells that `text` takes: East Asian wide letters take two, combining marks none.

    >>> cells("año"), cells("日本")
    (3, 4)
    """
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, width: int) -> str:
    """`text`, escaped, and cut to `width` cells with an ellipsis where it is longer.

    >>> shorten("a long name of a column", 12)
    'a long name…'
    """
    text = escape(text)
    if cells(text) <= width:
        return text
    kept, room = 0, width - 1
    for kept, c in enumerate(text):  # noqa: B007  # counted, and used below
        room -= cells(c)
        if room < 0:
            break
    return text[:kept].rstrip() + "…"


def left(text: str, width: int) -> str:
    """`text`, filled with blanks on the right up to `width` cells."""
    return text + " " * (width - cells(text))


def right(text: str, width: int) -> str:
    """`text`, filled with blanks on the left up to `width` cells."""
    return " " * (width - cells(text)) + text


def count(n: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1797, "row"), count(1, "class", "classes")
    ('1,797 rows', '1 class')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def figures(values: Sequence[float | None], others: Sequence[float | None] = ()) -> list[str]:
    """Measured values of one row, and what they are compared with, with the same number of decimals.

    There are as many as every one of `values` needs for three digits, or four from 1 on; `others` have no say. Very
    small and very large numbers have an exponent instead.

    >>> figures([0.0612], [2.3021, None])
    ['0.0612', '2.3021', '–']
    >>> figures([0.552], [-712345.6]), figures([19.98], [114.2]), figures([52003.4, 114479.3])
    (['0.552', '-712,345.600'], ['19.98', '114.20'], ['52,003', '114,479'])
    """
    decimals = max((_decimals(v) for v in values if v and _plain(v)), default=3)
    return [_figure(v, decimals) for v in (*values, *others)]


def _plain(v: float | None) -> bool:
    """Whether a number is written without an exponent."""
    return v is not None and (v == 0 or 1e-5 <= abs(v) < 1e9)


def _decimals(v: float) -> int:
    exponent = math.floor(math.log10(abs(v)))
    return max(0, 3 - exponent if exponent >= 0 else 2 - exponent)


def _figure(v: float | None, decimals: int) -> str:
    if v is None or not math.isfinite(v):
        return "–"
    text = f"{v:,.{decimals}f}" if _plain(v) else f"{v:.2e}"
    return text if any(c in text for c in "123456789") else text.removeprefix("-")


def duration(seconds: float) -> str:
    """A time span in at most two units.

    >>> [duration(s) for s in (0.42, 7.0, 75, 4000)]
    ['0.4 s', '7.0 s', '1 min 15 s', '1 h 6 min']
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def label_width(name: str) -> int:
    """The width of the labels of a block whose longest label is `name`."""
    return max(LABEL, min(cells(escape(name)), 16) + 2)


def fold(label: str, parts: Sequence[str], width: int | None, indent: int = LABEL, between: str = DOT) -> list[str]:
    """A labelled line of parts, folded between parts where it would be wider than `width` (None: never).

    >>> fold("net", ["64 → 10", "650 parameters", "adam"], 36)
    ['net      64 → 10 · 650 parameters', '         adam']
    """
    first = left(shorten(label, indent - 2), indent)
    if width is None:
        return [first + between.join(parts)]
    lines = [first + parts[0]]
    for part in parts[1:]:
        if cells(lines[-1] + between + part) <= width:
            lines[-1] += between + part
        else:
            lines.append(" " * indent + part)
    return lines


def hang(lead: str, text: str, width: int | None) -> list[str]:
    """A text behind `lead`, folded between its words where it would be wider than `width`, below its own beginning.

    >>> hang("log  5 kB  ", "50 rows of metrics.csv", 30)
    ['log  5 kB  50 rows of', '           metrics.csv']
    """
    if width is None:
        return [(lead + text).rstrip()]
    first, *rest = text.split(" ")
    lines = [lead + first]
    for word in rest:
        if cells(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * cells(lead) + word)
    return [line.rstrip() for line in lines]


def table(
    label: str,
    first: str,
    headers: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    indent: int = LABEL,
    width: int | None = None,
) -> list[str]:
    """A labelled table: `first` heads the column of names, every other column is aligned to the right.

    It is set closer where it would be wider than `width` (None: never).
    """
    lines = _table(label, first, headers, rows, indent, 20 + LABEL - indent, 1)
    fits = width is None or max(map(cells, lines)) <= width
    return lines if fits else _table(label, first, headers, rows, indent, 0, 0)


def _table(
    label: str,
    first: str,
    headers: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    indent: int,
    least: int,
    air: int,
) -> list[str]:
    """The table with a first column of `least` cells or more, and `air` more blanks between the others than need be."""
    names = max([least, cells(first), *(cells(name) for name, _ in rows)])
    widths = [max([cells(h) + air, *(cells(row[i]) for _, row in rows)]) for i, h in enumerate(headers)]
    opening = [left(label, indent) + left(first, names), *(" " * indent + left(name, names) for name, _ in rows)]
    cellrows = [headers, *(row for _, row in rows)]
    return [
        start + "".join(" " * (2 + air) + right(cell, width) for cell, width in zip(row, widths, strict=True))
        for start, row in zip(opening, cellrows, strict=True)
    ]
