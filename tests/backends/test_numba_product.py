"""Products in blocks of registers: right at every shape and order, on no memory but their own, and always equal."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tapes import ArrayTape

from fcnet import random
from fcnet.backends.numba import dots, product
from fcnet.backends.numba.backend import Least, NumbaBackend
from fcnet.backends.numba.native import table
from fcnet.backends.numba.pointers import address, replay
from fcnet.backends.ops import Apply, Array, Matmul, Words
from fcnet.formulas import Formula, Sym, row_sum, where

ALL = Least(1, 1, 1, 1, units=0)
BLOCKS = [product.ROWS[0], product.VECTORS * product.lanes(np.dtype(np.float32))]
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
    (BLOCKS[0] * 2 + 3, dots.LONG + 5, product.VECTORS + 1),
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("first", "second"), [*itertools.product(["rows", "columns"], repeat=2), ("apart", "apart")])
def test_products(shape: tuple[int, int, int], first: str, second: str, dtype: Any) -> None:
    """a b in either order of both factors, into a part of a matrix whose rest stays."""
    m, inner, n = shape
    a, b = draw(m, inner, dtype=dtype, order=first), draw(inner, n, dtype=dtype, order=second)
    whole = np.full((m + 2, n + 3), 7, dtype)

    multiply(a, b, whole[1:-1, 2:-1])

    wanted = a.astype(np.longdouble) @ b.astype(np.longdouble)
    size = np.abs(a).astype(np.longdouble) @ np.abs(b).astype(np.longdouble)
    assert (np.abs(whole[1:-1, 2:-1] - wanted) <= TOLERANCE[dtype] * size).all()
    whole[1:-1, 2:-1] = 7
    assert (whole == 7).all()


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


@pytest.mark.parametrize("vectors", [1, 3, 4, 5, 8, 9, 10, 17])
def test_panels_are_about_equally_wide(vectors: int) -> None:
    """As few as there can be, none of them a sliver; only the last has a part of a vector."""
    lanes = product.lanes(np.dtype(np.float64))
    for short in (0, lanes - 1):
        stop = 32 + vectors * lanes - short

        found = product.panels(32, stop, np.dtype(np.float64))

        wide = [-(-(part.stop - part.start) // lanes) for part in found]
        assert [part.start for part in found] == [32, *(part.stop for part in found[:-1])]
        assert found[-1].stop == stop
        assert len(found) == -(-vectors // product.VECTORS)
        assert sum(wide) == vectors
        assert max(wide) - min(wide) <= 1
        assert max(wide) <= product.VECTORS


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


def recorded(backend: NumbaBackend, held: dict[str, Array], formula: Formula, sums: dict[str, Array]) -> ArrayTape:
    """z = a b, and then a formula over x, z and what else it names; its results have the arrays of their names."""
    tape = ArrayTape(backend)
    at = tape.refs(held)
    tape.add(Matmul(at["a"], at["b"], at["z"]))
    symbols, results = ({name: at[name] for name in names} for names in (formula.symbols(), formula.results))
    tape.add(Apply(formula, symbols, results, tape.refs(sums)))
    return tape


Z, X, C = Sym("z"), Sym("x"), Sym("c")
FOLLOWING: dict[str, tuple[Formula, bool]] = {
    "in place": (Formula({"z": Z + C}), True),
    "elsewhere": (Formula({"x": Z * X + C, "z": 2.0 * Z}), True),
    "a reduction": (Formula({"z": Z / row_sum(Z)}), False),
    "over a factor": (Formula({"a": Z + Sym("a")}), False),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 16, 150, 513])
@pytest.mark.parametrize("name", FOLLOWING)
def test_formulas_that_follow_a_product(name: str, n: int, threads: int) -> None:
    """A formula over a product's columns becomes one call with it, with the bits of both apart; others stay apart.

    So do sums over all rows of a product that is too narrow to be shared out by columns.
    """
    formula, joins = FOLLOWING[name]
    shapes = {"a": (60, n if name == "over a factor" else 200), "z": (60, n), "x": (60, n), "c": (1, n)}
    shapes["b"] = (shapes["a"][1], n)
    first = {k: draw(*shape, dtype=np.float32, order="rows") for k, shape in shapes.items()}
    second = {k: x.copy() for k, x in first.items()}
    results = list(formula.results)
    sums = [{results[0]: np.zeros(n, np.float32)} if joins else {} for _ in range(2)]
    backend = NumbaBackend(threads, ALL)

    backend.link(joined := recorded(backend, first, formula, sums[0]).calls())(2)
    for call, args in [*(apart := recorded(backend, second, formula, sums[1]).calls()), *apart]:
        call(*args)

    product_call, formula_call = (call for call, _ in joined)
    by_columns = threads == 1 or n >= 16 * threads
    assert (product_call.followed(formula_call, backend.even) is not None) == (joins and by_columns)
    assert {k: x.tobytes() for k, x in first.items()} == {k: x.tobytes() for k, x in second.items()}
    assert all(np.array_equal(sums[0][k], sums[1][k]) for k in sums[0])
    assert all(x.any() for x in sums[0].values())


def dropout(backend: NumbaBackend, held: dict[str, Array], masks: Array, sums: Array) -> list[Any]:
    """z = a b, z + c over it, random words, and x = z where they are large, with its sums over rows."""
    tape = recorded(backend, held, FOLLOWING["in place"][0], {})
    drawn = tape.ref(masks)
    tape.add(words(tape, masks))
    kept = Formula({"x": where(Sym("u") >= 30_000, Z, 0.0)})
    x = {"x": tape.ref(held["x"])}
    tape.add(Apply(kept, {"u": drawn, "z": tape.ref(held["z"])}, x, {"x": tape.ref(sums)}))
    return tape.calls()


def words(tape: ArrayTape, out: Array) -> Words:
    """Some random words into an array."""
    k0, k1 = random.key(1, "dropout").tolist()
    return Words(((k0, k1),), 2, tape.ref(np.array([3, 4, 0, 0])), tape.ref(out))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [16, 40, 48, 160, 528])
def test_a_whole_chain_follows_a_product(n: int, dtype: Any, threads: int) -> None:
    """A bias, random words and a mask, panel by panel, give the bits of one after another; rows of words that do not
    begin with a counter stay apart, and what comes after them with them, and sums over rows that threads share."""
    shapes = {"a": (60, 200), "b": (200, n), "z": (60, n), "x": (60, n), "c": (1, n)}
    first = {k: draw(*shape, dtype=dtype, order="rows") for k, shape in shapes.items()}
    second = {k: x.copy() for k, x in first.items()}
    masks, sums = np.zeros((2, 60, n), np.uint16), np.zeros((2, n), dtype)
    backend = NumbaBackend(threads, ALL)

    backend.link(joined := dropout(backend, first, masks[0], sums[0]))(2)
    for call, args in [*(apart := dropout(backend, second, masks[1], sums[1])), *apart]:
        call(*args)

    native = joined[0][0]
    chain = [native := native.followed(call, backend.even) if native else None for call, _ in joined[1:]]
    by_columns, by_counters = n >= 16 * threads, n % 16 == 0
    assert [each is not None for each in chain] == [True, by_counters, by_columns and by_counters]
    assert {k: x.tobytes() for k, x in first.items()} == {k: x.tobytes() for k, x in second.items()}
    assert masks[0].tobytes() == masks[1].tobytes()
    assert np.array_equal(sums[0], sums[1])
    assert sums[0].any()


@pytest.mark.parametrize("start", [0, 6, 12, 16, 24, 61])
@pytest.mark.parametrize("stop", [62, 64, 80, 111])
def test_words_of_some_rows_and_columns(start: int, stop: int) -> None:
    """They are those that the whole array has there, whatever part of a counter's words a row begins or ends with."""
    whole, part = np.zeros((2, 5, 112), np.uint16)
    tape = ArrayTape(NumbaBackend())
    tape.add(words(tape, whole))
    tape.add(words(tape, part))
    (call, _), (some, _) = tape.calls()
    call()

    piece = some.place((5, 112), slice(1, 4), slice(start, stop))
    replay(table([piece]), 1)

    assert whole.any(axis=0).all()
    assert np.array_equal(part[1:4, start:stop], whole[1:4, start:stop])
    part[1:4, start:stop] = 0
    assert not part.any()


