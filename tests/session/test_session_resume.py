"""A run that was interrupted and resumed ends as one that was not, bit for bit; and what cannot be resumed says why."""

from __future__ import annotations

import collections
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings, write_table

from fcnet import api, config
from fcnet.backends import choice
from fcnet.config.recipes import QUALITIES, RECIPES
from fcnet.data import encode
from fcnet.errors import CheckpointError, ConfigError, DataError, DivergedError, FcnetError, Stopped
from fcnet.files import Folder
from fcnet.nn.layers import LAYERS
from fcnet.optim.rules import OPTIMIZERS, of_matrices
from fcnet.optim.schedules import SCHEDULES
from fcnet.runs import checkpoint, environment, session
from fcnet.runs.saver import Saver
from fcnet.training.events import Epoch, Finished, Notice, Progress
from fcnet.training.state import State


def uninterrupted(mapping, **how):
    return outcome(go({**mapping, "name": "whole"}, **how)[-1].run)


def crashed_and_resumed(mapping, polls, **how):
    """The outcome after crashes at these polls of one process after the other, and how many there were."""
    crashes = 0
    for poll in polls:
        try:
            go(mapping, stop=crash_at(poll), resume=True, **how)
        except Crash:
            crashes += 1
    return outcome(go(mapping, resume=True, **how)[-1].run), crashes


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_m20_m21_m22_every_optimizer_and_schedule_resumes_bit_for_bit(place, optimizer, schedule):
    """With dropout, row weights, clipping and early stopping, crashes in the middle of epochs change no bit."""
    more = {"nesterov": True, "momentum": 0.9} if optimizer == "sgd" else {}
    rule = {"name": optimizer, "lr": 0.02, **more}
    if of_matrices(OPTIMIZERS[optimizer]()):
        rule = {"name": "adamw", "groups": [{"match": "W*", **rule}]}
    mapping = settings(
        optimizer=rule,
        schedule={"name": schedule, "warmup": 0.2, **({"every": 2} if schedule == "step" else {})},
        training={"epochs": 3},
    )

    resumed, crashes = crashed_and_resumed(mapping, [5, 9])

    assert crashes == 2
    assert differing(resumed, uninterrupted(mapping)) == []


def test_run_with_another_order_of_inputs_goes_on_in_its_own(place, monkeypatch):
    """A run whose checkpoint has categories before numbers, as earlier ones may, keeps them there."""
    lines = [line.split(",") for line in Path("people.csv").read_text().splitlines()]
    Path("people.csv").write_text("".join(",".join([*rest[2:3], *rest[:2], *rest[3:]]) + "\n" for rest in lines))
    mapping = settings(training={"epochs": 3})

    with monkeypatch.context() as before:
        before.setattr(encode, "_ordered", lambda features, order: tuple(features))
        whole = uninterrupted(mapping)
        with pytest.raises(Crash):
            go(mapping, stop=crash_at(7), resume=True)
    run = go(mapping, resume=True)[-1].run
    names = [column["name"] for column in checkpoint.read(run / "last.npz").header["columns"]["columns"]]

    assert names == ["job", "age", "height"]
    assert differing(outcome(run), whole) == []


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", [name for name in ("numpy", "numba") if choice.installed(name)])
def test_every_backend_resumes_bit_for_bit(place, backend, threads):
    """Whatever computes, and where threads share a step, a crash changes no bit."""
    wide = {"layers": [300, {"units": 280, "activation": "tanh"}]} if threads > 1 else {}
    mapping = settings(backend=backend, threads=threads, network=wide)

    resumed, crashes = crashed_and_resumed(mapping, [5, 9])

    assert crashes == 2
    assert differing(resumed, uninterrupted(mapping)) == []


