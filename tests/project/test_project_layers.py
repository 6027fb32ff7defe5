"""A layer is one file: outside of `fcnet/nn` nobody asks which of the registered layers one is."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from fcnet.nn.layers import LAYERS

PACKAGE = Path(__file__).parents[2] / "fcnet"


def asked(sources: Iterable[tuple[str, str]]) -> list[str]:
    """Each `isinstance` whose second argument names a registered layer, and each assertion that rules out `auto`."""
    kinds, found = {kind.__name__ for kind in LAYERS.values()}, []
    for place, source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                names = {n.id if isinstance(n, ast.Name) else getattr(n, "attr", "") for n in ast.walk(node.args[1])}
                found += [f"{place}:{node.lineno}"] if names & kinds else []
            elif isinstance(node, ast.Assert):
                values = {n.value for n in ast.walk(node.test) if isinstance(n, ast.Constant)}
                found += [f"{place}:{node.lineno}"] if "auto" in values else []
    return found


def test_nobody_asks_which_layer_one_is() -> None:
    """A new layer needs no other file, and what `auto` came to is said by types and not by assertions."""
    package = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "nn" not in path.parents]

    assert not asked((str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8")) for path in package)


def test_a_question_is_found() -> None:
    """It is found by the layer's name, also in a tuple and behind a module's."""
    source = 'isinstance(x, Dense)\nisinstance(x, (int, nn.Dropout))\nisinstance(x, int)\nassert init != "auto"\n'

    assert asked([("a", source)]) == ["a:1", "a:2", "a:4"]
