"""The few kernels that are neither formula nor product: gathers, lookups, sums, random words.

A kernel is a function here, or in another module, whose annotations are its signature: what calls it has its arguments
by their names, and compiled code has them in their order in a block of int64.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numba.core import config

from fcnet.backends.numba import store
from fcnet.backends.numba.pointers import i8, wide_product
from fcnet.backends.numba.printer import POINTERS
from fcnet.backends.numba.system import read_clock

# What an argument is: a pointer to numbers of the step's precision, to others of so many bytes, or a number.
F: TypeAlias = Any
F8: TypeAlias = Any
I4: TypeAlias = Any
I8: TypeAlias = Any
U2: TypeAlias = Any
U8: TypeAlias = Any
N: TypeAlias = Any

TEXT = '''"""A kernel printed by fcnet."""

from numba import cfunc, types

from {module} import {names}
from fcnet.backends.numba.pointers import f4, f8, i4, i8, u2, u8


@cfunc(types.void(types.int64), cache=True, **{options})
def kernel(at):
    q = i8(at)
{lines}
'''


@cache
def place(body: Any, dtype: np.dtype[Any], *literals: int) -> int:
    """The address of the kernel for a precision, compiled when it is first asked for; the last of its arguments may be
    numbers that are compiled in.

    Its lines are those of the body: a function that it called would be optimised and made twice, and apart.
    """
    kinds = {"F": POINTERS[dtype] + "({})", "N": "{}"}
    wanted = [*inspect.signature(body.py_func).parameters.values()]
    names = [each.name for each in wanted]
    wanted = wanted[: len(wanted) - len(literals)]
    casts = [kinds.get(each.annotation, f"{each.annotation.lower()}({{}})") for each in wanted]
    given = [*(cast.format(f"q[{i}]") for i, cast in enumerate(casts)), *map(str, literals)]
    function: Any = ast.parse(inspect.getsource(body.py_func)).body[0]
    lines = [f"{name} = {value}" for name, value in zip(names, given, strict=True)]
    lines += ast.unparse(function.body[1:]).splitlines()  # without what it says of itself
    used = [name for name in body.py_func.__code__.co_names if name in body.py_func.__globals__]
    about = {"module": body.py_func.__module__, "names": ", ".join(used or ["njit"]), "options": body.targetoptions}
    text = TEXT.format(**about, lines="\n".join(f"    {line}" for line in lines))
    with _less(bool(literals)):
        return int(store.load(text).kernel.address)


@contextlib.contextmanager
def _less(wanted: bool) -> Iterator[None]:
    """Inside, LLVM optimises less, if that is wanted: of loops that go by vectors and are unrolled as they stand it
    makes nothing better, in twice the time."""
    before = config.OPT
    config.OPT = type(before)(min(before, 1)) if wanted else before
    try:
        yield
    finally:
        config.OPT = before


def ordered(body: Any, given: Mapping[str, Any]) -> Sequence[Any]:
    """Arguments by name in the order of a kernel's own."""
    names = [*inspect.signature(body.py_func).parameters]
    assert set(names) == set(given), f"{body.py_func.__name__} takes {names}, not {[*given]}"
    return [given[name] for name in names]


# Pointers have their types, so that each body serves both precisions. Without error_model="numpy" a division might
# raise, and no loop around it would be vectorised.
_loop = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_loop
def gather(x: F, order: I8, position: I8, out: F, rows: N, n: N) -> None:
    """out (rows, n) = x[order[start :][:rows]], start = position[2]."""
    for b in range(rows):
        source, target = order[position[2] + b] * n, b * n
        for j in range(n):
            out[target + j] = x[source + j]


@_loop
def gather_one_hot(labels: I8, order: I8, position: I8, out: F, rows: N, n: N) -> None:
    """out (rows, n) = one-hot rows of labels[order[start :][:rows]], start = position[2]."""
    start = position[2]
    for i in range(rows * n):
        out[i] = 0
    for b in range(rows):
        out[b * n + labels[order[start + b]]] = 1


