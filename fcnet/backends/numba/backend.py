"""Binds kernel calls to compiled code: what a step does becomes a table of addresses that one compiled loop walks."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from fcnet.backends.base import Binding, Call, HostBackend, HostStep, aligned
from fcnet.backends.numba import kernels, product
from fcnet.backends.numba.native import (
    COUNTER,
    LINE,
    BatchCall,
    Cut,
    FixedCall,
    FormulaCall,
    GatherCall,
    LoadCall,
    Native,
    Piece,
    ProductCall,
    TakeCall,
    UpdateCall,
    WordsCall,
    alone,
    followed,
    scatter,
    table,
    together,
    typed,
)
from fcnet.backends.numba.plan import Plan, conflicts, in_step
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import POINTERS, Groups, print_kernel
from fcnet.backends.numba.system import CLOCK, MONOTONIC
from fcnet.backends.numba.team import team
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import (
    Accumulate,
    Advance,
    Apply,
    Array,
    Fill,
    Gather,
    GatherOneHot,
    Lap,
    Load,
    Matmul,
    Norm,
    Op,
    Ref,
    ScatterAdd,
    Section,
    Take,
    Update,
    Words,
)
from fcnet.formulas import Formula, row_sum
from fcnet.formulas.transform import expand_erf

Products = Literal["own", "blas"]
"""Who makes matrix products: kernels of our own, which threads share with all else, or NumPy's BLAS."""

MUCH = 8
"""From what worth of a product on nearly everything else of a step is shared, too: its threads stay busy then, and one
that made a small call alone would have to fetch the other's half for it."""

FINE = 1 / 128
"""From what worth on calls are shared in such a step."""

GRID = 8
"""Into how many parts for each thread the scale is divided on which calls are cut."""

FOLLOW = 0.5
"""How far shares move to what the last walk would have wanted: less, and they lag; more, and they follow chance."""

STAY = 0.75
"""By how much of a part the best cut has to be elsewhere before it is taken."""

FETCHED, PARTLY = 80, 32
"""For how many rows of its own a thread has to use weights that it fetches from others, to make up for that: more if it
would otherwise fetch none of them."""

FAR = 2**21
"""From so many weights on they come from memory, and have to be used twelve times as often."""

RARELY = 50
"""So many times as long as plans took does a cut stay."""

PLANS = 64
"""How many cuts of a step are kept."""


@dataclass(frozen=True)
class Least:
    """From which size on a call is worth sharing: below, waiting for another thread costs more than it does.

    `product` in multiplications, `operations` of a formula over all elements, `gather` in elements, random `words`; a
    piece has whole `line`s of so many elements, so that no two threads write to one cache line. A step is shared at all
    from so many `units` of a product on: so often is used what a thread must fetch from another, at a twentieth of the
    speed at which it computes. A norm is summed up in blocks of `norm` elements, which decides about its bits.
    """

    product: int = 2**20
    operations: int = 2**18
    gather: int = 2**14
    words: int = 2**11
    line: int = LINE
    units: int = 256
    norm: int = 2**15


