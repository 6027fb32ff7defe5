"""The calls of a step in compiled code, and how they are cut into pieces for the threads of a team."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnet.backends.base import Array, Words, aligned
from fcnet.backends.numba import kernels, product, store
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import POINTERS, Group, Groups, Printed, print_kernel, signature
from fcnet.backends.numba.team import BARRIER
from fcnet.formulas import Formula
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
    `least` is left to one thread.
    """

    edges: tuple[int, ...] = (0, 1)
    line: int = LINE
    least: float = 1.0

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

    @abstractmethod
    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """The kernels that each of the threads runs, or the first alone."""

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
    """Pieces that are always the same ones, because a result depends on them, or one for one thread."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces, self.worth = pieces, math.inf if len(pieces) > 1 else 0.0
        self.reads, self.writes = (tuple(x for p in pieces for x in getattr(p, name)) for name in ("reads", "writes"))

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """One for each thread; all for the first if it is alone."""
        return [[piece] for piece in self._pieces] if cut.threads > 1 else [[*self._pieces]]


class GatherCall(Native):
    """out (rows, n) = the rows of x at the place of the step; each thread has a part of them."""

    def __init__(self, x: Array, order: Array, position: Array, out: Array, worth: float) -> None:
        self.reads, self.writes, self.worth = (x, order, position), (out,), worth
        self._kernel = typed("gather", out)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By rows."""
        (x, order, position), (out,) = self.reads, self.writes
        made = []
        for part in self._parts(cut, len(out)):
            values = block(x, order[part.start :], position, out[part], *out[part].shape)
            made.append([Piece(int(self._kernel.address), values, self.reads, (out[part],))])
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
        scratch = aligned(printed.scratch, next(iter(outs.values())).dtype)
        values = block(*printed.sizes, *printed.arrays, scratch)
        writes = (*outs.values(), *sums.values(), scratch)
        return Piece(int(store.load(printed.text).kernel.address), values, tuple(groups[0].values()), writes)


