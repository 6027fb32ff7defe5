"""A signal in any phase ends a command soon, with the right code, with everything saved and a word on how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from session_runs import differing, go, outcome, settings, write_table

import fcnet
from fcnet.config import dump
from fcnet.runs import checkpoint

CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGHUP: 75}
# phase, calls of it that go by before the signal comes, whether a step was made by then
PHASES = [
    ("loading", 0, False),
    ("batches", 3, True),
    ("validation", 1, True),
    ("validation", 5, True),
    ("saving", 2, True),
]


@pytest.fixture
def config(place):
    Path("people.yaml").write_text(dump(settings(training={"epochs": 5, "early_stopping": None})))
    return "people.yaml"


def stopped(zygote, place, arguments, number, phase, skip, **how):
    """The exit code and what was said by a command that gets the signal in the phase."""
    said = place / "said.txt"
    code = zygote.run(arguments, place, signal=number, phase=phase, skip=skip, output=str(said), **how)
    return code, said.read_text()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the run ends with when nothing interrupts it."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("whole")
    os.chdir(folder)
    try:
        write_table(folder / "people.csv")
        return outcome(go(settings(training={"epochs": 5, "early_stopping": None}))[-1].run)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize(("phase", "skip", "stepped"), PHASES, ids=str)
def test_s5_s6_s7_training_that_gets_a_signal_saves_and_says_how_to_go_on(
    place, zygote, config, expected, phase, skip, stepped, number
):
    """Exit 130 for Ctrl-C and 75 for the others; the checkpoint loads, and the printed command ends the run equal."""
    code, said = stopped(zygote, place, ["train", config], number, phase, skip)

    assert code == CODES[number]
    assert "next: fcnet train people.yaml --resume" in said
    assert "Traceback" not in said
    if stepped:
        assert checkpoint.read(place / "runs/people/last.npz").header["step"] > 0
        assert "saved runs/people/last.npz" in said
    if number == signal.SIGTERM:
        assert zygote.run(["train", config, "--resume"], place) == 0
        assert differing(outcome(place / "runs/people"), expected) == []


def test_the_signals_see_a_loop_that_does_not_look(place, zygote, config):
    """The same harness finds a training that pays no attention to signals."""
    code, _ = stopped(zygote, place, ["train", config], signal.SIGTERM, "batches", 3, **{"break": "never poll"})

    assert code != 75


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(("phase", "skip"), [("batches", 6), ("saving", 3)])
def test_second_signal_stops_at_once_and_leaves_the_old_checkpoint(
    place, zygote, config, expected, phase, skip, number
):
    """Whoever presses Ctrl-C twice does not wait for the save; what was saved before is whole, and resumes."""
    code, said = stopped(zygote, place, ["train", config], number, phase, skip, times=2)

    assert code == CODES[number]
    assert "saved" not in said
    if phase == "batches":
        checkpoint.read(place / "runs/people/last.npz")
    assert zygote.run(["train", config, "--resume"], place) == 0
    assert differing(outcome(place / "runs/people"), expected) == []


def test_signal_while_the_last_scores_are_computed(place, zygote, config, expected):
    """After the last epoch everything is saved: the run is not complete, and a resume completes it."""
    code, said = stopped(zygote, place, ["train", config], signal.SIGTERM, "validation", 6)

    assert code == 75
    assert "after the last epoch" in said
    assert not (place / "runs/people/metrics.json").exists()
    assert zygote.run(["train", config, "--resume"], place) == 0
    assert differing(outcome(place / "runs/people"), expected) == []


def test_signal_while_a_resume_reads_its_data(place, zygote, config, expected):
    """A resume that is stopped before its first step leaves the run as it was, and free for the next."""
    stopped(zygote, place, ["train", config], signal.SIGTERM, "batches", 5)
    before = (place / "runs/people/last.npz").read_bytes()

    code, _ = stopped(zygote, place, ["train", config, "--resume"], signal.SIGINT, "loading", 0)

    assert code == 130
    assert (place / "runs/people/last.npz").read_bytes() == before
    assert zygote.run(["train", config, "--resume"], place) == 0
    assert differing(outcome(place / "runs/people"), expected) == []


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("arguments", "phase"),
    [(["predict", "people.csv"], "prediction"), (["predict", "people.csv"], "loading"), (["eval"], "evaluation")],
    ids=str,
)
def test_eval_and_predict_end_at_once_and_leave_nothing(place, zygote, arguments, phase, number):
    """`eval` and `predict` end with the same codes, and no part of a predictions file is left."""
    go(settings(training={"epochs": 1}))
    before = set(place.iterdir())

    code, said = stopped(zygote, place, arguments, number, phase, 0)

    assert code == CODES[number]
    assert said.splitlines()[-1] == ("fcnet: stopped by Ctrl-C" if code == 130 else "fcnet: stopped by a signal")
    assert set(place.iterdir()) - before == {place / "said.txt"}


def test_ignored_hangup_stays_ignored(place, zygote, config):
    """Under nohup the end of the terminal changes nothing."""
    code = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from fcnet import cli
from fcnet.training.program import Program
real = Program.run
def run(*arguments):
    os.kill(os.getpid(), signal.SIGHUP)
    real(*arguments)
Program.run = run
raise SystemExit(cli.main(["train", "people.yaml", "-q"]))
"""

    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(fcnet.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


def test_time_limit_from_the_command_line(place, zygote, config):
    """`--max-time` ends the run with exit 75 and a checkpoint, by the clock and without a signal."""
    said = place / "said.txt"
    arguments = ["train", config, "--max-time", "0.2s", "training.epochs=1000000"]

    code = zygote.run(arguments, place, output=str(said))

    assert code == 75
    assert "by the time limit" in said.read_text()
    assert "--resume" in said.read_text()
    assert checkpoint.read(place / "runs/people/last.npz").header["step"] > 0


def test_s15_stop_and_continue_loses_nothing(place, zygote, config, expected):
    """A process that is stopped and goes on later ends as if nothing had been."""
    pid = zygote.start(["train", config], place)
    time.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)

    assert zygote.wait(pid) == 0
    assert differing(outcome(place / "runs/people"), expected) == []
