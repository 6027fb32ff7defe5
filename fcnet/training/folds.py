"""What the nets of folds say: of each row those that have not seen it, and of any row all of them together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fcnet.backends.ops import Array
from fcnet.data import Dataset
from fcnet.training.head import Head
from fcnet.training.scoring import Held, Voices

ROWS = 1 << 16
"""So many rows are heard at a time."""


class Heard:
    """The sums over the folds heard so far, for `n` rows, as outputs of one net with this head."""

    def __init__(self, n: int, head: Head) -> None:
        shape = head.averaged(np.zeros((1, head.n_out))).shape[1:]
        self.head = head
        self.held: list[tuple[Array, Array]] = []
        """For each fold the rows (m,) that it holds out, and what is averaged of its nets there (m, …)."""
        self._all, self._others = np.zeros((n, *shape)), np.zeros((n, *shape))
        self._times = np.zeros(n, np.int64)

    def hear(self, data: Dataset, voices: Voices, shares: tuple[float, ...]) -> None:
        """One fold's nets, on its own data; `shares`: their weights among each other."""
        alone = replace(voices, share=None)
        if any(voices.weights):
            for at in range(0, len(data.inputs), ROWS):
                rows = np.arange(at, min(at + ROWS, len(data.inputs)))
                self._all[rows] += alone.summed(data.inputs, rows, self.head)
        rows = data.parts["validation"]
        p = replace(alone, weights=shares).summed(data.inputs, rows, self.head)
        self._others[rows] += p
        self._times[rows] += 1
        self.held.append((rows, p))

    @property
    def rows(self) -> Array:
        """Those that some fold holds out, (m,), sorted."""
        return np.flatnonzero(self._times)

    def all(self, dtype: str) -> Held:
        """What all nets say of any row."""
        return self.said(np.arange(len(self._all)), self._all, dtype)

    def others(self, dtype: str) -> Held:
        """What those say of `rows` that have not seen them, on average over repeats."""
        rows = self.rows
        times = self._times[rows].reshape(-1, *([1] * (self._others.ndim - 1)))
        return self.said(rows, self._others[rows] / times, dtype)

    def said(self, rows: Array, p: Array, dtype: str) -> Held:
        """The outputs for these rows of what is averaged of them."""
        return Held(self.head.said(p).astype(dtype), rows, len(self._all))
