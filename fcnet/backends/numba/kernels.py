"""The few kernels that are neither formula nor product: gathers, sums, random words; each with a block of arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cfunc, njit, types

from fcnet.backends.numba.pointers import call, f4, f8, i4, i8, product, u2, u8
from fcnet.backends.numba.system import read_clock

SIGNATURE = types.void(types.int64)


# The bodies take typed pointers, so that each serves both precisions. Without error_model="numpy" a division might
# raise, and no loop around it would be vectorised.
_loop = njit(error_model="numpy")


@_loop
def _gather(x: Any, order: Any, position: Any, out: Any, rows: Any, n: Any) -> None:
    """out (rows, n) = x[order[start :][:rows]], start = position[2]."""
    for b in range(rows):
        source, target = order[position[2] + b] * n, b * n
        for j in range(n):
            out[target + j] = x[source + j]


@_loop
def _gather_one_hot(labels: Any, order: Any, position: Any, out: Any, rows: Any, n: Any) -> None:
    """out (rows, n) = one-hot rows of labels[order[start :][:rows]]."""
    start = position[2]
    for i in range(rows * n):
        out[i] = 0
    for b in range(rows):
        out[b * n + labels[order[start + b]]] = 1


@_loop
def _take(
    table: Any, codes: Any, first: Any, out: Any, M: Any, B: Any, C: Any, d: Any, member: Any, out_m: Any, out_b: Any
) -> None:
    """out (M, B, C · d) = for each code of a row its row of the table (M, K, d), zeros for −1.

    Members of the table are `member` elements apart, those of out `out_m` and its rows `out_b`.
    """
    for m in range(M):
        for i in range(B * C):
            code, target = codes[i], m * out_m + i // C * out_b + i % C * d
            source = m * member + (first[i % C] + max(code, 0)) * d
            for j in range(d):
                out[target + j] = table[source + j]
            if code < 0:
                for j in range(d):
                    out[target + j] = 0


@_loop
def _scatter_add(
    δ: Any, codes: Any, first: Any, out: Any, M: Any, B: Any, C: Any, d: Any, δ_m: Any, δ_b: Any, member: Any,
    column: Any, last: Any,
) -> None:  # fmt: skip
    """out (M, K, d) = the parts of δ (M, B, C · d) that belong to each level of a column, added up row by row; of
    rows `first[column]` to `last` of it, which are that column's, all that no code names is 0."""
    for m in range(M):
        for j in range(first[column] * d, last * d):
            out[m * member + j] = 0
        for b in range(B):
            code, source = codes[b * C + column], m * δ_m + b * δ_b + column * d
            target = m * member + (first[column] + max(code, 0)) * d
            if code >= 0:
                for j in range(d):
                    out[target + j] += δ[source + j]


@_loop
def _load(table: Any, position: Any, out: Any, n: Any) -> None:
    """out (n,) = table[position[3]]."""
    for j in range(n):
        out[j] = table[position[3] * n + j]


@njit(error_model="numpy", fastmath={"reassoc"})
def _accumulate(values: Any, total: Any, n: Any) -> None:
    """total += Σ values, in float64."""
    part = 0.0
    for i in range(n):
        part += np.float64(values[i])
    total[0] += part


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _squares(g: Any, out: Any, n: Any) -> None:
    """out = Σ g², in float64."""
    part = 0.0
    for i in range(n):
        part += np.float64(g[i]) * np.float64(g[i])
    out[0] = part


@njit(error_model="numpy")
def _root(squares: Any, parts: Any, step: Any, out: Any) -> None:
    """out = √ of the sum of so many parts, which lie `step` elements apart."""
    part = 0.0
    for i in range(parts):
        part += squares[i * step]
    out[0] = np.sqrt(part)


@cfunc(SIGNATURE, cache=True)
def gather_f4(block: Any) -> None:
    q = i8(block)
    _gather(f4(q[0]), i8(q[1]), i8(q[2]), f4(q[3]), q[4], q[5])


@cfunc(SIGNATURE, cache=True)
def gather_f8(block: Any) -> None:
    q = i8(block)
    _gather(f8(q[0]), i8(q[1]), i8(q[2]), f8(q[3]), q[4], q[5])


@cfunc(SIGNATURE, cache=True)
def gather_one_hot_f4(block: Any) -> None:
    q = i8(block)
    _gather_one_hot(i8(q[0]), i8(q[1]), i8(q[2]), f4(q[3]), q[4], q[5])


@cfunc(SIGNATURE, cache=True)
def gather_one_hot_f8(block: Any) -> None:
    q = i8(block)
    _gather_one_hot(i8(q[0]), i8(q[1]), i8(q[2]), f8(q[3]), q[4], q[5])


@cfunc(SIGNATURE, cache=True)
def take_f4(block: Any) -> None:
    q = i8(block)
    _take(f4(q[0]), i4(q[1]), i8(q[2]), f4(q[3]), q[4], q[5], q[6], q[7], q[8], q[9], q[10])


@cfunc(SIGNATURE, cache=True)
def take_f8(block: Any) -> None:
    q = i8(block)
    _take(f8(q[0]), i4(q[1]), i8(q[2]), f8(q[3]), q[4], q[5], q[6], q[7], q[8], q[9], q[10])


