"""The calls of a step in compiled code, and how they are cut into pieces for the threads of a team."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnet.backends.base import aligned
from fcnet.backends.numba import dots, kernels, product, store
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import POINTERS, Group, Groups, Printed, print_kernel, signature
from fcnet.backends.ops import Array
from fcnet.formulas import Formula, Sym
from fcnet.formulas.expression import REDUCTIONS

COUNTER = 16
"""Words of 16 bits that one counter of the generator gives."""

LINE = 16
"""Elements of a cache line, of which a piece has whole ones, so that no two threads write to one."""


@dataclass(frozen=True)
class Piece:
    """A kernel's address and its block of arguments.

    `reads` and `writes` are the arrays that it touches; with them and what is `held` all that the block points to is
    kept alive.
    """

    address: int
    block: Array
    reads: tuple[Array, ...]
    writes: tuple[Array, ...]
    held: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Cut:
    """How threads share a call: thread i has what lies between edge i and the next, on a scale from 0 to the last.

    No result depends on where the edges are. A part has whole lines of so many elements. What is worth less than
    `least` is left to one thread. `rows`: addresses of weights; in products with them, and in what has none, a thread
    has rows of the batch, and otherwise units.
    """

    edges: tuple[int, ...] = (0, 1)
    line: int = LINE
    least: float = 1.0
    rows: frozenset[int] = frozenset()

    @property
    def threads(self) -> int:
        """How many there are."""
        return len(self.edges) - 1

    def can(self, n: int, grain: int = 1) -> bool:
        """Whether there is a part of 0 … n for every thread."""
        return n // math.lcm(self.line, grain) >= self.threads

    def parts(self, n: int, grain: int = 1) -> list[slice]:
        """0 … n in a part for each thread, of whole lines and grains but for the end; none is empty."""
        line = math.lcm(self.line, grain)
        lines, at = n // line, [0]
        for i, edge in enumerate(self.edges[1:-1], start=1):
            at.append(min(max(round(lines * edge / self.edges[-1]), at[-1] + 1), lines - (self.threads - i)))
        return [slice(start, stop) for start, stop in itertools.pairwise([*(line * i for i in at), n])]


class Native(ABC):
    """One call of a step: the kernels that it runs, cut into pieces where threads share it."""

    worth = 0.0
    """How much sharing it gains: nothing where it cannot be cut, and from 1 on more than the wait for one another."""

    reads: tuple[Array, ...] = ()
    writes: tuple[Array, ...] = ()

    fence = False
    """Whether it stays behind all that is recorded before it, and before all that comes after."""

    @abstractmethod
    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """The kernels that each of the threads runs, or the first alone."""

    def apart(self, cut: Cut) -> list[Native]:
        """It, or the calls that do the same where threads share them."""
        return [self]

    def own(self, thread: int) -> Native:
        """It as that thread makes it alone, while others make others."""
        return self

    def _parts(self, cut: Cut, n: int, grain: int = 1) -> list[slice]:
        return cut.parts(n, grain) if self.shared(cut) else [slice(0, n)]

    def shared(self, cut: Cut) -> bool:
        """Whether more than one thread has a piece of it."""
        return cut.threads > 1 and self.worth > 0 and self.worth >= cut.least

    def __call__(self) -> None:
        """Run all of it."""
        pieces = self.pieces(Cut())[0]  # a table alone would not keep their blocks
        replay(table(pieces), 1)


class FixedCall(Native):
    """Pieces that are always the same ones, because a result depends on them; each thread makes some, or one all."""

    def __init__(self, shares: Sequence[Sequence[Piece]], fence: bool = False) -> None:
        self._shares, self.worth, self.fence = shares, math.inf if len(shares) > 1 else 0.0, fence
        pieces = [piece for share in shares for piece in share]
        self.reads, self.writes = (tuple(x for p in pieces for x in getattr(p, name)) for name in ("reads", "writes"))

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """A share for each thread; all for the first if it is alone."""
        shares = [[*share] for share in self._shares]
        return shares if cut.threads > 1 else [[piece for share in shares for piece in share]]


class LoadCall(Native):
    """A thread's own copy of a step's row of a table, so that nobody has to wait for another to be through with it.

    `copies`: one for each thread; the first is everybody's where one thread makes the step.
    """

    def __init__(self, source: Array, position: Array, copies: Sequence[Array]) -> None:
        self.source, self.position, self.copies = source, position, copies
        self.reads, self.writes = (source, position), tuple(copies)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """Each for itself."""
        kernel, made = typed("load", self.source), []
        for out in self.copies[: cut.threads]:
            values = block(self.source, self.position, out, out.size)
            made.append([Piece(int(kernel.address), values, self.reads, (out,))])
        return made


class GatherCall(Native):
    """out (rows, n) = what the kernel makes of the rows of x at the place of the step; each thread has a part.

    With `copies`, out and others like it, each thread gathers all of its own copy instead.
    """

    def __init__(
        self,
        kernel: Any,
        x: Array,
        order: Array,
        position: Array,
        out: Array,
        worth: float,
        copies: tuple[Array, ...] = (),
    ) -> None:
        self.reads, self.writes, self.worth = (x, order, position), copies or (out,), worth
        self.out, self.copies, self._kernel = out, copies, kernel

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By rows, or each for itself."""
        if self.copies:
            return [[self._piece(out, slice(0, len(out)))] for out in self.copies]
        return [[self._piece(self.out, part)] for part in self._parts(cut, len(self.out))]

    def copied(self, copies: tuple[Array, ...]) -> GatherCall:
        """The same into a copy for each thread."""
        x, order, position = self.reads
        return GatherCall(self._kernel, x, order, position, self.out, self.worth, copies)

    def _piece(self, out: Array, part: slice) -> Piece:
        x, order, position = self.reads
        values = block(x, order[part.start :], position, out[part], *out[part].shape)
        return Piece(int(self._kernel.address), values, self.reads, (out[part],))