@pytest.mark.parametrize(
    "chosen", [*({"recipe": name} for name in RECIPES), *({"quality": name, "ensemble": 2} for name in QUALITIES)]
)
def test_every_recipe_and_quality_resumes_bit_for_bit(place, chosen):
    """With all that a recipe sets, schedules and ties among it, crashes in the middle of epochs change no bit."""
    mapping = {**settings(training={"epochs": 3}), **chosen}
    del mapping["network"], mapping["training"]["early_stopping"]

    resumed, crashes = crashed_and_resumed(mapping, [5, 9])

    assert crashes == 2
    assert differing(resumed, uninterrupted(mapping)) == []


SECTIONS = {
    "dense": {"units": 6},
    "dropout": {"rate": 0.3},
    "fan_out": {"members": 2},
    "heads": {"units": 6},
    "batch_ensemble": {"units": 6},
    "glu": {"units": 6},
    "residual": {"layers": [4, 6]},
    "piecewise": {"bins": 5},
}


@pytest.mark.parametrize("backend", [name for name in ("numpy", "numba") if choice.installed(name)])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_resumes_bit_for_bit(place, backend, name):
    """In front of others and, where it may stand there, behind them, with its buffers, on every backend."""
    own = {"name": name, **SECTIONS.get(name, {})}
    front, behind = ([own], []) if name == "embedding" else ([6] if name == "residual" else [own], [6, own])
    front = [{"name": "fan_out", "members": 2}, own] if name in ("heads", "batch_ensemble") else front
    mapping = settings(
        network={"layers": [*front, *behind, 5], "parametrisation": {"name": "ntk", "rescale": True, "bias": "data"}},
        preprocess={"categorical": "codes"} if name == "embedding" else {},
        backend=backend,
        training={"epochs": 2},
    )

    resumed, crashes = crashed_and_resumed(mapping, [4])

    assert crashes == 1
    assert differing(resumed, uninterrupted(mapping)) == []


def undefined(place, **more):
    """A config whose early stopping goes by a metric that its validation rows, all of one class, do not define."""
    lines = (place / "people.csv").read_text().splitlines()
    parts = ["part", *("validation" if line.endswith(",low") else "train" for line in lines[1:])]
    extra = [f"{line},train" for line in lines[1:] if line.endswith(",low")]  # training knows the class as well
    split = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    (place / "people.csv").write_text("\n".join([*split, *extra]) + "\n")
    mapping = settings(
        data={"split": {"by": "column", "column": "part"}},
        training={"early_stopping": {"metric": "val_roc_auc", "patience": 3}},
        metrics=["accuracy", "roc_auc"],
        **more,
    )
    del mapping["data"]["validation"], mapping["data"]["test"]
    return mapping


def test_k25_a_metric_that_is_never_a_number_leaves_the_last_epoch(place):
    """Where validation cannot tell which epoch is best, best.npz is the last one, and a notice says so."""
    events = go(undefined(place))

    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("val_roc_auc was no number in any epoch" in text for text in said)
    run = events[-1].run
    best, last = (checkpoint.read(run / name) for name in ("best.npz", "last.npz"))
    assert best.header["epoch"] == last.header["epoch"] == events[-1].summary["best_epoch"] == 3
    assert all(np.array_equal(best.arrays[name], last.arrays[name]) for name in best.arrays)
    assert "val_roc_auc was no number" in (run / "log.txt").read_text()


@pytest.mark.parametrize("nets", [1, 2])
def test_k25_a_run_that_is_given_more_epochs_goes_on_without_a_best_one(place, nets):
    """The epoch that it ended with was the best for want of another, and is not any more when another comes."""
    mapping = undefined(place, ensemble=nets)
    go({**mapping, "training": {**mapping["training"], "epochs": 1}})

    resumed, crashes = crashed_and_resumed(mapping, [6])

    assert crashes == 1
    assert differing(resumed, uninterrupted(mapping)) == []


