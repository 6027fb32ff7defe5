"""Programs that follow a run: JSON lines and event files say all that happens, however the run ends."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import fcnet
from fcnet import files

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "progress.md").read_text(encoding="utf-8")
SHORT = ["t.csv", "--target", "y", "training.epochs=4", "network.layers=[4]", "backend=numpy", "threads=1"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a small table whose classes are learnt at once."""
    rows = "".join(f"{i % 7},{'ñ' if i % 2 else 'no'}\n" for i in range(80))
    (tmp_path / "t.csv").write_text("a,y\n" + rows, encoding="utf-8")
    return tmp_path


def lines(text):
    """The objects, one a line."""
    return [json.loads(line) for line in text.splitlines()]


def names(found):
    """The events' names, those that repeat once."""
    return [*dict.fromkeys(event["event"] for event in found)]


def documented(event):
    """The keys that the page's table of an event names."""
    table = DOC.split(f"`{event}`: ")[1].split("|---|---|\n")[1].split("\n\n")[0]
    return {key for row in table.splitlines() for key in re.findall(r"`(\w+)…?`", row.split(" | ")[0])}


def test_every_event_is_a_line_with_the_documented_keys(place, call):
    """stderr has JSON alone, in the documented order and with the documented keys; --json has its one object."""
    code, out, err = call("train", *SHORT, "--progress", "jsonl", "--json")

    found = lines(err)
    assert code == 0
    assert names(found) == ["begin", "epoch", "checkpoint", "end"]
    assert [event["event"] for event in found].count("epoch") == 4
    assert err.isascii()
    for event in found:
        keys = {"val_" if key.startswith("val_") and key != "val_loss" else key for key in event}
        assert keys <= documented(event["event"]), event
    for name in ("begin", "checkpoint"):
        assert next(set(e) for e in found if e["event"] == name) == documented(name)
    assert found[-1]["exit"] == 0
    assert "reason" not in found[-1]
    done = json.loads(out)
    assert {key: found[-1][key] for key in done} == done
    assert any("2 classes" in notice for notice in found[0]["notices"])


def test_an_epochs_line_has_the_numbers_of_the_log(place, call):
    """What metrics.csv holds of an epoch stands in its line, with how far the run is and what is left."""
    call("train", *SHORT, "--progress", "jsonl=f.jsonl", "-q")

    epochs = [event for event in lines(Path("f.jsonl").read_text()) if event["event"] == "epoch"]
    with open("runs/t/metrics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: float(event[key]) for key in rows[0]} for event in epochs] == [
        {key: float(cell) for key, cell in row.items()} for row in rows
    ]
    assert [event["progress"] for event in epochs] == [0.25, 0.5, 0.75, 1.0]
    assert epochs[-1]["seconds_left"] == 0
    assert all(event["seconds_left"] > 0 for event in epochs[:-1])


def test_an_epochs_line_says_of_which_fold_it_is(place, call):
    """Each fold begins with a line of its own on stderr, which is no notice, and counts its epochs anew."""
    folds = [*SHORT, "cv=2", "data.validation=0"]

    _, _, err = call("train", *folds, "--progress", "jsonl=f.jsonl")

    found = lines(Path("f.jsonl").read_text())
    epochs = [event for event in found if event["event"] == "epoch"]
    with open("runs/t/metrics.csv", encoding="utf-8", newline="") as file:
        rows = [(int(row["fold"]), int(row["epoch"])) for row in csv.DictReader(file)]
    assert [(event["fold"], event["epoch"]) for event in epochs] == rows
    assert {event["folds"] for event in epochs} == {2}
    assert [epochs[i]["seconds_left"] for i in (3, 7)] == [0, 0]
    assert not any(notice.startswith("fold ") for event in found for notice in event.get("notices", ()))
    assert [line for line in err.splitlines() if line.startswith(("fold ", "notice: fold "))] == [
        "fold 1 of 2",
        "fold 2 of 2",
    ]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["training.epochs=x"], 3, "training.epochs: the text"),
        (["data.target=z"], 3, 'no column "z"'),
        (["--resume", "--overwrite"], 2, "give one of them"),
    ],
)
def test_a_run_that_fails_has_its_end(place, call, more, code, said):
    """The last line has the exit code and what stderr would have said; stdout stays empty."""
    found, out, err = call("train", *SHORT, *more, "--progress", "jsonl")
    plain, _, told = call("train", *SHORT, *more, "-q")

    end = lines(err)[-1]
    assert (end["event"], end["exit"], out) == ("end", found, "")
    assert found == plain == code
    assert said in end["reason"]
    assert "".join(f"fcnet: {line}\n" for line in end["reason"].splitlines()) == told


def test_a_divergence_says_where(place, call):
    """A training that blows up ends its lines with exit 8 and the step."""
    more = ["data.task=regression", "data.target=a", "optimizer={name: sgd, lr: 1e30}"]

    code, _, err = call("train", *SHORT, *more, "--progress", "jsonl")

    found = lines(err)
    assert (code, found[-1]["exit"], names(found)[0]) == (8, 8, "begin")
    assert "step" in found[-1]["reason"]


