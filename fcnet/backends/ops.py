"""What a step does, as data: operations over named buffers, recorded once and compiled by a backend.

Nothing here computes. Layers, losses and optimizers write operations on a `Tape`; a backend turns the list into a step
that it can repeat, and whoever wants to know what a step costs or needs reads the same list.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, fields, replace
from types import EllipsisType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fcnet.formulas import Formula
from fcnet.records import dataclass

Array = NDArray[Any]


AXES = ("feature", "row", "unit")
"""What the last axes of an operation's arrays are, behind those of members; most have no features, vectors no rows."""


@dataclass(frozen=True)
class Buffer:
    """A piece of memory by its name; steps of other batch sizes use the same one, as large as it must be."""

    name: str
    size: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Ref:
    """The elements of a buffer seen as an array, from `start` on; `strides` in elements.

    `members`: how many members of a pack its first axis has, 0 where it has no such axis; `first`: which of all it
    begins with, where others have other operations.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int = 0
    members: int = 0
    first: int = 0

    def __hash__(self) -> int:
        return hash((self.buffer.name, self.start, self.shape, self.strides))  # all of it costs four times as much

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self.buffer.dtype

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def whole(self) -> bool:
        """Whether it is all of its buffer, in order."""
        return self.start == 0 and self.size == self.buffer.size and self.strides == _strides(self.shape)

    @functools.cached_property
    def span(self) -> tuple[int, int]:
        """The first element of the buffer that it has, and the one behind the last."""
        steps = [(n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)]
        low = self.start + sum(step for step in steps if step < 0)
        return low, self.start + sum(step for step in steps if step > 0) + 1 if self.size else low

    @property
    def in_order(self) -> bool:
        """Whether its elements lie one after another."""
        return self.size < 2 or self.strides == _strides(self.shape)

    def matrix(self, index: tuple[int, ...]) -> Ref:
        """The last two axes at these places of those in front; with fewer, or one of length 1, it is everybody's."""
        own = [*zip(self.shape[:-2], self.strides[:-2], strict=True)]
        places = index[len(index) - len(own) :]
        start = self.start + sum(i * s for i, (n, s) in zip(places, own, strict=True) if n > 1)
        return replace(self, shape=self.shape[-2:], strides=self.strides[-2:], start=start, members=0, first=0)

    def __getitem__(self, part: slice | tuple[EllipsisType, slice]) -> Ref:
        """A part of the first axis, or, as in x[..., 2:5], of the last."""
        axis, along = (0, part) if isinstance(part, slice) else (self.ndim - 1, part[1])
        start, stop, step = along.indices(self.shape[axis])
        assert step == 1
        shape = (*self.shape[:axis], max(stop - start, 0), *self.shape[axis + 1 :])
        return replace(self, shape=shape, start=self.start + start * self.strides[axis])

    def reshape(self, shape: tuple[int, ...]) -> Ref:
        """The same elements in order, in another shape; axes in front that lie apart stay as they are."""
        apart = next(i for i in range(self.ndim + 1) if self.strides[i:] == _strides(self.shape[i:]))
        assert math.prod(shape) == self.size
        assert shape[:apart] == self.shape[:apart]
        return replace(self, shape=shape, strides=(*self.strides[:apart], *_strides(shape[apart:])))

    def member(self, i: int) -> Ref:
        """What member i has of it; itself where all have the same."""
        if not self.members:
            return self
        start = self.start + i * self.strides[0]
        return replace(self, shape=self.shape[1:], strides=self.strides[1:], start=start, members=0, first=0)

    def apart(self, parts: int) -> Ref:
        """The rows as so many equal parts, one behind the other, each of which is a feature: (…, parts, n, units)."""
        *lead, rows, units = self.shape
        *steps, row, unit = self.strides
        n = rows // parts
        assert n * parts == rows
        return replace(self, shape=(*lead, parts, n, units), strides=(*steps, n * row, row, unit))

    def among(self, parts: int, i: int) -> Ref:
        """Part i of those, (…, n, units)."""
        *lead, rows, units = self.shape
        n = rows // parts
        return replace(self, shape=(*lead, n, units), start=self.start + i * n * self.strides[-2])

    def some(self, first: int, count: int) -> Ref:
        """What so many members have of it, from this one on."""
        shape, start = (count, *self.shape[1:]), self.start + first * self.strides[0]
        return replace(self, shape=shape, start=start, members=count, first=first)

    def split(self, parts: int) -> Ref:
        """The last axis as two: so many parts of equal length, and what is in each."""
        n, step = self.shape[-1] // parts, self.strides[-1]
        assert n * parts == self.shape[-1]
        return replace(self, shape=(*self.shape[:-1], parts, n), strides=(*self.strides[:-1], n * step, step))

    def on(self, *names: str) -> Ref:
        """The array as an operation on features takes it: its last axes, which have these names, in the order of `AXES`
        behind those of members; one that it lacks has length 1, so that it is the same for all of that axis.

        So axes meet by their names: z.on("row", "feature") and w.on("feature", "unit") give z[r, f] w[f, u].
        """
        lead, kept = self.ndim - len(names), dict(zip(names, range(-len(names), 0), strict=True))
        assert kept.keys() <= {*AXES}
        shape = (*self.shape[:lead], *(self.shape[kept[name]] if name in kept else 1 for name in AXES))
        strides = (*self.strides[:lead], *(self.strides[kept[name]] if name in kept else 0 for name in AXES))
        return replace(self, shape=shape, strides=strides)

    def swapaxes(self, one: int, other: int) -> Ref:
        """Two axes exchanged."""
        shape, strides = list(self.shape), list(self.strides)
        shape[one], shape[other] = shape[other], shape[one]
        strides[one], strides[other] = strides[other], strides[one]
        return replace(self, shape=tuple(shape), strides=tuple(strides))


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Of an array in C order."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def ref(name: str, shape: int | tuple[int, ...], dtype: Any, members: tuple[int, ...] = ()) -> Ref:
    """A whole buffer of this shape, for each of the members, (M,) or (), that stand in front of it."""
    shape = (*members, shape) if isinstance(shape, int) else (*members, *shape)
    return Ref(Buffer(name, math.prod(shape), np.dtype(dtype)), shape, _strides(shape), members=sum(members))