class TakeCall(Native):
    """out (M, B, C · d) = rows of the table (M, K, d) that the codes (B, C) name; each thread has rows of the batch."""

    def __init__(self, table: Array, codes: Array, first: Array, out: Array, worth: float) -> None:
        self.table, self.codes, self.first, self.out, self.worth = table, codes, first, out, worth
        self.reads, self.writes = (table, codes, first), (out,)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By rows."""
        made, kernel = [], typed("take", self.out)
        for part in self._parts(cut, len(self.codes)):
            codes, out, item = self.codes[part], self.out[:, part], self.out.itemsize
            sizes = len(out), *codes.shape, self.table.shape[-1], self.table.strides[0] // item
            steps = out.strides[0] // item, out.strides[1] // item
            values = block(self.table, codes, self.first, out, *sizes, *steps)
            made.append([Piece(int(kernel.address), values, (self.table, codes, self.first), (out,))])
        return made


def scatter(δ: Array, codes: Array, first: Array, out: Array) -> list[Piece]:
    """For each column of codes (B, C) a piece that adds the rows of δ (M, B, C · d) up into its part of out (M, K, d).

    Each of its sums goes by the rows' order, whoever makes the piece.
    """
    made, kernel, item = [], typed("scatter_add", out), out.itemsize
    for column, (start, stop) in enumerate(itertools.pairwise([*first.tolist(), out.shape[1]])):
        sizes = len(out), *codes.shape, out.shape[-1], δ.strides[0] // item, δ.strides[1] // item
        values = block(δ, codes, first, out, *sizes, out.strides[0] // item, column, stop)
        made.append(Piece(int(kernel.address), values, (δ, codes, first), (out[:, start:stop],)))
    return made


class _Kernels:
    """The kernels of a formula; one is printed once for all arrays of the same signature."""

    def __init__(self, formula: Formula, finite: bool = False) -> None:
        self._formula, self._finite = formula, finite
        self._symbols = formula.symbols()
        self._printed: dict[Hashable, Printed] = {}

    def piece(self, arrays: Group, outs: Group, sums: Group) -> Piece:
        """The formula over these arrays."""
        groups = {name: arrays[name] for name in self._symbols}, outs, sums
        form = signature(groups)
        if form in self._printed:
            printed = self._printed[form].over(groups)
        else:
            found = print_kernel(self._formula, *groups, self._finite)
            assert found is not None, "parts of arrays that can be printed cannot"
            printed = self._printed[form] = found
        scratch = aligned(printed.scratch, next(iter((outs or sums).values())).dtype)
        values = block(*printed.sizes, *printed.arrays, scratch)
        writes = (*outs.values(), *sums.values(), scratch)
        return Piece(int(store.load(printed.text).kernel.address), values, tuple(groups[0].values()), writes)


class FormulaCall(Native):
    """A printed formula over groups of arrays (arrays, outs, sums), which can be cut along some axes of its shape."""

    def __init__(
        self, formula: Formula, groups: Groups, shape: tuple[int, ...], axes: tuple[int, ...], worth: float
    ) -> None:
        self.formula, self.groups, self.shape, self.axes, self.worth = formula, groups, shape, axes, worth
        self._kernels = _Kernels(formula)
        self.reads = tuple(groups[0].values())
        self.writes = (*groups[1].values(), *groups[2].values())

    def axis(self, cut: Cut) -> int:
        """Where it is cut: by units (axis −1), or by rows where units belong together or are few, or all have rows."""
        return (min if cut.rows else max)(self.axes)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By units or by rows."""
        if not self.shared(cut):
            return [[self._kernels.piece(*self.groups)]]
        axis = self.axis(cut)
        n = self.shape[axis]
        return [[self._kernels.piece(*split(self.groups, axis, n, part))] for part in self._parts(cut, n)]

    def apart(self, cut: Cut) -> list[Native]:
        """By rows, with the sums over all of them on their own."""
        arrays, outs, sums = self.groups
        if not (sums and outs and self.shared(cut) and self.axis(cut) == -2):
            return [self]
        made: list[Native] = [FormulaCall(self.formula, (arrays, outs, {}), self.shape, self.axes, self.worth)]
        for name, total in sums.items():
            groups: Groups = {name: outs[name]}, {}, {name: total}
            axes = tuple(axis for axis in self.axes if axis == -1)
            made.append(FormulaCall(Formula({name: Sym(name)}), groups, self.shape, axes, self.worth if axes else 0.0))
        return made

    def by_places(self, shape: tuple[int, ...]) -> bool:
        """Whether it makes a part of arrays of that shape (rows, n) out of the same part."""
        outs = self.groups[1].values()
        return not together(self.formula) and bool(outs) and all(a.shape == shape for a in outs)

    def place(self, shape: tuple[int, ...], rows: slice, columns: slice) -> Piece:
        """These of its rows and columns; all rows where there are sums over them."""
        return self._kernels.piece(*self._groups(shape, rows, columns))

    def touched(self, shape: tuple[int, ...], rows: slice, columns: slice) -> tuple[list[Array], list[Array]]:
        """What is read and written there."""
        arrays, outs, sums = self._groups(shape, rows, columns)
        return [*arrays.values()], [*outs.values(), *sums.values()]

    def _groups(self, shape: tuple[int, ...], rows: slice, columns: slice) -> Groups:
        return split(split(self.groups, -2, shape[-2], rows), -1, shape[-1], columns)