@pytest.mark.parametrize("nets", [1, 2])
def test_a_loss_that_is_infinite_on_validation_does_not_keep_a_run_from_going_on(place, nets):
    """Where a cell is so far off that its square is infinite, no epoch is best, and the run can be resumed."""
    rows = [f"{x},{2 * x},{'validation' if x > 24 else 'train'}" for x in range(30)]
    rows[27] = "27,1e30,validation"
    (place / "people.csv").write_text("\n".join(["x,y,part", *rows]) + "\n")
    data = {"train": "people.csv", "target": "y", "task": "regression", "split": {"by": "column", "column": "part"}}
    mapping = {"data": data, "ensemble": nets, "preprocess": {"target": "none"}, "network": {"layers": [4]}}

    first = go({**mapping, "training": {"epochs": 2}})
    then = go({**mapping, "training": {"epochs": 3}}, resume=first[-1].run)

    assert any("val_loss was no number in any epoch" in event.text for event in first if isinstance(event, Notice))
    assert then[-1].summary["epochs"] == then[-1].summary["best_epoch"] == 3


def test_p9_data_that_change_while_the_net_trains_are_named(place):
    """The run uses what it has read, and says at the end that the file is no longer that."""
    texts = []
    for edited in (True, False):
        events = []
        for event in session.training(config.from_mapping(settings(name=f"edited-{edited}"))):
            events.append(event)
            if edited and isinstance(event, Epoch) and event.epoch == 1:
                (place / "people.csv").write_text((place / "people.csv").read_text().replace("low", "mid", 1))
        texts.append(" ".join(event.text for event in events if isinstance(event, Notice)))
        write_table(place / "people.csv")

    assert "people.csv has changed since it was read" in texts[0]
    assert "has changed" not in texts[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "every", [{"epochs": 1}, {"epochs": 2}, {"steps": 1}, {"steps": 5}, {"minutes": 1e-4}], ids=str
)
def test_m19_every_rhythm_of_checkpoints_resumes_bit_for_bit(place, every, dtype):
    """However often a checkpoint is written, what a crash takes is made again just as it was."""
    mapping = settings(training={"checkpoint": every}, dtype=dtype)

    resumed, crashes = crashed_and_resumed(mapping, [3, 20, 11])

    assert crashes
    assert differing(resumed, uninterrupted(mapping)) == []


def forgets_row(monkeypatch):
    real = State.restore
    monkeypatch.setattr(
        State, "restore", lambda self, numbers: real(self, {**numbers, "row": 0, "step": numbers["epoch"] * 6})
    )


def forgets_sum(monkeypatch):
    real = State.restore
    monkeypatch.setattr(State, "restore", lambda self, numbers: real(self, {**numbers, "loss": (0.0).hex()}))


def forgets_patience(monkeypatch):
    real = State.restore
    monkeypatch.setattr(State, "restore", lambda self, numbers: real(self, {**numbers, "waited": 0, "best": None}))


def forgets_vectors(monkeypatch):
    real = Saver.take_up

    def take_up(self, held, check):
        notices = real(self, held, check)
        for vector in self.state.vectors.values():
            vector[...] = 0.0
        return notices

    monkeypatch.setattr(Saver, "take_up", take_up)


def forgets_log(monkeypatch):
    monkeypatch.setattr("fcnet.runs.log.MetricsLog.cut", lambda self, epoch: epoch)


@pytest.mark.parametrize("fault", [forgets_row, forgets_sum, forgets_patience, forgets_vectors])
def test_the_comparison_sees_a_resume_that_forgets(place, monkeypatch, fault):
    """A resume that loses any one part of the state does not end equal, and the tests above would be red."""
    mapping = settings()
    if fault is forgets_patience:  # which needs epochs that are no better than the best
        mapping |= {"optimizer": {"name": "sgd", "lr": 2.0}}
        mapping["training"] |= {"epochs": 30, "early_stopping": {"patience": 4}}
    whole = uninterrupted(mapping)
    polls = [25, 20, 20, 20] if fault is forgets_patience else [10, 12]

    fault(monkeypatch)
    try:
        resumed, _ = crashed_and_resumed(mapping, polls)
    except FcnetError:
        return

    assert differing(resumed, whole)