def test_a_chain_ends_where_columns_need_others() -> None:
    """What reads another column than it makes, or writes what an earlier link reads of others, stays apart."""
    backend = NumbaBackend()
    a, b, wide = np.ones((40, 30)), np.ones((30, 64)), np.ones((40, 65))
    z, moved = wide[:, :-1], wide[:, 1:]
    x = np.ones((40, 64))
    tape = ArrayTape(backend)
    tape.add(Matmul(tape.ref(a), tape.ref(b), tape.ref(z)))
    tape.add(Apply(Formula({"x": 2.0 * Z}), {"z": tape.ref(moved)}, {"x": tape.ref(x)}))
    tape.add(Apply(Formula({"x": 2.0 * Z}), {"z": tape.ref(z)}, {"x": tape.ref(x)}))
    tape.add(Apply(Formula({"y": 2.0 * X}), {"x": tape.ref(x)}, {"y": tape.ref(np.ones((40, 64)))}))
    tape.add(Apply(Formula({"y": 2.0 * X}), {"x": tape.ref(x)}, {"y": tape.ref(x[::-1])}))
    native, reads, plain, uses, moves = (call for call, _ in tape.calls())

    assert native.followed(reads, backend.even) is None
    assert native.followed(plain, backend.even).followed(uses, backend.even) is not None
    assert native.followed(plain, backend.even).followed(moves, backend.even) is None


def test_a_product_cut_by_rows_is_followed_but_not_by_sums() -> None:
    """Each thread goes on with the rows that it has made; a sum over all of them has to wait for the other's."""
    held = {"a": np.ones((40, 64)).T, "b": np.ones((40, 64)), "z": np.zeros((64, 64))}
    backend = NumbaBackend(2, ALL)
    product_call, formula_call = (call for call, _ in recorded(backend, held, Formula({"z": Z + 1.0}), {}).calls())
    sums = {"z": np.zeros(64)}
    _, summing = (call for call, _ in recorded(backend, held, Formula({"z": Z + 1.0}), sums).calls())
    by_rows = replace(backend.even, rows=frozenset([address(held["b"])]))

    assert product_call.axis(backend.even) == -2
    assert product_call.followed(formula_call, backend.even) is not None
    assert product_call.followed(summing, by_rows) is None
    plain, total = summing.apart(by_rows)
    product_call.followed(plain, by_rows)()
    total()
    assert (held["z"] == 41).all()
    assert (sums["z"] == 64 * 41).all()
