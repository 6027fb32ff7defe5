"""What `eval` shows: which checkpoint met which rows, and its scores beside the trivial predictor's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcnet.errors import escape
from fcnet.reports.summary import scores
from fcnet.reports.text import count, fold, label_width, left


def lines(scored: Mapping[str, Any], following: str, width: int | None) -> list[str]:
    """The lines for one part's scores.

    `scored` holds `name`, `checkpoint`, `epoch`, `part`, `rows`, `data` and the metrics, each as value and trivial.
    """
    indent = label_width(scored["name"])
    where = [escape(str(scored["checkpoint"])), f"epoch {scored['epoch']}", escape(str(scored["data"]))]
    return [
        *fold(scored["name"], where, width, indent),
        *scores({scored["part"]: scored}, "scores", count(scored["rows"], "row"), indent, scored.get("weighted_by")),
        left("next", indent) + following,
    ]
