"""What scores are weighted by, and how exact they are: class weights belong to the loss alone, row weights to both."""

import csv
import json
import math

import numpy as np
import pytest

import fcnet
from fcnet import api
from fcnet.backends.numpy import NumpyBackend
from fcnet.data.target import Binary
from fcnet.files import Folder
from fcnet.metrics import CELLS, chosen
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy
from fcnet.nn.rows import Rows
from fcnet.runs import checkpoint
from fcnet.training.head import Head
from fcnet.training.scoring import Remembered, Scorer

N = 300
rng = np.random.default_rng(3)
RARE = rng.random(N) < 0.1
X = rng.normal(size=(N, 2)) + 1.5 * RARE[:, None]
Y = np.where(RARE, "yes", "no")
W = rng.integers(1, 5, N).astype(float)


def config(**more):
    return {
        "name": "rare",
        "data": {"target": "y", "validation": 0.3, "features": ["a", "b"], **more.pop("data", {})},
        "network": {"layers": [8]},
        "training": {"epochs": 6},
        "optimizer": {"name": "adam", "lr": 0.02},
        "backend": "numpy",
        "threads": 1,
        **more,
    }


def rows(**more):
    return {"a": X[:, 0], "b": X[:, 1], "y": Y, **more}


def f1_by_hand(truth, found, weights):
    scores = []
    for label in ("no", "yes"):
        hit = weights[(truth == label) & (found == label)].sum()
        scores.append(2 * hit / (weights[truth == label].sum() + weights[found == label].sum()))
    return np.mean(scores)


@pytest.mark.parametrize("weight", ["balanced", {"yes": 25}])
def test_class_weights_weigh_the_loss_and_no_score(place, weight):
    """With 10 % positives, accuracy, F1 and the majority's figures are those of the rows as they are."""
    table = rows()
    model = fcnet.train(
        config(data={"class_weight": weight}, metrics=["accuracy", "f1_macro", "log_loss"]), table
    ).model

    found = model.evaluate(table)

    labels, p = np.asarray(model.predict(table)), model.predict_proba(table)
    nats = -np.log(np.where(RARE, p[:, 1], p[:, 0]))
    factor = RARE.sum() / (~RARE).sum() if weight == "balanced" else 1 / 25
    each = np.where(RARE, 1.0, factor)
    assert found["accuracy"]["value"] == pytest.approx(np.mean(labels == Y), rel=1e-12)
    assert found["f1_macro"]["value"] == pytest.approx(f1_by_hand(Y, labels, np.ones(N)), rel=1e-12)
    assert found["log_loss"]["value"] == pytest.approx(nats.mean(), rel=1e-5)
    assert found["loss"] == pytest.approx((each * nats).sum() / each.sum(), rel=0.02)
    assert found["accuracy"]["trivial"] == pytest.approx(np.mean(~RARE), rel=1e-12)
    assert found["f1_macro"]["trivial"] == pytest.approx(f1_by_hand(Y, np.full(N, "no"), np.ones(N)), rel=1e-12)
    assert "weighted_by" not in found


def test_row_weights_weigh_every_score_and_say_so(place):
    """The figures with a column of weights are those of rows that stand there so many times, under `weighted_by`."""
    table = rows(times=W)
    run = fcnet.train(config(data={"weight": "times"}, metrics=["accuracy", "f1_macro", "log_loss"]), table)
    model = run.model

    found = model.evaluate(table)

    labels = np.asarray(model.predict(table))
    assert found["accuracy"]["value"] == pytest.approx(np.average(labels == Y, weights=W), rel=1e-12)
    assert found["f1_macro"]["value"] == pytest.approx(f1_by_hand(Y, labels, W), rel=1e-12)
    assert found["log_loss"]["value"] == pytest.approx(found["loss"], rel=1e-12)
    assert found["weighted_by"] == "times"
    assert json.loads((run.path / "metrics.json").read_text())["weighted_by"] == "times"
    assert "weighted_by" not in model.evaluate(rows())


def test_both_kinds_of_weights_each_where_they_belong(place):
    """Row weights in loss and scores, class weights in the loss alone."""
    table = rows(times=W)
    model = fcnet.train(config(data={"weight": "times", "class_weight": {"yes": 7}}), table).model

    found = model.evaluate(table)

    p = model.predict_proba(table)
    nats = -np.log(np.where(RARE, p[:, 1], p[:, 0]))
    both = W * np.where(RARE, 7, 1)
    assert found["log_loss"]["value"] == pytest.approx(np.average(nats, weights=W), rel=1e-5)
    assert found["loss"] == pytest.approx(np.average(nats, weights=both), rel=1e-5)


