"""What Python callers and the commands share: training on what they hand over, finding data again, scoring."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from session_runs import go, settings, write_table

import fcnet
from fcnet import api
from fcnet.config import dump
from fcnet.errors import CheckpointError, ConfigError, DataError, UsageError
from fcnet.runs.model import Predictor

rng = np.random.default_rng(5)
X = rng.normal(size=(60, 3))
Y = np.where(X[:, 0] - X[:, 2] > 0, "yes", "no")


class Frame:
    """As much of a pandas or polars frame as fcnet uses."""

    def __init__(self, columns):
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.columns = list(self._columns)

    def __getitem__(self, name):
        values = self._columns[name]
        return SimpleNamespace(to_numpy=lambda: values, name=name)

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def to_numpy(self):
        return np.column_stack([np.asarray(v, dtype=object) for v in self._columns.values()])


def small(**data):
    return {"name": "small", "data": data, "network": {"layers": [8]}, "training": {"epochs": 3}, "threads": 1}


@pytest.mark.parametrize(
    ("config", "data", "new"),
    [
        (small(), (X, Y), X),
        (small(target="answer"), {"x": X, "answer": Y} | {"y": Y}, X),
        (small(target="answer"), {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "answer": Y}, None),
        (small(target="answer"), Frame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "answer": Y}), None),
    ],
    ids=["tuple", "x-and-y", "columns", "frame"],
)
def test_training_on_what_python_hands_over(place, config, data, new):
    """Arrays, arrays by name and frames train as files do; the model predicts, and scores, the same kinds."""
    if isinstance(data, dict) and "x" in data:
        data, config = {"x": X, "y": Y}, small()
    run = fcnet.train(config, data)
    model = run.model
    rows = data if new is None else new

    labels, p = model.predict(rows), model.predict_proba(rows)

    assert run.path == Path("runs/small")
    assert run.metrics == json.loads((run.path / "metrics.json").read_text())
    assert model.classes == ("no", "yes")
    assert p.shape == (60, 2)
    assert labels.shape == (60,)
    assert list(labels) == [model.classes[k] for k in p.argmax(axis=1)]
    assert np.allclose(p.sum(axis=1), 1)
    assert model.evaluate(data)["accuracy"]["value"] == pytest.approx(np.mean(labels == Y))


def test_a_small_net_leaves_the_cores_to_the_reader(place, monkeypatch):
    """Products that take less time than reading their rows get one thread, larger ones all."""
    monkeypatch.setattr("fcnet.machine.cores", lambda: 6)
    threads = []
    for units in (8, 256):
        config = small() | {"network": {"layers": [units, units]}}
        net = Predictor.read(fcnet.train(config, (X, Y), overwrite=True).path / "best.npz")
        with net.engine() as engine:
            threads.append(engine.backend.blas_threads(10**9))

    assert threads == [1, 6]


def test_path_frame_and_arrays_predict_alike(place):
    """The same rows from a file, a frame and arrays get the same predictions."""
    model = fcnet.train(settings()).model
    lines = [line.split(",") for line in Path("people.csv").read_text().splitlines()]
    columns = {name: [row[j] for row in lines[1:]] for j, name in enumerate(lines[0])}
    frame = Frame(
        {
            "job": columns["job"],
            "age": [float(v or "nan") for v in columns["age"]],
            "height": [float(v) for v in columns["height"]],
        }
    )

    from_file = model.predict_proba("people.csv")

    assert np.array_equal(model.predict_proba(Path("people.csv")), from_file)
    assert np.array_equal(model.predict_proba(frame), from_file)


def test_regression_predicts_in_its_own_units(place):
    """Numbers come back in the target's units, one column as (n,), several as (n, n_out), without probabilities."""
    y = 1000 + 50 * X[:, 0]
    one = fcnet.train({**small(), "training": {"epochs": 40}, "optimizer": {"name": "adam", "lr": 0.02}}, (X, y)).model
    two = fcnet.train({**small(target=["u", "v"]), "name": "two"}, (X, np.column_stack([y, -y]))).model

    assert one.predict(X).shape == (60,)
    assert abs(one.predict(X).mean() - 1000) < 50
    assert two.predict(X).shape == (60, 2)
    with pytest.raises(UsageError, match="no probabilities"):
        one.predict_proba(X)


