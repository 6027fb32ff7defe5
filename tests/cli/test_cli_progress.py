"""Progress on a real terminal: a bar while it runs, plain lines where a bar would not work, and no trace afterwards."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import fcnet
from fcnet.cli.progress import _told
from fcnet.training.events import Epoch

RUN = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
import fcnet
from fcnet.training.events import Epoch, Finished, Glance, Notice, Progress, Saving, Started

data = ("multiclass", 1797, 64, 0, ("digit",), 10, 1257, 270, 270)
head = Glance("dig\\x1b[5mits", *data, (64, 10), (), 650, "adam", 1e-3, "numpy", 2)
part = {"loss": 0.1, "accuracy": {"value": 0.9, "trivial": 0.1}}

def training(config, **_):
    yield Notice("target: classes")
    yield Started(Path("runs/digits"), head)
    for epoch in range(1, 4):
        for row in (300, 900, 1257):
            time.sleep(0.06)
            yield Progress(epoch, 3, 10, row, 1257, 0.5, 35120.0)
            yield Saving(Path("runs/digits/last.npz"))
            if (epoch, row) == (2, 900):
                time.sleep(float(os.environ.get("DELAY", "0")))
        yield Epoch(epoch, 3, 40, 1e-3, 0.5, {"loss": 0.6, "accuracy": 0.91}, 0.3, 0.3, True)
    parts = {"train": part, "validation": part, "test": part}
    yield Finished(Path("runs/digits"), {"best_epoch": 3, "epochs": 3, **parts}, "done")

fcnet.api = sys.modules["fcnet.api"] = SimpleNamespace(training=training)
Path("digits.yaml").write_text("data: {train: digits.csv, target: digit}")
from fcnet.cli import main
sys.exit(main(["train", "digits.yaml", *sys.argv[1:]]))
"""


def on_terminal(folder, columns, *arguments, **environment):
    """What a terminal of that width receives from a run whose three streams it is, and the exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment = {**inherited, "TERM": "xterm", **environment}
    environment["PYTHONPATH"] = str(Path(fcnet.__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the last writer has gone
            break
        if not block:
            break
        seen += block
    os.close(master)
    return child.wait(timeout=20), seen.decode().replace("\r\n", "\n")


def left_over(text):
    """What is still on the screen: of every line, what came after its last return to the start."""
    return [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]


def test_a_terminal_shows_one_bar_and_keeps_the_summary(tmp_path):
    """While it runs: place, loss, validation metric, rows a second, time left. Afterwards: the summary alone."""
    code, text = on_terminal(tmp_path, 100)

    assert code == 0
    assert "epoch 2/3 |" in text
    assert re.search(r"%, loss 0\.500, val accuracy 0\.910, 35,120 rows/s, [\d:]+ left", text)
    assert left_over(text) == [
        "notice: target: classes",
        "dig\\x1b[5mits  1,797 rows · 64 numbers → 10 classes (digit) · 1,257 train, 270 validation, 270 test",
        "net            64 → 10 · 650 parameters · adam 1e-3 · numpy, 2 threads",
        "best           epoch 3 of 3      validation    test    guessing the majority",
        "               accuracy               0.900   0.900                    0.100",
        "files          runs/digits/best.npz …    next: fcnet predict YOUR.csv",
        "",
    ]
    assert "\x1b[5m" not in text
    assert not re.search(r"\x1b\[[0-9;]*m", text)  # no colour, with NO_COLOR and without it


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(100, {"TERM": "dumb"}), (1, {"NO_COLOR": "1"})],
    ids=["F20-dumb", "F20-width-1"],
)
def test_where_a_bar_would_not_work_there_are_plain_lines(tmp_path, columns, environment):
    """A dumb or very narrow terminal gets lines without a single control code."""
    code, text = on_terminal(tmp_path, columns, **environment)

    assert code == 0
    assert "\r" not in text
    assert "\x1b" not in text
    assert "epoch 1/3  loss 0.500" in text


def test_a_dumb_terminal_shows_every_block_once(tmp_path):
    """Where both streams are the same terminal, the head stands at the start and not again at the end."""
    _, text = on_terminal(tmp_path, 100, TERM="dumb")

    starts = [line.split()[0] for line in text.splitlines()]
    block = ["dig\\x1b[5mits", "net", "best", "accuracy", "files"]
    assert [start for start in starts if start in block] == block


def test_a_terminal_of_unknown_width_works(tmp_path):
    """A terminal that says it has no columns still gets its bar and its summary."""
    code, text = on_terminal(tmp_path, 0)

    assert code == 0
    assert "loss 0.500" in text
    assert "files          runs/digits/best.npz" in text


def test_verbose_lines_stand_above_the_bar(tmp_path):
    """-v keeps a line for every epoch beside the bar."""
    _, text = on_terminal(tmp_path, 100, "-v")

    assert sum("best" in line and line.startswith("epoch") for line in left_over(text)) == 3


SLOW = """
import os, sys, time
from fcnet.cli import main

def fsync(fd, real=os.fsync):
    time.sleep(0.4)
    real(fd)

os.fsync = fsync
sys.exit(main(["train", "t.csv", "--target", "y", "training.epochs=1", *sys.argv[1:]]))
"""


def test_r10_a_slow_disk_is_named_while_it_is_waited_for(tmp_path):
    """Where flushing takes long, the progress says that it is saving and what; quiet runs, and fast disks, do not."""
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    environment = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}

    loud, quiet = (
        subprocess.run(
            [sys.executable, "-c", SLOW, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for arguments in ([], ["-q"])
    )

    assert loud.returncode == quiet.returncode == 0
    assert "saving runs/t/last.npz, the disk is slow\n" in loud.stderr
    assert "saving" not in quiet.stderr


def test_a_slow_disk_is_named_in_the_bar(tmp_path):
    """On a terminal the bar says it; a save that takes no time is not mentioned."""
    fast = on_terminal(tmp_path, 100)[1]
    slow = on_terminal(tmp_path, 100, DELAY="1.5")[1]

    assert "saving" not in fast
    assert "%, saving runs/digits/last.npz, the disk is slow, " in slow
    assert left_over(slow) == left_over(fast)


def test_quiet_has_no_bar(tmp_path):
    """-q shows the summary alone, without a return to the start of a line."""
    _, text = on_terminal(tmp_path, 100, "-q")

    assert "\r" not in text
    assert text.startswith("dig")


def test_a_line_of_an_epoch_has_as_many_scores_as_fit(tmp_path):
    """Where nobody says how wide a line may be, 80 columns are enough, and what is left out is marked."""
    val = {"loss": 0.1, "accuracy": 0.9, "balanced_accuracy": 0.9, "log_loss": 0.1}
    epoch = Epoch(7, 100, 40, 1e-3, 0.5, val, 0.3, 0.3, True)

    assert _told(epoch, 80) == "epoch   7/100  loss 0.500  val_loss 0.100  val_accuracy 0.900  …  0.3 s  best"
    assert _told(epoch, 200).count("val_") == 4
