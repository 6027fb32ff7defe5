"""What a backend is: it turns every kernel call of a step into plain calls on fixed arrays.

A step is recorded once on a `Tape` and replayed; `Eager` runs the same calls at once. Layers, losses and optimizers
speak to either through the same methods, and never touch an element themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fcnet import random
from fcnet.formulas import Formula

Array = NDArray[Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]
Segment = tuple[int, int, Mapping[str, Array]]
"""A run of θ with equal factors: start, stop, and the scalars (0-d arrays) that hold there."""


@dataclass(frozen=True)
class Words:
    """Random words of a layer: a Philox key (2,) uint64, the layer, and the position (epoch, step, …) of the draw."""

    key: Array
    layer: int
    position: Array

    def draw(self, n: int) -> Array:
        """n uint64 words for the step in progress."""
        return random.words(n, self.key, self.layer, int(self.position[1]), int(self.position[0]))


class Backend(Protocol):
    """Binds kernels to arrays. Every method returns calls to be made in order; none looks at a value.

    `position` (4,) int64 is the place of the step in progress: epoch, step, row of the epoch, step of the chunk.
    """

    @property
    def name(self) -> str:
        """The name that the config gives it."""

    def blas_threads(self, largest: int) -> int:
        """How many threads BLAS is to have, for steps whose largest product has so many multiplications."""

    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """A function that makes all calls, in order, as many times as it is told."""

    def matmul(self, a: Array, b: Array, out: Array) -> list[Call]:
        """out = a b, over the last two axes."""

    def apply(
        self,
        formula: Formula,
        arrays: Mapping[str, Array],
        outs: Mapping[str, Array],
        sums: Mapping[str, Array] | None = None,
    ) -> list[Call]:
        """Every result of the formula into its array; a result may overwrite a symbol's array of the same shape.

        `sums`: results (…, B, n) that are also summed over their rows, into these arrays (…, n).
        """

    def sum_rows(self, e: Array, out: Array) -> list[Call]:
        """out = Σ over the rows (axis −2) of e: (…, B, n) → (…, n)."""

    def accumulate(self, values: Array, total: Array) -> list[Call]:
        """total += Σ values: one float64 addition to the float64 0-d array `total`."""

    def norm(self, g: Array, out: Array) -> list[Call]:
        """out = ‖g‖₂, a 0-d array of g's dtype."""

    def words(self, out: Array, words: Words) -> list[Call]:
        """out, uint16, = raw words, the lowest quarter of each uint64 first."""

    def gather(self, x: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out (B, n) = rows of x (n_all, n): those that order (n_rows,) int64 names from the position's row on."""

    def gather_one_hot(self, labels: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out (B, K) = one-hot rows of labels (n_all,) int64, gathered likewise."""

    def load(self, table: Array, position: Array, out: Array) -> list[Call]:
        """out (n,) = the row of table (steps, n) for the step of the chunk."""

    def advance(self, position: Array, rows: int) -> list[Call]:
        """The position moves on by one step of so many rows."""

    def lap(self, calls: Sequence[Call], since: Array, total: Array) -> list[Call]:
        """total (1,) int64 += the nanoseconds since `since` (1,) int64, which becomes now; after all `calls`."""

    def update(
        self,
        formula: Formula,
        vectors: Mapping[str, Array],
        segments: Sequence[Segment],
        watch: list[Array] | None = None,
    ) -> list[Call]:
        """The formula over every segment of the flat vectors; results are named like the vectors they overwrite.

        A backend that can do so at no cost adds arrays to `watch` that hold finite numbers after a call only if all
        results are finite.
        """


@runtime_checkable
class Paced(Protocol):
    """A backend that can go on with another number of threads at any time, without a bit of a result changing."""

    def most(self, largest: int) -> int:
        """How many threads it may use for steps whose largest product has so many multiplications."""

    def use(self, threads: int) -> None:
        """All of them from now on, or one."""


class Tape:
    """Records calls; `run` makes them again, in order, on the same arrays. Layers, losses and rules write on it.

    Its methods are those of `Backend`, without results.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.calls: list[Call] = []
        self.sections: list[tuple[int, str, int]] = []
        self._linked: Callable[[int], None] | None = None

    def add(self, calls: list[Call]) -> None:
        """Keep the calls for later."""
        self.calls += calls
        self._linked = None

    def section(self, phase: str, layer: int = 0) -> None:
        """What is recorded from here on is this phase of that layer: for measuring, where a step's time goes."""
        self.sections.append((len(self.calls), phase, layer))

    def run(self, times: int = 1) -> None:
        """Make every recorded call, so many times over."""
        if self._linked is None:
            self._linked = self.backend.link(self.calls)
        self._linked(times)

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b."""
        self.add(self.backend.matmul(a, b, out))

    def apply(
        self,
        formula: Formula,
        arrays: Mapping[str, Array],
        outs: Mapping[str, Array],
        sums: Mapping[str, Array] | None = None,
    ) -> None:
        """Every result of the formula into its array, and the sums over rows of some."""
        self.add(self.backend.apply(formula, arrays, outs, sums))

    def sum_rows(self, e: Array, out: Array) -> None:
        """out = Σ over the rows of e."""
        self.add(self.backend.sum_rows(e, out))

    def accumulate(self, values: Array, total: Array) -> None:
        """total += Σ values."""
        self.add(self.backend.accumulate(values, total))

    def norm(self, g: Array, out: Array) -> None:
        """out = ‖g‖₂."""
        self.add(self.backend.norm(g, out))

    def words(self, out: Array, words: Words) -> None:
        """out = raw words."""
        self.add(self.backend.words(out, words))

    def gather(self, x: Array, order: Array, position: Array, out: Array) -> None:
        """out = the step's rows of x."""
        self.add(self.backend.gather(x, order, position, out))

    def gather_one_hot(self, labels: Array, order: Array, position: Array, out: Array) -> None:
        """out = one-hot rows of the step's labels."""
        self.add(self.backend.gather_one_hot(labels, order, position, out))

    def load(self, table: Array, position: Array, out: Array) -> None:
        """out = the step's row of the table."""
        self.add(self.backend.load(table, position, out))

    def advance(self, position: Array, rows: int) -> None:
        """The next step."""
        self.add(self.backend.advance(position, rows))

    def update(
        self,
        formula: Formula,
        vectors: Mapping[str, Array],
        segments: Sequence[Segment],
        watch: list[Array] | None = None,
    ) -> None:
        """The formula over every segment."""
        self.add(self.backend.update(formula, vectors, segments, watch))

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Anything else that a step does: `function(*args)` on fixed arrays."""
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


def joined(parts: list[Array]) -> Array:
    """The parts one below the other; each is given back as it is copied, so that the whole is not there twice."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.result_type(*{part.dtype for part in parts}))
    stop = len(whole)
    while parts:
        part = parts.pop()
        whole[stop - len(part) : stop] = part
        stop -= len(part)
    return whole
