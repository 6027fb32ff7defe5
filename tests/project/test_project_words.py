"""docs/coming-from.md is under test: our words exist, theirs lead to ours, and the commands run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fcnet.config import reference, synonyms

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*?`) \| (`[^|]*?`) \|", PAGE, re.MULTILINE)
KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*")


def codes(cell: str) -> list[str]:
    """What stands in backquotes in a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_key_of_the_page_is_one() -> None:
    """Each word of ours that looks like a key of the config is a key."""
    known = {row.key.split(" ")[0] for row in reference.table()}
    ours = {word for _, cell in ROWS for word in codes(cell) if KEY.fullmatch(word)}

    assert len(ours) > 15
    assert ours - known == set()


def test_other_names_lead_to_the_key_beside_them() -> None:
    """A name that fcnet knows from elsewhere is in the row of the key that it is taken for."""
    told = {(word, ours) for theirs, cell in ROWS for word in codes(theirs) for ours in codes(cell) if " " not in word}
    led = {(word, key) for word, _ in told if (key := synonyms.key(word.rpartition(".")[2]))}

    assert len(led) > 20
    assert led - told == set()


@pytest.mark.parametrize("page", ["coming-from.md", "comparison.md", "sklearn.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Every file that the pages link to is there."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]

    assert [link for link in links if link and not (ROOT / "docs" / link).exists()] == []


def test_the_commands_run(tmp_path: Path) -> None:
    """Each command of the page runs as it stands, one after the other."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]

    for command in commands:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(
            words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert len(commands) == 3


def test_another_name_is_answered_as_the_page_says(tmp_path: Path) -> None:
    """The command that the page begins with says what it says."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    command, said = re.findall(r"^`(fcnet .*?)` says `(.*?)`", PAGE, re.MULTILINE)[0]

    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 3
    assert said in done.stderr
