"""The buffers of a step: whatever forward and backward write has a name, by which a backend finds its memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array, Ref, ref
from fcnet.records import dataclass


@dataclass
class Batch:
    """The inputs of a step: x (B, n_num) float, c (B, n_cat) int32 or None, y (B, n_out), w (B, 1) or None.

    `position` (4,) says which batch it is: epoch, step, row of the epoch, step of the chunk; random words are drawn by
    the first two.
    """

    x: Ref
    y: Ref
    c: Ref | None
    w: Ref | None
    position: Ref

    @classmethod
    def of(cls, rows: int, n_in: int, n_out: int, dtype: Any, *, n_cat: int = 0, weighted: bool = False) -> Batch:
        """The buffers of so many rows."""
        return cls(
            ref("x", (rows, n_in), dtype),
            ref("y", (rows, n_out), dtype),
            ref("c", (rows, n_cat), np.int32) if n_cat else None,
            ref("w", (rows, 1), dtype) if weighted else None,
            ref("position", 4, np.int64),
        )

    @property
    def n(self) -> int:
        """How many rows it has."""
        return self.x.shape[-2]

    @property
    def named(self) -> dict[str, Ref]:
        """What is filled for each step."""
        return {name: held for name in ("x", "c", "y", "w") if (held := getattr(self, name)) is not None}


def place(path: str) -> int:
    """A path as a coordinate of random words: the number that it is, or else a hash of 62 bits."""
    if path.isdecimal():
        return int(path)
    return 1 << 62 | int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little") >> 2


@dataclass(frozen=True)
class Workspace:
    """What one layer sees of the buffers: its own, the batch, and whether this is training.

    `path` is the layer's place in the net, `lead` the axes in front of the units: members, (M,) or none, and rows;
    `who` (M,), or (1,), are the numbers by which the members draw their random words. `train` chooses the
    operations that are recorded (dropout or none), never a branch within a step; `needed`: whether anybody asks for δ
    at the layer's inputs; `frugal`: whether a buffer may be overwritten once the step can do without what it held;
    `key`: where initial weights are drawn from, while the net is being made, and `ranks` the places (n_in,) that its
    inputs draw from; `driven`: numbers of the layer that a
    schedule moves, by their names; `at`: what the names of buffers begin with, and `first`: the
    first of all members that it is for, where others have other layers.
    """

    path: str
    batch: Batch
    lead: tuple[int, ...]
    train: bool
    seed: int
    dtype: Any
    needed: bool = True
    frugal: bool = True
    key: Array | None = None
    ranks: Array | None = None
    driven: Mapping[str, Ref] = field(default_factory=dict)
    who: tuple[int, ...] = (0,)
    at: str = ""
    first: int = 0
    kept: dict[str, Ref] = field(default_factory=dict)
    inside: dict[str, Workspace] = field(default_factory=dict)

    def new(self, name: str, units: int | tuple[int, ...], dtype: Any = None) -> Ref:
        """A buffer (…, B, units) under `name`, kept for `ws[name]`; of another shape, a tuple, for each member."""
        *members, rows = self.lead
        shape = (rows, units) if isinstance(units, int) else units
        made = ref(f"{self.at}{self.path}/{name}", shape, dtype or self.dtype, tuple(members))
        self.kept[name] = made = replace(made, first=self.first)
        return made

    def keys(self, purpose: str) -> tuple[tuple[int, int], ...]:
        """The Philox key of each member for a purpose."""
        found = (random.key(self.seed, purpose, number).tolist() for number in self.who)
        return tuple((k0, k1) for k0, k1 in found)

    def keep(self, name: str, held: Ref) -> None:
        """Remember a buffer for the backward pass."""
        self.kept[name] = held

    def __getitem__(self, name: str) -> Ref:
        return self.kept[name]

    def child(self, name: str) -> Workspace:
        """That of a layer inside, which is there as `inside[name]` from then on."""
        below = {each.removeprefix(f"{name}."): at for each, at in self.driven.items() if each.startswith(f"{name}.")}
        made = replace(self, path=f"{self.path}.{name}", needed=True, driven=below, ranks=None, kept={}, inside={})
        self.inside[name] = made
        return made

    @property
    def place(self) -> int:
        """The path as a coordinate of random words."""
        return place(self.path)