def like(name: str, array: Array) -> Ref:
    """The buffer that an array is to be resident in."""
    return ref(name, array.shape, array.dtype)


@dataclass(frozen=True)
class Op:
    """One operation; it reads and writes what its fields say, for one net or for each member of a pack."""

    @property
    def members(self) -> int:
        """How many members it is made for, 0 for one net."""
        return max((each.members for each in (*self.reads, *self.writes)), default=0)

    @property
    def offset(self) -> int:
        """The member that it begins with."""
        return max((each.first for each in (*self.reads, *self.writes)), default=0)

    def member(self, i: int) -> Self:
        """What it does for its member i."""
        return self.moved(lambda ref: ref.member(i))

    def moved(self, to: Callable[[Ref], Ref]) -> Self:
        """The same with other refs."""

        def own(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: to(ref) for name, ref in value.items()}
            return to(value) if isinstance(value, Ref) else value

        return replace(self, **{each.name: own(getattr(self, each.name)) for each in fields(self)})

    @property
    def reads(self) -> tuple[Ref, ...]:
        """What must be there before."""
        return tuple(self._refs(written=False))

    @property
    def writes(self) -> tuple[Ref, ...]:
        """What it makes or changes."""
        return tuple(self._refs(written=True))

    def _refs(self, written: bool) -> Iterator[Ref]:
        for each in fields(self):
            value, role = getattr(self, each.name), each.metadata.get("role")
            if role == "changed" or written == (role == "made"):
                yield from value.values() if isinstance(value, Mapping) else [value] if isinstance(value, Ref) else []


def _made() -> Any:
    return field(metadata={"role": "made"})


def _changed() -> Any:
    return field(metadata={"role": "changed"})


@dataclass(frozen=True)
class Matmul(Op):
    """out = a b, over the last two axes, for each of the leading ones: members and features."""

    a: Ref
    b: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class Apply(Op):
    """Every result of the formula into its buffer; a result may overwrite a symbol's buffer of the same shape.

    Axes meet from the last one on, as `AXES` has them; `Ref.on` puts arrays into that order by their axes' names.
    `sums`: results (…, B, n) that are also, or with no entry in `outs` only, summed over their rows, into (…, n).
    """

    formula: Formula
    arrays: Mapping[str, Ref]
    outs: Mapping[str, Ref] = _made()
    sums: Mapping[str, Ref] = field(default_factory=dict, metadata={"role": "made"})

    @property
    def results(self) -> int:
        """How many numbers its operations make, about: each has the shape of the largest array."""
        made = sum(bool(node.args) for node in self.formula.nodes())
        return made * max(math.prod(each.shape) for each in (*self.arrays.values(), *self.outs.values()))