@_loop
def take(table: F, codes: I4, first: I8, out: F, M: N, B: N, C: N, d: N, member: N, out_m: N, out_b: N) -> None:
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
def scatter_add(
    δ: F, codes: I4, first: I8, out: F, M: N, B: N, C: N, d: N, δ_m: N, δ_b: N, member: N, start: N, columns: N
) -> None:
    """out (M, K, d) = the parts of δ (M, B, C · d) that belong to each level of so many columns from `start` on, added
    up row by row; what no code names of their rows, which `first` (C + 1,) tells apart, is 0."""
    for m in range(M):
        for j in range(first[start] * d, first[start + columns] * d):
            out[m * member + j] = 0
        for column in range(start, start + columns):
            for b in range(B):
                code, source = codes[b * C + column], m * δ_m + b * δ_b + column * d
                target = m * member + (first[column] + max(code, 0)) * d
                if code >= 0:
                    for j in range(d):
                        out[target + j] += δ[source + j]


@_loop
def load(table: F, position: I8, out: F, n: N) -> None:
    """out (n,) = table[position[3]]."""
    for j in range(n):
        out[j] = table[position[3] * n + j]


@njit(error_model="numpy", fastmath={"reassoc"})
def accumulate(values: F, total: F8, n: N) -> None:
    """total += Σ values, in float64."""
    part = 0.0
    for i in range(n):
        part += np.float64(values[i])
    total[0] += part


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _square(g: Any, at: Any, n: Any) -> Any:
    part = 0.0
    for i in range(at, at + n):
        part += np.float64(g[i]) * np.float64(g[i])
    return part


@_loop
def squares(g: F, out: F8, start: N, n: N, block: N) -> None:
    """out[8 i] = Σ g² over block i, in float64, for the blocks of so many elements that g's from `start` on, n of them,
    consist of; the last may be shorter."""
    for at in range(start, start + n, block):
        out[at // block * 8] = _square(g, at, min(block, start + n - at))


@_loop
def root(squares: F8, blocks: N, out: F) -> None:
    """out = √ of the sum over so many blocks."""
    part = 0.0
    for i in range(blocks):
        part += squares[8 * i]
    out[0] = np.sqrt(part)


@_loop
def advance(position: I8, rows: N) -> None:
    """The next step: position (epoch, step, row, cursor) moves by one step and so many rows."""
    position[1] += 1
    position[2] += rows
    position[3] += 1


@_loop
def lap(clock: N, kind: N, time: N, since: I8, total: I8) -> None:
    """total += the nanoseconds since `since`, which becomes now, by that kind of clock; `time` is the address of two
    int64 to read it into."""
    read_clock(clock, kind, time)
    now = i8(time)[0] * 1_000_000_000 + i8(time)[1]
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
        h0, l0 = wide_product(_M0, c0)
        h1, l1 = wide_product(_M1, c2)
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


@_loop
def words(key0: N, key1: N, layer: N, position: I8, out: U8, rest: U2, n: N, start: N) -> None:
    """out = n uint16 of the words of the counters (1 …, layer, step, epoch), the lowest quarter of each word first.

    They are those from number `start` on, with which a counter begins, as one does every 16. `rest` is the same memory,
    for what is left of the last one.
    """
    for i in range((n + 15) // 16):
        w0, w1, w2, w3 = drawn = _philox(
            np.uint64(key0), np.uint64(key1), 1 + start // 16 + i, layer, position[1], position[0]
        )
        if 16 * i + 16 <= n:
            out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3] = w0, w1, w2, w3
        else:
            for j in range(n - 16 * i):
                quarter = drawn[j // 4] >> np.uint64(16 * (j % 4))
                rest[16 * i + j] = np.uint16(quarter & np.uint64(0xFFFF))
