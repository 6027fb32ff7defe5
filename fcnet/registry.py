"""What a field of a config's section may hold, beyond what its type says: marks that the schema is read off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, Lt

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

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The tagged union of the registry as it is now, so that whatever is registered is accepted."""
        from pydantic_core import core_schema  # pydantic is loaded when a config is validated, no sooner

        choices = {name: handler.generate_schema(member) for name, member in self.registry.items()}
        return core_schema.tagged_union_schema(choices, discriminator="name")


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks a text that must be one of the names that `names` gives when it is asked."""

    names: Callable[[], Iterable[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # as above

        return core_schema.literal_schema(list(self.names()))
