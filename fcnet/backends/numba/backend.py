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


COUNTER = 16
"""Words of 16 bits that one counter of the generator gives."""


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


class _Formula(Native):
    """A printed formula over groups of arrays (arrays, outs, sums); `parts` are those of each thread."""

    __slots__ = ("formula", "groups")

    def __init__(self, formula: Formula, groups: Groups, parts: Sequence[Groups]) -> None:
        self.formula, self.groups = formula, groups
        super().__init__([[_formula(formula, *part)] for part in parts])

    def alone(self) -> _Formula:
        """The call for one thread."""
        return self if len(self.pieces) == 1 else _Formula(self.formula, self.groups, [self.groups])

    @property
    def reads(self) -> tuple[Array, ...]:
        """What it is a formula over."""
        return tuple(self.groups[0].values())

    @property
    def writes(self) -> tuple[Array, ...]:
        """What it makes."""
        return (*self.groups[1].values(), *self.groups[2].values())

    def by_columns(self, shape: tuple[int, ...]) -> bool:
        """Whether it makes columns of arrays of that shape (rows, n) out of the same columns."""
        return not _together(self.formula) and all(a.shape == shape for a in self.groups[1].values())

    def columns(self, n: int, part: slice) -> Piece:
        """These of its n columns."""
        return _formula(self.formula, *_parts(self.groups, -1, n, part))


class _Words(Native):
    """out (…, n) = raw words; each thread has a part of them."""

    __slots__ = ("out", "words")

    def __init__(self, out: Array, words: Words, parts: Sequence[slice]) -> None:
        self.out, self.words = out, words
        super().__init__([[self._piece(out.reshape(1, -1)[:, part], out.size, part.start)] for part in parts])

    def alone(self) -> _Words:
        """The call for one thread."""
        return self if len(self.pieces) == 1 else _Words(self.out, self.words, [slice(0, self.out.size)])

    @property
    def reads(self) -> tuple[Array, ...]:
        """Nothing that a step makes."""
        return ()

    @property
    def writes(self) -> tuple[Array, ...]:
        """The words."""
        return (self.out,)

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


class _Product(Native):
    """out = a b: each thread has a part of out's columns (axis −1) or rows (axis −2), and memory for copies.

    What comes `after` is made of each panel of the product while that is in the cache. So threads stay out of each
    other's way, too: a core that walks along rows fetches ahead what the other writes.
    """

    __slots__ = ("a", "after", "axis", "b", "out", "pads", "parts")

    def __init__(
        self,
        a: Array,
        b: Array,
        out: Array,
        axis: int,
        parts: Sequence[slice],
        pads: Sequence[Array],
        after: tuple[_Formula | _Words, ...] = (),
    ) -> None:
        self.a, self.b, self.out, self.axis, self.parts, self.pads, self.after = a, b, out, axis, parts, pads, after
        n, pieces = out.shape[axis], []
        for part, pad in zip(parts, pads, strict=False):
            x, y = (a[part], b) if axis == -2 else (a, b[:, part])
            panels = product.panels(part.start, part.stop, out.dtype) if after else []
            follow = [each.columns(n, panel) for panel in panels for each in after]
            pieces.append([_product(x, y, _part(out, axis, n, part), pad, follow, len(after))])
        super().__init__(pieces)

    @property
    def shared(self) -> int:
        """How many columns or rows the threads share; 0 where one has them all."""
        return self.out.shape[self.axis] if len(self.parts) > 1 else 0

    def alone(self) -> _Product:
        """The call for one thread."""
        whole = slice(0, self.out.shape[1])
        return self if len(self.parts) == 1 else _Product(self.a, self.b, self.out, -1, [whole], self.pads)

    def followed(self, native: _Formula | _Words) -> _Product | None:
        """The product with that after it too; None where it cannot be made panel by panel."""
        if not self._may_be_followed(native):
            return None
        return _Product(self.a, self.b, self.out, self.axis, self.parts, self.pads, (*self.after, native))

    def _may_be_followed(self, native: _Formula | _Words) -> bool:
        """Whether it makes columns out of the same ones, and touches nothing else of what the panels to come need."""
        columns = self.axis == -1 and len(native.pieces) <= len(self.parts) and native.by_columns(self.out.shape)
        made = [self.out, *(x for each in self.after for x in each.writes)]
        needed = [x for each in self.after for x in each.reads]
        apart = not any(np.shares_memory(x, y) for x in (self.a, self.b) for y in native.writes)
        pairs = [(x, y) for x in (*native.reads, *native.writes) for y in made]
        pairs += [(x, y) for x in native.writes for y in needed]
        return columns and apart and all(_same(x, y) for x, y in pairs if np.shares_memory(x, y))


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
        return [(_Words(out, words, self._cuts(out.size, out.size >= self.least.words, COUNTER)), ())]

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


def _product(a: Array, b: Array, out: Array, pad: Array, follow: Sequence[Piece], each: int) -> Piece:
    """A product, after each panel of which so many pieces follow."""
    kernel, table = product.kernel(out.dtype), _table(follow)
    values = block(*product.arguments(a, b, out, pad, table, each))
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
    """The calls, in which products are followed by what can be made of their panels, wherever that comes next."""
    made: list[Native] = []
    for native in natives:
        last = made[-1] if made else None
        follows = isinstance(last, _Product) and isinstance(native, (_Formula, _Words))
        both = last.followed(native) if follows else None  # type: ignore[union-attr]
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
