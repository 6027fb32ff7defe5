"""Among how many threads a step is shared, and what each of them has of it: as many as gain something.

What a step takes is reckoned in units of worth (see `Least`) for every number of threads that there may be, and the
least is taken. So a machine with more processors is never slower for it: it can still use as few as a smaller one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fcnet.backends.numba.native import LINE, Cut, FormulaCall, Native, ProductCall
from fcnet.backends.ops import Ref
from fcnet.records import dataclass

GRID = 8
"""Into how many parts for each thread the scale is divided on which calls are cut."""


@dataclass(frozen=True)
class Least:
    """From which size on a call is worth sharing, and among how many threads: below, waiting for another thread costs
    more than it does. Measured on two cores of an AMD EPYC (Zen 4) and on two of an Intel Xeon (Sapphire Rapids); only
    `wait` and `look`, which take more cores, are the literature's figures for a cache line that moves between cores.

    `product` in multiplications, about 12 µs, which is the unit of a call's worth; `operations` of a formula over all
    elements, `gather` in elements, random `words`. A part has whole `line`s of so many elements, so that no two threads
    write to one cache line. A step is shared at all from so many `units` of a product on: so often is used what a
    thread must fetch from another, at a twentieth of the speed at which it computes. A norm is summed up in blocks of
    `norm` elements, which decides about its bits.

    A thread takes rows of the batch, and not units, with weights that it fetches from others if it has `partly` rows to
    use them for, or `fetched` if it would fetch none of them otherwise; twelve times as many if these are more than
    `far`, and come from memory. From a product's worth of `much` on calls are shared that are worth `fine`: all threads
    stay busy then, and one that made a small call alone would have to fetch the others' parts for it. To wait costs
    `wait`, and `look` for each other thread, in units of worth; an element that is fetched, `fetch` multiplications.
    """

    product: int = 2**20
    operations: int = 2**18
    gather: int = 2**14
    words: int = 2**11
    line: int = LINE
    units: int = 256
    norm: int = 2**15
    fetched: float = 80
    partly: float = 32
    far: int = 2**21
    much: float = 8
    fine: float = 1 / 128
    wait: float = 0.04
    look: float = 0.007
    fetch: float = 32


USUAL = Least()


def numbers(most: int) -> Iterator[int]:
    """The numbers of threads that are considered, up to the most: 1, 2, 3, 4, 6, 8, 12, 16, …"""
    n = 1
    while n <= most:
        yield n
        if n > 1 and n * 3 // 2 <= most:
            yield n * 3 // 2
        n *= 2


def best(natives: Sequence[Native], most: int, least: Least) -> Cut:
    """How a step is cut for the number of threads, up to the most, with which it takes least."""
    cuts = [found for n in numbers(most) if (found := cut(natives, n, least)) is not None]
    return min(cuts, key=lambda each: time(natives, each, least))


def cut(natives: Sequence[Native], threads: int, least: Least) -> Cut | None:
    """How so many threads would share a step; None where none of the products is worth sharing: then nothing else is,
    since each thread would have to fetch what the first has made."""
    even = Cut(tuple(range(0, GRID * threads + 1, GRID)), least.line)
    if threads == 1:
        return even
    products = [native for native in natives if isinstance(native, ProductCall) and native.able(even)]
    rows = _rows(products, even, least)
    wide = [p.worth for p in products if rows or p.out.shape[p.axis(even)] >= least.units]
    largest = max(wide, default=0.0)
    if largest < 1 and any(isinstance(native, ProductCall) for native in natives):
        return None
    found = replace(even, least=least.fine if rows or largest >= least.much else 1.0, rows=rows)
    return found if any(native.shared(found) for native in natives if native.worth < math.inf) else None


def _rows(products: Sequence[ProductCall], even: Cut, least: Least) -> frozenset[Ref]:
    """The weights with which threads better take rows of the batch than units.

    Then they need not wait for one another between layers. But they must fetch all weights that others have updated,
    and without rows only those of the others' units, or none of a layer that gives no δ to one below.
    """
    used: dict[tuple[str, int], list[ProductCall]] = defaultdict(list)
    for native in products:
        if native.batch and even.can(native.out.shape[0]):
            used[native.b.buffer.name, native.b.start].append(native)
    rows: set[Ref] = set()
    for first, *more in used.values():
        wanted = (least.partly if more else least.fetched) * (12 if first.b.size > least.far else 1)
        if (wanted - first.out.shape[0] / even.threads) * first.b.size < least.product:
            rows.update(each.b for each in (first, *more))
    return frozenset(rows)


def time(natives: Sequence[Native], cut: Cut, least: Least) -> float:
    """What a step takes, in units of worth: a thread's parts, what it fetches from others for them, and its waits."""
    made = sum(native.worth * native.part(cut) for native in natives if native.worth < math.inf)
    if cut.threads == 1:
        return made
    fetched, waits = 0.0, 0
    for native in natives:
        if isinstance(native, ProductCall) and native.shared(cut):
            whole = native.b if native.axis(cut) == -2 else native.a
            fetched += whole.size * (1 - 1 / cut.threads) * least.fetch / least.product
            waits += 1
    return made + fetched + waits * (least.wait + least.look * cut.threads)


def settled(natives: Sequence[Native], cut: Cut) -> list[Native]:
    """The calls that threads with that cut make: sums apart from what is cut by rows, and a matrix updated by those who
    have made its gradient."""
    products = [each for each in natives if isinstance(each, ProductCall) and each.shared(cut)]
    rows = {(each.out.buffer.name, each.out.start): each.out.shape[1] for each in products if each.axis(cut) == -2}
    made = [each for native in natives for each in native.apart(cut)]
    return [each.rows_of(rows) if isinstance(each, FormulaCall) and each.update else each for each in made]
