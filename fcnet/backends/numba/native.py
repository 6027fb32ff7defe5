"""The calls of a step in compiled code, as data: which kernel, over which parts of which buffers, and who shares it."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from fcnet.backends.base import Binding, aligned
from fcnet.backends.numba import dots, kernels, product, store
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import Printed, print_kernel
from fcnet.backends.ops import Array, Ref
from fcnet.formulas import Formula, Sym
from fcnet.formulas.expression import REDUCTIONS
from fcnet.records import dataclass, field

LINE = 16
"""Elements of a cache line, of which a part has whole ones, so that no two threads write to one."""

OWN, CROSS = 1, 2
"""How two calls touch the same memory: each thread what is its own, or what another thread has."""


@dataclass(frozen=True)
class Cut:
    """How threads share a call: thread i has what lies between edge i and the next, on a scale from 0 to the last.

    No result depends on where the edges are. A part has whole lines of so many elements. What is worth less than
    `least` is left to one thread. `rows`: weights; in products with them, and in what has none, a thread has rows of
    the batch, and otherwise units.
    """

    edges: tuple[int, ...] = (0, 1)
    line: int = LINE
    least: float = 1.0
    rows: frozenset[Ref] = frozenset()

    @functools.cached_property
    def threads(self) -> int:
        """How many there are."""
        return len(self.edges) - 1

    def lines(self, n: int, grain: int = 1) -> int:
        """How many whole lines of whole grains 0 … n has."""
        return n // math.lcm(self.line, grain)

    def can(self, n: int, grain: int = 1) -> bool:
        """Whether there is a part of 0 … n for every thread."""
        return self.lines(n, grain) >= self.threads

    def parts(self, n: int, grain: int = 1) -> list[slice]:
        """0 … n in a part for each thread, of whole lines and grains but for the end; none is empty."""
        return _parts(self.edges, math.lcm(self.line, grain), n)


@functools.lru_cache(1024)
def _parts(edges: tuple[int, ...], line: int, n: int) -> list[slice]:
    lines, at, threads = n // line, [0], len(edges) - 1
    for i, edge in enumerate(edges[1:-1], start=1):
        at.append(min(max(round(lines * edge / edges[-1]), at[-1] + 1), lines - (threads - i)))
    return [slice(start, stop) for start, stop in itertools.pairwise([*(line * i for i in at), n])]


@dataclass(frozen=True)
class Moved:
    """An argument: where a thread's part of an array begins, `times` elements along the axis for each cut off."""

    ref: Ref
    axis: int
    times: int = 1


@dataclass(frozen=True)
class Length:
    """An argument: how long a thread's part is, in so many elements; the last part has some `more`."""

    times: int = 1
    more: int = 0


@dataclass(frozen=True)
class Start:
    """An argument: where a thread's part begins."""


@dataclass(frozen=True)
class Each:
    """An argument: an array for each thread."""

    arrays: Sequence[Array]

    @functools.cached_property
    def places(self) -> list[int]:
        """Their addresses."""
        return [address(x) for x in self.arrays]


Argument = int | Ref | Moved | Length | Start | Each


@dataclass(frozen=True)
class Access:
    """Elements that a call reads or writes: each thread all of them, or, `unit` elements of the buffer for each line of
    so many `lines`, its part along an axis. `own`: each thread has memory of its own for them."""

    ref: Ref
    written: bool = False
    axis: int | None = None
    unit: int = 0
    lines: int = 0
    own: bool = False

    @property
    def where(self) -> tuple[Any, ...]:
        """All but whether it is written."""
        return self.ref, self.axis, self.unit, self.lines, self.own

    @property
    def parts(self) -> tuple[int, int, int, int] | None:
        """What two accesses have in common of which each thread touches the same part: how far the pieces are apart of
        which a part consists (0 for one), where in each the first part begins, what a line is, and how many there are.
        """
        found = None if self.axis is None else _pieces(self.ref, self.axis % self.ref.ndim)
        return None if found is None else (*found, self.unit, self.lines)

    def against(self, other: Access) -> int:
        """0 where the order of both does not matter, else OWN or CROSS."""
        if not (self.written or other.written):
            return 0
        if self.own and other.own:
            return OWN
        (low, high), (start, stop) = self.ref.span, other.ref.span
        if high <= start or stop <= low:
            return 0
        rows, others = (_frame(x, x.ndim - 1) if x.ndim else None for x in (self.ref, other.ref))
        if rows is not None and others is not None:
            (step, low, high), (also, start, stop) = rows, others
            if step == also and (high <= start or stop <= low):
                return 0
        return OWN if _alike(self.parts, other.parts) else CROSS