def test_a_bug_is_an_end_too(place, call, monkeypatch, tmp_path):
    """Whatever happens inside, a program that waits for `end` gets it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fcnet.api.training", lambda *_, **__: 1 / 0)

    code, _, err = call("train", *SHORT, "--progress", "jsonl")

    (end,) = lines(err)
    assert (code, end["exit"]) == (1, 1)
    assert "ZeroDivisionError" in end["reason"]


def test_the_time_limit_leaves_a_checkpoint_and_how_to_go_on(place, call):
    """A run that its time stops says which checkpoint it left; resumed, its lines follow those that are there."""
    long = [*SHORT, "training.epochs=100000", "training.early_stopping=null", "--progress", "jsonl=f.jsonl"]

    code, _, _ = call("train", *long, "--max-time", "0.2s", "-q")
    again, _, _ = call("train", *long, "training.epochs=1", "--resume", "-q")

    found = lines(Path("f.jsonl").read_text())
    end = next(i for i, event in enumerate(found) if event["event"] == "end")
    assert (code, again, found[end]["exit"], found[-1]["exit"]) == (75, 0, 75, 0)
    assert found[end - 1]["event"] == "checkpoint"
    assert found[end - 1]["step"] == int(re.search(r"step (\d+)", found[end]["reason"])[1])
    assert found[end]["next"].endswith("--resume")
    assert found[end + 1]["event"] == "begin"


def test_ctrl_c_is_an_end_with_130(place):
    """A person's Ctrl-C reaches the program that reads: `end` is the last line, after the checkpoint's."""
    command = [sys.executable, "-m", "fcnet", "train", *SHORT, "training.epochs=1000000"]
    command += ["training.early_stopping=null", "--progress", "jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as run:
        for line in run.stderr:
            if json.loads(line)["event"] == "epoch":
                break
        run.send_signal(signal.SIGINT)
        rest = lines(run.stderr.read())

    assert run.returncode == 130
    assert [event["event"] for event in rest[-2:]] == ["checkpoint", "end"]
    assert rest[-1]["exit"] == 130
    assert rest[-1]["reason"].startswith("stopped by Ctrl-C in epoch ")


STUCK = """
import hashlib, os, signal, sys, threading, time
import fcnet.api
from fcnet.cli import main

def training(*_, **__):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # one long step, in which no handler of Python runs
    yield

fcnet.api.training = training
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_a_process_that_a_signal_ends_on_the_spot_has_its_end(place):
    """While a table is read nothing has to be saved, and a signal does not wait: `end` is written all the same."""
    command = [sys.executable, "-c", STUCK, *SHORT, "--progress", "jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}

    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)

    (end,) = lines(done.stderr)
    assert (done.returncode, end["exit"]) == (75, 75)
    assert end["reason"] == "stopped by a signal"
    assert end["next"].endswith("--resume")


@pytest.mark.parametrize("how", ["bar", "jsonl=", "jsonl=-", "tensorboard", "tensorboard=-", "none=x", ""])
def test_a_way_that_there_is_not_is_wrong_usage(place, call, how):
    """The message has all ways."""
    code, _, err = call("train", *SHORT, "--progress", how)

    assert code == 2
    assert "write auto, none, jsonl, jsonl=FILE or tensorboard=FOLDER" in err


def test_a_file_of_something_else_stays(place, call):
    """Lines never replace what is no record of a run, such as the table itself."""
    before = (place / "t.csv").read_bytes()

    code, _, err = call("train", *SHORT, "--progress", "jsonl=t.csv")

    assert (code, (place / "t.csv").read_bytes()) == (7, before)
    assert err == "fcnet: t.csv: it holds no progress of a run, and is not replaced; name another\n"


def test_a_second_run_begins_its_file_anew(place, call):
    """One file holds one run, unless that is resumed."""
    for _ in range(2):
        call("train", *SHORT, "--progress", "jsonl=f.jsonl", "-q")

    events = [event["event"] for event in lines(Path("f.jsonl").read_text())]
    assert (events.count("begin"), events.count("end")) == (1, 1)


def test_a_full_disk_behind_the_lines_does_not_stop_the_run(place, call, monkeypatch):
    """Once a notice, and the training goes on to its end."""
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # the run closes it
    monkeypatch.setattr(files, "followed", lambda *_: full)

    code, _, err = call("train", *SHORT, "--progress", "jsonl=f.jsonl")

    assert code == 0
    assert err.count("f.jsonl: the disk is full") == 1
    assert (place / "runs" / "t" / "metrics.json").is_file()


def test_a_folder_that_is_not_there_is_6(place, call):
    """Where the lines cannot go anywhere, the run does not begin."""
    code, _, err = call("train", *SHORT, "--progress", "jsonl=no/where.jsonl")

    assert (code, err) == (6, "fcnet: no/where.jsonl: no such file or folder\n")
    assert not (place / "runs").exists()