class UpdateCall(Native):
    """A formula over parts of vectors of one length, whose last result has a cell for each thread.

    Each thread has `scalars` of its own. The vectors may be cut like rows of a matrix of so many elements each; then a
    thread updates what it has just made.
    """

    def __init__(
        self,
        formula: Formula,
        views: Group,
        scalars: Sequence[Group],
        cells: Sequence[Array],
        worth: float,
        row: int = 1,
    ) -> None:
        self.formula, self.views, self.scalars, self.cells = formula, views, scalars, cells
        self.worth, self.row = worth, row
        self._kernels = _Kernels(formula, finite=True)
        self.reads = (*views.values(), *(x for own in scalars for x in own.values()))
        self.writes = (*(views[name] for name in formula.results if name in views), *cells)

    def like(self, native: Native, cut: Cut) -> UpdateCall | None:
        """The same, cut like that product if it makes rows of what is read here."""
        if not (isinstance(native, ProductCall) and self.worth and native.shared(cut) and native.axis(cut) == -2):
            return None
        if not any(address(x) == address(native.out) for x in self.views.values()):
            return None
        return UpdateCall(self.formula, self.views, self.scalars, self.cells, self.worth, native.out.shape[1])

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By elements."""
        size, made = len(next(iter(self.views.values()))), []
        parts = [slice(part.start * self.row, part.stop * self.row) for part in self._parts(cut, size // self.row)]
        parts[-1] = slice(parts[-1].start, size)
        for part, cell, scalars in zip(parts, self.cells, self.scalars, strict=False):
            views = {name: vector[part] for name, vector in self.views.items()}
            outs = {name: views.get(name, cell) for name in self.formula.results}
            made.append([self._kernels.piece({**views, **scalars}, outs, {})])
        return made


class WordsCall(Native):
    """out (…, n) = raw words; each thread has a part of them."""

    def __init__(self, out: Array, key: tuple[int, int], layer: int, position: Array, worth: float) -> None:
        self.out, self.key, self.layer, self.position, self.worth = out, key, layer, position, worth
        self.reads, self.writes = (position,), (out,)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By words."""
        flat = self.out.reshape(1, -1)
        return [[self._piece(flat[:, part], flat.size, part.start)] for part in self._parts(cut, flat.size, COUNTER)]

    def by_places(self, shape: tuple[int, ...]) -> bool:
        """Whether parts of an array of that shape (rows, n) can be made: a row has to start with a counter."""
        return self.out.shape == shape and shape[-1] % COUNTER == 0

    def place(self, shape: tuple[int, ...], rows: slice, columns: slice) -> Piece:
        """These of its rows and columns."""
        return self._piece(self.out[rows, columns], shape[-1], rows.start * shape[-1] + columns.start)

    def touched(self, shape: tuple[int, ...], rows: slice, columns: slice) -> tuple[list[Array], list[Array]]:
        """What is read and written there."""
        return [self.position], [self.out[rows, columns]]

    def _piece(self, out: Array, row: int, start: int) -> Piece:
        k0, k1 = (int(word) for word in np.array(self.key, np.uint64).view(np.int64))
        step = out.strides[0] // out.itemsize
        values = block(k0, k1, self.layer, self.position, out, *out.shape, step, start, row)
        return Piece(int(kernels.words.address), values, (self.position,), (out,))