@cfunc(SIGNATURE, cache=True)
def scatter_add_f4(block: Any) -> None:
    q = i8(block)
    _scatter_add(f4(q[0]), i4(q[1]), i8(q[2]), f4(q[3]), q[4], q[5], q[6], q[7], q[8], q[9], q[10], q[11], q[12])


@cfunc(SIGNATURE, cache=True)
def scatter_add_f8(block: Any) -> None:
    q = i8(block)
    _scatter_add(f8(q[0]), i4(q[1]), i8(q[2]), f8(q[3]), q[4], q[5], q[6], q[7], q[8], q[9], q[10], q[11], q[12])


@cfunc(SIGNATURE, cache=True)
def load_f4(block: Any) -> None:
    q = i8(block)
    _load(f4(q[0]), i8(q[1]), f4(q[2]), q[3])


@cfunc(SIGNATURE, cache=True)
def load_f8(block: Any) -> None:
    q = i8(block)
    _load(f8(q[0]), i8(q[1]), f8(q[2]), q[3])


@cfunc(SIGNATURE, cache=True)
def advance(block: Any) -> None:
    """The next step: position (epoch, step, row, cursor) moves by one step and q[1] rows."""
    q = i8(block)
    position = i8(q[0])
    position[1] += 1
    position[2] += q[1]
    position[3] += 1


@cfunc(SIGNATURE, cache=True)
def accumulate_f4(block: Any) -> None:
    q = i8(block)
    _accumulate(f4(q[0]), f8(q[1]), q[2])


@cfunc(SIGNATURE, cache=True)
def accumulate_f8(block: Any) -> None:
    q = i8(block)
    _accumulate(f8(q[0]), f8(q[1]), q[2])


@cfunc(SIGNATURE, cache=True)
def squares_f4(block: Any) -> None:
    q = i8(block)
    _squares(f4(q[0]), f8(q[1]), q[2])


@cfunc(SIGNATURE, cache=True)
def squares_f8(block: Any) -> None:
    q = i8(block)
    _squares(f8(q[0]), f8(q[1]), q[2])


@cfunc(SIGNATURE, cache=True)
def root_f4(block: Any) -> None:
    q = i8(block)
    _root(f8(q[0]), q[1], q[2], f4(q[3]))


@cfunc(SIGNATURE, cache=True)
def root_f8(block: Any) -> None:
    q = i8(block)
    _root(f8(q[0]), q[1], q[2], f8(q[3]))


@cfunc(SIGNATURE, cache=True)
def many(block: Any) -> None:
    """Every call of a table of (kernel, block of arguments), in order."""
    q = i8(block)
    table = i8(q[0])
    for i in range(q[1]):
        call(table[2 * i], table[2 * i + 1])


@cfunc(SIGNATURE, cache=True)
def lap(block: Any) -> None:
    """total += the nanoseconds since `since`, which becomes now; (clock's address and kind, time, since, total)."""
    q = i8(block)
    time, since, total = i8(q[2]), i8(q[3]), i8(q[4])
    read_clock(q[0], q[1], q[2])
    now = time[0] * 1_000_000_000 + time[1]
    total[0] += now - since[0]
    since[0] = now


_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@_loop
def _philox(key0: Any, key1: Any, number: Any, layer: Any, step: Any, epoch: Any) -> Any:
    """The four words of Philox4x64-10 at the counter (number, layer, step, epoch)."""
    c0, c1, c2, c3 = np.uint64(number), np.uint64(layer), np.uint64(step), np.uint64(epoch)
    k0, k1 = key0, key1
    for _ in range(10):
        h0, l0 = product(_M0, c0)
        h1, l1 = product(_M1, c2)
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@_loop
def _words(
    key0: Any, key1: Any, layer: Any, step: Any, epoch: Any, out: Any, rest: Any, rows: Any, n: Any, move: Any,
    start: Any, row: Any,
) -> None:  # fmt: skip
    """rows × n uint16 from the words of the counters (1 …, layer, step, epoch), the lowest quarter of each word first.

    They are those from number `start` on, in the next row from `row` later on; one counter gives 16. `out` is their
    memory as uint64, rows `move` uint16 apart, and `rest` as uint16, for those that do not come by whole counters.
    """
    for b in range(rows):
        number, skip = 1 + (start + b * row) // 16, (start + b * row) % 16
        at, left = b * move, n
        while left > 0:
            w0, w1, w2, w3 = words = _philox(key0, key1, number, layer, step, epoch)
            if skip == 0 and left >= 16 and start % 4 == 0:  # otherwise out would not lie on whole uint64
                place = at // 4
                out[place], out[place + 1], out[place + 2], out[place + 3] = w0, w1, w2, w3
            else:
                for j in range(skip, min(16, skip + left)):
                    quarter = words[j // 4] >> np.uint64(16 * (j % 4))
                    rest[at + j - skip] = np.uint16(quarter & np.uint64(0xFFFF))
            at, left, number, skip = at + 16 - skip, left - 16 + skip, number + 1, 0


@cfunc(SIGNATURE, cache=True)
def words(block: Any) -> None:
    """Random words of a layer at the place of position (epoch, step)."""
    q = i8(block)
    position, out = i8(q[3]), q[4]
    keys = np.uint64(q[0]), np.uint64(q[1])
    _words(*keys, q[2], position[1], position[0], u8(out), u2(out), q[5], q[6], q[7], q[8], q[9])