class NumbaBackend(HostBackend):
    """Fused loops for formulas and blocks in registers for products; what has no kernel here falls back to NumPy, and
    so do products by `blas`, which has the threads then.

    Large calls are cut into a piece for each of the `threads`: by rows of the batch where there are enough, so that a
    thread needs nobody between layers, otherwise by units (columns), so that what it has computed of a layer is mostly
    what it needs next.
    """

    name = "numba"

    def __init__(self, threads: int = 1, least: Least = Least(), products: Products = "own") -> None:
        self.least, self.products = least, products
        self.threads = threads if products == "own" else 1
        self.now = self.threads
        self.plain = NumpyBackend(threads, alike=products == "blas")
        self.even = Cut(tuple(range(0, GRID * self.threads + 1, GRID)), self.least.line)
        self._pads: dict[np.dtype[Any], list[Array]] = {}

    def blas_threads(self, largest: int) -> int:
        """One where the team makes the products."""
        return 1 if self.products == "own" else self.plain.blas_threads(largest)

    def most(self, largest: int) -> int:
        """As many as the team has, or BLAS."""
        return self.threads if self.products == "own" else self.plain.most(largest)

    def use(self, threads: int) -> None:
        """The whole team from now on, or one thread that makes everybody's pieces."""
        if self.products == "own":
            self.now = threads
        else:
            self.plain.use(threads)

    def compile(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> HostStep:
        """As `Backend` says; a pack's members are steps of their own where all of their operations have kernels."""
        at, members = Binding(resident), max((op.members for op in ops), default=0)
        abreast = self._abreast([op for op in ops if not isinstance(op, Section)], members, at) if members else None
        return super().compile(ops, resident) if abreast is None else HostStep(abreast, at)

    def _abreast(self, ops: Sequence[Op], members: int, at: Binding) -> Abreast | None:
        """Each member's step, on buffers of its thread's for all that members share and that steps write."""
        fills, ops = ([op for op in ops if isinstance(op, Fill) == of] for of in (True, False))
        shared = {ref.buffer.name for op in ops if not op.members for ref in op.writes}

        def own(ref: Ref, thread: int) -> Ref:
            name = f"{ref.buffer.name}@@{thread}"
            return replace(ref, buffer=replace(ref.buffer, name=name)) if ref.buffer.name in shared else ref

        steps: list[list[Native]] = []
        for i in range(members):
            found = [
                self._natives(op.member(i).moved(functools.partial(own, thread=i % self.threads)), at) for op in ops
            ]
            if None in found:
                return None
            steps.append([native for natives in found if natives is not None for native in natives])
        for op in fills:
            self.plain.bind(op, at)
        worth = max((native.worth for native in steps[0] if isinstance(native, ProductCall)), default=0)
        rest = members % self.threads if worth >= 1 else 0
        alone = [
            Alone(followed([native.own(i % self.threads) for native in natives], Cut()), Cut())
            for i, natives in enumerate(steps[: members - rest])
        ]
        together = [self._linked(natives) for natives in steps[members - rest :]]
        clocks = [op.position for op in ops if isinstance(op, Advance)]
        copies = [(at(clock), [at(own(clock, thread)) for thread in range(self.threads)]) for clock in clocks]
        return Abreast(alone, together, copies, self)

    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """Kernels that follow one another become one call; a step of kernels alone is repeated without Python."""
        linked: list[Callable[[int], None]] = []
        run: list[Native] = []
        for function, args in [*calls, (None, ())]:
            if isinstance(function, Native):
                run.append(function)
                continue
            if run:
                linked.append(self._linked(run))
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

    def _linked(self, natives: Sequence[Native]) -> Callable[[int], None]:
        """The calls so many times over, for one thread where none of the products is worth sharing: then nothing else
        of the step is, since each thread would have to fetch what the first has made."""
        products = [native for native in natives if isinstance(native, ProductCall)]
        rows = self._rows(products)
        worths = [p.worth for p in products if rows or p.out.shape[p.axis(self.even)] >= self.least.units]
        largest = max(worths, default=0)
        if products and largest < 1:
            return Alone(followed(natives, Cut()), Cut())
        cut = replace(self.even, least=FINE if rows or largest >= MUCH else 1.0, rows=rows)
        if not any(native.shared(cut) for native in natives):
            return Alone(followed(natives, Cut()), Cut())
        natives = [each for native in natives for each in native.apart(cut)]
        return Together(_matched(followed(_gathered(natives, cut), cut), cut), cut, self)

    def _rows(self, products: Sequence[ProductCall]) -> frozenset[int]:
        """The weights with which threads better take rows of the batch than units.

        Then they need not wait for one another between layers. But they must fetch all weights that others have
        updated, and without rows only those of the others' units, or none of a layer that gives no δ to one below.
        """
        used: dict[int, list[ProductCall]] = {}
        for native in products:
            if native.batch and self.even.can(len(native.out)):
                used.setdefault(address(native.b), []).append(native)
        rows = set()
        for place, (first, *more) in used.items():
            wanted = (PARTLY if more else FETCHED) * (12 if first.b.size > FAR else 1)
            missing = wanted - len(first.out) / self.threads
            if missing * first.b.size < self.least.product:
                rows.add(place)
        return frozenset(rows)

    def bind(self, op: Op, at: Binding) -> list[Call]:
        """The calls that make one operation; those that there is no kernel for are NumPy's."""
        each = [self._natives(op.member(i), at) for i in range(op.members or 1)]
        natives = [native for own in each if own is not None for native in own]
        return self.plain.bind(op, at) if None in each else [(native, ()) for native in natives]

    def _natives(self, op: Op, at: Binding) -> Sequence[Native] | None:
        """Those of one net, or member; None where there is no kernel."""
        found: Sequence[Native] | None = None
        match op:
            case Matmul(a, b, out):
                found = self._matmul(at(a), at(b), at(out))
            case Apply(formula, arrays, outs, sums):
                groups = at.all(arrays), at.all(outs), at.all(sums)
                expanded = expand_erf(formula, single=next(iter((outs or sums).values())).dtype == np.float32)
                if print_kernel(expanded, *groups) is not None:
                    found = [self._formula(*part) for part in _parts(expanded, groups)]
            case Update():
                found = [self._update(op, at)]
            case Accumulate(values, total):
                array = at(values)
                if array.flags.c_contiguous:
                    kernel, sizes = typed("accumulate", array), block(array, at(total), array.size)
                    found = [alone(kernel, sizes, (array,), (at(total),))]
            case Norm(g, out):
                found = self._norm(at(g), at(out))
            case Words((key,), layer, position, out):
                worth = self._worth(out.size / self.least.words, out.size, COUNTER)
                found = [WordsCall(at(out), key, layer, at(position), worth)]
            case Gather(x, order, position, out):
                array = at(x)
                if array.flags.c_contiguous and array.dtype in POINTERS:
                    found = [self._gather("gather", array, at(order), at(position), at(out))]
            case GatherOneHot(labels, order, position, out):
                found = [self._gather("gather_one_hot", at(labels), at(order), at(position), at(out))]
            case Take(table, codes, first, out):
                found = self._take(at(table), at(codes), np.array(first, np.int64), at(out))
            case ScatterAdd(δ, codes, first, out):
                found = self._scatter_add(at(δ), at(codes), np.array(first, np.int64), at(out))
            case Load(table, position, out):
                at.loaded.add(out.buffer.name)
                found = [LoadCall(at(table), at(position), self._copies(out, at))]
            case Advance(rows, position):
                found = [alone(kernels.advance, block(at(position), rows), (), (at(position),))]
            case Lap(done, since, total) if CLOCK:
                found = [self._lap(at.all(done), at(since), at(total))]
        return found

    def _matmul(self, a: Array, b: Array, out: Array) -> list[Native] | None:
        """A product for each member; those of features, and of small members, together."""
        if self.products == "blas" or out.dtype not in POINTERS or out.strides[-1] != out.itemsize:
            return None
        if out.dtype not in self._pads:
            self._pads[out.dtype] = [aligned(product.pad(out.dtype), out.dtype) for _ in range(self.threads)]
        pads = self._pads[out.dtype]
        lead = out.shape[:-2]
        a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
        size = math.prod(out.shape[-2:]) * a.shape[-1] / self.least.product
        if size < 1 < math.prod(lead):
            return [BatchCall(a, b, out, size * math.prod(lead), pads)]
        worth = self._worth(size, max(out.shape[-2:]))
        return [ProductCall(a[i], b[i], out[i], worth, pads) for i in np.ndindex(*lead)]

    def _formula(self, formula: Formula, groups: Groups) -> FormulaCall:
        """The formula, to be cut along the axes that all of its results have and that are long enough; units may belong
        together, and sums are over all rows."""
        arrays, outs, sums = groups
        shape = (1, 1, *np.broadcast_shapes(*(a.shape for a in (*arrays.values(), *outs.values()))))
        axes = tuple(
            axis
            for axis in (-2, -1)
            if self.even.can(shape[axis])
            and all(a.ndim >= -axis and a.shape[axis] == shape[axis] for a in outs.values())
            if not (together(formula) if axis == -1 else sums and not outs)
        )
        worth = math.prod(shape) * len(list(formula.nodes())) / self.least.operations
        return FormulaCall(formula, groups, shape, axes, worth if axes and self.threads > 1 else 0.0)

    def _worth(self, size: float, n: int, grain: int = 1) -> float:
        """The size, where threads can share 0 … n."""
        return size if self.threads > 1 and self.even.can(n, grain) else 0.0

    def _norm(self, g: Array, out: Array) -> list[Native]:
        """out = ‖g‖, over blocks that are the same, and summed up in the same order, on however many threads."""
        n, kernel = self.least.norm, typed("squares", g)
        squares = np.zeros((max(1, -(-g.size // n)), 8))  # a cache line each
        pieces = [
            Piece(int(kernel.address), block(part := g[n * i : n * (i + 1)], each, part.size), (part,), (each,))
            for i, each in enumerate(squares)
        ]
        shared = self._worth(g.size / self.least.operations, g.size) >= 1 and len(pieces) >= self.threads
        edges = np.linspace(0, len(pieces), (self.threads if shared else 1) + 1).round().astype(int)
        root = alone(typed("root", out), block(squares, len(squares), 8, out), (squares,), (out,))
        return [FixedCall([pieces[a:b] for a, b in itertools.pairwise(edges)]), root]

    def _gather(self, kernel: str, x: Array, order: Array, position: Array, out: Array) -> Native:
        worth = self._worth(out.size / self.least.gather, len(out))
        return GatherCall(typed(kernel, out), x, order, position, out, worth)

    def _take(self, table: Array, codes: Array, first: Array, out: Array) -> list[Native] | None:
        """Row by row."""
        tables, outs = _members(table), _members(out)
        if tables is None or outs is None or not codes.flags.c_contiguous:
            return None
        return [TakeCall(tables, codes, first, outs, self._worth(out.size / self.least.gather, len(codes)))]

    def _scatter_add(self, δ: Array, codes: Array, first: Array, out: Array) -> list[Native] | None:
        """Column by column, of which each thread has some."""
        gradients, outs = _members(δ), _members(out)
        if gradients is None or outs is None or not codes.flags.c_contiguous:
            return None
        pieces = scatter(gradients, codes, first, outs)
        shared = self.threads > 1 and len(pieces) > 1 and δ.size + out.size >= self.least.gather
        edges = np.linspace(0, len(pieces), (self.threads if shared else 1) + 1).round().astype(int)
        return [FixedCall([pieces[a:b] for a, b in itertools.pairwise(edges)])]

    def _copies(self, ref: Ref, at: Binding) -> list[Array]:
        """Of numbers that are loaded for each step: each thread has its own, the first everybody's."""
        if ref.buffer.name not in at.loaded:
            return [at(ref)] * self.threads
        names = [ref.buffer.name, *(f"{ref.buffer.name}@{i}" for i in range(1, self.threads))]
        return [at(replace(ref, buffer=replace(ref.buffer, name=name))) for name in names]

    def _lap(self, done: Mapping[str, Array], since: Array, total: Array) -> Native:
        """By the system's clock, when every thread has done its pieces."""
        time = np.zeros(2, np.int64)
        values = block(CLOCK, MONOTONIC, time, since, total)
        return alone(kernels.lap, values, (*done.values(), time), (since, total, time), True)

    def _update(self, op: Update, at: Binding) -> Native:
        """The formula in one pass, in which the sum of all results is watched."""
        total = row_sum(functools.reduce(operator.add, op.formula.results.values()))
        formula = Formula({**op.formula.results, "watch": total})
        views = at.all(op.vectors)
        first = next(iter(views.values()))
        worth = self._worth(first.size * len(list(formula.nodes())) / self.least.operations, first.size)
        cells = [aligned(1, first.dtype) for _ in range(self.threads if worth else 1)]
        own = {name: self._copies(ref, at) for name, ref in op.scalars.items()}
        at.watched += cells
        scalars = [{name: copies[i] for name, copies in own.items()} for i in range(self.threads)]
        return UpdateCall(formula, views, scalars, cells, worth)


class Alone:
    """A step that one thread makes, so many times over."""

    def __init__(self, natives: Sequence[Native], cut: Cut) -> None:
        self._pieces = [piece for native in natives for own in native.pieces(cut) for piece in own]
        self.table = table(self._pieces)

    def __call__(self, times: int) -> None:
        """Make them."""
        replay(self.table, times)


class Abreast:
    """The steps of a pack: each thread makes so many of one member, then so many of the next; none waits for another.

    So what a member has stays in a thread's cache. Members that would leave threads without any are made by all
    `together`. Each of the `clocks`, where a step is, comes with the threads' copies, which start anew with a member.
    """

    def __init__(
        self,
        alone: Sequence[Alone],
        together: Sequence[Callable[[int], None]],
        clocks: Sequence[tuple[Array, Sequence[Array]]],
        backend: NumbaBackend,
    ) -> None:
        self._alone, self._together, self._clocks, self._backend = alone, together, clocks, backend
        self._tables = [np.pad(each.table, ((0, 0), (0, 2))) for each in alone]

    def __call__(self, times: int) -> None:
        """Make so many of each member."""
        threads = self._backend.threads
        for start in range(0, len(self._alone), threads):
            self._begin()
            some = slice(start, start + threads)
            if self._backend.now == 1:
                for each in self._alone[some]:
                    each(times)
            else:
                tables = self._tables[some]
                team(threads).walk([*tables, *([tables[0][:0]] * (threads - len(tables)))], times)
        for step in self._together:
            self._begin()
            step(times)
        for clock, copies in self._clocks:
            clock[...] = np.max(copies, axis=0)  # of the threads that were there last

    def _begin(self) -> None:
        for clock, copies in self._clocks:
            for copy in copies:
                copy[...] = clock


class Shares:
    """How a team's steps are cut: by the time that each of its threads took for its parts.

    The cores of a team are seldom equally fast: on a shared machine one of them loses a third of its speed for seconds,
    and all others would wait for it. A new cut needs new plans, which take Python's time: there is one every so many
    `seconds` at most, and as rarely as it takes for plans to cost a fiftieth.
    """

    def __init__(self, threads: int, seconds: float = 1.0) -> None:
        self.edges = tuple(range(0, GRID * threads + 1, GRID))
        self._shares = [1 / threads] * threads
        self._seconds, self._rest, self._moved = seconds, 0.0, -math.inf

    def planned(self, seconds: float) -> None:
        """A plan has taken so long."""
        self._rest += RARELY * seconds

    def follow(self, edges: tuple[int, ...], busy: Sequence[int]) -> None:
        """Cut anew after the threads took so long, (threads,), for their parts of what had these edges."""
        if not all(time > 0 for time in busy):
            return
        speeds = [(stop - start) / time for start, stop, time in zip(edges, edges[1:], busy, strict=False)]
        whole, least = sum(speeds), 1 / (2 * len(speeds))
        self._shares = [share + FOLLOW * (v / whole - share) for share, v in zip(self._shares, speeds, strict=True)]
        shares = [max(share, least) for share in self._shares]
        wanted = [edges[-1] * part / sum(shares) for part in itertools.accumulate(shares, initial=0.0)]
        far = max(abs(new - old) for new, old in zip(wanted, self.edges, strict=True)) > STAY
        if far and perf_counter() >= self._moved + max(self._seconds, self._rest):
            self.edges = tuple(round(edge) for edge in wanted)
            self._rest, self._moved = 0.0, perf_counter()


shares = functools.cache(Shares)
"""Those of the process's team of so many threads: all its steps share them."""


class Together:
    """A step that a team makes, so many times over."""

    def __init__(self, natives: Sequence[Native], cut: Cut, backend: NumbaBackend) -> None:
        self._natives, self.cut, self._clashes = natives, cut, conflicts(natives)
        self._backend = backend
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._alone: Alone | None = None

    def __call__(self, times: int) -> None:
        """Make them; by one thread where the backend has no more at the moment, which needs no other kernels."""
        if self._backend.now == 1:
            self._alone = self._alone or Alone(self._natives, self.cut)
            self._alone(times)
            return
        found = shares(self.cut.threads)
        edges = found.edges
        if edges not in self._plans:
            if len(self._plans) == PLANS:
                self._plans.clear()
            start = perf_counter()
            self._plans[edges] = in_step(self._natives, replace(self.cut, edges=edges), self._clashes)
            found.planned(perf_counter() - start)
        found.follow(edges, team(self.cut.threads).walk(self._plans[edges].tables, times))


def _gathered(natives: Sequence[Native], cut: Cut) -> list[Native]:
    """The calls, in which each thread gathers a batch for itself where all of them need the whole of it: less than
    fetching from another what that has gathered, and nobody waits."""
    made = [*natives]
    for place, gather in enumerate(natives):
        if not isinstance(gather, GatherCall) or not gather.shared(cut):
            continue
        out = gather.out
        copies = (out, *(aligned(out.shape, out.dtype) for _ in range(cut.threads - 1)))
        users = [
            i
            for i, native in enumerate(natives)
            if i != place and any(np.shares_memory(x, out) for x in (*native.reads, *native.writes))
        ]
        found = [x.copied(copies, cut) for i in users if isinstance(x := natives[i], ProductCall)]
        able = [x for x in found if x is not None]
        if users and len(able) == len(users):
            for i, copied in zip([place, *users], [gather.copied(copies), *able], strict=True):
                made[i] = copied
    return made


def _matched(natives: Sequence[Native], cut: Cut) -> list[Native]:
    """The calls, in which a matrix is updated by the threads that have made its gradient."""

    def match(native: Native) -> Native:
        if not isinstance(native, UpdateCall):
            return native
        return next((found for other in natives if (found := native.like(other, cut))), native)

    return [match(native) for native in natives]


def _members(x: Array) -> Array | None:
    """x (…, n, k) with one axis of members in front, (M, n, k); None where that would be a copy, or its rows are."""
    if x.dtype not in POINTERS or x.strides[-1] != x.itemsize:
        return None
    found = x.reshape(-1, *x.shape[-2:])
    return found if np.may_share_memory(found, x) else None


def _parts(formula: Formula, groups: Groups) -> Iterator[tuple[Formula, Groups]]:
    """Sums of what is not kept apart from the rest, and before it: a result may overwrite what they are made of. So
    each has one kernel, and equal bits, whether units or rows are shared out."""
    arrays, outs, sums = groups
    alone = [name for name in formula.results if outs and name not in outs]
    for names in (*([name] for name in alone), [name for name in formula.results if name not in alone]):
        own = Formula({name: formula.results[name] for name in names})
        used = {name: arrays[name] for name in own.symbols()}
        yield (
            own,
            (
                used,
                {name: outs[name] for name in names if name in outs},
                {name: sums[name] for name in names if name in sums},
            ),
        )
