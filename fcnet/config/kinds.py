"""What may stand at each key of the config, read off the classes' annotations.

The check, its messages, the table and the JSON Schema all go by this.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fcnet.config.places import Path, Plain
from fcnet.config.schema import Config
from fcnet.records import dataclass
from fcnet.registry import HIDDEN, Ge, Gt, Le, Len, Lt, Mark, Named, OneOf, Such


@dataclass(frozen=True)
class Constants:
    """One of a few texts: the `values` that `names` gives when it is asked, as a registry may have got more."""

    __match_args__ = ("values",)
    names: Callable[[], Iterable[str]]

    @property
    def values(self) -> tuple[str, ...]:
        """The texts."""
        return tuple(self.names())


@dataclass(frozen=True)
class Number:
    """A finite number, or a whole one, within limits."""

    whole: bool
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


@dataclass(frozen=True)
class Text:
    """Any text, or one such as `such` says."""

    such: Such | None = None


@dataclass(frozen=True)
class Flag:
    """true or false."""


@dataclass(frozen=True)
class Null:
    """Nothing."""


@dataclass(frozen=True)
class Anything:
    """Whatever there is."""


@dataclass(frozen=True)
class Items:
    """A list of `least` to `most` items, which are such as `such` says."""

    item: tuple[Kind, ...]
    least: int = 0
    most: int | None = None
    such: Such | None = None


@dataclass(frozen=True)
class Pairs:
    """A mapping from texts of the user's own."""

    value: tuple[Kind, ...]


@dataclass(frozen=True)
class Section:
    """A mapping with the fields of a class."""

    cls: type


@dataclass(frozen=True, eq=False)
class Choice:
    """A member of a registry: its name, or a mapping with `name`.

    Without a name it is the `default`, of which a bare value is the key `bare`.
    """

    registry: Mapping[str, type]
    default: str | None = None
    bare: str | None = None


Kind = Constants | Number | Text | Flag | Null | Anything | Items | Pairs | Section | Choice
Kinds = tuple[Kind, ...]  # the alternatives, in the order of the annotation


@lru_cache(maxsize=256)
def keys(cls: type) -> Mapping[str, Kinds]:
    """The keys of a section and what may stand there."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: tuple(_kinds(hints[f.name])) for f in ordered(cls)}


def ordered(cls: type) -> list[Field[Any]]:
    """The fields of a section, at last those that have no place among its arguments."""
    return sorted((f for f in fields(cls) if f.metadata != HIDDEN), key=lambda f: f.kw_only is True)


def default(f: Field[Any]) -> Any:
    """The default of a field, or MISSING."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def defaults(cls: type) -> dict[str, Any]:
    """The defaults of a section's keys, MISSING for what must be given."""
    return {f.name: default(f) for f in ordered(cls)}


def members(kinds: Kinds) -> Mapping[str, type]:
    """The registry whose names may stand there; empty if none."""
    return next((kind.registry for kind in kinds if isinstance(kind, Choice)), {})


def constants(kinds: Kinds) -> tuple[str, ...]:
    """The texts that may stand there without being names of a registry."""
    return tuple(value for kind in kinds if isinstance(kind, Constants) for value in kind.values)


def unnamed(kinds: Kinds) -> Choice | None:
    """The registry of which a mapping without a name, or a bare value, is a member there."""
    return next((kind for kind in kinds if isinstance(kind, Choice) and kind.default is not None), None)


def section(kinds: Kinds, value: Plain) -> type | None:
    """The class whose keys the mapping `value` is to have, or None where it cannot be told or has keys of its own."""
    known = unnamed(kinds)
    name = value.get("name", known and known.default) if isinstance(value, dict) else None
    if isinstance(name, str) and name in members(kinds):
        return members(kinds)[name]
    return next((kind.cls for kind in kinds if isinstance(kind, Section)), None)


def at(path: Path, root: Plain) -> Kinds:
    """What may stand at `path` in the config `root`; empty where nothing is known."""
    kinds: Kinds = (Section(Config),)
    node = root
    for part in path:
        kinds = _below(kinds, part, node)
        if isinstance(node, dict):
            node = node.get(str(part))
        else:
            node = node[part] if isinstance(node, list) and isinstance(part, int) and part < len(node) else None
    return kinds