def test_the_comparison_sees_a_log_that_is_not_cut(place, monkeypatch):
    """Rows that were written after the last checkpoint stand twice where a resume forgets to cut them off."""
    mapping = settings(training={"checkpoint": {"epochs": 2}})
    whole = uninterrupted(mapping)

    def stop():
        log = Path("runs/people/metrics.csv")
        if log.exists() and len(log.read_text().splitlines()) == 4:
            raise Crash

    with pytest.raises(Crash):
        go(mapping, stop=stop)
    forgets_log(monkeypatch)
    resumed, _ = crashed_and_resumed(mapping, [])

    assert differing(resumed, whole) == ["metrics.csv"]


def test_s5_stopping_on_request_saves_the_step_at_hand(place):
    """A run that is asked to stop keeps every step it made, ends with the code asked for, and goes on from there."""
    mapping = settings(training={"batch_size": 1, "checkpoint": {"epochs": 1}})
    last = []

    def stop():
        return 130 if last and isinstance(last[-1], Progress) and last[-1].epoch == 2 else None

    with pytest.raises(Stopped) as stopped:
        collections.deque(map(last.append, session.training(config.from_mapping(mapping), stop=stop)))
    held = checkpoint.read(Path("runs/people/last.npz"))

    assert stopped.value.exit_code == 130
    assert "by Ctrl-C" in str(stopped.value)
    assert held.header["state"]["epoch"] == 1
    assert 0 < held.header["state"]["row"] == next(event.row for event in reversed(last) if isinstance(event, Progress))
    assert differing(crashed_and_resumed(mapping, [])[0], uninterrupted(mapping)) == []


def test_stopping_before_the_first_step_saves_nothing(place):
    """Before the first step there is nothing to save: the same code, and --resume then starts the run."""
    with pytest.raises(Stopped) as stopped:
        go(settings(), stop=lambda: 75)
    events = go(settings(), resume=True)

    assert stopped.value.exit_code == 75
    assert "before the first step" in str(stopped.value)
    assert Notice("nothing to resume; starting the run") in events
    assert differing(outcome(events[-1].run), uninterrupted(settings())) == []


def test_validation_that_is_stopped_is_made_again(place, monkeypatch):
    """A stop in the middle of a long validation saves the epoch's last step; the resume validates first."""
    monkeypatch.setattr("fcnet.training.pack.SCORED", 4)
    mapping = settings()
    whole = uninterrupted(mapping)
    asked = 0

    def stop():
        nonlocal asked
        asked += 1
        return 75 if asked == 6 else None  # data blocks, the start, two steps … and then inside the validation

    places = []
    for _ in range(12):
        asked = 0
        try:
            go(mapping, stop=stop, resume=True)
            break
        except Stopped:
            if Path("runs/people/last.npz").exists():
                state = checkpoint.read(Path("runs/people/last.npz")).header["state"]
                places.append((state["epoch"], state["row"]))
    resumed, _ = crashed_and_resumed(mapping, [])

    assert any(row == 36 for _, row in places), places
    assert differing(resumed, whole) == []


def test_the_time_limit_stops_after_a_step_at_least(place):
    """However short the limit, every start gets one chunk further, so that a queue of short jobs comes to an end."""
    mapping = settings(training={"epochs": 2, "max_minutes": 1e-9})
    steps, said = [0], set()
    for _ in range(100):
        try:
            done = go(mapping, resume=True)[-1]
            break
        except Stopped as stopped:
            said.add((stopped.exit_code, "by the time limit" in str(stopped)))
            steps.append(checkpoint.read(Path("runs/people/last.npz")).header["step"])

    assert isinstance(done, Finished)
    assert said == {(75, True)}
    assert len(steps) > 3
    assert steps == sorted(steps)
    assert differing(outcome(done.run), uninterrupted(settings(training={"epochs": 2}))) == []