@dataclass(frozen=True)
class Accumulate(Op):
    """total += Σ values (…, B, 1), the sum and `total` (…), in float64."""

    values: Ref
    total: Ref = _changed()


@dataclass(frozen=True)
class Norm(Op):
    """out (…) = ‖g‖₂ of flat vectors (…, n)."""

    g: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class Words(Op):
    """out uint16 = random words of (key, layer) at the epoch and step of `position`, four from each uint64.

    Each member has a key of its own.
    """

    keys: tuple[tuple[int, int], ...]
    layer: int
    position: Ref
    out: Ref = _made()

    def member(self, i: int) -> Self:
        """By its key."""
        return replace(super().member(i), keys=(self.keys[i],))


@dataclass(frozen=True)
class Gather(Op):
    """out (B, n) = rows of x (n_all, n): those that order (n_rows,) int64 names from the position's row on."""

    x: Ref
    order: Ref
    position: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class GatherOneHot(Op):
    """out (B, K) = one-hot rows of labels (n_all,) int64, gathered likewise."""

    labels: Ref
    order: Ref
    position: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class Take(Op):
    """out (…, B, n_cat · d) = for each code of a row its row of the table (…, K, d), side by side; zeros for −1.

    codes (B, n_cat) int32; those of column j count from `first[j]` on.
    """

    table: Ref
    codes: Ref
    first: tuple[int, ...]
    out: Ref = _made()


@dataclass(frozen=True)
class ScatterAdd(Op):
    """out (…, K, d) = the sum of those parts of δ (…, B, n_cat · d) that `Take` had made of each of its rows."""

    δ: Ref
    codes: Ref
    first: tuple[int, ...]
    out: Ref = _made()


@dataclass(frozen=True)
class Fill(Op):
    """out = a number; written once, when the step is compiled, and nothing changes it."""

    value: float
    out: Ref = _made()


@dataclass(frozen=True)
class Load(Op):
    """out (n,) = the row of table (steps, n) for the step of the chunk."""

    table: Ref
    position: Ref
    out: Ref = _made()


@dataclass(frozen=True)
class Advance(Op):
    """The position (epoch, step, row of the epoch, step of the chunk) moves on by one step of so many rows."""

    rows: int
    position: Ref = _changed()


@dataclass(frozen=True)
class Update(Op):
    """The formula over flat vectors (…, n); results are named like the vectors that they overwrite.

    `scalars` are 0-d, or (M, 1) for members. A backend that can do so at no cost watches whether all results are
    finite.
    """

    formula: Formula
    scalars: Mapping[str, Ref]
    vectors: Mapping[str, Ref] = _changed()

    @property
    def size(self) -> int:
        """The number of elements of each vector, of all members."""
        return next(iter(self.vectors.values())).size


@dataclass(frozen=True)
class Host(Op):
    """Whatever else a step does: `function` is called, in Python, with the arrays of `arrays` by name."""

    function: Callable[[Mapping[str, Array]], object]
    arrays: Mapping[str, Ref] = _changed()


@dataclass(frozen=True)
class Phase(Op):
    """What follows is this phase of that layer: for measuring, where a step's time goes."""

    phase: str
    layer: int = 0


@dataclass(frozen=True)
class Lap(Op):
    """total (1,) int64 += the nanoseconds since `since` (1,) int64, which becomes now; after all that is `done`."""

    done: Mapping[str, Ref]
    since: Ref = _changed()
    total: Ref = _changed()


class Tape:
    """A list of operations in the order in which they are made."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def add(self, op: Op) -> None:
        """Write it down."""
        self.ops.append(op)


def buffers(ops: Sequence[Op]) -> dict[str, Buffer]:
    """Every buffer of the operations by name, the largest of each."""
    found: dict[str, Buffer] = {}
    for op in ops:
        for each in (*op.reads, *op.writes):
            held = found.get(each.buffer.name)
            if held is None or held.size < each.buffer.size:
                found[each.buffer.name] = each.buffer
    return found
