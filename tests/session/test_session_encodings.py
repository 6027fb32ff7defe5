"""Runs with every kind of input: codes that are looked up, and encodings of one's own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

import fcnet
from fcnet import api, config
from fcnet.data.encodings import CATEGORICAL, NUMERIC, CategoryColumn
from fcnet.errors import ConfigError, DataError, Stopped
from fcnet.formulas import absolute, log1p, where
from fcnet.runs import session
from fcnet.runs.checkpoint import read

LOOKED_UP = {"preprocess": {"categorical": "codes"}, "network": {"layers": [{"name": "embedding", "size": 3}, 6]}}


@dataclass(frozen=True)
class Logarithm:
    """sign(x) ln(1 + |x| / unit), unit the largest number."""

    name: Literal["logarithm"] = "logarithm"
    state: ClassVar[tuple[str, ...]] = ("unit",)

    def fit(self, values, rows, column):
        return {"unit": (float(np.abs(values).max()) or 1.0,)}

    def f(self, x, state):
        u = x / state["unit"]
        size = log1p(absolute(u))
        return where(u >= 0.0, size, -size)


@dataclass(frozen=True)
class Frequency:
    """A category as the share of training that has it."""

    name: Literal["frequency"] = "frequency"
    into: ClassVar[Literal["x", "c"]] = "x"
    state: ClassVar[tuple[str, ...]] = ("share",)

    def fit(self, column, levels, at):
        share = np.bincount(at[at >= 0], minlength=len(levels)) / len(at)
        return CategoryColumn(column, self, levels, state={"share": tuple(share.tolist())})

    def inputs(self, fitted):
        return (fitted.name,)

    def width(self, fitted):
        return 1

    def write(self, fitted, at, out):
        out[:, 0] = np.where(at < 0, 0.0, np.array(fitted.state["share"])[at])


def interrupted(mapping):
    """The outcome of a run that crashed twice, and of one that did not."""
    whole = outcome(go({**mapping, "name": "whole"})[-1].run)
    for poll in (4, 8):
        with pytest.raises(Crash):
            go(mapping, stop=crash_at(poll), resume=True)
    return outcome(go(mapping, resume=True)[-1].run), whole


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_run_with_codes_resumes_bit_for_bit(place, backend):
    """Vectors of categories are trained, saved, gone on with and predicted with as all else is."""
    resumed, whole = interrupted(settings(**LOOKED_UP, training={"epochs": 3}, backend=backend))

    assert differing(resumed, whole) == []
    assert resumed["best.npz/E1"][0] == (3, 3)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_table_of_categories_alone_needs_no_numbers(place, backend):
    """With codes and no column of numbers a net trains, predicts and is scored all the same."""
    run = go(settings(**LOOKED_UP, data={"features": ["job"]}, training={"epochs": 2}, backend=backend))[-1].run

    api.predict("people.csv", Path("out.csv"), checkpoint=run)

    assert read(run / "best.npz").arrays["W2"].shape == (6, 3)
    assert len(set(Path("out.csv").read_text().splitlines()[1:])) == 3
    assert api.evaluate(run)["rows"] == 12


def test_an_encoding_is_one_class(place, monkeypatch):
    """A registered encoding of numbers, and one of categories, can be configured, trained, resumed, predicted with."""
    monkeypatch.setitem(NUMERIC, "logarithm", Logarithm)
    monkeypatch.setitem(CATEGORICAL, "frequency", Frequency)
    how = {"numeric": {"name": "logarithm"}, "categorical": "frequency"}

    resumed, whole = interrupted(settings(preprocess=how, training={"epochs": 3}))
    held = read(Path("runs/whole/best.npz"))

    assert differing(resumed, whole) == []
    assert [column["encoding"] for column in held.header["columns"]["columns"]] == ["logarithm"] * 2 + ["frequency"]
    assert held.arrays["preprocess/share/2"].shape == (3,)
    assert held.arrays["W1"].shape == (8, 3)


def test_a_category_that_training_has_not_seen_has_a_vector_of_zeros(place):
    """Unknown and missing categories count as one that says nothing: their predictions are the same."""
    run = go(settings(**LOOKED_UP, training={"epochs": 3}))[-1].run
    Path("new.csv").write_text("age,height,job\n40,170,zzz\n40,170,\n40,170,a\n")

    found = api.predict("new.csv", Path("out.csv"), checkpoint=run)
    unknown, missing, known = Path("out.csv").read_text().splitlines()[1:]

    assert unknown == missing != known
    assert any('"zzz" 1' in notice and "unknown" in notice for notice in found["notices"])


def test_predictions_do_not_depend_on_the_rows_around(place, monkeypatch):
    """Codes go along with their rows, in chunks of any size, and are scored as they were in training."""
    run = go(settings(**LOOKED_UP, training={"epochs": 3}))[-1].run
    api.predict("people.csv", Path("whole.csv"), checkpoint=run)

    monkeypatch.setattr(sys.modules["fcnet.data.stream"], "INPUTS", 8)
    api.predict("people.csv", Path("pieces.csv"), checkpoint=run)

    assert Path("pieces.csv").read_bytes() == Path("whole.csv").read_bytes()
    summary = api.evaluate(run)
    assert summary["loss"] == go(settings(**LOOKED_UP, training={"epochs": 3}), resume=run)[-1].summary["test"]["loss"]


def test_other_categories_from_memory_are_other_data(place):
    """A run on data from memory is gone on with on the same categories alone."""
    rng = np.random.default_rng(0)
    table = {"a": rng.normal(size=60), "c": np.array(["u", "v"] * 30), "y": rng.normal(size=60)}
    mapping = {"name": "memory", "data": {"target": "y"}, **LOOKED_UP, "training": {"epochs": 2}, "threads": 1}
    with pytest.raises(Stopped):
        list(session.training(config.from_mapping(mapping, needs_data=False), data=table, stop=Third()))

    changed = {**table, "c": table["c"][::-1].copy()}

    with pytest.raises(DataError, match="the data have changed"):
        fcnet.train(mapping, changed, resume=True)
    assert fcnet.train(mapping, table, resume=True).metrics["epochs"] == 2


class Third:
    """Asks to stop when it is polled for the third time after the first step."""

    def __init__(self):
        self.polls = 0

    def __call__(self):
        self.polls += 1
        return 75 if self.polls > 6 else None


EMBEDDING = {"name": "embedding"}
WITHIN = {"name": "residual", "layers": [EMBEDDING]}


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ({"network": {"layers": [6, EMBEDDING]}}, "network.layers.1", "comes before all layers"),
        (
            {"network": {"layers": [EMBEDDING, WITHIN]}},
            "network.layers.1.layers.0",
            "",
        ),
        ({"network": {"layers": [6]}}, "preprocess.categorical", "codes are for the layer embedding"),
        (
            {"network": {"layers": [EMBEDDING, 6]}, "preprocess": {"categorical": "one_hot"}},
            "network.layers",
            "leave it",
        ),
        ({"preprocess": {"categorical": {"name": "codes", "above": 3}}}, "network.layers", "leave it out"),
        ({"preprocess": {"categorical": {"name": "codes", "abov": 3}}}, "preprocess.categorical.abov", "mean above"),
        ({"preprocess": {"numeric": "robst"}}, "preprocess.numeric", "mean robust"),
    ],
)
def test_what_does_not_fit_is_a_config_error(place, more, key, said):
    """Codes and the layer that looks them up belong together, and it stands in front; near misses are suggested."""
    with pytest.raises(ConfigError) as error:
        go(settings(**{**LOOKED_UP, **more}))

    assert error.value.problems[0].key == key
    assert said in str(error.value)
