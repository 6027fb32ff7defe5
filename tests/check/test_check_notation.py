"""How expressions are written out for people."""

from __future__ import annotations

import math

import pytest

from fcnet.formulas import Const, Sym
from fcnet.formulas.notation import line
from fcnet.reports.notation import mathml


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0, "−0"), (-2.0, "−2"), (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "NaN"), (1e-12, "1e-12")],
)
def test_every_number_is_written_out(number: float, text: str) -> None:
    """A zero keeps its sign, and what is not finite has its usual one; a negative factor stands in brackets."""
    behind = f"({text})" if text.startswith("−") else text

    assert line(Const(number), {}) == text
    assert line(Sym("c") * Const(number), {}) == f"c · {behind}"
    assert text.removeprefix("−") in mathml(line(Const(number), {}))
