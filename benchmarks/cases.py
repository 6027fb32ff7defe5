"""What every trainer is given: four nets, and rows that can be learned, the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """A net by its widths, inputs first; the rows of a batch and of an epoch, whole batches only."""

    widths: tuple[int, ...]
    batch: int
    rows: int

    @property
    def name(self) -> str:
        """`28-64-64-2, 32`."""
        return f"{'-'.join(map(str, self.widths))}, {self.batch}"

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """x (rows, n_in) standard normal, and for each row the class whose random direction it leans to most."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.rows, self.widths[0]), dtype=np.float32)
        directions = random.standard_normal((self.widths[0], self.widths[-1]), dtype=np.float32)
        return x, (x @ directions).argmax(1)


CASES = (
    Case((28, 64, 64, 2), 32, 64_000),
    Case((54, 256, 256, 256, 7), 256, 51_200),
    Case((784, 256, 128, 10), 128, 25_600),
    Case((784, 1024, 1024, 10), 512, 10_240),
)
