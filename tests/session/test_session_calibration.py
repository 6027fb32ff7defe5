"""Runs whose probabilities and decisions are settled on the validation part, and what is made of it afterwards."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcnet
from fcnet import api, files
from fcnet.errors import CheckpointError, ConfigError, UsageError
from fcnet.runs import checkpoint
from fcnet.training.calibration import best_scale


def table(task: str = "binary", n: int = 300) -> dict[str, Any]:
    """Two numbers and a target, which they do not tell for certain; one of two classes is rare."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, n))
    value = a + 0.5 * b + rng.normal(size=n)
    if task == "binary":
        return {"a": a, "b": b, "y": np.where(value > 1.2, "yes", "no")}
    if task == "multiclass":
        return {"a": a, "b": b, "y": np.array(["low", "mid", "top"])[(value > -0.5).astype(int) + (value > 0.8)]}
    if task == "multilabel":
        return {"a": a, "b": b, "y": (value > 0).astype(int), "z": (a > 0).astype(int)}
    return {"a": a, "b": b, "y": value}


def config(task: str = "binary", **more: Any) -> dict[str, Any]:
    """A run so short that the net is not nearly as sure as it could be."""
    return {
        "name": "r",
        "data": {"target": ["y", "z"] if task == "multilabel" else "y", "validation": 0.3, "test": 0.2},
        "network": {"layers": [32]},
        "optimizer": {"lr": 0.003},
        "training": {"epochs": 20},
        "backend": "numpy",
        **more,
    }


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _csv(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_a_temperature_is_settled_on_the_validation_part(task: str) -> None:
    """The log-loss of the validation part falls to what the best temperature gives, decisions stay as they were, and
    metrics.json says what it was before."""
    data = table(task)
    plain = fcnet.train(config(task, name="plain"), data=data)
    scaled = fcnet.train(config(task, calibration="temperature"), data=data)

    before, after = plain.metrics["validation"], scaled.metrics["validation"]
    said = scaled.metrics["calibration"]
    assert said["validation"]["log_loss"] == {
        "before": before["log_loss"]["value"],
        "after": after["log_loss"]["value"],
    }
    assert after["log_loss"]["value"] < 0.99 * before["log_loss"]["value"]
    assert said["temperature"] < 0.9
    assert after["accuracy"] == before["accuracy"]
    assert "calibration" not in plain.metrics
    p, q = (run.model.predict_proba(data) for run in (plain, scaled))
    power = p ** (1 / said["temperature"])
    rest = power + (1 - p) ** (1 / said["temperature"]) if task == "multilabel" else power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(q, power / rest, rtol=1e-4)


def test_scores_afterwards_are_those_of_the_run() -> None:
    """`eval` of the checkpoint gives what metrics.json says, temperature and threshold included."""
    data = table()
    files_ = [f"{a},{b},{y}" for a, b, y in zip(*data.values(), strict=True)]
    Path("t.csv").write_text("\n".join(["a,b,y", *files_]) + "\n")
    given = config(calibration="temperature", threshold={"metric": "f1"}, metrics=["accuracy", "f1", "log_loss", "ece"])
    run = fcnet.train({**given, "data": {**given["data"], "train": "t.csv"}})

    scored = api.evaluate(run.path, split="test")

    assert {key: scored[key] for key in run.metrics["test"]} == run.metrics["test"]


def test_auto_leaves_few_rows_alone_and_numbers_too() -> None:
    """Nine validation rows leave it open whether a temperature helps; numbers have none."""
    few = {name: column[:30] for name, column in table().items()}

    classes = fcnet.train(config(name="c", calibration="auto"), data=few)
    numbers = fcnet.train(config("regression", name="n", calibration="auto"), data=table("regression"))

    assert classes.metrics["calibration"]["temperature"] == 1
    said = classes.metrics["calibration"]["test"]
    assert said["ece"]["before"] == said["ece"]["after"]
    assert "calibration" not in numbers.metrics


def test_auto_takes_a_temperature_that_helps() -> None:
    """Of a net that learnt smoothed labels it is the one that `temperature` takes, and makes it surer."""
    data, smoothed = table("multiclass", 900), {"name": "cross_entropy", "label_smoothing": 0.4}
    one, two = (
        fcnet.train(config("multiclass", name=name, calibration=name, loss=smoothed), data=data)
        for name in ("auto", "temperature")
    )

    assert one.metrics["calibration"] == two.metrics["calibration"]
    assert one.metrics["calibration"]["temperature"] < 1


def test_a_threshold_is_chosen_for_its_metric() -> None:
    """It is better on validation than one half, stands in metrics.json, in the checkpoint and in `inspect`, and decides
    what is predicted."""
    data = table()
    plain = fcnet.train(config(name="plain", metrics=["accuracy", "f1"]), data=data)
    moved = fcnet.train(config(metrics=["accuracy", "f1"], threshold={"metric": "f1"}), data=data)

    t = moved.metrics["threshold"]
    assert moved.metrics["validation"]["f1"]["value"] > plain.metrics["validation"]["f1"]["value"]
    model = moved.model
    decided = np.where(model.predict_proba(data)[:, 1] > t, "yes", "no")
    assert (model.predict(data) == decided).all()
    assert model.header["calibration"]["threshold"] == t
    assert (plain.model.predict(data) != decided).any()


def test_a_threshold_can_be_given() -> None:
    """It holds from the first epoch on, and in the checkpoint."""
    data = table()
    run = fcnet.train(config(threshold=0.1, metrics=["accuracy", "f1"]), data=data)

    model = run.model
    yes = model.predict_proba(data)[:, 1] > 0.1
    assert (model.predict(data) == np.where(yes, "yes", "no")).all()
    rows = _csv("runs/r/metrics.csv")
    best = next(row for row in rows if int(row["epoch"]) == run.metrics["best_epoch"])
    assert float(best["val_f1"]) == run.metrics["validation"]["f1"]["value"]


@pytest.mark.parametrize(
    ("task", "more", "said"),
    [
        ("binary", {"calibration": "temperature"}, "calibration: is fitted on a validation part"),
        ("binary", {"threshold": {"metric": "f1"}}, "threshold: is fitted on a validation part"),
        ("regression", {"calibration": "temperature"}, "calibration: there are no probabilities with data.task"),
        ("multiclass", {"threshold": 0.3}, "threshold: is for two classes, not for data.task: multiclass"),
        ("binary", {"threshold": {"metric": "log_loss"}}, "expected accuracy, balanced_accuracy, f1 or f1_macro"),
    ],
)
def test_what_cannot_be_settled_is_refused(task: str, more: dict[str, Any], said: str) -> None:
    """The error names the key, and the one that it does not go with."""
    given = config(task, **more)
    if "is fitted" in said:
        given["data"] |= {"validation": 0}
        given["training"] = {"epochs": 1}

    with pytest.raises(ConfigError) as caught:
        fcnet.train(given, data=table(task))

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("binary", ["set"]),
        ("multiclass", ["set"]),
        ("multilabel", ["set(y)", "set(z)"]),
        ("regression", ["low", "high"]),
    ],
)
def test_predict_says_what_covers_the_truth(task: str, columns: list[str]) -> None:
    """The columns come last, in the file and from Python, hold what they should, and the rest stays as it was."""
    data = table(task)
    run = fcnet.train(config(task, training={"epochs": 3}), data=data)
    names = list(data)
    Path("t.csv").write_text("\n".join(",".join(map(str, row)) for row in [names, *zip(*data.values(), strict=True)]))
    api.predict("t.csv", Path("plain.csv"), checkpoint=run.path)

    api.predict("t.csv", Path("out.csv"), checkpoint=run.path, coverage=0.8)

    plain, rows = _csv("plain.csv"), _csv("out.csv")
    assert list(rows[0]) == [*plain[0], *columns]
    assert [{key: row[key] for key in plain[0]} for row in rows] == plain
    found = run.model.predict_columns(data, coverage=0.8)
    assert list(found) == list(rows[0])
    for name in columns:
        cells = [row[name] for row in rows]
        assert cells == list(found[name]) if "set" in name else np.allclose(np.array(cells, float), found[name])
    if task == "regression":
        covered = [float(r["low"]) <= y <= float(r["high"]) for r, y in zip(rows, data["y"], strict=True)]
    else:
        target, last = ("z", "set(z)") if task == "multilabel" else ("y", "set")
        covered = [str(y) in r[last].split("|") for r, y in zip(rows, data[target], strict=True)]
    assert 0.7 < np.mean(covered) < 0.92


