"""Runs side by side as one page, in the style of all our pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fcnet.metrics import METRICS
from fcnet.reports.comparison import Compared, ends, surely
from fcnet.reports.drawing import SERIES, Axis, Picture, figures
from fcnet.reports.listing import shown
from fcnet.reports.page import Page, PagePart, facts, paragraph, table, text
from fcnet.reports.report_page import WORDS
from fcnet.reports.text import duration, shorten


def page(found: Mapping[str, Any], runs: Sequence[Compared]) -> str:
    """The page of a comparison, which is what `comparison.record` gives, as text in UTF-8."""
    names = [str(run["run"]) for run in found["runs"]]
    head = facts({"runs": text(", ".join(names)), "scored on": text(_rows(found))})
    parts = [
        PagePart("Scores", _scores(found, names)),
        PagePart("Differences", _differences(found, names)),
        PagePart("Learning", _curves(runs)),
        PagePart("Config", _config(found, names)),
    ]
    footer = "Written by fcnet compare; it needs nothing else and loads nothing."
    return str(Page(f"{len(names)} runs side by side", head, [part for part in parts if part.content], footer))


def _rows(found: Mapping[str, Any]) -> str:
    rows = " and ".join(dict.fromkeys(f"{n:,}" for n in found["rows"]))
    return f"{found['part']}, {rows} rows, {'the same ones' if found['paired'] else 'not the same ones'}"


def _scores(found: Mapping[str, Any], names: Sequence[str]) -> str:
    rows = []
    for name in dict.fromkeys(name for run in found["runs"] for name in run["scores"]):
        words = f'<span class="soft">{text(WORDS[name])}</span>' if name in WORDS else ""
        scores = [ends(run["scores"].get(name, {})) for run in found["runs"]]
        rows.append(
            [text(name) + words, *(v + (f'<span class="soft">{span}</span>' if span else "") for v, span in scores)]
        )
    about = {
        "best epoch": [f"{run['best_epoch']} of {run['epochs']}" for run in found["runs"]],
        "time": ["–" if run["seconds"] is None else duration(run["seconds"]) for run in found["runs"]],
        "parameters": [f"{run['parameters']:,}" for run in found["runs"]],
    }
    rows += [[key, *values] for key, values in about.items()]
    head = ["", *(shorten(name, 40) for name in names)]
    said = "Below a score stands between what it lies by chance: the middle 95 % of its values on rows drawn anew."
    return table(head, rows, numbers=range(1, len(head)), about="Scores of the best epochs") + paragraph(said)


def _differences(found: Mapping[str, Any], names: Sequence[str]) -> str:
    if not found["paired"]:
        return paragraph(f"There is no test of the differences: {found['why']}.")
    rows = [
        [text(shorten(d["run"], 40)), text(d["metric"]), text(surely(d)), _verdict(d)] for d in found["differences"]
    ]
    said = (
        f"How much higher than {names[0]} it is, on the same rows, which are drawn anew for both alike (paired "
        "bootstrap): the middle 95 %, and p, how rarely that would fall on the other side of 0. Of many comparisons "
        "some have a small p by chance."
    )
    about = f"Differences from {names[0]}"
    return paragraph(said) + table(["run", "metric", "difference", "so it is"], rows, about=about)


def _verdict(d: Mapping[str, Any]) -> str:
    if d["low"] is None or d["low"] <= 0 <= d["high"]:
        return "not told apart"
    better = (d["difference"] > 0) == METRICS[d["metric"]].greater_is_better
    return f'<span class="{"right" if better else "wrong"}">{"better" if better else "worse"}</span>'


def _curves(runs: Sequence[Compared]) -> str:
    pictures = []
    for title, column in {"loss": "val_loss", **{name: f"val_{name}" for name in METRICS}}.items():
        drawn = [run for run in runs if column in run.curves][:SERIES]
        if len(drawn) < 2 or (title == "log_loss" and _alike(drawn)):
            continue
        values = np.concatenate([run.curves[column] for run in drawn])
        last = max(float(run.curves["epoch"][-1]) for run in drawn)
        best = [f"{run.path.name} is best in epoch {run.summary.get('best_epoch')}" for run in drawn]
        plot = Picture(
            f"{title} on validation",
            f"{title} over the epochs of {len(drawn)} runs: {'; '.join(best)}.",
            Axis("epoch", 0.5, last + 0.5),
            Axis.of(title, values, log=None if title == "loss" else False),
        )
        for i, run in enumerate(drawn, 1):
            epochs, curve, epoch = run.curves["epoch"], run.curves[column], run.summary.get("best_epoch")
            plot.line(epochs, curve, shorten(run.path.name, 30), i)
            if isinstance(epoch, int) and 1 <= epoch <= len(curve):
                plot.mark(epoch, float(curve[epoch - 1]), i)
        pictures.append(plot)
    more = f"The first {SERIES} of {len(runs)} runs are drawn." if len(runs) > SERIES else ""
    return figures(pictures, "curve") + (paragraph(more) if more and pictures else "")


def _alike(runs: Sequence[Compared]) -> bool:
    """Whether log_loss is the loss itself."""
    return all(np.array_equal(r.curves["val_log_loss"], r.curves.get("val_loss", []), equal_nan=True) for r in runs)


def _config(found: Mapping[str, Any], names: Sequence[str]) -> str:
    if not found["config"]:
        return paragraph("No key of the configs differs.")
    rows = [[text(key), *(text(shorten(shown(v), 80)) for v in values)] for key, values in found["config"].items()]
    return table(["key", *(shorten(name, 40) for name in names)], rows, about="The keys that differ")
