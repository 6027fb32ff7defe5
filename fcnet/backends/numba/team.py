"""A team: threads that walk tables of kernel calls side by side, and wait for one another where the tables say so.

All of a chunk of steps happens in compiled code without Python's lock. Each thread counts, where its table says so,
what it has done, and waits for the counts of others. Who waits spins, since the wait is mostly shorter than going to
sleep; where it is long, another program has the core, or both threads are on one (a thread that only yields stays
there, one that naps is put where there is room).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fcnet.backends.numba.denormals import X86, flush, restore
from fcnet.backends.numba.pointers import address, call, i8
from fcnet.backends.numba.system import CLOCK, MONOTONIC, NAP, nap, read_clock
from fcnet.backends.ops import Array

WAIT, TELL, START, STOP = range(4)
"""What a table has in place of a kernel's address where its thread waits for another, tells the others that it has got
that far, and begins and ceases to count its time."""

_SPINS = 2000  # looks at the counter before a nap: 40 to 100 microseconds
_READY = 100_000  # looks at the next job before going to sleep: some milliseconds, more than lies between two chunks
_LEFT = 1 << 62  # the count of who is through


@intrinsic
def _tell(typingctx: Any, counter: Any, count: Any) -> Any:
    """The int64 at the address `counter` becomes the count; everything written before is seen by who sees it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def _look(typingctx: Any, counter: Any) -> Any:
    """The int64 at the address `counter`, as other threads have left it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        if X86:  # it has a hint that a loop is waiting
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64), code


@njit
def _now(clock: int, place: int) -> Any:
    """Nanoseconds, by way of two int64 at the address `place`; 0 without a clock."""
    if clock == 0:
        return 0
    read_clock(clock, MONOTONIC, place)
    return i8(place)[0] * 1_000_000_000 + i8(place)[1]


@njit(cache=True, nogil=True)
def _wait(counter: int, due: int, sleep: int) -> None:
    """Wait until the count at that address has come to `due`."""
    spins = 0
    while _look(counter) < due:
        spins += 1
        if spins > _SPINS and sleep:
            nap(sleep, 1)


@njit(types.void(types.int64[:, ::1], *[types.int64] * 7), cache=True, nogil=True)
def _walk(
    table: Any, times: int, counters: int, member: int, members: int, sleep: int, clock: int, times_at: int
) -> None:
    """Make every call of the table (n, 4) int64, in order, so many times; the first member then waits for all.

    A row is a kernel's address and its block; or WAIT, 0 for the first member or 1 for all others, how far they have to
    be in this step, and how often each of them tells in one; or TELL, START or STOP. What lies between the last two is
    added to the third int64 at `times_at`. The counts of the members are 64 bytes apart.
    """
    before = flush()
    count, since = 0, 0
    busy = i8(times_at)
    for time in range(times):
        for i in range(table.shape[0]):
            what = table[i, 0]
            if what > STOP:
                call(what, table[i, 1])
            elif what == WAIT:
                for other in range(table[i, 1], members if table[i, 1] else 1):
                    _wait(counters + 64 * other, time * table[i, 3] + table[i, 2], sleep)
            elif what == TELL:
                count += 1
                _tell(counters + 64 * member, count)
            elif what == START:
                since = _now(clock, times_at)
            else:
                busy[2] += _now(clock, times_at) - since
    _tell(counters + 64 * member, _LEFT)
    if member == 0:
        for other in range(1, members):
            _wait(counters + 64 * other, _LEFT, sleep)
    restore(before)


@njit(types.void(types.int64, types.int64), cache=True, nogil=True)
def _watch(ticket: int, seen: int) -> None:
    """Wait until the ticket is another one, but not for long."""
    for _ in range(_READY):
        if _look(ticket) != seen:
            break


class _Job:
    """One thread's part of a walk."""

    def __init__(self, table: Array, times: int, counts: Array, member: int) -> None:
        self.times = np.zeros(8, np.int64)
        self._arguments = table, times, address(counts), member, len(counts), NAP, CLOCK, address(self.times)
        self._held = counts
        self.done = threading.Event()

    def walk(self) -> None:
        """Do it."""
        _walk(*self._arguments)
        self.done.set()


class _Worker:
    """A thread of the team besides the caller's: it looks for its next job for a while before it goes to sleep."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._ticket = np.zeros(8, np.int64)  # how many jobs there were
        threading.Thread(target=self._work, daemon=True).start()

    def give(self, job: _Job) -> None:
        """Have it done."""
        self._jobs.put(job)
        self._ticket[0] += 1

    def _work(self) -> None:
        ticket, seen = address(self._ticket), 0
        while True:
            _watch(ticket, seen)
            job = self._jobs.get()
            seen += 1
            job.walk()


class Team:
    """Threads, the caller's among them: as many as have been needed at a time so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one walk at a time
        self._others: list[_Worker] = []

    def walk(self, tables: Sequence[Array], times: int) -> list[int]:
        """Walk one table each, so often; return when all have, with the ns that each has counted, (members,)."""
        counts = np.zeros((len(tables), 8), np.int64)  # a cache line each
        with self._lock:
            while len(self._others) < len(tables) - 1:
                self._others.append(_Worker())
            jobs = [_Job(table, times, counts, member) for member, table in enumerate(tables)]
            given: list[_Job] = []
            try:
                for member, job in zip(self._others, jobs[1:], strict=False):
                    member.give(job)
                    given.append(job)
                jobs[0].walk()
            except BaseException:
                counts[0] = counts[1 + len(given) :] = _LEFT  # nobody waits for one who does not come
                for job in given:
                    job.done.wait()
                raise
        return [int(job.times[2]) for job in jobs]


_teams: list[Team] = []


def team() -> Team:
    """The process's."""
    if not _teams:
        _teams.append(Team())
    return _teams[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_teams.clear)  # a fork has no threads but its own
