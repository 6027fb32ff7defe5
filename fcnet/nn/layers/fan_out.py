"""One net as many: each row becomes a row for each member, whose inputs have factors of the member's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from fcnet import random
from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.formulas import Formula, Sym
from fcnet.nn.features import vector
from fcnet.nn.layers.layer import Arrays, Complete, Equation, Key, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Le


@dataclass(frozen=True)
class FanOut(Complete):
    """z_outⱼ = rⱼ ∘ z for each member j, one batch behind the other, (members · B, n): layers behind it have the same
    weights for all members (Gorishniy et al. 2024, "TabM-mini").

    The output layer is each member's own (`heads`), the loss is the mean of theirs, and what is predicted is the mean
    of what they predict.
    """

    members: Annotated[int, Ge(2), Le(1000)] = 8
    """How many there are."""
    factors: Literal["normal", "signs"] = "normal"
    """How r starts: N(0, 1), for inputs that are embedded, or signs, +1 and −1, for bare numbers."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on its learning rate."""
    name: Literal["fan_out"] = "fan_out"

    @property
    def fan(self) -> int:
        """How many rows it makes of one."""
        return self.members

    def described(self) -> tuple[str, str]:
        """Its members, and how they start."""
        return f"fan_out {self.members}", self.factors

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """r (members, n_in)."""
        return n_in, [Slot("r", (self.members, n_in), "vector", self.lr)]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """r ~ N(0, 1), or its sign; each input takes what is drawn for its place."""
        drawn = random.normal(p["r"].size, key.words, key.place).reshape(p["r"].shape)
        if self.factors == "signs":
            drawn = np.where(drawn < 0, -1.0, 1.0)
        p["r"][...] = drawn if key.ranks is None else drawn[:, key.ranks]

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Member by member."""
        rows, n = z.shape[-2:]
        z_out = ws.new("z_out", (self.members * rows, n))
        arrays = {"r": vector(p["r"]), "z": z.on("row", "unit")}
        k.add(Apply(Formula({"z_out": Sym("r") * Sym("z")}), arrays, {"z_out": z_out.apart(self.members)}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """drⱼ = Σ rows δⱼ ∘ z, δ_in = Σⱼ rⱼ ∘ δⱼ."""
        arrays = {"δ": δ.apart(self.members), "z": ws["z"].on("row", "unit")}
        k.add(Apply(Formula({"dr": Sym("δ") * Sym("z")}), arrays, {}, {"dr": g["r"]}))
        if not ws.needed:
            return None
        δ_in = ws.new("δ_in", δ.shape[-1])
        members = range(self.members)
        formula = sum((Sym(f"r{j}") * Sym(f"δ{j}") for j in members[1:]), Sym("r0") * Sym("δ0"))
        arrays = {f"r{j}": p["r"].among(self.members, j) for j in members}
        arrays |= {f"δ{j}": δ.among(self.members, j) for j in members}
        k.add(Apply(Formula({"δ_in": formula}), arrays, {"δ_in": δ_in}))
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """The products, and their derivatives."""
        r = n("r")

        def made(seen: Arrays) -> Array:
            return np.concatenate([factors * seen["z"] for factors in seen["p.r"]])

        shown = {"z_out": n.outputs, "z": n.inputs, "p.r": (r, "factors of each member")}
        yield Equation("forward", f"{n.z_out} = ({r}_j ∘ {n.z})_j", self.forward, shown, expected=made)
        back = {"g.r": (f"d{r}", "their gradient")}
        yield Equation("backward", f"d{r}_j = Σ_{{r}} {n.δ}_j ∘ {n.z}", self.backward, back)
        yield Equation("backward", f"{n.δ_in} = Σ_{{j}} {r}_j ∘ {n.δ}_j", self.backward, n.below)
