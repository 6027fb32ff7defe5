"""What `eval` shows: which checkpoint met which rows, and its scores beside the trivial predictor's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcnet.errors import escape
from fcnet.reports.summary import scores
from fcnet.reports.text import count, figures, fold, label_width, left, shorten, table

SHOWN = 30
"""Columns whose importance is shown unless all are asked for."""


def lines(scored: Mapping[str, Any], following: str, width: int | None, everything: bool = False) -> list[str]:
    """The lines for one part's scores; `everything` lists every column, where otherwise `SHOWN` are enough.

    `scored` holds `name`, `checkpoint`, `epoch`, `part`, `rows`, `data` and the metrics, each as value and trivial, and
    `importance` where it was asked for.
    """
    part = {name: value for name, value in scored.items() if name != "importance"}
    indent = label_width(scored["name"])
    where = [escape(str(scored["checkpoint"])), f"epoch {scored['epoch']}", escape(str(scored["data"]))]
    return [
        *fold(scored["name"], where, width, indent),
        *scores({scored["part"]: part}, "scores", count(scored["rows"], "row"), indent, scored.get("weighted_by")),
        *(_importance(scored["importance"], indent, everything) if "importance" in scored else []),
        left("next", indent) + following,
    ]


def _importance(found: Mapping[str, Any], indent: int, everything: bool) -> list[str]:
    """What the metric loses by column."""
    columns = found["columns"] if everything else found["columns"][:SHOWN]
    cells = figures([columns[0]["mean"]], [each[key] for each in columns for key in ("mean", "se", "low", "high")])[1:]
    rows = [(shorten(each["column"], 40), cells[4 * i : 4 * i + 4]) for i, each in enumerate(columns)]
    said = f"loss in {found['metric']}, shuffled"
    lines = table("column", said, ["mean", "error", "95 % from", "to"], rows, indent)
    rest = len(found["columns"]) - len(columns)
    more = [f"{rest:,} more columns, -v lists them"] if rest else []
    return [
        *lines,
        *(" " * indent + text for text in [*more, f"{count(found['rows'], 'row')}, {found['repeats']} times"]),
    ]