def test_configs_may_be_paths_mappings_and_overridden(place):
    """A path, a mapping and overrides mean what they mean on the command line."""
    Path("c.yaml").write_text(dump(settings()))

    a = fcnet.train("c.yaml", overrides=["training.epochs=2", "name=a"])
    b = fcnet.train(settings(name="b", training={"epochs": 2}))

    assert (a.metrics["epochs"], b.metrics["epochs"]) == (2, 2)
    assert a.metrics["validation"] == b.metrics["validation"]
    with pytest.raises(ConfigError, match="optimzer"):
        fcnet.train({**settings(), "optimzer": "adam"})


def test_file_is_no_data_argument(place):
    """A file is named in the config; as an argument it is refused with that hint."""
    with pytest.raises(UsageError, match=r"data\.train"):
        fcnet.train(settings(), "people.csv")


def test_other_columns_are_named(place):
    """Columns that are missing from a frame are named, and those in the wrong order do not matter."""
    columns = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}
    model = fcnet.train(small(target="y"), Frame({**columns, "y": Y})).model
    turned = Frame({name: columns[name] for name in "cab"})

    assert np.array_equal(model.predict_proba(turned), model.predict_proba(Frame(columns)))
    with pytest.raises(DataError, match='"b"'):
        model.predict(Frame({"a": X[:, 0], "c": X[:, 2]}))


def test_missing_checkpoint_and_missing_runs(place):
    """A checkpoint that is not there is exit 5, whether it was named or looked for."""
    for wanted in (lambda: fcnet.load("none.npz"), lambda: fcnet.load("."), lambda: api.evaluate(None)):
        with pytest.raises(CheckpointError):
            wanted()


def test_columns_in_another_order_give_the_same_bytes(place):
    """Predictions do not depend on the order of the columns of the file."""
    run = go(settings())[-1].run
    lines = [line.split(",") for line in Path("people.csv").read_text().splitlines()]
    Path("turned.csv").write_text("\n".join(",".join(reversed(row)) for row in lines) + "\n")

    for name in ("people", "turned"):
        api.predict(f"{name}.csv", Path(f"{name}.out"), checkpoint=run)

    assert Path("turned.out").read_bytes() == Path("people.out").read_bytes()


def test_labels_that_are_numbers_come_back_as_they_were(place):
    """Labels 0, 1, 2, 10 keep their meaning: classes are sorted by value, and each is predicted under its own name."""
    labels = np.array([0, 1, 2, 10])[np.arange(80) % 4]
    x = np.eye(4)[np.arange(80) % 4] + 0.05 * np.random.default_rng(0).normal(size=(80, 4))
    lines = [
        "a,b,c,d,y",
        *(",".join([*(f"{v:.3f}" for v in row), str(label)]) for row, label in zip(x, labels, strict=True)),
    ]
    Path("labels.csv").write_text("\n".join(lines) + "\n")

    run = fcnet.train(
        {
            **small(train="labels.csv", target="y", validation=0, task="multiclass"),
            "optimizer": {"name": "adam", "lr": 0.05},
            "training": {"epochs": 40},
        }
    )
    api.predict("labels.csv", Path("out.csv"), checkpoint=run.path)
    out = Path("out.csv").read_text().splitlines()

    assert run.model.classes == (0, 1, 2, 10)
    assert out[0] == "prediction,p(0),p(1),p(2),p(10)"
    assert [int(line.split(",")[0]) for line in out[1:]] == labels.tolist()


def test_exchanged_classes_exchange_the_predictions(place):
    """With two labels exchanged in the table, they are exchanged in what is predicted."""
    text = Path("people.csv").read_text()
    other = text.replace(",low\n", ",tmp\n").replace(",high\n", ",low\n").replace(",tmp\n", ",high\n")
    Path("renamed.csv").write_text(other)
    mapping = settings(optimizer={"name": "adam", "lr": 0.02}, training={"epochs": 20})
    exchange = {"low": "high", "high": "low", "mid": "mid"}

    found = {}
    for name in ("people", "renamed"):
        mapping["data"] = {**mapping["data"], "train": f"{name}.csv", "split": {"stratify": False}}
        model = fcnet.train({**mapping, "name": name}).model
        truth = [line.rsplit(",", 1)[1] for line in Path(f"{name}.csv").read_text().splitlines()[1:]]
        found[name] = (model.predict(f"{name}.csv"), np.array(truth))

    (a, truth_a), (b, truth_b) = found["people"], found["renamed"]
    assert np.array_equal(truth_b, [exchange[t] for t in truth_a])
    assert np.mean(a == truth_a) > 0.6
    assert abs(np.mean(b == truth_b) - np.mean(a == truth_a)) < 0.15


