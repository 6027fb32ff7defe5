"""A run of several nets: one folder, one checkpoint, and predictions that are the mean of what the nets predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

import fcnet
from fcnet import api
from fcnet.backends import choice
from fcnet.cli import main
from fcnet.errors import CheckpointError
from fcnet.files import Folder
from fcnet.runs import checkpoint
from fcnet.runs.model import Predictor
from fcnet.training.events import Epoch

THREE = {
    "ensemble": 3,
    "training": {"epochs": 25, "early_stopping": {"metric": "val_loss", "patience": 2}},
    "optimizer": {"lr": 0.03},
}
NUMBA = [("binary", "numba")] if choice.installed("numba") else []
TASKS = {
    "multiclass": {"data": {"target": "kind"}},
    "binary": {"data": {"target": "sure"}},
    "multilabel": {"data": {"target": ["tall", "old"]}},
    "regression": {"data": {"target": "height", "exclude": ["kind"]}, "preprocess": {"clamp": True}},
    "gaussian": {"data": {"target": "height"}, "loss": "gaussian"},
    "quantile": {"data": {"target": ["height", "age2"]}, "loss": "quantile"},
    "poisson": {"data": {"target": "height"}, "loss": "poisson"},
}


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture
def table(place):
    """The table of the other sessions, with targets of every kind."""
    rows = read(Path("people.csv"))
    for i, row in enumerate(rows):
        height, age = float(row["height"]), float(row["age"] or 40)
        row |= {"tall": int(height > 172), "old": int(age > 41), "age2": age}
        row["sure"] = "yes" if height > 168 + i % 7 else "no"
    with Path("people.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return place


def taken_apart(run):
    """The run's nets as models of their own, each from a checkpoint that holds nothing else, with their weights."""
    held, models = checkpoint.read(run / "best.npz"), []
    fitted = {name: array for name, array in held.arrays.items() if name.startswith("preprocess/")}
    header = {key: value for key, value in held.header.items() if key != "nets"}
    header["config"] = {**header["config"], "ensemble": 1}
    for i, net in enumerate(held.header["nets"]):
        own = {name.removeprefix(f"{i}/"): a for name, a in held.arrays.items() if name.startswith(f"{i}/")}
        with Folder(run) as folder:
            checkpoint.write(folder, f"{i}.npz", header, {**own, **fitted})
        models.append((net["weight"], fcnet.load(run / f"{i}.npz")))
    return models


@pytest.mark.parametrize(("task", "backend"), [*((task, "numpy") for task in TASKS), *NUMBA])
def test_the_mean_of_the_nets_is_predicted(table, task, backend):
    """Of probabilities or of numbers, whatever the loss says of a row, never of what stands before them."""
    run = go(settings(**THREE, **TASKS[task], backend=backend))[-1].run

    columns = fcnet.load(run).predict_columns("people.csv")
    each = [(weight, model.predict_columns("people.csv")) for weight, model in taken_apart(run)]
    assert len(each) == 3
    numbers = [name for name in columns if name.startswith("p(") or task not in ("multiclass", "binary", "multilabel")]
    assert numbers
    for name in numbers:
        mean = sum(weight * np.asarray(own[name], np.float64) for weight, own in each)
        np.testing.assert_allclose(columns[name], mean, rtol=3e-6, atol=1e-7)
        assert max(np.abs(np.asarray(own[name]) - mean).max() for _, own in each) > 1e-3, "they differ"


def test_the_first_net_is_the_config_s_own(place):
    """The same bits as in a run without others; these begin elsewhere."""
    several = checkpoint.read(go(settings(**THREE))[-1].run / "best.npz")
    alone = checkpoint.read(go(settings(**{**THREE, "ensemble": 1}, name="alone"))[-1].run / "best.npz")

    assert [net["member"] for net in several.header["nets"]] == [0, 1, 2]
    assert "nets" not in alone.header
    for name, array in alone.arrays.items():
        own = name if name.startswith("preprocess/") else f"0/{name}"
        np.testing.assert_array_equal(several.arrays[own], array)
    assert not np.array_equal(several.arrays["0/W1"], several.arrays["1/W1"])


