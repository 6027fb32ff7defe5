"""A layer is one file: outside of `fcnet/nn` nobody asks which of the registered layers one is."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from pathlib import Path

from fcnet.nn.layers import LAYERS

PACKAGE = Path(__file__).parents[2] / "fcnet"


def asked(sources: Iterable[tuple[str, str]], kinds: Collection[str]) -> list[str]:
    """Each `isinstance` whose second argument names one of `kinds`, and each assertion that rules out `auto`."""
    found = []
    for place, source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                names = {n.id if isinstance(n, ast.Name) else getattr(n, "attr", "") for n in ast.walk(node.args[1])}
                found += [f"{place}:{node.lineno}"] if not names.isdisjoint(kinds) else []
            elif isinstance(node, ast.Assert):
                values = {n.value for n in ast.walk(node.test) if isinstance(n, ast.Constant)}
                found += [f"{place}:{node.lineno}"] if "auto" in values else []
    return sorted(found)


def test_nobody_asks_which_layer_one_is() -> None:
    """A new layer needs no other file, and what `auto` came to is said by types and not by assertions."""
    layers = {kind.__name__ for kind in LAYERS.values()}
    package = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}

    found = [
        place
        for path, source in package.items()
        for place in asked([(str(path), source)], () if PACKAGE / "nn" in path.parents else layers)
    ]

    assert not found


def test_a_question_is_found() -> None:
    """It is found by the layer's name, also in a tuple and behind a module's."""
    source = 'isinstance(x, Dense)\nisinstance(x, (int, nn.Dropout))\nisinstance(x, int)\nassert init != "auto"\n'

    assert asked([("a", source)], {"Dense", "Dropout"}) == ["a:1", "a:2", "a:4"]
