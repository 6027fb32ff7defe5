"""Sources: where a step's rows come from. In memory here; memory-mapped or streamed rows have the same face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array, Gather, GatherOneHot, Tape, like
from fcnet.nn.rows import Rows
from fcnet.nn.workspace import Batch


class Source(Protocol):
    """Rows in the order of training."""

    @property
    def n(self) -> int:
        """How many rows an epoch has."""

    def order(self, epoch: int, start: int, stop: int) -> Array:
        """The row numbers (stop − start,) at places [start, stop) of an epoch: a pure function of seed and epoch."""

    def fill(self, batch: Mapping[str, Array], epoch: int, start: int) -> None:
        """Fill the arrays x, y, c, w that a batch has with the rows at [start, start + B) of an epoch."""


def fill_targets(y: Array, one_hot: Array | None, rows: Array, out: Array) -> None:
    """y of the given rows into out (B, n_out); class numbers (n,) by way of the table of one-hot rows."""
    if one_hot is not None:
        np.take(one_hot, y[rows], 0, out, "clip")
    elif y.ndim == 1:
        out[:, 0] = y[rows]
    else:
        np.take(y, rows, 0, out, "clip")


class MemorySource:
    """Rows of arrays in memory; only row numbers are shuffled, no row is moved.

    y (n, n_out) of x's dtype, or class numbers (n,), which become rows of the table `one_hot`; w (n,) or None; `rows`:
    those of the inputs to use, all by default.
    """

    def __init__(
        self,
        inputs: Rows,
        y: Array,
        w: Array | None = None,
        *,
        rows: Array | None = None,
        one_hot: Array | None = None,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        self.inputs = inputs
        self.one_hot = one_hot
        self.y = y
        self.w = None if w is None else w.astype(inputs.x.dtype).reshape(-1, 1)
        self.rows = np.arange(len(inputs)) if rows is None else np.asarray(rows, dtype=np.int64)
        self.key = random.key(seed, "shuffle")
        self.shuffle = shuffle
        self._epoch = -1
        self._order = self.rows.copy()  # of the epoch in progress, always in the same memory

    @property
    def n(self) -> int:
        """How many rows an epoch has."""
        return len(self.rows)

    def order(self, epoch: int, start: int, stop: int) -> Array:
        """Row numbers, from a permutation by the words of (seed, "shuffle", epoch)."""
        if self.shuffle and epoch != self._epoch:
            np.take(self.rows, random.permutation(len(self.rows), self.key, epoch), 0, self._order, "clip")
            self._epoch = epoch
        return self._order[start:stop]

    def record(self, k: Tape, batch: Batch) -> None:
        """Record the gathering of the rows at the batch's position, in the order that `order` gave last."""
        for name, array in self.resident(batch).items():
            if name != "order":
                op = GatherOneHot if name == "all/y" and self.one_hot is not None else Gather
                out = batch.named[name.removeprefix("all/")]
                k.add(op(like(name, array), like("order", self._order), batch.position, out))

    def resident(self, batch: Batch) -> dict[str, Array]:
        """All rows, by the names of the buffers that the recorded operations read them from."""
        y = self.y if self.one_hot is not None else self._columns()
        found = {"all/y": y, **{f"all/{name}": array for name, array in self.inputs.arrays.items()}}
        if batch.w is not None:
            found["all/w"] = np.ones_like(self.inputs.x[:, :1]) if self.w is None else self.w
        there = {name: array for name, array in found.items() if name.removeprefix("all/") in batch.named}
        return {"order": self._order, **there}

    def _columns(self) -> Array:
        return np.ascontiguousarray(self.y.reshape(len(self.y), -1), dtype=self.inputs.x.dtype)

    def fill(self, batch: Mapping[str, Array], epoch: int, start: int) -> None:
        """Gather the rows. mode="clip" spares np.take a buffered copy; row numbers are always in range."""
        rows = self.order(epoch, start, start + len(batch["x"]))
        for name, array in self.inputs.arrays.items():
            if name in batch:
                np.take(array, rows, 0, batch[name], "clip")
        fill_targets(self.y, self.one_hot, rows, batch["y"])
        if "w" in batch:
            if self.w is None:
                batch["w"][...] = 1
            else:
                np.take(self.w, rows, 0, batch["w"], "clip")
