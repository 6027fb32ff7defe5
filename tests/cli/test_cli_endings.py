"""How a command ends when the world around it fails: exit codes, one plain line, and never a traceback."""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from fcnet import errors, signals

run = partial(subprocess.run, check=False)

STAGED = """
import sys
from types import SimpleNamespace
import fcnet
{before}
fcnet.api = sys.modules["fcnet.api"] = SimpleNamespace(evaluate=evaluate)
from fcnet.cli import main
sys.exit(main(["eval", "--json", "run.npz"]))
"""


def process(body, **options):
    """One `fcnet eval --json` whose `evaluate` is staged by `body`."""
    before = "def evaluate(*_, **__):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return run([sys.executable, "-c", STAGED.format(before=before)], text=True, **options)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.ConfigError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.CheckpointError("x"), 5),
        (errors.StorageError("x"), 6),
        (errors.InUseError("x"), 7),
        (errors.DivergedError("x"), 8),
        (errors.LimitError("x"), 9),
        (errors.Stopped("x", 75), 75),
        (errors.Stopped("x", 130), 130),
        (MemoryError(), 9),
        (KeyboardInterrupt(), 130),
        (signals.Interrupted(75), 75),
        (signals.Interrupted(130), 130),
        (OSError(28, "No space left on device", "some/file"), 6),
        (RecursionError("too deep"), 1),
        (EOFError("no more"), 1),
        (BrokenPipeError(32, "Broken pipe"), 141),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_failure_has_its_exit_code_and_no_traceback(api, call, monkeypatch, tmp_path, error, code):
    """Whatever is raised, stdout stays empty, stderr has at most one line, and the exit code is the contract's."""

    def evaluate(*_, **__):
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fcnet.cli.streams.abandon", lambda *_: None)
    api.evaluate = evaluate

    found, out, err = call("eval", "run.npz", "--json")

    assert (found, out) == (code, "")
    assert err.count("\n") == (0 if code == 141 else 1)
    assert "Traceback" not in err


def test_a_bug_leaves_its_traceback_in_a_file(api, call, monkeypatch, tmp_path):
    """An unforeseen exception is one line that names the file with the traceback."""

    def evaluate(*_, **__):
        raise ValueError("a\nb\x1b[31m")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api.evaluate = evaluate

    code, _, err = call("eval", "run.npz")

    path = Path(err.rstrip("\n").rpartition(" ")[2])
    assert code == 1
    assert err.startswith("fcnet: a bug in fcnet (ValueError: a); please report it with the file ")
    assert path.parent == tmp_path
    assert "ValueError: a\nb" in path.read_text("utf-8")


def test_fcnet_debug_prints_the_traceback(api, call, monkeypatch, tmp_path):
    """With FCNET_DEBUG=1 the traceback is on stderr as well."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("FCNET_DEBUG", "1")
    api.evaluate = lambda *_, **__: 1 / 0

    code, _, err = call("eval", "run.npz")

    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError" in err


def test_f18_a_full_disk_behind_stdout_is_6():
    """Results that could not be written are an error that says so, and not a success."""
    with open("/dev/full", "w") as full:
        done = process("return {'notices': []}", stdout=full)

    assert done.returncode == 6
    assert done.stderr == ("fcnet: standard output: the disk is full; free some space or choose another folder\n")


def test_no_place_for_temporary_files_is_no_fault_of_stdout(call, monkeypatch, tmp_path):
    """Where a table from a pipe cannot be kept anywhere, the error says what is missing and how it is named."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])

    code, out, err = call("eval", "--data", "-")

    assert (code, out) == (6, "")
    assert err == "fcnet: there is no folder for temporary files that can be written; name one with TMPDIR\n"


def test_a_working_directory_that_has_gone_is_said_to_be(call, monkeypatch, tmp_path):
    """Whoever stands in a deleted folder learns of that, and not of stdout or temporary files."""
    (tmp_path / "table.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    code, out, err = call("train", "--target", "y", str(tmp_path / "table.csv"))

    assert (code, out) == (6, "")
    assert err == "fcnet: the working directory has been deleted; go to one that is there\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["schema"]])
def test_f18_a_closed_stdout_is_6(arguments):
    """With stdout closed nothing can be said, and nothing is lost in silence."""
    command = 'exec "$0" -m fcnet "$@" >&-'

    done = run(["bash", "-c", command, sys.executable, *arguments], capture_output=True, text=True)

    assert done.returncode == 6
    assert done.stderr == "fcnet: standard output: it is closed\n"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_s11_a_closed_or_full_stderr_harms_nothing(redirection, tmp_path):
    """What is said on stderr may be lost; the result and the exit code are not."""
    command = f'exec "$0" -m fcnet --version {redirection}'
    wrong = f'exec "$0" -m fcnet trian {redirection}'

    good = run(["bash", "-c", command, sys.executable], stdout=subprocess.PIPE, text=True)
    bad = run(["bash", "-c", wrong, sys.executable], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    assert (good.returncode, good.stdout[:6]) == (0, "fcnet ")
    assert bad.returncode == 2


def test_f18_a_reader_that_went_away_is_quiet():
    """`fcnet … | head` ends with 141 and without a word."""
    read, write = os.pipe()
    os.close(read)

    done = process("return {'notices': [], 'scores': list(range(100_000))}", stdout=write)
    os.close(write)

    assert (done.returncode, done.stderr) == (141, "")


def test_letters_that_a_stream_lacks_are_escaped():
    """On a terminal that knows ASCII alone the result is legible and the command does not fail."""
    done = run(
        [sys.executable, "-m", "fcnet", "trian→"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "trian\\u2192" in done.stderr
