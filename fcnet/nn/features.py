"""What layers share that make several values of each number: features are an axis of their own.

Of a layer's inputs (…, B, n_in) the first ones are numbers. Each becomes `size` values, side by side; the other inputs
stand behind them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np

from fcnet import random
from fcnet.backends.ops import Apply, Array, Matmul, Ref, Tape
from fcnet.errors import ConfigError
from fcnet.formulas import Expr, Formula, Sym
from fcnet.nn.layers.layer import Context, Key, product_back, transpose
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import MAX_COUNT, Ge, Le


@dataclass(frozen=True, kw_only=True)
class NumberLayer:
    """A layer that makes several values of each number."""

    numbers: Annotated[int, Ge(0), Le(MAX_COUNT)] | None = None
    """How many inputs are numbers, the first ones; found in the data."""

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """What the config calls it."""

        @property
        def size(self) -> int:
            """How many values a number becomes."""

    def settled(self, given: Context) -> Self:
        """With the numbers of the data; ConfigError where they are others."""
        if self.numbers not in (None, given.numbers):
            raise ConfigError(
                f"{self.name} was made for {self.numbers:,} numbers, and these data have {given.numbers:,}; "
                "leave its numbers out",
                key="network.layers",
            )
        return replace(self, numbers=given.numbers)

    def among(self, n_in: int) -> int:
        """How many of n_in inputs are numbers; ConfigError where there are fewer, but for 0, of which nothing is
        known."""
        if self.numbers is not None and 0 < n_in < self.numbers:
            raise ConfigError(
                f"{self.name} takes the {self.numbers:,} numbers of the data, and has {n_in:,} inputs; put it in front "
                "of the layers with units",
                key="network.layers",
            )
        return n_in if self.numbers is None else self.numbers

    def ranked(self, ranks: Array) -> Array:
        """The places of its outputs: each of the first inputs, of these places, becomes `size` values."""
        n, size = self.among(len(ranks)), self.size
        own = (ranks[:n, None] * size + np.arange(size)).reshape(-1)
        return ordered(np.concatenate([own, ranks[n:] * size]))


def number(z: Ref, n: int) -> Ref:
    """The first n inputs, one number a feature: (…, n, B, 1)."""
    return z[..., 0:n].on("row", "feature")


def values(z: Ref, n: int, size: int) -> Ref:
    """The values of n features: (…, n, B, size)."""
    return z[..., 0 : n * size].split(n).on("row", "feature", "unit")


def room(ws: Workspace, name: str, n: int, units: int) -> Ref:
    """A buffer of so many units for each of n features, (…, n, B, units): feature after feature, as loops go."""
    return ws.new(name, (n, ws.lead[-1], units))


def vector(p: Ref) -> Ref:
    """A parameter of each feature's units (…, n, units), the same for all rows."""
    return p.on("feature", "unit")


def outputs(k: Tape, ws: Workspace, z: Ref, n: int, size: int) -> Ref:
    """Room for z_out, with the other inputs in their place already."""
    rest = z.shape[-1] - n
    z_out = ws.new("z_out", n * size + rest)
    if rest:
        made = {"z": z_out[..., n * size : n * size + rest]}
        k.add(Apply(Formula({"z": Sym("z")}), {"z": z[..., n : n + rest]}, made))
    return z_out


def inputs(k: Tape, ws: Workspace, δ: Ref, n: int, size: int) -> Ref:
    """Room for δ_in, with that of the other inputs in its place already."""
    rest = δ.shape[-1] - n * size
    δ_in = ws.new("δ_in", n + rest)
    if rest:
        made = {"δ": δ_in[..., n : n + rest]}
        k.add(Apply(Formula({"δ": Sym("δ")}), {"δ": δ[..., n * size : n * size + rest]}, made))
    return δ_in


def mapped(k: Tape, V: Ref, c: Ref, h: Ref, out: Ref, f: Callable[[Expr], Expr] = lambda a: a) -> None:
    """out = f(V h + c) feature by feature: V (…, n, size, units), h (…, n, B, units), out (…, n, B, size)."""
    k.add(Matmul(h, transpose(V), out))
    k.add(Apply(Formula({"a": f(Sym("a") + Sym("c"))}), {"a": out, "c": vector(c)}, {"a": out}))


def mapped_back(k: Tape, V: Ref, h: Ref, ε: Ref, g: Mapping[str, Ref], δ: Ref | None) -> None:
    """dc = Σ rows ε and dV = Eᵀ H; δ at h = E V, where it is asked for."""
    k.add(Apply(Formula({"ε": Sym("ε")}), {"ε": ε}, {}, {"ε": g["c"]}))
    product_back(k, ε, V, h, g["V"], δ)


def draw(p: Array, key: Key, kind: str, scale: float) -> None:
    """Fill a parameter (n, …) of n features: N(0, scale²), that brought within ±3 scale, or U(±scale).

    Each feature takes what is drawn for its place, whatever the order of the columns.
    """
    normal = kind != "uniform"
    drawn = (
        random.normal(p.size, key.words, key.place)
        if normal
        else 2.0 * random.uniform(p.size, key.words, key.place) - 1.0
    )
    if kind == "cut normal":
        drawn = np.where(np.abs(drawn) > 3, drawn / 2, drawn)
    drawn = scale * drawn.reshape(p.shape)
    p[...] = drawn if key.ranks is None else drawn[ordered(key.ranks[: len(p)])]


def ordered(ranks: Array) -> Array:
    """The places 0 … n−1 in the order of n ranks."""
    places: Array = np.argsort(np.argsort(ranks))
    return places
