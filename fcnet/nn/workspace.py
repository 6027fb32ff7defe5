"""The fixed buffers of a step: every array that forward and backward write, allocated once and never moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fcnet.backends.base import Array, aligned


@dataclass
class Batch:
    """The inputs of a step: x (B, n_num) float, c (B, n_cat) int32 or None, y (B, n_out), w (B, 1) or None, rows (B,).

    `position` (4,) says which batch it is: epoch, step, row of the epoch, step of the chunk; random words are drawn by
    the first two.
    """

    x: Array
    y: Array
    c: Array | None = None
    w: Array | None = None
    rows: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    position: Array = field(default_factory=lambda: np.zeros(4, np.int64))


class Memory:
    """Named pieces of memory that grow to the largest batch, so that a short batch uses the same."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._held: dict[tuple[int, str], Array] = {}

    def array(self, layer: int, name: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """The array `name` of a layer, of `shape`, contiguous; the first request must be the largest."""
        size = int(np.prod(shape, dtype=np.int64))
        held = self._held.get((layer, name))
        if held is None or held.size < size:
            held = self._held[layer, name] = aligned(size, dtype or self.dtype)
        return held[:size].reshape(shape)


class Workspace:
    """What one layer sees of the buffers: its own arrays, the batch, and whether this is training.

    `train` chooses the calls that are recorded (dropout or none), never a branch within a step.
    """

    def __init__(self, memory: Memory, layer: int, batch: Batch, lead: tuple[int, ...], train: bool, seed: int) -> None:
        self.memory, self.layer, self.batch, self.lead, self.train, self.seed = memory, layer, batch, lead, train, seed
        self.kept: dict[str, Array] = {}

    def new(self, name: str, units: int, dtype: Any = None) -> Array:
        """A buffer (…, B, units) under `name`, kept for `ws[name]`."""
        array = self.memory.array(self.layer, name, (*self.lead, units), dtype)
        self.kept[name] = array
        return array

    def keep(self, name: str, array: Array) -> None:
        """Remember an array for the backward pass."""
        self.kept[name] = array

    def __getitem__(self, name: str) -> Array:
        return self.kept[name]