def test_s16_complete_run_is_left_alone(place):
    """A complete run is not touched by --resume, so that one and the same command line can be queued again."""
    mapping = settings()
    run = go(mapping)[-1].run
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()}

    events = go(mapping, resume=True)

    assert [type(event) for event in events] == [Notice, Finished]
    assert "complete" in events[0].text
    assert events[-1].summary == json.loads((run / "metrics.json").read_text())
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()} == before


def test_complete_run_with_fewer_epochs_asked_for_is_left_alone(place):
    """A run cannot be shortened: one that has gone further than asked for is complete."""
    go(settings())

    assert [type(e) for e in go(settings(training={"epochs": 2}), resume=True)] == [Notice, Finished]


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential"])
def test_complete_run_goes_on_with_more_epochs(place, schedule):
    """With a larger training.epochs a complete run goes on, as if it had been meant to be longer from the start."""
    longer = settings(schedule=schedule, training={"epochs": 7, "early_stopping": None})
    if schedule == "step":
        longer["schedule"] = {"name": "step", "every": 2}
    shorter = {**longer, "training": {**longer["training"], "epochs": 3}}
    go(shorter)

    resumed, _ = crashed_and_resumed(longer, [5])

    assert differing(resumed, uninterrupted(longer)) == []
    assert "epochs: 7" in Path("runs/people/config.yaml").read_text()


def test_run_that_goes_on_is_not_complete_in_the_meantime(place):
    """Without metrics.json nobody takes a run for complete while it goes on."""
    go(settings(training={"epochs": 2}))

    with pytest.raises(Crash):
        go(settings(training={"epochs": 5}), resume=True, stop=crash_at(4))

    assert not Path("runs/people/metrics.json").exists()


def test_s17_m23_early_stopping_decides_alike_after_a_resume(place):
    """A run that stopped early, killed before its summary was written, ends at the same epoch and is then complete."""
    mapping = settings(optimizer={"name": "sgd", "lr": 1.0}, training={"epochs": 50, "early_stopping": {"patience": 2}})
    whole = go(mapping)[-1]
    expected = outcome(whole.run)
    Path("runs/people/metrics.json").unlink()

    again = go(mapping, resume=True)[-1]
    longer = {**mapping, "training": {**mapping["training"], "epochs": 60}}

    assert whole.summary["epochs"] < 50
    assert again.why == whole.why
    assert differing(outcome(again.run), expected) == []
    assert [type(e) for e in go(longer, resume=True)] == [Notice, Finished]


def interrupted(mapping, poll=14):
    with pytest.raises(Crash):
        go(mapping, stop=crash_at(poll))
    return Path("runs") / mapping["name"]


def test_c36_every_other_key_that_differs_is_listed(place):
    """A resumed run goes on as it began: what may not differ is named, key by key, with both values."""
    interrupted(settings())
    edited = settings(seed=5, optimizer={"name": "adam", "lr": 0.5}, network={"layers": [4]})

    with pytest.raises(ConfigError) as refused:
        go(edited, resume=True)

    assert {p.key for p in refused.value.problems} == {"seed", "optimizer.lr", "network.layers"}
    assert "is 0.5, and the run was begun with 0.001" in str(refused.value)


def test_edited_config_of_a_complete_run_is_listed_too(place):
    """Nobody is told that a run is complete who has asked for another one."""
    go(settings())

    with pytest.raises(ConfigError, match="seed"):
        go(settings(seed=1), resume=True)


def test_epochs_time_checkpoints_and_output_may_differ(place):
    """When a run ends, when it saves and where it lies are no part of what it computes."""
    interrupted(settings())
    Path("runs").rename("moved")

    done = go(
        settings(output="moved", training={"epochs": 6, "max_minutes": 5, "checkpoint": {"minutes": 1}}),
        resume=True,
    )[-1]

    assert done.run == Path("moved/people")
    assert done.summary["epochs"] <= 6


