"""Threads that share a step: the same bits as one thread that makes every piece, whatever happens to one of them."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layer_cases import PLACES, WIDTH, chain, codes

pytest.importorskip("numba")

from numba import cfunc, types
from tapes import ArrayTape, calls

from fcnet import random
from fcnet.backends.base import Backend
from fcnet.backends.numba import backend, denormals, team
from fcnet.backends.numba.backend import NumbaBackend, Shares, Together
from fcnet.backends.numba.native import CROSS, OWN, Access, Cut, FormulaCall, Kernel, Moved, ProductCall
from fcnet.backends.numba.plan import ThreadPlan
from fcnet.backends.numba.pointers import i8
from fcnet.backends.numba.sharing import Least
from fcnet.backends.numba.team import START, STOP, TELL, WAIT
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Accumulate, Apply, Array, Lap, Matmul, ScatterAdd, Take, Update, ref
from fcnet.data.source import MemorySource
from fcnet.formulas import Formula, Sym, exp, row_sum
from fcnet.nn.activations import ACTIVATIONS, Activation, Gelu, Identity, Prelu, Relu, Softmax
from fcnet.nn.initializers import HeNormal
from fcnet.nn.layers import Dense, Dropout
from fcnet.nn.losses import CrossEntropy
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import AdamW
from fcnet.optim.update import Updater
from fcnet.training.program import Program
from fcnet.training.state import State

ALL = Least(1, 1, 1, 1, units=0, norm=2048, wait=0, look=0, fetch=0)
BY = {"units": replace(ALL, fetched=math.inf, partly=math.inf), "rows": replace(ALL, fetched=0, partly=0)}


def program(
    threads: int,
    dtype: Any = np.float32,
    activations: Sequence[Activation] = (Relu(), Softmax(), Gelu()),
    least: Least = ALL,
) -> tuple[Program, MemorySource]:
    """A net of every kind of call, large enough to be cut, before its first step."""
    first, *more = (Dense(n, f, HeNormal()) for n, f in zip((64, 80, 48), activations, strict=True))
    layers = [first, Dropout(0.2), *more]
    network = Network([*layers, Dense(3, Identity(), HeNormal())], 50)
    update = Updater(AdamW(lr=1e-3), network.layout, clip_norm=0.1)
    state = State.new(network, update.names, dtype)
    x = random.normal(640 * 50, random.key(0, "team")).reshape(640, 50).astype(dtype)
    source = MemorySource(Rows(x), np.arange(640) % 3, np.abs(x[:, 0]), one_hot=np.eye(3, dtype=dtype))
    made = Program(NumbaBackend(threads, least), network, CrossEntropy(), update, state, weighted=True)
    network.initialise(state.θ, state.q, 0, Rows(x[:64]))
    return made, source


def linked_step(made: Program) -> Together:
    """The compiled step of 64 rows, which a team makes."""
    linked = made.step(64).linked  # type: ignore[attr-defined]
    assert isinstance(linked, Together)
    return linked


def double(tape: ArrayTape, x: Array) -> None:
    """x = 2x."""
    at = {"x": tape.ref(x)}
    tape.add(Apply(Formula({"x": 2.0 * Sym("x")}), at, at))


def steps(made: Program, source: MemorySource, alone: bool) -> dict[str, bytes]:
    """All of the state after thirty epochs of ten steps; `alone`: every piece in turn, by this thread."""
    bound = calls(made.backend, made.recorded(64).tape.ops, made.resident) if alone else []
    for epoch in range(30):
        made.state.epoch, made.state.row = epoch, 0
        scalars = made.update.scalars(np.arange(10) + made.state.step + 1, np.ones(10))
        if alone:
            made._table[:10] = scalars
            made.position[:] = epoch, made.state.step, 0, 0
            source.order(epoch, 0, 0)
            for _ in range(10):
                for call, args in bound:
                    call(*args)
            made.state.step += 10
        else:
            made.run(source, scalars, 64)
    return {name: array.tobytes() for name, array in made.state.arrays().items()}


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_wait_for_what_they_need(threads: int) -> None:
    """Three hundred steps of a team end in the bits of the same pieces made one after another."""
    together, alone = program(threads), program(threads)
    alone[0].run(alone[1], alone[0].update.scalars(np.arange(1, 2), np.zeros(1)), 64)  # binds the source
    alone[0].state.take(together[0].state)

    ends = [steps(*together, alone=False), steps(*alone, alone=True)]

    assert ends[0] == ends[1]
    assert np.isfinite(together[0].state.θ).all()


def test_the_number_of_threads_changes_no_bit() -> None:
    """One thread, two or three: gradient clipping included, whose norm is a sum over all weights."""
    ends = [steps(*program(threads, np.float64), alone=False) for threads in (1, 2, 3)]

    assert ends[0] == ends[1] == ends[2]


def test_a_team_can_be_left_by_all_but_one_at_any_time() -> None:
    """Chunks of the whole team and of one thread that makes all of its pieces, in turn, change no bit."""
    (made, source), usual = program(2), program(2)
    ends = [steps(*usual, alone=False)]
    run = made.run

    def changing(*arguments: Any) -> None:
        made.backend.use(1 + made.state.epoch % 2)  # type: ignore[attr-defined]  # this backend can
        run(*arguments)

    made.run = changing  # type: ignore[method-assign]
    ends.append(steps(made, source, alone=False))

    assert ends[0] == ends[1]


@cfunc(types.void(types.int64))
def dawdle(block: Any) -> None:
    """Do nothing of use so many times over."""
    q = i8(block)
    for i in range(q[0]):
        q[1] += i & q[1]


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("by", BY)
def test_whoever_dawdles_is_waited_for(by: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some microseconds at any place of any thread's table change no bit of what a step makes."""
    found = Shares(threads)
    found.follow = lambda edges, busy: None  # type: ignore[method-assign]
    monkeypatch.setattr(backend, "shares", lambda threads: found)
    (made, source), alone = program(threads, least=BY[by]), program(threads)
    alone[0].run(alone[1], alone[0].update.scalars(np.arange(1, 2), np.zeros(1)), 64)
    alone[0].state.take(made.state)
    made.run(source, made.update.scalars(np.arange(1, 2), np.zeros(1)), 64)
    made.state.take(alone[0].state)
    plan = linked_step(made).plan()
    assert bool(plan.cut.rows) == (by == "rows")
    tables = [*plan.tables]
    delays = [np.array([loops, 0]) for loops in (300, 3_000, 10_000)]
    draw = np.random.default_rng(0)

    def slower(table: Array) -> Array:
        places = draw.choice(len(table), 3)
        chosen = [delays[i].ctypes.data for i in draw.integers(0, len(delays), 3)]
        return np.insert(table, places, [[dawdle.address, block, 0, 0] for block in chosen], axis=0)

    for _ in range(4):
        plan.tables[:] = map(slower, tables)
        assert steps(made, source, alone=False) == steps(*alone, alone=True)


