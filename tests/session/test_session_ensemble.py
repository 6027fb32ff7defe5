"""A run of several nets: one folder, one checkpoint, and predictions that are the mean of what the nets predict."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

import fcnet
from fcnet import api, config
from fcnet.backends import choice
from fcnet.cli import main
from fcnet.data.target import Binary
from fcnet.errors import CheckpointError, ConfigError
from fcnet.files import Folder
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy
from fcnet.runs import checkpoint
from fcnet.runs.model import Predictor
from fcnet.training.events import Epoch
from fcnet.training.head import Head
from fcnet.training.members import members
from fcnet.training.prepare import prepare

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
    header = {key: value for key, value in held.header.items() if key not in ("nets", "calibration")}
    of = config.from_mapping(held.header["config"], needs_data=False)
    network, rates = header["config"]["network"], {**header["config"]["members"], "depth": None}
    for i, net in enumerate(held.header["nets"]):
        times = members(of)[net["member"]].depth or 1
        layers = [*network["layers"][:-1], *network["layers"][-1:] * times]
        own_config = {"ensemble": 1, "members": rates, "network": {**network, "layers": layers}}
        header["config"] = {**header["config"], **own_config}
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
    assert {name.partition("/")[0] for name in alone.arrays if "/" in name} == {"preprocess"}
    for name, array in alone.arrays.items():
        if name.startswith("calibration/"):
            continue  # of all nets together
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


PICKED = {
    "ensemble": 6,
    "members": {
        "lr": {"low": 1e-3, "high": 0.3},
        "weight_decay": {"low": 1e-3, "high": 1},
        "dropout": 0.5,
        "scale": {"low": 0.01, "high": 10},
        "select": 5,
    },
    "optimizer": {"name": "adamw"},
    "network": {"layers": [{"name": "pbld", "size": 3}, 8]},
    "training": {"epochs": 12, "early_stopping": {"metric": "val_log_loss", "patience": 2}},
}


def test_nets_are_picked_by_the_mean_of_those_before(place):
    """Again and again the one that makes the log loss on validation least, counted out here by hand."""
    run = go(settings(**PICKED, data={"weight": None}))[-1].run

    last = checkpoint.read(run / "last.npz")
    nets = [*checkpoint.read(run / "best.npz").header["nets"]]
    assert sum(net["weight"] for net in nets) == pytest.approx(1)
    assert len(nets) < 6, "others are not kept"
    shares = shares_of(run, last)
    truth = np.array([last.header["classes"].index(row["kind"]) for row in read(Path("people.csv"))])
    rows = validation_rows(run)
    costs, picked = [], []
    while len(picked) < 5:
        means = {m: np.mean([shares[n] for n in [*picked, m]], axis=0) for m in shares}
        cost = {m: -np.log(p[rows, truth[rows]]).mean() for m, p in means.items()}
        picked.append(min(cost, key=cost.get))
        costs.append(cost[picked[-1]])
    kept = picked[: len(costs) - int(np.argmin(costs[::-1]))]
    assert {net["member"]: round(net["weight"] * len(kept)) for net in nets} == {m: kept.count(m) for m in sorted(kept)}
    scores = json.loads((run / "metrics.json").read_text())["validation"]
    assert scores["log_loss"]["value"] == pytest.approx(min(costs), rel=1e-5)


def shares_of(run, last):
    """What each member predicts in its best epoch, by its number: each from a checkpoint that holds nothing else."""
    fitted = {name: array for name, array in last.arrays.items() if name.startswith("preprocess/")}
    header = {key: value for key, value in last.header.items() if key not in ("nets", "state")}
    header["config"], found = {**header["config"], "ensemble": 1}, {}
    for i, net in enumerate(last.header["nets"]):
        at = f"{i}/best/" if f"{i}/best/W2" in last.arrays else f"{i}/"
        names = [name for name in last.arrays if name.startswith(at) and "/" not in name.removeprefix(at)]
        with Folder(run) as folder:
            own = {name.removeprefix(at): last.arrays[name] for name in names}
            checkpoint.write(folder, f"{i}.npz", header, {**own, **fitted})
        found[net["member"]] = fcnet.load(run / f"{i}.npz").predict_proba("people.csv")
    return found


def validation_rows(run):
    """The rows of the validation part."""
    return prepare(config.from_mapping(settings(data={"weight": None})), 1).data.parts["validation"]


def test_picked_nets_resume_bit_for_bit(place):
    """Rates are drawn from the seed again, and the picks are found again."""
    whole = outcome(go(settings(**PICKED, name="whole"))[-1].run)

    with pytest.raises(Crash):
        go(settings(**PICKED), stop=crash_at(41), resume=True)
    run = go(settings(**PICKED), resume=True)[-1].run

    assert differing(outcome(run), whole) == []


DEPTHS = {
    **THREE,
    "ensemble": 4,
    "network": {"layers": [{"name": "layer_norm"}, 6]},
    "members": {"depth": {"low": 1, "high": 3}, "lr": {"low": 0.01, "high": 0.1}, "dropout": 0.3, "select": 9},
    "average": {"decay": 0.8},
}


@pytest.mark.parametrize("backend", ["numpy", *(backend for _, backend in NUMBA)])
def test_nets_of_several_depths_are_one_run(place, backend, capsys):
    """A choice among all of them, one checkpoint with the arrays that each has, one prediction, in every command."""
    run = go(settings(**DEPTHS, backend=backend, report=True))[-1].run

    last = checkpoint.read(run / "last.npz")
    drawn = members(config.from_mapping(last.header["config"], needs_data=False))
    assert [own.depth for own in drawn] == [1, 1, 2, 3]
    for i, net in enumerate(last.header["nets"]):
        assert f"{i}/W{drawn[net['member']].depth + 2}" in last.arrays
        assert f"{i}/W{drawn[net['member']].depth + 3}" not in last.arrays
    whole = fcnet.load(run).predict_columns("people.csv")
    nets = [(weight, model.predict_columns("people.csv")) for weight, model in taken_apart(run)]
    for name in (name for name in whole if name.startswith("p(")):
        mean = sum(weight * np.asarray(own[name], np.float64) for weight, own in nets)
        np.testing.assert_allclose(whole[name], mean, rtol=3e-6, atol=1e-7)
    for words in (["inspect", str(run)], ["export", str(run), "--format", "python"], ["eval", str(run)]):
        assert main(words) == 0, capsys.readouterr().err
    assert "depth" in capsys.readouterr().out


def test_nets_of_several_depths_resume_bit_for_bit(place):
    """Wherever it stops, also when all of one depth have left before."""
    given = settings(**DEPTHS)
    whole = outcome(go({**given, "name": "whole"})[-1].run)

    for poll in (3, 9, 16):
        with pytest.raises(Crash):
            go(given, stop=crash_at(poll), resume=True)
    assert differing(outcome(go(given, resume=True)[-1].run), whole) == []


def test_the_nets_of_every_fold_have_the_depths_that_were_asked_for(place):
    """Numbers go on from fold to fold, and depths begin anew: none is beyond the limits."""
    given = config.from_mapping(settings(**DEPTHS, cv=3))

    assert [[own.depth for own in members(given, fold)] for fold in range(3)] == [[1, 1, 2, 3]] * 3


def test_depths_need_a_layer_and_an_order(place):
    """What cannot be repeated is refused, with its place, and so are limits in the wrong order."""
    for more in ({"network": {"layers": []}}, {"members": {"depth": {"low": 3, "high": 2}}}):
        with pytest.raises(ConfigError, match=r"members\.depth") as caught:
            go(settings(**{**DEPTHS, **more}))
        assert caught.value.exit_code == 3


def test_one_net_has_the_least_depth(place):
    """As where a budget leaves no time for more: it is trained, predicts, and goes on."""
    given = settings(**{**DEPTHS, "ensemble": 1, "members": {"depth": {"low": 2, "high": 3}}})
    run = go({**given, "training": {"epochs": 2}})[-1].run

    assert {"W3", "W4"} & {*checkpoint.read(run / "best.npz").arrays} == {"W3", "W4"}
    assert len(fcnet.load(run).predict("people.csv")) == len(read(Path("people.csv")))
    assert go({**given, "training": {"epochs": 3}}, resume=True)[-1].run == run


def test_rates_are_drawn_between_their_limits(place):
    """Another seed draws others, another net its own, and half of the nets drop nothing."""
    drawn = [members(config.from_mapping(settings(**{**PICKED, "ensemble": 200}, seed=seed))) for seed in (0, 1)]

    for own in drawn[0]:
        assert 1e-3 <= own.lr <= 0.3
        assert 1e-3 <= own.weight_decay <= 1
        assert 0.01 <= own.scale <= 10
        assert 0 <= own.dropout < 0.5
    assert 70 < sum(own.dropout == 0 for own in drawn[0]) < 130
    assert 70 < sum(own.lr < 1e-3 * 300**0.5 for own in drawn[0]) < 130, "by their logarithm"
    assert len({own.lr for each in drawn for own in each}) == 400


def test_limits_in_the_wrong_order_are_refused(place):
    """With both keys."""
    with pytest.raises(ConfigError, match=r"members.lr.low: 0.1 is more than members.lr.high: 0.01"):
        config.from_mapping(settings(members={"lr": {"low": 0.1, "high": 0.01}}))


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


def test_inspect_shows_the_rates_that_nets_have_drawn(place, capsys):
    """Of every net that is kept, beside its weight in the choice: those by which it would be trained alone."""
    rates = {"lr": {"low": 1e-3, "high": 0.1}, "dropout": 0.5, "select": 4}
    run = go(settings(**{**THREE, "members": rates, "training": {"epochs": 2}}))[-1].run

    assert main(["inspect", str(run / "last.npz")]) == 0
    said = capsys.readouterr().out

    held = checkpoint.read(run / "last.npz")
    drawn = members(config.from_mapping(held.header["config"], needs_data=False))
    assert len(held.header["nets"]) == 3
    for net in held.header["nets"]:
        own = drawn[net["member"]]
        number = r"([\d.e-]+)"
        wanted = rf"{own.number}: epoch {net['epoch']}, weight {number}, lr {number}, dropout {number}"
        shown = re.search(wanted, said)
        assert [float(x) for x in shown.groups()] == pytest.approx([net["weight"], own.lr, own.dropout], rel=5e-3)
    assert ", weight_decay" not in said
    assert ", scale" not in said


@pytest.mark.parametrize(
    ("loss", "a", "nats"),
    [
        (BinaryCrossEntropy(), [[20.0], [300.0]], 20 + math.log(2)),
        (BinaryCrossEntropy(), [[300.0], [310.0]], 300 - math.log1p(math.exp(-10)) + math.log(2)),
        (CrossEntropy(), [[0.0, 20.0], [0.0, 300.0]], 20 + math.log(2)),
    ],
)
def test_a_mean_that_is_wrong_costs_what_it_should(loss, a, nats):
    """Nets that are sure of the wrong class cost −ln of the mean probability of the right one, however small."""
    head = Head(loss, Binary(("y",), ("no", "yes")))

    mixed = head.mixed(np.array(a)[:, None, :], [0.5, 0.5])

    right, wrong = (mixed[0, 0], mixed[0, 1]) if mixed.shape[1] == 2 else (0.0, mixed[0, 0])
    assert np.logaddexp(0.0, wrong - right) == pytest.approx(nats, rel=1e-9)
