"""Checks a config's tree against the schema, with pydantic, and turns what it finds into our words and places."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fcnet import signals
from fcnet.config.docstrings import meanings
from fcnet.config.kinds import at, members, section, words
from fcnet.config.messages import unknown_key, wrong_name, wrong_value
from fcnet.config.places import SHOWN, Finding, Path, Place, Plain, Tree, holds, position
from fcnet.config.schema import Config
from fcnet.metrics import METRICS
from fcnet.nn.activations import ACTIVATIONS
from fcnet.nn.initializers import INITIALIZERS
from fcnet.nn.layers import LAYERS
from fcnet.nn.losses import LOSSES
from fcnet.optim.rules import OPTIMIZERS
from fcnet.optim.schedules import SCHEDULES

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def validate(tree: Tree) -> tuple[Config | None, list[Finding]]:
    """The config that an expanded tree spells, or None and everything that is wrong with it."""
    from pydantic import ValidationError  # a tenth of a second that --help need not pay

    try:
        # JSON in, because only there strict means what we mean: no true or "7" or 10.0 for a whole number, yet
        # mappings for dataclasses.
        config: Config = _adapter().validate_json(json.dumps(tree.root), strict=True)
    except ValidationError as error:
        return None, _findings(error.errors(include_url=False, include_input=False, include_context=False), tree)
    return config, []


def _adapter() -> Any:
    """The validator for the registries as they are now."""
    registries = (ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES, METRICS)
    return _built(tuple(tuple(registry.items()) for registry in registries))


@lru_cache(maxsize=1)
def _built(_registries: tuple[Any, ...]) -> Any:
    from pydantic import TypeAdapter  # as above

    with signals.waiting():  # what is raised inside pydantic's core comes out as an error of the schema
        return TypeAdapter(Config)


def _findings(errors: list[Any], tree: Tree) -> list[Finding]:
    kinds: dict[Path, str] = {}
    for error in errors:
        kinds.setdefault(_path(error["loc"], tree.root, error["type"]), error["type"])
    # A value with several alternatives fails each of them; the deepest failure is the one that was meant.
    inner = {path[:end] for path in kinds for end in range(len(path))}
    said = {finding.path for finding in tree.findings}
    found = [
        Finding(_plural(path, kind, tree), path, "", _place(path, kind, tree))
        for path, kind in kinds.items()
        if path not in inner and not any(path[:end] in said for end in range(len(path) + 1))
    ]
    # Only what is shown gets a text: near misses take a millisecond to find, and a file has room for 60,000 of them.
    seen: Counter[str] = Counter()
    for i, finding in sorted(enumerate(found), key=lambda numbered: position(numbered[1].place)):
        seen[finding.kind] += 1
        if seen[finding.kind] <= SHOWN:
            found[i] = replace(finding, text=_text(finding, tree))
    return found


def _path(loc: tuple[str | int, ...], root: Plain, kind: str) -> Path:
    """The path that pydantic's `loc` means: it also names the alternatives of unions, which stand in no file."""
    path: Path = ()
    node = root
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        tag = isinstance(node, dict) and path and part == node.get("name") and not last
        if holds(node, part) and not tag:
            path, node = (*path, part), node[part]
        elif last and kind == "missing":
            path = (*path, part)
    return (*path, "name") if kind == "union_tag_not_found" else path


def _plural(path: Path, kind: str, tree: Tree) -> str:
    if kind in UNKNOWN:
        return "unknown keys"
    return "wrong values" if tree.has(path) else "missing keys"


def _place(path: Path, kind: str, tree: Tree) -> Place:
    if kind == "union_tag_invalid":
        return tree.place((*path, "name"))
    return tree.place(path, key=kind in UNKNOWN)


def _text(finding: Finding, tree: Tree) -> str:
    path, expected = finding.path, at(finding.path, tree.root)
    if finding.kind == "unknown keys":
        return unknown_key(path, tree.root)
    if finding.kind == "missing keys":
        holder = section(at(path[:-1], tree.root), tree.get(path[:-1]))
        meaning = meanings(holder).get(str(path[-1]), "") if holder else ""
        return f"is missing; expected {words(expected)}" + (f" ({meaning.rstrip('.')})" if meaning else "")
    value = tree.get(path)
    if isinstance(value, dict) and members(expected):
        return wrong_name(value["name"], members(expected))
    return wrong_value(value, finding.place, expected)
