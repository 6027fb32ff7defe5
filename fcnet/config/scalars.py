"""Reads one unquoted YAML scalar by YAML 1.2's core rules; what YAML 1.1 reads differently is refused."""

from __future__ import annotations

import math
import re

Scalar = None | bool | int | float | str

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "false": False}

# Every pattern matches in linear time: no two neighbouring parts can take the same character.
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_OTHER_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DECIMAL_COMMA = re.compile(r"([-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?)")

MAX_DIGITS = 400  # float64 needs at most 309 before the point; Python refuses integers of more than 4300


class NotPlain(ValueError):
    """An unquoted scalar that is neither clearly a number nor clearly text; the message says what to write."""


def read(text: str) -> Scalar:
    """The value of an unquoted scalar: null, true or false, a whole number, a finite number, else the text itself.

    Raises NotPlain for what YAML 1.1 and 1.2 read differently (`010`, `0x20`, `1_000`) and for numbers that are not
    finite.

    >>> [read(text) for text in ("1e-3", "10", "no", "2001-01-01", "true", "")]
    [0.001, 10, 'no', '2001-01-01', True, None]
    """
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if not (text[0].isascii() and text[0] in "+-.0123456789"):
        return text
    quote = "or put it in quotes if it is text"
    if _NOT_FINITE.fullmatch(text):
        raise NotPlain(f"{text} is no number to work with; numbers must be finite")
    if len(text) > MAX_DIGITS and any(form.fullmatch(text) for form in (_FLOAT, _OTHER_BASE, _UNDERSCORES)):
        raise NotPlain(f"a number of {len(text)} characters; at most {MAX_DIGITS} are allowed")
    if _OTHER_BASE.fullmatch(text):
        raise NotPlain(f"{text} is not a plain decimal number; write {_other_base(text)}, {quote}")
    if _FLOAT.fullmatch(text):
        if _LEADING_ZERO.match(text):
            raise NotPlain(
                f"{text} starts with a zero: some readers take that for octal; write {_leading_zero(text)}, {quote}"
            )
        if _INT.fullmatch(text):
            return int(text)
        number = float(text)
        if math.isinf(number):
            raise NotPlain(f"{text} is too large; numbers must be finite")
        return number
    if "_" in text and _UNDERSCORES.fullmatch(text):
        raise NotPlain(f"{text} is not a plain decimal number; write {text.replace('_', '')}, {quote}")
    return text


def decimal_point(text: str) -> str | None:
    """`text` with a point where it is a number written with a decimal comma, else None.

    >>> decimal_point("1,5e-3")
    '1.5e-3'
    """
    match = _DECIMAL_COMMA.fullmatch(text)
    return f"{match[1] or 0}.{match[2]}" if match else None


def is_number(text: str) -> bool:
    """Whether `text`, unquoted, would be a number.

    >>> is_number("1e-3"), is_number("no")
    (True, False)
    """
    try:
        value = read(text)
    except NotPlain:
        return False
    return isinstance(value, int | float) and not isinstance(value, bool)


def _other_base(text: str) -> str:
    digits = text.replace("_", "")
    try:
        return str(int(digits, 0))
    except ValueError:  # a base mark with no digit after it but underscores
        return "the decimal number"


def _leading_zero(text: str) -> str:
    sign = text[0] if text[0] in "+-" else ""
    decimal = sign + (text.lstrip("+-").lstrip("0") or "0")
    octal = text.lstrip("+-")
    if _INT.fullmatch(text) and not set(octal) & set("89"):
        return " or ".join(dict.fromkeys([f"{sign}{int(octal, 8)}", decimal]))
    return decimal if decimal.lstrip("+-")[0].isdigit() else f"{sign}0{decimal.lstrip('+-')}"
