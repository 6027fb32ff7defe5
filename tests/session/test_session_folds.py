"""A run of folds: nets that each have not seen a part of the rows, in one folder and one checkpoint."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

import fcnet
from fcnet import api
from fcnet.cli import main
from fcnet.data.spelling import in_time
from fcnet.errors import CheckpointError, ConfigError, DataError, Stopped
from fcnet.files import Folder
from fcnet.reports.report import curves_of
from fcnet.runs import checkpoint
from fcnet.runs.model import Predictor
from fcnet.training.events import Notice
from fcnet.training.pace import Pace

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

    assert float(after["7"]) == pytest.approx(float(before["7"]), rel=1e-6)
    assert max(abs(float(after[row]) - float(before[row])) for row in before) > 10, "others learn from it"


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
    for poll in (3, 12, 25, 24):
        try:
            go(mapping, stop=crash_at(poll), resume=True)
        except Crash:
            crashes += 1
    run = go(mapping, resume=True)[-1].run

    assert crashes == 4
    assert (run / "predictions.csv").read_bytes() == said
    assert differing(outcome(run), expected) == []


def test_folds_of_rows_from_memory_resume(numbers):
    """In whichever fold; the rows are known again by what the first of them makes of them, and others are refused."""
    x, y = numbers
    mapping = {"name": "n", "data": {"target": "y"}, "cv": 3, "training": {"epochs": 2}, "network": {"layers": [4]}}
    log = Path("runs/n/metrics.csv")

    for row in ("\n0,1,", "\n1,1,", "\n2,1,"):
        with pytest.raises(Stopped):
            go(mapping, stop=lambda: 75 if log.exists() and row in log.read_text() else None, data=(x, y), resume=True)  # noqa: B023
    with pytest.raises(DataError, match="have changed"):
        go(mapping, data=(x + 1, y), resume=True)
    run = go(mapping, data=(x, y), resume=True)[-1].run

    whole = go({**mapping, "name": "whole"}, data=(x, y))[-1].run
    a, b = (checkpoint.read(each / "best.npz").arrays for each in (run, whole))
    assert all(np.array_equal(a[name], b[name]) for name in a | b)


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


def test_more_folds_than_rows_that_they_can_hold_out_are_refused(place):
    """Rows alone in their class are held out nowhere, so there must be others for each fold."""
    Path("rare.csv").write_text("a,y\n" + "".join(f"{i}.5,{label}\n" for i, label in enumerate("aabcdef")))

    with pytest.raises(DataError, match=r"^rare.csv: 2 rows of classes with two rows and more cannot be .* 5 folds;"):
        fcnet.train({"data": {"train": "rare.csv", "target": "y"}, "cv": 5})


def test_several_nets_and_deals_are_one_mean(place):
    """Each fold counts alike, whatever its nets count in it; a row is judged by the mean of the deals."""
    mapping = settings(**FOLDS, ensemble=2)
    run = go({**mapping, "cv": {"folds": 3, "repeats": 2}})[-1].run

    model, found = Predictor.read(run / "best.npz"), lines(run / "predictions.csv")
    assert len({net.θ.tobytes() for net in model.nets}) == 12, "each begins elsewhere"
    assert [(net.fold, net.member, net.weight) for net in model.nets] == [
        (fold, 2 * fold + member, pytest.approx(1 / 12)) for fold in range(6) for member in range(2)
    ]
    rows = fcnet.data.stream(Path("people.csv"), model.config.data, model.encoder, model.target, fcnet.data.Tally())
    inputs = next(rows)[0]
    each = np.array([model.alone(net, inputs) for net in model.nets])
    np.testing.assert_allclose(model.probabilities(inputs), each.mean(axis=0), rtol=1e-5)
    own = {int(line["row"]): [] for line in found}
    for line in found:
        row, fold = int(line["row"]), int(line["fold"])
        p = [float(line[f"p({label})"]) for label in model.target.classes]
        np.testing.assert_allclose(p, each[2 * fold : 2 * fold + 2, row].mean(axis=0), rtol=1e-5)
        own[row].append(p)
    assert {len(said) for said in own.values()} == {2}, "once in each deal"
    kinds = [line["kind"] for line in lines(Path("people.csv"))]
    right = [max(zip(np.mean(p, axis=0), model.target.classes, strict=True))[1] == kinds[row] for row, p in own.items()]
    weight = [1 + row % 3 for row in own]
    summary = json.loads((run / "metrics.json").read_text())
    assert summary["validation"]["accuracy"]["value"] == pytest.approx(np.average(right, weights=weight))
    assert [fold["fold"] for fold in summary["folds"]] == [*range(6)]


def test_groups_stay_together(place):
    """The column that says the groups is not predicted from, and need not be there."""
    run = go({**settings(**FOLDS), "cv": {"folds": 3, "by": "group", "column": "job"}})[-1].run

    jobs = [line["job"] for line in lines(Path("people.csv"))]
    folds = {(jobs[int(line["row"])], line["fold"]) for line in lines(run / "predictions.csv")}
    assert len(folds) == 3
    assert "job" not in fcnet.load(run)._net.encoder.columns
    text = Path("people.csv").read_text().splitlines()
    Path("without.csv").write_text("\n".join(",".join(line.split(",")[:2] + line.split(",")[3:]) for line in text))
    assert len(fcnet.load(run).predict("without.csv")) == 60


def test_the_last_net_predicts_what_comes(place):
    """It has learnt from all blocks but the last; the first block is judged by none."""
    text = Path("people.csv").read_text().splitlines()
    days = [f"2024-{1 + (7 * i) % 60 // 28:02}-{1 + (7 * i) % 60 % 28:02}" for i in range(60)]
    Path("people.csv").write_text("\n".join([f"{text[0]},day", *map(",".join, zip(text[1:], days, strict=True))]))
    mapping = settings(**{**FOLDS, "data": {"validation": 0, "test": 0}})
    run = go({**mapping, "cv": {"folds": 3, "by": "time", "column": "day"}})[-1].run

    model = Predictor.read(run / "best.npz")
    fold = {days[int(line["row"])]: int(line["fold"]) for line in lines(run / "predictions.csv")}
    order = sorted(days)
    assert [fold.get(day) for day in order] == [None] * 15 + [0] * 15 + [1] * 15 + [2] * 15
    assert [net.weight for net in model.nets] == [0, 0, 1]
    assert [net.trained.network.n_in > 0 for net in model.nets] == [True] * 3
    ages = {day: line["age"] for day, line in zip(days, lines(Path("people.csv")), strict=True)}
    learnt = [float(ages[day]) for day in order[:45] if ages[day]]
    age = next(feature for feature in model.encoder.each[2].features if feature.name == "age")
    assert age.state["mean"][0] == pytest.approx(np.mean(learnt))


def test_times_are_compared_as_what_they_mean():
    """However they are written, in the order that Python's own times have; a time of day alone is none."""
    start = datetime(2023, 12, 31, 22, tzinfo=UTC)
    times = [start + timedelta(minutes=7 * i, milliseconds=250 * (i % 3)) for i in range(60)]
    ways = [
        lambda t: t.isoformat(),
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S.%f"),
        lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        lambda t: t.astimezone(timezone(timedelta(hours=-5))).isoformat(" "),
    ]

    for way in ways:
        found = [in_time(way(t)) for t in times]
        assert found == [in_time(times[i].isoformat()) for i in range(60)]
        assert sorted(range(60), key=lambda i: found[i] or "") == list(range(60))
    assert in_time("2024-01-01 00:00Z") == in_time("2024-01-01") == in_time("2024-01-01T01:00:00+01:00")
    assert sorted(["2024-02-01", "2024-02", "2024-01-31 23:59"], key=in_time)[1] == "2024-02"
    assert [in_time(text) for text in ("08:30:00", "2024", "31.05.2024", "2024-05-31 8:30", "")] == [None] * 5


