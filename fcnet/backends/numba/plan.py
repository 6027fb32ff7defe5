"""Who does what in a step of a team, in which order, and who waits for whom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fcnet.backends.numba.native import Cut, Native, Piece, UpdateCall
from fcnet.backends.numba.pointers import address
from fcnet.backends.numba.team import START, STOP, TELL, WAIT
from fcnet.backends.ops import Array


@dataclass(frozen=True)
class Plan:
    """What the threads of a team do in a step: their tables, (n, 4) int64, and what these point to.

    `pieces`: each thread's, in order.
    """

    tables: list[Array]
    pieces: list[list[Piece]]


Waits = dict[tuple[int, int], list[tuple[int, int, bool]]]
"""By call and thread: for which thread it waits, for which call of that, and whether for the one of the same step."""


def in_step(natives: Sequence[Native], cut: Cut, clashes: Sequence[Sequence[int]] | None = None) -> Plan:
    """Who does what in a step, and waits for whom: for a piece that touches what another thread's piece writes, or
    writes what it reads, and comes later in the step, or in the next one.

    `clashes`: those of the calls, where they are known.
    """
    clashes = conflicts(natives) if clashes is None else clashes
    made = [native.pieces(cut) for native in natives]
    made = [[*pieces, *([[]] * (cut.threads - len(pieces)))] for pieces in made]
    crossings = _Crossings(natives, made)
    order = _order(natives, clashes, crossings)
    waits = _waits(clashes, order, crossings)
    awaited = [{y for found in waits.values() for other, y, _ in found if other == i} for i in range(cut.threads)]
    tells = [{y: i for i, y in enumerate((y for y in order if y in own), start=1)} for own in awaited]
    tables, done = [], []
    for thread in range(cut.threads):
        rows: list[tuple[int, int, int, int]] = []
        counting = False
        for number in order:
            pieces, waiting = made[number][thread], waits.get((number, thread), [])
            counts = natives[number].shared(cut)
            if counting and (waiting or (pieces and not counts)):
                rows.append((STOP, 0, 0, 0))
                counting = False
            for other, y, now in waiting:
                every = len(tells[other])
                rows.append((WAIT, other, tells[other][y] - (0 if now else every), every))
            if pieces and counts and not counting:
                rows.append((START, 0, 0, 0))
                counting = True
            rows += [(piece.address, address(piece.block), 0, 0) for piece in pieces]
            if number in tells[thread]:
                rows.append((TELL, 0, 0, 0))
        if counting:
            rows.append((STOP, 0, 0, 0))
        tables.append(np.array(rows, dtype=np.int64).reshape(-1, 4))
        done.append([piece for number in order for piece in made[number][thread]])
    return Plan(tables, done)


def conflicts(natives: Sequence[Native]) -> list[list[int]]:
    """For each call, those whose order with it matters; itself too, as it comes again in the next step."""
    found = _Crossings(natives, [[[native]] for native in natives])
    n = range(len(natives))
    return [[j for j in n if found(i, j).any()] for i in n]


def _waits(clashes: Sequence[Sequence[int]], order: Sequence[int], crossings: _Crossings) -> Waits:
    """What each thread has to wait for. Threads make their pieces in order, so that it is the last that counts of all
    that come before; and if none of this step's does, the last of the step before."""
    place = {number: i for i, number in enumerate(order)}
    last, waits = len(order), Waits()
    # how far each thread knows the others to be, counted from the start of this step, (thread, other)
    known = np.full((crossings.threads,) * 2, -last - 1)
    np.fill_diagonal(known, last)
    for number in order:
        earlier, latest = np.full(known.shape, -1), np.full(known.shape, -1)
        for y in clashes[number]:
            against = np.where(crossings(number, y), place[y], -1)
            np.maximum(latest, against, out=latest)
            if place[y] < place[number]:
                np.maximum(earlier, against, out=earlier)
        due = np.where(earlier >= 0, earlier, np.where(latest >= 0, latest - last, known))
        for thread, other in np.argwhere(due > known).tolist():
            at = int(due[thread, other])
            waits.setdefault((number, thread), []).append((other, order[at], at >= 0))
        np.maximum(known, due, out=known)
    return waits


def _order(natives: Sequence[Native], clashes: Sequence[Sequence[int]], crossings: _Crossings) -> list[int]:
    """The calls so that threads seldom wait: what touches what another thread has just made, and what must come after
    that, is put off until all else is done. Updates come last, in their order."""
    apart = ~np.eye(crossings.threads, dtype=bool)
    phases: list[list[int]] = []
    left = [*range(len(natives))]
    while left:
        now: list[int] = []
        later: set[int] = set()
        for number in left:
            before = [y for y in clashes[number] if y < number]
            if not later.isdisjoint(before) or any((crossings(number, y) & apart).any() for y in before if y in now):
                later.add(number)
            else:
                now.append(number)
        phases.append(now)
        left = sorted(later)
    order = [number for phase in phases for number in phase]
    updates = [number for number in order if isinstance(natives[number], UpdateCall)]
    first = min((order.index(number) for number in updates), default=0)
    if any(y in clashes[x] for x in updates for y in order[first:] if y > x and y not in updates):
        return order
    return [*(number for number in order if number not in updates), *sorted(updates)]