def test_new_names_for_the_classes_change_nothing_else(place):
    """With other names in the same order every prediction is the same under its new name, and no bit differs."""
    names = {"high": "a", "low": "b", "mid": "c"}
    lines = [line.rsplit(",", 1) for line in Path("people.csv").read_text().splitlines()]
    Path("renamed.csv").write_text("".join(f"{rest},{names.get(label, label)}\n" for rest, label in lines))
    mapping = settings()

    a = fcnet.train(mapping).model
    mapping["data"]["train"] = "renamed.csv"
    b = fcnet.train({**mapping, "name": "renamed"}).model

    assert np.array_equal(a.predict_proba("people.csv"), b.predict_proba("people.csv"))
    assert [names[label] for label in a.predict("people.csv")] == list(b.predict("people.csv"))


@pytest.mark.parametrize("batch", [1, 7, 64, 4096])
def test_scores_do_not_depend_on_the_batch(place, monkeypatch, batch):
    """Loss and metrics of a part are the same, to 1e-6, for batches of 1, 7, 64 rows and all at once."""
    run = go(settings())[-1].run
    whole = api.evaluate(run)

    monkeypatch.setattr("fcnet.runs.model.BATCH", batch)
    found = api.evaluate(run)

    assert found["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    for name in ("accuracy", "log_loss"):
        assert found[name]["value"] == pytest.approx(whole[name]["value"], abs=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_predictions_do_not_depend_on_the_grouping(place, monkeypatch, batch):
    """Probabilities agree to 1e-5 however the rows are grouped; the same grouping gives the same bits."""
    run = go(settings())[-1].run
    whole = fcnet.load(run).predict_proba("people.csv")
    assert np.array_equal(fcnet.load(run).predict_proba("people.csv"), whole)

    monkeypatch.setattr("fcnet.runs.model.BATCH", batch)

    assert np.abs(fcnet.load(run).predict_proba("people.csv") - whole).max() < 1e-5


def test_batch_larger_than_the_table_and_a_last_batch_of_one_row(place):
    """An epoch's loss is the mean over its rows: with one batch of them all, or a last batch of a single row."""
    losses = []
    for batch in (10_000, 5):
        config = settings(
            name=f"b{batch}",
            optimizer={"name": "sgd", "lr": 1e-12},
            network={"dropout": 0, "input_dropout": 0},
            data={"validation": 0, "test": 0.4},
            training={"epochs": 1, "batch_size": batch, "early_stopping": None},
            dtype="float64",
        )
        run = go(config)[-1].run
        row = (run / "metrics.csv").read_text().splitlines()[1].split(",")
        losses.append(float(row[3]))

    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_eval_finds_its_data_from_anywhere_it_was_recorded(place, monkeypatch):
    """`eval` looks from the checkpoint's folder and from here; a run that was moved with its data is found again."""
    run = go(settings())[-1].run
    expected = api.evaluate(run)["loss"]
    (place / "inside").mkdir()
    monkeypatch.chdir(place / "inside")
    assert api.evaluate(Path("../runs/people"))["loss"] == expected

    shutil.move(place / "runs/people/best.npz", place / "inside/net.npz")
    shutil.move(place / "people.csv", place / "inside/people.csv")
    assert api.evaluate(Path("net.npz"))["loss"] == expected


def test_eval_finds_data_above_the_run_by_the_config_beside(place, monkeypatch):
    """A table above the working directory is recorded by its bare name, and found by the run's own config.yaml."""
    inner = place / "deep" / "work"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    mapping = settings()
    mapping["data"]["train"] = "../../people.csv"
    run = go(mapping)[-1].run
    held = fcnet.load(run).header["data"]

    assert held[0]["paths"] == ["people.csv"]
    assert api.evaluate(None)["part"] == "test"
    assert api.evaluate(None)["data"].endswith("people.csv")


def test_x13_a_run_elsewhere_says_nothing_of_where_the_work_was_done(place, monkeypatch):
    """From a run folder outside of the working directory to the data it is as far as from the root."""
    (place / "users/ada/trees").mkdir(parents=True)
    shutil.move("people.csv", "users/ada/trees/people.csv")
    monkeypatch.chdir(place / "users/ada/trees")
    run = go(settings(output=str(place / "scratch")))[-1].run

    held = fcnet.load(run).header["data"]
    monkeypatch.chdir(place)

    assert held[0]["paths"] == ["people.csv"]
    assert b"ada/" not in (run / "last.npz").read_bytes()
    assert "ada/" not in (run / "environment.json").read_text()
    assert api.evaluate(run)["data"] == "users/ada/trees/people.csv", "its config.yaml knows"


def test_eval_refuses_data_that_have_changed(place):
    """A file whose hash is not the recorded one is not read: exit 4 and the hint to give --data."""
    run = go(settings())[-1].run
    with Path("people.csv").open("a") as file:
        file.write("1,2,a,1,low\n")

    with pytest.raises(DataError, match="changed since; name a file with --data"):
        api.evaluate(run)
    os.remove("people.csv")
    with pytest.raises(DataError, match="not to be found from here; name a file with --data"):
        api.evaluate(run)


def test_eval_of_every_part_is_what_training_wrote(place):
    """The scores of a part are those of metrics.json, computed again from the file."""
    done = go(settings())[-1]

    for part in ("train", "validation", "test"):
        found = api.evaluate(done.run, split=part)
        assert found["part"] == part
        assert {key: found[key] for key in done.summary[part]} == done.summary[part]
    with pytest.raises(UsageError, match="one"):
        api.evaluate(done.run, data="people.csv", split="test")


def test_eval_of_a_part_that_the_run_had_not(place):
    """A part without rows is named with those that there are."""
    run = go(settings(data={"test": 0}))[-1].run

    assert api.evaluate(run)["part"] == "validation"
    with pytest.raises(DataError, match="only train, validation"):
        api.evaluate(run, split="test")


def test_newest_run_that_does_not_fit_is_named_with_those_that_do(place, monkeypatch):
    """Columns that do not fit the newest run: exit 4, with that run and the complete runs that they do fit."""
    write_table(Path("people.csv"))
    go(settings(training={"epochs": 1}))
    go(settings(name="again", training={"epochs": 1}))
    fcnet.train({**small(target="y"), "name": "newest"}, (X, Y))

    with pytest.raises(DataError) as refused:
        api.predict("people.csv", Path("out.csv"))
    with pytest.raises(DataError) as evaluated:
        api.evaluate(None, data="people.csv")
    said = io.BytesIO(Path("people.csv").read_bytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=said))
    with pytest.raises(DataError) as piped:
        api.predict("-", Path("out.csv"))

    for error in (refused, evaluated, piped):
        assert "do not fit runs/newest, the newest complete run" in str(error.value)
        assert "runs/again, runs/people" in str(error.value)
    assert not Path("out.csv").exists()


def test_newest_run_that_fits_gives_the_error_itself(place):
    """Where the columns fit and a cell is wrong, no other run is suggested."""
    go(settings(training={"epochs": 1}))
    text = Path("people.csv").read_text().splitlines()
    Path("bad.csv").write_text("\n".join([text[0], "forty,170,a,1,low", *text[1:]]) + "\n")

    with pytest.raises(DataError) as refused:
        api.predict("bad.csv", Path("out.csv"))

    assert "do not fit" not in str(refused.value)
    assert refused.value.problems[0].line == 2


def test_no_run_fits(place):
    """Where no run fits the columns, that is said."""
    go(settings(training={"epochs": 1}))
    Path("other.csv").write_text("u,v\n1,2\n")

    with pytest.raises(DataError, match="no run here does"):
        api.predict("other.csv", Path("out.csv"))


def test_every_error_can_be_caught_by_its_name() -> None:
    """`fcnet.FcnetError` is what the library raises, with the exit code and all problems."""
    with pytest.raises(fcnet.FcnetError) as error:
        fcnet.train({"data": {"train": "nowhere.csv", "target": "y"}})

    assert error.value.exit_code == 4
    assert "FcnetError" in fcnet.__all__


@pytest.mark.parametrize("target", [Y, X[:, 0] * 3], ids=["classes", "numbers"])
def test_a_net_that_gives_one_value_for_every_row_is_said(place, target):
    """A net of dead units trains without an error and answers everything alike; a notice says so, of no other net."""

    def notices(x, **network):
        config = small() | {"network": {"layers": [8], **network}}
        return fcnet.train(config, (x, target)).notices

    said = "the net gives one value for every row"
    dead, alive, constant = notices(X, init="zeros"), notices(X), notices(np.ones_like(X), init="zeros")

    (notice,) = [text for text in dead if said in text]
    assert notice.endswith("; try a lower optimizer.lr, or network.activation: leaky_relu")
    assert not any(said in text for text in (*alive, *constant))
