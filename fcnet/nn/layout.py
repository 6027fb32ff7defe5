"""θ and ∇L are one flat vector each; slots say what stands where in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from fcnet.backends.base import aligned
from fcnet.backends.ops import Array, Ref, ref
from fcnet.records import dataclass

Vector = TypeVar("Vector", Array, Ref)
Kind = Literal["bias", "weight", "vector", "embedding", "buffer"]
ALIGN = 16
"""Elements: each slot starts on 64 bytes in float32, and at the same place in float64."""


@dataclass(frozen=True)
class Slot:
    """One parameter or buffer: its name, shape without member axes, kind, and its factors on lr and decay.

    A weight is (…, n_out, n_in). `decay` is 0 for what weight decay leaves alone: by default everything but weights.
    `path` leads to the layer that it belongs to, from the one that tells of it. Where that draws nothing, it starts at
    `start`.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    lr: float = 1.0
    decay: float | None = None
    path: str = ""
    start: float = 0.0

    @property
    def key(self) -> str:
        """How the layer that tells of it calls it."""
        return f"{self.path}.{self.name}" if self.path else self.name

    def inside(self, name: str) -> Slot:
        """Told of by the layer around the one of that name."""
        return replace(self, path=f"{name}.{self.path}" if self.path else name)

    def numbered(self, i: int) -> Slot:
        """With the name that it has in the net: W2, or W2.left of a layer inside."""
        return replace(self, name=f"{self.name}{i}{'.' + self.path if self.path else ''}", path="")

    @property
    def decay_factor(self) -> float:
        """The factor on weight decay."""
        return float(self.kind == "weight") if self.decay is None else self.decay


@dataclass(frozen=True)
class Among:
    """The place of some members among all of a pack: from the first on, of a total, with vectors of `size` elements."""

    first: int
    total: int
    size: int


@dataclass(frozen=True)
class Segment:
    """A run [start, stop) of θ with equal factors."""

    start: int
    stop: int
    lr: float
    decay: float


class Layout:
    """The order of slots in a flat vector: b₁ …, W₁ …, then the rest; buffers have a layout of their own.

    Each member of a pack has a vector of `size` elements: `members` is (M,), or () for one net, and stands in front of
    all shapes. Slots start on multiples of 16 elements; what lies between them stays 0.

    Members of several shapes have vectors of one size, and a layout for those of each shape: the `parts`, whose members
    stand one behind the other. `among`: where a part's are.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        members: tuple[int, ...] = (),
        among: Among | None = None,
        parts: Sequence[Layout] = (),
    ) -> None:
        rank = {"bias": 0, "weight": 1}
        self.members, self.among, self.parts = members, among, tuple(parts)
        self.slots = tuple(sorted(slots, key=lambda slot: rank.get(slot.kind, 2)))  # stable: the order of the layers
        assert len({slot.name for slot in slots}) == len(slots), "two slots of one name"
        self.starts: dict[str, int] = {}
        end = 0
        for slot in self.slots:
            self.starts[slot.name] = end
            end += -(-math.prod(slot.shape) // ALIGN) * ALIGN
        self.size = end if not parts else max(part.among.size for part in parts if part.among)
        own = math.prod(members) * sum(math.prod(slot.shape) for slot in self.slots)
        self.count: int = sum(part.count for part in parts) if parts else own

    def zeros(self, dtype: Any) -> Array:
        """A vector of this layout, (…, size), aligned."""
        return aligned((*self.members, self.size), dtype)

    def ref(self, name: str, dtype: Any) -> Ref:
        """A buffer of this layout, (…, size)."""
        return self.each(name, self.size, dtype, self.among.size if self.among else self.size)

    def each(self, name: str, n: int, dtype: Any, wide: int) -> Ref:
        """A buffer with n numbers for each member, (…, n); of a part those of its members, in rows of `wide`."""
        if self.among is None:
            return ref(name, n, dtype, self.members)
        whole = ref(name, wide, dtype, (self.among.total,))
        return whole.some(self.among.first, *self.members)[..., 0:n]

    def some(self, held: Ref) -> Ref:
        """What the members of this part have of a buffer of all; all of it where it is no part."""
        return held if self.among is None else held.some(self.among.first, *self.members)

    def views(self, vector: Vector) -> dict[str, Vector]:
        """The slots of `vector` (…, size) by name, sharing its memory."""
        found: dict[str, Vector] = {}
        for slot in self.slots:
            start = self.starts[slot.name]
            part = vector[..., start : start + math.prod(slot.shape)]
            found[slot.name] = part.reshape(self.members + slot.shape)
        return found

    def spans(self) -> dict[Slot, tuple[int, int]]:
        """Where each slot starts and stops, with what lies behind it up to the next."""
        return {
            slot: (self.starts[slot.name], self.starts[slot.name] + -(-math.prod(slot.shape) // ALIGN) * ALIGN)
            for slot in self.slots
        }
