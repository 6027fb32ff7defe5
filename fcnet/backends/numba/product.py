"""Products of matrices: c = a b, in blocks of c that stay in registers while they are summed up.

The products of a net are small and their factors mostly lie in the cache; a BLAS that first copies both of them loses
up to a third of its time with that. Here b is copied where its rows do not lie in one piece (by Wᵀ, in the forward
pass), and either factor where it is large: then its rows, some kilobytes apart, would drive one another out of the
cache. The blocks are those of Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008. A panel
of b is worked off to its end, or as far as a, which comes again with every panel, stays in the second cache: so the
sums of c are mostly in the cache when the next part is added to them.

An element of c is the sum of its products in their order, in parts of at most `DEPTH`, about equal. It depends on a
row of a and a column of b alone: not on the batch that the row is in, nor on how many threads share the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import literally, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fcnet.backends.numba import kernels
from fcnet.backends.numba.denormals import X86
from fcnet.backends.numba.kernels import F, N
from fcnet.backends.numba.pointers import call, i8
from fcnet.backends.ops import Ref

_FEATURES = binding.get_host_cpu_features()

WIDTHS = 16, 32, 64
"""The bytes that a vector register may have."""

WIDTH = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
"""Those that it has here."""

DEPTH = 144
"""How many products at most are summed up in registers before they go to c; a panel's rows of b, so many, stay in the
first cache."""

BAND = 1024
"""How many rows of a are worked off together."""

HELD = 2**20
"""How many bytes of them, at most, panel after panel of b meets: they stay in the second cache."""

UNROLL = 4
"""How many products of the largest block a loop makes in one round: its other instructions, one in six, would be felt
where two threads share a core's units."""

LARGE = 2**17
"""From so many elements on a factor is copied, and b, which is copied piece by piece, fetched ahead."""

VAST = 2**22
"""From so many elements on c is fetched ahead."""

INDEX, _INT = ir.IntType(64), ir.IntType(32)


def blocks(width: int) -> tuple[tuple[int, int, int, int], int]:
    """The rows that a block of c may have, most first, and the vectors of columns that it has at most: as many as there
    are registers for (on x86 16 of them before AVX-512, otherwise 32), beside a row of b and an element of a."""
    return ((4, 3, 2, 1), 3) if X86 and width < 64 else ((6, 4, 2, 1), 4)


def pad(dtype: np.dtype[Any]) -> int:
    """The elements of memory that a product wants for its copies, whatever the width."""
    return (DEPTH * 4 + 1) * WIDTHS[-1] // dtype.itemsize + max(HELD // dtype.itemsize, DEPTH * BAND)


