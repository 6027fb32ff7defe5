"""Binds kernel calls to compiled code: what a step does becomes a table of addresses that one compiled loop walks."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnet.backends.base import Array, Call, Segment, Words, aligned
from fcnet.backends.numba import kernels, product, store
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import POINTERS, print_kernel
from fcnet.backends.numba.system import CLOCK, MONOTONIC
from fcnet.backends.numba.team import BARRIER, team
from fcnet.backends.numpy import NumpyBackend
from fcnet.formulas import Formula, Sym, row_sum
from fcnet.formulas.expression import REDUCTIONS
from fcnet.formulas.transform import expand_erf

_BUILT: Any = np.show_config(mode="dicts")  # entries without a value are left out of it
ACCELERATE = _BUILT.get("Build Dependencies", {}).get("blas", {}).get("name", "").lower() == "accelerate"
"""Whether NumPy's products are Apple's: they have units of their own for matrices, and are left to them."""


@dataclass(frozen=True)
class Least:
    """From which size on a call is cut: below, waiting for another thread costs more than it does.

    `product` in multiplications, `operations` of a formula over all elements, `gather` in elements, random `words`; a
    piece has whole `line`s of so many elements, so that no two threads write to one cache line. A step is shared at all
    from so many `units` of a product on: so often is used what a thread must fetch from another, at a twentieth of the
    speed at which it computes.
    """

    product: int = 2**20
    operations: int = 2**18
    gather: int = 2**14
    words: int = 2**11
    line: int = 16
    units: int = 256


Group = Mapping[str, Array]
Groups = tuple[Group, Group, Group]


class Native:
    """One call of a step in compiled code: for each thread of the team the kernels that it runs."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: Sequence[Sequence[Piece]]) -> None:
        self.pieces = pieces

    def alone(self) -> Native:
        """The call for one thread."""
        return Native([[piece for own in self.pieces for piece in own]])

    def __call__(self) -> None:
        """Run all pieces, one after another."""
        replay(_table([piece for own in self.pieces for piece in own]), 1)


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


class _Product(Native):
    """out = a b: each thread has a part of out's columns (axis −1) or rows (axis −2), and memory for copies."""

    __slots__ = ("a", "axis", "b", "out", "pads", "parts")

    def __init__(
        self, a: Array, b: Array, out: Array, axis: int, parts: Sequence[slice], pads: Sequence[Array]
    ) -> None:
        self.a, self.b, self.out, self.axis, self.parts, self.pads = a, b, out, axis, parts, pads
        pieces = []
        for part, pad in zip(parts, pads, strict=False):
            x, y = (a[part], b) if axis == -2 else (a, b[:, part])
            pieces.append([_product(x, y, _part(out, axis, out.shape[axis], part), pad)])
        super().__init__(pieces)

    @property
    def shared(self) -> int:
        """How many columns or rows the threads share; 0 where one has them all."""
        return self.out.shape[self.axis] if len(self.parts) > 1 else 0

    def alone(self) -> _Product:
        """The call for one thread."""
        whole = slice(0, self.out.shape[1])
        return self if len(self.parts) == 1 else _Product(self.a, self.b, self.out, -1, [whole], self.pads)

    def followed(self, formula: _Formula) -> Native | None:
        """The product, of each panel of which the formula is made while it is in the cache; None where that cannot be.

        So threads stay out of each other's way: a core that walks along rows fetches ahead what the other writes.
        """
        if not self._may_be_followed(formula):
            return None
        n, pieces = self.out.shape[1], []
        for part, pad in zip(self.parts, self.pads, strict=False):
            columns = product.panels(part.start, part.stop, self.out.dtype)
            follow = [_formula(formula.formula, *_parts(formula.groups, -1, n, panel)) for panel in columns]
            pieces.append([_product(self.a, self.b[:, part], self.out[:, part], pad, follow)])
        return Native(pieces)

    def _may_be_followed(self, formula: _Formula) -> bool:
        """Whether the formula makes columns of the same number out of columns, and disturbs no product to come."""
        arrays, outs, sums = formula.groups
        written = (*outs.values(), *sums.values())
        columns = self.axis == -1 and len(formula.pieces) <= len(self.parts) and not _together(formula.formula)
        fits = columns and all(a.shape == self.out.shape for a in outs.values())
        apart = not any(np.shares_memory(x, y) for x in (self.a, self.b) for y in written)
        shared = [x for x in (*arrays.values(), *written) if np.shares_memory(x, self.out)]
        return fits and apart and all(_same(x, self.out) for x in shared)


