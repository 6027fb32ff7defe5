"""Writes the config's reference from its classes: the table, docs/config.md, and the JSON Schema for editors.

docs/config.md is `python -m fcnet.config.reference > docs/config.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, is_dataclass, replace
from typing import Any

from fcnet.config.docstrings import about, meanings
from fcnet.config.kinds import (
    Anything,
    Choice,
    Constants,
    Flag,
    Items,
    Kind,
    Kinds,
    Null,
    Number,
    Pairs,
    Section,
    Text,
    any_of,
    defaults,
    keys,
    limits,
)
from fcnet.config.schema import EXACTLY_ONE, Config
from fcnet.config.write import inline, plain
from fcnet.records import dataclass


@dataclass(frozen=True)
class KeyRow:
    """One key of the config: `key` is dotted, `[]` stands for the items of a list; all texts are ready to print."""

    key: str
    type: str
    default: str
    limits: str
    meaning: str


def table() -> list[KeyRow]:
    """Every key of the config, in the order in which they are spelled out.

    Named things (`optimizer: adam`) and their keys (`optimizer.momentum (sgd)`) follow the outermost key that takes
    them; other keys refer to it.
    """
    return list(_rows(Config, "", _homes()))


Homes = dict[int, str]  # the key under which a registry, or a member, is told, by its identity


def _homes() -> Homes:
    """The outermost key of each registry and of each of its members."""
    homes: Homes = {}
    level: list[tuple[str, Kinds]] = [("", (Section(Config),))]
    while level:
        inner: list[tuple[str, Kinds]] = []
        for full, kinds in level:
            for kind in kinds:
                classes: Iterable[type] = (kind.cls,) if isinstance(kind, Section) else ()
                if isinstance(kind, Items):
                    inner.append((f"{full}[]", kind.item))
                elif isinstance(kind, Choice) and id(kind.registry) not in homes:
                    homes[id(kind.registry)] = full
                    classes = kind.registry.values()
                    homes = {id(member): full for member in classes} | homes
                inner += [(f"{full}.{key}".lstrip("."), below) for cls in classes for key, below in keys(cls).items()]
        level = inner
    return homes


def _rows(cls: type, prefix: str, homes: Homes) -> Iterator[KeyRow]:
    given = defaults(cls)
    for key, kinds in keys(cls).items():
        full = f"{prefix}{key}"
        default = _default(full, given[key])
        yield KeyRow(full, _type(kinds, full, homes), default, _limits(kinds), meanings(cls).get(key, ""))
        for kind in kinds:
            yield from _below(kind, full, homes)


def _below(kind: Kind, full: str, homes: Homes) -> Iterator[KeyRow]:
    if isinstance(kind, Section):
        yield from _rows(kind.cls, f"{full}.", homes)
    elif isinstance(kind, Items):
        for item in kind.item:
            yield from _below(item, f"{full}[]", homes)
    elif isinstance(kind, Choice):
        for name, member in kind.registry.items():
            if homes[id(member)] != full:
                continue
            yield KeyRow(f"{full}: {name}", "name", "", "", about(member))
            for row in _rows(member, f"{full}.", homes):
                if row.key != f"{full}.name":
                    yield replace(row, key=f"{row.key} ({name})")


def _type(kinds: Kinds, full: str, homes: Homes) -> str:
    return " or ".join(_type_of(kind, full, homes) for kind in kinds)


def _type_of(kind: Kind, full: str, homes: Homes) -> str:
    match kind:
        case Constants(values):
            return any_of(values)
        case Number():
            return "whole number" if kind.whole else "number"
        case Text():
            return "text"
        case Flag():
            return "true or false"
        case Null():
            return "null"
        case Anything():
            return "anything"
        case Items(item):
            return f"list of ({_type(item, full, homes)})"
        case Pairs(value):
            return f"mapping to {_type(value, full, homes)}"
        case Section():
            return "mapping"
        case Choice(registry, default, bare):
            home = homes[id(registry)]
            first = f"{_type(keys(registry[default])[bare], full, homes)} or " if default and bare else ""
            known = ", ".join(registry) if home.removesuffix("[]") == full else f"as {home}"
            return f"{first}name ({known}) or mapping"


def _limits(kinds: Kinds) -> str:
    found = [limits(kind) for kind in kinds if isinstance(kind, Number) and limits(kind)]
    found += [_limits(kind.value) for kind in kinds if isinstance(kind, Pairs)]
    found += [f"at most {kind.most} items" for kind in kinds if isinstance(kind, Items) and kind.most]
    return "; ".join(filter(None, found))


def _default(key: str, value: Any) -> str:
    if key in ELSEWHERE:
        return ELSEWHERE[key]
    if value is MISSING:
        return "required"
    if is_dataclass(value) and hasattr(value, "name"):
        return str(value.name)
    shown = inline(plain(value))
    return shown if len(shown) <= MAX_DEFAULT else ""  # a section's keys have rows of their own


# Defaults that no class knows.
ELSEWHERE = {"name": "the file's stem", "data": "", "data.target": "required, but for NPZ"}
MAX_DEFAULT = 40


def markdown() -> str:
    """docs/config.md: what the config is, and the table, a part for each section."""
    parts: dict[str, list[KeyRow]] = {}
    for row in table():
        parts.setdefault(re.split("[.:]", row.key)[0], []).append(row)
    alone = [row for rows in parts.values() if len(rows) == 1 for row in rows]
    text = ["# The config", "", INTRODUCTION, "", "## At the top level", "", *_markdown(alone)]
    for name, rows in parts.items():
        if len(rows) > 1:
            text += ["", f"## `{name}`", "", *_markdown(rows)]
    return "\n".join(text) + "\n"


INTRODUCTION = """\
Every key, what may stand there, its default and its limits, written from the classes that check a config
(`python -m fcnet.config.reference > docs/config.md`). `fcnet schema --table` prints the same table and `fcnet schema` a
JSON Schema, with which editors complete and check while you type.

