"""Tapes for tests, whose operations are about plain NumPy arrays: a step works in the memory of these."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fcnet.backends.base import Backend, Binding, Call, Eager, Step
from fcnet.backends.ops import Array, Buffer, Op, Phase, Ref, Tape


class _Arrays:
    """`ref` makes of an array the part of a buffer that is all of its memory: views of one piece stay views of one."""

    resident: MutableMapping[str, Array]

    def ref(self, x: Array) -> Ref:
        """The array as a part of its buffer, which becomes resident."""
        base: Any = x
        while isinstance(base.base, np.ndarray):
            base = base.base
        name = f"{id(base)}/{x.dtype}"
        if name not in self.resident:
            whole = as_strided(base, (base.size,), (base.itemsize,))
            self.resident[name] = whole if base.dtype == x.dtype else whole.view(x.dtype)
        flat, item = self.resident[name], x.itemsize
        start, rest = divmod(x.ctypes.data - flat.ctypes.data, item) if x.size else (0, 0)
        assert not rest
        return Ref(Buffer(name, flat.size, flat.dtype), x.shape, tuple(n // item for n in x.strides), start)

    def refs(self, arrays: Mapping[str, Array]) -> dict[str, Ref]:
        """Several by name."""
        return {name: self.ref(array) for name, array in arrays.items()}


class ArrayTape(_Arrays, Tape):
    """A tape that is compiled when it is first asked to run."""

    def __init__(self, backend: Any, resident: MutableMapping[str, Array] | None = None) -> None:
        super().__init__()
        self.backend: Backend = backend
        self.resident = {} if resident is None else resident
        self._step: Step | None = None

    def add(self, op: Op) -> None:
        """Write it down."""
        super().add(op)
        self._step = None

    @property
    def step(self) -> Any:
        """What the backend makes of all of it."""
        if self._step is None:
            self._step = self.backend.compile(self.ops, self.resident)
        return self._step

    def run(self, times: int = 1) -> None:
        """Make it all."""
        self.step.run(times)

    def fetch(self, ref: Ref) -> Array:
        """What stands there."""
        found: Array = self.step.fetch(ref)
        return found

    def calls(self) -> list[Call]:
        """What a backend of plain calls binds it to."""
        return calls(self.backend, self.ops, self.resident)


class EagerArrays(_Arrays, Eager):
    """Makes every operation as it is written."""


def calls(backend: Any, ops: list[Op], resident: MutableMapping[str, Array]) -> list[Call]:
    """What a backend of plain calls binds these operations to."""
    at = Binding(resident)
    return [call for op in ops if not isinstance(op, Phase) for call in backend.bind(op, at)]
