"""One word stands for one thing: no two classes of the package share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shared(sources: Iterable[tuple[str, str]]) -> list[str]:
    """Each name of several classes at the top of modules, a leading underscore aside, and where they stand."""
    found = defaultdict(list)
    for place, source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(f"{place}:{node.lineno}")
    return [f"{name}: {', '.join(places)}" for name, places in sorted(found.items()) if len(places) > 1]


def test_no_two_classes_share_a_name() -> None:
    """Whoever reads a class's name knows which class it is; the config's JSON Schema has its definitions by them."""
    package = sorted((ROOT / "fcnet").rglob("*.py"))

    found = shared((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in package)

    assert not found, "\n".join(found)


def test_a_second_class_of_a_name_is_found() -> None:
    """It is found in another module and with an underscore; what stands inside of another class has that one's name."""
    sources = [("a", "class Plan:\n    class Row: ...\n"), ("b", "\nclass _Plan: ...\nclass Row: ...\n")]

    assert shared(sources) == ["Plan: a:1, b:2"]