class _Crossings:
    """Between which threads' pieces of two calls the order matters.

    Arrays that no call has in what it reads or writes are a thread's own, and order nothing.
    """

    def __init__(self, natives: Sequence[Native], made: Sequence[Sequence[Sequence[Piece | Native]]]) -> None:
        self.threads = max(map(len, made), default=0)
        self._fences = [native.fence for native in natives]
        self._busy = np.array([[bool(own) for own in pieces] for pieces in made])
        self._edges = _regions(x for native in natives for x in (*native.reads, *native.writes) if x.size)
        self._touched = [self._by_region(pieces) for pieces in made]
        self._found: dict[tuple[int, int], Array] = {}

    def __call__(self, one: int, other: int) -> Array:
        """[i, j]: whether it matters for thread i's pieces of one call and thread j's of the other."""
        if (one, other) not in self._found:
            found: Array
            if self._fences[one] or self._fences[other]:
                found = self._busy[one][:, None] & self._busy[other]
            else:
                found = np.zeros((self.threads,) * 2, bool)
                mine, theirs = self._touched[one], self._touched[other]
                for region in mine.keys() & theirs.keys():
                    (x, i, writes), (y, j, written) = mine[region], theirs[region]
                    at = np.nonzero(overlapping(x, y) & (writes[:, None] | written))
                    found[i[at[0]], j[at[1]]] = True
            self._found[one, other], self._found[other, one] = found, found.T
        return self._found[one, other]

    def _by_region(self, pieces: Sequence[Sequence[Piece | Native]]) -> dict[int, tuple[Array, Array, Array]]:
        """By region: the extents that are touched there (n, 4), by which threads (n,), and whether written (n,)."""
        found: dict[int, dict[tuple[tuple[int, ...], int, bool], None]] = {}
        for thread, own in enumerate(pieces):
            for piece in own:
                for written, arrays in ((False, piece.reads), (True, piece.writes)):
                    for x in arrays:
                        shape = extent(x)
                        region = bisect_right(self._edges, shape[0])
                        if x.size and region % 2:
                            found.setdefault(region, {})[shape, thread, written] = None
        return {
            region: (
                np.array([x for x, _, _ in each]),
                np.array([i for _, i, _ in each]),
                np.array([w for *_, w in each]),
            )
            for region, each in found.items()
        }


def extent(x: Array) -> tuple[int, int, int, int]:
    """The memory of an array: where it starts, how many rows it has, how far these are apart, how wide they are; bytes.

    Of more than two axes that do not lie side by side, all between the first and the last byte.
    """
    start, item, shape = address(x), x.itemsize, x.shape
    if x.flags.c_contiguous or x.flags.f_contiguous:
        return start, 1, 0, x.nbytes
    if x.ndim == 1 or (x.ndim == 2 and x.strides[1] == item):
        width = item if x.ndim == 1 else shape[1] * item
        if x.strides[0] >= width:
            return start, shape[0], x.strides[0], width
    if x.ndim == 2 and x.strides[0] == item and x.strides[1] >= shape[0] * item:
        return start, shape[1], x.strides[1], shape[0] * item
    steps = [(n - 1) * step for n, step in zip(shape, x.strides, strict=True)]
    low = start + sum(step for step in steps if step < 0)
    return low, 1, 0, start + sum(step for step in steps if step > 0) + item - low


def overlapping(x: Array, y: Array) -> Array:
    """Which extents (n, 4) and (m, 4) have a byte in common, (n, m).

    Exact where their rows are equally far apart, or one has a single row; else by their first and last bytes.
    """
    a, rows, step, width = (x[:, None, k] for k in range(4))
    b, others, steps, widths = (y[None, :, k] for k in range(4))
    near: Array = (a < b + (others - 1) * steps + widths) & (b < a + (rows - 1) * step + width)
    if not near.any():
        return near
    common = np.where(rows > 1, step, steps)
    rough = ((rows > 1) & (others > 1) & (step != steps)) | (common < np.maximum(width, widths))
    down, right = np.divmod(b - a, np.maximum(common, 1))  # where y starts: in which row of x, and where in it
    first = (right < width) & (down < rows) & (down + others > 0)
    wrapped = (right + widths > common) & (down + 1 < rows) & (down + 1 + others > 0)
    found: Array = near & (rough | first | wrapped)
    return found


def _regions(arrays: Iterable[Array]) -> list[int]:
    """Where stretches of memory that arrays cover begin, and where they end, in turn and in ascending order."""
    spans = []
    for x in arrays:
        start, rows, step, width = extent(x)
        spans.append((start, start + (rows - 1) * step + width))
    edges: list[int] = []
    for start, stop in sorted(spans):
        if not edges or start >= edges[-1]:
            edges += [start, stop]
        else:
            edges[-1] = max(edges[-1], stop)
    return edges
