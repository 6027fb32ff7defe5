"""The few lines that a training run leaves on the screen: the data, the net, the best epoch's scores, where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fcnet.data.encodings import Fitted
from fcnet.data.options import Task
from fcnet.data.target import TASKS
from fcnet.formulas.notation import compact, line
from fcnet.metrics import METRICS
from fcnet.reports.text import cells, count, figures, fold, label_width, left, shorten, table
from fcnet.training.events import Glance

PARTS = ("train", "validation", "test")


def head(run: Glance, width: int | None) -> list[str]:
    """The lines `NAME` and `net`, folded at `width` cells (None: one line each)."""
    inputs = [count(run.numbers, "number")] if run.numbers or not run.categories else []
    if run.categories:
        inputs.append(count(run.categories, "category", "categories"))
    what = f"{', '.join(inputs)} → {outputs(run.task, run.targets, run.classes)}"
    parts = ", ".join(
        f"{n:,} {part}" for part, n in zip(PARTS, (run.train, run.validation, run.test), strict=True) if n
    )
    indent = label_width(run.name)
    trained = [f"{run.optimizer} {compact(run.lr)}", f"{run.backend}, {count(run.threads, 'thread')}"]
    chain = [net(run.widths, run.activations), size(run.nets, run.parameters)]
    return [
        *fold(run.name, [count(run.rows, "row"), what, parts], width, indent),
        *fold("net", [*chain, *trained], width, indent),
    ]


def outputs(task: Task, targets: tuple[str, ...], classes: int) -> str:
    """What is predicted: `10 classes (digit)`, `progression`, `3 labels (a, b, c)`."""
    names = [shorten(name, 24) for name in targets]
    listed = ", ".join(names if len(names) <= 4 else [*names[:3], "…"])
    if not classes and len(targets) == 1:
        return listed
    return f"{count(classes or len(targets), *TASKS[task].unit)} ({listed})"


def net(widths: tuple[int, ...], activations: tuple[str, ...]) -> str:
    """The chain of widths, each hidden one with its activation; the middle of a deep net is left out.

    >>> net((64, 256, 128, 10), ("relu", "tanh"))
    '64 → 256 relu → 128 tanh → 10'
    """
    hidden = [f"{n} {name}" for n, name in zip(widths[1:-1], activations, strict=True)]
    if len(hidden) > 6:
        hidden = [*hidden[:3], f"({len(hidden) - 5} more)", *hidden[-2:]]
    return " → ".join([str(widths[0]), *hidden, str(widths[-1])])


def size(nets: int, parameters: int) -> str:
    """How many parameters there are, and in how many nets where these are several.

    >>> size(3, 42)
    '3 nets of 14 parameters'
    """
    each = count(parameters // nets, "parameter")
    return each if nets == 1 else f"{count(nets, 'net')} of {each}"


def scores(
    parts: Mapping[str, Mapping[str, Any]], label: str, first: str, indent: int, weighted_by: str | None
) -> list[str]:
    """A table with one row a metric and one column a part; the trivial predictor's column is the last part's.

    Below it stands the column that the rows count by, if there is one.
    """
    last = parts[list(parts)[-1]]
    names = [name for name, value in last.items() if isinstance(value, Mapping)]
    rows = [
        (name, figures([part[name]["value"] for part in parts.values()], [last[name]["trivial"]])) for name in names
    ]
    trivial = next((METRICS[name].kinds[0].trivial for name in names if name in METRICS), "the majority")
    lines = table(label, first, [*parts, f"guessing {trivial}"], rows, indent)
    said = [] if weighted_by is None else [" " * indent + f'rows count by their weight, "{shorten(weighted_by, 40)}"']
    return [*lines, *said]


def tail(summary: Mapping[str, Any], name: str, checkpoint: str, following: str, width: int | None) -> list[str]:
    """The lines `best` and `files` of the run `name`, from what metrics.json holds: scores on validation and test (on
    train where neither is), and what to do next.
    """
    indent = label_width(name)
    parts = {part: summary[part] for part in PARTS[1:] if summary.get(part)} or {"train": summary["train"]}
    again = summary.get("refit") or {}
    parts |= {"test, refitted": again["test"]} if again.get("test") else {}
    first = f"epoch {summary['best_epoch']} of {summary['epochs']}"
    best = scores(parts, "best", first, indent, summary.get("weighted_by"))
    files = left("files", indent) + f"{checkpoint} …"
    line = files + " " * max(4, 39 - cells(files)) + f"next: {following}"
    if width is None or cells(line) <= width:
        return [*best, line]
    return [*best, files, left("next", indent) + following]


def encodings(features: Sequence[Fitted]) -> list[tuple[Fitted, str, int]]:
    """For each encoding a column of it, its name with the formula of a number x where it has one, and how many have it.

    >>> from fcnet.data.encodings import NumberColumn
    >>> from fcnet.data.encodings.standard import Standard
    >>> encodings([NumberColumn(name, Standard(), state={"mean": (0.0,), "scale": (1.0,)}) for name in "ab"])[0][1:]
    ('standard: (x − mean) / scale', 2)
    """
    found = []
    for name, first in {feature.encoding.name: feature for feature in reversed(features)}.items():
        formula = getattr(first, "formula", None)
        text = name if formula is None else f"{name}: {line(formula, {})}"
        found.append((first, text, sum(feature.encoding.name == name for feature in features)))
    return found[::-1]
