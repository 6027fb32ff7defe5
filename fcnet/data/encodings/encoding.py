"""What an encoding is: how a column becomes inputs of the net, by what was fitted on its training rows.

Each file beside this one holds one encoding, a class that is at once its section of the config, its documentation and
itself; `__init__` finds them. What an encoding has fitted lies in a `NumberColumn` or a `CategoryColumn`, and all that
it needs later is there: a checkpoint keeps the encoding's name and these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fcnet.formulas import Expr, Sym
from fcnet.formulas.transform import evaluate
from fcnet.records import dataclass

Array = NDArray[Any]
FittedState = Mapping[str, tuple[float, ...]]


class OfNumbers(Protocol):
    """An encoding of a column of numbers as one input, which must keep their order.

    It has `f(x, state)`, a formula of the number x and of `state`, or else `encode(v, state)` of an array v (k, m), a
    row for each of k columns, which may be overwritten; there `state` holds arrays (k, ·).
    """

    @property
    def name(self) -> str:
        """What the config calls it."""

    @property
    def state(self) -> tuple[str, ...]:
        """The names of what it fits."""

    def fit(self, values: Array, rows: int, column: str) -> FittedState:
        """What is to be known of the numbers (n,) of a column in training, finite and n > 0, which may change places.

        `rows` are the rows of training, those among them whose number is missing too. Each name has as many numbers
        for every column.
        """


class OfCategories(Protocol):
    """An encoding of a column of categories."""

    into: ClassVar[Literal["x", "c"]]

    @property
    def name(self) -> str:
        """What the config calls it."""

    @property
    def state(self) -> tuple[str, ...]:
        """The names of what it fits beside the levels."""

    def fit(self, column: str, levels: tuple[str, ...], at: Array) -> CategoryColumn:
        """The column fitted: `at` (n,) are the places of the training rows' cells in `levels`, −1 where missing."""

    def inputs(self, fitted: CategoryColumn) -> tuple[str, ...]:
        """What the inputs are called."""

    def width(self, fitted: CategoryColumn) -> int:
        """How many they are."""

    def write(self, fitted: CategoryColumn, at: Array, out: Array) -> None:
        """Fill the inputs out (n, width) of cells at these places (n,) among the levels, −1 for none of them."""


NUMERIC: dict[str, type[OfNumbers]] = {}
"""Every encoding of numbers by its name; the package finds them in its files."""

CATEGORICAL: dict[str, type[OfCategories]] = {}
"""Likewise of categories."""


def encoded(encoding: OfNumbers, v: Array, state: Mapping[str, Array]) -> Array:
    """The inputs (k, m) of numbers v (k, m), a row for each column, whose memory may be used up."""
    f = getattr(encoding, "f", None)
    if f is None:
        result: Array = encoding.encode(v, state)  # type: ignore[attr-defined]  # one of the two is there
        return result
    return np.asarray(evaluate(f(Sym("x"), {name: Sym(name) for name in state}), {"x": v, **state}))


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers as training saw it: `fill` stands in for a missing one, `low` and `high` are the range.

    `indicator`: whether another input, behind those of all columns, is 1 where the number is missing.
    """

    name: str
    encoding: OfNumbers
    fill: float = 0.0
    low: float = 0.0
    high: float = 0.0
    state: FittedState = field(default_factory=dict)
    indicator: bool = False

    kind: ClassVar[Literal["number", "category"]] = "number"
    into: ClassVar[Literal["x", "c"]] = "x"
    width: ClassVar[int] = 1
    levels: ClassVar[tuple[str, ...]] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the input is called: the column."""
        return (self.name,)

    @property
    def formula(self) -> Expr | None:
        """The input as a formula of the number x; None where it is none."""
        f = getattr(self.encoding, "f", None)
        found: Expr | None = None if f is None else f(Sym("x"), {name: Sym(name) for name in self.state})
        return found

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        more = {"indicator": True} if self.indicator else {}
        return {"name": self.name, "kind": self.kind, "encoding": self.encoding.name, **more}


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories as training saw it. `missing_level`: whether missing cells are a level, behind the others.

    What is none of the levels is unknown: it has no inputs of its own, or the code −1, so that the level reserved for
    it has weights 0 that no gradient reaches.
    """

    name: str
    encoding: OfCategories
    levels: tuple[str, ...] = ()
    missing_level: bool = False
    state: FittedState = field(default_factory=dict)

    kind: ClassVar[Literal["number", "category"]] = "category"

    @property
    def into(self) -> Literal["x", "c"]:
        """Whether the inputs are floats or codes."""
        return self.encoding.into

    @property
    def width(self) -> int:
        """The number of inputs."""
        return self.encoding.width(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What they are called."""
        return self.encoding.inputs(self)

    @property
    def size(self) -> int:
        """The number of levels."""
        return len(self.levels) + self.missing_level

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        own = {"levels": list(self.levels), "missing_level": self.missing_level}
        return {"name": self.name, "kind": self.kind, "encoding": self.encoding.name, **own}


Fitted = NumberColumn | CategoryColumn
