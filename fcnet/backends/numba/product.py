"""Products of matrices: c = a b, in blocks of c that stay in registers while they are summed up.

The products of a net are small and their factors mostly lie in the cache; a BLAS that first copies both of them loses
up to a third of its time with that. Here b is copied where its rows do not lie in one piece (by Wᵀ, in the forward
pass), and either factor where it is large: then its rows, some kilobytes apart, would drive one another out of the
cache. The blocks are those of Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008.

An element of c is the sum of its products in their order, in parts of `DEPTH`. It depends on a row of a and a column of
b alone: not on the batch that the row is in, nor on how many threads share the work.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fcnet.backends.base import Array
from fcnet.backends.numba.pointers import f4, f8, i8

_FEATURES = binding.get_host_cpu_features()
_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16  # of a vector register
ROWS, VECTORS = ((4, 3, 2, 1), (3, 2, 1)) if _BYTES == 32 else ((6, 4, 2, 1), (4, 2, 1))
"""The rows and the vectors of columns that a block of c may have, largest first: as many as there are registers for
(16 of them in AVX2, otherwise 32), beside a row of b and an element of a."""

DEPTH = 256
"""How many products are summed up in registers before they go to c."""

WIDTH = 512
"""How many columns of b are worked off together: DEPTH · WIDTH elements stay in the second cache."""

LARGE = 2**17
"""From so many elements on a factor is copied."""

_INDEX, _INT = ir.IntType(64), ir.IntType(32)


def lanes(dtype: np.dtype[Any]) -> int:
    """How many elements are in a vector register."""
    return _BYTES // dtype.itemsize


def pad(dtype: np.dtype[Any]) -> int:
    """The elements of memory that a product wants for its copies."""
    return DEPTH * (WIDTH + lanes(dtype)) + DEPTH * ROWS[0] + lanes(dtype) * (ROWS[0] + 1)


class _Vectors:
    """Loads and stores of vectors of what a pointer points to, in LLVM's terms; offsets are in elements."""

    def __init__(self, builder: Any, pointer: Any) -> None:
        self.builder = builder
        self.item = ir.FloatType() if pointer.dtype == types.float32 else ir.DoubleType()
        self.bytes = pointer.dtype.bitwidth // 8
        self.lanes = _BYTES // self.bytes
        self.type = ir.VectorType(self.item, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """The pointer moved by the sum of the offsets."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_INDEX(offset) if isinstance(offset, int) else offset])
        return pointer

    def load(self, pointer: Any) -> Any:
        """The vector there."""
        return self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()), align=self.bytes)

    def store(self, vector: Any, pointer: Any) -> None:
        """Put the vector there."""
        self.builder.store(vector, self.builder.bitcast(pointer, self.type.as_pointer()), align=self.bytes)

    def spread(self, pointer: Any) -> Any:
        """The element there, in every lane."""
        nothing = ir.Constant(self.type, ir.Undefined)
        one = self.builder.insert_element(nothing, self.builder.load(pointer, align=self.bytes), _INT(0))
        return self.shuffle(one, nothing, [0] * self.lanes)

    def shuffle(self, one: Any, other: Any, order: list[int]) -> Any:
        """A vector of elements of both, which are numbered through."""
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, self.lanes), order))

    def add_product(self, x: Any, y: Any, sum_: Any) -> Any:
        """sum + x y, in one instruction where there is one."""
        kind = ir.FunctionType(self.type, [self.type] * 3)
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [x, y, sum_])


@intrinsic
def _block(
    typingctx: Any, rows: Any, vectors: Any, c: Any, c_row: Any, a: Any, a_at: Any, a_row: Any, a_column: Any,
    b: Any, b_at: Any, b_row: Any, depth: Any, first: Any, c_at: Any,
) -> Any:  # fmt: skip
    """c = a b, or c += a b if not `first`, for a block of ROWS[rows] × VECTORS[vectors] · lanes elements.

    Each matrix is its pointer, where it starts (_at) and how far its rows and columns are apart, in elements; b's
    columns lie side by side, as c's do.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, vectors, c, c_row, a, a_at, a_row, a_column, b, b_at, b_row, depth, first, c_at = args
        v = _Vectors(builder, signature.args[2])
        c, a, b = v.at(c, c_at), v.at(a, a_at), v.at(b, b_at)
        end = builder.append_basic_block("end")
        which = builder.add(builder.mul(rows, _INDEX(len(VECTORS))), vectors)
        switch = builder.switch(which, end)
        for number, (m, n) in enumerate((m, n) for m in ROWS for n in VECTORS):
            start = builder.append_basic_block(f"block{m}x{n}")
            switch.add_case(_INDEX(number), start)
            builder.position_at_end(start)
            sums = _sums(v, m, n, a, a_row, a_column, b, b_row, depth)
            with builder.if_else(first) as (new, old):
                for branch, adds in ((new, False), (old, True)):
                    with branch:
                        for i in range(m):
                            for j in range(n):
                                place = v.at(c, builder.mul(c_row, _INDEX(i)), v.lanes * j)
                                total = builder.fadd(v.load(place), sums[i][j]) if adds else sums[i][j]
                                v.store(total, place)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number, flag = types.int64, types.boolean
    kinds = [number, number, c, number, a, number, number, number, b, number, number, number, flag, number]
    return types.void(*kinds), code


def _sums(v: _Vectors, m: int, n: int, a: Any, a_row: Any, a_column: Any, b: Any, b_row: Any, depth: Any) -> Any:
    """The sums of m rows and n vectors over `depth` products, in registers."""
    builder = v.builder
    start = builder.block
    moves = [builder.mul(a_row, _INDEX(i)) for i in range(m)]
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)

    def phi(value: Any) -> Any:
        """A variable of the loop that starts with the value."""
        made = builder.phi(value.type)
        made.add_incoming(value, start)
        return made

    left, a_now, b_now = phi(depth), phi(a), phi(b)
    sums = [[phi(v.zero) for _ in range(n)] for _ in range(m)]
    row = [v.load(v.at(b_now, v.lanes * j)) for j in range(n)]
    more = []
    for i in range(m):
        element = v.spread(v.at(a_now, moves[i]))
        more.append([v.add_product(element, row[j], sums[i][j]) for j in range(n)])
    fewer = builder.sub(left, _INDEX(1))
    left.add_incoming(fewer, loop)
    a_now.add_incoming(v.at(a_now, a_column), loop)
    b_now.add_incoming(v.at(b_now, b_row), loop)
    for i in range(m):
        for j in range(n):
            sums[i][j].add_incoming(more[i][j], loop)
    builder.cbranch(builder.icmp_signed(">", fewer, _INDEX(0)), loop, done)
    builder.position_at_end(done)
    return more