class ProductCall(Native):
    """out = a b: each thread has a part of out's rows or columns, and memory for copies.

    What comes `after` is made of each panel of the product while that is in the cache. In a product of a `batch` a's
    rows are those of the batch; the other one is dW = Eᵀ Z, which is cut by its rows: these are units of ε. With
    `copies` each thread reads its own one of the factor that all of them need whole.
    """

    def __init__(
        self,
        a: Array,
        b: Array,
        out: Array,
        worth: float,
        pads: Sequence[Array],
        after: tuple[FormulaCall | WordsCall, ...] = (),
        copies: tuple[Array, ...] = (),
    ) -> None:
        self.a, self.b, self.out, self.worth, self.pads, self.after = a, b, out, worth, pads, after
        self.copies, self.batch = copies, a.strides[-1] == a.itemsize
        self.reads = (a, b, *copies, *(x for each in after for x in each.reads))
        self.writes = (out, *(x for each in after for x in each.writes))

    def own(self, thread: int) -> ProductCall:
        """With the thread's memory for copies."""
        return ProductCall(self.a, self.b, self.out, self.worth, self.pads[thread:][:1], self.after, self.copies)

    def axis(self, cut: Cut) -> int:
        """Where it is cut: by rows (axis −2) or columns."""
        first = -2 if not self.batch or address(self.b) in cut.rows else -1
        return first if cut.can(self.out.shape[first]) else -3 - first

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By rows or columns."""
        shape, made = self.out.shape, []
        axis = self.axis(cut)
        for i, (part, pad) in enumerate(zip(self._parts(cut, shape[axis]), self.pads, strict=False)):
            rows, columns = (part, slice(0, shape[1])) if axis == -2 else (slice(0, shape[0]), part)
            panels = product.panels(columns.start, columns.stop, self.out.dtype) if self.after else []
            follow = [each.place(shape, rows, panel) for panel in panels for each in self.after]
            a, b, out, calls = self.a[rows], self.b[:, columns], self.out[rows, columns], table(follow)
            if self.copies:
                a, b = (self.copies[i], b) if axis == -1 else (a, self.copies[i])
            values = block(*product.arguments(a, b, out, pad, calls, len(self.after)))
            reads, writes = [a, b], [out, pad]
            for each in self.after:
                more = each.touched(shape, rows, columns)
                reads, writes = reads + more[0], writes + more[1]
            kernel = (dots if dots.better(self.a, self.b, self.out) else product).kernel(out.dtype)
            made.append([Piece(int(kernel.address), values, tuple(reads), tuple(writes), (calls, *follow))])
        return made

    def followed(self, native: Native, cut: Cut) -> ProductCall | None:
        """The product with that after it too; None where it cannot be made panel by panel."""
        if not isinstance(native, (FormulaCall, WordsCall)) or native.shared(cut) > self.shared(cut):
            return None
        sums = isinstance(native, FormulaCall) and bool(native.groups[2])
        if (sums and self.shared(cut) and self.axis(cut) == -2) or not self._may_be_followed(native):
            return None
        return ProductCall(self.a, self.b, self.out, self.worth, self.pads, (*self.after, native), self.copies)

    def copied(self, copies: tuple[Array, ...], cut: Cut) -> ProductCall | None:
        """The same from a copy of the first of these arrays for each thread; None where a thread needs only a part."""
        whole = self.a if self.axis(cut) == -1 else self.b
        if self.after or not self.shared(cut) or not same(whole, copies[0]):
            return None
        return ProductCall(self.a, self.b, self.out, self.worth, self.pads, copies=copies)

    def _may_be_followed(self, native: FormulaCall | WordsCall) -> bool:
        """Whether it makes parts out of the same ones, and touches nothing else of what the panels to come need."""
        places = native.by_places(self.out.shape)
        made = [self.out, *(x for each in self.after for x in each.writes)]
        needed = [x for each in self.after for x in each.reads]
        apart = not any(np.shares_memory(x, y) for x in (self.a, self.b) for y in native.writes)
        pairs = [(x, y) for x in (*native.reads, *native.writes) for y in made]
        pairs += [(x, y) for x in native.writes for y in needed]
        return places and apart and all(same(x, y) for x, y in pairs if np.shares_memory(x, y))


class BatchCall(Native):
    """out (…, rows, n) = a b for each of many small products; each thread makes some, with a pad of its own."""

    def __init__(self, a: Array, b: Array, out: Array, worth: float, pads: Sequence[Array]) -> None:
        self.a, self.b, self.out, self.pads = a, b, out, pads
        self.reads, self.writes = (a, b), (out, *pads)
        self._many = list(np.ndindex(*out.shape[:-2]))
        self.worth = worth if len(self._many) >= len(pads) > 1 else 0.0
        self._made: dict[tuple[int, int], Piece] = {}  # a product with a thread's pad

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """Product by product, all of a thread's as one piece: of many features it would take long to plan for each."""
        edges = cut.edges if self.shared(cut) else (0, 1)
        ends = [round(len(self._many) * edge / edges[-1]) for edge in edges]
        made = []
        for thread, part in enumerate(itertools.pairwise(ends)):
            own = [self._piece(i, thread) for i in range(*part)]
            calls, one = table(own), slice(*part) if self.out.ndim == 3 else slice(None)
            reads, writes = (self.a[one], self.b[one]), (self.out[one], self.pads[thread])
            values = block(calls, len(own))
            made.append([Piece(int(kernels.many.address), values, reads, writes, (calls, *own))] if own else [])
        return made

    def own(self, thread: int) -> BatchCall:
        """With the thread's pad."""
        return BatchCall(self.a, self.b, self.out, self.worth, self.pads[thread:][:1])

    def _piece(self, i: int, thread: int) -> Piece:
        if (i, thread) not in self._made:
            at = self._many[i]
            product = ProductCall(self.a[at], self.b[at], self.out[at], 0.0, [self.pads[thread]])
            self._made[i, thread] = product.pieces(Cut())[0][0]
        return self._made[i, thread]


