"""What the program never does outside its folder, and what it does not do without end."""

import shutil
import subprocess
import sys

import pytest
from faults_cases import ENVIRONMENT, HEADER, SETTINGS, rows

WATCHED = """
import sys

FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork", "os.spawn")


def watch(event, arguments):
    if event.startswith(FORBIDDEN):
        sys.stderr.write(f"{event} {arguments}\\n")
        sys.stderr.flush()
        import os

        os._exit(99)


sys.addaudithook(watch)
if sys.argv[1] == "dial":
    import socket

    socket.socket()
from fcnet.cli import main

sys.exit(main(sys.argv[1:]))
"""


def watched(folder, *arguments):
    """One command line in a process that ends with 99 at the first socket or subprocess."""
    line = [sys.executable, "-c", WATCHED, *arguments]
    return subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


COMMANDS = [["train", "t.csv", "--target", "label", *SETTINGS], ["eval"], ["predict", "t.csv"]]


def test_x16_no_network_and_no_other_program(tmp_path):
    """Training, scoring and predicting open no socket and start no process; the watch sees one that is planted."""
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")

    for line in COMMANDS:
        ended = watched(tmp_path, *line)
        assert ended.returncode == 0, ended.stderr

    assert watched(tmp_path, "dial").returncode == 99


@pytest.mark.skipif(shutil.which("strace") is None, reason="the system calls are watched with strace")
def test_x16_no_system_call_for_network_or_programs(tmp_path):
    """Nor does any library underneath: the only program that the kernel is asked to run is fcnet itself."""
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    strace = ["strace", "-f", "-qq", "-e", "trace=%network,execve", "-o", "calls", sys.executable, "-c"]
    fcnet = "import sys; from fcnet.cli import main; sys.exit(main(sys.argv[1:]))"
    dial = "import socket; socket.socket()"
    seen = []

    for line in [*([fcnet, *line] for line in COMMANDS), [dial]]:
        ended = subprocess.run([*strace, *line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stderr
        seen.append((tmp_path / "calls").read_text().splitlines()[1:])  # the first is the start of Python

    assert seen[:-1] == [[], [], []]
    assert any("socket(" in call for call in seen[-1])


def test_r7_epochs_without_end_leave_a_log_of_those_that_were_made(tmp_path):
    """Of two thousand million epochs only those until early stopping are made, with one row each in the log."""
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    many = [s for s in SETTINGS if not s.startswith("training.epochs")]

    ended = watched(
        tmp_path, "train", "t.csv", "--target", "label", *many, "training.epochs=2000000000", "backend=numpy"
    )

    assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "runs" / "t" / "metrics.csv").read_text().splitlines()
    assert 21 < len(lines) < 2000
