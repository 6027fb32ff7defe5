"""What comes with the program is whole: configs, data, version, documentation."""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fcnet

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
NOT_SHIPPED = {"mnist_train.csv.gz", "mnist_test.csv.gz"}
DERIVATION = (ROOT / "docs" / "derivation.md").read_text(encoding="utf-8")


def columns(name: str) -> list[str]:
    """The header of a table in data/."""
    with (ROOT / "data" / name).open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def files_of(config: dict[str, Any]) -> list[str]:
    """The data files that a config names."""
    return [v for k in ("train", "validation", "test") if isinstance(v := config["data"].get(k), str)]


def test_the_configs_are_those_promised() -> None:
    """There is a config for each table that comes along, and one for MNIST."""
    assert {path.stem for path in CONFIGS} == {"iris", "wine", "breast_cancer", "digits", "diabetes", "mnist"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_names_data_that_are_there(path: Path) -> None:
    """Every file that a config names comes along, and has the target's column; MNIST alone is to be fetched."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))

    for name in files_of(config):
        if Path(name).name in NOT_SHIPPED:
            assert Path(name).name in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
        else:
            assert (path.parent / name).is_file()
            assert config["data"]["target"] in columns(Path(name).name)


def test_digits_as_npz_are_the_digits() -> None:
    """`digits.npz` holds the numbers, labels and column names of `digits.csv`."""
    table = np.loadtxt(ROOT / "data" / "digits.csv", delimiter=",", skiprows=1, dtype=np.int64)

    with np.load(ROOT / "data" / "digits.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["x"], table[:, :-1])
        assert np.array_equal(arrays["y"], table[:, -1])
        assert [*arrays["columns"], "digit"] == columns("digits.csv")


def test_every_table_has_source_and_licence() -> None:
    """Each file in data/ has its line in data/README.md, with as many rows as that says."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    tables = {p.name for p in (ROOT / "data").iterdir() if p.suffix in (".csv", ".npz")}

    rows = dict(re.findall(r"^\| `(\w+\.csv)` \| (\d+) \|", text, flags=re.MULTILINE))

    assert {*rows, "digits.npz"} == tables
    for name, n in rows.items():
        with (ROOT / "data" / name).open(encoding="utf-8", newline="") as file:
            assert len(list(csv.reader(file))) == int(n) + 1


def test_the_version_stands_in_one_place() -> None:
    """pyproject.toml takes the version from the package, and the changelog has an entry for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fcnet.__version__"}
    assert f"\n## {fcnet.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_lowest_versions_are_the_bounds_of_the_packages() -> None:
    """tests/lowest.txt holds every lower bound of pyproject.toml to exactly that version, and nothing besides."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    bounds = dict(each.split(">=") for each in needed if ">=" in each)

    held = dict(line.split("==") for line in (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines())

    assert held.keys() == bounds.keys()
    for name, least in bounds.items():
        assert re.fullmatch(re.escape(least) + r"(\.0)*", held[name]), f"{name}: {held[name]} is not {least}"
    assert {each for each in needed if ">=" not in each} == {"types-PyYAML", "types-tqdm"}


def definitions(path: Path) -> set[str]:
    """`function`, `Class` and `Class.method` for everything defined at the top of a file or in its classes."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
    return names


def test_the_derivation_names_code_and_tests_that_exist() -> None:
    """Every function, source file and test file that the derivation names is there under that name."""
    files = {m.removeprefix("../") for m in re.findall(r"(?:fcnet|tests)/[\w/]+\.py", DERIVATION)}
    pairs = re.findall(r"`(\w+(?:\.\w+)?)` (?:of each class )?in \[?`(fcnet/[\w/]+\.py)`", DERIVATION)

    assert len(files) >= 7
    assert len(pairs) >= 8
    assert not [name for name in files if not (ROOT / name).is_file()]
    for name, file in pairs:
        assert any(d == name or d.endswith(f".{name}") for d in definitions(ROOT / file)), f"{name} in {file}"


def test_the_table_of_code_and_tests_covers_every_equation() -> None:
    """Each numbered equation of the derivation has its row with a function and a test."""
    rows = DERIVATION.split("## 11. Code and tests")[1]

    numbered = set(re.findall(r"(?:qquad|&&) \((\d)'?\)", DERIVATION))
    listed = {n for row in rows.splitlines() if row.startswith("|") for n in re.findall(r"\((\d)\)", row.split("|")[1])}

    assert numbered == set("123456789") == listed


def test_the_derivations_program_runs() -> None:
    """The NumPy program at the end of the derivation runs as printed, and its own check holds."""
    (program,) = re.findall(r"```python\n(.*?)```", DERIVATION, flags=re.DOTALL)

    exec(compile(program, "docs/derivation.md", "exec"), {})

    with pytest.raises(AssertionError):
        exec(compile(program.replace("1 - z2**2", "1 - z2"), "docs/derivation.md", "exec"), {})


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in the Markdown files points to a file that is there, and to a heading that it has."""
    broken = []
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("https://"):
                continue
            file, _, heading = target.partition("#")
            there = (path.parent / file) if file else path
            if not there.exists() or (heading and heading not in anchors(there)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")

    assert not broken, "\n".join(broken)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a file's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