class FormulaCall(Native):
    """A printed formula over groups of arrays (arrays, outs, sums), cut along an axis that is n long."""

    def __init__(self, formula: Formula, groups: Groups, axis: int, n: int, worth: float) -> None:
        self.formula, self.groups, self.axis, self.n, self.worth = formula, groups, axis, n, worth
        self._kernels = _Kernels(formula)
        self.reads = tuple(groups[0].values())
        self.writes = (*groups[1].values(), *groups[2].values())

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By units or by rows."""
        if not self.shared(cut):
            return [[self._kernels.piece(*self.groups)]]
        parts = self._parts(cut, self.n)
        return [[self._kernels.piece(*split(self.groups, self.axis, self.n, part))] for part in parts]

    def by_columns(self, shape: tuple[int, ...]) -> bool:
        """Whether it makes columns of arrays of that shape (rows, n) out of the same columns."""
        return not together(self.formula) and all(a.shape == shape for a in self.groups[1].values())

    def columns(self, n: int, part: slice) -> Piece:
        """These of its n columns."""
        return self._kernels.piece(*split(self.groups, -1, n, part))


class UpdateCall(Native):
    """A formula over parts of vectors of one length, whose last result has a cell for each thread.

    It may be cut like the rows of a matrix of so many elements each: then a thread updates what it has just made.
    """

    def __init__(
        self, formula: Formula, views: Group, scalars: Group, cells: Sequence[Array], worth: float, row: int = 1
    ) -> None:
        self.formula, self.views, self.scalars, self.cells = formula, views, scalars, cells
        self.worth, self.row = worth, row
        self._kernels = _Kernels(formula, finite=True)
        self.reads = (*views.values(), *scalars.values())
        self.writes = (*(views[name] for name in formula.results if name in views), *cells)

    def like(self, native: Native) -> UpdateCall | None:
        """The same, cut like that product if it makes what is read here."""
        if not (isinstance(native, ProductCall) and self.worth and native.worth and native.axis == -2):
            return None
        if not any(address(x) == address(native.out) for x in self.views.values()):
            return None
        return UpdateCall(self.formula, self.views, self.scalars, self.cells, self.worth, native.out.shape[1])

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By elements."""
        size, made = len(next(iter(self.views.values()))), []
        parts = [slice(part.start * self.row, part.stop * self.row) for part in self._parts(cut, size // self.row)]
        parts[-1] = slice(parts[-1].start, size)
        for part, cell in zip(parts, self.cells, strict=False):
            views = {name: vector[part] for name, vector in self.views.items()}
            outs = {name: views.get(name, cell) for name in self.formula.results}
            made.append([self._kernels.piece({**views, **self.scalars}, outs, {})])
        return made


class WordsCall(Native):
    """out (…, n) = raw words; each thread has a part of them."""

    def __init__(self, out: Array, words: Words, worth: float) -> None:
        self.out, self.words, self.worth = out, words, worth
        self.writes = (out,)

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By words."""
        flat = self.out.reshape(1, -1)
        return [[self._piece(flat[:, part], flat.size, part.start)] for part in self._parts(cut, flat.size, COUNTER)]

    def by_columns(self, shape: tuple[int, ...]) -> bool:
        """Whether columns of an array of that shape (rows, n) can be made: a row has to start with a counter."""
        return self.out.shape == shape and shape[-1] % COUNTER == 0

    def columns(self, n: int, part: slice) -> Piece:
        """These of its n columns."""
        return self._piece(self.out[:, part], n, part.start)

    def _piece(self, out: Array, row: int, start: int) -> Piece:
        k0, k1 = (int(word) for word in self.words.key.view(np.int64))
        position = self.words.position
        values = block(k0, k1, self.words.layer, position, out, *out.shape, out.strides[0] // out.itemsize, start, row)
        return Piece(int(kernels.words.address), values, (position,), (out,))


class ProductCall(Native):
    """out = a b: each thread has a part of out's columns (axis −1) or rows (axis −2), and memory for copies.

    What comes `after` is made of each panel of the product while that is in the cache. So threads stay out of each
    other's way, too: a core that walks along rows fetches ahead what the other writes.
    """

    def __init__(
        self,
        a: Array,
        b: Array,
        out: Array,
        axis: int,
        worth: float,
        pads: Sequence[Array],
        after: tuple[FormulaCall | WordsCall, ...] = (),
    ) -> None:
        self.a, self.b, self.out, self.axis, self.worth, self.pads, self.after = a, b, out, axis, worth, pads, after
        self.reads = (a, b, *(x for each in after for x in each.reads))
        self.writes = (out, *(x for each in after for x in each.writes))

    def pieces(self, cut: Cut) -> list[list[Piece]]:
        """By columns or rows."""
        axis = self.axis if self.shared(cut) else -1
        n, made = self.out.shape[axis], []
        for part, pad in zip(self._parts(cut, n), self.pads, strict=False):
            x, y = (self.a[part], self.b) if axis == -2 else (self.a, self.b[:, part])
            panels = product.panels(part.start, part.stop, self.out.dtype) if self.after else []
            follow = [each.columns(n, panel) for panel in panels for each in self.after]
            made.append([_product(x, y, _part(self.out, axis, n, part), pad, follow, len(self.after))])
        return made

    def followed(self, native: Native, cut: Cut) -> ProductCall | None:
        """The product with that after it too; None where it cannot be made panel by panel."""
        if not isinstance(native, (FormulaCall, WordsCall)) or native.shared(cut) > self.shared(cut):
            return None
        if (self.shared(cut) and self.axis != -1) or not self._may_be_followed(native):
            return None
        return ProductCall(self.a, self.b, self.out, self.axis, self.worth, self.pads, (*self.after, native))

    def _may_be_followed(self, native: FormulaCall | WordsCall) -> bool:
        """Whether it makes columns out of the same ones, and touches nothing else of what the panels to come need."""
        columns = native.by_columns(self.out.shape)
        made = [self.out, *(x for each in self.after for x in each.writes)]
        needed = [x for each in self.after for x in each.reads]
        apart = not any(np.shares_memory(x, y) for x in (self.a, self.b) for y in native.writes)
        pairs = [(x, y) for x in (*native.reads, *native.writes) for y in made]
        pairs += [(x, y) for x in native.writes for y in needed]
        return columns and apart and all(_same(x, y) for x, y in pairs if np.shares_memory(x, y))


def _product(a: Array, b: Array, out: Array, pad: Array, follow: Sequence[Piece], each: int) -> Piece:
    """A product, after each panel of which so many pieces follow."""
    kernel, calls = product.kernel(out.dtype), table(follow)
    values = block(*product.arguments(a, b, out, pad, calls, each))
    reads, writes = ([x for piece in follow for x in getattr(piece, name)] for name in ("reads", "writes"))
    return Piece(int(kernel.address), values, (a, b, *reads), (out, pad, *writes), (calls, *follow))


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


def _same(one: Array, other: Array) -> bool:
    """Whether two arrays are the same memory in the same order."""
    return (address(one), one.shape, one.strides) == (address(other), other.shape, other.strides)


def in_step(natives: Sequence[Native], cut: Cut) -> list[list[Piece | int]]:
    """Each thread's pieces in order, with barriers in their places: before a call that touches what another thread has
    written since the last one, or writes what another has read, and at the end of the step.

    A barrier is whether all threads had something to do before it.
    """
    tables: list[list[Piece | int]] = [[] for _ in range(cut.threads)]
    since: list[list[Piece]] = [[] for _ in range(cut.threads)]

    def wait() -> None:
        shared = int(all(since))
        for own, done in zip(tables, since, strict=True):
            own.append(shared)
            done.clear()

    for native in natives:
        pieces = native.pieces(cut)
        own = [*pieces, *([()] * (cut.threads - len(pieces)))]
        others = [[piece for j, done in enumerate(since) if j != i for piece in done] for i in range(cut.threads)]
        if any(_collide(mine, other) for i, new in enumerate(own) for mine in new for other in others[i]):
            wait()
        for rows, new, done in zip(tables, own, since, strict=True):
            rows.extend(new)
            done.extend(new)
    wait()
    return tables


def _collide(one: Piece, other: Piece) -> bool:
    """Whether the order of two pieces matters."""
    pairs = [(one.writes, other.writes), (one.writes, other.reads), (one.reads, other.writes)]
    return any(np.shares_memory(x, y) for xs, ys in pairs for x in xs for y in ys)


def table(pieces: Sequence[Piece | int]) -> Array:
    """(n, 2) int64 of kernels' addresses and their blocks', or of a barrier and what it says."""
    rows = [(BARRIER, p) if isinstance(p, int) else (p.address, address(p.block)) for p in pieces]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def typed(name: str, like: Array) -> Any:
    """The kernel of that name for the precision."""
    return getattr(kernels, f"{name}_{POINTERS[like.dtype]}")


def alone(kernel: Any, values: Array, reads: tuple[Array, ...], writes: tuple[Array, ...]) -> FixedCall:
    """A call that one thread makes."""
    return FixedCall([Piece(int(kernel.address), values, reads, writes)])
