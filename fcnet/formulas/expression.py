"""Expressions: an activation, a loss or an optimizer's update is a pure function that is called once with symbols.

The result is a small tree. Equal subtrees are one object, so that a printer computes each of them once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from fcnet.records import dataclass

Number = float | int

__all__ = [
    "Const", "Expr", "Formula", "Sym", "absolute", "cos", "erf", "exp", "expm1", "log", "log1p", "maximum", "minimum",
    "power", "row_max", "row_mean", "row_sum", "sqrt", "tanh", "where", "width",
]  # fmt: skip

REDUCTIONS = ("row_sum", "row_mean", "row_max")
COMPARISONS = ("lt", "le", "gt", "ge")


class Expr:
    """A node: an operation on nodes, a symbol (`op == "sym"`) or a constant (`op == "const"`)."""

    __slots__ = ("args", "op", "value")
    op: str
    args: tuple[Expr, ...]
    value: str | Number | None

    def __add__(self, other: Expr | Number) -> Expr:
        return _binary("add", self, other)

    def __radd__(self, other: Number) -> Expr:
        return _binary("add", other, self)

    def __sub__(self, other: Expr | Number) -> Expr:
        return _binary("sub", self, other)

    def __rsub__(self, other: Number) -> Expr:
        return _binary("sub", other, self)

    def __mul__(self, other: Expr | Number) -> Expr:
        return _binary("mul", self, other)

    def __rmul__(self, other: Number) -> Expr:
        return _binary("mul", other, self)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return _binary("div", self, other)

    def __rtruediv__(self, other: Number) -> Expr:
        return _binary("div", other, self)

    def __neg__(self) -> Expr:
        return _node("neg", (self,))

    def __lt__(self, other: Expr | Number) -> Expr:
        return _binary("lt", self, other)

    def __le__(self, other: Expr | Number) -> Expr:
        return _binary("le", self, other)

    def __gt__(self, other: Expr | Number) -> Expr:
        return _binary("gt", self, other)

    def __ge__(self, other: Expr | Number) -> Expr:
        return _binary("ge", self, other)

    def __repr__(self) -> str:
        if self.op in ("sym", "const"):
            return str(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"

    def nodes(self) -> tuple[Expr, ...]:
        """Every distinct node below and including this one, operands before what uses them."""
        return _below(self)


@lru_cache(4096)
def _below(*roots: Expr) -> tuple[Expr, ...]:
    """Every distinct node of these expressions, operands before what uses them."""
    done: dict[Expr, None] = {}
    waiting = [*reversed(roots)]
    while waiting:
        node = waiting[-1]
        missing = [arg for arg in reversed(node.args) if arg not in done]
        if missing:
            waiting += missing
        else:
            done[waiting.pop()] = None
    return tuple(done)


_interned: dict[tuple[object, ...], Expr] = {}


def _node(op: str, args: tuple[Expr, ...], value: str | Number | None = None) -> Expr:
    # By its text: 0.0 == -0.0, and a NaN is not equal to itself.
    key = (op, tuple(map(id, args)), type(value), repr(value))
    found = _interned.get(key)
    if found is None:
        found = object.__new__(Expr)
        found.op, found.args, found.value = op, args, value
        found = _interned.setdefault(key, found)  # another thread may have been faster
    return found


def Sym(name: str) -> Expr:
    """The symbol `name`."""
    return _node("sym", (), name)


def Const(value: Number) -> Expr:
    """The number `value`; an int stays an int, so that it can be compared with integer words. 0.0 and -0.0 are two."""
    return _node("const", (), float(value) if isinstance(value, float) else value)


def _expr(value: Expr | Number) -> Expr:
    return value if isinstance(value, Expr) else Const(value)


def is_const(node: Expr, value: Number | None = None) -> bool:
    """Whether `node` is a constant (equal to `value`, where one is given; of a zero the sign counts)."""
    if node.op != "const" or value is None:
        return node.op == "const"
    return node.value == value and negative(node.value) == negative(value)


def negative(value: Number) -> bool:
    """Whether a number has the sign −, as -0.0 has."""
    return math.copysign(1.0, value) < 0


def _binary(op: str, x: Expr | Number, y: Expr | Number) -> Expr:
    x, y = _expr(x), _expr(y)
    # Only identities that hold for every float, bit for bit: x + 0 is not among them, since -0.0 + 0.0 is 0.0.
    if (op == "mul" and is_const(x, 1)) or (op == "add" and is_const(x, -0.0)):
        return y
    if is_const(y, {"mul": 1, "div": 1, "add": -0.0, "sub": 0}.get(op, math.nan)):
        return x
    return _node(op, (x, y))


def absolute(x: Expr) -> Expr:
    """|x|."""
    return _node("abs", (x,))


def exp(x: Expr) -> Expr:
    """eˣ."""
    return _node("exp", (x,))


def log(x: Expr) -> Expr:
    """ln x."""
    return _node("log", (x,))


def log1p(x: Expr) -> Expr:
    """ln(1 + x), exact for small x."""
    return _node("log1p", (x,))


def expm1(x: Expr) -> Expr:
    """eˣ − 1, exact for small x."""
    return _node("expm1", (x,))


def tanh(x: Expr) -> Expr:
    """tanh x."""
    return _node("tanh", (x,))


def sqrt(x: Expr) -> Expr:
    """√x."""
    return _node("sqrt", (x,))


def erf(x: Expr) -> Expr:
    """The error function, (2/√π) ∫₀ˣ exp(−u²) du."""
    return _node("erf", (x,))


def cos(x: Expr) -> Expr:
    """cos x."""
    return _node("cos", (x,))


def minimum(x: Expr | Number, y: Expr | Number) -> Expr:
    """The smaller of x and y; NaN if either is."""
    return _binary("min", x, y)


def maximum(x: Expr | Number, y: Expr | Number) -> Expr:
    """The larger of x and y; NaN if either is."""
    return _binary("max", x, y)


def power(x: Expr | Number, y: Expr | Number) -> Expr:
    """x to the power y."""
    return _binary("pow", x, y)


def where(condition: Expr, x: Expr | Number, y: Expr | Number) -> Expr:
    """x where the comparison `condition` holds, else y.

    Both must be finite, and a zero may have either sign: a printer may blend, c·x + (1−c)·y.
    """
    assert condition.op in COMPARISONS, "where takes a comparison"
    return _node("where", (condition, _expr(x), _expr(y)))


def width(x: Expr) -> Expr:
    """n, the number of a row's units: a number, known as soon as the arrays are."""
    return _node("width", (x,))


def row_sum(x: Expr) -> Expr:
    """The sum over a row's units: (…, B, n) → (…, B, 1)."""
    return _node("row_sum", (x,))


def row_mean(x: Expr) -> Expr:
    """The mean over a row's units: (…, B, n) → (…, B, 1)."""
    return _node("row_mean", (x,))


def row_max(x: Expr) -> Expr:
    """The maximum over a row's units: (…, B, n) → (…, B, 1)."""
    return _node("row_max", (x,))


@dataclass(frozen=True)
class Formula:
    """Named results, each an expression; their symbols name the arrays that a backend binds them to."""

    results: Mapping[str, Expr]

    def nodes(self) -> tuple[Expr, ...]:
        """Every distinct node of all results, operands first, in the order of the results."""
        return _below(*self.results.values())

    def symbols(self) -> list[str]:
        """The names of the symbols that occur, in order of first use."""
        return [str(node.value) for node in self.nodes() if node.op == "sym"]