@intrinsic
def _copy(typingctx: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Copy a vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = _Vectors(builder, signature.args[0])
        v.store(v.load(v.at(args[0], args[1])), v.at(args[2], args[3]))
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), code


@intrinsic
def _transpose(typingctx: Any, source: Any, at: Any, row: Any, target: Any, to: Any, step: Any) -> Any:
    """Copy a square of lanes × lanes elements, transposed; its rows are `row` apart, those of the copy `step`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, at, row, target, to, step = args
        v = _Vectors(builder, signature.args[0])
        square = [v.load(v.at(source, at, builder.mul(row, _INDEX(i)))) for i in range(v.lanes)]
        half = v.lanes // 2
        low, high = ([x for i in part for x in (i, v.lanes + i)] for part in (range(half), range(half, v.lanes)))
        for _ in range(half.bit_length()):  # each round lays the halves of the square between each other
            pairs = [(square[i], square[half + i]) for i in range(half)]
            square = [v.shuffle(*pair, order) for pair in pairs for order in (low, high)]
        for i, vector in enumerate(square):
            v.store(vector, v.at(target, to, builder.mul(step, _INDEX(i))))
        return context.get_dummy_value()

    number = types.int64
    return types.void(source, number, number, target, number, number), code


_loop = njit(error_model="numpy")


@_loop
def _pack(b: Any, at: Any, row: Any, column: Any, depth: Any, n: Any, wide: Any, pad: Any, to: Any, lanes: Any) -> None:
    """Copy depth × n elements so that rows of `wide` lie one after another; what is beyond n is 0."""
    whole_rows, whole_columns = depth // lanes * lanes, n // lanes * lanes
    if column == 1:
        for k in range(depth):
            for j in range(0, whole_columns, lanes):
                _copy(b, at + k * row + j, pad, to + k * wide + j)
    elif row == 1:
        for j in range(0, whole_columns, lanes):
            for k in range(0, whole_rows, lanes):
                _transpose(b, at + j * column + k, column, pad, to + k * wide + j, wide)
    else:
        whole_columns = 0
    for k in range(whole_rows if row == 1 and column != 1 else depth, depth):
        for j in range(whole_columns):
            pad[to + k * wide + j] = b[at + k * row + j * column]
    for k in range(depth):
        for j in range(whole_columns, n):
            pad[to + k * wide + j] = b[at + k * row + j * column]
        for j in range(n, wide):
            pad[to + k * wide + j] = 0


@_loop
def _pack_rows(
    a: Any, at: Any, row: Any, column: Any, m: Any, left: Any, depth: Any, pad: Any, to: Any, lanes: Any
) -> None:
    """Copy m rows of depth elements, column after column; `left` rows are there."""
    if row == 1 and m <= lanes <= left:
        for k in range(depth):  # what is beyond m is written over by the next column
            _copy(a, at + k * column, pad, to + k * m)
    else:
        for k in range(depth):
            for i in range(m):
                pad[to + k * m + i] = a[at + k * column + i * row]


@_loop
def _product(
    c: Any, c_row: Any, a: Any, a_row: Any, a_column: Any, b: Any, b_row: Any, b_column: Any,
    rows: Any, columns: Any, inner: Any, lanes: Any, pad: Any,
) -> None:  # fmt: skip
    """c (rows, columns) = a (rows, inner) b (inner, columns)."""
    last = len(VECTORS) - 1
    copies_b = b_column != 1 or inner * columns > LARGE
    copies_a = a_column != 1 and rows * inner > LARGE
    a_copy = DEPTH * (WIDTH + lanes)
    corner = a_copy + DEPTH * ROWS[0] + lanes
    for k in range(0, inner, DEPTH):
        depth, first = min(DEPTH, inner - k), k == 0
        for left in range(0, columns, WIDTH):
            n = min(WIDTH, columns - left)
            at, j = k * b_row + left * b_column, 0
            while j < n:  # the blocks' columns: whole ones, then whole vectors, then what is left
                v = 0
                while v < last and VECTORS[v] * lanes > n - j:
                    v += 1
                wide = VECTORS[v] * lanes
                if copies_b or wide > n - j:
                    _pack(b, at + j * b_column, b_row, b_column, depth, min(wide, n - j), wide, pad, j * depth, lanes)
                j += wide
            i = 0
            while i < rows:
                r = 0
                while ROWS[r] > rows - i:
                    r += 1
                m = ROWS[r]
                x, x_at, x_row, x_column = a, i * a_row + k * a_column, a_row, a_column
                if copies_a:
                    _pack_rows(a, x_at, a_row, a_column, m, rows - i, depth, pad, a_copy, lanes)
                    x, x_at, x_row, x_column = pad, a_copy, 1, m
                j = 0
                while j < n:
                    v = 0
                    while v < last and VECTORS[v] * lanes > n - j:
                        v += 1
                    wide = VECTORS[v] * lanes
                    y, y_at, y_row = b, at + j, b_row
                    if copies_b or wide > n - j:
                        y, y_at, y_row = pad, j * depth, wide
                    z, z_at, z_row, new = c, i * c_row + left + j, c_row, first
                    if wide > n - j:  # not all of a vector is wanted
                        z, z_at, z_row, new = pad, corner, wide, True
                    _block(r, v, z, z_row, x, x_at, x_row, x_column, y, y_at, y_row, depth, new, z_at)
                    if wide > n - j:
                        for row in range(m):
                            for column in range(n - j):
                                place = (i + row) * c_row + left + j + column
                                part = pad[corner + row * wide + column]
                                c[place] = part if first else c[place] + part
                    j += wide
                i += m


@cache
def kernel(dtype: np.dtype[Any]) -> Any:
    """The compiled product of that precision; each is compiled when it is first asked for, which takes seconds once."""
    if dtype == np.float32:

        @cfunc(types.void(types.int64), cache=True)
        def product_f4(block: Any) -> None:
            q = i8(block)
            _product(f4(q[0]), q[1], f4(q[2]), q[3], q[4], f4(q[5]), q[6], q[7], q[8], q[9], q[10], q[11], f4(q[12]))

        return product_f4

    @cfunc(types.void(types.int64), cache=True)
    def product_f8(block: Any) -> None:
        q = i8(block)
        _product(f8(q[0]), q[1], f8(q[2]), q[3], q[4], f8(q[5]), q[6], q[7], q[8], q[9], q[10], q[11], f8(q[12]))

    return product_f8


def arguments(a: Array, b: Array, out: Array, pad: Array) -> list[Any]:
    """What the kernel of out = a b wants in its block; out's columns lie side by side."""
    size = out.itemsize
    (a_row, a_column), (b_row, b_column) = ([step // size for step in x.strides] for x in (a, b))
    steps = [out, out.strides[0] // size, a, a_row, a_column, b, b_row, b_column]
    return [*steps, *out.shape, a.shape[1], lanes(out.dtype), pad]
