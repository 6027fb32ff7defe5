"""A run's page: what it is worth, what it was made of, how it learnt, where it is wrong, and how to make it again."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet import config as configs
from fcnet.data.encodings import NumberColumn
from fcnet.metrics import METRICS
from fcnet.reports.drawing import SERIES, Axis, Picture, figures, short
from fcnet.reports.judged import Judged, calibration, confusion, histogram, sides
from fcnet.reports.listing import rows_of
from fcnet.reports.page import Page, PagePart, facts, paragraph, table, text
from fcnet.reports.report import Report, Single
from fcnet.reports.summary import PARTS, net, outputs, size
from fcnet.reports.text import count, duration, shorten
from fcnet.reports.text import figures as equal

Array = NDArray[Any]

CLASSES = 15
"""Of more classes no whole confusion matrix is shown, but the most frequent confusions."""

PLACES = re.compile("done:|goes on after|fold [0-9]+ of [0-9]+$")
"""What a run has written down of where it was, beside what was noticed."""

UNIT = -0.02, 1.02
"""From where to where an axis of shares goes."""

COLUMNS = 200
"""So many columns of the data are listed."""

MATRICES = 8
"""So many arrays of weights are drawn."""

WORDS = {
    "accuracy": "the share of rows that are right",
    "balanced_accuracy": "the mean over the classes of the share that is found",
    "log_loss": "the mean of −ln p(right), in nats; smaller is better",
    "f1_macro": "the mean over the classes of F₁",
    "roc_auc": "the chance that a row of the class gets the higher p",
    "rmse": "the root of the mean squared error; smaller is better",
    "mae": "the mean absolute error; smaller is better",
    "r2": "the share of the variance that is explained",
}


def page(found: Report) -> str:
    """The whole page, as text in UTF-8."""
    header, name = found.net.header, str(found.net.header["name"])
    target = found.net.target
    what, nets = outputs(target.task, target.names, len(target.classes or ())), len(found.net.nets)
    about = {
        "predicts": text(what),
        "net": text(f"{net(*found.net.network.outline)}, {size(nets, found.net.parameters)}"),
        "rows": text(", ".join(f"{part['rows']:,} {key}" for key, part in header["parts"].items() if part["rows"])),
        "trained": text(_trained(found)),
    }
    parts = [
        PagePart("Summary", _summary(found)),
        PagePart("Data", _data(found)),
        PagePart("Learning", _learning(found)),
        *([] if found.judged is None else [_predictions(found.judged), PagePart("Worst rows", _worst(found))]),
        PagePart("Importance", _importance(found)),
        PagePart("Nets", _singles(found)),
        PagePart("Weights", _weights(found)),
        PagePart("Config", _config(found)),
        PagePart("Again", _again(found)),
    ]
    said = "".join(paragraph(notice) for notice in found.notices)
    footer = f"Written by fcnet {text(header['fcnet'])} report; it needs nothing else and loads nothing."
    return str(Page(name, facts(about) + said, [part for part in parts if part.content], footer))


def _trained(found: Report) -> str:
    header, summary = found.net.header, found.summary
    when = str(header["created"])[:16].replace("T", " ")
    if not summary:
        return f"until epoch {header['epoch']}, and not complete yet; {when} UTC"
    epochs = f"epoch {summary.get('best_epoch')} of {summary.get('epochs')} is the best"
    seconds = summary.get("seconds")
    spent = f", {duration(seconds)}" if isinstance(seconds, int | float) else ""
    return f"{epochs}{spent}; {when} UTC"


# Summary


def _summary(found: Report) -> str:
    parts = {part: found.summary[part] for part in PARTS if found.summary.get(part)}
    if not parts:
        return paragraph("There are no scores yet: the run is not complete.")
    last = list(parts)[-1]
    refit = found.summary.get("refit") or {}
    again = [refit["test"]] if refit.get("test") else []
    rows = []
    for name, best in parts[last].items():
        if not isinstance(best, Mapping):
            continue
        values = [part.get(name, {}) for part in [*reversed(parts.values()), *again]]
        known = [each.get(key) for each in values for key in ("value", "low", "high")]
        *told, guess = equal(known[:1], [*known, best.get("trivial")])[1:]
        cells = [
            value + (f'<span class="soft">{low} – {high}</span>' if each.get("low") is not None else "")
            for each, value, low, high in zip(values, told[::3], told[1::3], told[2::3], strict=True)
        ]
        words = f'<span class="soft">{text(WORDS[name])}</span>' if name in WORDS else ""
        rows.append([f"{text(name)}{words}", cells[0], guess, *cells[1:]])
    trivial = next((METRICS[row].kinds[0].trivial for row in parts[last] if row in METRICS), "the majority")
    head = ["metric", last, f"guessing {trivial}", *[part for part in reversed(parts) if part != last]]
    head += ["test, refitted"] * len(again)
    shown = table(head, rows, numbers=range(1, len(head)), about="Scores of the best epoch")
    chance = (
        "Below a score stands between what it lies by chance: the middle 95 % of its values on rows drawn anew from "
        "those that it was computed on (bootstrap). It says nothing of other chances, such as other initial weights. "
        f"Guessing is what one gets on {last} who has seen no inputs."
    )
    notes = [chance] if last != "train" else []
    if found.summary.get("weighted_by") is not None:
        notes.append(f'Rows count by their weight, "{found.summary["weighted_by"]}".')
    if refit:
        which = "the scores are of the net before" + (", but for test, refitted" if again else "")
        notes.append(f"The net was then trained once more, on validation rows too: {which}; all below is of that net.")
    rows_there = rows_of(found.net.header, found.summary, last)
    if parts[last].get("accuracy", {}).get("value") == 1.0 and last != "train":
        least = f"{max(0.0, 1 - 3 / rows_there):.1%}"
        notes.append(
            f"All {rows_there} rows of {last} are right, so drawing them anew shows no spread; with 95 % confidence "
            f"the share that would be right is above {least} (1 − 3/n)."
        )
    return _headline(found, parts[last], last) + shown + "".join(map(paragraph, notes))


def _headline(found: Report, scores: Mapping[str, Any], last: str) -> str:
    """The one sentence that says what the net is worth."""
    seen = "that it was trained on" if last == "train" else "that it has not learnt from"
    rows = count(rows_of(found.net.header, found.summary, last), "row")
    for name, verb in (("accuracy", "it is right for"), ("r2", "it explains"), ("rmse", "it is off by")):
        each = scores.get(name)
        if not isinstance(each, Mapping) or each.get("value") is None:
            continue
        form = "{:.4g}" if name == "rmse" else "{:.1%}"
        known = (each.get(key) for key in ("value", "trivial", "low", "high"))
        what, guess, low, high = ("–" if v is None else form.format(v) for v in known)
        what += {"rmse": " (root mean square)", "r2": " of the variance"}.get(name, "")
        ends = f" (95 %: {low} to {high})" if low != "–" else ""
        return f"<p>On {rows} of {text(last)} {seen}, {verb} <strong>{what}</strong>{ends}; guessing gets {guess}.</p>"
    return ""


# Data


def _data(found: Report) -> str:
    header, encoder = found.net.header, found.net.encoder
    known = {
        entry["role"]: text(f"{entry['paths'][-1]}, {entry['rows']:,} rows, SHA-256 {entry['sha256'][:16]}…")
        for entry in header["data"]
    } or {"train": "from memory"}
    rows = []
    for feature in encoder.in_file[:COLUMNS]:
        if isinstance(feature, NumberColumn):
            span = f"{short(feature.low)} to {short(feature.high)}; a missing one becomes {short(feature.fill)}"
        else:
            levels = [*feature.levels[:8], *(["…"] if len(feature.levels) > 8 else [])]
            span = f"{count(len(feature.levels), 'level')}: {', '.join(shorten(str(each), 24) for each in levels)}"
            span += "; a missing one is a level too" if feature.missing_level else ""
        rows.append([text(shorten(feature.name, 40)), feature.kind, text(feature.encoding.name), text(span)])
    listed = table(["column", "kind", "encoding", "in training"], rows, about="What it is predicted from")
    if len(rows) > 20:
        listed = f"<details><summary>{count(len(encoder.features), 'column')}</summary>{listed}</details>"
    parts = [listed]
    if len(encoder.features) > COLUMNS:
        parts.append(paragraph(f"{len(encoder.features) - COLUMNS:,} more columns are not listed."))
    notices = list(dict.fromkeys(_without_time(line) for line in found.said))  # a resumed run says some twice
    out = [line for line in notices if " is left out: " in line or " are left out: " in line]
    used = {*encoder.columns, *found.net.target.names}
    left = [name for name in encoder.names if name not in used]
    if out or left:
        parts.append("<h3>Left out</h3>")
        parts.append("<ul>" + "".join(f"<li>{text(line)}</li>" for line in out) + "</ul>" if out else "")
        unsaid = [name for name in left if not any(f'"{name}"' in line for line in out)]
        if unsaid:
            names = ", ".join(shorten(name, 40) for name in unsaid[:COLUMNS])
            parts.append(paragraph(f"Not predicted from, as the config says: {names}."))
    other = [line for line in notices if line not in out and not PLACES.match(line)]
    if other:
        parts.append("<h3>Noticed</h3><ul>" + "".join(f"<li>{text(line)}</li>" for line in other[:50]) + "</ul>")
    return facts(known) + "".join(parts)


def _without_time(line: str) -> str:
    return line[20:] if line[4:5] == "-" and line[13:14] == ":" else line


# Learning


def _learning(found: Report) -> str:
    curves = found.curves
    if "epoch" not in curves or "train_loss" not in curves:
        return ""
    best = None if "fold" in curves else found.summary.get("best_epoch")
    pictures = [_curve(curves, "loss", ["train_loss", "val_loss"], best)]
    for name in METRICS:
        values = curves.get(f"val_{name}")
        if values is not None and not np.array_equal(values, curves.get("val_loss", values[:0]), equal_nan=True):
            pictures.append(_curve(curves, name, [f"val_{name}"], best))
    rate = curves.get("lr", np.zeros(0))
    if len(rate) and np.ptp(rate[np.isfinite(rate)] if np.isfinite(rate).any() else np.zeros(1)) > 0:
        pictures.append(_curve(curves, "learning rate", ["lr"], None))
    spent = curves.get("seconds", np.zeros(0))
    seconds = float(np.median(spent[np.isfinite(spent)])) if np.isfinite(spent).any() else math.nan
    took = f"{1000 * seconds:.3g} ms" if seconds < 1 else "" if math.isnan(seconds) else duration(seconds)
    return figures(pictures, "curve") + (paragraph(f"The steps of an epoch took {took} (median).") if took else "")


NAMES = {"train_loss": "training, as seen on the way", "val_loss": "validation"}


def _curve(curves: Mapping[str, Array], title: str, names: Sequence[str], best: int | None) -> Picture:
    names = [name for name in names if name in curves]
    epochs = curves["epoch"]
    values = np.concatenate([curves[name] for name in names])
    last = {name: v[np.isfinite(v)][-1:] for name in names for v in [curves[name]]}
    ends = "; ".join(f"{NAMES.get(name, name)} ends at {v[0]:.4g}" for name, v in last.items() if len(v))
    at = f", the best epoch is {best}" if best is not None else ""
    plot = Picture(
        title,
        f"{title} over {count(len(epochs), 'epoch')}: {ends}{at}.",
        Axis("epoch", float(epochs[0]) - 0.5, float(epochs[-1]) + 0.5),
        Axis.of(title, values, log=None if title == "loss" else False),
    )
    if best is not None:
        plot.rule(x=best, says=f"best: {best}")
    for name in names:
        color = 2 if name.startswith("val_") else 1
        plot.line(epochs, curves[name], NAMES.get(name, "validation") if title == "loss" else "", color)
        if best is not None and name.startswith("val_") and 1 <= best <= len(epochs):
            plot.mark(best, float(curves[name][best - 1]), color)
    return plot


# Predictions


def _predictions(judged: Judged) -> PagePart:
    if judged.y.ndim == 1:
        content = _confusion(judged) + figures([*_sides(judged), *_sure(judged)], "judged")
    elif judged.target.shares:
        content = _labels(judged) + figures([*_sides(judged), *_sure(judged)], "judged")
    else:
        content = figures(_numbers(judged), "judged")
    seen = f"{len(judged.y):,} rows" if len(judged.y) == judged.total else f"{len(judged.y):,} of {judged.total:,} rows"
    said = [f"On {seen} of {judged.name}."]
    if judged.target.threshold != 0.5:
        said.append(f"{judged.labels[1]} is said where its probability is above {judged.target.threshold:.3g}.")
    return PagePart("Predictions", paragraph(" ".join(said)) + content)


def _confusion(judged: Judged) -> str:
    labels = [text(shorten(each, 24)) for each in judged.labels]
    m = confusion(judged.y, judged.decided, judged.w, len(labels))
    of, taken, k = m.sum(axis=1), m.sum(axis=0), len(labels)
    if k <= CLASSES:
        head = "".join(f'<th scope="col" class="n">{label}</th>' for label in labels)
        lines = []
        for i, label in enumerate(labels):
            cells = "".join(
                f'<td{" class=hit" if i == j else ""} style="--k:{55 * m[i, j] / of[i] if of[i] else 0:.0f}">'
                f"{_weight(m[i, j])}</td>"
                for j in range(k)
            )
            lines.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
        matrix = (
            '<h3>Confusion matrix</h3><div class="scroll" tabindex="0" role="group" aria-label="Confusion matrix">'
            '<table class="heat"><caption>Rows of each class (down), by what they are taken for (across); the darker, '
            f'the larger its share of the class</caption><thead><tr><th scope="col">is \\ taken for</th>{head}</tr>'
            "</thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
    else:
        wrong = m.copy()
        np.fill_diagonal(wrong, 0)
        top = np.argsort(-wrong, axis=None, kind="stable")[:CLASSES]
        pairs = [divmod(int(i), k) for i in top if wrong.flat[i] > 0]
        rows = [[labels[i], labels[j], _weight(m[i, j]), f"{m[i, j] / of[i]:.1%}"] for i, j in pairs]
        matrix = "<h3>Confusions</h3>" + table(
            ["is", "taken for", "rows", "of its class"], rows, numbers=(2, 3), about="The most frequent confusions"
        )
    hits = np.diag(m)
    rows = []
    for i in np.argsort(-of, kind="stable")[:50]:
        found, right = (hits[i] / each[i] if each[i] else math.nan for each in (of, taken))
        f1 = 2 * hits[i] / (of[i] + taken[i]) if of[i] + taken[i] else math.nan
        rows.append([labels[i], _weight(of[i]), _weight(taken[i]), *map(_share, (right, found, f1))])
    head_ = ["class", "rows", "predicted", "precision", "recall", "F₁"]
    return matrix + "<h3>By class</h3>" + table(head_, rows, numbers=range(1, 6), about="Each class against the rest")


def _labels(judged: Judged) -> str:
    said = judged.p > 0.5
    rows = []
    for i, name in enumerate(judged.labels[:50]):
        is_, taken = judged.y[:, i] == 1, said[:, i]
        hits, of, all_ = (float(judged.w[each].sum()) for each in (is_ & taken, is_, taken))
        shares = [hits / each if each else math.nan for each in (all_, of)]
        rows.append([text(shorten(name, 40)), _weight(of), _weight(all_), *map(_share, shares)])
    head = ["label", "rows", "predicted", "precision", "recall"]
    return table(head, rows, numbers=range(1, 5), about="Each label, predicted where p > ½")


def _weight(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _against(judged: Judged) -> list[tuple[str, Array, Array]]:
    """(name, whether it is so (n,), p (n,)) of the classes or labels that are drawn: the second of two, the largest."""
    if judged.y.ndim == 1:
        k = judged.p.shape[1]
        chosen = [1] if k == 2 else sorted(np.argsort(-np.bincount(judged.y, judged.w, k), kind="stable")[:SERIES])
        return [(judged.labels[i], judged.y == i, judged.p[:, i]) for i in chosen]
    return [(judged.labels[i], judged.y[:, i] == 1, judged.p[:, i]) for i in range(min(judged.p.shape[1], SERIES))]


def _sides(judged: Judged) -> list[Picture]:
    found = [(name, sides(is_, p, judged.w)) for name, is_, p in _against(judged)]
    curves = [(name, each) for name, each in found if each is not None]
    if not curves:
        return []
    areas = ", ".join(f"{shorten(name, 24)} {each.area:.3f}" for name, each in curves)
    means = ", ".join(f"{shorten(name, 24)} {each.average_precision:.3f}" for name, each in curves)
    one = len(curves) == 1
    roc = Picture(
        "ROC curve",
        f"The area under the curve: {areas}; chance gets 0.5.",
        Axis("share of the other rows above the threshold", *UNIT),
        Axis("share of its rows", *UNIT),
    )
    pr = Picture(
        "Precision and recall",
        f"The average precision: {means}.",
        Axis("recall: share of its rows that is found", *UNIT),
        Axis("precision", *UNIT),
    )
    for i, (name, each) in enumerate(curves, 1):
        label = shorten(name, 24)
        roc.line(each.alarms, each.caught, f"{label}, area {each.area:.3f}", i)
        pr.line(each.caught, each.precision, f"{label}, average {each.average_precision:.3f}", i, steps=True)
        if one:
            pr.rule(y=each.share, says=f"guessing: {each.share:.2f}")
    roc.line([0, 1], [0, 1], "chance", 6)
    return [roc, pr]


def _sure(judged: Judged) -> list[Picture]:
    """How often it is right where it says how sure it is, and how sure it is how often."""
    if judged.y.ndim == 1 and judged.p.shape[1] > 2:
        said, true, what = judged.p.max(axis=1), judged.p.argmax(axis=1) == judged.y, "the class that is predicted"
    elif judged.y.ndim == 1:
        said, true, what = judged.p[:, 1], judged.y == 1, judged.labels[1]
    else:
        said, true, what = judged.p.ravel(), judged.y.ravel() == 1, "any label"
    w = np.repeat(judged.w, said.size // len(judged.w))
    sound = np.isfinite(said) & (w > 0)
    if not sound.any():
        return []
    said, true, w = said[sound], true[sound], w[sound]
    bins = calibration(said, true, w)
    plot = Picture(
        "Calibration",
        f"The mean distance from the diagonal is {bins.error:.3f} over {count(len(bins.said), 'bin')}.",
        Axis(f"probability said of {shorten(what, 32)}", *UNIT),
        Axis("share that was so", *UNIT),
        f"Off by {bins.error:.3f} in the mean, over bins of equally many rows.",
    )
    plot.line([0, 1], [0, 1], "as it should be", 6)
    plot.line(bins.said, bins.true, "", 1)
    plot.dots(bins.said, bins.true, "", 1)
    edges = np.linspace(0, 1, 21)
    counts = np.bincount(np.minimum((said * 20).astype(int), 19), w, 20)
    share = Picture(
        "How sure it is",
        f"Of {shorten(what, 24)}: {counts[-1] / counts.sum():.0%} of the probabilities are 0.95 or more, "
        f"{counts[0] / counts.sum():.0%} below 0.05.",
        Axis("probability said", 0.0, 1.0),
        Axis.of("rows", counts, zero=True),
    )
    share.bars(edges, counts)
    return [plot, share]


def _numbers(judged: Judged) -> list[Picture]:
    pictures = []
    for i, name in enumerate(judged.labels[:4]):
        sound = np.isfinite(judged.p[:, i]) & (judged.w > 0)
        if not sound.any():
            continue
        y, p, w = judged.y[sound, i].astype(np.float64), judged.p[sound, i].astype(np.float64), judged.w[sound]
        e, label = p - y, shorten(name, 24)
        span = Axis.of(label, [*y, *p])
        r = float(np.corrcoef(y, p)[0, 1]) if np.ptp(y) > 0 and np.ptp(p) > 0 else math.nan
        both = Picture(
            f"{label}: predicted and true",
            f"Correlation {r:.3f}; on the line they are equal.",
            Axis(f"true {label}", span.low, span.high),
            Axis("predicted", span.low, span.high),
        )
        both.line([span.low, span.high], [span.low, span.high], "equal", 6)
        both.dots(y, p)
        edges, counts = histogram(e, w)
        off = Picture(
            f"{label}: errors",
            f"Predicted less true: mean {np.average(e, weights=w):.4g}, median {np.median(e):.4g}, half of them "
            f"between {np.quantile(e, 0.25):.4g} and {np.quantile(e, 0.75):.4g}.",
            Axis.of("predicted less true", edges),
            Axis.of("rows", counts, zero=True),
        )
        off.bars(edges, counts)
        off.rule(x=0.0)
        left = Picture(
            f"{label}: errors by prediction",
            "Errors that grow or bend with the prediction are something that the net could still learn.",
            Axis.of("predicted", p),
            Axis.of("predicted less true", [*e, 0.0]),
        )
        left.rule(y=0.0)
        left.dots(p, e)
        pictures += [both, off, left]
    return pictures


def _worst(found: Report) -> str:
    judged = found.judged
    assert judged is not None
    if not found.worst:
        return ""
    head = ["where", "off by", "is", "predicted", *(shorten(name, 20) for name in found.shown)]
    rows = [
        [text(each.place), f"{each.cost:#.3g}", text(shorten(each.truth, 40)), text(shorten(each.said, 60))]
        + [text(shorten(cell, 24)) for cell in each.cells]
        for each in found.worst
    ]
    unit = "−ln p(right), in nats" if judged.target.shares else "the error in standard deviations of the target"
    more = len(found.net.encoder.columns) - len(found.shown)
    rest = f" {count(more, 'more column')} not shown." if more else ""
    about = f"The {len(rows)} rows of {judged.name} that are most wrong"
    return paragraph(f"Wrong labels, broken cells and rare cases show here first. Off by: {unit}.{rest}") + table(
        head, rows, numbers=(1,), about=about
    )


# Importance


def _importance(found: Report) -> str:
    told = found.importance
    if told is None:
        return ""
    columns = [each for each in told["columns"] if math.isfinite(each["mean"])]
    most = max((each["mean"] for each in columns), default=0.0)
    if not most > 0:
        return paragraph(f"Whichever column is shuffled, {told['metric']} gets no worse.")
    keys = ("mean", "se", "low", "high")
    cells = equal([most], [each[key] for each in columns for key in keys])[1:]
    rows = []
    for i, each in enumerate(columns):
        mean, error, low, high = cells[4 * i : 4 * i + 4]
        bar = f'<span class="meter"><i style="width:{max(0.0, 100 * each["mean"] / most):.0f}%"></i></span>'
        rows.append([text(shorten(each["column"], 40)), bar, mean, error, f"{low} – {high}"])
    said = (
        f"What {told['metric']} loses when a column's cells are shuffled among {count(told['rows'], 'row')} of "
        f"{found.judged.name if found.judged else ''}, {told['repeats']} times: what this net owes to the column. Of "
        "columns that say the same each may seem to be of no use. The last column is where 95 % of such rows would put "
        "it."
    )
    head = ["column", "", f"loss in {told['metric']}", "error", "95 %"]
    return paragraph(said) + table(head, rows, numbers=(2, 3, 4), about="Columns by what they are worth to the net")


# Weights


def _weights(found: Report) -> str:
    rows: list[list[str]] = []
    pictures: list[Picture] = []
    for w in found.weights:
        v, shape = w.values.astype(np.float64).ravel(), " × ".join(map(str, w.values.shape)) or "1"
        told = [*(f"{x:.3g}" for x in (v.mean(), v.std(), np.abs(v).max())), f"{(v == 0).mean():.1%}"]
        rows.append([text(w.name), shape, *told])
        if w.values.ndim > 1 and len(pictures) < MATRICES:
            edges, counts = histogram(v, np.ones(len(v)), 40)
            plot = Picture(
                w.name,
                f"{w.name}, {shape}: mean {told[0]}, spread {told[1]}, largest {told[2]}.",
                Axis.of("weight", edges),
                Axis.of("how many", counts, zero=True),
            )
            plot.bars(edges, counts)
            pictures.append(plot)
    head = ["array", "shape", "mean", "spread", "largest", "zeros"]
    which = "The parameters of the best epoch" if len(found.net.nets) < 2 else "The parameters of the first net"
    return table(head, rows, numbers=range(1, 6), about=which) + _moments(found) + figures(pictures, "weights")


def _moments(found: Report) -> str:
    if not found.moments:
        return ""
    rows = [
        [text(w.name)]
        + [f"{moment.lengths[w.name]:#.3g}" for moment in found.moments]
        + [f"{moment.slopes[w.name]:.2e}" for moment in found.moments]
        for w in found.weights
    ]
    whens = [moment.when for moment in found.moments]
    head = ["array", *(f"‖θ‖, {when}" for when in whens), *(f"‖gradient‖, {when}" for when in whens)]
    said = (
        "The gradient is that of the first batch of training rows. One that is many times shorter than its neighbours' "
        "hardly learns any more; many zeros are units that are off."
    )
    about = "How long each array is, and the gradient of the loss there"
    return table(head, rows, numbers=range(1, len(head)), about=about) + paragraph(said)


def _singles(found: Report) -> str:
    judged, singles = found.judged, found.singles
    if judged is None or not singles:
        return ""
    names = list(singles[0].scores)
    together = {name: METRICS[name].value(judged.y, judged.seen(METRICS[name]), judged.w) for name in names}
    columns = [equal([together[name], *(each.scores[name] for each in singles)]) for name in names]
    rows = [
        [_called(each), f"{each.weight:.1%}", str(each.epoch), *(column[i] for column in columns)]
        for i, each in enumerate(singles, 1)
    ]
    rows.append(["<strong>together</strong>", "100%", "", *(f"<strong>{column[0]}</strong>" for column in columns)])
    about = f"Each net alone, and the mean of their predictions, on {judged.name}"
    if judged.name == "validation" and found.net.config.cv is not None:
        about = "Each net alone on the rows that it has not seen, and all rows by those that have not seen them"
    return table(["", "counts", "epoch", *names], rows, numbers=range(1, 3 + len(names)), about=about)


def _called(net: Single) -> str:
    return f"net {net.member + 1}" + ("" if net.fold is None else f", without fold {net.fold + 1}")


# Config and how to make it again


def _config(found: Report) -> str:
    resolved = configs.dump(found.net.header["config"])
    return (
        "<details open><summary>The resolved config: with it, training gives the same run</summary>"
        f'<pre tabindex="0" aria-label="config.yaml">{_lines(resolved)}</pre></details>'
    )


def _again(found: Report) -> str:
    about = found.environment
    run = str(found.path)
    words = about.get("command")
    lines = []
    if isinstance(words, list) and len(words) > 1:
        lines += ["# as it was called", shlex.join(["fcnet", *map(str, words[1:])])]
    lines += ["# again from what it resolved to", shlex.join(["fcnet", "train", f"{run}/config.yaml"])]
    lines += ["# its scores, predictions, this page", shlex.join(["fcnet", "eval", run])]
    lines += [f"fcnet predict YOUR.csv -c {shlex.quote(run)}", shlex.join(["fcnet", "report", run])]
    known = {
        key: text(about[key])
        for key in ("fcnet", "python", "numpy", "blas", "cpu", "system", "threads", "seed", "started")
        if about.get(key) is not None
    }
    return f'<pre tabindex="0" aria-label="Commands">{_lines(chr(10).join(lines))}</pre>' + facts(known)


def _lines(said: str) -> str:
    return "\n".join(text(line) for line in said.splitlines())
