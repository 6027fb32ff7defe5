"""Compares two configs key by key: a run that is resumed must go on as it was begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What may change between the parts of one run: when it ends, when it saves, where it lies.
FREE = ("training.epochs", "training.max_minutes", "training.checkpoint", "output")


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every key whose value differs in the two fully spelled configs, as (key, recorded, now), less the free ones.

    A key that only one of them has counts as null in the other; lists are compared as wholes.

    >>> differences({"seed": 0, "output": "a"}, {"seed": 1, "output": "b"})
    [('seed', 0, 1)]
    """
    return [
        (key, old, new)
        for key, old, new in _pairs(recorded, now, "")
        if old != new and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]


def _pairs(recorded: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*recorded, *now]):
        old, new = recorded.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _pairs(old, new, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", old, new
