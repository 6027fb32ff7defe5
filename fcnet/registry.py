"""What a field of a config's section may hold, beyond what its type says: marks that the schema is read off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Annotated, Any

from fcnet.records import dataclass


@dataclass(frozen=True)
class Ge:
    """A number of at least `ge`."""

    ge: float


@dataclass(frozen=True)
class Gt:
    """A number greater than `gt`."""

    gt: float


@dataclass(frozen=True)
class Le:
    """A number of at most `le`."""

    le: float


@dataclass(frozen=True)
class Lt:
    """A number less than `lt`."""

    lt: float


@dataclass(frozen=True)
class Len:
    """A list of at least so many items, and at most so many; None: of any number."""

    least: int
    most: int | None = None


@dataclass(frozen=True)
class Such:
    """A text or a list of which `holds` is true; `said` is what to call it, as in `text (64 digits)`."""

    holds: Callable[[Any], bool]
    said: str


MAX_COUNT = 2**31 - 1
Count = Annotated[int, Ge(1), Le(MAX_COUNT)]
Share = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, eq=False)
class Named:
    """Marks a field that holds a member of a registry: written as its name, or as a mapping with `name`.

    `default`: the member that a mapping without a name is, and that a bare value makes, as its key `bare`.
    """

    registry: Mapping[str, type]
    default: str | None = None
    bare: str | None = None


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks a text that must be one of the names that `names` gives when it is asked."""

    names: Callable[[], Iterable[str]]


def members(module: ModuleType) -> list[type]:
    """The classes of a module that have a name for the config, which it defines itself."""
    found = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    return [each for each in found if isinstance(vars(each).get("name"), str)]


Mark = Ge | Gt | Le | Lt | Len | Such | Named | OneOf

HIDDEN = {"hidden": True}
"""The metadata of a field that is no key."""

SHORT = {"short": True}
"""The metadata of a field that is a short form of others, and that a spelled config has not."""
