"""Signals: which exit code they become, when they interrupt, when they wait, and that the second one does not wait."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fcnet
from fcnet.cli.group import COMMANDS

PLAIN = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)]

START = """
import os, signal, sys, time
from fcnet import signals
signals.install()
def ready():
    print("ready", flush=True)
"""


def started(body, before=""):
    """A Python process that has come as far as its first line of output."""
    child = subprocess.Popen(
        [sys.executable, "-c", before + START + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


def ended(child):
    try:
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
    return child.returncode, out, err


@pytest.mark.parametrize(("number", "code"), CODES)
def test_s5_s6_s7_in_a_loop_that_polls_a_signal_is_a_flag(number, code):
    """While a net trains the signal waits until the loop asks, so that the batch and the save end well."""
    child = started(
        """
with signals.raising(), signals.polling():
    ready()
    while signals.stop() is None:
        time.sleep(0.01)
print("saved", signals.stop())
"""
    )

    child.send_signal(number)

    assert ended(child) == (0, f"saved {code}\n", "")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_s10_where_nothing_is_to_be_saved_a_signal_interrupts_at_once(number, code):
    """A read from a pipe that stays silent ends with the signal, and `finally` runs."""
    child = started(
        """
try:
    with signals.raising():
        ready()
        sys.stdin.read()
except signals.Interrupted as end:
    print("cleaned")
    sys.exit(end.exit_code)
"""
    )

    child.send_signal(number)
    code_found = child.wait(timeout=20)  # while its stdin is still open

    assert code_found == code
    assert ended(child)[1] == "cleaned\n"


def test_s6_a_second_signal_stops_on_the_spot():
    """Whoever presses Ctrl-C twice does not wait for the save."""
    child = started(
        """
ready()
while signals.stop() is None:
    time.sleep(0.01)
print("first", flush=True)
while True:
    time.sleep(0.01)
"""
    )

    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "first\n"
    child.send_signal(signal.SIGINT)

    assert ended(child) == (130, "", "\n")


def test_s8_a_signal_that_came_early_is_not_lost():
    """A signal during the imports takes effect as soon as the work would begin."""
    child = started(
        """
os.kill(os.getpid(), signal.SIGTERM)
ready()
try:
    with signals.raising():
        print("began")
except signals.Interrupted as end:
    sys.exit(end.exit_code)
"""
    )

    assert ended(child) == (75, "", "")


def test_s7_s14_an_ignored_signal_stays_ignored():
    """Under nohup the run survives the end of the terminal."""
    child = started(
        "ready(); time.sleep(0.2); print(signals.stop())", "import signal; signal.signal(1, signal.SIG_IGN)\n"
    )

    child.send_signal(signal.SIGHUP)

    assert ended(child) == (0, "None\n", "")


def test_a_signal_inside_a_destructor_is_not_printed_and_forgotten():
    """Where Python would swallow the interruption, the process ends with the code all the same."""
    child = started(
        """
class Slow:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
ready()
with signals.raising():
    Slow()
    print("went on")
"""
    )

    assert ended(child) == (75, "", "\n")


COMMAND = """
import sys
from types import SimpleNamespace
import fcnet
def evaluate(*_, **__):
    print("ready", flush=True)
    sys.stdin.read()
fcnet.api = sys.modules["fcnet.api"] = SimpleNamespace(evaluate=evaluate)
from fcnet.cli import main
sys.exit(main(["eval", "run.npz"]))
"""


@pytest.mark.parametrize(("number", "code", "by"), [(2, 130, "by Ctrl-C"), (15, 75, "by a signal")])
def test_a_command_that_is_stopped_says_so_in_one_line(number, code, by):
    """`fcnet eval` stopped while it waits for input ends at once with the code and one line."""
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"

    os.kill(child.pid, number)

    assert ended(child) == (code, "", f"fcnet: stopped {by}\n")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_s5_a_signal_while_a_config_is_checked_is_no_bug(number, code, tmp_path):
    """Whatever the check of a config is at, a signal ends the command."""
    body = """
import threading
from fcnet.config import strict
from fcnet.cli.run import run
keys = strict.keys
def slow(cls):
    os.kill(os.getpid(), int(sys.argv[1]))
    return keys(cls)
strict.keys = slow
ready()
sys.exit(run(["check", "c.yaml"]))
"""
    (tmp_path / "c.yaml").write_text("data: {train: t.csv, target: y}\n")

    done = subprocess.run(
        [sys.executable, "-c", START + body, str(int(number))],
        cwd=tmp_path,
        env=PLAIN,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr


def test_a_signal_after_the_end_changes_nothing(tmp_path):
    """Once a command has its exit code, a signal during the interpreter's last moments does not change it."""
    body = """
import atexit
atexit.register(lambda: (ready(), sys.stdin.readline()))
from fcnet.cli import main
sys.exit(main(["--version"]))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", START + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "fcnet" in child.stdout.readline()
    assert child.stdout.readline() == "ready\n"

    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate("\n", timeout=20)

    assert (child.returncode, err) == (0, "")


def test_s8_handlers_stand_before_anything_large_is_imported():
    """`import fcnet.cli` reads nothing of the library, nor typing, dataclasses or click."""
    script = "import sys; before = set(sys.modules); import fcnet.cli; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, env=PLAIN)

    heavy = {"typing", "dataclasses", "click", "re", "inspect", "numpy", "pathlib"}
    assert "fcnet.cli" in done.stdout
    assert not {name for name in heavy if f"'{name}'" in done.stdout}, done.stdout


LONG = 'import hashlib; hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes, and no step of Python in them'


@pytest.mark.parametrize(("number", "code"), CODES)
@pytest.mark.parametrize("phase", ["signals.raising()", "contextlib.nullcontext()"])
def test_s5_one_long_step_does_not_put_the_end_off(phase, number, code):
    """While it sorts, multiplies, imports or clears up, a command ends soon and says so, with what comes next."""
    child = started(
        f"""