def test_run_goes_on_by_its_own_config_and_by_the_first_one_in_turn(place):
    """Resumed by the config in its folder, a run can still be resumed by the config it was begun with."""
    mapping = settings()
    run = interrupted(mapping)
    with pytest.raises(Crash):
        list(session.training(config.load(run / "config.yaml"), resume=run, stop=crash_at(4)))

    assert differing(crashed_and_resumed(mapping, [])[0], uninterrupted(mapping)) == []


def test_the_config_of_a_run_says_where_the_data_are_now(place):
    """When they were moved, and the run has gone on from there, its config.yaml is right again, and eval finds them."""
    run = interrupted(settings())
    (place / "moved").mkdir()
    shutil.move("people.csv", "moved/people.csv")

    with pytest.raises(Crash):
        go(settings(data={"train": "moved/people.csv"}), resume=True, stop=crash_at(5))

    assert config.load(run / "config.yaml").data.train == "moved/people.csv"
    assert api.evaluate(run)["part"] == "test"


def test_p9_config_edited_during_the_run_changes_nothing(place):
    """A run keeps to the config it was begun with: edits of its config.yaml are refused, or undone by going on."""
    run = interrupted(settings())
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.5"))
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        list(session.training(config.load(run / "config.yaml"), resume=run))

    assert differing(crashed_and_resumed(settings(), [])[0], uninterrupted(settings())) == []
    assert (run / "config.yaml").read_text() == text


def test_data_changed_since_are_refused(place):
    """A run goes on with the very bytes it was begun with, or not at all."""
    interrupted(settings())
    text = Path("people.csv").read_text()
    Path("people.csv").write_text(text.replace(",a,", ",b,", 1))

    with pytest.raises(DataError, match="changed since the run was begun"):
        go(settings(), resume=True)


def test_p9_data_edited_after_loading_do_not_matter(place):
    """The rows are in memory: a file edited in the middle of the run changes neither this run nor its record."""
    text = Path("people.csv").read_text()
    events = iter(range(10**6))

    def stop():
        if next(events) == 8:
            Path("people.csv").write_text("gone")

    run = go(settings(), stop=stop)[-1].run
    Path("people.csv").write_text(text)

    assert differing(outcome(run), uninterrupted(settings())) == []