def test_scores_are_those_of_the_mean(place):
    """In metrics.csv every epoch, in metrics.json and by eval to the digit; members stop by themselves."""
    events = go(settings(**THREE))
    run, epochs = events[-1].run, [event for event in events if isinstance(event, Epoch)]

    rows = read(run / "metrics.csv")
    summary = json.loads((run / "metrics.json").read_text())
    nets = summary["nets"]
    assert [int(row["epoch"]) for row in rows] == [event.epoch for event in epochs]
    assert summary["best_epoch"] == max(net["epoch"] for net in nets)
    best = rows[summary["best_epoch"] - 1]
    assert float(best["val_loss"]) == summary["validation"]["loss"]
    assert float(best["val_accuracy"]) == summary["validation"]["accuracy"]["value"]
    assert api.evaluate(run, split="validation")["loss"] == summary["validation"]["loss"]
    assert len({net["epoch"] for net in nets}) > 1, "each has a best epoch of its own"
    assert [len(epochs[0].members), len(epochs[-1].members)] == [3, 1], "the others have left"
    assert float(rows[0]["val_loss"]) < max(member.val["loss"] for member in epochs[0].members)


@pytest.mark.parametrize("backend", [name for name in ("numpy", "numba") if choice.installed(name)])
def test_several_nets_resume_bit_for_bit(place, backend):
    """In the middle of epochs, also when some have left."""
    mapping = settings(**THREE, backend=backend, average={"decay": 0.8}, network={"layers": [6, "batch_norm"]})
    whole = outcome(go({**mapping, "name": "whole"})[-1].run)

    crashes = 0
    for poll in (5, 30, 44, 61):
        try:
            go(mapping, stop=crash_at(poll), resume=True)
        except Crash:
            crashes += 1
    run = go(mapping, resume=True)[-1].run

    assert crashes == 4
    assert differing(outcome(run), whole) == []


def test_last_has_every_net(place):
    """Of those that have left as they were at their best; it predicts as any other, and a damaged one is exit 5."""
    run = go(settings(**THREE))[-1].run
    best, last = (checkpoint.read(run / name) for name in ("best.npz", "last.npz"))

    who = last.header["state"]["who"]
    assert len(who) == 1
    for i in range(3):
        same = np.array_equal(best.arrays[f"{i}/W1"], last.arrays[f"{i}/W1"])
        assert same == (i not in who)
        assert (f"{i}/optimizer/m/W1" in last.arrays) == (f"{i}/best/W1" in last.arrays) == (i in who)
    assert len(Predictor.read(run / "last.npz").nets) == 3
    assert api.evaluate(run / "last.npz")["loss"] > 0


WRONG = [
    ("nets", None), ("nets", []), ("nets", [{"member": 0, "weight": 1.0, "epoch": 1}] * 3),
    ("nets/0/weight", 0.9), ("nets/0/weight", -1.0), ("nets/1/member", 0), ("nets/2/member", 3), ("nets/0/epoch", 99),
    ("config/ensemble", 1), ("config/ensemble", 2), ("state/who", []), ("state/who", [7]), ("state/who", [0, 0]),
    ("state/who", None), ("state/loss", "0x1p+0"), ("state/best_epoch", [1, 2, 3, 4]), ("state/waited", 0),
]  # fmt: skip


def test_a_header_that_contradicts_itself_is_refused(place):
    """Whatever it says of the nets that they do not say of each other, before anything is allocated."""
    run = go(settings(**{**THREE, "training": {"epochs": 2}}))[-1].run
    held = checkpoint.read(run / "last.npz")

    for way, value in WRONG:
        header = json.loads(json.dumps(held.header))
        node, *rest = header, *way.split("/")
        for key in rest[:-1]:
            node = node[int(key) if key.isdigit() else key]
        node[rest[-1]] = value
        with Folder(run) as folder:
            checkpoint.write(folder, "wrong.npz", header, held.arrays)
        with pytest.raises(CheckpointError, match=r"nets|state|ensemble"):
            Predictor.read(run / "wrong.npz")


def test_what_is_said_of_several_nets(place, capsys):
    """How many there are and what each counts, on the screen of train and inspect; check counts their memory."""
    mapping = settings(**{**THREE, "training": {"epochs": 2}})
    run = go(mapping)[-1].run
    Path("c.yaml").write_text(json.dumps(mapping))

    assert main(["inspect", str(run)]) == 0
    said = capsys.readouterr().out
    assert main(["check", "c.yaml"]) == 0
    checked = capsys.readouterr().out
    assert main(["train", "c.yaml", "--overwrite"]) == 0
    trained = capsys.readouterr().out

    for text in (said, trained):
        assert "3 nets" in text
    assert "0: epoch 2, weight 0.333" in said
    assert "1/W1" not in said
    assert "3 nets" in checked
    assert "nets' outputs" in checked
