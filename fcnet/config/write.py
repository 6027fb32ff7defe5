"""Spells a Config out as plain values, and plain values as YAML text that reads back equal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, get_args

from fcnet.config.kinds import ordered
from fcnet.config.places import Plain
from fcnet.config.scalars import NotPlain, read
from fcnet.config.schema import CheckpointInterval, Config
from fcnet.nn.layers import Hidden
from fcnet.optim.rules import Grouped
from fcnet.registry import SHORT, Named

WIDTH = 100
OTHERWISE = frozenset(("yes", "no", "on", "off", "true", "false", "null"))  # to YAML 1.1, in any case
_LAYER: Named = get_args(Hidden)[1]
USUAL = _LAYER.registry[str(_LAYER.default)]  # the layer that one without a name is
TERSE = (USUAL, CheckpointInterval)  # here null only says that another key decides
_SAFE = re.compile(r"[A-Za-z_./~](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")


def to_mapping(config: Config) -> dict[str, Plain]:
    """The fully spelled config as plain values, every default included; `from_mapping` reads it back equal."""
    spelled: dict[str, Plain] = plain(config)
    return spelled


def plain(value: Any) -> Plain:
    """A section, or a value in it, as plain values; short forms where nothing is lost by them."""
    if is_dataclass(value):
        spelled = {f.name: plain(getattr(value, f.name)) for f in ordered(type(value)) if f.metadata != SHORT}
        if isinstance(value, TERSE):
            spelled = {key: v for key, v in spelled.items() if v is not None}
        if isinstance(value, USUAL):
            del spelled["name"]
            return spelled[str(_LAYER.bare)] if list(spelled) == [_LAYER.bare] else spelled
        if isinstance(value, Grouped):  # these two say nothing where there are no groups
            spelled = {key: v for key, v in spelled.items() if (key, v) not in (("match", "*"), ("groups", []))}
        return spelled["name"] if list(spelled) == ["name"] else spelled
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def dump(mapping: Mapping[str, Plain]) -> str:
    """YAML text of a config; what fits a line of 100 columns stands in one.

    >>> print(dump({"name": "a", "optimizer": {"name": "adam", "lr": 0.001}, "missing": ["NA", "no", "1"]}), end="")
    name: a
    optimizer: {name: adam, lr: 0.001}
    missing: [NA, "no", "1"]
    """
    return "\n".join(_lines(mapping, "")) + "\n"


def _lines(value: Plain, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            head = f"{indent}{_text(key)}:"
            short = f"{head} {inline(below)}"
            nested = isinstance(below, Mapping) and any(isinstance(v, Mapping | list) for v in below.values())
            if not isinstance(below, Mapping | list) or not below or (len(short) <= WIDTH and not nested):
                yield short
            else:
                yield head
                yield from _lines(below, indent + "  ")
    else:
        yield from (f"{indent}- {inline(item)}" for item in value)


def inline(value: Plain) -> str:
    """The value in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {inline(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A text as YAML: plain where any reader takes it for the same text, else in double quotes."""
    return text if _is_plain(text) else '"' + "".join(map(_quoted, text)) + '"'


def _is_plain(text: str) -> bool:
    try:
        plain = bool(_SAFE.fullmatch(text)) and read(text) == text and text.lower() not in OTHERWISE
        return plain and text.count("~") == text.startswith("~")
    except NotPlain:
        return False


def _quoted(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c == " " or c.isprintable():
        return c
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
