"""Runs side by side: what differs in their configs, how they learnt, and whether their scores differ by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet import config as configs
from fcnet.bootstrap import middle
from fcnet.metrics import METRICS, Resampled
from fcnet.records import dataclass
from fcnet.reports.judged import Judged
from fcnet.reports.listing import finite, flat, rows_of, shown
from fcnet.reports.summary import PARTS
from fcnet.reports.text import count, figures, shorten, table
from fcnet.runs import origin
from fcnet.runs.model import Predictor

Array = NDArray[Any]

PLACES = ("name", "output", "report", "threads", "backend")
"""Keys of a config that say nothing of what is learnt."""


@dataclass(frozen=True)
class Compared:
    """A run that is compared: its net, its metrics.json, the columns of its metrics.csv."""

    path: Path
    net: Predictor
    summary: Mapping[str, Any]
    curves: Mapping[str, Array]


@dataclass(frozen=True)
class Difference:
    """How much a metric of a run is above that of the first, on the same rows.

    `low`, `high`: the middle 95 % of it on resamples, drawn alike for both; `p`: how rarely resamples would lie as far
    on the other side of 0 if there were no difference (two-sided).
    """

    metric: str
    run: str
    value: float
    low: float | None
    high: float | None
    p: float | None


def common_part(runs: Sequence[Compared]) -> str:
    """The part whose scores are compared: the last that all of them have."""
    return next(part for part in reversed(PARTS) if part == "train" or all(run.summary.get(part) for run in runs))


def differing(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """The keys of the resolved configs that are not the same in all, with the value of each; None where it has none."""
    resolved = [flat(configs.to_mapping(run.net.config)) for run in runs]
    keys = dict.fromkeys(key for config in resolved for key in config)
    found = {key: [config.get(key) for config in resolved] for key in keys if key not in PLACES}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def unpaired(runs: Sequence[Compared], part: str) -> str | None:
    """Why the scores of a part cannot be compared row by row; None where all of them were computed on the same rows."""
    targets = {(run.net.target.task, run.net.target.names, run.net.target.classes) for run in runs}
    if len(targets) > 1:
        return "the runs predict different things"
    rows = set()
    for run in runs:
        wanted = origin.origins(run.net.header, run.net.path)
        if not wanted:
            return "some were trained on data from memory"
        held = {entry.role: entry.sha256 for entry in wanted}
        held_out = part == "validation" and run.net.config.cv is not None  # rows of training, each once
        dealt = origin.parts(run.net.header)["train" if held_out else part]
        rows.add((held.get(part, held["train"]), dealt.sha256, held_out))
    return f"their rows of {part} are not the same" if len(rows) > 1 else None


def differences(runs: Sequence[Compared], judged: Sequence[Judged], part: str) -> list[Difference]:
    """Each metric that all have, of each run against the first; `judged` are their predictions of the same rows."""
    found = []
    for name, metric in METRICS.items():
        values = [finite(run.summary[part].get(name, {}).get("value")) for run in runs]
        if None in values:
            continue
        drawn = [Resampled(each.y, each.seen(metric), each.w, None) for each in judged]
        first = drawn[0].values(metric)
        at = [metric.value(each.y, each.seen(metric), each.w) for each in judged]
        for i in range(1, len(runs)):
            apart = float(values[i]) - float(values[0])  # type: ignore[arg-type]  # none of them is None
            d = drawn[i].values(metric) - first
            d = d[np.isfinite(d)]
            d = d + (apart - (at[i] - at[0])) if len(judged[0].y) > drawn[0].rows(metric) else d
            low, high = middle(d) if len(d) else (float("nan"), float("nan"))
            p = 2 * (min(int((d <= 0).sum()), int((d >= 0).sum())) + 1) / (len(d) + 1)
            found.append(
                Difference(name, str(runs[i].path), apart, finite(low), finite(high), min(p, 1.0) if len(d) else None)
            )
    order = {str(run.path): i for i, run in enumerate(runs)}
    return sorted(found, key=lambda each: order[each.run])


def record(
    runs: Sequence[Compared], part: str, why: str | None, found: Sequence[Difference], notices: Sequence[str]
) -> dict[str, Any]:
    """The comparison as `fcnet compare --json` prints it."""
    return {
        "runs": [
            {
                "run": str(run.path),
                "best_epoch": run.summary.get("best_epoch"),
                "epochs": run.summary.get("epochs"),
                "seconds": run.summary.get("seconds"),
                "parameters": run.net.parameters,
                "scores": run.summary[part],
            }
            for run in runs
        ],
        "part": part,
        "rows": [rows_of(run.net.header, run.summary, part) for run in runs],
        "config": differing(runs),
        "paired": why is None,
        "why": why,
        "differences": [
            {"metric": d.metric, "run": d.run, "than": str(runs[0].path)}
            | {"difference": d.value, "low": d.low, "high": d.high, "p": d.p}
            for d in found
        ],
        "notices": list(notices),
    }


def ends(score: Mapping[str, Any]) -> tuple[str, str]:
    """A score and between what it lies, as texts; the second is empty where it has no interval."""
    keys = ("value", "low", "high")
    known = [finite(score.get(key)) for key in keys]
    value, low, high = figures(known[:1], known[1:])
    return value, "" if score.get("low") is None else f"{low} – {high}"


def surely(d: Mapping[str, Any]) -> str:
    """A difference in words."""
    known = (d["difference"], d["low"], d["high"])
    value, low, high = figures([known[0] if known[1] is None else known[2] - known[1]], known)[1:]
    sign = "+" if d["difference"] > 0 else ""
    told = f"{sign}{value} ({low} to {high})" if d["low"] is not None else f"{sign}{value}"
    return told + ("" if d["p"] is None else f", p {d['p']:.2g}" if d["p"] >= 0.001 else ", p < 0.001")


def lines(found: Mapping[str, Any], width: int | None) -> list[str]:
    """The comparison for people: configs, scores with their ends, differences from the first."""
    names = [shorten(str(run["run"]), 28) for run in found["runs"]]
    config = [(shorten(key, 36), [shorten(shown(v), 28) for v in values]) for key, values in found["config"].items()]
    told = table("config", "", names, config or [("no key differs", ["" for _ in names])], 9, width)
    rows = [("best epoch", [f"{run['best_epoch']} of {run['epochs']}" for run in found["runs"]])]
    rows.append(("parameters", [f"{run['parameters']:,}" for run in found["runs"]]))
    for name in dict.fromkeys(name for run in found["runs"] for name in run["scores"]):
        scores = [ends(run["scores"].get(name, {})) for run in found["runs"]]
        rows.append((name, [value + (f" ({span})" if span else "") for value, span in scores]))
    said = " and ".join(dict.fromkeys(count(rows_, "row") for rows_ in found["rows"]))
    told += ["", *table("scores", f"{found['part']}, {said}", names, rows, 9, width)]
    if found["paired"]:
        told += ["", f"than     {names[0]}, on the same rows (paired bootstrap, 95 %)"]
        runs = {str(run["run"]): name for run, name in zip(found["runs"][1:], names[1:], strict=True)}
        for run, name in runs.items():
            told += [f"         {name}"]
            told += [f"           {d['metric']}  {surely(d)}" for d in found["differences"] if d["run"] == run]
    else:
        told += ["", f"unpaired {found['why']}, so there is no test of the differences"]
    return told
