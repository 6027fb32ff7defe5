"""What predicting holds in memory does not grow with rows × classes: measured on a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fcnet

CLASSES = 120

PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
import fcnet
from fcnet.cli import main

what, run, source, output = sys.argv[1:]
if what == "command":
    assert main(["predict", source, "-c", run, "-o", output, "-q"]) == 0
elif what == "evaluate":
    assert fcnet.load(run).evaluate(source)["rows"] > 1000
elif what == "predict":
    assert fcnet.load(run).predict(source).ndim == 1
else:
    assert fcnet.load(run).predict_proba(source).ndim == 2
status = Path("/proc/self/status")
if status.exists():  # of this program alone, and not of the process that it was forked from
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of 120 classes and one feature."""
    folder = tmp_path_factory.mktemp("many")
    x = np.arange(10.0 * CLASSES) % 10
    y = np.array([f"class {i % CLASSES}" for i in range(len(x))], dtype=object)
    config = {
        "name": "many",
        "output": str(folder),
        "data": {"target": "y"},
        "network": {"layers": [8]},
        "training": {"epochs": 1},
    }
    return fcnet.train(config, data={"a": x, "y": y}).path


def peak(what: str, run: Path, source: Path, output: Path) -> int:
    """Bytes that the process took at most."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, what, run, source, output], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["command csv", "command parquet", "predict csv", "predict_proba csv", "evaluate csv"])
def test_memory_does_not_follow_rows_times_classes(tmp_path: Path, run: Path, what: str) -> None:
    """100,000 rows of two bytes with 120 classes: the table of their probabilities is not there twice.

    It has 96 MB in float64, and ten times that as text on its way to a file.
    """
    call, suffix = what.split()
    if suffix == "parquet":
        pytest.importorskip("polars")
    few, many = tmp_path / "few.csv", tmp_path / "many.csv"
    header, row = ("a,y\n", "1,class 7\n") if call == "evaluate" else ("a\n", "1\n")
    few.write_text(header + row * 5_000)
    many.write_text(header + row * 100_000)

    more = peak(call, run, many, tmp_path / f"out.{suffix}") - peak(call, run, few, tmp_path / f"out.{suffix}")

    assert more < (1.0 if call == "evaluate" else 1.6) * 8 * 100_000 * CLASSES


def test_scores_do_not_depend_on_how_many_rows_are_looked_at(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """Loss and metrics, and those of the trivial predictor, are the same from a few rows at a time as from all."""
    x = np.arange(7000.0) % 10
    data = {"a": x, "y": np.array([f"class {i % CLASSES}" for i in range(len(x))], dtype=object)}
    whole = fcnet.load(run).evaluate(data)
    monkeypatch.setattr("fcnet.training.scoring.CELLS", 1)

    assert fcnet.load(run).evaluate(data) == whole