def test_rows_from_memory_resume_and_are_compared(place):
    """Arrays instead of a file resume just as well, and other arrays are refused."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = np.where(x[:, 0] > 0, "yes", "no")
    mapping = settings(data={"train": "", "target": "y", "weight": None})
    del mapping["data"]["train"], mapping["data"]["weight"]

    with pytest.raises(Crash):
        go(mapping, stop=crash_at(6), data=(x, y))
    done = go(mapping, resume=True, data=(x, y))[-1]
    with pytest.raises(Crash):
        go({**mapping, "name": "other"}, stop=crash_at(6), data=(x, y))
    with pytest.raises(DataError, match="changed"):
        go({**mapping, "name": "other"}, resume=True, data=(x + 1, y))

    whole = go({**mapping, "name": "whole"}, data=(x, y))[-1]
    for name in ("best.npz", "last.npz"):
        a, b = (checkpoint.read(run / name).arrays for run in (done.run, whole.run))
        assert all(np.array_equal(a[key], b[key]) for key in b)


def test_other_machine_is_said(place, monkeypatch):
    """When versions, processor or threads are others than before, the user is told that bits may differ."""
    interrupted(settings())
    real = environment.machine
    monkeypatch.setattr(environment, "machine", lambda threads: {**real(threads), "numpy": "9.9"})

    notices = [e.text for e in go(settings(), resume=True) if isinstance(e, Notice)]

    assert [text for text in notices if "bits may differ" in text and "9.9 now" in text]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_keeps_its_products(place, monkeypatch, elsewhere):
    """A verdict that would be another one now changes no bit of a run that goes on where it began; on another machine
    it counts, and the user is told that bits may differ."""
    trial = pytest.importorskip("fcnet.backends.numba.trial")
    mapping, real = settings(backend="numba"), environment.machine
    monkeypatch.setattr(trial, "chosen", lambda shapes, dtype: "own")
    whole = uninterrupted(mapping)
    folder = interrupted(mapping)
    assert checkpoint.read(folder / "last.npz").header["machine"]["products"] == "own"

    with monkeypatch.context() as now:
        now.setattr(trial, "chosen", lambda shapes, dtype: "blas")
        if elsewhere:
            now.setattr(environment, "machine", lambda threads: {**real(threads), "cpu": "another"})
        events = go(mapping, resume=True)

    said = [e.text for e in events if isinstance(e, Notice) and "bits may differ" in e.text]
    assert ["products: own then, blas now" in text for text in said] == ([True] if elsewhere else [])
    assert json.loads((folder / "environment.json").read_text())["products"] == "own"
    assert elsewhere or differing(outcome(folder), whole) == []


def test_same_machine_is_not_mentioned(place):
    """Where equal bits are to be expected, nothing is said of it."""
    interrupted(settings())

    notices = [e.text for e in go(settings(), resume=True) if isinstance(e, Notice)]

    assert not [text for text in notices if "bits" in text]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:99] + b"\x00" + data[100:]]
)
def test_k16_damaged_last_is_refused_and_best_still_serves(place, damage):
    """A damaged last.npz is exit 5, says that best.npz still serves, and starts nothing anew."""
    run = interrupted(settings())
    (run / "last.npz").write_bytes(damage((run / "last.npz").read_bytes()))
    before = (run / "metrics.csv").read_bytes()

    with pytest.raises(CheckpointError, match=r"best\.npz.*still serves eval and predict"):
        go(settings(), resume=True)

    assert (run / "metrics.csv").read_bytes() == before


def test_k17_all_damaged_is_refused(place):
    """With both checkpoints damaged the run is not silently started again."""
    run = interrupted(settings())
    for name in ("best.npz", "last.npz"):
        (run / name).write_bytes(b"x" * 100)

    with pytest.raises(CheckpointError):
        go(settings(), resume=True)


def test_damaged_best_of_an_earlier_epoch_is_refused(place):
    """The parameters of the best epoch are nowhere else: without them the run cannot end as it should."""
    mapping = settings(optimizer={"name": "sgd", "lr": 2.0}, training={"early_stopping": {"patience": 50}})
    run = interrupted({**mapping, "training": {**mapping["training"], "epochs": 40}}, poll=200)
    held = checkpoint.read(run / "last.npz").header["state"]
    assert held["best_epoch"] < held["epoch"]
    (run / "best.npz").write_bytes(b"")

    with pytest.raises(CheckpointError, match=r"best\.npz"):
        go({**mapping, "training": {**mapping["training"], "epochs": 40}}, resume=True)


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_x18_checkpoint_of_another_run_is_refused(place, name):
    """A checkpoint that was swapped between runs of one config is noticed by the run's own number."""
    run = interrupted(settings())
    interrupted(settings())
    shutil.copy(f"runs/people-2/{name}", run / name)

    with pytest.raises(CheckpointError, match="belongs to another run"):
        go(settings(), resume=run)


def test_k13_optimizer_state_of_another_optimizer_is_refused(place):
    """A last.npz whose optimizer vectors are another optimizer's cannot be resumed, but evaluated."""
    run = interrupted(settings())
    held = checkpoint.read(run / "last.npz")
    arrays = {key: array for key, array in held.arrays.items() if not key.startswith("optimizer/m/")}
    with Folder(run) as folder:
        checkpoint.write(folder, "last.npz", held.header, arrays)

    with pytest.raises(CheckpointError, match="another optimizer"):
        go(settings(), resume=True)
    assert api.evaluate(run / "last.npz")["part"] == "test"


