"""The keys of the config as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import astuple, fields
from itertools import zip_longest

from fcnet.config.reference import Row
from fcnet.reports.text import cells, left

WIDEST = (40, 28, 16, 20)
"""The most columns for key, type, default and limits; longer texts fold."""


def lines(rows: Sequence[Row], width: int) -> list[str]:
    """The rows under their headers, in columns that fold their texts; the meanings take what `width` leaves."""
    told = [tuple(field.name for field in fields(Row)), *map(astuple, rows)]
    longest = [max(map(cells, column)) for column in zip(*told, strict=True)]
    widths = [min(n, most) for n, most in zip(longest, WIDEST, strict=False)]
    widths.append(max(24, width - sum(widths) - 2 * len(widths)))
    return [line for row in told for line in _folded(row, widths)]


def _folded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    columns = [textwrap.wrap(cell, n) for cell, n in zip(row, widths, strict=True)]
    return [
        "  ".join(left(cell, n) for cell, n in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    ]
