"""What a run's page shows, collected: its scores, its data, how it learnt, what it is wrong about, what it weighs."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet import files
from fcnet.data import Dataset, Folded
from fcnet.data.options import Data
from fcnet.data.reading import read, read_alike
from fcnet.errors import FcnetError
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.reports.judged import Judged, lookup, spaced
from fcnet.reports.listing import summary_of
from fcnet.runs import folder
from fcnet.runs import log as logs
from fcnet.runs.importance import importance
from fcnet.runs.model import BATCH, Predictor
from fcnet.training.gradcheck import Trial
from fcnet.training.prepare import Prepared

Array = NDArray[Any]

COLUMNS = 100
"""Of so many columns at most the importance is looked for."""

WORST = 10
CELLS = 8
"""So many columns of the worst rows are shown."""


@dataclass(frozen=True)
class Weights:
    """The numbers of one array of the net."""

    name: str
    values: Array


@dataclass(frozen=True)
class Moment:
    """How long each array is at some time of the run, and the gradient of the loss of the first batch there."""

    when: str
    lengths: Mapping[str, float]
    slopes: Mapping[str, float]


@dataclass(frozen=True)
class Single:
    """One net of several: how much it counts, its epoch, the fold that it has not seen, and its metrics alone."""

    member: int
    weight: float
    epoch: int
    fold: int | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Worst:
    """One of the rows that are most wrong: where it stands, what it is, what was said, and some of its cells."""

    place: str
    cost: float
    truth: str
    said: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that a run's page shows. `summary` is what metrics.json holds, `curves` are the columns of metrics.csv."""

    path: Path
    net: Predictor
    summary: Mapping[str, Any]
    curves: Mapping[str, Array]
    said: tuple[str, ...]
    environment: Mapping[str, Any]
    weights: tuple[Weights, ...]
    moments: tuple[Moment, ...]
    judged: Judged | None
    worst: tuple[Worst, ...]
    shown: tuple[str, ...]
    """The columns of which `worst` has the cells: those that the net owes most to, where that is known."""
    singles: tuple[Single, ...]
    importance: Mapping[str, Any] | None
    """What `importance` finds on the rows that are judged; None without them, and of more columns than `COLUMNS`."""
    notices: tuple[str, ...]


def gather(
    net: Predictor,
    data: Dataset | None,
    section: Data,
    source: object = None,
    notices: tuple[str, ...] = (),
    folds: Folded | None = None,
) -> Report:
    """What can be told of the run around the checkpoint of `net`; `data` are all its rows, None where they are gone.

    `section` is the config's section by which they are found again, `source` what they came from if from no file;
    `folds` are those of a run without a test part, whose rows are judged by the nets that have not seen them.
    """
    path = net.path.parent
    judged = None if data is None else judge(net, data) if folds is None else judge_out_of_fold(net, folds)
    few = folds is None and 1 < len(net.encoder.columns) <= COLUMNS
    worst: tuple[Worst, ...] = ()
    shown: tuple[str, ...] = ()
    owed = None if judged is None or data is None or not few else importance(net, data, judged.name)
    if judged is not None and data is not None:
        columns = net.encoder.columns
        most = [each["column"] for each in owed["columns"][:CELLS]] if owed else columns[:CELLS]
        shown = tuple(name for name in columns if name in most)
        worst = _worst(net, data, judged, section, source, shown)
    return Report(
        path,
        net,
        summary_of(path),
        curves_of(path),
        tuple((_read(path / folder.LOG) or b"").decode("utf-8", "replace").splitlines()),
        folder.noted(_read(path / folder.ENVIRONMENT)),
        *_weights(net, data),
        judged,
        worst,
        shown,
        () if judged is None or data is None or len(net.nets) < 2 else _singles(net, data, judged, folds),
        owed,
        notices,
    )


def _weights(net: Predictor, data: Dataset | None) -> tuple[tuple[Weights, ...], tuple[Moment, ...]]:
    """The arrays of the (first) net, layer by layer, and how long they and their gradients were in the run."""
    own, network, settings = net.nets[0], net.network, net.config
    arrays = {name: view for name, view in network.layout.views(own.θ).items() if view.size}
    weights = tuple(Weights(name, arrays[name]) for name in sorted(arrays, key=_layer))
    if data is None or own.fold is not None:  # of folds the inputs are those of all nets
        return weights, ()
    update, batch = Updater(settings.optimizer, network.layout), int(settings.training.batch_size)
    prepared = Prepared(settings, data, net.metrics, net.head, network, update, batch, 1)
    at = {f"epoch {own.epoch}": (own.θ, own.q)}
    if own.member == 0 and net.path.name == folder.BEST:
        state = prepared.begin(prepared.backend("numpy"))[0].state
        at = {"start": (state.θ, state.q), **at}
        with contextlib.suppress(FcnetError):  # it is the run's own matter
            last = Predictor.read(net.path.with_name(folder.LAST)).nets[0]
            if last.member == 0 and last.epoch > own.epoch and last.θ.shape == own.θ.shape:
                at[f"epoch {last.epoch}"] = last.θ, last.q
    moments = []
    for when, (θ, q) in at.items():
        slopes = Trial(prepared, (θ, q)).gradient()
        moments.append(Moment(when, *(_lengths(network.layout.views(v)) for v in (θ, slopes))))
    return weights, tuple(moments)


