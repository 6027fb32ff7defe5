"""An explanation as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from fcnet.reports.explain import EquationGroup, Explanation, ShownEquation
from fcnet.reports.explain_text import apart
from fcnet.reports.notation import mathml
from fcnet.reports.page import Page, PagePart, facts, paragraph, table, text
from fcnet.reports.text import count
from fcnet.training.gradcheck import LIMIT, Check

INTRODUCTIONS = {
    "Forward": "From the input to the output. Capital letters hold one row for each row of the batch.",
    "Loss": "How wrong the predictions are, and the gradient that the backward pass begins with.",
    "Backward": "From the output to the input. Each layer turns the gradient at its outputs into that of its "
    "parameters and of its inputs; the numbers are those of the derivation.",
    "Update": "All parameters are one long vector, their gradients another; one formula holds for every number.",
}

SYMBOLS = (
    ("Z_{i}", "inputs of layer i, one row for each row of the batch; Z_{1} is the batch itself"),
    ("A_{i} = Z_{i} W_{i}^{T} + b_{i}", "pre-activations; the outputs are Z_{i+1} = f_{i} of them"),
    ("L", "the loss, a mean over the rows"),
    ("Δ_{i}", "∂L/∂Z_{i+1}, the gradient at the outputs of layer i"),
    ("E_{i}", "∂L/∂A_{i}, the gradient at its pre-activations"),
    ("db_{i}, dW_{i}", "the gradients of its biases and weights"),
)

STYLE = """
article table { table-layout: fixed; min-width: 26rem; } article th:nth-child(1) { width: 13%; }
article th:nth-child(2) { width: 47%; }
.head { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; justify-content: space-between; }
.equation { font-size: 1.2rem; overflow: auto hidden; max-width: 100%; padding: .3rem 0; }
.number { color: var(--soft); margin-right: .6rem; font-size: 1rem; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math, serif; }
.check { white-space: nowrap; font-size: .9rem; }
.code { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
"""


def page(found: Explanation) -> str:
    """The whole page, as text in UTF-8."""
    passed = sum(check.passed for check in found.checks)
    verdict = f"{passed} of {count(len(found.checks), 'check')} agree"
    state = "right" if passed == len(found.checks) else "wrong"
    head = paragraph(
        "The derivation of backpropagation with this very net and one real batch: every equation with its arrays, the "
        "function that computes it, and a check."
    ) + facts(
        {
            "net": text(found.net),
            "batch": f"{text(found.batch)}, in float64, at the initial weights moved by 0.01 N(0, 1)",
            "checks": f'<span class="{state}">{verdict}</span>: a relative error below {LIMIT:.0e} is what rounding '
            "explains. The forward pass and the update are computed a second time, plainly; the gradients are compared "
            "with finite differences.",
        }
    )
    letters = table(["letter", "what it is"], [[mathml(symbol), _words(meaning)] for symbol, meaning in SYMBOLS])
    first = (
        f"<details open><summary>The letters</summary>{letters}"
        '<p class="soft">‖·‖ is the root of the sum of squares, ∘ the product of element and element, Σ and max in a '
        f"formula of a layer run over the units of a row, {mathml('Σ_{r}')} over the rows.</p></details>\n"
    )
    parts = [_part(part, groups, found.left_out) for part, groups in found.parts.items()]
    footer = "Written by fcnet explain. The derivation with its proofs is in docs/derivation.md."
    return str(Page(f"{found.name}: one training step, taken apart", head, parts, footer, STYLE, first=first))


def _part(part: str, groups: Sequence[EquationGroup], left_out: int) -> PagePart:
    cut = ""
    if left_out and part in ("Forward", "Backward"):
        cut = paragraph(f"{count(left_out, 'layer')} between them not shown; fcnet explain -v shows all.")
    shown = "".join(_group(group) for group in groups)
    return PagePart(part, paragraph(INTRODUCTIONS[part]) + shown + cut)


def _group(group: EquationGroup) -> str:
    return f"<h3>{text(group.title)}</h3>" + "".join(map(_equation, group.equations))


def _equation(equation: ShownEquation) -> str:
    number = f'<span class="number">{text(equation.number)}</span>' if equation.number else ""
    rows = [
        [mathml(q.symbol), _words(q.meaning), " × ".join(map(str, q.shape)) or "1", f"{q.norm:.5g}"]
        for q in equation.quantities
    ]
    quantities = table(["symbol", "what it is", "shape", "length ‖·‖"], rows, numbers=(2, 3)) if rows else ""
    note = f"<p>{text(equation.note)}</p>" if equation.note else ""
    return (
        f'<article><div class="head"><div class="equation" tabindex="0">{number}{mathml(equation.text)}</div>'
        f"{_check(equation.check)}</div>{quantities}{note}"
        f'<p class="code">computed by <code>{text(equation.code)}</code>, line {equation.line}</p></article>\n'
    )


def _check(check: Check | None) -> str:
    if check is None:
        return ""
    if check.passed:
        return f'<span class="check right">✓ agrees, {apart(check)}</span>'
    return f'<span class="check wrong">✗ wrong, {apart(check)}</span>'


def _words(said: str) -> str:
    """A sentence in which symbols with something below them are set as mathematics."""
    words = []
    for word in said.split(" "):
        bare = word.rstrip(",;")
        words.append(mathml(bare) + word[len(bare) :] if "_{" in word else text(word))
    return " ".join(words)
