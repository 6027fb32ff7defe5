"""What the cells of a text column are, where they are numbers but for how they are written, and what makes them so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.cures import beside, quoted
from fcnet.data.numbers import BLANKS, HINTS, Grammar
from fcnet.data.table import Column
from fcnet.records import dataclass

Array = NDArray[Any]

SAMPLE = 500
"""So many different texts are looked at before all are."""
FEW = 5
"""So many different texts among numbers may be marks of missing cells, and are listed."""
MANY = 10
"""From so many different numbers on, a few other texts are marks, however often they occur."""
MOST = 0.9
"""The share of cells that must be of a kind, numbers aside."""

_NUMBER = r"[+-]?(?:[0-9](?:[0-9.,' \u00a0]*[0-9])?|[.,][0-9]+)"
_CURRENCY = (
    r"(?:[A-Z]{0,3}[$€£¥₹₩₽₺฿¢]|USD|EUR|GBP|JPY|CHF|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|RUB|TRY"
    r"|KRW|Rs|kr|zł)"
)
_MONEY = re.compile(rf"[+-]?{_CURRENCY}\s*{_NUMBER}|{_NUMBER}\s*{_CURRENCY}")
_PERCENT = re.compile(rf"{_NUMBER}\s*%")
_FORTRAN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[dD][+-]?[0-9]+")
_UNIT = re.compile(rf"{_NUMBER}\s*([A-Za-zµ°]+(?:/[a-z]+)?)")
_DATE = re.compile(
    r"[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{2,4}(?![0-9]).*|[0-9]{1,2}[ -][A-Za-z]{3,9}[ -][0-9]{2,4}(?![0-9]).*"
    r"|[A-Za-z]{3,9} [0-9]{1,2},? [0-9]{4}\b.*|[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?( [AaPp][Mm])?"
)
_COMMA = re.compile(r",[0-9]{1,2}(?![0-9])[^0-9]*$")

_DAYS = (
    *("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y"),
    *("%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", "T%H:%M", " %H:%M:%S.%f", "T%H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = (*(day + time for time, day in product(_TIMES, _DAYS)), "%H:%M", "%H:%M:%S", "%I:%M %p")


@dataclass(frozen=True)
class Look:
    """`what` the cells are; the `cure`, which begins with a verb."""

    what: str
    cure: str


def looks_like_numbers(
    column: Column, lines: Array | None, grammar: Grammar, file: str | None, delimiter: str | None
) -> Look | None:
    """What the cells of a text column look like, if most are numbers of some spelling; None if they are just texts.

    `lines`: where the rows begin in their file. `file` and `delimiter` are those of a table that can be read again, for
    the command that converts it.
    """
    codes = column.codes
    if codes is None or column.boolean or not column.levels:
        return None
    texts = [text.strip(BLANKS) for text in column.levels]
    present = [i for i, text in enumerate(texts) if text not in grammar.missing]
    some = [texts[i] for i in present[:SAMPLE]]
    if 2 * sum(any(map(str.isdigit, text)) for text in some) < min(len(some), MANY):
        return None
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    cells = [(texts[i], int(counts[i])) for i in present]

    def first_of(odd: Sequence[str]) -> str:
        row = int(np.flatnonzero(np.isin(codes, [i for i in present if texts[i] in set(odd)]))[0])
        return "" if lines is None else f", the first in line {lines[row]:,}"

    return _numbers(cells, grammar, first_of) or _converted(column.name, cells, grammar, file, delimiter)


def _numbers(
    cells: Sequence[tuple[str, int]], grammar: Grammar, first_of: Callable[[Sequence[str]], str]
) -> Look | None:
    """Numbers and a few other texts, or more numbers than other texts; `first_of` says where the first of some is."""
    best: tuple[int, str, Grammar] = (0, "", grammar)
    for hint, other in (("", grammar), *((hint, replace(other, limit=grammar.limit)) for hint, other in HINTS)):
        found = sum(other.number(text) is not None for text, _ in cells[:SAMPLE])
        if found > best[0]:
            best = found, hint, other
    found, hint, spelling = best
    if found < 2:
        return None
    rest = [(text, n) for text, n in cells if spelling.number(text) is None]
    total = sum(n for _, n in cells)
    numbers = total - sum(n for _, n in rest)
    if not rest or (2 * numbers < total and not (len(cells) - len(rest) >= MANY and len(rest) <= FEW)):
        return None
    rest.sort(key=lambda cell: -cell[1])
    shown = ", ".join(f'"{text[:40]}" ({n:,})' for text, n in rest[:FEW])
    first = first_of([text for text, _ in rest])
    written = f" with {hint}" if hint else ""
    if len(rest) > FEW:
        others = f"{len(rest):,} different texts: {shown}, …{first}"
        what = f"{numbers:,} of {total:,} cells are numbers{written}, the others {others}"
        return Look(what, "mend them")
    what = f"{numbers:,} of {total:,} cells are numbers{written}, the others {shown}{first}"
    cure = " ".join(filter(None, (hint, grammar.as_missing(text for text, _ in rest))))
    return Look(what, f"mend {'it' if total - numbers == 1 else 'them'} or set {cure}")


def _converted(
    name: str, cells: Sequence[tuple[str, int]], grammar: Grammar, file: str | None, delimiter: str | None
) -> Look | None:
    """Cells of which most become numbers by one and the same change."""
    texts = [text for text, _ in cells if grammar.number(text) is None]
    if not texts:
        return None
    comma = 2 * sum(_COMMA.search(text) is not None for text in texts[:SAMPLE]) > min(len(texts), SAMPLE)
    digits = '.str.replace("[^0-9,-]", "", regex=True).str.replace(",", ".")' if comma else None
    digits = digits or '.str.replace("[^0-9.-]", "", regex=True)'
    kinds: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("money", digits, _MONEY.fullmatch),
        ("per cent", digits, _PERCENT.fullmatch),
        ("numbers with Fortran's D exponent", '.str.replace("[dD]", "E", regex=True)', _FORTRAN.fullmatch),
        ("numbers with a unit", digits, _unit_of(texts)),
    )
    for what, change, is_one in kinds:
        if is_one(texts[0]) and _most(cells, lambda text: is_one(text) or grammar.number(text) is not None):  # noqa: B023
            value = f"pandas.to_numeric(t[{{}}]{change}, errors={quoted('coerce')})"
            return Look(f"the cells are {what} ({_some(texts)})", _command(name, value, file, delimiter))
    for form in _FORMATS if _DATE.fullmatch(texts[0]) else ():
        if _dated(texts[0], form) and _most(cells, lambda text: _dated(text, form)):  # noqa: B023
            start = quoted("1970-01-01" if "%d" in form else "1900-01-01")
            when = f"pandas.to_datetime(t[{{}}], format={quoted(form)}, errors={quoted('coerce')})"
            value = f"({when} - pandas.Timestamp({start})).dt.total_seconds() / {86400 if '%d' in form else 3600}"
            kind = f"{'dates' if '%d' in form else 'times'} of the form {form}"
            return Look(f"the cells are {kind} ({_some(texts)})", _command(name, value, file, delimiter))
    return None


def _unit_of(texts: Sequence[str]) -> Callable[[str], object]:
    """Whether a text is a number with the unit that the first has, in the singular or the plural."""
    first = _UNIT.fullmatch(texts[0])
    unit = "" if first is None else first[1].lower().rstrip("s")

    def is_one(text: str) -> bool:
        found = _UNIT.fullmatch(text)
        return found is not None and found[1].lower().rstrip("s") == unit

    return is_one


def _most(cells: Sequence[tuple[str, int]], is_one: Callable[[str], object]) -> bool:
    if sum(bool(is_one(text)) for text, _ in cells[:SAMPLE]) < MOST * min(len(cells), SAMPLE) or len(cells) < 2:
        return False
    return sum(n for text, n in cells if is_one(text)) >= MOST * sum(n for _, n in cells)


def _dated(text: str, form: str) -> bool:
    with suppress(ValueError):
        return len(text) < 40 and datetime.strptime(text, form) is not None  # noqa: DTZ007  only the form is asked for
    return False


def _some(texts: Sequence[str]) -> str:
    return f'"{texts[0][:30]}"' + (", …" if len(texts) > 1 else "")


def _command(name: str, value: str, file: str | None, delimiter: str | None) -> str:
    """What makes numbers of the column: a command that writes another file, where there is a file."""
    if file is None or delimiter is None:
        return "make numbers of them"
    sep = {",": "", " ": f", sep={quoted(chr(92) + 's+')}"}.get(delimiter, f", sep={quoted(delimiter)}")
    made = beside(file.removesuffix(".gz"), ".clean.csv")
    column = quoted(name)
    code = (
        f"import pandas; t = pandas.read_csv({quoted(file)}{sep}); "
        f"t[{column}] = {value.format(column)}; t.to_csv({quoted(made)}, index=False)"
    )
    return f"make numbers of them: python -c {shlex.quote(code)}"