def test_none_leaves_notices_alone(place, call):
    """No line of an epoch, as in a log that nobody watches; what the data have to say stays."""
    _, _, err = call("train", *SHORT, "--progress", "none")

    assert "notice: " in err
    assert "epoch " not in err


def scalars(path):
    """(tag, step, value) of an event file: length, its sum, an Event, its sum; read by the format's description."""

    def fields(data):
        i = 0
        while i < len(data):
            key, i = varint(data, i)
            if key & 7 == 2:
                size, i = varint(data, i)
                yield key >> 3, data[i : i + size]
                i += size
            elif key & 7 == 0:
                value, i = varint(data, i)
                yield key >> 3, value
            else:
                size = {1: 8, 5: 4}[key & 7]
                yield key >> 3, data[i : i + size]
                i += size

    def varint(data, i):
        value = shift = 0
        while True:
            value |= (data[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if data[i - 1] < 128:
                return value, i

    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        event = [*fields(data[at + 12 : at + 12 + size])]
        at += size + 16
        step = next((value for key, value in event if key == 2), 0)
        for _, summary in (item for item in event if item[0] == 5):
            for _, value in fields(summary):
                parts = dict(fields(value))
                if 2 in parts:
                    found.append((parts[1].decode(), step, struct.unpack("<f", parts[2])[0]))
    return found


@pytest.mark.skipif(not find_spec("tensorboardX"), reason="writes with tensorboardX")
def test_tensorboard_gets_every_epoch_and_the_scores(place, call):
    """The event file has the log's numbers by epoch, and what metrics.json says at the best one."""
    code, out, _ = call("train", *SHORT, "--progress", "tensorboard=tb", "--json")

    (path,) = (place / "tb").iterdir()
    found = scalars(path)
    done = json.loads(out)
    with open("runs/t/metrics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0
    for tag, column in {"loss/train": "train_loss", "accuracy/validation": "val_accuracy", "lr": "lr"}.items():
        values = [float(row[column]) for row in rows]
        assert [value for name, _, value in found if name == tag] == pytest.approx(values, rel=1e-6)
    assert [step for name, step, _ in found if name == "loss/train"] == [1, 2, 3, 4]
    (best,) = [(step, value) for name, step, value in found if name == "best_accuracy/test"]
    assert best == (done["best_epoch"], pytest.approx(done["test"]["accuracy"]["value"]))


@pytest.mark.skipif(not find_spec("tensorboardX"), reason="writes with tensorboardX")
def test_tensorboard_draws_each_fold_by_itself(place, call):
    """Folds begin anew at the first epoch, so that one curve for all of them would run back."""
    code, _, _ = call("train", *SHORT, "cv=2", "data.validation=0", "--progress", "tensorboard=tb")

    (path,) = (place / "tb").iterdir()
    steps = {}
    for name, step, _ in scalars(path):
        steps.setdefault(name, []).append(step)
    assert code == 0
    assert steps["loss/train/fold_0"] == steps["loss/train/fold_1"] == [1, 2, 3, 4]
    assert steps["accuracy/validation/fold_1"] == [1, 2, 3, 4]
    assert "loss/train" not in steps


def test_without_its_package_tensorboard_is_wrong_usage(place, call, monkeypatch):
    """The message has the command that installs it."""
    monkeypatch.setattr("fcnet.extras._faults", {})
    monkeypatch.setattr("fcnet.extras.installed", lambda _: False)

    code, _, err = call("train", *SHORT, "--progress", "tensorboard=tb")

    assert code == 2
    assert "tensorboardX is not installed; pip install 'fcnet[tensorboard]'" in err


def shown(language):
    """The one block of a language on the page."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", DOC, flags=re.DOTALL)
    return block


def test_the_reader_on_the_page_reads(tmp_path):
    """The Python program follows a run to its end."""
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", shown("python")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("20%, ")
    assert done.stdout.endswith("exit 0 all epochs done\n")


def test_what_dvc_is_told_is_there(call, tmp_path):
    """The command of the stage leaves every file that the stage names, in the place where DVC looks."""
    stage = yaml.safe_load(shown("yaml"))["stages"]["train"]
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    words = stage["cmd"].split()

    codes = [call(*words[1:], "training.epochs=2", "-q")[0] for _ in range(2)]

    named = [
        next(iter(each)) if isinstance(each, dict) else each
        for kind in ("outs", "metrics", "plots")
        for each in stage[kind]
    ]
    assert (words[0], codes) == ("fcnet", [0, 0])
    assert all((tmp_path / name).is_file() for name in [*stage["deps"], *named])
    with open("runs/iris/metrics.csv", encoding="utf-8") as file:
        assert {stage["plots"][0]["runs/iris/metrics.csv"][axis] for axis in "xy"} <= set(
            file.readline().strip().split(",")
        )