def regions(kernel: Kernel, thread: int) -> list[tuple[set[int], str, bool]]:
    """What a thread touches of buffers that it shares with others: which elements, of which, and whether written."""
    assert kernel.cut is not None
    part = kernel.cut.parts(kernel.n, kernel.grain)[thread]
    found = []
    for access in kernel.touched:
        ref = access.ref
        places = sum(
            np.ix_(*(np.arange(n) * step for n, step in zip(ref.shape, ref.strides, strict=True))), np.zeros((), int)
        )
        if access.axis is not None:
            moved = next(m for m in kernel.arguments if isinstance(m, Moved) and (m.ref, m.axis) == (ref, access.axis))
            stop = None if part.stop == kernel.n else part.stop * moved.times
            places = np.moveaxis(places, moved.axis, 0)[part.start * moved.times : stop]
        if not access.own:
            found.append((set((ref.start + places).ravel().tolist()), ref.buffer.name, access.written))
    return found


@pytest.mark.parametrize("edges", [(0, 13, 32), (0, 30, 46, 48)], ids=str)
@pytest.mark.parametrize("by", BY)
def test_the_order_of_a_step_is_made_from_what_threads_touch(by: str, edges: tuple[int, ...]) -> None:
    """Where two calls are said not to meet, or each thread only what is its own, no thread's part of one has an element
    in common with another thread's part of the other, wherever the edges are."""
    made, source = program(len(edges) - 1, least=BY[by])
    made.run(source, made.update.scalars(np.arange(1, 2), np.ones(1)), 64)
    plan = linked_step(made).plan()
    plan.recut(edges)
    kernels = [replace(kernel, cut=kernel.cut and replace(kernel.cut, edges=edges)) for kernel in plan.kernels]
    shared = [i for i, kernel in enumerate(kernels) if kernel.cut is not None]
    touched = {i: [regions(kernels[i], t) for t in range(len(edges) - 1)] for i in shared}
    kinds = set()

    for x, y in itertools.permutations(shared, 2):
        said = plan.clashes[x].get(y, 0)
        kinds.add(said)
        for mine, theirs in itertools.permutations(range(len(edges) - 1), 2) if said != CROSS else []:
            for (a, name, writes), (b, other, written) in itertools.product(touched[x][mine], touched[y][theirs]):
                assert name != other or not (writes or written) or not a & b

    assert kinds == {0, OWN, CROSS}


