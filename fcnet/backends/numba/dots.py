"""Products of few columns, c = a b, by dot products: those of an output layer, which has a column for each output.

In a block of c, vectors that lie along its columns would be all but empty. Here they lie along the rows of a and the
columns of b, and an element of c is the sum of a vector's elements, by halves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import literally, njit, types
from numba.extending import intrinsic

from fcnet.backends.numba import kernels
from fcnet.backends.numba.kernels import F, N
from fcnet.backends.numba.product import INDEX, WIDTH, Vectors, repeat
from fcnet.backends.ops import Ref

FEW, LONG = 12, 128
"""Up to so many columns, and from so many products for an element on; below, a step would gain little by it."""


def better(a: Ref, b: Ref, out: Ref) -> bool:
    """Whether out = a b is made by dot products: its bits are others then."""
    together = a.strides[-1] == 1 == b.strides[-2]
    return together and out.shape[-1] <= FEW and a.shape[-1] >= LONG


@intrinsic(prefer_literal=True)
def _block(
    typingctx: Any, lanes: Any, rows: Any, columns: Any, c: Any, c_at: Any, c_row: Any, a: Any, a_at: Any, a_row: Any,
    b: Any, b_at: Any, b_column: Any, inner: Any,
) -> Any:  # fmt: skip
    """c = a b for the rows at that place of `product.blocks` and so many columns, at most its vectors; each matrix is
    its pointer, where it starts (_at) and how far its rows or columns are apart, in elements."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, rows, columns, c, c_at, c_row, a, a_at, a_row, b, b_at, b_column, inner = args
        v = Vectors(builder, signature.args[3], lanes)
        c, a, b = v.at(c, c_at), v.at(a, a_at), v.at(b, b_at)
        end = builder.append_basic_block("end")
        switch = builder.switch(builder.add(builder.mul(rows, INDEX(v.most)), columns), end)
        for number, m in enumerate(v.rows):
            for n in range(1, v.most + 1):
                start = builder.append_basic_block(f"dots{m}x{n}")
                switch.add_case(INDEX(number * v.most + n), start)
                builder.position_at_end(start)
                sums = _sums(v, m, n, a, a_row, b, b_column, inner)
                for i in range(m):
                    for j in range(n):
                        builder.store(v.sum(sums[i * n + j]), v.at(c, builder.mul(c_row, INDEX(i)), j))
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number = types.int64
    kinds = [lanes, number, number, c, number, number, a, number, number, b, number, number, number]
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
def dots(
    c: F, c_row: N, a: F, a_row: N, a_column: N, b: F, b_row: N, b_column: N, rows: N, columns: N, inner: N,
    pad: F, hold: N, row0: N, row1: N, row2: N, vectors: N, lanes: N,
) -> None:  # fmt: skip
    """c (rows, columns) = a (rows, inner) b (inner, columns), as `product.product`; a's columns and b's rows lie side
    by side, and nothing is copied."""
    i = 0
    while i < rows:
        r, high = 0, row0
        if high > rows - i:
            r, high = 1, row1
        if high > rows - i:
            r, high = 2, row2
        if high > rows - i:
            r, high = 3, 1
        for j in range(0, columns, vectors):
            n = min(vectors, columns - j)
            _block(
                literally(lanes), r, n, c, i * c_row + j, c_row, a, i * a_row, a_row, b, j * b_column, b_column, inner
            )
        i += high


def place(dtype: np.dtype[Any], width: int = WIDTH) -> int:
    """The address of the compiled kernel of that precision, for vectors of so many bytes."""
    return kernels.place(dots, dtype, width // dtype.itemsize)
