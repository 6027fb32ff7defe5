"""Binds operations to calls of compiled code: what a step does becomes a table of addresses that one compiled loop
walks."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from fcnet.backends.base import Binding, Call, HostBackend, HostStep, aligned
from fcnet.backends.numba import kernels, product
from fcnet.backends.numba.native import (
    BatchCall,
    Cut,
    Each,
    FormulaCall,
    Groups,
    Length,
    Moved,
    Native,
    PlainCall,
    ProductCall,
    Start,
    together,
)
from fcnet.backends.numba.plan import ThreadPlan
from fcnet.backends.numba.pointers import replay
from fcnet.backends.numba.printer import POINTERS, print_kernel
from fcnet.backends.numba.sharing import GRID, USUAL, Least, best, settled
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
    Phase,
    Ref,
    ScatterAdd,
    Take,
    Update,
    Words,
    ref,
)
from fcnet.formulas import Formula, row_sum
from fcnet.formulas.transform import expand_erf

Products = Literal["own", "blas"]
"""Who makes matrix products: kernels of our own, which threads share with all else, or NumPy's BLAS."""

COUNTER = 16
"""Words of 16 bits that one counter of the generator gives."""

FOLLOW = 0.5
"""How far shares move to what the last walk would have wanted: less, and they lag; more, and they follow chance."""

STAY = 0.75
"""By how much of a part the best cut has to be elsewhere before it is taken."""

PAUSE = 1.0
"""Seconds that a cut stays at least."""


