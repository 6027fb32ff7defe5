"""Layer normalisation: each row to mean 0 and deviation 1 over its units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.formulas import Expr, Formula, Sym, row_mean, sqrt
from fcnet.nn.layers.layer import Arrays, Complete, Equation, Names, Refs, row
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Gt


@dataclass(frozen=True)
class LayerNorm(Complete):
    """z_out = γ ∘ (z − μ) / √(σ² + eps) + β, μ and σ² the mean and variance over a row's units (Ba et al. 2016)."""

    eps: Annotated[float, Gt(0)] = 1e-5
    """Added to the variance."""
    name: Literal["layer_norm"] = "layer_norm"

    def described(self) -> tuple[str, str]:
        """Ones and zeros."""
        return "layer_norm", "ones, zeros"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """β and γ (n_in,), zeros and ones at first."""
        return n_in, [Slot("β", (n_in,), "bias"), Slot("γ", (n_in,), "vector", start=1.0)]

    def _unit(self) -> tuple[Expr, Expr]:
        """((z − μ) / √(σ² + eps), the root)."""
        centred = Sym("z") - row_mean(Sym("z"))
        root = sqrt(row_mean(centred * centred) + self.eps)
        return centred / root, root

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Row by row; the unit rows and their roots are kept."""
        unit, root = self._unit()
        u, r, z_out = ws.new("u", z.shape[-1]), ws.new("r", 1), ws.new("z_out", z.shape[-1])
        arrays = {"z": z, "γ": row(p["γ"]), "β": row(p["β"])}
        results = {"z_out": Sym("γ") * unit + Sym("β"), "u": unit, "r": root}
        k.add(Apply(Formula(results), arrays, {"z_out": z_out, "u": u, "r": r}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """dβ = Σ rows δ, dγ = Σ rows δ ∘ u; with e = γ ∘ δ: δ_in = (e − mean e − u mean(e ∘ u)) / root."""
        u, e = Sym("u"), Sym("γ") * Sym("δ")
        own = {"dβ": Sym("δ"), "dγ": Sym("δ") * u}
        k.add(Apply(Formula({"dβ": own["dβ"]}), {"δ": δ}, {}, {"dβ": g["β"]}))
        k.add(Apply(Formula({"dγ": own["dγ"]}), {"δ": δ, "u": ws["u"]}, {}, {"dγ": g["γ"]}))
        if not ws.needed:
            return None
        formula = Formula({"δ": (e - row_mean(e) - u * row_mean(e * u)) / Sym("r")})
        k.add(Apply(formula, {"δ": δ, "u": ws["u"], "r": ws["r"], "γ": row(p["γ"])}, {"δ": δ}))
        return δ

    def equations(self, n: Names) -> Iterator[Equation]:
        """Forward, and the three gradients."""
        U, γ, β = n("U"), n("γ"), n("β")

        def expected(seen: Arrays) -> Array:
            z = seen["z"] - seen["z"].mean(axis=-1, keepdims=True)
            scaled: Array = seen["p.γ"] * z / (z.var(axis=-1, keepdims=True) + self.eps) ** 0.5 + seen["p.β"]
            return scaled

        made = {"z_out": n.outputs, "u": (U, "rows of mean 0 and deviation 1"), "z": n.inputs}
        text = f"{n.z_out} = {γ} ∘ {U} + {β},  {U} = ({n.z} − mean({n.z})) / √(var({n.z}) + eps)"
        yield Equation("forward", text, self.forward, made, expected=expected)
        yield Equation("backward", f"d{β} = Σ_{{r}} {n.δ}", self.backward, n.slope("β", "β"))
        yield Equation("backward", f"d{γ} = Σ_{{r}} {n.δ} ∘ {U}", self.backward, n.slope("γ", "γ"))
        text = f"{n.δ_in} = (e − mean(e) − {U} ∘ mean(e ∘ {U})) / √(var({n.z}) + eps),  e = {γ} ∘ {n.δ}"
        yield Equation("backward", text, self.backward, n.below)