def test_eval_judges_out_of_fold_where_no_row_was_kept_for_a_test(place):
    """To the digit what metrics.json says; with a test part that is taken."""
    mapping = settings(**{**FOLDS, "calibration": "temperature"})
    tested = go(mapping)[-1].run
    alone = go({**mapping, "name": "alone", "data": {**mapping["data"], "test": 0}})[-1].run

    for run, part in ((tested, "test"), (tested, "validation"), (alone, "validation")):
        summary = json.loads((run / "metrics.json").read_text())
        found = api.evaluate(run, split=part if run == tested else None)
        assert found["part"] == part
        assert {key: found[key] for key in summary[part]} == summary[part]
        assert found["rows"] == {"test": 12, "validation": 48 if run == tested else 60}[part]


@pytest.mark.parametrize(("fold", "left"), [(0, [0]), (1, [0]), (2, [0, 1])])
def test_ctrl_c_leaves_the_nets_that_are_done(place, fold, left):
    """In the first fold that is its best so far; the run goes on with --resume."""
    log, mapping = Path("runs/people/metrics.csv"), settings(**FOLDS)

    with pytest.raises(Stopped) as caught:
        go(mapping, stop=lambda: 130 if log.exists() and f"\n{fold},2," in log.read_text() else None)

    nets = Predictor.read(Path("runs/people/best.npz")).nets
    assert caught.value.exit_code == 130
    assert f"in epoch 3 of fold {fold + 1}" in str(caught.value)
    assert [(net.fold, net.weight) for net in nets] == [(each, 1 / len(left)) for each in left]
    assert len(fcnet.load("runs/people").predict("people.csv")) == 60
    assert len(Predictor.read(go(mapping, resume=True)[-1].run / "best.npz").nets) == 3


def test_a_budget_is_shared_out(place):
    """All folds are trained within it, with as many epochs each."""
    mapping = settings(**{**FOLDS, "training": {"epochs": 10_000, "budget": "3s", "early_stopping": None}})
    summary = json.loads((go(mapping)[-1].run / "metrics.json").read_text())

    epochs = [fold["epochs"] for fold in summary["folds"]]
    assert len(epochs) == 3
    assert max(epochs) < 10_000


