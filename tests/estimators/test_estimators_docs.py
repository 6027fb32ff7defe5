"""docs/sklearn.md and the README's part on scikit-learn are under test: what stands there runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")

from fcnet.sklearn import FCNetClassifier

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sklearn.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path: Path) -> None:
    """Every script and command of the page runs, in its order, and so does the README's script."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    readme = [b for b in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python") if "fcnet.sklearn" in b]
    scripts = [*blocks(PAGE, "python"), *readme]
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    assert (len(scripts), len(commands)) == (4, 2)

    done = [[sys.executable, "-c", "\n".join(scripts)]]
    done += [[sys.executable, "-m", *shlex.split(command)] for command in commands]
    for words in done:
        told = subprocess.run(
            words,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr


def test_every_argument_is_on_the_page() -> None:
    """The page names each argument of the estimators."""
    assert [each.name for each in fields(FCNetClassifier) if f"`{each.name}`" not in PAGE] == []