class NumbaBackend(HostBackend):
    """Fused loops for formulas and blocks in registers for products; what has no kernel here falls back to NumPy, and
    so do products by `blas`, which has the threads then.

    Large calls are cut into a part for each of up to so many `threads`: by rows of the batch where there are enough, so
    that a thread needs nobody between layers, otherwise by units (columns), so that what it has computed of a layer is
    mostly what it needs next.
    """

    name = "numba"
    width = product.WIDTH
    """Bytes of a vector register, by which products go."""

    def __init__(self, threads: int = 1, least: Least = USUAL, products: Products = "own") -> None:
        self.least, self.products = least, products
        self.threads = threads if products == "own" else 1
        self.now = self.threads
        self.plain = NumpyBackend(threads, alike=products == "blas")
        self._pads: dict[np.dtype[Any], Each] = {}

    def blas_threads(self, largest: int) -> int:
        """One where the team makes the products."""
        return 1 if self.products == "own" else self.plain.blas_threads(largest)

    def most(self, largest: int) -> int:
        """As many as the team has, or BLAS."""
        return self.threads if self.products == "own" else self.plain.most(largest)

    def use(self, threads: int) -> None:
        """The whole team from now on, or fewer of them."""
        if self.products == "own":
            self.now = threads
        else:
            self.plain.use(threads)

    def compile(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> HostStep:
        """As `Backend` says; a pack's members are steps of their own where all of their operations have kernels."""
        at, members = Binding(resident), max((op.offset + op.members for op in ops), default=0)
        abreast = self._abreast([op for op in ops if not isinstance(op, Phase)], members, at) if members else None
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
            theirs = [op for op in ops if not op.members or op.offset <= i < op.offset + op.members]
            found = [
                self._natives(op.member(i - op.offset).moved(functools.partial(own, thread=i % self.threads)), at)
                for op in theirs
            ]
            if None in found:
                return None
            steps.append([native for natives in found if natives is not None for native in natives])
        for op in fills:
            self.plain.bind(op, at)
        worth = max((native.worth for native in steps[0] if isinstance(native, ProductCall)), default=0)
        rest = members % self.threads if worth >= 1 else 0
        alone = [
            ThreadPlan([native.by(i % self.threads) for native in natives], Cut())
            for i, natives in enumerate(steps[: members - rest])
        ]
        together = [Together(natives, self) for natives in steps[members - rest :]]
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
                linked.append(Together(run, self))
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
                found = self._matmul(a, b, out, at)
            case Apply(formula, arrays, outs, sums):
                found = self._apply(formula, (arrays, outs, sums), at)
            case Update():
                found = [self._update(op, at)]
            case Accumulate(values, total) if values.in_order:
                about: dict[str, Any] = {"values": values, "total": total, "n": values.size}
                found = [self._plain(kernels.accumulate, values, at, (total,), **about)]
            case Norm(g, out):
                found = self._norm(g, out, at)
            case Words((key,), layer, position, out):
                found = [self._words(key, layer, position, out, at)]
            case Gather(x, order, position, out) if x.in_order and x.dtype in POINTERS:
                found = [self._gather(kernels.gather, order, position, out, at, x=x)]
            case GatherOneHot(labels, order, position, out):
                found = [self._gather(kernels.gather_one_hot, order, position, out, at, labels=labels)]
            case Take(table, codes, first, out):
                found = self._take(table, codes, first, out, at)
            case ScatterAdd(δ, codes, first, out):
                found = self._scatter_add(δ, codes, first, out, at)
            case Load(table, position, out):
                at.loaded.add(out.buffer.name)
                about = {"table": table, "position": position, "out": self._copies(out, at), "n": out.size}
                found = [self._plain(kernels.load, out, at, (), **about, worth=math.inf, own=((out, True),))]
            case Advance(rows, position):
                found = [self._plain(kernels.advance, position, at, (position,), position=position, rows=rows)]
            case Lap(done, since, total) if CLOCK:
                found = [self._lap(done, since, total, at)]
        return found

    def _plain(self, body: Any, like: Ref, at: Binding, written: Sequence[Ref], **given: Any) -> PlainCall:
        """A call of a kernel over the precision of `like`."""
        about = {name: given.pop(name) for name in ("worth", "long", "grain", "line", "own", "fence") if name in given}
        dtype = like.dtype if like.dtype in POINTERS else np.dtype(np.float64)
        return PlainCall(body, dtype, kernels.ordered(body, given), written, at, **about)

    def _matmul(self, a: Ref, b: Ref, out: Ref, at: Binding) -> list[Native] | None:
        """A product for each member; those of features, and of small members, together."""
        if self.products == "blas" or out.dtype not in POINTERS or out.strides[-1] != 1:
            return None
        if out.dtype not in self._pads:
            self._pads[out.dtype] = Each([aligned(product.pad(out.dtype), out.dtype) for _ in range(self.threads)])
        worth = math.prod(out.shape[-2:]) * a.shape[-1] / self.least.product
        many = math.prod(out.shape[:-2])
        if worth < 1 < many and out.ndim < 5:
            return [BatchCall(a, b, out, worth * many, self._pads[out.dtype], at, self.width)]
        return [
            ProductCall(a.matrix(i), b.matrix(i), out.matrix(i), worth, self._pads[out.dtype], at, self.width)
            for i in np.ndindex(*out.shape[:-2])
        ]

    def _apply(self, formula: Formula, groups: Groups, at: Binding) -> list[Native] | None:
        """The formula in one loop, and before it sums of what is not kept, each by itself."""
        expanded = expand_erf(formula, single=next(iter((groups[1] or groups[2]).values())).dtype == np.float32)
        for group in groups:
            at.all(group)
        if print_kernel(expanded, *groups) is None:
            return None
        return [self._formula(*part, at) for part in _parts(expanded, groups)]

    def _formula(self, formula: Formula, groups: Groups, at: Binding) -> FormulaCall:
        """The formula, to be cut along the axes that all of its results have; units may belong together, and sums are
        over all rows."""
        arrays, outs, sums = groups
        shape = (1, 1, *np.broadcast_shapes(*(x.shape for x in (*arrays.values(), *outs.values()))))
        axes = tuple(
            axis
            for axis in (-2, -1)
            if all(x.ndim >= -axis and x.shape[axis] == shape[axis] for x in outs.values())
            if not (together(formula) if axis == -1 else sums and not outs)
        )
        worth = math.prod(shape) * len(formula.nodes()) / self.least.operations if axes else 0.0
        return FormulaCall(formula, groups, shape, axes, worth, at, {})

    def _norm(self, g: Ref, out: Ref, at: Binding) -> list[Native]:
        """out = ‖g‖, over blocks that are the same, and summed up in the same order, on however many threads."""
        n = self.least.norm
        count = max(1, -(-g.size // n))
        parts = ref(f"{g.buffer.name}/squares/{g.start}", (count, 8), np.float64)  # a cache line each
        arguments: dict[str, Any] = {"g": g, "out": parts, "block": n, "start": Start(), "n": Length()}
        worth = g.size / self.least.operations
        return [
            self._plain(kernels.squares, g, at, (parts,), **arguments, worth=worth, long=g.size, grain=n),
            self._plain(kernels.root, out, at, (out,), squares=parts, blocks=count, out=out),
        ]

    def _words(self, key: tuple[int, int], layer: int, position: Ref, out: Ref, at: Binding) -> Native:
        """By whole counters."""
        k0, k1 = (int(word) for word in np.array(key, np.uint64).view(np.int64))
        flat = out.reshape((out.size,))
        place: dict[str, Any] = {"out": Moved(flat, 0), "rest": Moved(flat, 0), "n": Length(), "start": Start()}
        about = {"worth": out.size / self.least.words, "long": out.size, "grain": COUNTER}
        return self._plain(
            kernels.words, out, at, (flat,), key0=k0, key1=k1, layer=layer, position=position, **place, **about
        )

    def _gather(self, body: Any, order: Ref, position: Ref, out: Ref, at: Binding, **source: Ref) -> Native:
        """By rows."""
        rows: dict[str, Any] = {"order": Moved(order, 0), "out": Moved(out, 0), "rows": Length(), "n": out.shape[1]}
        about = {"worth": out.size / self.least.gather, "long": out.shape[0]}
        return self._plain(body, out, at, (out,), position=position, **source, **rows, **about)

    def _take(self, table: Ref, codes: Ref, first: Sequence[int], out: Ref, at: Binding) -> list[Native] | None:
        """By rows."""
        tables, outs = _members(table), _members(out)
        if tables is None or outs is None or not codes.in_order:
            return None
        B, C = codes.shape
        sizes = {"M": outs.shape[0], "B": Length(), "C": C, "d": tables.shape[-1], "member": tables.strides[0]}
        arrays = {"table": tables, "codes": Moved(codes, 0), "first": self._numbers(first, at), "out": Moved(outs, -2)}
        steps = {"out_m": outs.strides[0], "out_b": outs.strides[1]}
        about = {"worth": out.size / self.least.gather, "long": B}
        return [self._plain(kernels.take, out, at, (outs,), **arrays, **sizes, **steps, **about)]

    def _scatter_add(self, δ: Ref, codes: Ref, first: Sequence[int], out: Ref, at: Binding) -> list[Native] | None:
        """By columns of codes; the sums go by the rows' order, whoever makes them."""
        gradients, outs = _members(δ), _members(out)
        if gradients is None or outs is None or not codes.in_order:
            return None
        B, C = codes.shape
        edges = self._numbers((*first, outs.shape[1]), at)
        arrays = {"δ": gradients, "codes": codes, "first": edges, "out": outs, "start": Start(), "columns": Length()}
        sizes = {"M": outs.shape[0], "B": B, "C": C, "d": outs.shape[-1], "member": outs.strides[0]}
        steps = {"δ_m": gradients.strides[0], "δ_b": gradients.strides[1]}
        about = {"worth": (δ.size + out.size) / self.least.gather, "long": C, "line": 1}
        return [self._plain(kernels.scatter_add, out, at, (outs,), **arrays, **sizes, **steps, **about)]

    def _numbers(self, values: Sequence[int], at: Binding) -> Ref:
        """Numbers that never change, in memory."""
        held = np.array(values, np.int64)
        name = f"numbers/{','.join(map(str, values))}"
        at.resident.setdefault(name, held)
        return ref(name, len(held), np.int64)

    def _copies(self, ref: Ref, at: Binding) -> Each:
        """Of numbers that are loaded for each step: each thread has its own, the first everybody's."""
        if ref.buffer.name not in at.loaded:
            return Each([at(ref)] * self.threads)
        names = [ref.buffer.name, *(f"{ref.buffer.name}@{i}" for i in range(1, self.threads))]
        return Each([at(replace(ref, buffer=replace(ref.buffer, name=name))) for name in names])

    def _lap(self, done: Mapping[str, Ref], since: Ref, total: Ref, at: Binding) -> Native:
        """By the system's clock, when every thread has done its parts."""
        time = Each([np.zeros(2, np.int64)])
        about = {"clock": CLOCK, "kind": MONOTONIC, "time": time, "since": since, "total": total, "fence": True}
        return self._plain(kernels.lap, total, at, (since, total), **about)

    def _update(self, op: Update, at: Binding) -> Native:
        """The formula in one pass, in which the sum of all results is watched."""
        total = row_sum(functools.reduce(operator.add, op.formula.results.values()))
        formula = Formula({**op.formula.results, "watch": total})
        first = next(iter(op.vectors.values()))
        cells = [aligned(1, first.dtype) for _ in range(self.threads)]
        at.watched += cells
        own = {name: self._copies(each, at) for name, each in op.scalars.items()}
        outs = {name: op.vectors[name] for name in op.formula.results} | {"watch": ref("watch", 1, first.dtype)}
        worth = first.size * len(formula.nodes()) / self.least.operations
        groups: Groups = {**op.vectors, **op.scalars}, outs, {}
        return FormulaCall(formula, groups, (first.size,), (-1,), worth, at, {**own, "watch": Each(cells)})


class Abreast:
    """The steps of a pack: each thread makes so many of one member, then so many of the next; none waits for another.

    So what a member has stays in a thread's cache. Members that would leave threads without any are made by all
    `together`. Each of the `clocks`, where a step is, comes with the threads' copies, which start anew with a member.
    """

    def __init__(
        self,
        alone: Sequence[ThreadPlan],
        together: Sequence[Callable[[int], None]],
        clocks: Sequence[tuple[Array, Sequence[Array]]],
        backend: NumbaBackend,
    ) -> None:
        self._alone, self._together, self._clocks, self._backend = alone, together, clocks, backend
        self._tables = [np.pad(each.tables[0], ((0, 0), (0, 2))) for each in alone]

    def __call__(self, times: int) -> None:
        """Make so many of each member."""
        threads = self._backend.threads
        for start in range(0, len(self._alone), threads):
            self._begin()
            some = slice(start, start + threads)
            if self._backend.now == 1:
                for each in self._alone[some]:
                    replay(each.tables[0], times)
            else:
                team().walk(self._tables[some], times)
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
    and all others would wait for it. There is a new cut every so many `seconds` at most.
    """

    def __init__(self, threads: int, seconds: float = PAUSE) -> None:
        self.edges = tuple(range(0, GRID * threads + 1, GRID))
        self._shares = [1 / threads] * threads
        self._seconds, self._moved = seconds, -math.inf

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
        if far and perf_counter() >= self._moved + self._seconds:
            self.edges = tuple(round(edge) for edge in wanted)
            self._moved = perf_counter()


shares = functools.cache(Shares)
"""Those of the process's team of so many threads: all its steps share them."""


class Together:
    """A step, so many times over: by as many threads as gain something, up to those that the backend has now."""

    def __init__(self, natives: Sequence[Native], backend: NumbaBackend) -> None:
        self.natives, self.backend = [*natives], backend
        self._plans: dict[int, ThreadPlan] = {}
        self._best: dict[int, Cut] = {}

    def __call__(self, times: int) -> None:
        """Make them."""
        plan = self.plan()
        threads = plan.cut.threads
        if threads == 1:
            replay(plan.tables[0], times)
            return
        found = shares(threads)
        if found.edges != plan.cut.edges:
            plan.recut(found.edges)
        found.follow(plan.cut.edges, team().walk(plan.tables, times))

    def plan(self) -> ThreadPlan:
        """For as many threads as there are now; each number of threads is planned for once."""
        now = self.backend.now
        if now not in self._best:
            self._best[now] = best(self.natives, now, self.backend.least)
        cut = self._best[now]
        if cut.threads not in self._plans:
            self._plans[cut.threads] = ThreadPlan(settled(self.natives, cut), cut)
        return self._plans[cut.threads]


def _members(x: Ref) -> Ref | None:
    """x (…, n, k) with one axis of members in front, (M, n, k); None where that would be a copy, or its rows are."""
    if x.dtype not in POINTERS or x.strides[-1] != 1:
        return None
    if x.ndim == 2:
        return replace(x, shape=(1, *x.shape), strides=(x.size, *x.strides))
    return x if x.ndim == 3 else x.reshape((math.prod(x.shape[:-2]), *x.shape[-2:])) if x.in_order else None


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