@pytest.mark.parametrize(
    "state",
    [None, {}, {"row": 3}, {"step": 99}, {"epoch": -1}, {"row": 10**30}, {"loss": "x"}, {"epoch": "1"}, {"best": 1.0}],
    ids=str,
)
def test_garbled_state_is_refused(place, state):
    """A place that is none in this run, or no number at all, is exit 5."""
    run = interrupted(settings())
    held = checkpoint.read(run / "last.npz")
    garbled = {**held.header["state"], **state} if state else state
    with Folder(run) as folder:
        checkpoint.write(folder, "last.npz", {**held.header, "state": garbled}, held.arrays)

    with pytest.raises(CheckpointError):
        go(settings(), resume=True)


def test_f23_each_epoch_stands_once_in_the_log(place):
    """After many crashes metrics.csv has one header and every epoch once, in order."""
    mapping = settings(training={"epochs": 8, "early_stopping": None, "checkpoint": {"epochs": 3}})

    crashed_and_resumed(mapping, [7, 15, 3, 22, 40, 9, 31])
    rows = Path("runs/people/metrics.csv").read_text().splitlines()

    assert rows[0].startswith("epoch,step,lr,train_loss,val_loss")
    assert [row.split(",")[0] for row in rows[1:]] == [str(i) for i in range(1, 9)]


def test_f24_new_run_has_no_rows_of_an_old_one(place):
    """A second run of the name begins its own log in its own folder, and --overwrite leaves nothing of the old one."""
    go(settings(training={"epochs": 5, "early_stopping": None}))
    second = go(settings(training={"epochs": 2}))[-1].run
    replaced = go(settings(training={"epochs": 3}), overwrite=True)[-1].run

    assert (second.name, replaced.name) == ("people-2", "people")
    assert len((second / "metrics.csv").read_text().splitlines()) == 3
    assert len((replaced / "metrics.csv").read_text().splitlines()) == 4


def test_epochs_are_told_once_each(place):
    """The events of a resumed run go on after the last saved epoch."""
    interrupted(settings(training={"checkpoint": {"epochs": 1}, "early_stopping": None}), poll=20)
    done = checkpoint.read(Path("runs/people/last.npz")).header["epoch"]

    events = go(settings(training={"checkpoint": {"epochs": 1}, "early_stopping": None}), resume=True)

    assert [e.epoch for e in events if isinstance(e, Epoch)] == list(range(done + 1, 6))


def diverging(lr):
    mapping = settings(optimizer={"name": "sgd", "lr": lr}, training={"clip_norm": None, "early_stopping": None})
    mapping["network"] = {"layers": [8, 8, 8], "activation": "relu"}
    return mapping


def test_divergence_leaves_the_last_good_checkpoint(place):
    """Training that meets a NaN ends with exit 8, names epoch and step, and says which checkpoint is left and whole."""
    with pytest.raises(DivergedError, match=r"epoch 1, step \d+: not finite any more: ") as diverged:
        go(diverging(1e3))

    assert diverged.value.exit_code == 8
    assert str(diverged.value).endswith("the last good checkpoint is runs/people/last.npz")
    assert checkpoint.read(Path("runs/people/last.npz")).header["step"] > 0
    assert not Path("runs/people/metrics.json").exists()


def test_divergence_at_the_first_step_leaves_nothing(place):
    """Where no checkpoint was saved before, that is said; and --overwrite leaves the old run in its place."""
    with pytest.raises(DivergedError, match="no checkpoint was saved before"):
        go(diverging(1e30))
    old = Path("runs/people/environment.json").read_bytes()

    with pytest.raises(DivergedError, match="the old run stays in runs/people"):
        go(diverging(1e30), overwrite=True)

    assert Path("runs/people/environment.json").read_bytes() == old
    assert [path.name for path in Path("runs").iterdir()] == ["people"]


def test_validation_that_overflows_is_no_improvement(place):
    """Numbers that are finite in training may overflow in validation: such an epoch is never the best."""
    done = go(diverging(100))[-1]
    rows = [line.split(",") for line in (done.run / "metrics.csv").read_text().splitlines()]

    assert done.summary["epochs"] == 5
    assert len(rows) == 6
    json.loads((done.run / "metrics.json").read_text(), parse_constant=pytest.fail)
