"""Mathematics for people: an expression as a line of text, and a line of text as plain Unicode or as MathML.

A line is written like `A_{1} = Z_{1} W_{1}^{T} + b_{1}`: letters with `_{…}` below and `^{…}` above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from fcnet.formulas import Expr, Formula
from fcnet.formulas.expression import COMPARISONS, REDUCTIONS, is_const, negative
from fcnet.reports.text import compact

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4

_SIGNS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥"}
_CALLS = {"log": "ln", "sqrt": "√"}
_ROWS = {"row_sum": "Σ", "row_mean": "mean", "row_max": "max"}
_SCALARS = ("lr", "t", "decay", "clip", "scale")

_TOKEN = re.compile(r"(?:([^\W\d_]+)(′*)|(\d+(?:\.\d+)?(?:e-?\d+)?)|(\s+)|(.))((?:[_^]\{[^}]*\})*)")
_SCRIPT = re.compile(r"([_^])\{([^}]*)\}")
_LOW = str.maketrans("0123456789-+inr", "₀₁₂₃₄₅₆₇₈₉₋₊ᵢₙᵣ")
_HIGH = str.maketrans("0123456789-+Tt", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀᵗ")


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


def plain(text: str) -> str:
    """A line in Unicode, with digits below and above.

    >>> plain("A_{12} = Z_{12} W_{12}^{T}")
    'A₁₂ = Z₁₂ W₁₂ᵀ'
    """

    def script(found: re.Match[str]) -> str:
        low = found[1] == "_"
        moved = found[2].translate(_LOW if low else _HIGH)
        return moved if all(c not in found[2] for c in moved) else f"{found[1]}({found[2]})"

    return _SCRIPT.sub(script, text)


def mathml(text: str) -> str:
    """A line as a MathML element, whose text is the same for readers that know no MathML.

    >>> mathml("A_{1}")
    '<math><mrow><msub><mi>A</mi><mn>1</mn></msub></mrow></math>'
    """
    return f"<math><mrow>{''.join(_markup(text))}</mrow></math>"


def _markup(text: str) -> list[str]:
    marks = []
    for letters, primes, number, blank, sign, scripts in _TOKEN.findall(text):
        if blank:
            marks.append('<mspace width="0.22em"></mspace>')
            continue
        if len(letters) == 2 and letters[0] in "d∂∇":  # a differential: its sign, then a letter with scripts
            marks.append(_operator(letters[0]))
            letters = letters[1]  # noqa: PLW2901
        if letters:
            base = f"<mtext>{escape(letters)}</mtext>" if len(letters) > 1 else f"<mi>{escape(letters)}</mi>"
        else:
            # Brackets of the size of their line: Chromium would stretch them over what stands below the letters.
            base = f"<mn>{number}</mn>" if number else f'<mo stretchy="false">{escape(sign)}</mo>'
        marks.append(_scripted(base, dict(_SCRIPT.findall(scripts))))
        if primes:
            marks.append(_operator(primes))
    return marks


def _operator(sign: str) -> str:
    """A sign that keeps no distance."""
    return f'<mo lspace="0" rspace="0">{sign}</mo>'


def _scripted(base: str, scripts: Mapping[str, str]) -> str:
    low, high = scripts.get("_"), scripts.get("^")
    if low and high:
        return f"<msubsup>{base}{_script(low)}{_script(high)}</msubsup>"
    if low:
        return f"<msub>{base}{_script(low)}</msub>"
    return f"<msup>{base}{_script(high)}</msup>" if high else base


def _script(text: str) -> str:
    if text.isdigit():
        return f"<mn>{text}</mn>"
    tag = "mi" if len(text) == 1 else "mtext"
    return f"<{tag}>{escape(text)}</{tag}>"
