"""Runs that are killed at random, resumed all at once, or crash while they resume: nothing is lost, nothing differs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from runs_faults import FaultyOs, every_call, faults
from session_runs import Crash, crash_at, differing, go, outcome, settings

from fcnet.config import dump
from fcnet.errors import CheckpointError
from fcnet.runs import checkpoint, folder


def write_config(**more):
    mapping = settings(**more)
    Path(f"{mapping['name']}.yaml").write_text(dump(mapping))
    return f"{mapping['name']}.yaml"


def killed_until_complete(zygote, place, seed, kills, **how):
    """Kill `fcnet train --resume` so many times at random moments, then let it end; its outcome.

    The moments lie in the time that an uninterrupted run takes here. A run that ends before its kill is compared, and
    begun again.
    """
    rng = random.Random(seed)
    config = write_config(training={"epochs": 6, "early_stopping": None})
    command, run = ["train", config, "--resume"], place / "runs/people"
    before = time.monotonic()
    assert zygote.run(command, place, **how) == 0
    span, expected = time.monotonic() - before, outcome(run)
    shutil.rmtree(run)
    while kills:
        pid = zygote.start(command, place, **how)
        time.sleep(rng.uniform(0, span))
        os.kill(pid, signal.SIGKILL)  # a process that has ended is there until it is waited for
        if zygote.wait(pid) == -signal.SIGKILL:
            kills -= 1
            if (run / "last.npz").exists():
                checkpoint.read(run / "last.npz")
        else:
            assert differing(outcome(run), expected) == []
            shutil.rmtree(run)
    assert zygote.run(command, place, **how) == 0
    return outcome(run)


def whole(place):
    return outcome(go(settings(name="whole", training={"epochs": 6, "early_stopping": None}))[-1].run)


def test_s12_s2_killed_at_random_and_resumed_is_equal(place, zygote):
    """After SIGKILLs at random moments, in the middle of epochs and of saves, the run ends as if nothing had been."""
    resumed = killed_until_complete(zygote, place, seed=1, kills=8)

    assert differing(resumed, whole(place)) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(15))
def test_killed_many_times_and_resumed_is_equal(place, zygote, seed):
    """The same with a hundred and twenty kills, each at another moment."""
    resumed = killed_until_complete(zygote, place, seed=100 + seed, kills=8)

    assert differing(resumed, whole(place)) == []


def test_the_kills_see_a_resume_at_the_wrong_row(place, zygote):
    """The same harness finds that a resume which starts the epoch in progress again does not end equal."""
    config = write_config(training={"epochs": 6, "early_stopping": None})
    code = zygote.run(["train", config], place, phase="batches", signal=signal.SIGKILL, skip=10)
    assert code == -signal.SIGKILL

    ended = zygote.run(["train", config, "--resume"], place, **{"break": "forget row"})

    assert ended != 0 or differing(outcome(place / "runs/people"), whole(place))


def test_the_kills_see_a_save_in_place(place, zygote):
    """The same harness finds that checkpoints which are written over the old ones are lost at a kill."""
    config = write_config(training={"epochs": 6, "early_stopping": None})
    how = {"break": "save in place"}
    lost = 0
    for skip in range(1, 6):
        shutil.rmtree("runs", ignore_errors=True)
        pid = zygote.start(["train", config], place, phase="saving", signal=signal.SIGCONT, skip=skip, **how)
        path = place / "runs/people/last.npz"
        before = time.monotonic()
        while time.monotonic() - before < 5 and not path.exists():
            time.sleep(0.001)
        time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        zygote.wait(pid)
        try:
            checkpoint.read(path)
        except CheckpointError:
            lost += 1

    assert lost


def started_at_once(zygote, place, arguments, n, wait_for=0, **how):
    """The exit codes of n processes that start in the same instant; none makes a step before `wait_for` have ended."""
    at, hold = time.monotonic() + 0.3, place / "go"
    for _ in range(n):
        zygote.start(arguments, place, at=at, hold=str(hold), **how)
    codes = [zygote.wait(0) for _ in range(wait_for)]
    hold.touch()
    return codes + [zygote.wait(0) for _ in range(n - wait_for)]


def whole_runs(place):
    """The folders under runs/ that hold a whole run, each with a number of its own."""
    found = {}
    for path in sorted((place / "runs").iterdir()):
        if (path / "metrics.json").exists():
            held = checkpoint.read(path / "last.npz").header
            notes = json.loads((path / "environment.json").read_text())
            rows = (path / "metrics.csv").read_text().splitlines()
            if held["run"] == notes["run"] and len(rows) == 1 + held["epoch"]:
                found[held["run"]] = path.name
    return set(found.values())


def test_p8_twenty_starts_at_once_are_twenty_runs(place, zygote):
    """Runs that start in the same instant each get a folder of their own, and each is whole."""
    config = write_config(training={"epochs": 1})

    codes = started_at_once(zygote, place, ["train", config], 20)

    assert codes == [0] * 20
    assert whole_runs(place) == {"people", *(f"people-{i}" for i in range(2, 21))}


def test_the_starts_see_a_name_taken_twice(place, zygote):
    """The same harness finds runs that look for a free name before they take it."""
    config = write_config(training={"epochs": 1})

    codes = started_at_once(zygote, place, ["train", config], 6, **{"break": "take first name"})

    assert codes != [0] * 6 or len(whole_runs(place)) < 6


def resumable(place, zygote):
    config = write_config(training={"epochs": 6, "early_stopping": None})
    code = zygote.run(["train", config], place, phase="batches", signal=signal.SIGKILL, skip=10)
    assert code == -signal.SIGKILL
    return config


def test_p1_of_twenty_resumes_at_once_one_goes_on(place, zygote):
    """One resume has the folder; the others end at once with exit 7."""
    config = resumable(place, zygote)

    codes = started_at_once(zygote, place, ["train", config, "--resume"], 20, wait_for=19)

    assert codes == [7] * 19 + [0]
    assert whole_runs(place) == {"people"}


def test_the_resumes_see_a_folder_without_a_lock(place, zygote):
    """The same harness finds resumes that do not lock the folder."""
    config = resumable(place, zygote)

    codes = started_at_once(zygote, place, ["train", config, "--resume"], 6, **{"break": "forget lock"})

    assert sorted(codes) != [0] + [7] * 5


def test_resume_refused_says_who_has_the_run(place, zygote):
    """Whoever finds a run in use reads the process, the host and since when."""
    config = resumable(place, zygote)
    with folder.reopen(place / "runs/people"):
        code = zygote.run(["train", config, "--resume"], place, output=str(place / "said.txt"))

    assert code == 7
    assert "in use by process" in (place / "said.txt").read_text()


def test_s3_resume_that_is_killed_at_any_call_can_be_resumed(place):
    """A resume that dies at any of its calls to the file system leaves a run that another resume brings to its end."""
    mapping = settings(training={"epochs": 2, "checkpoint": {"epochs": 1}})
    expected = outcome(go({**mapping, "name": "whole"})[-1].run)
    with pytest.raises(Crash):
        go(mapping, stop=crash_at(7))
    shutil.copytree("runs/people", "kept")
    calls = []

    def act(faulty):
        shutil.rmtree("runs/people")
        shutil.copytree("kept", "runs/people")
        with faults(faulty):
            go(mapping, resume=True)

    at = 1
    while True:
        faulty = FaultyOs(at)
        act(faulty)
        calls.append(at)
        if faulty.count < at:
            break
        checkpoint.read(Path("runs/people/last.npz"))
        assert differing(outcome(go(mapping, resume=True)[-1].run), expected) == []
        at += 11  # the long form takes every call

    assert len(calls) > 10


@pytest.mark.long
def test_resume_that_is_killed_at_every_call_can_be_resumed(place):
    """The same at every single call."""
    mapping = settings(training={"epochs": 2, "checkpoint": {"epochs": 1}})
    expected = outcome(go({**mapping, "name": "whole"})[-1].run)
    with pytest.raises(Crash):
        go(mapping, stop=crash_at(7))
    shutil.copytree("runs/people", "kept")

    def act(faulty):
        shutil.rmtree("runs/people")
        shutil.copytree("kept", "runs/people")
        with faults(faulty):
            go(mapping, resume=True)

    for _ in every_call(act, FaultyOs):
        checkpoint.read(Path("runs/people/last.npz"))
        assert differing(outcome(go(mapping, resume=True)[-1].run), expected) == []
