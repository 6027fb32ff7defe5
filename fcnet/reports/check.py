"""What `check` finds before a run begins: config, data, net, memory and disk, and whether the gradient is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fcnet import config as configs
from fcnet import extras, files, machine
from fcnet.backends import choice
from fcnet.config import Config
from fcnet.data.encodings import Fitted, NumberColumn
from fcnet.errors import FcnetError, escape
from fcnet.formulas.notation import compact
from fcnet.machine import Limit, size
from fcnet.records import dataclass
from fcnet.reports.summary import outputs
from fcnet.reports.text import cells, count, fold, hang, label_width, left, right, shorten
from fcnet.training.estimate import Estimate, Usage, refuse
from fcnet.training.gradcheck import LIMIT, Check, Trial, check_gradient
from fcnet.training.prepare import Prepared, prepare

SHOWN = 12
"""Columns and layers at each end of a long list that are shown unless all are asked for."""


@dataclass(frozen=True)
class LayerRow:
    """One line of the table of layers: number in the derivation, widths, what it does, how it starts, parameters."""

    number: int
    n_in: int
    n_out: int
    kind: str
    init: str
    parameters: int


@dataclass(frozen=True)
class Examination:
    """Everything short of training, and what it was found to be."""

    prepared: Prepared
    layers: tuple[LayerRow, ...]
    estimate: Estimate
    memory: Limit | None
    disk: int
    rows: int
    gradient: tuple[Check, ...]
    notices: tuple[str, ...]

    def error(self) -> FcnetError | None:
        """What to raise where the gradient is wrong: a mistake in a formula, not in the user's config."""
        wrong = [check for check in self.gradient if not check.passed]
        if not wrong:
            return None
        worst = max(wrong, key=lambda check: check.error)
        names = ", ".join(check.name for check in wrong)
        return FcnetError(
            f"the gradient of {names} is wrong: for {worst.name} the backward pass gives {worst.backward:.9g} and "
            f"finite differences {worst.difference:.9g}; a formula has a mistake: fcnet explain shows which"
        )


def examine(config: Config) -> Examination:
    """Read the data, settle the config, estimate, and check the gradient; nothing is written.

    Raises every FcnetError that training would meet before its first step.
    """
    threads = machine.cores() if config.threads == "auto" else config.threads
    with machine.blas(threads):
        prepared, hint = _with_backend(prepare(config, threads), threads)
        estimate = prepared.estimate()
        output = Path(config.output)
        refuse(estimate, output)
        trial = Trial(prepared)
        limits = machine.memory()
        return Examination(
            prepared,
            _layers(prepared),
            estimate,
            limits[0] if limits else None,
            files.disk_free(output),
            trial.n,
            check_gradient(trial),
            (*prepared.data.notices, *([hint] if hint else []), *extras.notices()),
        )


def _with_backend(prepared: Prepared, threads: int) -> tuple[Prepared, str | None]:
    """The same with the backend that training would take, and what it would say about it; ConfigError."""
    asked: str = prepared.settings.backend
    name, hint = prepared.choose() if asked == "auto" else (asked, None)
    if asked != "auto":
        choice.make(asked, threads)
    return replace(prepared, settings=replace(prepared.settings, backend=name)), hint


def _layers(prepared: Prepared) -> tuple[LayerRow, ...]:
    network, rows = prepared.network, []
    sizes = {slot.name: math.prod(slot.shape) for slot in network.layout.slots}
    for i, layer in enumerate(network.layers):
        kind, init = layer.described()
        parameters = sum(sizes.get(name, 0) for name in network.names[i].values())
        rows.append(LayerRow(network.numbers[i], network.widths[i], network.widths[i + 1], kind, init, parameters))
    return tuple(rows)