def _below(kinds: Kinds, part: str | int, value: Plain) -> Kinds:
    if isinstance(value, list):
        return next((kind.item for kind in kinds if isinstance(kind, Items)), ())
    cls = section(kinds, value)
    if cls is not None:
        return keys(cls).get(str(part), ())
    if part == "name" and members(kinds):
        return (Constants(members(kinds).keys),)
    return next((kind.value for kind in kinds if isinstance(kind, Pairs)), ())


def _kinds(hint: Any, metadata: tuple[Any, ...] = ()) -> Iterator[Kind]:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *more = get_args(hint)
        yield from _kinds(inner, (*metadata, *more))
        return
    for mark in metadata:
        assert isinstance(mark, Mark), f"the config does not know {mark!r}; fcnet.registry has the marks"
        if isinstance(mark, Named):
            yield Choice(mark.registry, mark.default, mark.bare)
            return
        if isinstance(mark, OneOf):
            yield Constants(mark.names)
            return
    such = next((mark for mark in metadata if isinstance(mark, Such)), None)
    if origin in (Union, types.UnionType):
        for option in get_args(hint):
            yield from _kinds(option)
    elif origin is Literal:
        yield Constants(partial(get_args, hint))
    elif origin is list:
        length = next((mark for mark in metadata if isinstance(mark, Len)), Len(0))
        yield Items(tuple(_kinds(*get_args(hint))), length.least, length.most, such)
    elif origin is dict:
        yield Pairs(tuple(_kinds(get_args(hint)[1])))
    elif hint in (int, float):
        limits: dict[str, Any] = {}
        for mark in metadata:
            for limit, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
                if isinstance(mark, limit):
                    limits[name] = getattr(mark, name)
        if hint is int and "lt" in limits:
            limits["le"] = limits.pop("lt") - 1
        yield Number(hint is int, **limits)
    elif hint is str:
        yield Text(such)
    elif hint in (bool, type(None), Any):
        yield Flag() if hint is bool else Anything() if hint is Any else Null()
    else:
        assert is_dataclass(hint), f"the config cannot describe {hint!r}"
        assert isinstance(hint, type)
        yield Section(hint)


def words(kinds: Kinds) -> str:
    """What may stand there, for people: `auto or a whole number from 1 to 2147483647`."""
    said = [_said(kind) for kind in kinds]
    return " or ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def _said(kind: Kind) -> str:
    match kind:
        case Constants(values):
            return any_of(values)
        case Number():
            what = "a whole number" if kind.whole else "a number"
            return f"{what} {limits(kind)}".rstrip()
        case Text(such):
            return f"text ({such.said})" if such else "text"
        case Flag():
            return "true or false"
        case Null():
            return "null"
        case Anything():
            return "anything"
        case Items(item, _, most, such):
            about = [f"at most {most}"] if most else []
            return f"a list ({', '.join([*about, f'each {words(item)}', *([such.said] if such else [])])})"
        case Pairs(value):
            return f"a mapping (each {words(value)})"
        case Section(cls):
            first = list(keys(cls))
            return f"a mapping with {', '.join(first[:4])}{', …' if len(first) > 4 else ''}"
        case Choice(registry, unnamed, bare):
            if unnamed is not None and bare is not None:
                below = keys(registry[unnamed])
                alone = f"{words(below[bare])} or a mapping with {', '.join(list(below)[:4])}"
                return f"{alone}, or one of {', '.join(registry)}"
            return f"one of {', '.join(registry)} (or a mapping with name)"


def any_of(values: tuple[str, ...]) -> str:
    """`a, b or c`; signs are shown in quotes."""
    shown = [value if value.replace("_", "").isalnum() else f'"{value}"' for value in values]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def limits(kind: Number) -> str:
    """The limits of a number: `from 1 to 10`, `≥ 0 and < 1`; empty if there are none."""
    if kind.ge is not None and kind.le is not None:
        return f"from {kind.ge} to {kind.le}"
    signs = (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt))
    return " and ".join(f"{sign} {limit}" for sign, limit in signs if limit is not None)
