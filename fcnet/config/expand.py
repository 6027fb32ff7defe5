"""Spells short forms out, so that everything after has one form to deal with.

`adam` is `{name: adam}`, the layer `64` is `{units: 64}`, and a section with nothing in it has its defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any

from fcnet.config.kinds import (
    Items,
    Kinds,
    Null,
    Pairs,
    Section,
    constants,
    defaults,
    keys,
    members,
    section,
    unnamed,
)
from fcnet.config.places import Path, Plain, Tree, step
from fcnet.config.schema import Config


def expand(tree: Tree, along: Sequence[str] | None = None) -> None:
    """Replace every bare name and every bare number of units in the tree by its mapping, at the same place.

    `along`: only those that stand on the way to this key.
    """
    tree.root = _expanded(tree.root, (Section(Config),), MISSING, tree, (), along)


def _expanded(
    value: Plain, kinds: Kinds, default: Any, tree: Tree, path: Path, along: Sequence[str] | None = None
) -> Plain:
    known = unnamed(kinds)
    named = isinstance(value, str) and members(kinds) and (known is None or value.isidentifier())
    if named and value not in constants(kinds):
        return _moved(value, "name", tree, path)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and known and known.bare:
        return {"name": known.default, **_moved(value, known.bare, tree, path)}
    has_keys = any(isinstance(kind, Section) for kind in kinds) or hasattr(default, "name")
    if value is None and has_keys and Null() not in kinds and _empty(tree, path):
        value = {}
    if isinstance(value, list):
        item = next((kind.item for kind in kinds if isinstance(kind, Items)), ())
        if along is None:
            return [_expanded(v, item, MISSING, tree, (*path, i)) for i, v in enumerate(value)]
        if along and isinstance(i := step(value, along[0]), int):
            value[i] = _expanded(value[i], item, MISSING, tree, (*path, i), along[1:])
    if isinstance(value, dict):
        if members(kinds) and "name" not in value and (known or hasattr(default, "name")):
            value = {"name": known.default if known else default.name, **value}
        cls = section(kinds, value)
        below = keys(cls) if cls else {}
        given = defaults(cls) if cls else {}
        own = next((kind.value for kind in kinds if isinstance(kind, Pairs)), ())
        if along is None:
            return {
                key: _expanded(v, below.get(key, own), given.get(key, MISSING), tree, (*path, key))
                for key, v in value.items()
            }
        if along and (key := along[0]) in value:
            value[key] = _expanded(
                value[key], below.get(key, own), given.get(key, MISSING), tree, (*path, key), along[1:]
            )
    return value


def _empty(tree: Tree, path: Path) -> bool:
    """Whether nothing at all is written there, as under a section whose lines are all comments."""
    return path not in tree.values or tree.values[path].text == ""


def _moved(value: Plain, key: str, tree: Tree, path: Path) -> dict[str, Plain]:
    if path in tree.values:
        tree.values[(*path, key)] = tree.values[path]
    return {key: value}