@functools.lru_cache(4096)
def _frame(ref: Ref, axis: int) -> tuple[int, int, int] | None:
    """The distance of the pieces that an axis and what lies within it make up, and from where to where these reach in
    it; None where there is one piece, or where they reach into one another."""
    step = ref.strides[axis]
    outer = [s for n, s in zip(ref.shape, ref.strides, strict=True) if n > 1 and s > step]
    if not outer or min(ref.strides) < 0:
        return None
    frame = min(outer)
    start = ref.start % frame
    long = 1 + sum((n - 1) * s for n, s in zip(ref.shape, ref.strides, strict=True) if n > 1 and s <= step)
    return None if any(s % frame for s in outer) or start + long > frame else (frame, start, start + long)


@functools.lru_cache(4096)
def _pieces(ref: Ref, axis: int) -> tuple[int, int] | None:
    """How far the pieces are apart that a part along the axis consists of (0 for one), and where in each the first part
    begins; None where parts reach into one another."""
    axes, step = [*zip(ref.shape, ref.strides, strict=True)], ref.strides[axis]
    inner = [(n - 1) * s for i, (n, s) in enumerate(axes) if i != axis and n > 1 and s < step]
    if step <= 0 or 1 + sum(inner) > step or any(s <= 0 for n, s in axes if n > 1):
        return None
    frame = _frame(ref, axis)
    if frame is None:
        return None if any(n > 1 and s > step for n, s in axes) else (0, ref.start)
    return frame[:2]


def _alike(one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int] | None) -> bool:
    """Whether a thread's part of one touches no other thread's part of the other; one piece may be one of several."""
    if one is None or other is None or one[2:] != other[2:]:
        return False
    frame = max(one[0], other[0])
    if min(one[0], other[0]) not in (0, frame):
        return False
    a, b = (x[1] % frame if frame and not x[0] else x[1] for x in (one, other))
    return a == b and not (frame and one[0] != other[0] and a + one[2] * one[3] > frame)


@dataclass(frozen=True)
class Kernel:
    """A call as it is cut: the kernel's address, its arguments, and what it touches. With a `cut` the parts of 0 … n
    are shared out in whole grains, or each thread makes it for itself where n is 0; without one thread makes all."""

    address: int
    arguments: Sequence[Argument]
    touched: Sequence[Access]
    at: Binding
    n: int = 1
    grain: int = 1
    cut: Cut | None = None

    def blocks(self, cut: Cut | None = None) -> Array:
        """Each thread's block of arguments, (threads, n) int64, or the only one's; with other edges, if they are given.

        Arrays are there by their addresses; the binding and the arguments keep them alive.
        """
        cut = None if self.cut is None else cut or self.cut
        parts = [slice(0, self.n)]
        if cut is not None:
            parts = cut.parts(self.n, self.grain) if self.n else parts * cut.threads
        starts = [part.start for part in parts]
        alike: list[int] = []
        own: dict[int, list[int]] = {}  # what is not the same for all threads, by its place
        for value in self.arguments:
            match value:
                case int():
                    alike.append(value)
                    continue
                case Ref():
                    alike.append(address(self.at(value)))
                    continue
                case Moved(ref, axis, times):
                    first, step = address(self.at(ref)), ref.strides[axis] * ref.dtype.itemsize
                    column = [first + start * times * step for start in starts]
                case Length(times, more):
                    column = [(part.stop - part.start) * times for part in parts]
                    column[-1] += more
                case Start():
                    column = starts
                case Each():
                    column = value.places[: len(parts)]
            own[len(alike)] = column
            alike.append(0)
        made = np.empty((len(parts), len(alike)), np.int64)
        made[...] = alike
        for k, column in own.items():
            made[:, k] = column
        return made


