"""The keys of the config as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import astuple, fields
from itertools import zip_longest

from fcnet.config.reference import KeyRow
from fcnet.reports.text import cells, hang, left

WIDEST = (40, 28, 16, 20)
"""The most columns for key, type, default and limits; longer texts fold."""

NARROWEST = 24
"""Where less than this is left for the meanings, there are no columns."""


def lines(rows: Sequence[KeyRow], width: int) -> list[str]:
    """The rows under their headers, in columns that fold their texts; the meanings take what `width` leaves.

    On a narrow terminal each key is a paragraph.
    """
    told = [tuple(field.name for field in fields(KeyRow)), *map(astuple, rows)]
    longest = [max(map(cells, column)) for column in zip(*told, strict=True)]
    widths = [min(n, most) for n, most in zip(longest, WIDEST, strict=False)]
    widths.append(width - sum(widths) - 2 * len(widths))
    if widths[-1] < NARROWEST:
        return [line for row in rows for line in _paragraph(row, width)]
    return [line for row in told for line in _folded(row, widths)]


def _paragraph(row: KeyRow, width: int) -> list[str]:
    about = [row.type, row.limits, _default(row.default)]
    said = " · ".join(filter(None, about))
    return [row.key, *(line for text in (said, row.meaning) if text for line in hang("    ", text, width))]


def _default(text: str) -> str:
    return f"default {text}" if text and not text.startswith("required") else text


def _folded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    columns = [textwrap.wrap(cell, n) for cell, n in zip(row, widths, strict=True)]
    return [
        "  ".join(left(cell, n) for cell, n in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    ]
