"""What makes cells one label or one category, whatever their source: the spelling of a value, and what finds it again.

CSV has texts; Parquet, NPZ, pandas and polars have values, which get the spelling that a text of the same meaning is
compared by. So a net finds in every source what it learned from any other.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from fcnet.data.numbers import Grammar

Label = str | int | float | bool

TRUTHS = {text: value for value in (False, True) for text in (str(value), str(value).upper(), str(value).lower())}
"""The spellings of a boolean: as Python and pandas write it, as spreadsheets do, and as polars does."""

LONGEST = 400
"""Digits of a number that is compared by its value."""

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.0+)?")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_WRITTEN = re.compile(rf"{_PLAIN.pattern}(?:e[+-]?[0-9]+)?")
_MOMENT = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)(?:[T ](?=\d)|\Z))?(?:(\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)

_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)


def spelled(value: object) -> str:
    """The text of a value of another type than text; of numbers the shortest, of times what `canonical` makes of them.

    >>> spelled(2.0), spelled(np.float32(0.1)), spelled(np.True_), spelled(datetime(2020, 1, 1, 12, 30))
    ('2', '0.1', 'True', '2020-01-01 12:30:00')
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    return str(shortest(value)) if isinstance(value, Real | Decimal) else canonical(str(value))


def shortest(value: Any) -> int | float:
    """A number as an int where it is whole and exact, else as the float of the fewest digits that its type needs.

    OverflowError for an int outside float64.
    """
    if isinstance(value, int | np.integer):
        float(value)
        return int(value)
    number = float(str(value)) if isinstance(value, np.floating) else float(value)
    return int(number) if number.is_integer() and abs(number) < 1e16 else number


def canonical(text: str) -> str:
    """What a text is compared by: booleans, whole numbers and times have one spelling each, others are as they stand.

    A time of day has seconds, and a fraction only where it is not 0; midnight is the date alone; with a zone it is UTC.

    >>> canonical("TRUE"), canonical("1.0"), canonical("01"), canonical("2020-01-01T00:00:00.000")
    ('True', '1', '01', '2020-01-01')
    >>> canonical("2020-01-01T12:30:00.500000+0100"), canonical("12:30:00.000000")
    ('2020-01-01 11:30:00.5+00:00', '12:30:00')
    """
    text = text.strip()
    if text in TRUTHS:
        return str(TRUTHS[text])
    if _WHOLE.fullmatch(text) and len(text) < LONGEST:
        return str(int(text.partition(".")[0]))
    return _moment(text) or text


def in_time(text: str) -> str | None:
    """A text of a month, a date or a date with a time of day, so written that their order is that of the times.

    A time without a zone is UTC. None if it is none of these.

    >>> in_time("2024-05"), in_time("2024-05-31T08:30Z"), in_time("2024-05-31 08:30:00.50"), in_time("08:30:00")
    ('2024-05', '2024-05-31 08:30:00', '2024-05-31 08:30:00.5', None)
    """
    text = text.removesuffix("Z")
    if _MONTH.fullmatch(text):
        return text
    found = _moment(text) if text[4:5] == "-" else None
    return None if found is None else _moment(found.removesuffix("+00:00"))


def _moment(text: str) -> str | None:
    """The one spelling of a date, a time, or both; None if it is neither."""
    match = _MOMENT.fullmatch(text)
    if not match or not text:
        return None
    date, minutes, seconds, fraction, zone = match.groups()
    if minutes is None:
        return text
    if date is None and (seconds is None or zone is not None):
        return None
    time = minutes + (seconds or ":00")
    fraction = f".{digits}" if (digits := (fraction or "").rstrip("0")) else ""
    if zone is None:
        midnight = date is not None and time == "00:00:00" and not fraction
        return date if midnight else " ".join(part for part in (date, time + fraction) if part)
    try:
        moment = datetime.fromisoformat(f"{date} {time}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment.replace(tzinfo=None)}{fraction}+00:00"


def is_plain(text: str) -> bool:
    """Whether a text is a number without plus sign, leading zero, exponent or trailing zero after the point.

    >>> [is_plain(text) for text in ("1", "-2.5", "+1", "01", "1.0", "1e3")]
    [True, True, False, False, False, False]
    """
    return bool(_PLAIN.fullmatch(text)) and len(text) < LONGEST and str(plain_number(text)) == text


def plain_number(text: str) -> int | float:
    """The number that a plain text spells."""
    return float(text) if "." in text else int(text)


def keys(texts: Sequence[str]) -> list[str]:
    """What each of the different texts of one column is compared by, where the column is learned from.

    Booleans and times by what they mean; numbers only where all are whole: there 1 and 1.0 are one, while of versions
    or prices every spelling is a text of its own.

    >>> keys(["1", "1.0", "2"]), keys(["1", "1.0", "1.10"])
    (['1', '1', '2'], ['1', '1.0', '1.10'])
    """
    whole = all(_WHOLE.fullmatch(text.strip()) for text in texts)
    return [canonical(text) if whole or not _WHOLE.fullmatch(text.strip()) else text.strip() for text in texts]


class Lookup:
    """Finds which of the known labels or categories a cell means.

    First the one that is spelled so; then the one that `canonical` makes the same; then, for a cell that is written as
    programs write numbers, the one of the same value. What two of the known have in common finds neither. `grammar`
    reads the known ones that are texts.
    """

    def __init__(self, known: Sequence[Label], grammar: Grammar | None = None) -> None:
        self._number = (grammar or Grammar()).number
        self._exact: dict[str, int] = {str(label).strip(): i for i, label in enumerate(known)}
        self._same = _unique([canonical(str(label)) for label in known])
        values = [self._value(str(label)) for label in known]
        self._binary = all(value in (0, 1) for value in values)
        self._values = _unique(
            [
                None if str(label) in TRUTHS and not self._binary else value
                for label, value in zip(known, values, strict=True)
            ]
        )
        self._numeric = not any(isinstance(label, str) for label in known)

    def find(self, cell: Label) -> int | None:
        """The position of what a cell means; None if it is none of the known."""
        text = str(cell).strip()
        found = self._exact.get(text)
        if found is None:
            found = self._same.get(canonical(text))
        if found is None and (
            self._numeric or _WHOLE.fullmatch(text) or _WRITTEN.fullmatch(text) or (self._binary and text in TRUTHS)
        ):
            value = self._value(text)
            found = None if value is None else self._values.get(value)
        return found

    def _value(self, text: str) -> int | float | None:
        """The number that a text spells, an int where it is written as one; of booleans 0 or 1."""
        text = text.strip()
        if text in TRUTHS:
            return int(TRUTHS[text])
        if _WHOLE.fullmatch(text) and len(text) < LONGEST:
            return int(text.partition(".")[0])
        return self._number(text)


def _unique(values: Sequence[Hashable]) -> dict[Hashable, int]:
    """The position of each value that occurs once; None is no value."""
    found: dict[Hashable, int] = {}
    twice = set()
    for i, value in enumerate(values):
        if value in found:
            twice.add(value)
        found[value] = i
    return {value: i for value, i in found.items() if value is not None and value not in twice}