class Native(ABC):
    """One call of a step, which threads may share."""

    worth: float
    """How much sharing it gains: nothing where it cannot be cut, and from 1 on more than the wait for one another."""

    fence = False
    """Whether it stays behind all that is recorded before it, and before all that comes after."""

    @abstractmethod
    def able(self, cut: Cut) -> bool:
        """Whether it can be cut so."""

    @abstractmethod
    def kernel(self, cut: Cut) -> Kernel:
        """It, shared by all threads or made by one."""

    def apart(self, cut: Cut) -> Sequence[Native]:
        """It, or the calls that do the same where threads share them."""
        return [self]

    def shared(self, cut: Cut) -> bool:
        """Whether more than one thread has a part of it."""
        return cut.threads > 1 and self.worth > 0 and self.worth >= cut.least and self.able(cut)

    def part(self, cut: Cut) -> float:
        """How much of it a thread has, where all have about the same."""
        return 1 / cut.threads if self.shared(cut) else 1.0

    @property
    @abstractmethod
    def whole(self) -> list[Access]:
        """What it touches, made by one thread."""

    def by(self, thread: int) -> Native:
        """It as that thread makes it by itself, while others make other calls."""
        return self

    def __call__(self) -> None:
        """Make all of it."""
        kernel = self.kernel(Cut())
        block = kernel.blocks()
        replay(np.array([[kernel.address, address(block)]]), 1)


@dataclass
class PlainCall(Native):
    """One of `kernels` for a precision, whose arguments are cut along 0 … `long` in whole grains.

    `written`: which of the arrays it writes; `own`: those of which each thread has its own, and whether it is written;
    such a call each makes for itself. A part has whole ones of so many `line`s.
    """

    body: Any
    dtype: np.dtype[Any]
    arguments: Sequence[Argument]
    written: Sequence[Ref]
    at: Binding
    worth: float = 0.0
    long: int = 0
    grain: int = 1
    line: int | None = None
    own: Sequence[tuple[Ref, bool]] = ()
    fence: bool = False

    def able(self, cut: Cut) -> bool:
        """By its parts."""
        return bool(self.own) or self._cut(cut).can(self.long, self.grain)

    @property
    def whole(self) -> list[Access]:
        """By its arguments."""
        refs = [x.ref if isinstance(x, Moved) else x for x in self.arguments if isinstance(x, (Ref, Moved))]
        return [Access(x, x in self.written) for x in refs] + [Access(x, written) for x, written in self.own]

    def _cut(self, cut: Cut) -> Cut:
        return cut if self.line is None else replace(cut, line=self.line)

    def kernel(self, cut: Cut) -> Kernel:
        """As it is."""
        shared, cut = self.shared(cut), self._cut(cut)
        touched = [Access(ref, written, own=shared) for ref, written in self.own]
        line, lines = math.lcm(cut.line, self.grain), cut.lines(self.long, self.grain)
        for value in self.arguments:
            match value:
                case Ref():
                    touched.append(Access(value, value in self.written))
                case Moved(ref, axis) if shared:
                    touched.append(Access(ref, ref in self.written, axis, line * ref.strides[axis], lines))
                case Moved(ref):
                    touched.append(Access(ref, ref in self.written))
        place = kernels.place(self.body, self.dtype)
        return Kernel(place, self.arguments, touched, self.at, self.long, self.grain, cut if shared else None)


Group = Mapping[str, Ref]
Groups = tuple[Group, Group, Group]
"""What a formula is over: arrays, outs and sums over rows."""


