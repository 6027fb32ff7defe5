"""A factor for each input, learnt: which of them matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fcnet.backends.ops import Apply, Ref, Tape
from fcnet.formulas import Formula, Sym
from fcnet.nn.layers.layer import Complete, Equation, Names, Refs, row
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Gt


@dataclass(frozen=True)
class Scale(Complete):
    """z_out = s ∘ z, with a factor for each unit that starts at 1 (the front layer of Holzmüller et al. 2024)."""

    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on its learning rate."""
    name: Literal["scale"] = "scale"

    def described(self) -> tuple[str, str]:
        """All ones."""
        return "scale", "ones"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """s (n_in,), ones at first."""
        return n_in, [Slot("s", (n_in,), "vector", self.lr, start=1.0)]

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Row by row."""
        z_out = ws.new("z_out", z.shape[-1])
        k.add(Apply(Formula({"z_out": Sym("s") * Sym("z")}), {"s": row(p["s"]), "z": z}, {"z_out": z_out}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """ds = Σ rows δ ∘ z, δ_in = s ∘ δ."""
        arrays = {"z": ws["z"], "δ": δ}
        k.add(Apply(Formula({"ds": Sym("δ") * Sym("z")}), arrays, {}, {"ds": g["s"]}))
        if not ws.needed:
            return None
        k.add(Apply(Formula({"δ": Sym("s") * Sym("δ")}), {"s": row(p["s"]), "δ": δ}, {"δ": δ}))
        return δ

    def equations(self, n: Names) -> Iterator[Equation]:
        """The product, and its two derivatives."""
        s = n("s")
        made = {"z_out": n.outputs, "z": n.inputs, "p.s": (s, "factors")}
        yield Equation(
            "forward", f"{n.z_out} = {s} ∘ {n.z}", self.forward, made, expected=lambda seen: seen["p.s"] * seen["z"]
        )
        yield Equation("backward", f"d{s} = Σ_{{r}} {n.δ} ∘ {n.z}", self.backward, {"g.s": (f"d{s}", "their gradient")})
        yield Equation("backward", f"{n.δ_in} = {s} ∘ {n.δ}", self.backward, n.below)