A name alone and a mapping with `name` mean the same everywhere: `loss: huber` is `loss: {name: huber}`. Keys with a
name in brackets belong to that name only. `[]` stands for the items of a list. On the command line, `KEY=VALUE`
overrides any key: `optimizer.lr=0.01 network.layers=[64,64]`. It stands over the file, the file over the recipe, and
that over the defaults below. A dotted key leaves the rest of its section; a mapping for the whole section,
`network={dropout: 0.3}`, takes the place of what file and recipe have there.

Values are those of YAML 1.2: `1e-3` is a number, `no` and `2024-05-31` are texts, and of booleans there are `true` and
`false` alone. What readers of YAML take for different numbers (`010`, `0x20`, `1_000`) is an error; so are
unknown keys, keys that stand twice, tags, anchors, aliases and merge keys."""


def _markdown(rows: list[KeyRow]) -> Iterator[str]:
    yield "| key | type | default | limits | meaning |"
    yield "|---|---|---|---|---|"
    for row in rows:
        default = f"`{row.default}`" if row.default else ""
        cells = (f"`{row.key}`", row.type, default, row.limits, row.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def jsonschema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config file, with the texts of the table as descriptions and all short forms."""
    definitions: dict[str, Any] = {}
    top = _object(Config, definitions)
    top["required"] = ["data"]  # `name` follows from the file's
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fcnet config",
        **top,
        "$defs": definitions,
    }


def _object(cls: type, definitions: dict[str, Any], *, named: bool = False, bare: bool = False) -> dict[str, Any]:
    """Its keys; of a member that is `named`, with the name, and without it of one that goes `bare`."""
    given = defaults(cls)
    properties = {}
    for key, kinds in keys(cls).items():
        if bare and key == "name":
            continue
        value = given[key]
        properties[key] = _any((*kinds, *((Null(),) if _may_be_empty(kinds, value) else ())), definitions, value)
        if meanings(cls).get(key):
            properties[key]["description"] = meanings(cls)[key]
        if value is not MISSING:
            properties[key]["default"] = plain(value)
    required = [*(["name"] if named else []), *(key for key, value in given.items() if value is MISSING)]
    schema: dict[str, Any] = {"type": "object", "description": about(cls), "properties": properties}
    return schema | ({"required": required} if required else {}) | {"additionalProperties": False}


def _may_be_empty(kinds: Kinds, default: Any) -> bool:
    """Whether a key with nothing behind it is a section with its defaults, as the loader has it."""
    classes = [kind.cls for kind in kinds if isinstance(kind, Section)]
    complete = any(cls not in EXACTLY_ONE and MISSING not in defaults(cls).values() for cls in classes)
    return Null() not in kinds and (complete or hasattr(default, "name"))


def _choice(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A section of whose keys exactly one is given; the others may say null."""
    below = _object(cls, definitions)
    options = []
    for key, kinds in keys(cls).items():
        null = {name: {"type": "null", "description": meanings(cls)[name]} for name in keys(cls) if name != key}
        given = _any(tuple(kind for kind in kinds if kind != Null()), definitions)
        properties = {key: {**given, "description": meanings(cls)[key]}, **null}
        options.append({**below, "properties": properties, "required": [key]})
    return {"description": about(cls), "anyOf": options}


def _any(kinds: Kinds, definitions: dict[str, Any], default: Any = MISSING) -> dict[str, Any]:
    options = [option for kind in kinds for option in _options(kind, definitions, default)]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _options(kind: Kind, definitions: dict[str, Any], default: Any) -> Iterator[dict[str, Any]]:
    match kind:
        case Constants(values):
            yield {"enum": list(values)}
        case Number():
            names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
            bounds = {name: bound for limit, name in names.items() if (bound := getattr(kind, limit)) is not None}
            yield {"type": "integer" if kind.whole else "number"} | bounds
        case Text():
            yield {"type": "string"}
        case Flag():
            yield {"type": "boolean"}
        case Null():
            yield {"type": "null"}
        case Anything():
            yield {}
        case Items(item, least, most):
            ends = {"minItems": least, "maxItems": most}
            yield {"type": "array", "items": _any(item, definitions), **{key: end for key, end in ends.items() if end}}
        case Pairs(value):
            yield {"type": "object", "additionalProperties": _any(value, definitions)}
        case Section(cls):
            yield _defined(cls, definitions)
        case Choice(registry, unnamed, bare):
            if unnamed and bare:
                options = keys(registry[unnamed])[bare]
                yield from (option for below in options for option in _options(below, definitions, MISSING))
                yield _object(registry[unnamed], definitions, bare=True)
            for name, member in registry.items():
                yield {"const": name, "description": about(member)}
            yield from (_defined(member, definitions, named=True) for member in registry.values())
            if isinstance(default, tuple(registry.values())):
                # Without a name, the keys are those of the default.
                yield _object(type(default), definitions, bare=True)


def _defined(cls: type, definitions: dict[str, Any], *, named: bool = False) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # for what refers to itself
        one = cls in EXACTLY_ONE
        definitions[cls.__name__] = _choice(cls, definitions) if one else _object(cls, definitions, named=named)
    return {"$ref": f"#/$defs/{cls.__name__}"}


if __name__ == "__main__":
    sys.stdout.write(markdown())
