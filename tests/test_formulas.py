"""The expression language: equal subtrees are one, rewriting keeps the value, and erf is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply, like
from fcnet.formulas import Const, Expr, Formula, Sym, absolute, erf, exp, maximum, power, row_sum, sqrt, where, width
from fcnet.formulas.transform import ERFC_COEFFICIENTS, evaluate, expand_erf, hoist

x, y = Sym("x"), Sym("y")


def test_equal_subtrees_are_one_object() -> None:
    """Written twice, computed once: a formula's nodes are distinct."""
    left, right = exp(-absolute(x)) + y, exp(-absolute(x)) * y

    assert left.args[0] is right.args[0]
    formula = Formula({"a": left, "b": right})
    assert len(formula.nodes()) == 7
    assert formula.symbols() == ["x", "y"]


def test_nodes_come_after_what_they_need() -> None:
    """Whoever walks the nodes in order finds every operand done."""
    formula = Formula({"a": sqrt(x * x + y), "b": x * x})
    seen: list[Expr] = []

    for node in formula.nodes():
        assert all(arg in seen for arg in node.args)
        seen.append(node)


def test_a_formula_may_be_as_deep_as_it_likes() -> None:
    """A sum of five thousand terms, each on top of the one before, has its value."""
    total = x
    for i in range(5_000):
        total = total + float(i)

    assert evaluate(total, {"x": 1.0}) == 1 + sum(range(5_000))


def test_whole_numbers_and_fractions_are_different_constants() -> None:
    """1 and 1.0 stay apart, since integer words are compared with whole numbers."""
    assert Const(1) is not Const(1.0)
    assert type((x >= 3).args[1].value) is int


def test_zeros_of_both_signs_are_different_constants() -> None:
    """0.0 and -0.0 are equal and not the same number; NaN is one constant however often it is written."""
    assert math.copysign(1, Const(0.0).value) == 1  # type: ignore[arg-type]
    assert math.copysign(1, Const(-0.0).value) == -1  # type: ignore[arg-type]
    assert Const(float("nan")) is Const(-float("inf") + float("inf"))


def test_only_exact_identities_are_simplified() -> None:
    """1 · x, x − 0, x + −0, x / 1 are x; 0 · x is not 0, since x may be NaN or infinite; x + 0 is not −0 for x = −0."""
    for one in (1, 1.0):
        assert one * x is x
        assert x * one is x
        assert x / one is x
    assert x - 0.0 is x
    assert x - 0 is x
    assert x + -0.0 is x
    assert -0.0 + x is x
    assert [e.op for e in (0.0 * x, x - x, x + 0.0, 0.0 + x, x - -0.0, -0.0 - x, x * -1.0)] == [
        "mul", "sub", "add", "add", "sub", "sub", "mul"
    ]  # fmt: skip


FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 1e308, -5e-324, math.inf, -math.inf, math.nan)
SIDES = st.sampled_from([*FLOATS, "x", "y"])
TREES = st.recursive(
    SIDES,
    lambda below: st.tuples(st.sampled_from("+-*"), below, below) | st.tuples(st.sampled_from(["neg", "abs"]), below),
    max_leaves=12,
)


def plainly(tree: Any, values: Mapping[str, Any], number: Callable[[float], Any]) -> Any:
    """The value of a tree of `TREES` by Python's own operators; `number` is what its constants become."""
    match tree:
        case str():
            return values[tree]
        case (op, below):
            found = plainly(below, values, number)
            return -found if op == "neg" else absolute(found) if isinstance(found, Expr) else abs(found)
        case (op, left, right):
            a, b = plainly(left, values, number), plainly(right, values, number)
            return a + b if op == "+" else a - b if op == "-" else a * b
    return number(tree)


@settings(max_examples=500, deadline=None)
@given(TREES, st.sampled_from(FLOATS), st.sampled_from(FLOATS))
def test_a_formula_is_its_plain_value_bit_for_bit(tree: Any, one: float, two: float) -> None:
    """Whatever is simplified, a sum, a difference, a product is what float arithmetic says, to the sign of its zero."""
    expression = plainly(tree, {"x": x, "y": y}, Const)
    out = np.empty(1)
    with np.errstate(all="ignore"):
        found = evaluate(expression, {"x": one, "y": two})
        arrays = {"x": np.array([one]), "y": np.array([two]), "z": out}
        at = {name: like(name, array) for name, array in arrays.items()}
        op = Apply(Formula({"z": expression}), {"x": at["x"], "y": at["y"]}, {"z": at["z"]})
        NumpyBackend().compile([op], arrays).run()

    expected = plainly(tree, {"x": one, "y": two}, float)
    assert same(float(found), expected)
    assert same(float(out[0]), expected)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))


def test_where_wants_a_comparison() -> None:
    """A blend by anything but 0 and 1 would be no choice."""
    with pytest.raises(AssertionError, match="comparison"):
        where(x, 1.0, 2.0)


