"""The kernel contract: whatever a backend is made of, every formula and product means the same within rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from tapes import ArrayTape

from fcnet import random
from fcnet.backends import choice
from fcnet.backends.base import Backend, Eager, aligned
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import (
    Accumulate,
    Advance,
    Apply,
    Array,
    Gather,
    GatherOneHot,
    Host,
    Load,
    Matmul,
    Norm,
    Op,
    Phase,
    Ref,
    ScatterAdd,
    Take,
    Update,
    Words,
    buffers,
    ref,
)
from fcnet.data.source import MemorySource
from fcnet.formulas import (
    Expr,
    Formula,
    Sym,
    absolute,
    cos,
    erf,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    power,
    row_max,
    row_mean,
    row_sum,
    sqrt,
    tanh,
    where,
    width,
)
from fcnet.formulas.transform import evaluate
from fcnet.nn.activations import ACTIVATIONS, Gelu, Softmax, owned
from fcnet.nn.initializers import GlorotNormal
from fcnet.nn.layers import Dense, Dropout
from fcnet.nn.losses import LOSSES, CrossEntropy
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import OPTIMIZERS, Adam
from fcnet.optim.schedules import CosineDecay
from fcnet.optim.update import Updater
from fcnet.training.loop import Plan, train
from fcnet.training.program import Forward, Program
from fcnet.training.state import State


class PlainBackend:
    """A toy that has memory of its own, as a device has: each operation is one plain function on what lies there."""

    name = "plain"

    def blas_threads(self, largest: int) -> int:
        return 1

    def compile(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> PlainStep:
        return PlainStep(ops, resident)


class PlainStep:
    """What is resident is copied here before a run, and what was written is copied there after it."""

    def __init__(self, ops: Sequence[Op], resident: MutableMapping[str, Array]) -> None:
        self.ops, self.resident = tuple(ops), resident
        self.held = {name: np.zeros(buffer.size, buffer.dtype) for name, buffer in buffers(ops).items()}

    def run(self, times: int = 1) -> None:
        for name in self.held.keys() & self.resident.keys():
            self.held[name][:] = self.resident[name].flat[: self.held[name].size]
        for op in self.ops * times:
            self.make(op)
        written = {ref.buffer.name for op in self.ops for ref in op.writes}
        for name in written & self.resident.keys():
            self.resident[name].flat[: self.held[name].size] = self.held[name]

    def fetch(self, ref: Ref) -> Array:
        return self.at(ref).copy()

    def put(self, ref: Ref, values: Any) -> None:
        self.at(ref)[...] = values

    def finite(self) -> bool | None:
        return None

    def at(self, ref: Ref) -> Array:
        """A view of our own memory."""
        flat = self.held[ref.buffer.name]
        return as_strided(flat[ref.start :], ref.shape, tuple(n * flat.itemsize for n in ref.strides))

    def make(self, op: Op) -> None:
        at = self.at
        match op:
            case Matmul(p, q, out):
                at(out)[...] = np.einsum("...ij,...jk->...ik", at(p), at(q))
            case Apply(formula, arrays, outs, sums):
                self.apply(formula, arrays, outs, sums)
            case Update(formula, scalars, vectors):
                self.apply(formula, {**vectors, **scalars}, {name: vectors[name] for name in formula.results}, {})
            case Accumulate(values, total):
                at(total)[...] += at(values).astype(np.float64).sum(tuple(range(total.ndim, values.ndim)))
            case Norm(g, out):
                at(out)[...] = np.linalg.norm(at(g), axis=-1)
            case Words(keys, layer, position, out):
                epoch, step, *_ = at(position)
                for key, own in zip(keys, at(out).reshape(len(keys), -1), strict=True):
                    raw = random.words(-(-own.size // 4), np.array(key, np.uint64), layer, int(step), int(epoch))
                    quarters = np.stack([raw >> np.uint64(16 * i) & np.uint64(2**16 - 1) for i in range(4)], axis=-1)
                    own[:] = quarters.reshape(-1)[: own.size]
            case Gather(x, order, position, out):
                at(out)[...] = at(x)[at(order)[at(position)[2] :][: len(at(out))]]
            case GatherOneHot(labels, order, position, out):
                taken = at(order)[at(position)[2] :][: len(at(out))]
                at(out)[...] = at(labels)[taken, None] == np.arange(out.shape[-1])
            case Take(table, codes, first, out):
                whole = np.insert(at(table), 0, 0, axis=-2)  # a first row of zeros, for −1
                taken = np.where(at(codes) < 0, 0, at(codes) + first + 1)
                at(out)[...] = whole[..., taken, :].reshape(out.shape)
            case ScatterAdd(δ, codes, first, out):
                at(out)[...] = 0
                for (b, j), code in np.ndenumerate(at(codes)):
                    if code >= 0:
                        part = at(δ)[..., b, j * out.shape[-1] :][..., : out.shape[-1]]
                        at(out)[..., first[j] + code, :] += part
            case Load(table, position, out):
                at(out)[...] = at(table)[at(position)[3]]
            case Advance(rows, position):
                at(position)[...] += [0, 1, rows, 1]
            case Host(function, arrays):
                function({name: at(ref) for name, ref in arrays.items()})
            case _:
                assert isinstance(op, Phase)

    def apply(
        self, formula: Formula, arrays: Mapping[str, Ref], outs: Mapping[str, Ref], sums: Mapping[str, Ref]
    ) -> None:
        views = {name: self.at(ref) for name, ref in arrays.items()}
        found = {name: np.array(evaluate(e, views)) for name, e in formula.results.items()}
        for name, out in outs.items():
            self.at(out)[...] = found[name]
        for name, total in sums.items():
            self.at(total)[...] = found[name].sum(axis=-2)


BACKENDS: dict[str, Callable[[], Backend]] = {"numpy": NumpyBackend, "plain": PlainBackend}
if choice.installed("numba"):
    from fcnet.backends.numba.backend import Least, NumbaBackend

    BACKENDS["numba"] = lambda: choice.make("numba")
    # everything that can be cut is, however small
    BACKENDS["numba, 2 threads"] = lambda: NumbaBackend(2, Least(1, 1, 1, 1, 1, 0))
    BACKENDS["numba, 3 threads"] = lambda: NumbaBackend(3, Least(1, 1, 1, 1, 1, 0))
TOLERANCE: dict[Any, float] = {np.float32: 3e-6, np.float64: 1e-13}
a, y, z, δ = Sym("a"), Sym("y"), Sym("z"), Sym("δ")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


@pytest.fixture(params=TOLERANCE, ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


def draw(seed: int, dtype: Any, *shape: int) -> Array:
    return random.normal(int(np.prod(shape)), random.key(seed, "kernels")).reshape(shape).astype(dtype)


def check(
    backend: Backend, formula: Formula, arrays: dict[str, Array], alias: Mapping[str, str], tolerance: float
) -> None:
    """Every result equals the plain evaluation in float64, results named in `alias` overwrite a symbol's array."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    expected = {name: np.array(evaluate(e, wide)) for name, e in formula.results.items()}
    dtype = next(array.dtype for array in arrays.values() if array.dtype.kind == "f")
    held = {name: array.copy() for name, array in arrays.items()}
    outs = {
        name: held[alias[name]] if name in alias else np.full(value.shape, np.nan, dtype)
        for name, value in expected.items()
    }
    tape = ArrayTape(backend)
    tape.add(Apply(formula, tape.refs(held), tape.refs(outs)))
    step = tape.step
    for name, array in arrays.items():
        np.testing.assert_array_equal(held[name], array, "compiling looked at or touched a value")

    step.run()

    for name, value in expected.items():
        np.testing.assert_allclose(outs[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
    for name in set(arrays) - set(alias.values()):
        np.testing.assert_array_equal(held[name], arrays[name], f"the operand {name} was written")


@pytest.mark.parametrize("lead", [(), (3,)], ids=["net", "ensemble"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(backend: Backend, dtype: Any, name: str, lead: tuple[int, ...]) -> None:
    """Every activation with its bias, into new memory and in place, and its vjp over the gradient it came from."""
    f = ACTIVATIONS[name]()
    arrays = {"a": draw(1, dtype, *lead, 4, 5), "b": draw(2, dtype, *lead, 1, 5)}
    pre = a + Sym("b")
    tolerance = TOLERANCE[dtype]
    own = {slot.name: draw(4, dtype, *lead, 1, 5) for slot in owned(f, 5)}
    arrays |= own

    check(backend, Formula({"z": f.f(a)}), {"a": arrays["a"], **own}, {}, tolerance)
    check(backend, Formula({"z": f.f(pre)}), arrays, {"z": "a"}, tolerance)
    check(backend, Formula({"z": f.f(pre), "a": pre}), arrays, {"a": "a"}, tolerance)
    known = {"a": arrays["a"], "z": np.array(evaluate(f.f(a), arrays)), "δ": draw(3, dtype, *lead, 4, 5), **own}
    check(backend, Formula({"ε": f.vjp(a, z, δ)}), known, {"ε": "δ"}, tolerance)
    check(backend, Formula({"ε": f.vjp(a, z, δ)}), known, {}, tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(backend: Backend, dtype: Any, name: str) -> None:
    """Every loss: value and weighted gradient of a batch in one formula, also with members, also over a's memory."""
    loss = LOSSES[name]()
    ℓ, slopes = loss.terms(loss.symbols, y)
    weight = Sym("scale") * Sym("w")
    ε = {f"ε/{part}": weight * slope for part, slope in zip(loss.parts, slopes, strict=True)}
    formula = Formula({"ℓ": Sym("w") * ℓ, **ε})
    for lead, n in [((), 3), ((2,), 3), ((), 7)]:
        arrays = {
            **{part: draw(3 + i, dtype, *lead, 4, n) for i, part in enumerate(loss.parts)},
            "y": np.eye(n, dtype=dtype)[[0, 2, 1, 1]],
            "w": np.abs(draw(2, dtype, 4, 1)),
            "scale": np.full((), 0.25, dtype),
        }

        check(backend, formula, arrays, {}, TOLERANCE[dtype])
        check(backend, formula, arrays, {f"ε/{part}": part for part in loss.parts}, TOLERANCE[dtype])


@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(backend: Backend, dtype: Any, name: str, decays: bool) -> None:
    """Every optimizer's update in place, over two segments with scalars of their own; what lies outside stays."""
    rule = OPTIMIZERS[name]()
    state = {vector: Sym(vector) for vector in rule.vectors()}
    formula = Formula(rule.update(Sym("g"), Sym("θ"), state, Sym("lr"), Sym("decay") if decays else None, Sym("t")))
    names = ["θ", "g", *rule.vectors()]
    vectors = {n: np.abs(draw(i, dtype, 48)) for i, n in enumerate(names)}
    scalars = [
        {"lr": np.full((), lr, dtype), "decay": np.full((), 0.1, dtype), "t": np.full((), 3, dtype)}
        for lr in (0.5, 0.01)
    ]
    held = {n: v.copy() for n, v in vectors.items()}

    tape = ArrayTape(backend)
    for start, stop, s in [(0, 16, scalars[0]), (32, 48, scalars[1])]:
        tape.add(Update(formula, tape.refs(s), tape.refs({n: v[start:stop] for n, v in held.items()})))
    tape.run()

    for n in names:
        expected = vectors[n].astype(np.float64)
        for start, stop, s in [(0, 16, scalars[0]), (32, 48, scalars[1])]:
            piece = {m: v[start:stop].astype(np.float64) for m, v in vectors.items()} | s
            if n in formula.results:
                expected[start:stop] = evaluate(formula.results[n], piece)
        np.testing.assert_allclose(held[n], expected, rtol=5e-6 if dtype == np.float32 else 1e-13, err_msg=n)


FUNCTIONS: dict[str, Expr] = {
    "every operation": where(a < y, -absolute(a), cos(y)) + maximum(a, 0.3) * minimum(y, a) - a / (2.0 + y * y),
    "every function": exp(tanh(a)) + log(1.0 + absolute(y)) + log1p(absolute(a)) + expm1(0.1 * y) + sqrt(absolute(a)),
    "power and erf": power(absolute(a), 1.5) + erf(y) * power(2.0, a),
    "reductions": row_sum(a * y) / width(a) + row_max(a) - row_mean(y),
    "nested reductions": row_sum(exp(a - row_max(a)) * row_mean(y)),
    "a where of equal branches": where(a > 0.0, y, y),
    "a shared condition": where(a > 0.0, y, 2.0) * where(a > 0.0, 3.0, y) + where(a > 0.0, 1.0, 0.0),
    "a shared condition of rows": where(row_sum(a) > 0.0, y, a) - where(row_sum(a) > 0.0, a, 1.0),
    "constants only": where(a >= 0.5, 0.25, -4.0) * where(a <= 0.5, 1.0, y),
    "a condition used as operand of nothing": where(y > a, 0.0, 1.0),
}


@pytest.mark.parametrize(
    ("name", "units"), [*((n, 4) for n in FUNCTIONS), ("reductions", 7), ("a shared condition of rows", 7)]
)
def test_every_operation_of_the_language(backend: Backend, dtype: Any, name: str, units: int) -> None:
    """Operations, reductions and choices, into new memory and over each of their operands."""
    arrays = {"a": draw(1, dtype, 6, units), "y": draw(2, dtype, 6, units)}
    e = FUNCTIONS[name]
    shape = np.shape(evaluate(e, arrays))
    tolerance = TOLERANCE[dtype]

    check(backend, Formula({"r": e}), arrays, {}, tolerance)
    if shape == (6, units):
        for operand in ("a", "y"):
            check(backend, Formula({"r": e}), arrays, {"r": operand}, tolerance)
            check(backend, Formula({"r": e, "s": a * y}), arrays, {"r": operand}, tolerance)
            check(backend, Formula({"s": a * y, "r": e}), arrays, {"r": operand}, tolerance)


def test_broadcasting(backend: Backend, dtype: Any) -> None:
    """A scalar, one number a row, one row for all, and members: NumPy's rules, with `out` the largest shape."""
    arrays = {
        "m": draw(1, dtype, 2, 3, 4),
        "row": draw(2, dtype, 4),
        "each": draw(3, dtype, 3, 1),
        "member": draw(4, dtype, 2, 1, 1),
        "s": draw(5, dtype, 1).reshape(()),
    }
    m, row, each, member, s = map(Sym, arrays)

    check(backend, Formula({"r": (m * row + each) * (s * member)}), arrays, {"r": "m"}, TOLERANCE[dtype])
    check(backend, Formula({"r": s * s + 1.0, "q": each * s}), arrays, {"q": "each", "r": "s"}, TOLERANCE[dtype])
    check(backend, Formula({"r": where(each > row, m, member)}), arrays, {"r": "m"}, TOLERANCE[dtype])


def test_results_may_trade_places(backend: Backend, dtype: Any) -> None:
    """Results that are symbols, copies, constants or each other's operands land right whatever they overwrite."""
    arrays = {"a": draw(1, dtype, 2, 3), "y": draw(2, dtype, 2, 3), "z": draw(3, dtype, 2, 3)}
    over = {"a": "a", "y": "y"}

    for results in (
        {"a": y, "y": a},
        {"a": a - y, "y": a},
        {"y": a, "a": a - y},
        {"a": y, "y": a * y},
        {"a": y, "y": z},
        {"a": y, "new": a},
        {"new": a, "a": y, "y": maximum(a + y, 0.0)},
        {"y": maximum(a + y, 0.0), "a": y, "new": a},
        {"a": z, "y": z},
        {"a": a + y, "y": a + y},
        {"a": a, "y": a},
        {"a": exp(y), "y": exp(a)},
        {"a": where(z > 0.0, y, a), "y": where(z > 0.0, a, y)},
    ):
        check(backend, Formula(results), arrays, over, TOLERANCE[dtype])


# trees whose values stay moderate, so that the order of rounding is all that may differ
LEAVES = st.sampled_from([a, y, z, Sym("row"), Sym("each"), Sym("s")])


def _grown(children: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    number = st.sampled_from([0.0, 1.0, -0.5, 2.0])
    pair = st.tuples(children, st.one_of(children, number))
    return st.one_of(
        pair.map(lambda p: p[0] + p[1]),
        pair.map(lambda p: p[1] - p[0]),
        pair.map(lambda p: tanh(p[0]) * p[1]),
        pair.map(lambda p: maximum(*p)),
        pair.map(lambda p: minimum(*p)),
        pair.map(lambda p: p[0] / (1.0 + absolute(p[0]))),
        st.tuples(pair, pair).map(lambda p: where(p[0][0] > p[0][1], p[1][0], p[1][1])),
        st.tuples(pair, pair).map(lambda p: where(p[0][0] <= p[0][1], p[1][1], p[1][0])),
        children.map(row_sum),
        children.map(row_max),
        children.map(row_mean),
        children.map(lambda c: tanh(c) - width(c)),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=12)
TARGETS = ("a", "y", "z", "new", "other")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(TARGETS), EXPRESSIONS, min_size=1, max_size=3))
def test_any_formula_over_any_memory(results: dict[str, Expr]) -> None:
    """Whatever is computed, and whichever operands the results overwrite, NumPy's calls give the plain value."""
    arrays = {"a": draw(1, np.float64, 3, 4), "y": draw(2, np.float64, 3, 4), "z": draw(3, np.float64, 3, 4)}
    arrays |= {"row": draw(4, np.float64, 4), "each": draw(5, np.float64, 3, 1), "s": draw(6, np.float64, 1)[0:1]}
    full = {name: e for name, e in results.items() if name not in arrays or _shape(e, arrays) == (3, 4)}
    if full:
        check(NumpyBackend(), Formula(full), arrays, {n: n for n in full if n in arrays}, 1e-12)


def _shape(e: Expr, arrays: Mapping[str, Array]) -> tuple[int, ...]:
    return np.shape(evaluate(e, arrays))


def multiply(backend: Backend, p: Array, q: Array, out: Array) -> None:
    tape = ArrayTape(backend)
    tape.add(Matmul(tape.ref(p), tape.ref(q), tape.ref(out)))
    tape.run()


def test_products(backend: Backend, dtype: Any) -> None:
    """Matrix products over the last two axes, of transposed views, members, single rows, and empty batches."""
    for left, right in [
        ((3, 4), (4, 2)),
        ((2, 3, 4), (2, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((1, 4), (4, 1)),
        ((5, 1), (1, 6)),
        ((2, 5, 1), (2, 1, 6)),
    ]:
        p, q = draw(1, dtype, *left), draw(2, dtype, *right)
        out = np.full(np.matmul(p, q).shape, np.nan, dtype)

        multiply(backend, p, q, out)
        np.testing.assert_allclose(out, np.matmul(p.astype(float), q.astype(float)), rtol=1e-5, atol=1e-5)
        flipped = np.swapaxes(np.ascontiguousarray(np.swapaxes(q, -1, -2)), -1, -2)
        multiply(backend, p, flipped, out)
        np.testing.assert_allclose(out, np.matmul(p.astype(float), q.astype(float)), rtol=1e-5, atol=1e-5)


def test_sums(backend: Backend, dtype: Any) -> None:
    """Sums over rows with and without members, of one unit too, also of a formula's results; the norm is Euclid's."""
    for lead, n in [((), 4), ((3,), 4), ((), 1), ((2,), 1)]:
        e = draw(1, dtype, *lead, 5, n)
        out = np.full((*lead, n), np.nan, dtype)
        z, sums = np.full_like(e, np.nan), np.full_like(out, np.nan)
        tape = ArrayTape(backend)
        tape.add(Apply(Formula({"e": Sym("e")}), {"e": tape.ref(e)}, {}, {"e": tape.ref(out)}))
        tape.add(Apply(Formula({"z": tanh(a)}), {"a": tape.ref(e)}, {"z": tape.ref(z)}, {"z": tape.ref(sums)}))

        tape.run()

        np.testing.assert_allclose(out, e.astype(float).sum(axis=-2), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(sums, np.tanh(e.astype(float)).sum(axis=-2), rtol=1e-5, atol=1e-5)
    g, norm = draw(2, dtype, 1000), np.zeros((), dtype)
    tape = ArrayTape(backend)
    tape.add(Norm(tape.ref(g), tape.ref(norm)))
    tape.run()
    assert float(norm) == pytest.approx(math_norm(g), rel=TOLERANCE[dtype])


@pytest.mark.parametrize("flipped", [False, True], ids=["rows", "columns"])
def test_a_symbol_is_summed_before_it_is_overwritten(backend: Backend, dtype: Any, flipped: bool) -> None:
    """What an operation is given and sums over rows is summed as it was given, though a result takes its place."""
    e = draw(1, dtype, 4, 5).T if flipped else draw(1, dtype, 5, 4)
    given, out = e.astype(float), np.full(4, np.nan, dtype)
    tape = ArrayTape(backend)
    formula = Formula({"z": 3.0 * Sym("e"), "e": Sym("e")})
    tape.add(Apply(formula, {"e": tape.ref(e)}, {"z": tape.ref(e)}, {"e": tape.ref(out)}))

    tape.run()

    np.testing.assert_allclose(e, 3.0 * given, rtol=1e-6)
    np.testing.assert_allclose(out, given.sum(axis=0), rtol=1e-5, atol=1e-5)


def math_norm(g: Array) -> float:
    return float(np.sqrt(np.sum(g.astype(np.float64) ** 2)))


def test_losses_are_added_in_float64(backend: Backend) -> None:
    """A million tenths are 100,000, not 100,958: single precision ends at the rows, and one step is one addition."""
    total = np.zeros((), np.float64)
    tape = ArrayTape(backend)
    tape.add(Accumulate(tape.ref(np.full((1000, 1), 0.1, np.float32)), tape.ref(total)))

    for _ in range(1000):
        tape.run()

    assert float(total) == pytest.approx(1e6 * float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (7, 16), (9, 11)])
def test_words_are_quarters_of_the_raw_words(backend: Backend, shape: tuple[int, int]) -> None:
    """Four uint16 from each raw word, the lowest first, in the order of the array; the last may be cut."""
    out, key, position = np.zeros(shape, np.uint16), random.key(1, "kernels"), np.array([2, 30, 0, 0])
    tape = ArrayTape(backend)
    tape.add(Words(((int(key[0]), int(key[1])),), 4, tape.ref(position), tape.ref(out)))

    for step in (30, 31):
        position[1] = step
        tape.run()

        raw = random.words(-(-out.size // 4), key, 4, step, 2).tolist()
        quarters = [word >> 16 * i & 0xFFFF for word in raw for i in range(4)]
        assert out.reshape(-1).tolist() == quarters[: out.size]


def test_rows_are_gathered_in_order(backend: Backend, dtype: Any) -> None:
    """A step takes the rows that the order names at its place, and its line of the table; then the place moves on."""
    x, labels = draw(1, dtype, 7, 3), np.array([2, 0, 1, 1, 2, 0, 1])
    order, position = np.array([6, 2, 0, 5, 1]), np.array([3, 10, 0, 0])
    table = draw(2, dtype, 4, 5)
    rows, one_hot, line = np.zeros((2, 3), dtype), np.zeros((2, 3), dtype), np.zeros(5, dtype)
    tape = ArrayTape(backend)
    place, ordered = tape.ref(position), tape.ref(order)
    tape.add(Load(tape.ref(table), place, tape.ref(line)))
    tape.add(Gather(tape.ref(x), ordered, place, tape.ref(rows)))
    tape.add(GatherOneHot(tape.ref(labels), ordered, place, tape.ref(one_hot)))
    tape.add(Advance(2, place))

    for step, taken in enumerate([[6, 2], [0, 5]]):
        tape.run()

        np.testing.assert_array_equal(rows, x[taken])
        np.testing.assert_array_equal(one_hot, np.eye(3)[labels[taken]])
        np.testing.assert_array_equal(line, table[step])
        assert position.tolist() == [3, 11 + step, 2 * (step + 1), step + 1]


@pytest.mark.parametrize("members", [(), (2,), (2, 3)], ids=str)
def test_formulas_over_features(backend: Backend, dtype: Any, members: tuple[int, ...]) -> None:
    """z[r, f, u] = cos(w[f, u] x[r, f] + b[f, u]) into a part of the units, what comes back to w, b and x, and a linear
    map of each feature: axes meet by their names, and members stand in front of all of them."""
    rows, n, k, v = 5, 3, 4, 2
    x, δ = draw(1, dtype, *members, rows, n), draw(2, dtype, *members, rows, n * k)
    w, b, V = (draw(3 + i, dtype, *members, *shape) for i, shape in enumerate([(n, k), (n, k), (n, v, k)]))
    z, y = np.full((*members, rows, 1 + n * k), np.nan, dtype), np.empty((*members, rows, n * v), dtype)
    dx, dw, db, dV = np.empty_like(x), np.empty_like(w), np.empty_like(b), np.empty_like(V)
    tape = ArrayTape(backend)
    at = tape.refs({"x": x, "δ": δ, "w": w, "b": b, "V": V, "z": z, "y": y, "dx": dx, "dw": dw, "db": db, "dV": dV})
    units = "row", "feature", "unit"
    zs, δs, ys = (part.split(n).on(*units) for part in (at["z"][..., 1 : 1 + n * k], at["δ"], at["y"]))
    xs, ws, bs = at["x"].on("row", "feature"), at["w"].on("feature", "unit"), at["b"].on("feature", "unit")
    phase, turned = Sym("w") * Sym("x") + Sym("b"), cos(Sym("w") * Sym("x") + Sym("b") - 0.5 * np.pi)
    tape.add(Apply(Formula({"z": cos(phase)}), {"x": xs, "w": ws, "b": bs}, {"z": zs}))
    tape.add(Matmul(zs, at["V"].swapaxes(-1, -2), ys))
    tape.add(Matmul(ys.swapaxes(-1, -2), zs, at["dV"]))
    arrays = {"δ": δs, "x": xs, "w": ws, "b": bs}
    tape.add(Apply(Formula({"δ": -(Sym("δ") * turned)}), arrays, {"δ": δs}, {"δ": at["db"]}))
    tape.add(Apply(Formula({"dw": Sym("δ") * Sym("x")}), {"δ": δs, "x": xs}, {}, {"dw": at["dw"]}))
    dxs = at["dx"].on("row", "feature")
    tape.add(Apply(Formula({"dx": row_sum(Sym("δ") * Sym("w"))}), {"δ": δs, "w": ws}, {"dx": dxs}))

    given = x, w, b, V, δ.copy().reshape(*members, rows, n, k)
    tape.run()

    x, w, b, V, δ = (each.astype(np.float64) for each in given)
    phases = np.einsum("...rf,...fu->...rfu", x, w) + b[..., None, :, :]
    back = -δ * np.sin(phases)
    close = {"rtol": 1e-5 if dtype == np.float32 else 1e-12, "atol": 2e-6 if dtype == np.float32 else 1e-13}
    shape = (*members, rows, n, k)
    np.testing.assert_allclose(z[..., 1:].reshape(shape), np.cos(phases), **close)
    np.testing.assert_allclose(
        y.reshape(*shape[:-1], v), np.einsum("...rfu,...fvu->...rfv", np.cos(phases), V), **close
    )
    np.testing.assert_allclose(
        dV, np.einsum("...rfv,...rfu->...fvu", y.reshape(*shape[:-1], v), np.cos(phases)), **close
    )
    np.testing.assert_allclose(db, back.sum(axis=-3), **close)
    np.testing.assert_allclose(dw, np.einsum("...rfu,...rf->...fu", back, x), **close)
    np.testing.assert_allclose(dx, np.einsum("...rfu,...fu->...rf", back, w), **close)
    assert np.isnan(z[..., 0]).all()


@pytest.mark.parametrize("members", [(), (3,), (2, 2)], ids=str)
def test_a_lookup_and_its_gradient(backend: Backend, dtype: Any, members: tuple[int, ...]) -> None:
    """Each code's row of the table stands beside the others, zeros for −1; back come the rows of each level, added up
    in the rows' order, so that all backends have the same bits."""
    first, levels, d, rows = (0, 3, 4), 6, 2, 9
    codes = np.array([[b % 4 - 1, b % 2 - 1, b * b % 3 - 1] for b in range(rows)], np.int32)
    table, δ = draw(3, dtype, *members, levels, d), draw(4, dtype, *members, rows, 1 + 3 * d)
    z, g = np.full_like(δ, np.nan), np.full_like(table, np.nan)
    tape = ArrayTape(backend)
    at = tape.ref(codes)
    tape.add(Take(tape.ref(table), at, first, tape.ref(z)[..., 1 : 1 + 3 * d]))
    tape.add(ScatterAdd(tape.ref(δ)[..., 1 : 1 + 3 * d], at, first, tape.ref(g)))

    tape.run(2)

    expected = np.zeros_like(table)
    for b, j in np.ndindex(rows, 3):
        part = slice(1 + j * d, 1 + (j + 1) * d)
        at_level = first[j] + codes[b, j]
        found = z[..., b, part]
        np.testing.assert_array_equal(found, table[..., at_level, :] if codes[b, j] >= 0 else np.zeros_like(found))
        if codes[b, j] >= 0:
            expected[..., at_level, :] += δ[..., b, part]
    assert np.isnan(z[..., 0]).all()
    assert g.tobytes() == expected.tobytes()


def test_a_tape_runs_as_often_as_it_is_told(backend: Backend, dtype: Any) -> None:
    """Three times at once is three times one after another, and none is none."""
    x = np.ones((2, 2), dtype)
    tape = ArrayTape(backend)
    at = tape.ref(x)
    tape.add(Apply(Formula({"x": 2.0 * Sym("x")}), {"x": at}, {"x": at}))

    tape.run(3)
    tape.run(0)
    assert x.tolist() == [[8.0, 8.0], [8.0, 8.0]]

    tape.add(Host(lambda arrays: np.add(arrays["x"], 1.0, arrays["x"]), {"x": at}))
    tape.run()
    assert x.tolist() == [[17.0, 17.0], [17.0, 17.0]]


def test_operations_at_once_are_the_same_operations(backend: Backend, dtype: Any) -> None:
    """Made one by one as they are written they find what the ones before have left, wherever a backend has its memory;
    a buffer that was too small is made anew."""
    for k in (Eager(backend), Eager(backend, {"x": np.ones((1, 2), dtype)})):
        for rows in (1, 3):
            x, y, total = ref("x", (rows, 2), dtype), ref("y", (rows, 2), dtype), ref("total", (), np.float64)
            k.fetch(x)[...] = 3
            k.add(Apply(Formula({"y": 2.0 * Sym("x")}), {"x": x}, {"y": y}))
            k.add(Accumulate(y, total))
            assert k.fetch(y).tolist() == [[6.0, 6.0]] * rows

        assert float(k.fetch(total)) == 12.0 + 36.0
        assert len(k.ops) == 4


def test_a_step_reads_its_arrays_anew(backend: Backend, dtype: Any) -> None:
    """A step has arrays, not values: run again after they changed, it gives what holds then."""
    x, out = draw(1, dtype, 3, 4), np.zeros((3, 4), dtype)
    tape = ArrayTape(backend)
    tape.add(Apply(Formula({"r": tanh(Sym("x")) + row_sum(Sym("x"))}), {"x": tape.ref(x)}, {"r": tape.ref(out)}))
    tape.add(Host(lambda at: np.multiply(at["r"], 2.0, at["r"]), {"r": tape.ref(out)}))
    assert tape.step
    assert not out.any()

    for seed in (2, 3):
        x[...] = draw(seed, dtype, 3, 4)
        tape.run()
        np.testing.assert_allclose(out, 2 * (np.tanh(x) + x.sum(-1, keepdims=True)), rtol=1e-5)


def test_scratch_memory_is_shared_without_harm() -> None:
    """Formulas compiled before a larger one grew the scratch buffers still compute what they did."""
    k = NumpyBackend()
    small, large = ArrayTape(k), ArrayTape(k)
    e = exp(tanh(a)) * row_sum(tanh(a) * a) + where(a > 0.0, a, y)
    arrays = [{"a": draw(i, np.float64, n, 4), "y": draw(9, np.float64, n, 4)} for i, n in enumerate((3, 300))]
    outs = [np.zeros((n, 4)) for n in (3, 300)]
    for tape, values, out in zip((small, large), arrays, outs, strict=True):
        tape.add(Apply(Formula({"r": e}), tape.refs(values), {"r": tape.ref(out)}))

    steps = [small.step, large.step]
    for step in (*steps, steps[0]):
        step.run()

    for values, out in zip(arrays, outs, strict=True):
        np.testing.assert_allclose(out, evaluate(e, values), rtol=1e-13)


@pytest.mark.parametrize("shape", [0, 5, (3, 7), (2, 0, 3), ()])
def test_aligned_memory(shape: Any, dtype: Any) -> None:
    """Zeros of the asked shape and type that start on 64 bytes."""
    array = aligned(shape, dtype)

    assert array.shape == np.zeros(shape).shape
    assert array.dtype == dtype
    assert array.ctypes.data % 64 == 0 or not array.size
    assert not array.any()


class Filled:
    """A source that nobody may look into: it fills batches."""

    def __init__(self, source: MemorySource) -> None:
        self.n, self.order, self.fill = source.n, source.order, source.fill


@pytest.mark.parametrize("wrap", [lambda source: source, Filled], ids=["rows in memory", "rows filled in"])
def test_training_is_the_same_on_a_backend_made_here(wrap: Callable[[MemorySource], Any]) -> None:
    """A toy backend trains a net with dropout, softmax, clipping and Adam to the same θ within rounding, and gives the
    same outputs, though it shares no memory with whoever asks it to."""
    ends = []
    for kind in BACKENDS.values():
        layers = [Dense(6, Gelu(), GlorotNormal()), Dropout(0.3), Dense(5, Softmax(), GlorotNormal())]
        network = Network([*layers, Dense(3, ACTIVATIONS["identity"](), GlorotNormal())], 4)
        rule = Adam(lr=0.01, weight_decay=0.1)
        state = State.new(network, rule.vectors(), np.float64)
        x = draw(1, np.float64, 50, 4)
        source = MemorySource(Rows(x), np.arange(50) % 3, np.abs(x[:, 0]), one_hot=np.eye(3))
        update = Updater(rule, network.layout, clip_norm=0.05)
        program = Program(kind(), network, CrossEntropy(), update, state, weighted=True)
        network.initialise(state.θ, state.q, 0, Rows(x))
        start = state.θ.copy()

        events = list(train(program, wrap(source), Plan(6, 16, CosineDecay()), None))

        assert np.abs(state.θ - start).max() > 0.01
        z = Forward(program.backend, network, state.θ, state.q, 16)(Rows(x), np.arange(49, -1, -1))
        ends.append((state.θ, [getattr(e, "train_loss", 0) for e in events if hasattr(e, "best")], z))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-9)
    np.testing.assert_allclose(ends[0][2], ends[1][2], rtol=1e-9)
