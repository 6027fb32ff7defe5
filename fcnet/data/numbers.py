"""What counts as a number in a text file, and nothing else does: the grammar, and its exact conversion to float64."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.cures import typed
from fcnet.data.options import Data
from fcnet.records import dataclass

Array = NDArray[Any]

AUTO_MISSING = frozenset(
    ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", ".", "-"],
)
BLANKS = " \t"
_DIGITS = str.maketrans("", "", "0123456789.eE+-" + BLANKS)
_DIGITS_COMMA = str.maketrans("", "", "0123456789,eE+-" + BLANKS)


@dataclass(frozen=True)
class Grammar:
    """How the cells of one file spell numbers and missing values.

    `missing` holds the texts that mean a missing cell in a column of numbers, `missing_text` in a column of text.
    `limit` is the largest finite number of the dtype: what rounds beyond it is no number. `settled`: whether a training
    has fixed all this, so that no config is at hand to change it.
    """

    decimal: str = "."
    thousands: str = ""
    missing: frozenset[str] = AUTO_MISSING
    missing_text: frozenset[str] = frozenset([""])
    limit: float = float(np.finfo(np.float64).max)
    dtype: str = "float64"
    settled: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern(self.decimal, self.thousands)

    @cached_property
    def plain(self) -> bool:
        """Whether a text of digits can only mean the number it spells, so that fast paths may be taken."""
        return not self.thousands and not len(self.marks)

    @cached_property
    def marks(self) -> Array:
        """The numbers that texts of missing cells spell, (k,): in sources that have numbers these are missing cells."""
        return np.array([self._value(text) for text in self.missing if self._pattern.fullmatch(text)], dtype=np.float64)

    def number(self, text: str) -> float | None:
        """The number that a cell spells; None if it is none.

        >>> Grammar().number(" -1.5e3 "), Grammar().number("1_000"), Grammar().number("inf")
        (-1500.0, None, None)
        """
        text = text.strip(BLANKS)
        if not self._pattern.fullmatch(text):
            return None
        value = self._value(text)
        return value if abs(value) <= self.limit else None

    def too_large(self, text: str) -> bool:
        """Whether a cell is no number only because the dtype cannot hold it."""
        text = text.strip(BLANKS)
        return bool(self._pattern.fullmatch(text)) and abs(self._value(text)) > self.limit

    def _value(self, text: str) -> float:
        if self.thousands:
            text = text.replace(self.thousands, "")
        return float(text.replace(self.decimal, "."))

    def parse(self, cells: Sequence[str]) -> tuple[Array, list[int]]:
        """The numbers of many cells, (n,) float64, NaN where missing; and the positions of those that are neither."""
        if self.plain:
            joined = "".join(cells)
            comma = self.decimal == ","
            if not joined.translate(_DIGITS_COMMA if comma else _DIGITS):
                try:
                    # Of these characters float() takes just what the grammar takes.
                    found = list(map(float, [c.replace(",", ".") for c in cells] if comma else cells))
                except ValueError:
                    pass
                else:
                    values = np.array(found, dtype=np.float64)
                    if bool(np.all(np.abs(values) <= self.limit)):
                        return values, []
        known: dict[str, float | None] = {}
        for text in set(cells):
            known[text] = np.nan if text.strip(BLANKS) in self.missing else self.number(text)
        values = np.empty(len(cells), dtype=np.float64)
        bad: list[int] = []
        for i, text in enumerate(cells):
            value = known[text]
            if value is None:
                bad.append(i)
                value = np.nan
            values[i] = value
        return values, bad

    def is_missing(self, text: str) -> bool:
        """Whether a cell of a text column is missing."""
        return text.strip(BLANKS) in self.missing_text

    def as_missing(self, texts: Iterable[str]) -> str:
        """The config key, as it is typed, under which these texts too mean a missing cell."""
        listed = [*sorted(self.missing_text - {""}), *(text.strip(BLANKS) for text in texts)]
        return typed("data.missing", list(dict.fromkeys(listed)))

    def why_not(self, text: str) -> str:
        """Why a cell is no number, for messages: the reason, and of what looks like one the first odd character."""
        if self.too_large(text):
            return f'"{_short(text)}" is outside {self.dtype}'
        odd = next((c for c in text.strip(BLANKS) if not (c.isascii() and c.isalnum()) and c not in "+-.,"), None)
        meant = odd is not None and any(c.isdigit() for c in text)  # a number but for one character
        code = f' (the character "{odd}" is U+{ord(odd):04X})' if odd is not None and meant else ""
        return f'"{_short(text)}" is not a number{code}'


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = rf"[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    point = re.escape(decimal)
    # No two neighbouring parts can match the same characters, so matching is linear in the length of the cell.
    return re.compile(rf"[+-]?(?:(?:{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def grammar(options: Data, dtype: str) -> Grammar:
    """The grammar that the config asks for."""
    listed = [] if options.missing == "auto" else options.missing
    missing_text = frozenset(["", *(text.strip(BLANKS) for text in listed)])
    return Grammar(options.decimal, options.thousands, AUTO_MISSING | missing_text, missing_text, _limit(dtype), dtype)


def _limit(dtype: str) -> float:
    """The largest float64 that does not round to infinity in the dtype."""
    if dtype == "float64":
        return float(np.finfo(np.float64).max)
    half_above = 2.0**128 - 2.0**103  # halfway from the largest float32 to 2**128; it rounds up
    return float(np.nextafter(half_above, 0.0))


HINTS: tuple[tuple[str, Grammar], ...] = (
    (typed("data.thousands", ","), Grammar(thousands=",")),
    (typed("data.thousands", "'"), Grammar(thousands="'")),
    (typed("data.thousands", " "), Grammar(thousands=" ")),
    (typed("data.decimal", ","), Grammar(decimal=",")),
    (f"{typed('data.decimal', ',')} {typed('data.thousands', '.')}", Grammar(decimal=",", thousands=".")),
)
"""Other ways to spell numbers, by the keys that choose them, in the order in which they are tried."""


def other_spellings(texts: Sequence[str], grammar: Grammar) -> list[str]:
    """The config keys under which all these texts would be numbers, the likeliest first.

    >>> other_spellings(["1,250"], Grammar())[0], other_spellings(["1,250", "0,375"], Grammar())[0]
    ('data.thousands=,', 'data.decimal=,')
    """
    asked = (grammar.decimal, grammar.thousands, grammar.limit)
    wider = ("dtype=float64", replace(grammar, limit=Grammar.limit))
    return [
        hint
        for hint, other in (wider, *((hint, replace(other, limit=grammar.limit)) for hint, other in HINTS))
        if (other.decimal, other.thousands, other.limit) != asked
        and all(other.number(text) is not None and not _starts_with_zero(text, other.thousands) for text in texts)
    ]


def _starts_with_zero(text: str, thousands: str) -> bool:
    """Whether a zero stands before the first thousands mark, which nobody writes."""
    return bool(thousands) and text.strip(BLANKS).lstrip("+-").startswith(f"0{thousands}")