def test_a_class_of_weight_zero_is_scored_like_any_other(place):
    """Rows of a class that the loss leaves out still count as right or wrong."""
    table = rows()
    model = fcnet.train(config(data={"class_weight": {"yes": 0}}), table).model
    alone = {name: values[RARE] for name, values in table.items()}

    found = model.evaluate(alone)

    assert found["accuracy"]["value"] == np.mean(np.asarray(model.predict(alone)) == "yes")
    assert math.isnan(found["loss"])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_the_log_loss_of_an_epoch_is_its_loss(place, loss):
    """val_log_loss and val_loss are one number where they mean the same, and not where labels are smoothed."""
    run = fcnet.train(config(loss=loss), rows())
    smoothed = fcnet.train(config(name="s", loss={"name": "cross_entropy", "label_smoothing": 0.2}), rows())

    plain, other = (
        list(csv.DictReader((each.path / "metrics.csv").read_text().splitlines())) for each in (run, smoothed)
    )

    assert [row["val_log_loss"] for row in plain] == [row["val_loss"] for row in plain]
    assert all(float(row["val_log_loss"]) < float(row["val_loss"]) - 0.01 for row in other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "a", "nats"),
    [
        (BinaryCrossEntropy(), [[20.0]], 20.0),
        (BinaryCrossEntropy(), [[300.0]], 300.0),
        (BinaryCrossEntropy(), [[-20.0]], 2.0611536e-9),
        (CrossEntropy(), [[0.0, 20.0]], 20.0),
        (CrossEntropy(label_smoothing=0.1), [[0.0, 20.0]], 20.0),
        (CrossEntropy(), [[-500.0, 500.0]], 1000.0),
    ],
)
def test_log_loss_is_exact_where_probabilities_are_not(loss, a, nats, dtype):
    """A row that is wrong by 20 nats costs 20 nats, although the net's type has no number between its p and 1."""
    found = scored(loss, np.array(a, dtype))

    assert found == pytest.approx(nats, rel=1e-6, abs=1e-12)


def scored(loss, a):
    """The log loss of one row of class 0 for which a net says a (1, n_out)."""
    scorer = Scorer(
        NumpyBackend(),
        Outputs(a),
        Head(loss, Binary(("y",), ("no", "yes"))),
        chosen(["log_loss"], "binary"),
        np.array([0.5, 0.5]),
        (Rows(a), np.array([0]), None),
    )
    return scorer(np.array([0]))[1]["log_loss"]["value"]


class Outputs:
    """A net that says the same to everything."""

    rows = 4

    def __init__(self, a):
        self.a, self.n_out, self.dtype = a, a.shape[1], a.dtype

    def __call__(self, x, rows):
        return self.a.copy()


def test_a_checkpoint_of_before_keeps_its_majority(place):
    """Checkpoints whose guess was multiplied by the class weights are compared with the true majority."""
    table = rows()
    run = fcnet.train(config(data={"class_weight": "balanced"}), table).path
    held = checkpoint.read(run / "best.npz")
    header = dict(held.header)
    now = fcnet.load(run).evaluate(table)["accuracy"]["trivial"]
    del header["guess_weighted_by"]
    header["guess"] = [0.5, 0.5]
    with Folder(run) as folder:
        checkpoint.write(folder, "old.npz", header, held.arrays)

    old = api.evaluate(run / "old.npz", data=table)

    assert old["accuracy"]["trivial"] == now == pytest.approx(np.mean(~RARE))


@pytest.mark.parametrize(("total", "asked"), [(10, [[2, 5], [7]]), (CELLS, [[2, 5], [5, 7], [2, 5]])])
def test_a_row_is_asked_about_once_where_the_answers_fit_into_memory(total, asked):
    """What was said of rows before is said again without the net; of very many rows it is not kept."""
    seen = []

    class Net:
        n_out, dtype, rows = 2, np.dtype(np.float32), 4

        def __call__(self, inputs, rows=None):
            seen.append(rows.tolist())
            return np.stack([rows, -rows], axis=1).astype(np.float32)

    said = Remembered(Net(), total)
    answers = [said(None, np.array(rows)) for rows in ([2, 5], [5, 7] if total == CELLS else [7], [2, 5])]
    answers[0][...] = 0

    assert seen == asked
    assert answers[2].tolist() == [[2, -2], [5, -5]]
