"""Puts `KEY=VALUE` of the command line into a config's tree, read by the same reader as the file."""

from __future__ import annotations

from fcnet.config.expand import expand
from fcnet.config.places import COMMAND_LINE, UNUSABLE, Finding, Path, Place, Plain, Tree, shortened
from fcnet.errors import ConfigError, UsageError

MAX_PARTS = 20


def override(tree: Tree, text: str) -> None:
    """Set the key that `text`, `KEY=VALUE`, names; sections on the way are made where they are missing.

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
    expand(tree)
    path, node = _parent(tree, parts)
    here = Tree({}, COMMAND_LINE)
    if isinstance(node, list) and not isinstance(path[-1], int):
        what = f"no such item: the list has {len(node)}, counted from 0"
        tree.findings.append(Finding("wrong items", path, what, Place(COMMAND_LINE)))
        return
    try:
        parsed = parse_value(value, here, path)
    except ConfigError:  # the findings say why
        parsed = None
    tree.forget(path)
    tree.keys.update({path: Place(COMMAND_LINE)} | here.keys)
    tree.values.update({path: Place(COMMAND_LINE)} | here.values)
    tree.findings.extend(here.findings)
    node[path[-1]] = parsed


def _parent(tree: Tree, parts: list[str]) -> tuple[Path, Plain]:
    """The path that `parts` name, and the mapping or list that holds its last part."""
    node: Plain = tree.root
    path: Path = ()
    for part in parts[:-1]:
        step = _step(node, part)
        if isinstance(node, list) and not isinstance(step, int):
            return (*path, step), node
        path = (*path, step)
        below = tree.get(path)
        if not isinstance(below, dict | list):
            tree.forget(path)
            tree.keys[path] = tree.values[path] = Place(COMMAND_LINE)
            below = node[step] = {}
        node = below
    return (*path, _step(node, parts[-1])), node


def _step(node: Plain, part: str) -> str | int:
    """A part of a key as the index of an item where `node` is a list that has it, else as it is."""
    if isinstance(node, list) and part.isascii() and part.isdecimal() and len(part) < 10 and int(part) < len(node):
        return int(part)
    return part
