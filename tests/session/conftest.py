"""Makes the fault injector of the file tests importable here, and gives tests a place with a small table."""

import sys
from pathlib import Path

import pytest
import session_runs

sys.path.append(str(Path(__file__).parents[1] / "runs"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory with `people.csv`; every checkpoint that is due is saved, however soon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcnet.runs.saver.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("os.fsync", lambda fd: None)  # the disk under the tests is not what is tested here
    session_runs.write_table(tmp_path / "people.csv")
    return tmp_path


@pytest.fixture(scope="session")
def zygote():
    """A process that forks runs on request."""
    with session_runs.Zygote() as process:
        yield process