def mapping(found: Examination) -> dict[str, Any]:
    """All of it for `--json`."""
    prepared, estimate = found.prepared, found.estimate
    data = prepared.data
    needed = (*estimate.loaded, *estimate.memory)
    return {
        "name": prepared.settings.name,
        "config": configs.to_mapping(prepared.settings),
        "data": {
            "rows": len(data.inputs),
            "task": data.task,
            "target": list(data.target.names),
            "classes": None if data.target.classes is None else list(data.target.classes),
            "parts": {part: len(rows) for part, rows in data.parts.items()},
            "columns": [
                {"name": f.name, "type": f.kind, "inputs": f.width, "levels": list(f.levels)}
                for f in data.encoder.in_file
            ],
            "left_out": list(data.resolved.exclude),
            "files": [{"file": file.path.name, "sha256": file.sha256, "rows": file.rows} for file in data.files],
        },
        "notices": list(found.notices),
        "layers": [asdict(row) for row in found.layers],
        "parameters": len(prepared.folds or (0,)) * prepared.network.layout.count,
        "nets": len(prepared.folds or (0,)) * len(prepared.network.who),
        "memory": {
            "bytes": sum(part.bytes for part in needed),
            "limit": None if found.memory is None else asdict(found.memory),
            "parts": [_part(part) for part in needed],
        },
        "disk": {
            "bytes": sum(part.bytes for part in estimate.disk),
            "free": found.disk,
            "parts": [_part(part) for part in estimate.disk],
        },
        "gradient": {
            "rows": found.rows,
            "allowed": LIMIT,
            "passed": all(check.passed for check in found.gradient),
            "checks": [{**asdict(check), "passed": check.passed} for check in found.gradient],
        },
    }


def _part(part: Usage) -> dict[str, Any]:
    return {"name": part.name, "bytes": part.bytes, "how": part.how}


def lines(found: Examination, following: str, width: int | None, everything: bool) -> list[str]:
    """The lines for people; `everything` adds the whole config and lists all columns and layers."""
    prepared = found.prepared
    settings, data = prepared.settings, prepared.data
    indent = label_width(settings.name)
    target = outputs(data.target.task, data.target.names, len(data.target.classes or ()))
    parts = [f"{len(rows):,} {part}" for part, rows in data.parts.items() if len(rows)]
    about = [count(len(data.inputs), "row"), f"{data.task}: {target}", ", ".join(parts)]
    told = [
        *fold(settings.name, about, width, indent),
        *_columns(data.encoder.in_file, width, indent, everything),
    ]
    if data.resolved.exclude:
        names = [shorten(name, 30) for name in data.resolved.exclude]
        told += fold("without", [f"{name}," for name in names[:-1]] + names[-1:], width, indent, " ")
    told += fold("config", _settings(prepared), width, indent)
    if everything:
        text = configs.dump(configs.to_mapping(settings)).rstrip("\n")
        told += [" " * indent + escape(line) for line in text.split("\n")]
    told += _net(found, indent, everything)
    needed = (*found.estimate.loaded, *found.estimate.memory)
    limit = "" if found.memory is None else f"{found.memory.setter} allows {size(found.memory.total)}"
    told += _parts("memory", needed, limit, width, indent)
    told += _parts("disk", found.estimate.disk, f"{size(found.disk)} are free", width, indent)
    told += _gradient(found, width, indent)
    told.append(left("next", indent) + following)
    return told