def _layer(name: str) -> int:
    """The number of the layer that an array belongs to."""
    number = re.search(r"\d+", name)
    return int(number[0]) if number else 0


def _lengths(arrays: Mapping[str, Array]) -> dict[str, float]:
    """The root of the sum of squares of each."""
    return {name: float(np.sqrt(np.square(v.astype(np.float64)).sum())) for name, v in arrays.items()}


def _singles(net: Predictor, data: Dataset, judged: Judged, folds: Folded | None) -> tuple[Single, ...]:
    """What each of several nets would be worth alone, on the rows that are judged; of `folds` on those of its own."""
    found = []
    for each in net.nets:
        own = judged
        if folds is not None:
            held = np.flatnonzero(np.isin(judged.rows, folds.parts[each.fold or 0].rows["validation"]))
            own = replace(judged, rows=judged.rows[held], y=judged.y[held], w=judged.w[held])
        alone = replace(own, p=net.target.point(net.alone(each, data.inputs[own.rows])))
        scores = {metric.name: metric.value(own.y, alone.seen(metric), own.w) for metric in net.metrics}
        found.append(Single(each.member, each.weight, each.epoch, each.fold, scores))
    return tuple(found)


def _read(path: Path) -> bytes | None:
    try:
        with files.open_plain(path) as file:
            return file.read()
    except (OSError, FcnetError):
        return None


def curves_of(run: Path) -> dict[str, Array]:
    """The columns of metrics.csv as numbers, NaN where there is none; nothing where no row of it says its epoch.

    Of folds, which begin anew, epochs are counted on.
    """
    try:
        head, *rows = csv.reader(io.StringIO((_read(run / logs.NAME) or b"").decode("utf-8", "replace")))
    except (csv.Error, ValueError):  # the latter: it is empty
        return {}
    found = [dict(zip(head, map(_number, row), strict=True)) for row in rows if len(row) == len(head)]
    whole = [row for row in found if 0 < row.get("epoch", 0) < 1e9]
    curves = {name: np.array([row[name] for row in whole]) for name in head if whole}
    return curves | ({"epoch": np.arange(1.0, len(whole) + 1)} if "fold" in curves else {})


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def part_of(data: Dataset) -> str:
    """The part that is judged: test, else validation, else train."""
    return next(name for name in ("test", "validation", "train") if len(data.parts[name]))


def judge(net: Predictor, data: Dataset, part: str | None = None) -> Judged:
    """The predictions of a part, a few rows at a time."""
    name = part or part_of(data)
    rows = data.parts[name][spaced(len(data.parts[name]))]
    p = np.concatenate([net.probabilities(data.inputs[rows[at : at + BATCH]]) for at in range(0, len(rows), BATCH)])
    target = net.target
    w = np.ones(len(rows)) if data.row_weights is None else data.row_weights[rows]
    return Judged(name, len(data.parts[name]), target, rows, target.truths(data.y[rows]), target.point(p), w)


def judge_out_of_fold(net: Predictor, folds: Folded) -> Judged:
    """The predictions of the rows that folds hold out, by the nets that have not seen them: what validation is then."""
    rows, p = net.out_of_fold(folds)
    some, data, target = spaced(len(rows)), folds.whole, net.target
    rows, p, total = rows[some], p[some], len(rows)
    w = np.ones(len(rows)) if data.row_weights is None else data.row_weights[rows]
    return Judged("validation", total, target, rows, target.truths(data.y[rows]), target.point(p), w)


def _worst(
    net: Predictor, data: Dataset, judged: Judged, section: Data, source: object, shown: Sequence[str]
) -> tuple[Worst, ...]:
    at = judged.worst(WORST)
    rows, fitted = judged.rows[at], (net.encoder, net.target)
    file = getattr(section, judged.name) if judged.name != "train" else None
    if isinstance(file, str):
        found = read_alike(judged.name, Path(file), section, *fitted, shown=file)
        rows = found.rows[rows - data.parts[judged.name][0]]
    else:
        found = read(section, dtype=net.config.dtype, data=source, fitted=fitted)
        rows = found.rows[rows]
    cost, told = judged.cost(), []
    for i, row in zip(at.tolist(), rows.tolist(), strict=True):
        lines = found.table.lines
        place = f"line {int(lines[row])}" if lines is not None else f"row {found.table.first + row}"
        truth, said = _told(judged, i)
        told.append(Worst(place, float(cost[i]), truth, said, tuple(lookup(found.table.columns, shown, row))))
    return tuple(told)


def _told(judged: Judged, i: int) -> tuple[str, str]:
    """What a row is, and what was said of it."""
    y, p, labels = judged.y[i], judged.p[i], judged.labels
    if judged.y.ndim == 1:
        k, right = int(judged.target.decided(p[None])[0]), int(y)
        rest = "" if k == right else f"; {labels[right]}: {100 * p[right]:.2g}%"
        return labels[right], f"{labels[k]}: {100 * p[k]:.3g}%{rest}"
    if judged.target.shares:
        there = ", ".join(name for name, each in zip(labels, y, strict=True) if each)
        said = ", ".join(f"{name} {each:.2g}" for name, each in zip(labels, p, strict=True) if each > 0.5)
        return there or "none", said or "none"
    return ", ".join(f"{v:.5g}" for v in y[:4]), ", ".join(f"{v:.5g}" for v in p[:4])
