"""The README is under test: what a newcomer would paste works as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """One command, in a folder."""
    return subprocess.run(words, cwd=folder, env=ENV, capture_output=True, text=True, check=False)


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


LINES = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [line.split("  #")[0].strip() for line in LINES if line.startswith("fcnet ")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("data", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def test_the_commands_run_in_their_order(clone: Path) -> None:
    """Each ends with exit code 0; those that only the one-line setup runs come first."""
    first = next(line for line in LINES if ".venv/bin/fcnet" in line).split(".venv/bin/")[-1]
    assert len(COMMANDS) >= 8

    for command in [first, *COMMANDS]:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = run(words, clone)
        assert done.returncode == 0, f"{command}\n{done.stderr}"

    assert (clone / "digits.predictions.csv").is_file()
    assert (clone / "runs" / "iris" / "report.html").is_file()


def test_the_python_lines_run(clone: Path) -> None:
    """The library does what the README says."""
    script, _ = blocks("python")  # the other is in tests/estimators, as it needs an extra

    done = run([sys.executable, "-c", script], clone)

    assert done.returncode == 0, done.stderr
    assert "setosa" in done.stdout


def test_the_config_of_the_readme_is_one(clone: Path) -> None:
    """`fcnet check` finds nothing wrong with it."""
    (text,) = blocks("yaml")
    (clone / "readme.yaml").write_text(text, encoding="utf-8")

    done = run([sys.executable, "-m", "fcnet", "check", "readme.yaml"], clone)

    assert done.returncode == 0, done.stderr