def followed(natives: Sequence[Native], cut: Cut) -> list[Native]:
    """The calls, in which products are followed by what can be made of their panels, wherever that comes next."""
    made: list[Native] = []
    for native in natives:
        last = made[-1] if made else None
        both = last.followed(native, cut) if isinstance(last, ProductCall) else None
        made = [*made[:-1], both] if both is not None else [*made, native]
    return made


def together(formula: Formula) -> bool:
    """Whether a unit's results need other units."""
    return any(node.op in REDUCTIONS or node.op == "width" for node in formula.nodes())


def split(groups: Groups, axis: int, n: int, part: slice) -> Groups:
    """The part of all arrays along an axis of length n."""
    arrays, outs, sums = ({name: _part(a, axis, n, part) for name, a in group.items()} for group in groups)
    return arrays, outs, sums


def _part(a: Array, axis: int, n: int, part: slice) -> Array:
    """The part of an array along an axis of length n, to which it may be broadcast."""
    if a.ndim < -axis or a.shape[axis] != n:
        return a
    return a[..., part] if axis == -1 else a[..., part, :]


def same(one: Array, other: Array) -> bool:
    """Whether two arrays are the same memory in the same order."""
    return (address(one), one.shape, one.strides) == (address(other), other.shape, other.strides)


def table(pieces: Sequence[Piece]) -> Array:
    """(n, 2) int64 of kernels' addresses and their blocks'."""
    rows = [(piece.address, address(piece.block)) for piece in pieces]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def typed(name: str, like: Array) -> Any:
    """The kernel of that name for the precision."""
    return getattr(kernels, f"{name}_{POINTERS[like.dtype]}")


def alone(
    kernel: Any, values: Array, reads: tuple[Array, ...], writes: tuple[Array, ...], fence: bool = False
) -> FixedCall:
    """A call that one thread makes."""
    return FixedCall([[Piece(int(kernel.address), values, reads, writes)]], fence)
