"""An explanation as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as html

from fcnet.errors import escape
from fcnet.reports.explain import EquationGroup, Explanation, ShownEquation
from fcnet.reports.explain_text import apart
from fcnet.reports.notation import mathml
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
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5d6570; --line: #d9dde2; --page: #fbfbfa; --card: #fff;
  --accent: #2457a6; --good: #17683a; --bad: #b3261e; --wash: #eef3fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a2abb5; --line: #3a4149; --page: #15181b;
  --card: #1d2125; --accent: #8db8f5; --good: #7fd1a0; --bad: #ff9c94; --wash: #212b38; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue",
  Arial, sans-serif; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .25rem; padding-bottom: .3rem; border-bottom: 2px solid var(--accent); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; }
.soft, figcaption, footer { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: 1rem 0; }
a { color: var(--accent); }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem 1rem;
  margin: .75rem 0; break-inside: avoid; }
.head { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; justify-content: space-between; }
.equation { font-size: 1.2rem; overflow: auto hidden; max-width: 100%; padding: .3rem 0; }
.number { color: var(--soft); margin-right: .6rem; font-size: 1rem; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math, serif; }
.check { white-space: nowrap; font-size: .9rem; }
.right { color: var(--good); } .wrong { color: var(--bad); font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 .3rem; font-size: .93rem; }
caption { text-align: left; color: var(--soft); }
th, td { text-align: left; padding: .22rem .8rem .22rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 400; white-space: nowrap; }
article table { table-layout: fixed; min-width: 26rem; } article th:nth-child(1) { width: 13%; }
article th:nth-child(2) { width: 47%; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
td.n + td.n, th.n + th.n { padding-left: 1.2rem; }
code { font: .86rem/1.4 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.code { margin: .4rem 0 0; color: var(--soft); font-size: .9rem; }
details { margin: 1rem 0; } summary { cursor: pointer; }
footer { padding-top: 2rem; padding-bottom: 3rem; font-size: .9rem; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #fff;
  --accent: #000; --good: #000; --bad: #000; } nav { display: none; } body { font-size: 10.5pt; }
  header, main, footer { max-width: none; padding: 0; } h2, h3 { break-after: avoid; } }
"""


def page(found: Explanation) -> str:
    """The whole page, as text in UTF-8."""
    name = html(escape(found.name))
    passed = sum(check.passed for check in found.checks)
    verdict = f"{passed} of {count(len(found.checks), 'check')} agree"
    state = "right" if passed == len(found.checks) else "wrong"
    links = "".join(f'<li><a href="#{part.lower()}">{part}</a></li>' for part in found.parts)
    symbols = "".join(
        f'<tr><th scope="row">{mathml(symbol)}</th><td>{_words(meaning)}</td></tr>' for symbol, meaning in SYMBOLS
    )
    parts = "".join(_part(part, sections, found.left_out) for part, sections in found.parts.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: one training step, taken apart</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{name}: one training step, taken apart</h1>
<p class="soft">The derivation of backpropagation with this very net and one real batch: every equation with its arrays,
the function that computes it, and a check.</p>
<dl class="facts">
<dt>net</dt><dd>{html(escape(found.net))}</dd>
<dt>batch</dt><dd>{html(found.batch)}, in float64, at the initial weights moved by 0.01 N(0, 1)</dd>
<dt>checks</dt><dd><span class="{state}">{verdict}</span>: a relative error below {LIMIT:.0e} is what rounding explains.
The forward pass and the update are computed a second time, plainly; the gradients are compared with finite
differences.</dd>
</dl>
<nav aria-label="Parts"><ul>{links}</ul></nav>
</header>
<main>
<details open><summary>The letters</summary>
<div class="scroll"><table><tbody>{symbols}</tbody></table></div>
<p class="soft">‖·‖ is the root of the sum of squares, ∘ the product of element and element, Σ and max in a formula of a
layer run over the units of a row, {mathml("Σ_{r}")} over the rows.</p></details>
{parts}
</main>
<footer>Written by fcnet explain. The derivation with its proofs is in docs/derivation.md.</footer>
</body>
</html>
"""


def _part(part: str, sections: Sequence[EquationGroup], left_out: int) -> str:
    cut = ""
    if left_out and part in ("Forward", "Backward"):
        cut = f'<p class="soft">{count(left_out, "layer")} between them not shown; fcnet explain -v shows all.</p>'
    shown = "".join(_section(section) for section in sections)
    key = part.lower()
    return (
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{part}</h2>'
        f'<p class="soft">{INTRODUCTIONS[part]}</p>{shown}{cut}</section>\n'
    )


def _section(section: EquationGroup) -> str:
    return f"<h3>{html(escape(section.title))}</h3>" + "".join(map(_equation, section.equations))


def _equation(equation: ShownEquation) -> str:
    number = f'<span class="number">{html(equation.number)}</span>' if equation.number else ""
    rows = "".join(
        f'<tr><th scope="row">{mathml(q.symbol)}</th><td>{_words(q.meaning)}</td>'
        f'<td class="n">{" × ".join(map(str, q.shape)) or "1"}</td><td class="n">{q.norm:.5g}</td></tr>'
        for q in equation.quantities
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col">symbol</th><th scope="col">what it is</th>'
        f'<th scope="col" class="n">shape</th><th scope="col" class="n">length ‖·‖</th></tr></thead><tbody>{rows}'
        "</tbody></table></div>"
    )
    note = f"<p>{html(equation.note)}</p>" if equation.note else ""
    return (
        f'<article><div class="head"><div class="equation" tabindex="0">{number}{mathml(equation.text)}</div>'
        f"{_check(equation.check)}</div>{table if rows else ''}{note}"
        f'<p class="code">computed by <code>{html(equation.code)}</code>, line {equation.line}</p></article>\n'
    )


def _check(check: Check | None) -> str:
    if check is None:
        return ""
    if check.passed:
        return f'<span class="check right">✓ agrees, {apart(check)}</span>'
    return f'<span class="check wrong">✗ wrong, {apart(check)}</span>'


def _words(text: str) -> str:
    """A sentence in which symbols with something below them are set as mathematics."""
    said = []
    for word in text.split(" "):
        bare = word.rstrip(",;")
        said.append(mathml(bare) + word[len(bare) :] if "_{" in word else html(word))
    return " ".join(said)