class Vectors:
    """Loads and stores of vectors of so many of what a pointer points to, in LLVM's terms; offsets are in elements."""

    def __init__(self, builder: Any, pointer: Any, lanes: Any) -> None:
        self.builder = builder
        self.item = ir.FloatType() if pointer.dtype == types.float32 else ir.DoubleType()
        self.bytes = pointer.dtype.bitwidth // 8
        self.lanes: int = lanes.literal_value
        self.rows, self.most = blocks(self.lanes * self.bytes)
        self.type = ir.VectorType(self.item, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """The pointer moved by the sum of the offsets."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [INDEX(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, value: Any, number: int) -> Any:
        """The product of an offset and a number."""
        return value * number if isinstance(value, int) else self.builder.mul(value, INDEX(number))

    def load(self, pointer: Any, mask: Any = None) -> Any:
        """The vector there, or those of its elements that the mask has; the others are 0."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            return self.builder.load(place, align=self.bytes)
        return self._masked("load", self.type, place, _INT(self.bytes), mask, self.zero)

    def store(self, vector: Any, pointer: Any, mask: Any = None) -> None:
        """Put the vector there, or those of its elements that the mask has."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            self.builder.store(vector, place, align=self.bytes)
        else:
            self._masked("store", ir.VoidType(), vector, place, _INT(self.bytes), mask)

    def _masked(self, name: str, result: Any, *args: Any) -> Any:
        kind = f"v{self.lanes}f{8 * self.bytes}"
        pointer = "p0" if binding.llvm_version_info[0] > 14 else f"p0{kind}"
        function = ir.FunctionType(result, [arg.type for arg in args])
        name = f"llvm.masked.{name}.{kind}.{pointer}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), args)

    def mask(self, count: Any) -> Any:
        """The first elements, so many."""
        numbers = ir.VectorType(INDEX, self.lanes)
        counts = self.everywhere(count, numbers)
        return self.builder.icmp_signed("<", ir.Constant(numbers, [*range(self.lanes)]), counts)

    def spread(self, pointer: Any) -> Any:
        """The element there, in every lane."""
        return self.everywhere(self.builder.load(pointer, align=self.bytes), self.type)

    def everywhere(self, value: Any, kind: Any) -> Any:
        """A vector of that type with the value in every lane."""
        nothing = ir.Constant(kind, ir.Undefined)
        return self.shuffle(self.builder.insert_element(nothing, value, _INT(0)), nothing, [0] * self.lanes)

    def shuffle(self, one: Any, other: Any, order: list[int]) -> Any:
        """A vector of elements of both, which are numbered through."""
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INT, self.lanes), order))

    def sum(self, vector: Any) -> Any:
        """The sum of a vector's elements: of its halves, of the halves of that, and so on."""
        half = self.lanes // 2
        while half:
            order = [*range(half, 2 * half), *[0] * (self.lanes - half)]
            vector = self.builder.fadd(vector, self.shuffle(vector, vector, order))
            half //= 2
        return self.builder.extract_element(vector, _INT(0))

    def add_product(self, x: Any, y: Any, sum_: Any) -> Any:
        """sum + x y, in one instruction where there is one."""
        kind = ir.FunctionType(self.type, [self.type] * 3)
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [x, y, sum_])


