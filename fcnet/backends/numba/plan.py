"""Who does what in a step of a team, in which order, and who waits for whom.

A call is made by the first thread, or by all of them. So there are two kinds of threads, the first one and the others,
and what is said of one of the others holds for each: a plan takes no longer for many threads than for two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fcnet.backends.numba.native import CROSS, Access, Cut, FormulaCall, Native
from fcnet.backends.numba.pointers import address
from fcnet.backends.numba.team import START, STOP, TELL, WAIT
from fcnet.backends.ops import Array

FIRST, OTHERS = 0, 1
"""The kinds of threads."""

Clashes = Sequence[dict[int, int]]
"""For each call those with which its order matters: OWN where only for each thread by itself, or CROSS."""


class ThreadPlan:
    """What the threads of a team do in a step.

    `tables`: theirs, each (n, 4) int64, as `team` walks them, or (n, 2) of the only one's calls.
    """

    def __init__(self, natives: Sequence[Native], cut: Cut) -> None:
        self.natives, self.cut = natives, cut
        self.kernels = [native.kernel(cut) for native in natives]
        self.blocks = [kernel.blocks() for kernel in self.kernels]
        if cut.threads == 1:
            made = [(kernel.address, address(block)) for kernel, block in zip(self.kernels, self.blocks, strict=True)]
            self.tables = [np.array(made, np.int64).reshape(-1, 2)]
            return
        shared = [kernel.cut is not None for kernel in self.kernels]
        self.clashes = clashes([kernel.touched for kernel in self.kernels], [native.fence for native in natives])
        self.order = order(shared, self.clashes, [isinstance(x, FormulaCall) and x.update for x in natives])
        waits = waiting(self.order, shared, self.clashes, several=cut.threads > 2)
        told = {(whom, self.order.index(y)) for found in waits.values() for whom, y, _ in found}
        tells = [
            {self.order[at]: i for i, at in enumerate(sorted(at for kind, at in told if kind == whom), start=1)}
            for whom in (FIRST, OTHERS)
        ]
        first, others = (self._rows(kind, shared, waits, tells) for kind in (FIRST, OTHERS))
        self.tables = [*self._tables(first, range(1)), *self._tables(others, range(1, cut.threads))]

    def recut(self, edges: tuple[int, ...]) -> None:
        """Share out the same calls by other edges: nobody waits for anybody else, only blocks change."""
        self.cut = replace(self.cut, edges=edges)
        for kernel, block in zip(self.kernels, self.blocks, strict=True):
            if kernel.cut is not None:
                block[...] = kernel.blocks(replace(kernel.cut, edges=edges))

    def _rows(
        self, kind: int, shared: Sequence[bool], waits: Waits, tells: Sequence[dict[int, int]]
    ) -> list[tuple[int, int, int, int]]:
        """The table of a thread of that kind; of a call the second number is which one it is."""
        rows: list[tuple[int, int, int, int]] = []
        counting = False
        for number in self.order:
            found = waits.get((number, kind), [])
            makes = shared[number] or kind == FIRST
            if counting and (found or (makes and not shared[number])):
                rows.append((STOP, 0, 0, 0))
                counting = False
            for whom, y, now in found:
                every = len(tells[whom])
                rows.append((WAIT, whom, tells[whom][y] - (0 if now else every), every))
            if makes and shared[number] and not counting:
                rows.append((START, 0, 0, 0))
                counting = True
            if makes:
                rows.append((self.kernels[number].address, number, 0, 0))
            if number in tells[kind]:
                rows.append((TELL, 0, 0, 0))
        return [*rows, (STOP, 0, 0, 0)] if counting else rows

    def _tables(self, rows: Sequence[tuple[int, int, int, int]], threads: range) -> list[Array]:
        """The same for each of the threads, with its own blocks."""
        table = np.array(rows, np.int64).reshape(-1, 4)
        calls = table[:, 0] > STOP
        called = [self.blocks[number] for number in table[calls, 1].tolist()]
        places = np.array([address(block) for block in called], np.int64)
        steps = np.array([block.strides[0] if len(block) > 1 else 0 for block in called], np.int64)
        tables = [table.copy() for _ in threads]
        for thread, own in zip(threads, tables, strict=True):
            own[calls, 1] = places + thread * steps
        return tables


def clashes(touched: Sequence[Sequence[Access]], fences: Sequence[bool]) -> Clashes:
    """Between which calls the order matters, by what they touch of the same buffers."""
    found: list[dict[int, int]] = [{} for _ in touched]
    by_buffer: dict[str, list[tuple[int, Access]]] = defaultdict(list)
    for number, accesses in enumerate(touched):
        # what a call both reads and writes counts as written
        for access in {access.where: access for access in sorted(accesses, key=lambda each: each.written)}.values():
            before = by_buffer[access.ref.buffer.name]
            for other, earlier in before:
                if (access.written or earlier.written) and found[number].get(other, 0) < CROSS:
                    how = access.against(earlier)
                    if how:
                        found[number][other] = found[other][number] = max(how, found[number].get(other, 0))
            before.append((number, access))
    for number, fence in enumerate(fences):
        for other in range(len(touched)) if fence else []:
            found[number][other] = found[other][number] = CROSS
    return found


Waits = dict[tuple[int, int], list[tuple[int, int, bool]]]
"""By call and kind of thread: for which kind it waits, for which call of theirs, and whether for that of the same step.
"""


def waiting(order: Sequence[int], shared: Sequence[bool], clashes: Clashes, several: bool) -> Waits:
    """Who waits before which call: for what touches the same memory and was made earlier in the step, or else by the
    step before, unless it is known that whoever made it is through with it. `several`: others, who wait for one
    another."""
    place = {number: i for i, number in enumerate(order)}
    last, waits = len(order), Waits()
    # how far each kind of thread knows each kind of others to be, counted from the start of this step
    known = {(kind, whom): -last - 1 for kind in (FIRST, OTHERS) for whom in (FIRST, OTHERS)}
    for number in order:
        for kind in (FIRST, OTHERS) if shared[number] else (FIRST,):
            for whom in (OTHERS,) if kind == FIRST else (FIRST, OTHERS) if several else (FIRST,):
                against = [y for y, how in clashes[number].items() if how == CROSS and (shared[y] or whom == FIRST)]
                before = max((place[y] for y in against if place[y] < place[number]), default=-1)
                due = before if before >= 0 else max((place[y] for y in against), default=-last - 1) - last
                if due > known[kind, whom] and due >= -last:
                    waits.setdefault((number, kind), []).append((whom, order[due], due >= 0))
                    known[kind, whom] = due
    return waits


def order(shared: Sequence[bool], clashes: Clashes, updates: Sequence[bool]) -> list[int]:
    """The calls so that threads seldom wait: what touches what another thread has just made, and what must come after
    that, is put off until all else is done. Updates come last, in their order."""
    phases: list[list[int]] = []
    left = [*range(len(shared))]
    while left:
        now: set[int] = set()
        later: set[int] = set()
        for number in left:
            before = [y for y in clashes[number] if y < number]
            waits = any(y in now and clashes[number][y] == CROSS and (shared[y] or shared[number]) for y in before)
            (later if waits or not later.isdisjoint(before) else now).add(number)
        phases.append(sorted(now))
        left = sorted(later)
    made = [number for phase in phases for number in phase]
    last = [number for number in made if updates[number]]
    first = min((made.index(number) for number in last), default=0)
    if any(y in clashes[x] for x in last for y in made[first:] if y > x and y not in last):
        return made
    return [*(number for number in made if not updates[number]), *sorted(last)]