import contextlib
signals.PATIENCE = 0.01
signals.watch()
signals.hint("next: this")
with {phase}:
    try:
        ready()
        time.sleep(60)
    except signals.Interrupted:
        {LONG}
"""
    )

    child.send_signal(number)

    by = "by Ctrl-C" if code == 130 else "by a signal"
    assert ended(child) == (code, "", f"fcnet: stopped {by}\nnext: this\n")


def test_s5_what_must_be_saved_is_given_its_time():
    """While a net trains, a signal leaves the end to the loop, however long a batch takes."""
    child = started(
        """
signals.PATIENCE = 0.01
signals.watch()
with signals.raising(), signals.polling():
    ready()
    while signals.stop() is None:
        pass
    time.sleep(0.3)
print("saved")
"""
    )

    child.send_signal(signal.SIGTERM)

    assert ended(child) == (0, "saved\n", "")


def test_what_was_begun_is_taken_away_when_a_signal_ends_the_process_on_the_spot(tmp_path):
    """Neither a half file, nor a temporary one, nor the folder for a table from stdin is left by one long step."""
    (tmp_path / "out").mkdir()
    (tmp_path / "spool").mkdir()
    child = started(
        f"""
import io, tempfile
from pathlib import Path
from fcnet import files
from fcnet.cli.spool import spooled
tempfile.tempdir = "{tmp_path}/spool"
sys.stdin = io.TextIOWrapper(io.BytesIO(b"a"))
signals.watch()
with spooled(Path("-")), files.Folder(Path("{tmp_path}/out")) as folder:
    with folder.stream("predictions.csv") as file:
        file.write(b"a")
        file.flush()
        assert list(Path("{tmp_path}").glob("*/*fcnet*"))
        ready()
        {LONG}
"""
    )

    child.send_signal(signal.SIGTERM)
    code, _, _ = ended(child)

    assert code == 75
    assert [path.name for path in tmp_path.glob("*/*")] == []


@pytest.mark.parametrize(("number", "code"), CODES)
def test_s5_schema_stops_as_well(number, code):
    """`fcnet schema` ends with the code of the signal that came while it was read in."""
    child = started(
        """
import fcnet.config.reference as reference
from fcnet.cli.run import run
reference.jsonschema = lambda: (ready(), sys.stdin.read())
sys.exit(run(["schema"]))
"""
    )

    child.send_signal(number)

    assert child.wait(timeout=20) == code
    assert ended(child)[1] == ""


def test_a_signal_to_a_forked_child_does_not_end_its_parent():
    """What a child process gets does not come to the one that it was forked from."""
    child = started(
        """
signals.PATIENCE = 0.01
signals.watch()
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(signals.stop())
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
ready()
sys.stdin.readline()
time.sleep(0.1)
print(code)
"""
    )

    assert ended(child) == (0, "75\n", "")


ARGUMENTS = {
    "train": ["c.yaml"],
    "predict": ["t.csv"],
    "init": ["t.csv", "--target", "y"],
    "check": ["c.yaml"],
    "explain": ["c.yaml"],
    "bench": ["c.yaml"],
    "compare": ["a", "b"],
    "export": ["a", "--format", "c"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_s5_every_command_stops_while_it_is_read_in(command, tmp_path):
    """However long the imports of a command take, a signal ends it with its code, one line and no file."""
    child = started(
        f"""
class Slow:
    def find_spec(self, name, *_):
        if name.startswith("fcnet.") and not name.startswith("fcnet.cli") and "fcnet.cli.group" in sys.modules:
            signals.PATIENCE = 0.01
            ready()
            time.sleep(60)
import fcnet.cli.run
sys.meta_path.insert(0, Slow())
os.chdir("{tmp_path}")
sys.exit(fcnet.cli.main({[command, *ARGUMENTS.get(command, [])]}))
"""
    )

    child.send_signal(signal.SIGTERM)
    code, out, err = ended(child)

    assert (code, out, err.splitlines()[0]) == (75, "", "fcnet: stopped by a signal")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_comes_when_a_file_has_its_name_comes_too_late(tmp_path):
    """A command that says it was stopped has left no file: from the renaming on, its work counts as done."""
    child = started(
        f"""
from pathlib import Path
from fcnet import files
rename = os.replace
def replace(*names, **folders):
    rename(*names, **folders)
    os.kill(os.getpid(), signal.SIGTERM)
os.replace = replace
ready()
sys.stdin.readline()
with signals.raising():
    files.write_file(Path("{tmp_path}/out.yaml"), b"a")
print("written")
"""
    )

    assert ended(child) == (0, "written\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out.yaml"]
