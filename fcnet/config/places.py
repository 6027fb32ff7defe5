"""Where each entry of a config stands, and the problems found there, gathered so that they can be reported at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import field
from math import inf
from typing import Any

from fcnet.errors import ConfigError, Problem, more
from fcnet.records import dataclass

Path = tuple[str | int, ...]
Plain = Any  # None, bool, int, float, str, list of these, dict from str to these

COMMAND_LINE = "command line"
SHOWN = 5  # of each kind of problem
UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # in no file name, in no JSON


@dataclass(frozen=True)
class Place:
    """Where a key or a value stands, and, for a scalar, the characters it was read from.

    Lines and columns are those of a file; of the command line `turn` says which override it is, from 1.
    """

    file: str
    line: int | None = None
    column: int | None = None
    text: str | None = None
    quoted: bool = False
    turn: int = 0


@dataclass(frozen=True)
class Finding:
    """A problem of the entry at `path`; `kind` is the plural under which surplus ones are counted."""

    kind: str
    path: Path
    text: str
    place: Place


@dataclass
class Tree:
    """A config as plain values, with the places of its keys and values and the problems met while reading it."""

    root: dict[str, Plain]
    file: str
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def get(self, path: Path) -> Plain:
        """The value at `path`, or None where there is nothing."""
        node: Plain = self.root
        for part in path:
            if not holds(node, part):
                return None
            node = node[part]
        return node

    def path(self, key: str) -> Path:
        """A dotted key as a path."""
        path: Path = ()
        for part in key.split("."):
            path = (*path, step(self.get(path), part))
        return path

    def has(self, path: Path) -> bool:
        """Whether something is written at `path`, be it null."""
        return holds(self.get(path[:-1]), path[-1])

    def written(self, path: Path) -> bool:
        """Whether a person wrote a value there or in it: it is no default, and not what `init` would write."""
        found = (place for at, place in self.values.items() if at[: len(path)] == path)
        return any(place.file != COMMAND_LINE or place.turn > 0 for place in found)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where the value (or the key) at `path` stands; for what is not written, where its section does."""
        if key and path in self.keys:
            return self.keys[path]
        if path in self.values:
            return self.values[path]
        parents = (path[:end] for end in range(len(path) - 1, 0, -1))
        return next(
            (places[p] for p in parents for places in (self.keys, self.values) if p in places), Place(self.file)
        )

    def known(self, path: Path) -> bool:
        """Whether a finding is about the entry at `path`, or about what holds it, or is in it."""
        return any(f.path[: len(path)] == path or path[: len(f.path)] == f.path for f in self.findings)

    def forget(self, path: Path) -> None:
        """Drop the places of `path` and of everything that stands under it."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            self.keys.pop(here, None)
            self.values.pop(here, None)
            node = self.get(here)
            if isinstance(node, dict | list):
                waiting += [(*here, part) for part in (node if isinstance(node, dict) else range(len(node)))]


def step(node: Plain, part: str) -> str | int:
    """A part of a dotted key as the index of an item where `node` is a list that has it, else as it is."""
    if isinstance(node, list) and part.isascii() and part.isdecimal() and len(part) < 10 and int(part) < len(node):
        return int(part)
    return part


def holds(node: Plain, part: str | int) -> bool:
    """Whether `node` is a mapping with that key or a list with that item."""
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node


def dotted(path: Path) -> str:
    """A path as the user writes it: `network.layers.0.units`."""
    return ".".join(map(str, path))


def shortened(text: str, limit: int = 60) -> str:
    """`text`, cut where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def refuse(findings: Iterable[Finding]) -> None:
    """Raise `failure(findings)` if there are any."""
    found = list(findings)
    if found:
        raise failure(found)


def failure(findings: Iterable[Finding]) -> ConfigError:
    """The error with all findings in the order of the file, then those of the command line in its order.

    After the first five of a kind there is one line that says how many more there are.
    """
    order = sorted(findings, key=lambda finding: position(finding.place))
    problems: list[Problem] = []
    seen: Counter[str] = Counter()
    for finding in order:
        seen[finding.kind] += 1
        if seen[finding.kind] <= SHOWN:
            place = finding.place
            key = shortened(dotted(finding.path), 120) or None
            problems.append(Problem(finding.text, place.file, place.line, place.column, key))
    for kind, count in seen.items():
        if count > SHOWN:
            problems.append(Problem(more(count - SHOWN, kind), order[0].place.file))
    return ConfigError(problems)


def position(place: Place) -> tuple[bool, int, float, int]:
    """What problems are sorted by: the file's lines, what is missing from it, then one override after the other."""
    line = inf if place.line is None else place.line
    return place.file == COMMAND_LINE, place.turn, line, place.column or 0
