"""The quick subset sees something of every part, and the documents name the command that runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

TESTS = Path(__file__).parents[1]


def quick() -> set[str]:
    """The files that tests/conftest.py lists."""
    spec = importlib.util.spec_from_file_location("of_all_tests", TESTS / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: set[str] = module.QUICK
    return found


def test_quick_subset_has_files_of_every_folder() -> None:
    """Every file that is listed exists, and every folder of tests has one."""
    files = {path.stem: path.parent for path in TESTS.rglob("test_*.py")}
    folders = {path.parent for path in TESTS.rglob("test_*.py")}

    assert quick() - {*files} == set()
    assert folders - {files[name] for name in quick()} == set()


def test_quick_subset_is_marked(request) -> None:
    """A listed test has the mark, and this one, which is not listed, has not."""
    marked = {item.path.stem for item in request.session.items if item.get_closest_marker("quick")}

    assert marked <= quick()
    assert request.node.get_closest_marker("quick") is None


def test_documents_name_the_quick_command() -> None:
    """README and CONTRIBUTING say how long the tests take, and what takes less."""
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (TESTS.parent / name).read_text(encoding="utf-8")

        assert "`pytest -m quick`" in text
        assert "minutes" in text
