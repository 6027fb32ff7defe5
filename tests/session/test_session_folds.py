"""A run of folds: nets that each have not seen a part of the rows, in one folder and one checkpoint."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

import fcnet
from fcnet.errors import ConfigError
from fcnet.runs import checkpoint

FOLDS = {"cv": 3, "data": {"validation": 0}, "training": {"epochs": 4, "early_stopping": {"patience": 2}}}


def lines(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """A table of numbers alone, of 40 rows, whose scale differs much between rows."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(5, 2, 40), rng.exponential(30, 40)])
    y = 100 + 3 * x[:, 0] - 0.2 * x[:, 1] + rng.normal(0, 1, 40)
    rows = "\n".join(f"{a!r},{b!r},{c!r}" for a, b, c in zip(*x.T.tolist(), y.tolist(), strict=True))
    Path("numbers.csv").write_text(f"a,b,y\n{rows}\n")
    return x, y


def test_rows_are_judged_by_the_net_that_has_not_seen_them(numbers):
    """Computed by hand from the checkpoint's arrays: each net sees columns as its own training rows have them."""
    x, y = numbers
    mapping = {"name": "n", "data": {"train": "numbers.csv", "target": "y", "test": 0.2}, "dtype": "float64", "cv": 4}
    run = go({**mapping, "network": {"layers": [6]}, "training": {"epochs": 3}, "threads": 1, "backend": "numpy"})[
        -1
    ].run

    held = checkpoint.read(run / "best.npz")
    found = lines(run / "predictions.csv")
    fold_of = {int(line["row"]): int(line["fold"]) for line in found}
    assert len(found) == len(fold_of) == 32, "each row but those of the test, once"
    assert [list(fold_of.values()).count(fold) for fold in range(4)] == [8] * 4
    by_net = []
    for fold, net in enumerate(held.header["nets"]):
        own = {name.removeprefix(f"{fold}/"): a for name, a in held.arrays.items() if name.startswith(f"{fold}/")}
        learnt = [row for row in fold_of if fold_of[row] != fold]
        assert (net["fold"], net["weight"]) == (fold, 0.25)
        np.testing.assert_allclose(own["preprocess/mean"], x[learnt].mean(axis=0))
        np.testing.assert_allclose(own["preprocess/target_mean"], y[learnt].mean(axis=0))
        z = (x - own["preprocess/mean"]) / own["preprocess/scale"]
        hidden = np.maximum(z @ own["W1"].T + own["b1"], 0)
        out = hidden @ own["W2"].T + own["b2"]
        by_net.append(out[:, 0] * own["preprocess/target_scale"] + own["preprocess/target_mean"])
    for line in found:
        assert float(line["prediction"]) == pytest.approx(by_net[int(line["fold"])][int(line["row"])])
    np.testing.assert_allclose(fcnet.load(run).predict("numbers.csv"), np.mean(by_net, axis=0))
    summary = json.loads((run / "metrics.json").read_text())
    error = {row: y[row] - by_net[fold][row] for row, fold in fold_of.items()}
    assert summary["validation"]["rmse"]["value"] == pytest.approx(np.sqrt(np.mean([e * e for e in error.values()])))
    for fold, scores in enumerate(summary["folds"]):
        own_errors = [error[row] for row in error if fold_of[row] == fold]
        assert scores["mae"]["value"] == pytest.approx(np.abs(own_errors).mean())
    test = [row for row in range(40) if row not in fold_of]
    mean = np.mean(by_net, axis=0)
    assert summary["test"]["mae"]["value"] == pytest.approx(np.abs(y[test] - mean[test]).mean())
    assert summary["validation"]["rmse"]["low"] < summary["validation"]["rmse"]["value"]


def test_what_stands_in_a_row_does_not_reach_its_own_prediction(numbers):
    """Neither through its target nor through the statistics of these; only the best epoch is chosen by it."""
    mapping = {"name": "n", "data": {"train": "numbers.csv", "target": "y"}, "cv": 4, "training": {"epochs": 1}}
    before = {line["row"]: line["prediction"] for line in lines(go(mapping)[-1].run / "predictions.csv")}
    text = Path("numbers.csv").read_text().splitlines()
    row = text[8].rpartition(",")[0] + ",5000.0"
    Path("numbers.csv").write_text("\n".join([*text[:8], row, *text[9:]]) + "\n")

    after = {line["row"]: line["prediction"] for line in lines(go(mapping)[-1].run / "predictions.csv")}

    assert after["7"] == before["7"]
    assert after != before, "other rows learn from it"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ensemble": 2, "preprocess": {"categorical": "codes"}, "network": {"layers": ["embedding", 6]}},
        {"calibration": "temperature", "data": {"target": "kind", "class_weight": "balanced"}},
        {"data": {"target": "height", "exclude": ["kind"]}, "preprocess": {"clamp": True}, "loss": "gaussian"},
    ],
)
def test_folds_resume_bit_for_bit(place, more):
    """In the middle of any fold, and between two; with several nets a fold, and whatever is predicted."""
    mapping = settings(**{**FOLDS, **more, "data": {"validation": 0, **more.get("data", {})}}, average={"decay": 0.8})
    whole = go({**mapping, "name": "whole"})[-1].run
    said = (whole / "predictions.csv").read_bytes()
    expected = outcome(whole)

    crashes = 0
    for poll in (3, 12, 25, 24, 27):
        try:
            go(mapping, stop=crash_at(poll), resume=True)
        except Crash:
            crashes += 1
    run = go(mapping, resume=True)[-1].run

    assert crashes == 5
    assert (run / "predictions.csv").read_bytes() == said
    assert differing(outcome(run), expected) == []


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"cv": 5, "data": {"validation": "more.csv"}}, "data.validation"),
        ({"cv": 5, "refit": True}, "refit"),
        ({"cv": {"by": "group"}}, "cv.column"),
        ({"cv": {"column": "job"}}, "cv.column"),
        ({"cv": {"by": "time", "column": "age", "repeats": 2}}, "cv.repeats"),
        ({"cv": {"by": "group", "column": "kind"}}, "cv.column"),
        ({"cv": {"by": "group", "column": "kin"}}, "cv.column"),
        ({"cv": 1}, "cv"),
    ],
)
def test_what_folds_do_not_go_with_is_refused(place, more, key):
    """Before anything is read or written, with the key that is to be changed."""
    with pytest.raises(ConfigError) as caught:
        go({**settings(**more), **{name: value for name, value in more.items() if name != "data"}})

    assert any(key in str(problem) for problem in caught.value.problems), str(caught.value)
    assert not Path("runs").exists()