@dataclass
class FormulaCall(Native):
    """A printed formula over groups of arrays (arrays, outs, sums), which can be cut along some axes of its shape.

    `own`: arrays and outs of which each thread has one. What is cut are parts of so many elements (`row`): an update of
    a matrix is cut by its rows, and then a thread updates what it has just made.
    """

    formula: Formula
    groups: Groups
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    worth: float
    at: Binding
    own: Mapping[str, Each]
    row: int = 1
    printed: dict[tuple[int | None, int], Printed] = field(default_factory=dict, repr=False)

    @property
    def update(self) -> bool:
        """Whether it is an optimizer's."""
        return bool(self.own)

    @property
    def whole(self) -> list[Access]:
        """By its groups."""
        groups = zip(self.groups, (False, True, True), strict=True)
        return [Access(ref, written) for group, written in groups for ref in group.values()]

    def axis(self, cut: Cut) -> int:
        """Where it is cut: by units (axis −1), or by rows where units belong together or are few, or all have rows."""
        return (min if cut.rows else max)(axis for axis in self.axes if cut.can(self.shape[axis] // self.row))

    def able(self, cut: Cut) -> bool:
        """Along one of its axes."""
        return any(cut.can(self.shape[axis] // self.row) for axis in self.axes)

    def rows_of(self, made: Mapping[tuple[str, int], int]) -> FormulaCall:
        """The same, cut like the product that makes rows of what it reads; `made`: how long these are, by place."""
        rows = [made[place] for x in self.groups[0].values() if (place := (x.buffer.name, x.start)) in made]
        return replace(self, row=rows[0]) if rows else self

    def apart(self, cut: Cut) -> Sequence[Native]:
        """By rows, with the sums over all of them on their own."""
        _, outs, sums = self.groups
        return self._summed_apart if sums and outs and self.shared(cut) and self.axis(cut) == -2 else [self]

    @functools.cached_property
    def _summed_apart(self) -> Sequence[Native]:
        arrays, outs, sums = self.groups
        made: list[Native] = [replace(self, groups=(arrays, outs, {}), printed={})]
        for name, total in sums.items():
            axes = tuple(axis for axis in self.axes if axis == -1)
            groups: Groups = {name: outs[name]}, {}, {name: total}
            worth = self.worth if axes else 0.0
            sum_ = Formula({name: Sym(name)})
            made.append(replace(self, formula=sum_, groups=groups, axes=axes, worth=worth, printed={}))
        return made

    def kernel(self, cut: Cut) -> Kernel:
        """By units or by rows."""
        shared = self.shared(cut)
        axis = self.axis(cut) if shared else None
        n = self.shape[axis] // self.row if axis is not None else 1
        long = max((part.stop - part.start for part in cut.parts(n)), default=0) if axis is not None else 0
        printed = self._print(axis, long * self.row)
        touched = []
        for group, written in zip(self.groups, (False, True, True), strict=True):
            for name, ref in group.items():
                if name in self.own:
                    touched.append(Access(ref, written, own=True))
                elif axis is None or not self._is_cut(ref, axis):
                    touched.append(Access(ref, written))
                else:
                    unit = cut.line * self.row * ref.strides[axis]
                    touched.append(Access(ref, written, axis, unit, cut.lines(n)))
        arguments: list[Argument] = [*printed.sizes]
        if axis is not None:
            each = math.prod(self.shape) // self.shape[axis] if printed.flat else 1
            more = self.shape[axis] - n * self.row
            arguments[printed.lead + (1 if printed.flat else axis + 2)] = Length(each * self.row, each * more)
        for number, name in printed.places:
            whole = self.groups[number][name]
            cut_here = axis is not None and name not in self.own and self._is_cut(whole, axis)
            moved = Moved(whole, axis, self.row) if axis is not None and cut_here else whole
            arguments.append(self.own.get(name, moved))
        arguments.append(self._scratch(printed.rows, cut.threads if shared else 1) if printed.rows else 0)
        place = int(store.load(printed.text).kernel.address)
        return Kernel(place, arguments, touched, self.at, n, 1, cut if shared else None)

    def _print(self, axis: int | None, long: int) -> Printed:
        """The kernel over the first `long` along the axis; one is printed for all parts of the same form."""
        form = axis, min(long, LINE)
        if form not in self.printed:
            arrays, outs, sums = (
                {name: self._first(name, ref, *form) for name, ref in group.items()} for group in self.groups
            )
            found = print_kernel(self.formula, arrays, outs, sums, self.update)
            assert found is not None, "parts of arrays that can be printed cannot"
            self.printed[form] = found
        return self.printed[form]

    def _first(self, name: str, ref: Ref, axis: int | None, long: int) -> Ref:
        if axis is None or name in self.own or not self._is_cut(ref, axis):
            return ref
        return ref[:long] if axis == -ref.ndim else ref[..., :long] if axis == -1 else _middle(ref, axis, long)

    def _is_cut(self, ref: Ref, axis: int) -> bool:
        """Whether it has the axis, along which it may be broadcast."""
        return ref.ndim >= -axis and ref.shape[axis] == self.shape[axis]

    def _scratch(self, rows: int, threads: int) -> Each:
        """For each thread so many rows of its own."""
        dtype = next(iter((self.groups[1] or self.groups[2]).values())).dtype
        return Each([*aligned((threads, -(-rows * self.shape[-1] // LINE) * LINE), dtype)])


def _middle(ref: Ref, axis: int, long: int) -> Ref:
    shape = [*ref.shape]
    shape[axis] = long
    return replace(ref, shape=tuple(shape))


@dataclass
class _Product(Native):
    """out = a b, for which each thread has memory for copies."""

    a: Ref
    b: Ref
    out: Ref
    worth: float
    pads: Each
    at: Binding
    width: int = product.WIDTH

    @property
    def whole(self) -> list[Access]:
        """The matrices."""
        return [Access(self.a), Access(self.b), Access(self.out, True)]

    def by(self, thread: int) -> Self:
        """With the thread's memory for copies."""
        return replace(self, pads=Each(self.pads.arrays[thread : thread + 1]))


@dataclass
class ProductCall(_Product):
    """A product of which each thread has a part of out's rows or columns.

    In a product of a `batch` a's rows are those of the batch; the other one is dW = Eᵀ Z, which is cut by its rows:
    these are units of ε.
    """

    @property
    def batch(self) -> bool:
        """Whether a's rows are those of the batch."""
        return self.a.strides[-1] == 1

    def axis(self, cut: Cut) -> int:
        """Where it is cut: by rows (axis −2) or columns."""
        first = -2 if not self.batch or self.b in cut.rows else -1
        return first if cut.can(self.out.shape[first]) else -3 - first

    def able(self, cut: Cut) -> bool:
        """Along one of its axes."""
        return any(map(cut.can, self.out.shape))

    def kernel(self, cut: Cut) -> Kernel:
        """By rows or columns."""
        shared = self.shared(cut)
        axis = self.axis(cut) if shared else -2
        n = self.out.shape[axis]
        arguments = product.arguments(self.a, self.b, self.out, self.pads, self.width)
        touched = self.whole
        if shared:
            cut_ref = self.a if axis == -2 else self.b
            for k, value in enumerate(arguments):
                if value is self.out or value is cut_ref:
                    arguments[k] = Moved(value, axis)
            arguments[product.SIZES[axis]] = Length()
            lines = cut.lines(n)
            touched = [Access(self.b if axis == -2 else self.a)]
            for ref, written in ((cut_ref, False), (self.out, True)):
                touched.append(Access(ref, written, axis, cut.line * ref.strides[axis], lines))
        module = dots if dots.better(self.a, self.b, self.out) else product
        place = module.place(self.out.dtype, self.width)
        return Kernel(place, arguments, touched, self.at, n, 1, cut if shared else None)


@dataclass
class BatchCall(_Product):
    """Many small products, out (…, rows, n), of which each thread makes some."""

    @property
    def many(self) -> int:
        """How many there are."""
        return math.prod(self.out.shape[:-2])

    def able(self, cut: Cut) -> bool:
        """Product by product."""
        return self.many >= cut.threads

    def kernel(self, cut: Cut) -> Kernel:
        """Some of them each."""
        shared = self.shared(cut)
        first = (0,) * (self.out.ndim - 2)
        a, b, out = (x.matrix(first) for x in (self.a, self.b, self.out))
        blocks = [self._block(product.arguments(a, b, out, pad, self.width)) for pad in self.pads.arrays]
        arguments: list[Argument] = [product.place(out.dtype, self.width), Each(blocks)]
        arguments += [Start(), Length(), self.out.shape[-3]]
        for x in (self.out, self.a, self.b):
            lead = [*zip(x.shape[:-2], x.strides[:-2], strict=True)]
            steps = [step * x.dtype.itemsize if n > 1 else 0 for n, step in lead]
            arguments += [x, *([0, 0] + steps)[-2:]]
        touched = self.whole
        place = kernels.place(product.many, out.dtype)
        return Kernel(place, arguments, touched, self.at, self.many, 1, replace(cut, line=1) if shared else None)

    def _block(self, arguments: Sequence[Ref | Array | int]) -> Array:
        """Those of a product, of which the loop over all of them sets three."""
        made: Array = block(*(self.at(x) if isinstance(x, Ref) else x for x in arguments))
        return made


def together(formula: Formula) -> bool:
    """Whether a unit's results need other units."""
    return any(node.op in REDUCTIONS or node.op == "width" for node in formula.nodes())
