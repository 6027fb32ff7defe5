"""`dataclass`: the standard one, but frozen classes are made in a third of the time.

The standard one has Python compile six methods for each class: a sixth of a short command's time, for some two hundred
classes. All but `__init__` are alike for all of them, so they stand here once. Type checkers see the standard one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]


def _eq(self: Any, other: object) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _setattr(self: Any, name: str, value: object) -> None:
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value  # __init__ does, once


def _delattr(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__compared__])


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, kw_only: bool = False
    ) -> type | Callable[[type], type]:
        """As `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, kw_only=kw_only)
        if not frozen:
            return dataclasses.dataclass(cls, eq=eq, kw_only=kw_only)
        # one that extends a frozen class has to be made as frozen, and any class may extend this one
        extends = any(dataclasses.is_dataclass(base) for base in cls.__mro__[1:])
        cls = dataclasses.dataclass(cls, repr=False, eq=False, kw_only=kw_only, frozen=extends)
        cls.__dataclass_params__.frozen = True
        own = cls.__dict__
        methods = {"__repr__": _repr, "__setattr__": _setattr, "__delattr__": _delattr}
        if eq:
            cls.__compared__ = tuple(each.name for each in fields(cls) if each.compare)
            methods |= {"__eq__": _eq}
            if own.get("__hash__") is None:  # Python puts None there where a class has an __eq__ of its own
                cls.__hash__ = _hash
        for name, method in methods.items():
            if name not in own:
                setattr(cls, name, method)
        return cls
