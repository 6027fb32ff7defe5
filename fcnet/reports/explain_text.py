"""An explanation on the terminal: one block for each layer, one equation after another, 80 columns."""

from __future__ import annotations

import textwrap

from fcnet.errors import escape
from fcnet.reports.explain import EquationGroup, Explanation, Quantity, ShownEquation
from fcnet.reports.notation import plain
from fcnet.reports.text import cells, count, left
from fcnet.training.gradcheck import Check

WIDTH = 80

HEADINGS = {
    "Forward": "Forward, from the input to the output",
    "Loss": "Loss",
    "Backward": "Backward, from the output to the input",
    "Update": "Update",
}


def lines(found: Explanation, width: int | None) -> list[str]:
    """The whole explanation; `width` is the terminal's, of which no more than 100 columns are used."""
    columns = max(60, min(width or WIDTH, 100))
    told = [
        f"{escape(found.name)}: one step, taken apart",
        "",
        *_wrapped(f"net    {found.net}", columns, 7),
        *_wrapped(f"batch  {found.batch}, in float64, at the initial weights moved by 0.01 N(0, 1)", columns, 7),
        *_wrapped(
            "check  forward and update: computed a second time, plainly; backward: against finite differences. "
            "The number is the relative error.",
            columns,
            7,
        ),
    ]
    for heading, sections in found.parts.items():
        told += ["", HEADINGS[heading], "─" * columns]
        for section in sections:
            told += _section(section, columns)
        if found.left_out and heading in ("Forward", "Backward"):
            told.append(f"  … {count(found.left_out, 'layer')} between them not shown; -v shows all")
    return told


def verdict(check: Check) -> str:
    """The outcome of a check in a few letters."""
    return f"{'✓' if check.passed else '✗ WRONG'} {apart(check)}"


def apart(check: Check) -> str:
    """The relative error with one digit, or that there is none."""
    return f"{check.error:.0e}" if check.error else "exact"


def quantity(q: Quantity) -> str:
    """An array in a few letters: symbol, shape, length."""
    shape = "×".join(map(str, q.shape)) or "1"
    return f"{plain(q.symbol)} {shape} ‖{q.norm:.4g}‖"


def _section(section: EquationGroup, columns: int) -> list[str]:
    told = [f"  {section.title}"]
    for equation in section.equations:
        told += _equation(equation, columns)
    return told


def _equation(equation: ShownEquation, columns: int) -> list[str]:
    mark = "" if equation.check is None else verdict(equation.check)
    room = columns - 10 - max(cells(mark) + 2, 9)
    text = textwrap.wrap(plain(equation.text), room, subsequent_indent="    ") or [""]
    first = left(f"    {equation.number:>4}  {text[0]}", columns - cells(mark)) + mark
    told = [first.rstrip(), *(f"          {rest}" for rest in text[1:])]
    if equation.quantities:
        told += _wrapped(" " * 10 + " · ".join(map(quantity, equation.quantities)), columns, 10)
    if equation.note:
        told += _wrapped(" " * 10 + equation.note, columns, 10)
    told.append(" " * 10 + f"{equation.code}, line {equation.line}")
    return told


def _wrapped(text: str, columns: int, indent: int) -> list[str]:
    return textwrap.wrap(text, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
