"""`-` is stdin: tables that come through a pipe are trained on and scored as files are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fcnet

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fcnet.__file__).parents[1])}
TABLE = "a,b,y\n" + "".join(f"{i},{i * 7 % 11},{'ab'[i % 2]}\n" for i in range(60))
TRAIN = ["train", "-", "--target", "y", "recipe=plain", "training.epochs=2", "backend=numpy", "-q"]


@pytest.fixture
def piped(tmp_path):
    """Runs `fcnet ARGUMENTS` in an empty folder with `text` on stdin."""

    def run(text, *arguments):
        line = [sys.executable, "-m", "fcnet", *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=ENVIRONMENT, input=text, capture_output=True, text=True, check=False
        )

    return run


def test_training_from_a_pipe_is_training_from_the_file(piped, tmp_path):
    """The run is called stdin, its weights are those of the same table as a file, and nothing is left behind."""
    (tmp_path / "t.csv").write_text(TABLE)

    from_pipe = piped(TABLE, *TRAIN)
    from_file = piped("", "train", "t.csv", *TRAIN[2:])

    assert from_pipe.returncode == from_file.returncode == 0, from_pipe.stderr
    kept = [np.load(tmp_path / "runs" / name / "best.npz", allow_pickle=False) for name in ("stdin", "t")]
    assert np.array_equal(kept[0]["W1"], kept[1]["W1"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs", "t.csv"]
    again = piped(TABLE, *TRAIN, "--resume")
    assert again.returncode == 0
    assert "complete" in again.stderr or "stdin/best.npz" in again.stdout


def test_a_piped_table_is_scored(piped):
    """`eval --data -` scores what comes through the pipe, and says where it came from."""
    piped(TABLE, *TRAIN)

    scored = piped(TABLE, "eval", "--data", "-", "--json")

    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["data"] == "stdin"
    assert json.loads(scored.stdout)["rows"] == 60


def test_mistakes_in_a_piped_table_are_named_by_line(piped):
    """Errors name stdin and the line, never a file that the user does not know."""
    bad = TABLE.replace("\n4,", "\nfour,")

    ended = piped(bad, *TRAIN)

    assert ended.returncode == 4
    assert ended.stderr.startswith("fcnet: stdin:6: ")
    assert "stdin.csv" not in ended.stderr


def test_init_wants_a_file(piped):
    """A config names its table, so there is none for a pipe; the message says what works."""
    ended = piped(TABLE, "init", "-", "--target", "y")

    assert ended.returncode == 2
    assert "fcnet train - --target COLUMN" in ended.stderr
