"""An expression as a line of text for people, with letters that have `_{…}` below and `^{…}` above."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fcnet.formulas import Expr, Formula
from fcnet.formulas.expression import COMPARISONS, REDUCTIONS, is_const, negative

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4

_SIGNS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥"}
_CALLS = {"log": "ln", "sqrt": "√"}
_ROWS = {"row_sum": "Σ", "row_mean": "mean", "row_max": "max"}
_SCALARS = ("lr", "t", "decay", "clip", "scale")


def compact(value: float) -> str:
    """A hyper-parameter the way people write it.

    >>> [compact(v) for v in (0.001, 0.0003, 0.05, 1.0, 0.00125)]
    ['1e-3', '3e-4', '0.05', '1', '1.25e-3']
    """
    plain = f"{value:.6g}"
    if value == 0 or not math.isfinite(value) or 0.01 <= abs(value) < 1e5:
        return plain
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def line(expression: Expr, names: Mapping[str, str], known: Mapping[Expr, str] | None = None) -> str:
    """An expression as a line; `names` are what its symbols are called, `known` those of whole subexpressions.

    >>> from fcnet.formulas import Sym, maximum
    >>> line(maximum(Sym("a"), 0.0) * 2.0, {"a": "A_{1}"})
    'max(A_{1}, 0) · 2'
    """
    return _line(expression, names, known or {})[0]


def formula(results: Formula, names: Mapping[str, str]) -> list[str]:
    """A line for each result, which is called `names[result]'` in those after it."""
    known: dict[Expr, str] = {}
    lines = []
    for name, expression in results.results.items():
        prime = f"{names.get(name, name)}′"
        lines.append(f"{prime} = {line(expression, names, known)}")
        known[expression] = prime
    return lines


def _line(e: Expr, names: Mapping[str, str], known: Mapping[Expr, str]) -> tuple[str, int]:
    """(text, how tightly it binds)."""
    if e in known:
        return known[e], ATOM
    if e.op == "sym":
        return names.get(str(e.value), str(e.value)), ATOM
    if e.op == "const":
        assert isinstance(e.value, (int, float))
        text = compact(abs(e.value)).replace("inf", "∞").replace("nan", "NaN")
        return (f"−{text}", SUM) if negative(e.value) else (text, ATOM)

    def arg(i: int, least: int) -> str:
        text, binds = _line(e.args[i], names, known)
        return text if binds >= least else f"({text})"

    inner = [_line(a, names, known)[0] for a in e.args]
    if e.op in ("add", "sub"):
        return f"{arg(0, SUM)} {'+' if e.op == 'add' else '−'} {arg(1, SUM if e.op == 'add' else PRODUCT)}", SUM
    if e.op == "mul" and e.args[0] is e.args[1]:
        return f"{arg(0, ATOM)}^{{2}}", POWER
    if e.op == "mul" and e.args[1].op == "div" and is_const(e.args[1].args[0], 1):
        return f"{arg(0, PRODUCT)} / {_line(e.args[1].args[1], names, known)[0]}", PRODUCT
    if e.op == "mul":
        return f"{arg(0, PRODUCT)} {'∘' if all(map(_spread, e.args)) else '·'} {arg(1, POWER)}", PRODUCT
    if e.op == "div":
        return f"{arg(0, PRODUCT)} / {arg(1, POWER)}", PRODUCT
    if e.op == "neg":
        return f"−{arg(0, PRODUCT)}", SUM
    if e.op == "pow":
        return f"{arg(0, ATOM)}^{{{inner[1]}}}", POWER
    if e.op in COMPARISONS:
        return f"{inner[0]} {_SIGNS[e.op]} {inner[1]}", SUM
    if e.op == "where":
        return f"[{inner[1]} where {inner[0]}, else {inner[2]}]", ATOM
    if e.op == "abs":
        return f"|{inner[0]}|", ATOM
    if e.op == "log1p":
        return f"ln(1 + {arg(0, SUM)})", ATOM
    if e.op == "expm1":
        return f"(exp({inner[0]}) − 1)", ATOM
    if e.op == "width":
        return "n", ATOM
    if e.op in REDUCTIONS:
        return f"{_ROWS[e.op]}({inner[0]})", ATOM
    return f"{_CALLS.get(e.op, e.op)}({', '.join(inner)})", ATOM


def _spread(e: Expr) -> bool:
    """Whether the value is an array as wide as the layer, and not one number, or one for each row."""
    if e.op == "sym":
        return str(e.value) not in _SCALARS
    return e.op not in (*REDUCTIONS, "width", "const") and any(map(_spread, e.args))