def test_coverage_needs_a_finished_run_with_validation_rows() -> None:
    """last.npz of an epoch that is not the best, and a run without validation, are refused, and say what to do."""
    data = table()
    run = fcnet.train(config(optimizer={"lr": 0.05}, training={"epochs": 40}), data=data)
    assert run.metrics["best_epoch"] < run.metrics["epochs"]
    bare = config(name="bare", training={"epochs": 2})
    bare["data"] |= {"validation": 0}
    without = fcnet.train(bare, data=data)

    for path in (run.path / "last.npz", without.path):
        with pytest.raises(UsageError, match="does not say how far off its predictions are"):
            fcnet.load(path).predict_columns(data, coverage=0.9)


def test_a_set_is_safe_to_open_in_a_spreadsheet() -> None:
    """A label that looks like a formula gets its apostrophe in a set too, which the notice counts."""
    data = table()
    data["y"] = np.where(data["y"] == "yes", "=1+1", "no")
    run = fcnet.train(config(training={"epochs": 2}), data=data)
    Path("t.csv").write_text("a,b\n0,0\n3,3\n")

    done = api.predict("t.csv", Path("out.csv"), checkpoint=run.path, coverage=0.98)

    sets = [row["set"] for row in _csv("out.csv")]
    assert "'=1+1|no" in sets
    marked = sum(cell.startswith("'=") for cell in sets)
    assert any(f"{marked} cell" in text and '"set"' in text for text in done["notices"])


