"""Products of few columns, c = a b, by dot products: those of an output layer, which has a column for each output.

In a block of c, vectors that lie along its columns would be all but empty. Here they lie along the rows of a and the
columns of b, and an element of c is the sum of a vector's elements, by halves.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic

from fcnet.backends.numba.pointers import call, f4, f8, i8
from fcnet.backends.numba.product import INDEX, ROWS, VECTORS, Vectors, repeat
from fcnet.backends.numba.store import kept
from fcnet.backends.ops import Array

FEW, LONG = 12, 128
"""Up to so many columns, and from so many products for an element on; below, a step would gain little by it."""


def better(a: Array, b: Array, out: Array) -> bool:
    """Whether out = a b is made by dot products: its bits are others then."""
    together = a.strides[-1] == a.itemsize == b.strides[-2]
    return together and out.shape[-1] <= FEW and a.shape[-1] >= LONG


@intrinsic
def _block(
    typingctx: Any, rows: Any, columns: Any, c: Any, c_at: Any, c_row: Any, a: Any, a_at: Any, a_row: Any,
    b: Any, b_at: Any, b_column: Any, inner: Any,
) -> Any:  # fmt: skip
    """c = a b for ROWS[rows] rows and so many columns, at most VECTORS; each matrix is its pointer, where it starts
    (_at) and how far its rows or columns are apart, in elements."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns, c, c_at, c_row, a, a_at, a_row, b, b_at, b_column, inner = args
        v = Vectors(builder, signature.args[2])
        c, a, b = v.at(c, c_at), v.at(a, a_at), v.at(b, b_at)
        end = builder.append_basic_block("end")
        switch = builder.switch(builder.add(builder.mul(rows, INDEX(VECTORS)), columns), end)
        for number, m in enumerate(ROWS):
            for n in range(1, VECTORS + 1):
                start = builder.append_basic_block(f"dots{m}x{n}")
                switch.add_case(INDEX(number * VECTORS + n), start)
                builder.position_at_end(start)
                sums = _sums(v, m, n, a, a_row, b, b_column, inner)
                for i in range(m):
                    for j in range(n):
                        builder.store(v.sum(sums[i * n + j]), v.at(c, builder.mul(c_row, INDEX(i)), j))
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number = types.int64
    kinds = [number, number, c, number, number, a, number, number, b, number, number, number]
    return types.void(*kinds), code


def _sums(v: Vectors, m: int, n: int, a: Any, a_row: Any, b: Any, b_column: Any, inner: Any) -> list[Any]:
    """For each of m rows and n columns a vector of sums over `inner` products."""
    builder = v.builder
    left = builder.srem(inner, INDEX(v.lanes))

    def add(state: list[Any], mask: Any = None) -> list[Any]:
        """Multiply the next vector of each row by the next of each column."""
        a_now, b_now, *sums = state
        columns = [v.load(v.at(b_now, builder.mul(b_column, INDEX(j))), mask) for j in range(n)]
        for i in range(m):
            row = v.load(v.at(a_now, builder.mul(a_row, INDEX(i))), mask)
            sums = [v.add_product(row, columns[k % n], x) if k // n == i else x for k, x in enumerate(sums)]
        return [v.at(a_now, v.lanes), v.at(b_now, v.lanes), *sums]

    state = repeat(builder, builder.sdiv(inner, INDEX(v.lanes)), [a, b, *[v.zero] * (m * n)], add)
    rest = builder.zext(builder.icmp_signed(">", left, INDEX(0)), INDEX)
    mask = v.mask(left)
    return repeat(builder, rest, state, lambda now: add(now, mask))[2:]


@njit(error_model="numpy")
def _dots(q: Any, c: Any, a: Any, b: Any) -> None:
    """c (rows, columns) = a (rows, inner) b (inner, columns), with what `product.arguments` says in q."""
    c_row, a_row, b_column = q[1], q[3], q[7]
    rows, columns, inner = q[8], q[9], q[10]
    calls, n_calls = i8(q[13]), q[14]
    r, i = 0, 0
    while i < rows:
        while ROWS[r] > rows - i:
            r += 1
        for j in range(0, columns, VECTORS):
            n = min(VECTORS, columns - j)
            _block(r, n, c, i * c_row + j, c_row, a, i * a_row, a_row, b, j * b_column, b_column, inner)
        i += ROWS[r]
    for k in range(n_calls):
        call(calls[2 * k], calls[2 * k + 1])


@cache
@kept
def kernel(dtype: np.dtype[Any]) -> Any:
    """The compiled product of that precision; each is compiled when it is first asked for, which takes seconds once."""
    if dtype == np.float32:

        @cfunc(types.void(types.int64), cache=True)
        def dots_f4(block: Any) -> None:
            q = i8(block)
            _dots(q, f4(q[0]), f4(q[2]), f4(q[5]))

        return dots_f4

    @cfunc(types.void(types.int64), cache=True)
    def dots_f8(block: Any) -> None:
        q = i8(block)
        _dots(q, f8(q[0]), f8(q[2]), f8(q[5]))

    return dots_f8
