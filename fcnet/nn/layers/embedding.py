"""Embeddings: a learnt vector for each level of each column of categories, beside the numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np

from fcnet import random
from fcnet.backends.ops import Apply, Array, Ref, ScatterAdd, Take, Tape
from fcnet.errors import ConfigError
from fcnet.formulas import Formula, Sym
from fcnet.nn.layers.layer import Arrays, Context, Equation, Key, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Count, Gt


@dataclass(frozen=True)
class Embedding:
    """z_out = (z, E₁[c₁], E₂[c₂], …): behind the numbers, for each column of codes the vector of its level.

    A level that training has not seen (code −1) is a vector of zeros, which no gradient reaches. It stands first, where
    the batch's codes are.
    """

    size: Count = 8
    """The length of the vectors."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on their learning rate."""
    levels: list[Count] | None = None
    """The number of levels of each column; found in the data."""
    name: Literal["embedding"] = "embedding"

    def settled(self, given: Context) -> Self:
        """With the levels of the data; ConfigError where they are others, or there are none."""
        if not given.levels:
            raise ConfigError(
                "embedding looks up codes of categories, and these columns come as one input a level; leave it out",
                key="network.layers",
            )
        if self.levels not in (None, list(given.levels)):
            raise ConfigError(
                f"embedding was made for columns of {self.levels} levels, and these data have {list(given.levels)}; "
                "leave its levels out",
                key="network.layers",
            )
        return replace(self, levels=list(given.levels))

    def described(self) -> tuple[str, str]:
        """Its size, and how it starts."""
        return f"embedding {self.size}", "normal"

    @property
    def _first(self) -> tuple[int, ...]:
        """Where the levels of each column begin in the table."""
        return tuple(itertools.accumulate([0, *(self.levels or [])[:-1]])) if self.levels else ()

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """E (levels of all columns, size)."""
        levels = self.levels or []
        own = [Slot("E", (sum(levels), self.size), "embedding", self.lr)] if levels else []
        return n_in + len(levels) * self.size, own

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """E ~ N(0, 1 / size)."""
        if self.levels:
            drawn = random.normal(p["E"].size, key.words, key.place)
            p["E"][...] = drawn.reshape(p["E"].shape) / math.sqrt(self.size)

    def ranked(self, ranks: Array) -> Array:
        """The vectors keep their places behind the inputs that take theirs from elsewhere."""
        more = len(self.levels or []) * self.size
        return np.concatenate([ranks, np.arange(len(ranks), len(ranks) + more)])

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Numbers and vectors side by side."""
        if not self.levels:
            return z
        codes, n = ws.batch.c, z.shape[-1]
        assert codes is not None, "there are levels, so there are codes"
        z_out = ws.new("z_out", n + len(self.levels) * self.size)
        if n:
            k.add(Apply(Formula({"z": Sym("z")}), {"z": z}, {"z": z_out[..., 0:n]}))
        k.add(Take(p["E"], codes, self._first, z_out[..., n : z_out.shape[-1]]))
        ws.keep("c", codes)
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """dE: the rows of δ that belong to each level, added up; δ_in, those of the numbers."""
        if not self.levels:
            return δ
        n = δ.shape[-1] - len(self.levels) * self.size
        k.add(ScatterAdd(δ[..., n : δ.shape[-1]], ws["c"], self._first, g["E"]))
        return δ[..., 0:n] if ws.needed else None

    def equations(self, n: Names) -> Iterator[Equation]:
        """The look-up, and what comes back to each level."""
        if not self.levels:
            return
        E, first = n("E"), np.array(self._first)

        def expected(seen: Arrays) -> Array:
            table = np.vstack([seen["p.E"], np.zeros(self.size)])  # the last row stands for −1
            rows = np.where(seen["c"] < 0, -1, seen["c"] + first)
            return np.hstack([seen["z"], *(table[column] for column in rows.T)])

        shown = {"z_out": n.outputs, "z": n.inputs, "p.E": (E, "a vector for each level"), "c": ("c", "codes")}
        yield Equation("forward", f"{n.z_out} = ({n.z}, {E}[c])", self.forward, shown, expected=expected)
        yield Equation("backward", f"d{E}[k] = Σ_{{c = k}} {n.δ}", self.backward, n.slope("E", "the vectors"))