def test_a_step_is_cut_for_the_team() -> None:
    """Products, formulas, gather, words, norm and update each have a part for both threads."""
    made, source = program(2)
    made.run(source, made.update.scalars(np.arange(1, 2), np.ones(1)), 64)

    plan = linked_step(made).plan()

    assert sum(kernel.cut is not None for kernel in plan.kernels) > 20


@given(n=st.integers(0, 500), shares=st.lists(st.integers(0, 40), min_size=1, max_size=5), line=st.integers(1, 20))
@example(n=48, shares=[0, 40, 0], line=16)
def test_parts_are_whole_lines_and_none_is_empty(n: int, shares: list[int], line: int) -> None:
    """They follow one another from 0 to n, wherever the edges are, and are about as large as their shares."""
    edges = (0, *np.cumsum(shares).tolist())
    edges = (*edges[:-1], max(edges[-1], 1))
    cut = Cut(edges, line)
    assert cut.can(n) == (n // line >= len(shares))
    if not cut.can(n):
        return

    parts = cut.parts(n)

    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == n
    assert all(part.stop - part.start >= line and part.start % line == 0 for part in parts)
    if all(n // line * share >= edges[-1] for share in shares):
        assert all(abs(part.start - n * edge / edges[-1]) <= 2 * line for part, edge in zip(parts, edges, strict=False))


@pytest.mark.parametrize("edges", [(0, 3, 32), (0, 13, 32), (0, 30, 46, 48)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("names", [sorted(ACTIVATIONS)[i::5] for i in range(5)], ids="-".join)
def test_no_result_depends_on_how_the_step_is_cut(
    names: list[str], dtype: Any, edges: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has more to do, of units or of rows, and wherever a row ends for a thread, the bits are the same."""
    ends = []
    for by, moved in itertools.product(BY, [False, True]):
        found = Shares(len(edges) - 1)
        if moved:
            found.edges = edges
        found.follow = lambda edges, busy: None  # type: ignore[method-assign]
        monkeypatch.setattr(backend, "shares", lambda threads, found=found: found)
        made, source = program(len(edges) - 1, dtype, [ACTIVATIONS[name]() for name in names], BY[by])
        made.run(source, made.update.scalars(np.arange(1, 2), np.ones(1)), 64)
        ends.append(steps(made, source, alone=False))
        plan = linked_step(made).plan()
        assert plan.cut.edges == found.edges
        assert bool(plan.cut.rows) == (by == "rows")

    assert all(end == ends[0] for end in ends)


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    """Of some of three matrices of (6, 8): some of their rows and columns, in either order of the axes, or a stretch of
    them as it lies in memory; cut along an axis, or not."""
    whole = ref("x", (3, 6, 8), np.float32)
    a, b, c, d = (draw(st.integers(0, n)) for n in (6, 6, 8, 8))
    one = whole.matrix((draw(st.integers(0, 2)),))
    part = one[min(a, b) : max(a, b) + 1][..., min(c, d) : max(c, d) + 1]
    flat = whole.reshape((144,))[a * c : a * c + 16 * d + 1]
    chosen = draw(st.sampled_from([part, part.swapaxes(0, 1), flat, one, whole]))
    axis = draw(st.sampled_from([None, -1, *([-2] if chosen.ndim > 1 else [])]))
    if axis is None or chosen.shape[axis] < 3:
        return Access(chosen, draw(st.booleans()))
    line = draw(st.integers(1, chosen.shape[axis] // 3))
    lines = chosen.shape[axis] // line
    return Access(chosen, draw(st.booleans()), axis, line * chosen.strides[axis], lines)


def elements(access: Access, edges: tuple[int, ...]) -> list[set[int]]:
    """For each thread which elements of the buffer it touches."""
    x = access.ref
    places = np.lib.stride_tricks.as_strided(np.arange(144), x.shape, [8 * step for step in x.strides])
    places = places + x.start
    if access.axis is None:
        return [set(places.ravel().tolist())] * (len(edges) - 1)
    line = access.unit // x.strides[access.axis]
    places = np.moveaxis(places, access.axis, 0)
    return [set(places[part].ravel().tolist()) for part in Cut(edges, line).parts(len(places))]


@given(one=accesses(), other=accesses(), edges=st.sampled_from([(0, 8, 16), (0, 3, 16), (0, 8, 16, 24), (0, 1, 2, 24)]))
@settings(max_examples=500)
def test_what_touches_the_same_memory_is_found(one: Access, other: Access, edges: tuple[int, ...]) -> None:
    """Parts by rows and columns of a matrix and stretches of its memory: where one is written, and a thread's part has
    an element of another thread's, they are said to cross; where of its own, at least to meet."""
    said = one.against(other)
    pairs = [*itertools.product(enumerate(elements(one, edges)), enumerate(elements(other, edges)))]
    meets, crosses = ({bool(a & b) for (i, a), (j, b) in pairs if i == j or not own} for own in (False, True))
    crosses = {bool(a & b) for (i, a), (j, b) in pairs if i != j}

    assert not (one.written or other.written) or said or not any(meets)
    assert not (one.written or other.written) or said == CROSS or not any(crosses)
    if (one.written or other.written) and one.ref == other.ref and one.axis is not None:
        same = (one.axis, one.unit) == (other.axis, other.unit)
        assert (said == OWN) == same or one.ref.size == 0


def test_what_threads_share_alike_needs_no_wait() -> None:
    """Each thread has what is its own of two calls: of the same rows or columns, of a matrix and of one of several, of
    rows and of the elements that they are; not where lines, axes or places differ."""
    x = ref("x", (3, 64, 80), np.float32)
    flat, first = x.reshape((3 * 64 * 80,)), x.matrix((0,))
    units = Access(x, True, -1, 16, 5)

    assert units.against(Access(x.matrix((2,)), False, -1, 16, 5)) == OWN
    assert units.against(Access(x[..., 16:], False, -1, 16, 4)) == CROSS
    assert units.against(Access(x, False, -2, 16 * 80, 4)) == CROSS
    rows = Access(first, True, -2, 16 * 80, 4)
    assert rows.against(Access(flat, False, 0, 16 * 80, 4)) == OWN
    assert rows.against(Access(flat, False, 0, 16, 320)) == CROSS
    assert rows.against(Access(x, False, -2, 16 * 80, 4)) == OWN
    assert rows.against(Access(x.matrix((1,)), True, -2, 16 * 80, 4)) == 0
    assert Access(x[..., :16], True).against(Access(x[..., 16:])) == 0
    assert rows.against(Access(first, False)) == CROSS
    assert Access(x).against(Access(x)) == 0


def test_the_cut_moves_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance would have it move with every walk: it does once in a second at most."""
    clock, found, draw = [100.0], Shares(16), np.random.default_rng(0)
    monkeypatch.setattr(backend, "perf_counter", lambda: clock[0])
    edges = []
    for _ in range(2000):
        clock[0] += 0.005
        found.follow(found.edges, (1000 * draw.normal(1, 0.1, 16) * np.diff(found.edges)).astype(int).tolist())
        edges.append(found.edges)

    assert 1 <= sum(a != b for a, b in itertools.pairwise(edges)) <= 10


def test_the_cut_follows_the_threads_speeds() -> None:
    """Edges move to where all threads take as long, stay where little is to be gained, and leave everyone a part."""

    def follow(shares: Shares, slowness: list[int], times: int = 1) -> tuple[int, ...]:
        for _ in range(times):
            shares.follow(shares.edges, np.array(slowness) * np.diff(shares.edges))
        return shares.edges

    two = Shares(2, 0)
    assert two.edges == (0, 8, 16)
    assert follow(two, [100, 50], 20) == (0, 6, 16)
    assert follow(two, [101, 50]) == (0, 6, 16)
    assert follow(two, [0, 50]) == (0, 6, 16)
    assert follow(two, [1, 1000], 20) == (0, 13, 16)
    assert follow(Shares(3, 0), [2, 2, 1], 20) == (0, 6, 12, 24)


def test_steps_of_a_team_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one step has found of the threads' speeds is used by the next, which is another one."""
    found = Shares(2)
    monkeypatch.setattr(backend, "shares", lambda threads: found)
    first, second = (doubling(1024) for _ in range(2))
    first[0].run(1)
    found.edges = (0, 5, 32)
    second[0].run(1)

    assert second[0].step.linked.plan().cut.edges == (0, 5, 32)
    assert (second[1] == 2).all()


def rows(plan: ThreadPlan, *kinds: int) -> list[list[list[int]]]:
    """Each thread's rows of these kinds."""
    return [[row for row in own.tolist() if row[0] in kinds] for own in plan.tables]


def test_time_counts_where_threads_share_the_work() -> None:
    """What a walk says of a thread leaves out what the thread has waited, and what it did while others had nothing."""
    x, y, total = np.ones((64, 4096)), np.ones((64, 4096)), np.zeros(())
    tape = ArrayTape(NumbaBackend(2, ALL))
    at = tape.refs({"x": x, "y": y, "t": total})
    tape.add(Apply(Formula({"x": exp(Sym("x"))}), {"x": at["x"]}, {"x": at["x"]}))
    tape.add(Accumulate(at["x"], at["t"]))
    tape.add(Apply(Formula({"y": Sym("x") + Sym("t")}), {"x": at["x"], "t": at["t"]}, {"y": at["y"]}))
    plan = ThreadPlan([call for call, _ in tape.calls()], Cut((0, 1, 2), 1))  # type: ignore[misc]

    kinds = [[row[0] if row[0] <= STOP else "call" for row in own.tolist()] for own in plan.tables]
    assert kinds[0] == [START, "call", STOP, WAIT, "call", TELL, START, "call", STOP]
    assert kinds[1] == [WAIT, START, "call", TELL, STOP, WAIT, START, "call", STOP]


def test_threads_that_have_rows_do_not_wait_between_layers() -> None:
    """A step is all layers forward and backward, then all gradients of weights, then the updates: so a thread that is
    ahead can go on to the gradient of the last layer, for which the other has long done its part."""
    network = Network(
        [Dense(256, Relu(), HeNormal()), Dense(256, Relu(), HeNormal()), Dense(3, Identity(), HeNormal())], 50
    )
    update = Updater(AdamW(lr=1e-3), network.layout)
    state = State.new(network, update.names, np.float32)
    source = MemorySource(Rows(np.ones((640, 50), np.float32)), np.arange(640) % 3, one_hot=np.eye(3, dtype=np.float32))
    made = Program(NumbaBackend(2, BY["rows"]), network, CrossEntropy(), update, state)

    made.run(source, update.scalars(np.arange(1, 2), np.ones(1)), 64)

    plan = linked_step(made).plan()
    for own in plan.tables:
        waits = [i for i, row in enumerate(own.tolist()) if row[0] == WAIT and row[2] > 0]
        calls = [i for i, row in enumerate(own.tolist()) if row[0] > STOP]
        assert len([i for i in calls if i < waits[0]]) >= 8  # gather, all layers, the loss and the δ: no wait between
    updates = [any(access.ref.buffer.name == "θ" and access.written for access in k.touched) for k in plan.kernels]
    made_in_order = [updates[number] for number in plan.order]
    assert any(made_in_order)
    assert all(made_in_order[made_in_order.index(True) :])


@pytest.mark.parametrize(("rows", "with_rows"), [(16, 0), (128, 2), (256, 3)])
def test_who_has_rows_of_a_layer(rows: int, with_rows: int) -> None:
    """The more rows there are, the more weights are worth fetching for them: first those of small layers and those that
    are needed for δ, too, then those of a large first layer."""
    x, z, a = (np.ones((rows, n), np.float32) for n in (784, 256, 128))
    first, second = (np.ones(shape, np.float32) for shape in ((256, 784), (128, 256)))
    last = np.ones((7, 128), np.float32)
    tape = ArrayTape(NumbaBackend(2))
    for factors in ((x, first.T, z), (z, second.T, a), (a, last.T, np.ones((rows, 7), np.float32)), (a, second, z)):
        tape.add(Matmul(*map(tape.ref, factors)))

    rows_of = {weights.buffer.name for weights in tape.step.linked.plan().cut.rows}

    assert [tape.ref(weights).buffer.name in rows_of for weights in (last, second, first)] == [
        with_rows > i for i in range(3)
    ]


def test_nothing_passes_a_clock() -> None:
    """What is recorded after a measurement of time is made after it, though another order needed fewer barriers."""
    x, y, total = np.ones((64, 64)), np.ones((64, 64)), np.zeros(())
    since, nanoseconds = np.zeros(1, np.int64), np.zeros(1, np.int64)
    plain, timed = (ArrayTape(NumbaBackend(2, ALL)) for _ in range(2))
    for tape in (plain, timed):
        double(tape, x)
        tape.add(Accumulate(tape.ref(x), tape.ref(total)))
        if tape is timed:
            tape.add(Lap(tape.refs({"x": x, "total": total}), tape.ref(since), tape.ref(nanoseconds)))
        double(tape, y)

    orders = [
        ThreadPlan([call for call, _ in tape.calls()], Cut((0, 1, 2), 1)).order  # type: ignore[misc]
        for tape in (plain, timed)
    ]

    assert orders == [[0, 2, 1], [0, 1, 2, 3]]


def test_a_matrix_is_updated_by_who_made_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The update is cut where the rows of the gradient are: no barrier stands between them, wherever the edges are."""
    found = Shares(2)
    monkeypatch.setattr(backend, "shares", lambda threads: found)
    a, z = np.ones((64, 96), np.float32), np.ones((64, 40), np.float32)
    g, θ = np.zeros(96 * 40 + 8, np.float32), np.zeros(96 * 40 + 8, np.float32)
    tape = ArrayTape(NumbaBackend(2, ALL))
    dW = g[: 96 * 40].reshape(96, 40)
    tape.add(Matmul(tape.ref(a.T), tape.ref(z), tape.ref(dW)))
    tape.add(Update(Formula({"θ": Sym("θ") - 0.1 * Sym("g")}), {}, tape.refs({"θ": θ, "g": g})))

    plan = tape.step.linked.plan()

    product, update = plan.natives
    assert isinstance(product, ProductCall)
    assert isinstance(update, FormulaCall)
    assert rows(plan, WAIT) == [[], []]
    for edge in (5, 16, 27):
        found.edges = (0, edge, 32)
        θ[...] = 0
        tape.run()
        assert np.array_equal(θ[: 96 * 40], np.full(96 * 40, -6.4, np.float32))
        assert not θ[96 * 40 :].any()


@pytest.mark.parametrize(("rows", "units", "shared"), [(128, 128, 1), (128, 256, 2), (2048, 128, 2)])
def test_a_step_of_narrow_layers_is_left_to_one_thread(rows: int, units: int, shared: int) -> None:
    """Where a thread would use what it fetches from another too seldom, nothing is shared; the numbers are the same.

    It is used by each of its rows, where these are many, and by each of its units, where those are.
    """
    z, w = random.normal(rows * 512, random.key(0, "z")), random.normal(units * 512, random.key(0, "w"))
    outs = []
    for threads in (1, 2):
        a, loss = np.zeros((rows, units), np.float32), np.zeros(1)
        tape = ArrayTape(NumbaBackend(threads))
        at = {"a": tape.ref(a)}
        left, right = z.astype(np.float32).reshape(rows, 512), w.astype(np.float32).reshape(units, 512).T
        tape.add(Matmul(tape.ref(left), tape.ref(right), at["a"]))
        tape.add(Apply(Formula({"a": Sym("a") * Sym("a") + Sym("a")}), at, at))
        tape.add(Apply(Formula({"a": row_sum(Sym("a")) + Sym("a")}), at, at))
        tape.add(Accumulate(at["a"], tape.ref(loss)))
        tape.run()
        outs.append(a)

    assert tape.step.linked.plan().cut.threads == shared
    assert any(call.worth >= 1 for call, _ in tape.calls())  # type: ignore[attr-defined]
    assert outs[0].tobytes() == outs[1].tobytes()


@pytest.mark.parametrize(("rows", "shared"), [(16, [True, False]), (512, [True, True])])
def test_small_calls_are_shared_where_products_are_large(rows: int, shared: list[bool]) -> None:
    """The output layer of seven units is the work of one thread, unless the layer before it keeps the team busy."""
    x, z, a = (np.ones((rows, n), np.float32) for n in (512, 256, 7))
    tape = ArrayTape(NumbaBackend(2))
    tape.add(Matmul(tape.ref(x), tape.ref(np.ones((512, 256), np.float32)), tape.ref(z)))
    tape.add(Matmul(tape.ref(z), tape.ref(np.ones((256, 7), np.float32)), tape.ref(a)))
    natives: Any = [call for call, _ in tape.calls()]

    cut = tape.step.linked.plan().cut

    assert [native.shared(cut) for native in natives] == shared


def doubling(n: int) -> tuple[ArrayTape, Array]:
    """A tape that doubles n numbers in a team of two."""
    x = np.ones(n, np.float64)
    tape = ArrayTape(NumbaBackend(2, ALL))
    double(tape, x)
    return tape, x


def test_an_interrupted_walk_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the work is handed out lets the other thread go, and the next walk is whole."""
    tape, x = doubling(64)
    tape.run(3)

    walk = team._Job.walk

    def interrupted(job: team._Job) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        walk(job)

    with monkeypatch.context() as patched:
        patched.setattr(team._Job, "walk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tape.run(3)
    x[...] = 1.0
    tape.run(4)

    assert (x == 16).all()


def test_two_walks_at_once_take_turns() -> None:
    """Two Python threads may train in one process."""
    tapes = [doubling(64) for _ in range(2)]
    threads = [threading.Thread(target=lambda t=tape: [t.run(1) for _ in range(50)]) for tape, _ in tapes]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all((x == 2.0**50).all() for _, x in tapes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_a_team_of_its_own() -> None:
    """Threads do not live on in a fork: it starts its own, and ends with the right numbers."""
    tape, x = doubling(64)
    tape.run(1)

    child = os.fork()
    if not child:
        tape.run(2)
        os._exit(0 if (x == 8).all() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("source", "target", "now"),
    [("z", "u", []), ("z", "y", [1]), ("z", "x", [1]), ("y", "u", [1]), ("x", "u", [])],
    ids=["nothing shared", "write after write", "write after read", "read after write", "read after read"],
)
def test_threads_wait_where_the_order_matters(source: str, target: str, now: list[int]) -> None:
    """y = 2x by units, then a sum of rows: threads wait where one touches what the other has, and in the next step for
    what the other has touched since."""
    held = {name: np.ones((64, 64)) for name in "xyzu"}
    tape = ArrayTape(NumbaBackend(2, ALL))
    at = tape.refs(held)
    tape.add(Apply(Formula({"y": 2.0 * Sym("x")}), {"x": at["x"]}, {"y": at["y"]}))
    tape.add(Apply(Formula({"r": row_sum(Sym("s")) + Sym("s")}), {"s": at[source]}, {"r": at[target]}))
    plan = ThreadPlan([call for call, _ in tape.calls()], Cut((0, 1, 2), 1))  # type: ignore[misc]

    for own in rows(plan, WAIT):
        assert [due for _, _, due, _ in own if due > 0] == now
        assert [due for _, _, due, _ in own if due <= 0] == [0] * len(now)
    assert [len(own) for own in rows(plan, TELL)] == [2 * len(now)] * 2


@pytest.mark.skipif(not denormals.X86, reason="elsewhere the smallest numbers cost no more than others")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_smallest_numbers_are_zero_while_kernels_run(threads: int, dtype: Any) -> None:
    """What lies below the smallest normal number is neither read nor written by kernels, and is as ever elsewhere."""
    tiny = np.finfo(dtype).tiny
    x, y = np.full(64, 1.5 * tiny, dtype), np.full(64, 0.5 * tiny, dtype)
    tape = ArrayTape(NumbaBackend(threads, ALL))
    at = tape.refs({"x": x, "y": y})
    tape.add(Apply(Formula({"x": 0.5 * Sym("x"), "y": 4.0 * Sym("y")}), at, at))

    tape.run()

    assert not x.any()
    assert not y.any()
    assert np.array([1.5 * tiny], dtype)[0] * dtype(0.5) > 0


def test_a_lookup_needs_no_python_and_has_the_same_bits_on_a_team() -> None:
    """A lookup and its gradient are kernels, of which each thread has rows or columns; no bit depends on how many."""

    def drawn(purpose: str, *shape: int) -> Array:
        return random.normal(math.prod(shape), random.key(1, purpose)).reshape(shape).astype(np.float32)

    ends = []
    for threads in (1, 2, 3):
        table, δ = drawn("table", 40, 8), drawn("δ", 64, 32)
        levels = np.abs(1e3 * drawn("codes", 64, 4)).astype(np.int32) % 11 - 1
        z, g = np.empty_like(δ), np.empty_like(table)
        tape = ArrayTape(NumbaBackend(threads, ALL))
        first, at = (0, 10, 20, 30), tape.ref(levels)
        tape.add(Take(tape.ref(table), at, first, tape.ref(z)))
        tape.add(ScatterAdd(tape.ref(δ), at, first, tape.ref(g)))
        tape.run()
        ends.append((z.tobytes(), g.tobytes()))
        assert tape.step.linked.plan().cut.threads == threads

    assert len(set(ends)) == 1


def test_products_of_many_features_are_one_piece_a_thread() -> None:
    """A plan has no more to do for many features than for few; each product is made once, whoever makes it."""
    lengths = []
    for features in (60, 300):
        z, V = np.ones((40, features * 4), np.float32), np.ones((features, 3, 4), np.float32)
        y = np.zeros((40, features * 3), np.float32)
        tape = ArrayTape(NumbaBackend(2, replace(ALL, product=10**4)))
        at, out = (tape.ref(x).split(features).on("row", "feature", "unit") for x in (z, y))
        tape.add(Matmul(at, tape.ref(V).swapaxes(-1, -2), out))
        tape.run()
        assert tape.step.linked.plan().cut.threads == 2
        lengths.append([len(table) for table in tape.step.linked.plan().tables])
        assert (y == 4).all()

    assert lengths[0] == lengths[1]


def two_steps(case: str, members: tuple[int, ...], of: Backend) -> State:
    """A net with the layer at its place after two steps of 64 rows."""
    x, y, c = (
        random.normal(128 * WIDTH, random.key(1, "x")).reshape(128, WIDTH),
        np.arange(128) % 3,
        codes(128) if "embedding" in case else None,
    )
    layers = [*chain(case, Prelu(), 64)[:-1], Dense(64, Prelu(), HeNormal()), Dense(3, Identity(), HeNormal())]
    network = Network(layers, WIDTH, members, n_cat=0 if c is None else 2)
    update = Updater(AdamW(lr=1e-3), network.layout, clip_norm=0.1)
    state = State.new(network, update.names, np.float64)
    source = MemorySource(Rows(x, c), y, np.abs(x[:, 0]), one_hot=np.eye(3))
    made = Program(of, network, CrossEntropy(), update, state, weighted=True)
    network.initialise(state.θ, state.q, 0, Rows(x, c))
    made.run(source, update.scalars(np.arange(1, 3), np.ones(2)), 64)
    return state


@cache
def by_numpy(case: str, members: tuple[int, ...]) -> State:
    """The same by NumPy, however the step is cut elsewhere."""
    return two_steps(case, members, NumpyBackend())


@pytest.mark.parametrize("edges", [(0, 13, 32), (0, 30, 46, 48)], ids=str)
@pytest.mark.parametrize("case", PLACES)
def test_no_layer_depends_on_how_the_step_is_cut(
    case: str, edges: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every registered layer, in an ensemble too, whose calls are all cut: by units or by rows, what NumPy computes."""
    for by, members in itertools.product(BY, [(), (2,)]):
        found = Shares(len(edges) - 1)
        found.edges = edges
        found.follow = lambda edges, busy: None  # type: ignore[method-assign]
        monkeypatch.setattr(backend, "shares", lambda threads, found=found: found)

        end = two_steps(case, members, NumbaBackend(len(edges) - 1, BY[by]))

        for name, vector in by_numpy(case, members).arrays().items():
            np.testing.assert_allclose(end.arrays()[name], vector, rtol=1e-8, atol=1e-11, err_msg=name)
