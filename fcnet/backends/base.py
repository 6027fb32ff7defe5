"""What a backend is: it turns every kernel call of a step into plain calls on fixed arrays.

A step is recorded once on a `Tape` and replayed; `Eager` runs the same calls at once. Layers, losses and optimizers
speak to either through the same methods, and never touch an element themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fcnet.formulas import Formula

Array = NDArray[Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]
Segment = tuple[int, int, Mapping[str, Array]]
"""A run of θ with equal factors: start, stop, and the scalars (0-d arrays) that hold there."""


class Backend(Protocol):
    """Binds kernels to arrays. Every method returns calls to be made in order; none looks at a value."""

    @property
    def name(self) -> str:
        """The name that the config gives it."""

    def matmul(self, a: Array, b: Array, out: Array) -> list[Call]:
        """out = a b, over the last two axes."""

    def apply(self, formula: Formula, arrays: Mapping[str, Array], outs: Mapping[str, Array]) -> list[Call]:
        """Every result of the formula into its array; a result may overwrite a symbol's array of the same shape."""

    def sum_rows(self, e: Array, out: Array) -> list[Call]:
        """out = Σ over the rows (axis −2) of e: (…, B, n) → (…, n)."""

    def accumulate(self, values: Array, total: Array) -> list[Call]:
        """total += Σ values: one float64 addition to the float64 0-d array `total`."""

    def norm(self, g: Array, out: Array) -> list[Call]:
        """out = ‖g‖₂, a 0-d array of g's dtype."""

    def words(self, out: Array, draw: Callable[[int], Array]) -> list[Call]:
        """out, uint32, = raw words; `draw(n)` gives n uint64 words for the step in progress."""

    def update(self, formula: Formula, vectors: Mapping[str, Array], segments: Sequence[Segment]) -> list[Call]:
        """The formula over every segment of the flat vectors; results are named like the vectors they overwrite."""


class Kernels(Protocol):
    """What layers, losses and rules see: the methods of `Backend`, without results."""

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b."""

    def apply(self, formula: Formula, arrays: Mapping[str, Array], outs: Mapping[str, Array]) -> None:
        """Every result of the formula into its array."""

    def sum_rows(self, e: Array, out: Array) -> None:
        """out = Σ over the rows of e."""

    def accumulate(self, values: Array, total: Array) -> None:
        """total += Σ values."""

    def norm(self, g: Array, out: Array) -> None:
        """out = ‖g‖₂."""

    def words(self, out: Array, draw: Callable[[int], Array]) -> None:
        """out = raw words."""

    def update(self, formula: Formula, vectors: Mapping[str, Array], segments: Sequence[Segment]) -> None:
        """The formula over every segment."""

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Anything else that a step does: `function(*args)` on fixed arrays."""


class Tape:
    """Records calls; `run` makes them again, in order, on the same arrays."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.calls: list[Call] = []

    def add(self, calls: list[Call]) -> None:
        """Keep the calls for later."""
        self.calls += calls

    def run(self) -> None:
        """Make every recorded call."""
        for function, args in self.calls:
            function(*args)

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b."""
        self.add(self.backend.matmul(a, b, out))

    def apply(self, formula: Formula, arrays: Mapping[str, Array], outs: Mapping[str, Array]) -> None:
        """Every result of the formula into its array."""
        self.add(self.backend.apply(formula, arrays, outs))

    def sum_rows(self, e: Array, out: Array) -> None:
        """out = Σ over the rows of e."""
        self.add(self.backend.sum_rows(e, out))

    def accumulate(self, values: Array, total: Array) -> None:
        """total += Σ values."""
        self.add(self.backend.accumulate(values, total))

    def norm(self, g: Array, out: Array) -> None:
        """out = ‖g‖₂."""
        self.add(self.backend.norm(g, out))

    def words(self, out: Array, draw: Callable[[int], Array]) -> None:
        """out = raw words."""
        self.add(self.backend.words(out, draw))

    def update(self, formula: Formula, vectors: Mapping[str, Array], segments: Sequence[Segment]) -> None:
        """The formula over every segment."""
        self.add(self.backend.update(formula, vectors, segments))

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Anything else that a step does."""
        self.add([(function, args)])


class Eager(Tape):
    """Makes every call at once and records nothing: for tests, for initialisation, for naming a bad tensor."""

    def add(self, calls: list[Call]) -> None:
        """Make the calls."""
        for function, args in calls:
            function(*args)


def aligned(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Zeros that start on 64 bytes, a cache line and the widest vector register."""
    shape = (shape,) if isinstance(shape, int) else shape
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array: Array = raw[start : start + size].view(dtype).reshape(shape)
    return array
