"""What `inspect` shows of a checkpoint: where it comes from, the net, the columns, the scores, the arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fcnet.errors import escape
from fcnet.reports.text import count, figures, fold, label_width, left, shorten
from fcnet.runs.checkpoint import Checkpoint

SHOWN = 12
"""Names of one kind that are listed unless all are asked for."""


def lines(found: Checkpoint, following: str, width: int | None, everything: bool) -> list[str]:
    """The lines for a checkpoint; `everything` lists all names, where otherwise `SHOWN` are enough."""
    header = found.header
    config = header["config"]
    indent = label_width(config["name"])
    size = sum(array.nbytes for array in found.arrays.values())
    parameters = sum(a.size for name, a in found.arrays.items() if "/" not in name)

    def line(label: str, *parts: str) -> list[str]:
        return fold(label, parts, width, indent)

    def names(label: str, items: Sequence[Any]) -> list[str]:
        shown = [shorten(str(item), 30) for item in (items if everything else items[:SHOWN])]
        more = [f"… ({len(items) - len(shown)} more, -v lists them)"] if len(shown) < len(items) else []
        listed = [f"{item}," for item in [*shown, *more]]
        return fold(label, [*listed[:-1], listed[-1][:-1]], width, indent, " ") if listed else []

    return [
        *line(
            config["name"], escape(str(found.path)), f"written {escape(str(header['created']))[:16].replace('T', ' ')}"
        ),
        *line("trained", f"epoch {header['epoch']}", f"step {header['step']:,}", config["optimizer"]["name"]),
        *line("net", count(parameters, "parameter"), count(len(found.arrays), "array"), f"{size:,} bytes"),
        *names("columns", header["columns"]),
        *names("classes", header.get("classes") or []),
        *_scores(header.get("metrics") or {}, indent, width),
        *(
            left("arrays" if i == 0 else "", indent)
            + f"{left(shorten(name, 32), 32)}  {' × '.join(map(str, array.shape)) or 'one number':>18}  {array.dtype}"
            for i, (name, array) in enumerate(found.arrays.items())
        ),
        left("next", indent) + following,
    ]


def _scores(metrics: Mapping[str, Any], indent: int, width: int | None) -> list[str]:
    said = [f"{escape(name)} {figures([value])[0]}" for name, value in metrics.items() if isinstance(value, float)]
    return fold("scores", said, width, indent) if said else []