def _settings(prepared: Prepared) -> list[str]:
    settings, training = prepared.settings, prepared.settings.training
    steps = -(-len(prepared.data.parts["train"]) // prepared.batch_size)
    stopping = training.early_stopping
    folds = [] if prepared.folds is None else [count(len(prepared.folds), "fold")]
    return [
        *folds,
        prepared.head.loss.name,
        f"{getattr(settings.optimizer, 'name', '')} {compact(settings.optimizer.lr)}",
        str(getattr(settings.schedule, "name", "")),
        f"batches of {prepared.batch_size:,}",
        f"at most {count(training.epochs, 'epoch')} of {count(steps, 'step')}",
        "no early stopping" if stopping is None else f"best by {stopping.metric}, patience {stopping.patience}",
        settings.dtype,
        f"{settings.backend}, {count(prepared.threads, 'thread')}",
    ]


def _columns(features: Sequence[Fitted], width: int | None, indent: int, everything: bool) -> list[str]:
    shown = features if everything else features[:SHOWN]
    names = [shorten(feature.name, 30) for feature in shown]
    widest = max(map(cells, names), default=0)
    told = []
    for feature, name in zip(shown, names, strict=True):
        if isinstance(feature, NumberColumn):
            what = f"number  {feature.low:.6g} … {feature.high:.6g}"
        else:
            levels = ", ".join(shorten(level, 12) for level in feature.levels[:4])
            more = ", …" if len(feature.levels) > 4 else ""
            what = f"category  {count(len(feature.levels), 'level')}: {levels}{more}"
        kind, _, rest = what.partition("  ")
        told += hang(f"{left(name, widest)}  {left(kind, 8)}  ", rest.lstrip(), width and width - indent)
    if len(shown) < len(features):
        told.append(f"… ({len(features) - len(shown)} more, -v lists them)")
    return _labelled("columns", told or ["none"], indent)


def _net(found: Examination, indent: int, everything: bool) -> list[str]:
    layers = list(found.layers)
    cut = 0 if everything or len(layers) <= 2 * SHOWN else len(layers) - 2 * SHOWN
    shown = [*layers[:SHOWN], *layers[-SHOWN:]] if cut else layers
    rows = [("layer", "in", "out", "", "starts", "parameters")]
    for row in shown:
        number = str(row.number) if row.init else ""
        rows.append((number, f"{row.n_in:,}", f"{row.n_out:,}", row.kind, row.init, f"{row.parameters:,}"))
    network, folds = found.prepared.network, len(found.prepared.folds or (0,))
    nets = folds * len(network.who)
    together = "together" if nets == 1 else f"in {count(nets, 'net')}"
    rows.append(("", "", "", "", together, f"{folds * network.layout.count:,}"))
    widths = [max(cells(row[i]) for row in rows) for i in range(6)]
    told = []
    for a, b, c, d, e, f in rows:
        start = f"{left(a, widths[0])}  {right(b, widths[1])}  {right(c, widths[2])}  {left(d, widths[3])}"
        told.append(f"{start}  {left(e, widths[4])}  {right(f, widths[5])}")
    if cut:
        told.insert(1 + SHOWN, f"… ({cut} more, -v lists them)")
    return _labelled("net", told, indent)


def _parts(label: str, parts: Sequence[Usage], limit: str, width: int | None, indent: int) -> list[str]:
    rows = [(part.name, size(part.bytes), part.how) for part in parts]
    rows.append(("together", size(sum(part.bytes for part in parts)), limit))
    widths = [max(cells(row[i]) for row in rows) for i in range(2)]
    told = []
    for name, bytes_, how in rows:
        told += hang(f"{left(name, widths[0])}  {right(bytes_, widths[1])}  ", how, width and width - indent)
    return _labelled(label, told, indent)


def _gradient(found: Examination, width: int | None, indent: int) -> list[str]:
    worst = max(check.error for check in found.gradient)
    if all(check.passed for check in found.gradient):
        said = f"right: the largest relative error is {worst:.0e}, and {LIMIT:.0e} is allowed"
    else:
        said = f"WRONG: the largest relative error is {worst:.0e}, and only {LIMIT:.0e} is allowed"
    checks = [f"{check.name} {check.error:.0e}{'' if check.passed else ' WRONG'}" for check in found.gradient]
    about = f"against finite differences in float64, on {count(found.rows, 'row')} of the first batch:"
    head = [line for text in (said, about) for line in hang("", text, width and width - indent)]
    return [*_labelled("gradient", head, indent), *fold("", checks, width, indent)]


def _labelled(label: str, told: Sequence[str], indent: int) -> list[str]:
    return [left(label, indent) + told[0], *(" " * indent + line for line in told[1:])]
