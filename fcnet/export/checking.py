"""Whether an export predicts what the net does, on rows of the training data and on rows with all that may be odd."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import data as tables
from fcnet.backends.ops import Array
from fcnet.data import Tally
from fcnet.data.encodings import CategoryColumn, NumberColumn
from fcnet.data.encodings.none import Plain
from fcnet.data.numbers import grammar
from fcnet.data.target import Numbers
from fcnet.errors import FcnetError
from fcnet.export.graph import Graph
from fcnet.nn.rows import Rows
from fcnet.records import dataclass
from fcnet.runs import origin
from fcnet.runs.model import Predictor

DRAWN, TRAINING = 40, 160
"""Rows of each kind, at most."""

ODD = 8
"""One cell in so many is missing, and one of categories is of none that training has seen."""

FAR = 30.0
"""From here on so far from 0, in units of their range, that the digits of float32 may be too few for numbers."""

TOLERANCE = 1e-5
"""How far a probability may be off, and a number as a share of itself or of the target's deviation."""


@dataclass(frozen=True)
class Samples:
    """Rows as cells and as inputs of the net, and what it predicts of them, (n, width) float64.

    `columns`: numbers (n,) float64, NaN where missing, and texts, "" where missing. `of`: where they come from.
    """

    columns: Mapping[str, Array | list[str]]
    inputs: Rows
    p: Array
    of: str

    def __len__(self) -> int:
        return len(self.p)


def samples(model: Predictor) -> Samples:
    """Rows of the training data where these are at hand, behind others that are drawn from what the encoder knows."""
    drawn = _drawn(model)
    found = _training(model)
    parts, of = ([drawn, found], "training rows and drawn ones") if found else ([drawn], "drawn rows")
    columns: dict[str, Array | list[str]] = {}
    for feature in model.encoder.features:
        cells = [cells[feature.name] for cells, _ in parts]
        number = isinstance(feature, NumberColumn)
        columns[feature.name] = np.concatenate(cells) if number else [text for each in cells for text in each]
    x = np.concatenate([inputs.x for _, inputs in parts])
    c = None if drawn[1].c is None else np.concatenate([inputs.c for _, inputs in parts if inputs.c is not None])
    inputs = Rows(x, c)
    return Samples(columns, inputs, model.probabilities(inputs), of)


Part = tuple[dict[str, Any], Rows]


def _drawn(model: Predictor) -> Part:
    draw = np.random.default_rng(0)
    numbers = sum(isinstance(feature, NumberColumn) for feature in model.encoder.features)
    near = min(1.0, 4 / max(numbers, 1) ** 0.5)  # so that many numbers together are not absurdly far from the median
    columns: dict[str, Any] = {}
    for feature in model.encoder.features:
        missing = draw.integers(ODD, size=DRAWN) == 0
        if isinstance(feature, NumberColumn):
            low, high = feature.low / 2, feature.high / 2  # their distance may overflow
            away = 2 * (low + draw.random(DRAWN) * (high - low)) - feature.fill
            columns[feature.name] = np.where(missing, np.nan, feature.fill + near * away)
            continue
        of = [*feature.levels, "\N{GREEK SMALL LETTER ALPHA} never seen"]
        at = np.where(draw.integers(ODD, size=DRAWN) == 0, len(of) - 1, draw.integers(len(of), size=DRAWN))
        columns[feature.name] = ["" if gone else of[i] for i, gone in zip(at.tolist(), missing, strict=True)]
    given = {
        name: cells if isinstance(cells, np.ndarray) else np.array(cells, object) for name, cells in columns.items()
    }
    ((inputs, _),) = tables.stream(given, model.config.data, model.encoder, model.target, Tally(ranges=False))
    return columns, inputs


def _training(model: Predictor) -> Part | None:
    """From the beginning of the file that the net was trained on; None where that is not at hand."""
    with contextlib.suppress(FcnetError):
        path = origin.find(origin.origins(model.header, model.path), model.path)["train"]
        return _first(model, path)
    return None


def _first(model: Predictor, path: Path) -> Part | None:
    spelling, encoder = grammar(model.config.data, model.encoder.dtype), model.encoder
    rows = tables.stream(path, model.config.data, encoder, model.target, Tally(ranges=False), keep=encoder.columns)
    with contextlib.closing(rows):
        for inputs, cells in rows:
            chosen = np.unique(np.linspace(0, len(inputs) - 1, TRAINING).astype(np.int64))
            columns: dict[str, Any] = {}
            for feature in encoder.features:
                texts = [cells[feature.name][i] for i in chosen]
                known = ["" if spelling.is_missing(text) else text for text in texts]
                columns[feature.name] = known if isinstance(feature, CategoryColumn) else spelling.parse(texts)[0]
            return columns, inputs[chosen]
    return None


def coarse(model: Predictor) -> str | None:
    """The column of numbers that lie farthest from 0 for how they differ, where that is too far for float32."""
    worst = max(
        (max(-each.low, each.high) / max(each.high - each.low, 1e-300), each.name)
        for each in (*model.encoder.features, NumberColumn("", Plain()))
        if isinstance(each, NumberColumn)
    )
    return worst[1] if worst[0] > FAR else None


def difference(graph: Graph, expected: Array, made: Mapping[str, Any]) -> tuple[float, str | None]:
    """How far the predictions of an export are off at most, as a share of what they may be, and what is wrong."""
    target = graph.head.target
    decided = target.decide(expected)
    worst = 0.0
    for each in graph.told:
        found = made[each.name]
        if each.what == "number":
            p = expected[:, each.i]
            size = np.maximum(np.abs(p), target.scale[each.i % target.width]) if isinstance(target, Numbers) else 1.0
            with np.errstate(invalid="ignore"):
                off = np.abs(np.asarray(found, np.float64).reshape(-1) - p) / size
            off = np.where(np.isnan(p) & np.isnan(off), 0.0, off)
            worst = max(worst, float(np.max(off, initial=0.0)))
            if not (off <= TOLERANCE).all():
                return worst, f'column "{each.name}" is {float(np.max(off)):.1e} off'
            continue
        if each.what == "label":
            close = np.diff(np.sort(expected, axis=1)[:, -2:])[:, 0] < 2 * TOLERANCE
            if target.threshold != 0.5:
                close = np.abs(expected[:, 1] - target.threshold) < TOLERANCE
            same = [a == b for a, b in zip(found, decided, strict=True)]
        else:
            close = np.abs(expected[:, each.i] - 0.5) < TOLERANCE
            same = [a == b for a, b in zip(found, np.asarray(decided)[:, each.i], strict=True)]
        if not (close | np.array(same, bool)).all():
            return worst, f'column "{each.name}" says something else'
    return worst, None
