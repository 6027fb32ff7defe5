"""What a net says of a number: a point, quantiles, a mean with its deviation, the mean of counts."""

import csv
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import pytest

import fcnet
from fcnet import api
from fcnet import config as configs
from fcnet.backends import choice
from fcnet.data.target import TASKS, Numbers
from fcnet.errors import DataError
from fcnet.formulas import expm1, log1p, row_mean, width
from fcnet.nn.losses import LOSSES, Learnt, Loss, Said
from fcnet.registry import Gt
from fcnet.reports.explain import explain
from fcnet.runs import checkpoint
from fcnet.training.gradcheck import Trial
from fcnet.training.prepare import prepare

ROWS = 240
BACKENDS = [name for name in ("numpy", "numba") if choice.installed(name)]
FITTING = {"numbers": ["y", "z"], "amounts": ["n", "m"], "positive": ["k", "m"]}
AMOUNTS = ("poisson", "gamma", "tweedie")
OF_NUMBERS = [name for name, loss in LOSSES.items() if loss.learns in Numbers.gives]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a table of numbers and counts."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    x = rng.normal(size=ROWS)
    y, z = 50 + 3 * x + (1 + x**2) * rng.normal(size=ROWS), rng.normal(size=ROWS) - 4
    columns = {"x": x, "y": y, "z": z, "n": rng.poisson(np.exp(1 + 0.5 * x)), "m": 1 + rng.poisson(20, ROWS)}
    columns |= {"k": 1 + columns["n"]}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    text = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    (tmp_path / "t.csv").write_text("\n".join(text) + "\n")
    return tmp_path


def config(loss, targets=1, **sections):
    """A small regression with that loss, on columns that it can learn."""
    name = loss if isinstance(loss, str) else loss["name"]
    fitting = FITTING[LOSSES[name].learns]
    others = {"y", "z", "n", "m", "k"} - set(fitting[:targets])
    data = {"train": "t.csv", "target": fitting[:targets], "task": "regression", "exclude": sorted(others)}
    base = {"name": "r", "data": {**data, "validation": 0.2}, "loss": loss, "network": {"layers": [5]}}
    return {**base, "training": {"epochs": 4, "batch_size": 32}, "threads": 1, "backend": "numpy", **sections}


def written(run, output="p.csv"):
    """The file of predictions: its header, and its numbers (n, columns)."""
    api.predict("t.csv", run.parent.parent / output, checkpoint=run)
    with open(output, newline="") as file:
        head, *rows = list(csv.reader(file))
    return head, np.array(rows, dtype=np.float64)


def truths(*names):
    """Columns of the table (n, columns)."""
    with open("t.csv", newline="") as file:
        return np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)])


def by_hand(run):
    """The outputs of a net of one hidden layer of relu, from nothing but its checkpoint, and the arrays in it."""
    x = truths("x")
    with np.load(run / "best.npz") as held:
        p = {name: held[name].astype(np.float64) for name in held.files if name != "header"}
    x = (x - p["preprocess/mean"]) / p["preprocess/scale"]
    return np.maximum(x @ p["W1"].T + p["b1"], 0) @ p["W2"].T + p["b2"], p


def expected(loss, a, p):
    """The columns of the file, from what docs/data.md says of the loss."""
    mean, scale = p["preprocess/target_mean"], p["preprocess/target_scale"]
    n = len(mean)
    parts = a.reshape(len(a), -1, n)
    if loss == "quantile":
        parts = np.sort(parts, axis=1)
        parts = np.concatenate([parts[:, 1:2], parts], axis=1)
    if loss in AMOUNTS:
        parts = np.exp(parts)
    said = parts * scale + mean
    if loss == "gaussian":
        said[:, 1] = (np.log1p(np.exp(parts[:, 1])) + 1e-3) * scale
    return np.swapaxes(said, 1, 2).reshape(len(a), -1)