def test_operators_on_numbers_and_expressions() -> None:
    """Both orders of every operator, and every comparison, mean what they mean for numbers."""
    values = {"x": np.array([0.5, -2.0, 3.0]), "y": np.array([2.0, -2.0, 1.0])}
    a, b = values["x"], values["y"]
    for expression, expected in [
        (2.0 - x, 2 - a),
        (2.0 / x, 2 / a),
        (x - y, a - b),
        (x / y, a / b),
        (-x, -a),
        (power(2.0, x), 2**a),
        (maximum(0.0, x), np.maximum(0, a)),
        (where(x < y, x, y), np.minimum(a, b)),
        (where(x <= y, 1.0, 0.0), (a <= b) * 1.0),
        (where(x > y, 1.0, 0.0), (a > b) * 1.0),
        (where(x >= y, 1.0, 0.0), (a >= b) * 1.0),
        (row_sum(x) / width(x), np.array([0.5])),
    ]:
        np.testing.assert_array_equal(evaluate(expression, values), expected)


def test_hoisting_takes_out_what_changes_once_a_step() -> None:
    """The largest pieces that depend on scalars alone become symbols; the value does not change, the rest stays."""
    lr, t = Sym("lr"), Sym("t")
    rate = lr / (1.0 - power(0.9, t))
    formula = Formula({"θ": x - rate * y / (sqrt(x) + lr), "m": x * 2.0})
    values = {"x": np.array([4.0, 9.0]), "y": np.array([1.0, 3.0]), "lr": 0.1, "t": 3.0}

    hoisted, rest = hoist(formula, ("lr", "t"))

    assert list(hoisted.values()) == [rate, lr]
    assert set(rest.symbols()) == {"x", "y", *hoisted}
    scalars = {name: evaluate(e, values) for name, e in hoisted.items()}
    for name, e in formula.results.items():
        np.testing.assert_array_equal(evaluate(rest.results[name], values | scalars), evaluate(e, values))


def test_nothing_is_hoisted_from_a_formula_without_scalars() -> None:
    """Constants alone are no reason."""
    hoisted, rest = hoist(Formula({"θ": x * (Const(2.0) + 1.0)}), ("lr",))

    assert not hoisted
    assert rest.results["θ"] is x * (Const(2.0) + 1.0)


def test_erf_is_exact() -> None:
    """Within 4e-16 of the C library's, in the short form within 1.5e-7; NaN stays NaN."""
    points = np.concatenate([np.linspace(-7, 7, 20_001), [-40.0, 40.0, 1e-300, 1e300, -1e300]])
    exact = np.array([math.erf(p) for p in points])

    with np.errstate(under="ignore", over="ignore"):
        for single, tolerance in [(False, 4e-16), (True, 1.51e-7)]:
            expanded = expand_erf(Formula({"e": erf(x)}), single).results["e"]
            assert abs(evaluate(expanded, {"x": points}) - exact).max() < tolerance
    assert np.isnan(evaluate(erf(x), {"x": np.array([np.nan])})).all()


def test_erf_inside_erf_is_expanded() -> None:
    """No erf is left, however deep it stands."""
    expanded = expand_erf(Formula({"e": erf(2.0 * erf(x) + erf(y))}), single=False)

    assert not [node for node in expanded.nodes() if node.op == "erf"]
    inner = 2 * math.erf(0.3) + math.erf(-0.2)
    found = evaluate(expanded.results["e"], {"x": np.array(0.3), "y": np.array(-0.2)})
    assert float(found) == pytest.approx(math.erf(inner), abs=1e-15)


def test_the_coefficients_of_erf_follow_from_its_definition() -> None:
    """Computed again with 60 digits, each of the stored numbers is the nearest double."""
    nodes = 80
    with localcontext() as context:
        context.prec = 100
        π = _pi()
        angles = [π * (2 * k + 1) / (2 * nodes) for k in range(nodes)]
        values = [_target((_cos(a) + 1) / 2, π) for a in angles]
        found = [
            float(sum(v * _cos(j * a) for v, a in zip(values, angles, strict=True)) * (2 if j else 1) / nodes)
            for j in range(len(ERFC_COEFFICIENTS))
        ]

    np.testing.assert_allclose(found, ERFC_COEFFICIENTS, rtol=1e-14, atol=1e-26)


def _target(t: Decimal, π: Decimal) -> Decimal:
    """ln(erfc(x) exp(x²) / t) at t = 2 / (2 + x)."""
    x = 2 / t - 2
    if x < 5:  # erf(x) exp(x²) = 2/√π Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!!
        term = total = x
        n = 0
        while term > Decimal("1e-95"):
            n += 1
            term = term * 2 * x * x / (2 * n + 1)
            total += term
        scaled = (x * x).exp() - 2 / π.sqrt() * total
    else:  # the continued fraction 1 / (x + (1/2) / (x + (2/2) / (x + …))) / √π
        tail = x
        for n in range(600, 0, -1):
            tail = x + Decimal(n) / 2 / tail
        scaled = 1 / (π.sqrt() * tail)
    return (scaled / t).ln()


def _pi() -> Decimal:
    """Machin's 16 arctan(1/5) − 4 arctan(1/239)."""

    def arctan(n: int) -> Decimal:
        power = total = Decimal(1) / n
        k = 1
        while power > Decimal("1e-99"):
            power /= n * n
            k += 2
            total += power / k if k % 4 == 1 else -power / k
        return total

    return 16 * arctan(5) - 4 * arctan(239)


def _cos(a: Decimal) -> Decimal:
    term = total = Decimal(1)
    n = 0
    while n < a or abs(term) > Decimal("1e-65"):
        n += 2
        term = -term * a * a / (n * (n - 1))
        total += term
    return total
