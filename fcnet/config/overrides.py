"""Puts `KEY=VALUE` of the command line into a config's tree, read by the same reader as the file."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from fcnet.config.expand import expand
from fcnet.config.kinds import Constants, Text
from fcnet.config.kinds import at as kinds
from fcnet.config.places import COMMAND_LINE, UNUSABLE, Finding, Path, Place, Plain, Tree, shortened, step
from fcnet.errors import ConfigError, UsageError

MAX_PARTS = 20
LONGEST_QUOTED = 40  # characters of a value that is repeated in a message


def override(tree: Tree, text: str, turn: int = 0) -> None:
    """Set the key that `text`, `KEY=VALUE`, names; sections on the way are made where they are missing.

    Where a text may stand, one sign such as a comma, and blanks alone, are that text, which in YAML they are not.
    `turn` says which of the overrides it is, so that problems can be told in their order.
    A bare name on the way is spelled out, so `optimizer.lr=0.01` keeps the rest of `optimizer: sgd`; numbers on the way
    count the items of a list from 0. What is wrong with the value goes into the tree's findings; raises UsageError
    where `text` is not of this form.
    """
    from fcnet.config.text import parse_value  # PyYAML takes longer to load than a run needs without it

    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f'"{shortened(text)}": expected KEY=VALUE, for example optimizer.lr=0.01')
    if UNUSABLE.search(key):
        raise UsageError(f'"{shortened(text)}": the key is not UTF-8')
    if len(parts) > MAX_PARTS:
        raise UsageError(f'"{shortened(text)}": the key has more than {MAX_PARTS} parts')
    expand(tree, parts)
    at = Place(COMMAND_LINE, turn=turn)
    path, node = _parent(tree, parts, at)
    here = Tree({}, COMMAND_LINE)
    if isinstance(node, list) and not isinstance(path[-1], int):
        what = f"no such item: the list has {len(node)}, counted from 0"
        tree.findings.append(Finding("wrong items", path, what, at))
        return
    cure = ""
    textual = any(isinstance(kind, Text | Constants) for kind in kinds(path, tree.root))
    try:
        parsed = value if textual and _mark(value) else parse_value(value, here, path)
    except ConfigError:  # the findings say why
        parsed = None
        if textual and len(value) <= LONGEST_QUOTED:
            cure = f"; text goes in quotes: {key}={shlex.quote(json.dumps(value))}"
    tree.forget(path)
    for places, found in ((tree.keys, here.keys), (tree.values, here.values)):
        places.update({p: replace(place, turn=turn) for p, place in ({path: at} | found).items()})
    tree.findings.extend(
        replace(f, text=f.text + cure * (f.kind == "ends"), place=replace(f.place, turn=turn)) for f in here.findings
    )
    node[path[-1]] = parsed


def _mark(value: str) -> bool:
    """Whether a value is a single sign that stands for itself, or nothing but blanks, as a shell hands on `KEY=" "`."""
    return value.isspace() or (len(value) == 1 and not value.isalnum() and value != "~")


def _parent(tree: Tree, parts: list[str], at: Place) -> tuple[Path, Plain]:
    """The path that `parts` name, and the mapping or list that holds its last part."""
    node: Plain = tree.root
    path: Path = ()
    for part in parts[:-1]:
        here = step(node, part)
        if isinstance(node, list) and not isinstance(here, int):
            return (*path, here), node
        path = (*path, here)
        below = tree.get(path)
        if not isinstance(below, dict | list):
            tree.forget(path)
            tree.keys[path] = tree.values[path] = at
            below = node[here] = {}
        node = below
    return (*path, step(node, parts[-1])), node