class _Formula(Native):
    """A printed formula over groups of arrays (arrays, outs, sums); `parts` are those of each thread."""

    __slots__ = ("formula", "groups")

    def __init__(self, formula: Formula, groups: Groups, parts: Sequence[Groups]) -> None:
        self.formula, self.groups = formula, groups
        super().__init__([[_formula(formula, *part)] for part in parts])

    def alone(self) -> _Formula:
        """The call for one thread."""
        return self if len(self.pieces) == 1 else _Formula(self.formula, self.groups, [self.groups])


class NumbaBackend:
    """Fused loops for formulas and blocks in registers for products; what has no kernel here falls back to NumPy.

    Large calls are cut into a piece for each of the `threads`: by units (columns) where that is possible, so that what
    a thread has computed of a layer is mostly what it needs next.
    """

    name = "numba"

    def __init__(self, threads: int = 1, least: Least = Least()) -> None:
        self.least = least
        self.threads = 1 if ACCELERATE else threads
        self.plain = NumpyBackend(threads)
        self._pads: dict[np.dtype[Any], list[Array]] = {}

    def blas_threads(self, largest: int) -> int:
        """One where the team makes the products."""
        return self.plain.blas_threads(largest) if ACCELERATE else 1

    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """Kernels that follow one another become one call; a step of kernels alone is repeated without Python."""
        linked: list[Callable[[int], None]] = []
        run: list[Native] = []
        for function, args in [*calls, (None, ())]:
            if isinstance(function, Native):
                run.append(function)
                continue
            if run:
                linked.append(_linked(_followed(self._shared(run))))
                run = []
            if function is not None:
                linked.append(self.plain.link([(function, args)]))
        if len(linked) == 1:
            return linked[0]

        def alternate(times: int) -> None:
            for _ in range(times):
                for each in linked:
                    each(1)

        return alternate

    def _shared(self, natives: Sequence[Native]) -> Sequence[Native]:
        """The calls, for one thread where none of the products is worth sharing: then nothing else of the step is,
        since each thread would have to fetch what the first has made."""
        products = [native for native in natives if isinstance(native, _Product)]
        if products and not any(native.shared >= self.least.units for native in products):
            return [native.alone() for native in natives]
        return natives

    def matmul(self, a: Array, b: Array, out: Array) -> list[Call]:
        """out = a b, one product for each member."""
        if ACCELERATE or out.dtype not in POINTERS or out.strides[-1] != out.itemsize:
            return self.plain.matmul(a, b, out)
        if out.dtype not in self._pads:
            self._pads[out.dtype] = [aligned(product.pad(out.dtype), out.dtype) for _ in range(self.threads)]
        pads = self._pads[out.dtype]
        lead = out.shape[:-2]
        a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
        # dW = Eᵀ Z is cut by its rows: these are units of ε.
        axes = (-2, -1) if a.strides[-1] != a.itemsize else (-1, -2)
        axis, parts = -1, [slice(0, out.shape[-1])]
        if math.prod(out.shape[-2:]) * a.shape[-1] >= self.least.product:
            found = ((axis, cuts) for axis in axes if len(cuts := self._cuts(out.shape[axis])) == self.threads)
            axis, parts = next(found, (axis, parts))
        return [(_Product(a[i], b[i], out[i], axis, parts, pads), ()) for i in np.ndindex(*lead)]

    def apply(
        self,
        formula: Formula,
        arrays: Mapping[str, Array],
        outs: Mapping[str, Array],
        sums: Mapping[str, Array] | None = None,
    ) -> list[Call]:
        """The formula as one printed kernel, with the sums over rows of some results."""
        groups = arrays, outs, sums or {}
        expanded = expand_erf(formula, single=next(iter(outs.values())).dtype == np.float32)
        if print_kernel(expanded, *groups) is None:
            return self.plain.apply(formula, arrays, outs, sums)
        return [(_Formula(expanded, groups, self._cut_arrays(expanded, groups)), ())]

    def _cut_arrays(self, formula: Formula, groups: Groups) -> list[Groups]:
        """The groups, cut by units, or by rows where units belong together or are too few."""
        arrays, outs, sums = groups
        shape = np.broadcast_shapes(*(a.shape for a in (*arrays.values(), *outs.values())))
        if math.prod(shape) * len(list(formula.nodes())) >= self.least.operations:
            for axis in (-1, -2)[_together(formula) : 2 - bool(sums)]:
                if len(shape) < -axis or any(a.ndim < -axis or a.shape[axis] != shape[axis] for a in outs.values()):
                    continue
                found = self._cuts(shape[axis])
                if len(found) == self.threads:
                    return [_parts(groups, axis, shape[axis], part) for part in found]
        return [groups]

    def _cuts(self, n: int, large: bool = True, grain: int = 1) -> list[slice]:
        """0 … n in a part for each thread, nearly equal, of whole lines and grains; in one where that cannot be."""
        line = math.lcm(self.least.line, grain)
        lines = n // line
        if not large or lines < self.threads:
            return [slice(0, n)]
        edges = [line * (lines * i // self.threads) for i in range(self.threads)]
        return [slice(start, stop) for start, stop in itertools.pairwise([*edges, n])]

    def sum_rows(self, e: Array, out: Array) -> list[Call]:
        """out = Σ over the rows of e."""
        if not (e.strides[-1] == e.itemsize and out.flags.c_contiguous):
            return self.plain.sum_rows(e, out)
        return self.apply(Formula({"e": Sym("e")}), {"e": e}, {"e": e}, {"e": out})

    def accumulate(self, values: Array, total: Array) -> list[Call]:
        """total += Σ values."""
        if not values.flags.c_contiguous:
            return self.plain.accumulate(values, total)
        return _alone(_typed("accumulate", values), block(values, total, values.size), (values,), (total,))

    def norm(self, g: Array, out: Array) -> list[Call]:
        """out = ‖g‖."""
        found = self._cuts(g.size, g.size >= self.least.operations)
        squares = np.zeros((len(found), 8))  # a cache line each
        kernel = _typed("squares", g)
        pieces = [
            [Piece(int(kernel.address), block(g[part], each, part.stop - part.start), (g[part],), (each,))]
            for part, each in zip(found, squares, strict=True)
        ]
        root = _alone(_typed("root", out), block(squares, len(found), 8, out), (squares,), (out,))
        return [(Native(pieces), ()), *root]

    def words(self, out: Array, words: Words) -> list[Call]:
        """out = raw words."""
        k0, k1 = (int(word) for word in words.key.view(np.int64))
        flat = out.reshape(-1)
        pieces = []
        for part in self._cuts(flat.size, flat.size >= self.least.words, 16):  # a counter gives so many
            piece = flat[part]
            values = block(k0, k1, words.layer, words.position, piece, piece.size, part.start)
            pieces.append([Piece(int(kernels.words.address), values, (words.position,), (piece,))])
        return [(Native(pieces), ())]

    def gather(self, x: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out = the rows of x (n_all, n) at the place of the step."""
        if not x.flags.c_contiguous or x.dtype not in POINTERS:
            return self.plain.gather(x, order, position, out)
        kernel = _typed("gather", out)
        pieces = []
        for part in self._cuts(len(out), out.size >= self.least.gather):
            piece = out[part]
            values = block(x, order[part.start :], position, piece, *piece.shape)
            pieces.append([Piece(int(kernel.address), values, (x, order, position), (piece,))])
        return [(Native(pieces), ())]

    def gather_one_hot(self, labels: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out = one-hot rows of the labels at the place of the step."""
        values = block(labels, order, position, out, *out.shape)
        return _alone(_typed("gather_one_hot", out), values, (labels, order, position), (out,))

    def load(self, table: Array, position: Array, out: Array) -> list[Call]:
        """out = the step's row of the table."""
        values = block(table, position, out, out.size)
        return _alone(_typed("load", out), values, (table, position), (out,))

    def advance(self, position: Array, rows: int) -> list[Call]:
        """The next step."""
        return _alone(kernels.advance, block(position, rows), (), (position,))

    def lap(self, calls: Sequence[Call], since: Array, total: Array) -> list[Call]:
        """By the system's clock, when every thread has done its pieces."""
        if not CLOCK:
            return self.plain.lap(calls, since, total)
        natives = [call for call, _ in calls if isinstance(call, Native)]
        done = tuple(a for native in natives for own in native.pieces for piece in own for a in piece.writes)
        time = np.zeros(2, np.int64)
        return _alone(kernels.lap, block(CLOCK, MONOTONIC, time, since, total), (*done, time), (since, total, time))

    def update(
        self,
        formula: Formula,
        vectors: Mapping[str, Array],
        segments: Sequence[Segment],
        watch: list[Array] | None = None,
    ) -> list[Call]:
        """The formula over every segment, each in one pass, in which the sum of all results is watched."""
        total = row_sum(functools.reduce(operator.add, formula.results.values()))
        formula = Formula({**formula.results, "watch": total})
        calls: list[Call] = []
        for start, stop, scalars in segments:
            size, pieces = stop - start, []
            for part in self._cuts(size, size * len(list(formula.nodes())) >= self.least.operations):
                views = {name: vector[start:stop][part] for name, vector in vectors.items()}
                cell = aligned(1, next(iter(views.values())).dtype)
                outs = {name: views.get(name, cell) for name in formula.results}
                pieces.append([_formula(formula, {**views, **scalars}, outs, {}, finite=True)])
                if watch is not None:
                    watch.append(cell)
            calls.append((Native(pieces), ()))
        return calls


def _product(a: Array, b: Array, out: Array, pad: Array, follow: Sequence[Piece] = ()) -> Piece:
    """A product, after each panel of which a piece of a formula follows."""
    kernel, table = product.kernel(out.dtype), _table(follow)
    values = block(*product.arguments(a, b, out, pad, table))
    reads, writes = ([x for piece in follow for x in getattr(piece, name)] for name in ("reads", "writes"))
    return Piece(int(kernel.address), values, (a, b, *reads), (out, pad, *writes), (table, *follow))


def _formula(formula: Formula, arrays: Group, outs: Group, sums: Group, finite: bool = False) -> Piece:
    """A formula over these arrays."""
    printed = print_kernel(formula, arrays, outs, sums, finite)
    assert printed is not None, "parts of arrays that can be printed cannot"
    scratch = aligned(printed.scratch, next(iter(outs.values())).dtype)
    values = block(*printed.sizes, *printed.arrays, scratch)
    writes = (*outs.values(), *sums.values(), scratch)
    return Piece(int(store.load(printed.text).kernel.address), values, tuple(arrays.values()), writes)


def _followed(natives: Sequence[Native]) -> list[Native]:
    """The calls, in which products are followed by their formulas wherever these come next."""
    made: list[Native] = []
    for native in natives:
        last = made[-1] if made else None
        both = last.followed(native) if isinstance(last, _Product) and isinstance(native, _Formula) else None
        made = [*made[:-1], both] if both is not None else [*made, native]
    return made


def _same(one: Array, other: Array) -> bool:
    """Whether two arrays are the same memory in the same order."""
    return (address(one), one.shape, one.strides) == (address(other), other.shape, other.strides)


def _together(formula: Formula) -> bool:
    """Whether a unit's results need other units."""
    return any(node.op in REDUCTIONS or node.op == "width" for node in formula.nodes())


def _parts(groups: Groups, axis: int, n: int, part: slice) -> Groups:
    arrays, outs, sums = ({name: _part(a, axis, n, part) for name, a in group.items()} for group in groups)
    return arrays, outs, sums


def _part(a: Array, axis: int, n: int, part: slice) -> Array:
    """The part of an array along an axis of length n, to which it may be broadcast."""
    if a.ndim < -axis or a.shape[axis] != n:
        return a
    return a[..., part] if axis == -1 else a[..., part, :]


def _linked(natives: Sequence[Native]) -> Callable[[int], None]:
    """A function that makes the calls so many times over: alone, or in a team with barriers between the calls."""
    members = max(len(native.pieces) for native in natives)
    held = [native.pieces for native in natives]
    if members == 1:
        table = _table([piece for native in natives for piece in native.pieces[0]])

        def repeat(times: int) -> None:
            assert held
            replay(table, times)

        return repeat
    tables = [_table(own) for own in _in_step(natives, members)]

    def together(times: int) -> None:
        assert held
        team(members).walk(tables, times)

    return together


def _in_step(natives: Sequence[Native], members: int) -> list[list[Piece | None]]:
    """Each thread's pieces in order, and None for a barrier: before a call that touches what another thread has written
    since the last one, or writes what another has read, and at the end of the step."""
    tables: list[list[Piece | None]] = [[] for _ in range(members)]
    since: list[list[Piece]] = [[] for _ in range(members)]
    for native in natives:
        own = [*native.pieces, *([()] * (members - len(native.pieces)))]
        if any(
            _collide(mine, other)
            for i, pieces in enumerate(own)
            for mine in pieces
            for j, others in enumerate(since)
            if i != j
            for other in others
        ):
            for table in tables:
                table.append(None)
            since = [[] for _ in range(members)]
        for table, pieces, done in zip(tables, own, since, strict=True):
            table.extend(pieces)
            done.extend(pieces)
    for table in tables:
        table.append(None)
    return tables


def _collide(one: Piece, other: Piece) -> bool:
    """Whether the order of two pieces matters."""
    pairs = [(one.writes, other.writes), (one.writes, other.reads), (one.reads, other.writes)]
    return any(np.shares_memory(x, y) for xs, ys in pairs for x in xs for y in ys)


def _table(pieces: Sequence[Piece | None]) -> Array:
    rows = [(BARRIER, 0) if piece is None else (piece.address, address(piece.block)) for piece in pieces]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _alone(kernel: Any, values: Array, reads: tuple[Array, ...], writes: tuple[Array, ...]) -> list[Call]:
    """A call that one thread makes."""
    return [(Native([[Piece(int(kernel.address), values, reads, writes)]]), ())]


def _typed(name: str, like: Array) -> Any:
    return getattr(kernels, f"{name}_{POINTERS[like.dtype]}")