@intrinsic(prefer_literal=True)
def _block(
    typingctx: Any, lanes: Any, rows: Any, vectors: Any, c: Any, c_row: Any, a: Any, a_at: Any, a_row: Any,
    a_column: Any, b: Any, b_at: Any, b_row: Any, depth: Any, first: Any, c_at: Any, count: Any,
) -> Any:  # fmt: skip
    """c = a b, or c += a b if not `first`, for a block of the rows at that place of `blocks` and `count` columns, which
    are so many `vectors`, the last perhaps in part; 0 stands for as many whole ones as there can be.

    Each matrix is its pointer, where it starts (_at) and how far its rows and columns are apart, in elements; b's
    columns lie side by side, as c's do.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, rows, vectors, c, c_row, a, a_at, a_row, a_column, b, b_at, b_row, depth, first, c_at, count = args
        v = Vectors(builder, signature.args[3], lanes)
        ROWS, VECTORS = v.rows, v.most
        c, a, b = v.at(c, c_at), v.at(a, a_at), v.at(b, b_at)
        end = builder.append_basic_block("end")
        cases: list[tuple[int, int, Any, Any, int]]
        cases = [(m, n, a_row, a_column, 1) for m in ROWS for n in range(VECTORS + 1)]
        cases[0] = (ROWS[0], 0, a_row, 1, UNROLL)  # the largest block: either of a's steps is 1
        cases.append((ROWS[0], 0, 1, a_column, UNROLL))
        which = builder.add(builder.mul(rows, INDEX(VECTORS + 1)), vectors)
        largest = builder.icmp_signed("==", which, INDEX(0))
        by_columns = builder.and_(largest, builder.icmp_signed("!=", a_column, INDEX(1)))
        switch = builder.switch(builder.select(by_columns, INDEX(len(cases) - 1), which), end)
        for number, (m, part, row, column, unroll) in enumerate(cases):
            start = builder.append_basic_block(f"block{m}x{part}")
            switch.add_case(INDEX(number), start)
            builder.position_at_end(start)
            n = part or VECTORS
            masks = [None] * n
            if part:
                masks[-1] = v.mask(builder.sub(count, INDEX((n - 1) * v.lanes)))
            places = [[v.at(c, builder.mul(c_row, INDEX(i)), v.lanes * j) for j in range(n)] for i in range(m)]
            sums = _sums(v, m, masks, a, row, column, b, b_row, depth, unroll)
            with builder.if_else(first) as (new, old):
                for branch, adds in ((new, False), (old, True)):
                    with branch:
                        whole = [(sums[i][j], places[i][j], masks[j]) for i in range(m) for j in range(n)]
                        if adds:  # all are loaded before any is stored: stores hold up loads at equal places of pages
                            whole = [(builder.fadd(v.load(at, mask), x), at, mask) for x, at, mask in whole]
                        for x, at, mask in whole:
                            v.store(x, at, mask)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    number, flag = types.int64, types.boolean
    kinds = [lanes, number, number, c, number, a, number, number, number, b]
    kinds += [number, number, number, flag, number, number]
    return types.void(*kinds), code


def _sums(
    v: Vectors, m: int, masks: Any, a: Any, a_row: Any, a_column: Any, b: Any, b_row: Any, depth: Any, unroll: int
) -> list[list[Any]]:
    """The sums of m rows and a vector for each of the masks over `depth` products, in registers.

    So many products are written out in the loop. A step of a that is the number 1 becomes part of its instructions.
    """
    builder, n = v.builder, len(masks)
    starts = range(0, m, 3)  # an instruction reaches a place, and those a step and two steps away

    def add(state: list[Any], times: int) -> list[Any]:
        """Multiply the next columns of a by the next rows of b."""
        *places, b_now = state[: len(starts) + 1]
        sums = state[len(places) + 1 :]
        for _ in range(times):
            row = [v.load(v.at(b_now, v.lanes * j), masks[j]) for j in range(n)]
            for i in range(m):
                element = v.spread(v.at(places[i // 3], v.times(a_row, i % 3)))
                sums = [v.add_product(element, row[k % n], x) if k // n == i else x for k, x in enumerate(sums)]
            places, b_now = [v.at(place, a_column) for place in places], v.at(b_now, b_row)
        return [*places, b_now, *sums]

    state = [*[v.at(a, v.times(a_row, i)) for i in starts], b, *[v.zero] * (m * n)]
    if unroll > 1:
        state = repeat(builder, builder.sdiv(depth, INDEX(unroll)), state, lambda now: add(now, unroll))
        depth = builder.srem(depth, INDEX(unroll))
    state = repeat(builder, depth, state, lambda now: add(now, 1))
    return [state[-n * (m - i) :][:n] for i in range(m)]


def repeat(builder: Any, times: Any, state: list[Any], change: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """The values after so many changes, perhaps none: a loop."""
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    variables = [builder.phi(value.type) for value in (times, *state)]
    for variable, value in zip(variables, (times, *state), strict=True):
        variable.add_incoming(value, before)
    left, *now = variables
    builder.cbranch(builder.icmp_signed(">", left, INDEX(0)), body, after)
    builder.position_at_end(body)
    for variable, value in zip(variables, (builder.sub(left, INDEX(1)), *change(now)), strict=True):
        variable.add_incoming(value, body)
    builder.branch(head)
    builder.position_at_end(after)
    return now


@intrinsic(prefer_literal=True)
def _copy(typingctx: Any, lanes: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Copy a vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = Vectors(builder, source, lanes)
        v.store(v.load(v.at(args[1], args[2])), v.at(args[3], args[4]))
        return context.get_dummy_value()

    return types.void(lanes, source, types.int64, target, types.int64), code


@intrinsic
def _fetch(typingctx: Any, source: Any, at: Any) -> Any:
    """Have the cache line there fetched into the second cache."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        name = f"llvm.prefetch.{'p0' if binding.llvm_version_info[0] > 14 else 'p0i8'}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [place, _INT(0), _INT(2), _INT(1)])  # to be read, from the second cache on, as data
        return context.get_dummy_value()

    return types.void(source, types.int64), code


