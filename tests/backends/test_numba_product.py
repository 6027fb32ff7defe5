"""Products in blocks of registers: right at every shape and order, on no memory but their own, and always equal."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tapes import ArrayTape

from fcnet import random
from fcnet.backends.numba import dots, product
from fcnet.backends.numba.backend import NumbaBackend
from fcnet.backends.numba.sharing import Least
from fcnet.backends.ops import Array, Matmul, Words

ALL = Least(1, 1, 1, 1, units=0, fetch=0)
WIDTHS = [width for width in product.WIDTHS if width != product.WIDTH]
"""Of vector registers, beside that of this machine."""
BLOCKS = [product.blocks(product.WIDTH)[0][0], product.blocks(product.WIDTH)[1] * product.WIDTH // 4]
SHAPES = [
    (1, 1, 1),
    (3, 1, 5),
    (2, 3, 1),
    (7, 40, 10),
    (9, 21, BLOCKS[1]),
    (BLOCKS[0] * 2, 16, BLOCKS[1]),
    (BLOCKS[0] * 3 - 1, product.DEPTH, BLOCKS[1] * 2 - 1),
    (33, product.DEPTH + 1, 130),
    (product.BAND + 3, 20, 17),
    (300, 2 * product.DEPTH + 30, 500),  # both factors are copied
    (700, 7 * product.DEPTH - 9, 200),  # a's columns come in groups
    (product.BAND + 1, 130, BLOCKS[1] * 3 + 1),
    (1, dots.LONG, 1),
    (BLOCKS[0] * 2 + 3, dots.LONG + 5, product.blocks(product.WIDTH)[1] + 1),
    (29, 3 * dots.LONG - 1, dots.FEW),
]
TOLERANCE = {np.float32: 2e-6, np.float64: 4e-15}


def draw(*shape: int, dtype: Any, order: str) -> Array:
    """Standard normal numbers, row after row ("rows"), column after column, or with others between them ("apart")."""
    random = np.random.default_rng(shape)
    if order == "rows":
        return random.normal(size=shape).astype(dtype)
    if order == "columns":
        return random.normal(size=shape[::-1]).astype(dtype).T
    return random.normal(size=(shape[0] * 2, shape[1] * 3)).astype(dtype)[::2, 1::3]


def multiply(a: Array, b: Array, out: Array, backend: NumbaBackend | None = None) -> None:
    """out = a b."""
    tape = ArrayTape(backend or NumbaBackend())
    tape.add(Matmul(tape.ref(a), tape.ref(b), tape.ref(out)))
    tape.run()


def exact(a: Array, b: Array) -> tuple[Array, Array]:
    """a b in a wider type, and |a| |b|, by which its rounding is measured."""
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return a.astype(wide) @ b.astype(wide), np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("first", "second"), [*itertools.product(["rows", "columns"], repeat=2), ("apart", "apart")])
def test_products(shape: tuple[int, int, int], first: str, second: str, dtype: Any) -> None:
    """a b in either order of both factors, into a part of a matrix whose rest stays."""
    m, inner, n = shape
    a, b = draw(m, inner, dtype=dtype, order=first), draw(inner, n, dtype=dtype, order=second)
    whole = np.full((m + 2, n + 3), 7, dtype)

    multiply(a, b, whole[1:-1, 2:-1])

    wanted, size = exact(a, b)
    assert (np.abs(whole[1:-1, 2:-1] - wanted) <= TOLERANCE[dtype] * size).all()
    whole[1:-1, 2:-1] = 7
    assert (whole == 7).all()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("orders", [*itertools.product(["rows", "columns"], repeat=2)], ids="-".join)
def test_products_by_vectors_of_any_width(
    orders: tuple[str, str], dtype: Any, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks as other processors have them, of 16, 32 and 64 bytes, are right here, too, and alike for a row alone."""
    monkeypatch.setattr(NumbaBackend, "width", width)
    rows, vectors = product.blocks(width)
    wide = vectors * width // np.dtype(dtype).itemsize
    shapes = [(rows[0] + n, product.DEPTH + 5, wide * 2 - n) for n in range(rows[0])]
    for m, inner, n in [*shapes, (1, 3, 1), (2 * rows[0] + 3, dots.LONG + 5, vectors + 1), (300, 400, 500)]:
        a, b = draw(m, inner, dtype=dtype, order=orders[0]), draw(inner, n, dtype=dtype, order=orders[1])
        out, alone = np.empty((m, n), dtype), np.empty((1, n), dtype)

        multiply(a, b, out)
        multiply(a[-1:], b, alone)

        wanted, size = exact(a, b)
        assert (np.abs(out - wanted) <= TOLERANCE[dtype] * size).all()
        assert alone.tobytes() == out[-1].tobytes()


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_a_product_that_fetches_its_sums_ahead(order: str) -> None:
    """One of so many elements is the same to the last bit as in parts, which do not."""
    m, inner, n = 2050, product.DEPTH + 2, 2050
    a, b = draw(m, inner, dtype=np.float32, order=order), draw(inner, n, dtype=np.float32, order="rows")
    out, parts = np.empty((m, n), np.float32), np.empty((m, n), np.float32)

    multiply(a, b, out)
    for part in (slice(0, m // 2), slice(m // 2, m)):
        multiply(a[part], b, parts[part])

    assert m // 2 * n < product.VAST < m * n
    assert np.array_equal(out, parts)
    assert np.allclose(out, a @ b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("inner", "n"), [(40, 27), (dots.LONG + 3, dots.FEW)])
def test_what_is_not_finite_stays_where_it_belongs(inner: int, n: int, dtype: Any, bad: float) -> None:
    """A bad number in a spoils its row and one in b its column, and nothing else."""
    a, b, out = np.ones((13, inner), dtype), np.ones((n, inner), dtype).T, np.ones((13, n), dtype)
    a[5, 3], b[inner - 1, 11] = bad, bad

    multiply(a, b, out)

    spoilt = np.zeros((13, n), bool)
    spoilt[5], spoilt[:, 11] = True, True
    assert np.array_equal(~np.isfinite(out), spoilt)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize("n", [1, 7, 101])
def test_a_row_does_not_depend_on_its_batch(n: int, order: str, dtype: Any) -> None:
    """The same bits alone, in a batch, at another place and from any number of threads."""
    a, b = draw(70, 300, dtype=dtype, order="rows"), draw(300, n, dtype=dtype, order=order)
    out, alone = np.empty((70, n), dtype), np.empty((1, n), dtype)
    multiply(a, b, out)

    for threads in (2, 3):
        again = np.empty_like(out)
        multiply(a, b, again, NumbaBackend(threads, ALL))
        assert again.tobytes() == out.tobytes()
    for row in (0, 1, 66, 69):
        multiply(a[row : row + 1], b, alone)
        assert alone.tobytes() == out[row].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_does_not_depend_on_how_many_columns_stay_in_the_cache(dtype: Any) -> None:
    """Of many rows fewer columns are held than of few, and the bits are the same."""
    a, b = draw(700, 2000, dtype=dtype, order="rows"), draw(2000, 150, dtype=dtype, order="columns")
    assert a[:, : 7 * product.DEPTH].nbytes > product.HELD > a[:9].nbytes
    out, few = np.empty((700, 150), dtype), np.empty((9, 150), dtype)

    multiply(a, b, out)
    multiply(a[-9:], b, few)

    assert few.tobytes() == out[-9:].tobytes()


def at_the_edge(like: Array) -> Array:
    """A copy, in the same order, that ends where memory ends that this process may touch."""
    order = "C" if like.flags.c_contiguous else "F"
    page = mmap.PAGESIZE
    size = -(-like.nbytes // page) * page
    held = mmap.mmap(-1, size + page)
    raw = np.frombuffer(held, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert not protect(raw.ctypes.data + size, page, 0)
    copy = raw[size - like.nbytes : size].view(like.dtype).reshape(like.shape, order=order)
    copy[...] = like
    return copy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("first", "second"), [*itertools.product(["rows", "columns"], repeat=2)])
def test_nothing_behind_a_matrix_is_touched(shape: tuple[int, int, int], first: str, second: str, dtype: Any) -> None:
    """Matrices that end at a page nobody may read or write: a step too far would end the process."""
    m, inner, n = shape
    a, b = draw(m, inner, dtype=dtype, order=first), draw(inner, n, dtype=dtype, order=second)
    expected, out = np.empty((m, n), dtype), at_the_edge(np.empty((m, n), dtype))
    multiply(a, b, expected)

    multiply(at_the_edge(a), at_the_edge(b), out)

    assert np.array_equal(out, expected)


@pytest.mark.parametrize("n", [16, 40, 48, 64, 111])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_words_are_the_same_from_any_number_of_threads(threads: int, n: int) -> None:
    """Each thread draws those of its own counters, and the last what is left."""
    outs = []
    for backend in (NumbaBackend(), NumbaBackend(threads, ALL)):
        outs.append(np.zeros((5, n), np.uint16))
        tape = ArrayTape(backend)
        k0, k1 = random.key(1, "dropout").tolist()
        tape.add(Words(((k0, k1),), 2, tape.ref(np.array([3, 4, 0, 0])), tape.ref(outs[-1])))
        tape.run()

    assert np.array_equal(*outs)
    assert outs[0].any(axis=0).all()
