"""What printers do to expressions before they print them: replace nodes, hoist scalars, expand erf, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.formulas.expression import Expr, Formula, Sym, _node, absolute, exp, where

Array = NDArray[Any]

# Chebyshev coefficients on u ∈ [−1, 1] of ln(erfc(x) exp(x²) / t) with t = 2 / (2 + x), u = 2t − 1, x ≥ 0, computed
# with 60 digits (tests/test_formulas.py computes them again). The form is that of Press et al., Numerical
# Recipes, section 6.2. The first is halved.
ERFC_COEFFICIENTS: tuple[float, ...] = (
    -0.6513268598908547,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)


def rebuild(node: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """`node` with every subtree for which `change` gives something replaced by that, from the top down."""
    memo: dict[int, Expr] = {}

    def walk(n: Expr) -> Expr:
        if id(n) not in memo:
            new = change(n)
            if new is None:
                new = _node(n.op, tuple(walk(arg) for arg in n.args), n.value) if n.args else n
            memo[id(n)] = new
        return memo[id(n)]

    return walk(node)


# erf to 1.5e-7 absolute, which is a rounding of float32: Abramowitz and Stegun, 7.1.26.
_SHORT_P = 0.3275911
_SHORT = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def expand_erf(formula: Formula, single: bool) -> Formula:
    """`formula` with erf(x) written out: sign(x)·(1 − t exp(−x² + Σ cₖ Tₖ(2t − 1))), t = 2 / (2 + |x|), to 3e-16
    absolute; with `single` sign(x)·(1 − exp(−x²) Σ aₖ tᵏ), t = 1 / (1 + p |x|), to 1.5e-7."""

    def change(n: Expr) -> Expr | None:
        if n.op != "erf":
            return None
        x = rebuild(n.args[0], change)
        one_minus = 1.0 - (_short_erfc(x) if single else _erfc(x))
        return where(x >= 0.0, one_minus, -one_minus)

    return Formula({name: rebuild(e, change) for name, e in formula.results.items()})


def _erfc(x: Expr) -> Expr:
    distance = absolute(x)
    t = 2.0 / (2.0 + distance)
    u2 = 4.0 * t - 2.0
    # Clenshaw's recurrence: stable where the expanded polynomial would cancel.
    c = ERFC_COEFFICIENTS
    b1: Expr = u2 * c[-1] + c[-2]
    b2: Expr | float = c[-1]
    for ck in reversed(c[1:-2]):
        b1, b2 = u2 * b1 - b2 + ck, b1
    poly = 0.5 * (u2 * b1) - b2 + c[0]
    return t * exp(poly - distance * distance)


def _short_erfc(x: Expr) -> Expr:
    t = 1.0 / (1.0 + _SHORT_P * absolute(x))
    poly: Expr | float = 0.0
    for a in reversed(_SHORT):
        poly = t * (poly + a)
    assert isinstance(poly, Expr)
    return exp(-(x * x)) * poly


def hoist(formula: Formula, scalars: Collection[str]) -> tuple[dict[str, Expr], Formula]:
    """Split off what depends on `scalars` alone: it changes once a step, not once an element.

    Returns the hoisted expressions by new names (`h0`, `h1`, …) and the formula with those names as symbols. A bare
    scalar symbol stays as it is and appears among the hoisted under its own name.
    """
    hoisted: dict[str, Expr] = {}
    names: dict[int, str] = {}

    def scalar(n: Expr) -> bool:
        leaves = [m for m in n.nodes() if m.op == "sym"]
        return bool(leaves) and all(str(m.value) in scalars for m in leaves)

    def change(n: Expr) -> Expr | None:
        if not scalar(n):
            return None
        if id(n) not in names:
            names[id(n)] = str(n.value) if n.op == "sym" else f"h{len(hoisted)}"
            hoisted[names[id(n)]] = n
        return Sym(names[id(n)])

    return hoisted, Formula({name: rebuild(e, change) for name, e in formula.results.items()})


UFUNCS: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "cos": np.cos,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **UFUNCS,
    "where": np.where,
    "width": lambda x: float(np.shape(x)[-1]),
    "row_sum": lambda x: np.sum(x, axis=-1, keepdims=True),
    "row_mean": lambda x: np.mean(x, axis=-1, keepdims=True),
    "row_max": lambda x: np.max(x, axis=-1, keepdims=True),
}


def evaluate(expression: Expr, values: Mapping[str, Any]) -> Any:
    """The value of `expression`, plainly: the reference that printed code is tested against, and used for scalars."""
    nodes = expression.nodes()
    if any(n.op == "erf" for n in nodes):
        return evaluate(expand_erf(Formula({"": expression}), single=False).results[""], values)
    known: dict[int, Any] = {}
    for n in nodes:
        if n.op == "sym":
            known[id(n)] = values[str(n.value)]
        elif n.op == "const":
            known[id(n)] = n.value
        else:
            known[id(n)] = _FUNCTIONS[n.op](*(known[id(arg)] for arg in n.args))
    return known[id(expression)]