def test_what_is_said_of_folds(place, capsys):
    """check counts the nets, inspect lists them, and export says why it cannot."""
    mapping = settings(**FOLDS, ensemble=2)
    Path("c.yaml").write_text(json.dumps(mapping))

    assert main(["check", "c.yaml"]) == 0
    said = capsys.readouterr().out
    assert "3 folds" in said
    assert "in 6 nets" in said
    assert main(["train", "c.yaml", "-q"]) == 0
    assert "6 nets of " in capsys.readouterr().out
    assert main(["inspect", "runs/people"]) == 0
    assert "fold 2, net 5: epoch " in capsys.readouterr().out
    assert main(["report", "runs/people"]) == 0
    assert main(["train", "c.yaml", "--resume", "-q"]) == 0
    capsys.readouterr()
    assert main(["export", "runs/people", "--format", "python"]) == 2
    assert "each of its folds encodes the columns" in capsys.readouterr().err


def test_that_other_programs_have_the_cores_is_told_once(place, monkeypatch):
    """However often it is found out, in whichever fold; a run has one line of it, in log.txt too."""
    monkeypatch.setattr(Pace, "end", lambda self, steps: f"one thread is {steps} × as fast")

    events = go(settings(**FOLDS))

    told = [event.text for event in events if isinstance(event, Notice) and "as fast" in event.text]
    assert len(told) == 1
    assert (events[-1].run / "log.txt").read_text().count("as fast") == 1


def test_a_garbled_fold_is_found(place):
    """A checkpoint whose folds and nets do not agree is refused, exit 5."""
    run = go(settings(**FOLDS))[-1].run
    held = checkpoint.read(run / "best.npz")
    nets, folds = held.header["nets"], held.header["folds"]
    wrong = [
        {"nets": [*nets[:2], {**nets[2], "fold": 1}]},
        {"nets": [*nets[:2], {**nets[2], "member": 3}]},
        {"nets": [{key: value for key, value in nets[0].items() if key != "share"}, *nets[1:]]},
        {"folds": folds[:2]},
        {"folds": [folds[0], folds[1], {**folds[2], "columns": folds[2]["columns"][:-1]}]},
        {"fold": 2},
        {"folds": None},
    ]

    for change in wrong:
        header = {key: value for key, value in {**held.header, **change}.items() if value is not None}
        with Folder(run) as folder:
            checkpoint.write(folder, "odd.npz", header, held.arrays)
        with pytest.raises(CheckpointError):
            Predictor.read(run / "odd.npz")
    arrays = {name: array for name, array in held.arrays.items() if name != "2/preprocess/mean"}
    with Folder(run) as folder:
        checkpoint.write(folder, "odd.npz", held.header, arrays)
    with pytest.raises(CheckpointError):
        Predictor.read(run / "odd.npz")


def test_an_estimator_learns_in_folds():
    """With `cv` as an argument; what it holds is one checkpoint, and it cannot begin with the nets of before."""
    pytest.importorskip("sklearn")
    from fcnet.sklearn import FCNetRegressor

    x = np.random.default_rng(0).normal(size=(60, 3))
    y = 50 + x @ [1.0, -2.0, 0.5]
    net = FCNetRegressor(cv=3, epochs=2, layers=[4], backend="numpy", threads=1).fit(x, y)

    assert len(net.model_._net.nets) == 3
    assert net.n_iter_ == 6
    assert net.metrics_["validation"]["r2"]["low"] < net.metrics_["validation"]["r2"]["value"]
    assert len(net.predict(x)) == 60
    with pytest.raises(ValueError, match="cv: each of its nets has columns of its own"):
        net.set_params(warm_start=True).fit(x, y)


def test_categories_are_unseen_where_no_row_of_training_had_them(place):
    """And counted once, however many nets do not know them; one that a fold alone has not seen is 0 to its net."""
    run = go(settings(**{**FOLDS, "data": {"validation": 0, "test": 0}}))[-1].run
    text = Path("people.csv").read_text().splitlines()
    Path("new.csv").write_text("\n".join([text[0], *(line.replace(",a,", ",z,") for line in text[1:4]), text[4]]))

    done = api.predict("new.csv", Path("said.csv"), checkpoint=run)

    unseen = sum(",a," in line for line in text[1:4])
    assert unseen
    assert sum(f"{unseen} cell" in notice and '"z"' in notice for notice in done["notices"]) == 1, done["notices"]


def test_the_page_of_a_run_counts_epochs_on(place):
    """From fold to fold, so that its curves go on and end where training did."""
    run = go(settings(**FOLDS))[-1].run

    curves = curves_of(run)

    assert curves["fold"].tolist() == sorted(curves["fold"].tolist())
    assert curves["epoch"].tolist() == [*range(1, len(curves["fold"]) + 1)]
    assert "fold" in (run / "metrics.csv").read_text().partition(",")[0]
    assert main(["report", str(run)]) == 0
