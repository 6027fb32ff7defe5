"""What a backend is: it compiles operations over named buffers into a step, which runs as often as it is told.

Layers, losses and optimizers never touch an element themselves: they write operations, and every number of a step is
computed by a backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fcnet.backends.ops import Array, Op, Phase, Ref, Tape

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Step(Protocol):
    """Compiled operations."""

    def run(self, times: int = 1) -> None:
        """Make all of them, in order, so many times over."""

    def fetch(self, ref: Ref) -> Array:
        """What stands there now; it may be the memory itself, so copy what is to stay."""

    def put(self, ref: Ref, values: Any) -> None:
        """Write there."""

    def finite(self) -> bool | None:
        """Whether the results of the last updates were; None where nobody has watched."""


class Backend(Protocol):
    """Compiles operations. None of them looks at a value before it runs."""

    @property
    def name(self) -> str:
        """The name that the config gives it."""

    def blas_threads(self, largest: int) -> int:
        """How many threads BLAS is to have, for steps whose largest product has so many multiplications."""

    def compile(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> Step:
        """A step of these operations.

        `resident`: arrays by the names of their buffers. A run reads what stands in them when it begins, and leaves in
        them what its operations wrote. Other buffers are the backend's to allocate; it may enter them, so that steps
        share them, and then the step with the largest must be compiled first.
        """


@dataclass
class Binding:
    """Refs as arrays in this process's memory, for one list of operations.

    `watched` are arrays that hold finite numbers after a step only if the results of all its updates are finite;
    `loaded` the buffers that are filled anew for each step, of which every thread may have its own copy.
    """

    resident: MutableMapping[str, Array]
    watched: list[Array] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    _seen: dict[Ref, Array] = field(default_factory=dict)

    def __call__(self, ref: Ref) -> Array:
        """The array; its buffer is allocated where it is not there yet, or too small."""
        if ref in self._seen:
            return self._seen[ref]
        buffer = ref.buffer
        held = self.resident.get(buffer.name)
        if held is None or held.size < buffer.size:
            held = self.resident[buffer.name] = aligned(buffer.size, buffer.dtype)
        assert held.dtype == buffer.dtype, f"{buffer.name}: {held.dtype} is resident, not {buffer.dtype}"
        if ref.whole and held.shape == ref.shape:
            array = held
        else:
            flat, item = held.reshape(-1), held.itemsize
            assert flat.size == 0 or np.may_share_memory(flat, held), f"{buffer.name} is not in one piece"
            # as_strided would take ten times as long
            array = np.ndarray(ref.shape, held.dtype, flat, item * ref.start, tuple(item * n for n in ref.strides))
        self._seen[ref] = array
        return array

    def all(self, refs: Mapping[str, Ref]) -> dict[str, Array]:
        """Several by name."""
        return {name: self(ref) for name, ref in refs.items()}


class HostBackend(ABC):
    """A backend whose arrays are NumPy's: each operation becomes plain calls on fixed arrays."""

    @abstractmethod
    def bind(self, op: Op, at: Binding) -> list[Call]:
        """The calls that make one operation."""

    @abstractmethod
    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """A function that makes all calls, in order, as many times as it is told."""

    def compile(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> HostStep:
        """As `Backend` says."""
        at = Binding(resident)
        calls = [call for op in ops if not isinstance(op, Phase) for call in self.bind(op, at)]
        return HostStep(self.link(calls), at)


@runtime_checkable
class Paced(Protocol):
    """A backend that can go on with another number of threads at any time, without a bit of a result changing."""

    def most(self, largest: int) -> int:
        """How many threads it may use for steps whose largest product has so many multiplications."""

    def use(self, threads: int) -> None:
        """All of them from now on, or one."""


class HostStep:
    """Calls on fixed arrays."""

    def __init__(self, linked: Callable[[int], None], at: Binding) -> None:
        self.linked, self.at = linked, at

    def run(self, times: int = 1) -> None:
        """Make them."""
        self.linked(times)

    def fetch(self, ref: Ref) -> Array:
        """The memory itself."""
        return self.at(ref)

    def put(self, ref: Ref, values: Any) -> None:
        """Write it."""
        self.at(ref)[...] = values

    def finite(self) -> bool | None:
        """Whether all that is watched is."""
        watched = self.at.watched
        return all(bool(np.isfinite(x).all()) for x in watched) if watched else None


class Eager(Tape):
    """Makes every operation as it is written: for tests, for initialisation, for naming a bad tensor.

    All buffers are resident: each operation is a step of its own, and what one leaves the next one reads.
    """

    def __init__(self, backend: Backend, resident: MutableMapping[str, Array] | None = None) -> None:
        super().__init__()
        self.backend, self.resident = backend, {} if resident is None else resident

    def add(self, op: Op) -> None:
        """Make it, and write it down."""
        super().add(op)
        for each in (*op.reads, *op.writes):
            self.fetch(each)
        self.backend.compile([op], self.resident).run()

    def fetch(self, ref: Ref) -> Array:
        """What stands there now."""
        return Binding(self.resident)(ref)


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
