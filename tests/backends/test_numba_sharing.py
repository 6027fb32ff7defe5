"""Many cores, where there are few: how many threads a step takes and what planning costs, counted and simulated."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from fcnet.backends.numba import backend, printer
from fcnet.backends.numba.backend import NumbaBackend, Shares
from fcnet.backends.numba.native import Native
from fcnet.backends.numba.plan import ThreadPlan
from fcnet.backends.numba.sharing import USUAL, best, numbers, settled, time
from fcnet.backends.numba.team import STOP, TELL, WAIT
from fcnet.data.source import MemorySource
from fcnet.nn.activations import Identity, Relu
from fcnet.nn.initializers import HeNormal
from fcnet.nn.layers import Dense
from fcnet.nn.losses import CrossEntropy
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import AdamW
from fcnet.optim.update import Updater
from fcnet.training.program import Program
from fcnet.training.state import State

NETS = {
    "small": ((28, 64, 64, 2), 32),
    "cover": ((54, 256, 256, 256, 7), 256),
    "cover, many rows": ((54, 256, 256, 256, 7), 4096),
    "pixels": ((784, 256, 128, 10), 128),
    "wide": ((784, 1024, 1024, 10), 512),
}


@cache
def step(name: str) -> list[Native]:
    """The calls of a training step, on a machine with 64 cores."""
    widths, rows = NETS[name]
    *hidden, last = [Dense(n, Relu(), HeNormal()) for n in widths[1:]]
    network = Network([*hidden, Dense(last.units, Identity(), HeNormal())], widths[0])
    update = Updater(AdamW(lr=1e-3), network.layout, clip_norm=1.0)
    state = State.new(network, update.names, np.float32)
    x = Rows(np.ones((rows, widths[0]), np.float32))
    source = MemorySource(x, np.zeros(rows, np.int64), one_hot=np.eye(widths[-1], dtype=np.float32))
    made = Program(NumbaBackend(64), network, CrossEntropy(), update, state)
    made._source = source
    linked: Any = made.step(rows)
    found: list[Native] = linked.linked.natives
    return found


@cache
def plan(name: str, threads: int) -> ThreadPlan:
    """What the threads do that a machine with so many cores takes."""
    cut = best(step(name), threads, USUAL)
    return ThreadPlan(settled(step(name), cut), cut)


@pytest.mark.parametrize("name", NETS)
def test_more_cores_never_make_a_step_slower(name: str) -> None:
    """What is reckoned for 1 to 64 cores never rises, and is for each no more than for any fewer threads."""
    reckoned = [time(step(name), best(step(name), cores, USUAL), USUAL) for cores in range(1, 65)]

    assert all(later <= earlier for earlier, later in itertools.pairwise(reckoned))


def test_threads_are_taken_as_long_as_they_gain() -> None:
    """A net of 54-256³-7 does not fall from many threads to one where there are more cores than it has work for, and a
    small one is left to one thread."""
    taken = {name: [best(step(name), n, USUAL).threads for n in (1, 2, 4, 8, 16, 32, 64)] for name in NETS}

    assert taken["small"] == [1] * 7
    assert taken["cover"][:3] == [1, 2, 4]
    assert all(earlier <= later for found in taken.values() for earlier, later in itertools.pairwise(found))
    assert min(taken["cover"][4:]) >= 8
    assert taken["wide"][4] == 16
    assert [*numbers(17)] == [1, 2, 3, 4, 6, 8, 12, 16]


@dataclass
class Machine:
    """As many equally fast cores as threads, whose times are off by chance; one core's time is what a plan's calls are
    worth."""

    noise: float
    seed: int = 0

    def walk(self, made: ThreadPlan, natives: Sequence[Native], times: int) -> tuple[float, list[float]]:
        """How long so many steps take, and what each thread has counted, by the tables that threads would walk."""
        draw, threads = np.random.default_rng(self.seed), made.cut.threads
        if threads == 1:
            return times * sum(n.worth for n in natives if n.worth < np.inf), []
        number = {block.ctypes.data: i for i, block in enumerate(made.blocks)}
        told: list[list[float]] = [[] for _ in range(threads)]  # when each has told what
        now, busy = [0.0] * threads, [0.0] * threads
        at = [(0, 0)] * threads
        left = set(range(threads))
        while left:
            before = [*at]
            for thread in sorted(left):
                self._go(made, natives, number, thread, at, now, busy, told, draw)
                if at[thread][0] == times:
                    left.discard(thread)
            assert before != at, "threads wait for one another for ever"
        return max(now), busy

    def _go(
        self, made: ThreadPlan, natives: Sequence[Native], number: dict[int, int], thread: int,
        at: list[tuple[int, int]], now: list[float], busy: list[float], told: list[list[float]],
        draw: np.random.Generator,
    ) -> None:  # fmt: skip
        """Until the end of a step, or where what is waited for has not been told."""
        table, threads = made.tables[thread].tolist(), made.cut.threads
        turn, row = at[thread]
        for what, a, b, c in table[row:]:
            if what == WAIT:
                due = turn * c + b
                others = [0] if a == 0 else range(1, threads)
                if due > 0 and any(len(told[other]) < due for other in others):
                    at[thread] = turn, row
                    return
                known = max((told[other][due - 1] for other in others if due > 0), default=0.0)
                now[thread] = max(now[thread], known) + USUAL.wait + USUAL.look * len(others)
            elif what == TELL:
                told[thread].append(now[thread])
            elif what > STOP:
                spent = self._cost(made, natives, number, thread, a) * draw.normal(1, self.noise)
                now[thread] += spent
                busy[thread] += spent
            row += 1
        at[thread] = turn + 1, 0

    def _cost(
        self, made: ThreadPlan, natives: Sequence[Native], number: dict[int, int], thread: int, block: int
    ) -> float:
        i = number.get(block)
        if i is None:
            i = max(
                (k for k, x in enumerate(made.blocks) if x.ctypes.data <= block),
                key=lambda k: made.blocks[k].ctypes.data,
            )
        worth, kernel = made.natives[i].worth, made.kernels[i]
        if worth == np.inf:
            return 0.001
        if kernel.cut is None:
            return worth
        part = kernel.cut.parts(kernel.n, kernel.grain)[thread]
        return worth * (part.stop - part.start) / kernel.n


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["cover", "wide"])
def test_a_large_machine_is_never_slower_in_a_simulation(name: str, noise: float) -> None:
    """Threads that walk their tables on cores that are simulated, each call as long as it is worth but for chance:
    nobody waits for ever, and with more cores steps are no slower."""
    took = [Machine(noise).walk(plan(name, n), step(name), 5)[0] for n in (1, 2, 4, 8, 16, 32, 64)]

    assert took[1] < 0.8 * took[0]
    assert all(later <= earlier * (1 + noise) for earlier, later in itertools.pairwise(took))
    assert took[5] <= took[2]


def calls_of(function: Any) -> int:
    """How many Python functions a call makes."""
    count = 0

    def counting(frame: Any, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", ["cover", "wide"])
def test_plans_for_many_threads_cost_little_more_than_for_two(name: str) -> None:
    """What is planned once is planned for two kinds of threads, however many there are; a new cut, which comes once a
    second, moves addresses and nothing else."""
    natives = step(name)
    counted, moved = [], []
    for n in (2, 16, 64):
        cut = best(natives, n, USUAL)
        ThreadPlan(settled(natives, cut), cut)  # has printed what there is to print
        made = ThreadPlan(settled(natives, cut), cut)
        edges = (*cut.edges[:-1], cut.edges[-1] + 1)
        counted.append(calls_of(lambda cut=cut: ThreadPlan(settled(natives, cut), cut)))
        moved.append(calls_of(lambda made=made, edges=edges: made.recut(edges)))

    assert max(counted) < 3 * counted[0]
    assert max(moved) < 10_000


def test_a_plan_prints_no_kernel_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that was planned once, and another one of the same shapes, are planned for without printing anything: it
    took half of the time."""
    first = plan("cover", 16)
    monkeypatch.setattr(printer, "_KernelPrinter", None)

    for natives in (step("cover"), step.__wrapped__("cover")):
        cut = best(natives, 16, USUAL)
        made = ThreadPlan(settled(natives, cut), cut)

        assert [each.address for each in made.kernels] == [each.address for each in first.kernels]