@intrinsic(prefer_literal=True)
def _transpose(typingctx: Any, lanes: Any, source: Any, at: Any, row: Any, target: Any, to: Any, step: Any) -> Any:
    """Copy a square of lanes × lanes elements, transposed; its rows are `row` apart, those of the copy `step`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, source, at, row, target, to, step = args
        v = Vectors(builder, signature.args[1], lanes)
        square = [v.load(v.at(source, at, builder.mul(row, INDEX(i)))) for i in range(v.lanes)]
        half = v.lanes // 2
        low, high = ([x for i in part for x in (i, v.lanes + i)] for part in (range(half), range(half, v.lanes)))
        for _ in range(half.bit_length()):  # each round lays the halves of the square between each other
            pairs = [(square[i], square[half + i]) for i in range(half)]
            square = [v.shuffle(*pair, order) for pair in pairs for order in (low, high)]
        for i, vector in enumerate(square):
            v.store(vector, v.at(target, to, builder.mul(step, INDEX(i))))
        return context.get_dummy_value()

    number = types.int64
    return types.void(lanes, source, number, number, target, number, number), code


_loop = njit(error_model="numpy")


@_loop
def _pack(b: Any, at: Any, row: Any, column: Any, depth: Any, n: Any, pad: Any, lanes: Any) -> None:
    """Copy depth × n elements to the start of the pad, row after row."""
    whole, high = 0, 0  # so many columns, and rows, go by vectors
    if column == 1:
        whole, high = n // lanes * lanes, depth
        for k in range(depth):
            for j in range(0, whole, lanes):
                _copy(literally(lanes), b, at + k * row + j, pad, k * n + j)
    elif row == 1 and depth >= lanes:
        whole, high = n // lanes * lanes, depth
        for j in range(0, whole, lanes):
            for start in range(0, depth, lanes):
                k = min(start, depth - lanes)  # the last rows may be copied twice
                _transpose(literally(lanes), b, at + j * column + k, column, pad, k * n + j, n)
    for k in range(depth):
        for j in range(whole if k < high else 0, n):
            pad[k * n + j] = b[at + k * row + j * column]


@_loop
def _pack_rows(
    a: Any, at: Any, row: Any, column: Any, m: Any, left: Any, depth: Any, pad: Any, to: Any, lanes: Any
) -> None:
    """Copy m rows of depth elements, one after another or, where a lies so, column after column; `left` are there."""
    if column == 1 and depth >= lanes:
        for i in range(m):
            for start in range(0, depth, lanes):
                k = min(start, depth - lanes)
                _copy(literally(lanes), a, at + i * row + k, pad, to + i * depth + k)
    elif row == 1 and m <= lanes <= left:
        for k in range(depth):  # what is beyond m is written over by the next column
            _copy(literally(lanes), a, at + k * column, pad, to + k * m)
    else:
        for i in range(m):
            for k in range(depth):
                pad[to + (i * depth + k if column == 1 else k * m + i)] = a[at + k * column + i * row]


@_loop
def _fetch_rows(source: Any, at: Any, step: Any, rows: Any, long: Any, lanes: Any) -> None:
    """Have so many rows of so many elements fetched."""
    for i in range(rows):
        for k in range(0, long, lanes):
            _fetch(source, at + i * step + k)


@_loop
def _share(n: Any, most: Any, grain: Any) -> Any:
    """How much of n a part has: as few parts as there may be with `most` in each, about equal, and of whole grains."""
    if n <= most:
        return n
    grains = -(-n // grain)
    parts = -(-grains // (most // grain))
    return min(n, -(-grains // parts) * grain)


@_loop
def product(
    c: F, c_row: N, a: F, a_row: N, a_column: N, b: F, b_row: N, b_column: N, rows: N, columns: N, inner: N,
    pad: F, hold: N, row0: N, row1: N, row2: N, vectors: N, lanes: N,
) -> None:  # fmt: skip
    """c (rows, columns) = a (rows, inner) b (inner, columns); a _row or _column is how far they are apart, in elements.

    `pad` is memory for copies, of which a's takes up to `hold` elements. Blocks have `row0`, `row1` or `row2` rows, or
    one, and as many `vectors` of so many `lanes`, a number that is compiled in.
    """
    widest = vectors * lanes
    copies_a = (rows * inner > LARGE and columns > 2 * widest) or (a_row != 1 and a_column != 1)
    copies_b = b_column != 1 or inner * columns > LARGE
    fetches_b, fetches_c = inner * columns > LARGE, rows * columns > VAST
    copy = DEPTH * widest
    deep = _share(inner, DEPTH, UNROLL)
    held = inner  # so many columns of a are met by all panels before the next ones are
    if deep < inner:
        held = _share(-(-inner // deep), max(1, hold // (deep * min(rows, BAND))), 1) * deep
    for start in range(0, inner, held):
        stop = min(inner, start + held)
        for top in range(0, rows, BAND):
            m = min(BAND, rows - top)
            j = 0
            while j < columns:
                wide = _share(columns - j, widest, lanes)
                v = 0 if wide == widest else (wide + lanes - 1) // lanes
                for k in range(start, stop, deep):
                    depth, first = min(deep, stop - k), k == 0
                    y, y_at, y_row = b, k * b_row + j * b_column, b_row
                    if copies_b:
                        _pack(b, y_at, b_row, b_column, depth, wide, pad, literally(lanes))
                        y, y_at, y_row = pad, 0, wide
                    next_j, next_k = j, k + depth
                    if next_k == stop:
                        next_j, next_k = (j + wide, start) if j + wide < columns else (0, stop)
                    ahead = next_k * b_row + next_j * b_column
                    lines, long, step = min(deep, inner - next_k), min(widest, columns - next_j), b_row
                    if b_column != 1:
                        lines, long, step = long, lines, b_column
                    some = -(-lines * row0 // m)  # with each block
                    i = 0
                    while i < m:
                        r, high = 0, row0
                        if high > m - i:
                            r, high = 1, row1
                        if high > m - i:
                            r, high = 2, row2
                        if high > m - i:
                            r, high = 3, 1
                        x, x_at, x_row, x_column = a, (top + i) * a_row + k * a_column, a_row, a_column
                        if copies_a:
                            to = copy + m * (k - start) + i * depth
                            if j == 0:
                                left = rows - top - i
                                _pack_rows(a, x_at, a_row, a_column, high, left, depth, pad, to, literally(lanes))
                            x, x_at = pad, to
                            x_row, x_column = (depth, 1) if a_column == 1 else (1, high)
                        z_at = (top + i) * c_row + j
                        if fetches_b:
                            _fetch_rows(b, ahead, step, min(some, lines), long, lanes)
                            ahead, lines = ahead + some * step, lines - some
                        if fetches_c and not first:
                            later = 2 * row0  # rows: two blocks on
                            _fetch_rows(c, z_at + later * c_row, c_row, min(row0, m - i - later), wide, lanes)
                        _block(
                            literally(lanes), r, v, c, c_row, x, x_at, x_row, x_column, y, y_at, y_row, depth, first,
                            z_at, wide,
                        )  # fmt: skip
                        i += high
                j += wide


@_loop
def many(
    product: N, block: N, start: N, count: N, n: N, c: N, c_0: N, c_1: N, a: N, a_0: N, a_1: N, b: N, b_0: N, b_1: N
) -> None:
    """So many products from number `start` on, of two axes of them, n along the second, by the kernel whose address is
    `product`, and its `block` of arguments; the bytes from a matrix to the next along the axes end in _0 and _1."""
    given = i8(block)
    for number in range(start, start + count):
        i, j = number // n, number % n
        given[0], given[2], given[5] = c + i * c_0 + j * c_1, a + i * a_0 + j * a_1, b + i * b_0 + j * b_1
        call(product, block)


SIZES = {-2: 8, -1: 9}
"""Where the arguments say how many rows and columns out has."""


def arguments(a: Ref, b: Ref, out: Ref, pad: Any, width: int = WIDTH) -> list[Any]:
    """Those of `product` and of `dots.dots` for out = a b, of matrices; out's columns lie side by side."""
    rows, vectors = blocks(width)
    sizes = [*out.shape, a.shape[1], pad, HELD // out.dtype.itemsize, *rows[:3], vectors]
    return [out, out.strides[0], a, *a.strides, b, *b.strides, *sizes]


def place(dtype: np.dtype[Any], width: int = WIDTH) -> int:
    """The address of the compiled product of that precision, for vectors of so many bytes."""
    return kernels.place(product, dtype, width // dtype.itemsize)