COLUMNS = {
    "quantile": ["prediction{}", "prediction{}@0.1", "prediction{}@0.5", "prediction{}@0.9"],
    "gaussian": ["prediction{}", "deviation{}"],
}


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", OF_NUMBERS)
def test_predictions_are_what_the_checkpoint_says(place, loss, targets):
    """Of every loss on numbers the file has the documented columns, each reproduced from the checkpoint by hand."""
    run = fcnet.train(config(loss, targets)).path

    head, found = written(run)

    names = [f"({name})" for name in FITTING[LOSSES[loss].learns]] if targets > 1 else [""]
    assert head == [column.format(name) for name in names for column in COLUMNS.get(loss, ["prediction{}"])]
    a, p = by_hand(run)
    np.testing.assert_allclose(found, expected(loss, a, p), rtol=1e-5, atol=1e-5)
    point = fcnet.load(run).predict(place / "t.csv")
    np.testing.assert_allclose(point.reshape(ROWS, -1), found[:, :: len(COLUMNS.get(loss, [1]))], rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", OF_NUMBERS)
def test_every_loss_on_numbers_resumes_bit_for_bit(place, loss, backend):
    """Two epochs and two more end in the same bits as four."""
    straight = fcnet.train(config(loss, 2, name="a", backend=backend)).path
    short = {"epochs": 2, "batch_size": 32}
    fcnet.train(config(loss, 2, name="b", backend=backend, training=short))

    resumed = fcnet.train(config(loss, 2, name="b", backend=backend), resume=True).path

    one, two = (checkpoint.read(run / "last.npz") for run in (straight, resumed))
    assert one.header["epoch"] == two.header["epoch"] == 4
    assert {name: array.tobytes() for name, array in one.arrays.items()} == {
        name: array.tobytes() for name, array in two.arrays.items()
    }


@pytest.mark.parametrize("loss", OF_NUMBERS)
def test_the_metrics_judge_the_point(place, loss):
    """rmse, mae and r2 of every loss on numbers are those of the column `prediction`, in the target's units."""
    run = fcnet.train(config(loss)).path
    _, found = written(run)
    y = truths(FITTING[LOSSES[loss].learns][0])

    scored = fcnet.load(run).evaluate(place / "t.csv")

    error = found[:, :1] - y
    assert scored["rmse"]["value"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert scored["mae"]["value"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)


SETTLED = {"network": {"layers": []}, "optimizer": {"name": "adam", "lr": 0.05}, "training": {"epochs": 200}}


def settled(loss):
    """What a linear model on an input that says nothing predicts after a long training, and the target's rows."""
    rng = np.random.default_rng(2)
    y = 1 + rng.gamma(2.0, 30.0, 2000).round()
    table = {"x": np.arange(len(y)) % 2, "y": y}
    given = config(loss, **SETTLED, schedule="cosine")
    given["data"] = {"task": "regression", "validation": 0, "target": "y", "train": "none"}
    run = fcnet.train(given, table).path
    (run.parent.parent / "t.csv").write_text("x\n0.5\n")
    return written(run)[1][0], y


def test_quantiles_are_those_of_the_rows(place):
    """Where inputs say nothing, each level's prediction is the quantile of the training rows."""
    levels = [0.25, 0.05, 0.9]

    found, y = settled({"name": "quantile", "levels": levels})

    np.testing.assert_allclose(found[1:], np.quantile(y, sorted(levels)), rtol=0.05, atol=1)
    assert found[0] == found[2]  # 0.25 is nearest to one half


def test_a_gaussian_has_the_mean_and_deviation_of_the_rows(place):
    """Where inputs say nothing, they are those of the training rows."""
    found, y = settled("gaussian")

    np.testing.assert_allclose(found, [y.mean(), y.std()], rtol=0.02)


@pytest.mark.parametrize("loss", AMOUNTS)
def test_what_is_learnt_of_amounts_is_the_mean_of_the_rows(place, loss):
    """Where inputs say nothing, it is that of the training rows, however far from 1."""
    found, y = settled(loss)

    np.testing.assert_allclose(found, [y.mean()], rtol=0.02)


def test_quantiles_do_not_cross(place):
    """Even of a net that has learnt next to nothing the levels of a row are in order."""
    given = config({"name": "quantile", "levels": [0.4, 0.5, 0.6]}, training={"epochs": 1}, optimizer={"lr": 1e-6})
    run = fcnet.train(given).path

    _, found = written(run)

    a, _ = by_hand(run)
    assert (np.diff(a, axis=1) < 0).any()
    assert (np.diff(found[:, 1:], axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("loss", "column", "cell", "why"),
    [
        ("poisson", "n", "-2", "below 0, and the loss learns amounts of 0 and more"),
        ("tweedie", "n", "-2", "below 0, and the loss learns amounts of 0 and more"),
        ("gamma", "k", "0", "not above 0, and the loss learns amounts above 0"),
    ],
)
def test_an_amount_that_cannot_be_is_named(place, loss, column, cell, why):
    """Losses of amounts refuse such targets wherever they are: in training, and in a table that is scored."""
    run = fcnet.train(config(loss)).path
    head, *rows = (line.split(",") for line in (place / "t.csv").read_text().splitlines())
    rows[6][head.index(column)] = cell
    (place / "t.csv").write_text("".join(",".join(line) + "\n" for line in (head, *rows)))
    said = f't.csv:8: column "{column}": {cell} is {why}; mend the row, or choose'

    with pytest.raises(DataError, match=r"and the loss") as training:
        fcnet.train(config(loss, name="other"))
    with pytest.raises(DataError, match=r"and the loss") as scoring:
        fcnet.load(run).evaluate("t.csv")

    assert all(str(caught.value).startswith(said) for caught in (training, scoring))


@dataclass(frozen=True)
class Magnitude(Loss):
    """A transformed target that only this test knows: ln(1 + y), and an even chance of being so many times off."""

    name: Literal["magnitude"] = "magnitude"
    by: Annotated[float, Gt(0)] = 1.0
    """How far."""
    learns: ClassVar[Learnt] = "amounts"

    @property
    def parts(self):
        return ("m", "far")

    def terms(self, a, y):
        (m, far), n = a, 1.0 / width(y)
        d, e = m - log1p(y), far - self.by
        return row_mean(d * d + e * e), (2.0 * d * n, 2.0 * e * n)

    def link(self, a):
        return expm1(a[0]), a[1]

    @property
    def said(self):
        return Said(), Said("off{}", spread=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kind_of_output_joins_by_being_registered(place, monkeypatch, backend):
    """One class is all that a transformed target with two outputs needs to be trained, scored, resumed, read back,
    predicted, checked and explained."""
    monkeypatch.setitem(LOSSES, "magnitude", Magnitude)
    given = config({"name": "magnitude", "by": 0.25}, 2, backend=backend)
    run = fcnet.train({**given, "training": {"epochs": 2, "batch_size": 32}}).path

    head, found = written(fcnet.train(given, resume=run).path)

    assert head == ["prediction(n)", "off(n)", "prediction(m)", "off(m)"]
    a, p = by_hand(run)
    scale = p["preprocess/target_scale"]
    np.testing.assert_allclose(found[:, ::2], np.expm1(a[:, :2]) * scale, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, 1::2], a[:, 2:] * scale, rtol=1e-4, atol=1e-4)
    scored = fcnet.load(run).evaluate(place / "t.csv")
    assert scored["mae"]["value"] == pytest.approx(np.abs(found[:, ::2] - truths("n", "m")).mean(), rel=1e-5)
    trial = Trial(prepare(configs.from_mapping(given), 1))
    assert all(check.passed for check in explain(trial, everything=True).checks)


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "gaussian"])
def test_python_gets_the_columns_of_the_file(place, loss):
    """`predict_columns` has the numbers that `fcnet predict` writes, by the same names."""
    run = fcnet.train(config(loss, 2)).path
    head, found = written(run)

    columns = fcnet.load(run).predict_columns("t.csv")

    assert list(columns) == head
    np.testing.assert_allclose(np.column_stack(list(columns.values())), found, rtol=1e-6)


def test_every_task_has_a_loss_and_metrics_of_its_own():
    """What a task falls back to can learn it."""
    for kind in TASKS.values():
        assert kind.loss.learns in kind.gives
        assert kind.metrics
