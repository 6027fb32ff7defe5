"""The order of the program: what may import what, held up by reading the source."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "fcnet").rglob("*.py"))

# from left to right; nothing imports what stands to its right
ORDER = [
    "records", "errors", "signals", "files", "npz", "machine", "extras", "random", "bootstrap", "registry", "formulas",
    "backends", "nn", "optim", "data", "metrics", "config", "training", "runs", "reports", "export", "api", "serving",
    "sklearn", "cli", "__main__",
]  # fmt: skip

# found on Linux and macOS alone
POSIX = {"crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty"}


def imports(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import anywhere in a file; of `from a import b` the module a.b."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], node.module] if node.level else [node.module]
            yield from ((node.lineno, ".".join([*filter(None, base), alias.name])) for alias in node.names)


def against_the_order(path: Path, source: str) -> list[str]:
    """Every import in `source`, as if it stood at `path`, of something further right than the file itself."""
    place = path.relative_to(ROOT / "fcnet").with_suffix("").parts[0]
    wrong = []
    for line, module in imports(path, source):
        parts = module.split(".")
        # fcnet itself is the front door: its version may be read from anywhere
        if parts[0] != "fcnet" or len(parts) < 2 or parts[1].startswith("__version"):
            continue
        if ORDER.index(parts[1]) > ORDER.index(place):
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {place} imports {parts[1]}, which stands to its right")
    return wrong


MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn"}  # where a package is not called as it is imported
BROUGHT = {"llvmlite"}  # by numba, which is one with it


def test_only_what_is_declared_is_imported() -> None:
    """Whatever fcnet imports that is not Python's own comes with a dependency, or an extra, of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra, names in project["optional-dependencies"].items() if extra != "dev" for name in names]
    named = {re.split(r"[<>=!~ \[;]", name)[0].lower() for name in [*project["dependencies"], *extras]}
    known = {MODULES.get(name, name) for name in named} | BROUGHT | sys.stdlib_module_names | {"fcnet"}
    found = {
        (module.split(".")[0], str(path.relative_to(ROOT)))
        for path in SOURCES
        for _, module in imports(path, path.read_text(encoding="utf-8"))
    }

    assert sorted((module, path) for module, path in found if module.lower() not in known) == []


def test_every_module_has_its_place() -> None:
    """Each file and folder in fcnet/ stands in the one order, and the order names nothing that is not there."""
    there = {p.stem for p in (ROOT / "fcnet").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}

    assert there - {"__init__"} == set(ORDER)


def test_imports_run_one_way() -> None:
    """No file imports what stands to its right in the order, not even inside a function or for types alone."""
    wrong = [
        line
        for path in SOURCES
        if path != ROOT / "fcnet" / "__init__.py"
        for line in against_the_order(path, path.read_text(encoding="utf-8"))
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "import fcnet.cli",
        "from fcnet import config",
        "from fcnet.config.schema import Config",
        "from ..config import schema",
        "from .. import api",
        "def late():\n    from fcnet.runs.checkpoint import read",
    ],
)
def test_an_import_to_the_right_is_seen(source: str) -> None:
    """The check finds a wrong import however it is written."""
    assert against_the_order(ROOT / "fcnet" / "nn" / "planted.py", source)


def test_only_files_imports_what_is_posix_alone() -> None:
    """One module knows about the operating system, so that the rest runs wherever Python does."""
    outside = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in SOURCES
        if path != ROOT / "fcnet" / "files.py"
        for line, module in imports(path, path.read_text(encoding="utf-8"))
        if module.split(".")[0] in POSIX
    ]

    assert not outside, "\n".join(outside)
