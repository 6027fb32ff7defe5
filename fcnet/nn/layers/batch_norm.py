"""Batch normalisation: each unit to mean 0 and deviation 1 over the rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Fill, Ref, Tape, ref
from fcnet.formulas import Formula, Sym, sqrt
from fcnet.nn.layers.layer import Arrays, Complete, Equation, Key, Names, Refs, row
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Gt, Share


@dataclass(frozen=True)
class BatchNorm(Complete):
    """z_out = γ ∘ (z − μ) / √(σ² + eps) + β, μ and σ² over the rows of the batch (Ioffe and Szegedy 2015).

    Outside training μ and σ² are running averages: m ← (1 − momentum) m + momentum μ. That of the variance takes the
    batch's own, divided by B, where PyTorch takes it divided by B − 1. Row weights do not enter.
    """

    momentum: Share = 0.1
    """The share of each batch in the running averages."""
    eps: Annotated[float, Gt(0)] = 1e-5
    """Added to the variance."""
    name: Literal["batch_norm"] = "batch_norm"

    def described(self) -> tuple[str, str]:
        """Ones and zeros."""
        return "batch_norm", "ones, zeros"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """β and γ (n_in,); running mean and variance are buffers."""
        own = [Slot("β", (n_in,), "bias"), Slot("γ", (n_in,), "vector", start=1.0)]
        return n_in, [*own, Slot("mean", (n_in,), "buffer"), Slot("var", (n_in,), "buffer")]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """γ = 1, β = 0; the averages are those of the rows that are seen."""
        q["mean"][...], q["var"][...] = z.mean(axis=-2), z.var(axis=-2)

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """In training by the batch's own mean and variance, which the averages follow."""
        n, (rows, units) = Sym("per_row"), z.shape[-2:]
        z_out, u, root = ws.new("z_out", units), ws.new("u", units), ws.new("root", (1, units))
        γβ = {"γ": row(p["γ"]), "β": row(p["β"])}
        mean, var = row(q["mean"]), row(q["var"])
        if not ws.train:
            unit = (Sym("z") - Sym("mean")) / sqrt(Sym("var") + self.eps)
            formula = Formula({"z_out": Sym("γ") * unit + Sym("β")})
            k.add(Apply(formula, {"z": z, "mean": mean, "var": var, **γβ}, {"z_out": z_out}))
            return z_out
        per_row = ref(f"per_row/{rows}", (), ws.dtype)  # of all members that fan_out has made
        k.add(Fill(1.0 / rows, per_row))
        ws.keep("per_row", per_row)
        total, squares = ws.new("total", (units,)), ws.new("squares", (units,))
        k.add(Apply(Formula({"z": Sym("z")}), {"z": z}, {}, {"z": total}))
        centred = Sym("z") - n * Sym("total")
        k.add(Apply(Formula({"u": centred}), {"z": z, "total": row(total), "per_row": per_row}, {"u": u}))
        k.add(Apply(Formula({"s": Sym("u") * Sym("u")}), {"u": u}, {}, {"s": squares}))
        news = {"mean": n * Sym("total"), "var": n * Sym("s")}
        step = {name: (1.0 - self.momentum) * Sym(name) + self.momentum * new for name, new in news.items()}
        arrays = {"mean": mean, "var": var, "total": row(total), "s": row(squares), "per_row": per_row}
        k.add(Apply(Formula(step), arrays, {"mean": mean, "var": var}))
        results = {"root": sqrt(n * Sym("s") + self.eps)}
        k.add(Apply(Formula(results), {"s": row(squares), "per_row": per_row}, {"root": root}))
        k.add(Apply(Formula({"u": Sym("u") / Sym("root")}), {"u": u, "root": root}, {"u": u}))
        k.add(Apply(Formula({"z_out": Sym("γ") * Sym("u") + Sym("β")}), {"u": u, **γβ}, {"z_out": z_out}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """dβ = Σ rows δ, dγ = Σ rows δ ∘ u; δ_in = γ (δ − dβ / B − u ∘ dγ / B) / root."""
        u, n = ws["u"], Sym("per_row")
        k.add(Apply(Formula({"dβ": Sym("δ")}), {"δ": δ}, {}, {"dβ": g["β"]}))
        k.add(Apply(Formula({"dγ": Sym("δ") * Sym("u")}), {"δ": δ, "u": u}, {}, {"dγ": g["γ"]}))
        if not ws.needed:
            return None
        inner = Sym("δ") - n * Sym("dβ") - Sym("u") * (n * Sym("dγ"))
        arrays = {"δ": δ, "u": u, "dβ": row(g["β"]), "dγ": row(g["γ"]), "γ": row(p["γ"])}
        arrays |= {name: ws[name] for name in ("root", "per_row")}
        k.add(Apply(Formula({"δ": Sym("γ") * inner / Sym("root")}), arrays, {"δ": δ}))
        return δ

    def equations(self, n: Names) -> Iterator[Equation]:
        """Forward, and the three gradients."""
        U, γ, β = n("U"), n("γ"), n("β")

        def expected(seen: Arrays) -> Array:
            z = seen["z"]
            unit = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + self.eps)
            return np.asarray(seen["p.γ"] * unit + seen["p.β"])

        made = {"z_out": n.outputs, "u": (U, "units of mean 0 and deviation 1 over the rows"), "z": n.inputs}
        text = f"{n.z_out} = {γ} ∘ {U} + {β},  {U} = ({n.z} − μ) / √(σ^{{2}} + eps)"
        yield Equation("forward", text, self.forward, made, expected=expected)
        yield Equation("backward", f"d{β} = Σ_{{r}} {n.δ}", self.backward, n.slope("β", "β"))
        yield Equation("backward", f"d{γ} = Σ_{{r}} {n.δ} ∘ {U}", self.backward, n.slope("γ", "γ"))
        text = f"{n.δ_in} = {γ} ∘ ({n.δ} − d{β} / B − {U} ∘ d{γ} / B) / √(σ^{{2}} + eps)"
        yield Equation("backward", text, self.backward, n.below)