def test_sets_and_intervals_go_to_parquet_too() -> None:
    """Sets are texts there, whatever the labels are."""
    polars = pytest.importorskip("polars")
    data = table("multiclass")
    data["y"] = np.array([1.0, 1.5, 2.0])[np.searchsorted(["low", "mid", "top"], data["y"])]
    run = fcnet.train(
        config("multiclass", training={"epochs": 2}) | {"data": {"target": "y", "task": "multiclass"}}, data=data
    )
    Path("t.csv").write_text("a,b\n0,0\n3,3\n")

    api.predict("t.csv", Path("out.parquet"), checkpoint=run.path, coverage=0.95)

    found = polars.read_parquet("out.parquet")["set"].to_list()
    assert all(set(cell.split("|")) <= {"1", "1.5", "2"} for cell in found)


def _changed(path: Path, header: dict[str, Any]) -> None:
    """Write a checkpoint with another header."""
    held = checkpoint.read(path)
    with files.Folder(path.parent) as folder:
        checkpoint.write(folder, path.name, {**held.header, **header}, held.arrays)


@pytest.mark.parametrize(
    "garbled",
    [
        {"temperature": 0.0},
        {"threshold": 1.5},
        {"rows": 91},
        {"scores": None},
        {"scores": [*map(float, range(90))]},
        {"scores": [[*map(float, range(89))]]},
        {"scores": [[float(-i) for i in range(90)]]},
    ],
    ids=["temperature", "threshold", "rows", "lost", "flat", "shape", "order"],
)
def test_garbled_calibration_is_refused(garbled: dict[str, Any]) -> None:
    """A checkpoint whose parts contradict one another is not believed."""
    run = fcnet.train(config(training={"epochs": 1}), data=table())
    path = run.path / "best.npz"
    _changed(path, {"calibration": {**checkpoint.read(path).header["calibration"], **garbled}})

    with pytest.raises(CheckpointError, match="calibration"):
        fcnet.load(path)


