"""Checks a config's tree against the schema and says what it finds in our words and places."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fcnet.config.docstrings import meanings
from fcnet.config.kinds import Section, at, constants, members, section, words
from fcnet.config.places import SHOWN, Finding, Place, Tree, position
from fcnet.config.schema import Config
from fcnet.config.strict import Fault, made

PLURALS = {"unknown": "unknown keys", "missing": "missing keys", "value": "wrong values", "name": "wrong values"}


def validate(tree: Tree) -> tuple[Config | None, list[Finding]]:
    """The config that an expanded tree spells, or None and everything that is wrong with it."""
    faults: list[Fault] = []
    config: Config = made((Section(Config),), tree.root, faults)
    if not faults:
        return config, []
    said = {finding.path for finding in tree.findings}
    faults = [fault for fault in faults if not any(fault.path[:end] in said for end in range(len(fault.path) + 1))]
    found = [Finding(PLURALS[fault.kind], fault.path, "", _place(fault, tree)) for fault in faults]
    # Only what is shown gets a text: near misses take a millisecond to find, and a file has room for 60,000 of them.
    seen: Counter[str] = Counter()
    for i, finding in sorted(enumerate(found), key=lambda numbered: position(numbered[1].place)):
        seen[finding.kind] += 1
        if seen[finding.kind] <= SHOWN:
            found[i] = replace(finding, text=_text(faults[i], finding.place, tree))
    return None, found


def _place(fault: Fault, tree: Tree) -> Place:
    if fault.kind == "name":
        return tree.place((*fault.path, "name"))
    return tree.place(fault.path, key=fault.kind == "unknown")


def _text(fault: Fault, place: Place, tree: Tree) -> str:
    from fcnet.config.messages import unknown_key, wrong_name, wrong_value  # what other programs call things, and ours

    path, expected = fault.path, fault.expected
    match fault.kind:
        case "unknown":
            return unknown_key(path, tree.root)
        case "missing":
            holder = section(at(path[:-1], tree.root), tree.get(path[:-1]))
            meaning = meanings(holder).get(str(path[-1]), "") if holder else ""
            return f"is missing; expected {words(expected)}" + (f" ({meaning.rstrip('.')})" if meaning else "")
        case "name":
            return wrong_name(tree.get(path)["name"], [*members(expected), *constants(expected)])
        case "value":
            return wrong_value(tree.get(path), place, expected)