def test_a_new_cut_waits_for_the_same_and_changes_only_parts() -> None:
    """Tables stay, blocks have the new parts: all of a call is still made, once."""
    made = plan("cover", 4)
    tables = [table.copy() for table in made.tables]

    made.recut((0, 5, 16, 25, 32))

    assert all(np.array_equal(a, b) for a, b in zip(tables, made.tables, strict=True))
    for kernel, block in zip(made.kernels, made.blocks, strict=True):
        if kernel.cut is not None:
            assert len(block) == 4
    made.recut((0, 8, 16, 24, 32))


def test_chance_does_not_have_steps_planned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred chunks of fifty milliseconds, whose times are off by a tenth: one new cut a second at most."""
    clock = [0.0]
    monkeypatch.setattr(backend, "perf_counter", lambda: clock[0])
    made, found, cuts = plan("wide", 16), Shares(16), 0
    for seed in range(200):
        clock[0] += 0.05
        _, busy = Machine(0.1, seed).walk(made, step("wide"), 1)
        found.follow(made.cut.edges, [int(1e6 * each) for each in busy])
        if found.edges != made.cut.edges:
            made.recut(found.edges)
            cuts += 1

    assert cuts <= 10
    made.recut(tuple(range(0, 8 * 16 + 1, 8)))