def test_a_run_that_goes_on_settles_it_anew() -> None:
    """A finished run with more epochs ends as one that had them from the start."""
    data = table()
    given = config(calibration="temperature", threshold={"metric": "f1"}, metrics=["accuracy", "f1"])
    short = {**given, "training": {"epochs": 3}}
    fcnet.train(short, data=data)
    resumed = fcnet.train(given, data=data, resume=True)
    whole = fcnet.train({**given, "name": "whole"}, data=data)

    one, two = (checkpoint.read(run.path / "best.npz") for run in (resumed, whole))
    assert one.header["calibration"] == two.header["calibration"]
    assert json.dumps(resumed.metrics["calibration"]) == json.dumps(whole.metrics["calibration"])


def test_the_same_temperature_is_found_from_the_outputs() -> None:
    """What the checkpoint holds is the best scale of the outputs on the validation rows, found from predictions."""
    data = table("multiclass")
    data["part"] = np.array(["train", "validation"])[(np.arange(300) % 3 == 0).astype(int)]
    given = config("multiclass", calibration="temperature")
    given["data"] = {"target": "y", "split": {"by": "column", "column": "part"}}
    plain = fcnet.train({**given, "name": "plain", "calibration": "none"}, data=data)

    run = fcnet.train(given, data=data)

    rows = data["part"] == "validation"
    p = plain.model.predict_proba({name: column[rows] for name, column in data.items() if name in "ab"})
    y = np.searchsorted(["low", "mid", "top"], data["y"][rows])
    assert run.metrics["calibration"]["temperature"] == pytest.approx(1 / best_scale(np.log(p), y), rel=1e-4)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_mean_of_several_nets_is_calibrated(task: str) -> None:
    """Of an ensemble the averaged probabilities are scaled, and not each net's; scores and sets go by them."""
    data, smoothed = table(task, 600), {"name": "cross_entropy", "label_smoothing": 0.3}
    given = {"ensemble": 2, **({} if task == "multilabel" else {"loss": smoothed})}
    plain = fcnet.train(config(task, name="plain", **given), data=data)
    scaled = fcnet.train(config(task, calibration="temperature", **given), data=data)

    t = scaled.metrics["calibration"]["temperature"]
    assert abs(t - 1) > 0.03
    p, q = (run.model.predict_proba(data) for run in (plain, scaled))
    power = p ** (1 / t)
    rest = power + (1 - p) ** (1 / t) if task == "multilabel" else power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(q, power / rest, rtol=2e-4, atol=1e-6)
    said = scaled.metrics["calibration"]["validation"]["log_loss"]
    assert said["before"] == pytest.approx(plain.metrics["validation"]["log_loss"]["value"])
    assert said["after"] < said["before"]
    assert len(scaled.model.predict_columns(data, coverage=0.9)) > len(scaled.model.predict_columns(data))


def test_a_refitted_net_is_scored_as_it_predicts() -> None:
    """What was said of the net before it holds for the one that learnt from the validation rows too."""
    data = table("multiclass")
    rows = [",".join(map(str, row)) for row in [list(data), *zip(*data.values(), strict=True)]]
    Path("t.csv").write_text("\n".join(rows) + "\n")
    given = config("multiclass", calibration="temperature", refit=True, loss={"name": "cross_entropy"})
    given["loss"]["label_smoothing"] = 0.3
    run = fcnet.train({**given, "data": {**given["data"], "train": "t.csv"}})

    scored = api.evaluate(run.path, split="test")

    assert run.metrics["calibration"]["temperature"] < 0.9
    assert {key: scored[key] for key in run.metrics["refit"]["test"]} == run.metrics["refit"]["test"]
    assert run.model.header["calibration"]["temperature"] == run.metrics["calibration"]["temperature"]
