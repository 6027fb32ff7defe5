"""What `inspect` shows of a checkpoint: where it comes from, the net, the columns, the scores, the arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fcnet.config.schema import Config
from fcnet.errors import escape
from fcnet.formulas.notation import compact
from fcnet.machine import size as memory
from fcnet.reports.notation import plain
from fcnet.reports.summary import PARTS, encodings, outputs, size
from fcnet.reports.summary import net as chain_of
from fcnet.reports.text import count, figures, fold, label_width, left, shorten
from fcnet.runs.checkpoint import Checkpoint
from fcnet.runs.model import Description, understand
from fcnet.training.members import drawn

SHOWN = 12
"""Names of one kind that are listed unless all are asked for."""


def lines(found: Checkpoint, following: str, width: int | None, everything: bool) -> list[str]:
    """The lines for a checkpoint; `everything` lists all names, where otherwise `SHOWN` are enough.

    Raises CheckpointError where the header makes no sense.
    """
    header = found.header
    parts = understand(found)
    chain = chain_of(*parts.network.outline)
    optimizer = f"{getattr(parts.config.optimizer, 'name', '')} {compact(parts.config.optimizer.lr)}"
    nets = header.get("nets", [None])
    at = f"epoch {header['epoch']}"
    again = ["refitted on validation rows too"] if header.get("refit") else []
    classes = parts.head.target.classes or ()
    indent = label_width(header["name"])

    def line(label: str, *said: str) -> list[str]:
        return fold(label, said, width, indent)

    def names(label: str, items: Sequence[Any]) -> list[str]:
        if not items:
            return []
        shown = [shorten(str(item), 30) for item in (items if everything else items[:SHOWN])]
        more = [f"… ({len(items) - len(shown)} more, -v lists them)"] if len(shown) < len(items) else []
        listed = [f"{item}," for item in [*shown, *more]]
        return fold(label, [*listed[:-1], listed[-1][:-1]], width, indent, " ")

    when = f"written {escape(header['created'])[:16].replace('T', ' ')} UTC by fcnet {escape(header['fcnet'])}"
    rows = [
        f"{part['rows']:,} {escape(name)}" for name, part in header["parts"].items() if name in PARTS and part["rows"]
    ]
    what = outputs(parts.head.target.task, parts.head.target.names, len(classes))
    return [
        *line(header["name"], escape(str(found.path)), when),
        *line("net", chain, size(len(nets), sum(net.network.layout.count for net in parts.nets)), parts.config.dtype),
        *_nets(header.get("nets", ()), parts.config, indent, width, everything),
        *line("trained", at, f"step {header['step']:,}", optimizer, f"rows: {', '.join(rows)}", *again),
        *line("target", what),
        *names("classes", classes),
        *names("columns", parts.encoder.columns),
        *line(
            "encoded", *(f"{plain(text)} ({count(n, 'column')})" for _, text, n in encodings(parts.encoder.features))
        ),
        *_scores(header.get("metrics"), indent, width),
        *_calibration(parts, indent, width),
        *_arrays(found, indent, everything),
        left("next", indent) + following,
    ]


def _scores(metrics: Any, indent: int, width: int | None) -> list[str]:
    known = metrics.items() if isinstance(metrics, Mapping) else ()
    said = [f"{escape(name)} {figures([value])[0]}" for name, value in known if name.startswith(("train_", "val_"))]
    return fold("scores", said, width, indent) if said else []


def _calibration(parts: Description, indent: int, width: int | None) -> list[str]:
    """What validation rows said when the training was over."""
    found, head = parts.calibration, parts.head
    said = [f"temperature {figures([found.temperature])[0]}"] if found.temperature != 1 else []
    if head.target.threshold != 0.5:
        said.append(f"{shorten(str((head.target.classes or ('', ''))[1]), 30)} above {head.target.threshold:.4g}")
    if found.rows:
        said.append(f"--coverage from {count(found.rows, 'validation row')}")
    return fold("decides", said, width, indent) if said else []


def _nets(nets: Any, config: Config, indent: int, width: int | None, everything: bool) -> list[str]:
    """Of each net what it counts and the rates that it has drawn: `2: epoch 14, weight 0.25, lr 3.1e-3`."""
    said = []
    for net in nets if everything else nets[:SHOWN]:
        rates = drawn(config, net["member"]).rates.items()
        own = "".join(f", {name} {compact(float(f'{rate:.3g}'))}" for name, rate in rates)
        whose = "" if net.get("fold") is None else f"fold {net['fold']}, net "
        said.append(f"{whose}{net['member']}: epoch {net['epoch']}, weight {net['weight']:.3g}{own}")
    more = [f"… ({len(nets) - len(said)} more, -v lists them)"] if len(said) < len(nets) else []
    return fold("nets", [*said, *more], width, indent) if said else []


def _arrays(found: Checkpoint, indent: int, everything: bool) -> list[str]:
    """Each with shape, type and size; of several nets those of the first, or all."""
    arrays = {n: a for n, a in found.arrays.items() if everything or not re.match(r"[1-9]\d*/", n)}
    names = [shorten(name, 40) for name in arrays]
    shapes = [" × ".join(map(str, array.shape)) or "1" for array in arrays.values()]
    about = [f"{array.dtype}  {memory(array.nbytes)}" for array in arrays.values()]
    if len(arrays) < len(found.arrays):
        names, shapes, about = [*names, "…"], [*shapes, ""], [*about, "those of the other nets, -v lists them"]
    widest = max(map(len, names)), max(map(len, shapes))
    labels = ["arrays", *[""] * (len(names) - 1)]
    return [
        f"{left(label, indent)}{left(name, widest[0])}  {shape:>{widest[1]}}  {rest}"
        for label, name, shape, rest in zip(labels, names, shapes, about, strict=True)
    ]
