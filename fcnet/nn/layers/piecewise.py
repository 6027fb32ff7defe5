"""Piecewise linear embeddings of numbers: how far through each of its bins a number is, and a linear map of that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.formulas import Expr, Formula, Sym, maximum, minimum, row_sum, where
from fcnet.nn import features
from fcnet.nn.layers.layer import Arrays, Equation, Key, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Count, Gt

FAR = 1e30
"""A limit that no number reaches."""


@dataclass(frozen=True)
class Piecewise(features.NumberLayer):
    """Each number x becomes V h + c with hᵗ = (x − eᵗ) / (eᵗ⁺¹ − eᵗ), cut off at 0 and 1, but not below in the first
    bin nor above in the last; V and c are its own (Gorishniy et al. 2022, "PLE").

    The edges e are quantiles of the rows that are seen when the net is made; where several are equal, a number has
    fewer bins. The other inputs stand behind these values as they are.
    """

    bins: Count = 48
    """The most bins of a number."""
    size: Count = 16
    """How many values a number becomes."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate."""
    name: Literal["piecewise"] = "piecewise"

    def described(self) -> tuple[str, str]:
        """Its name and size, and how it starts."""
        return f"piecewise {self.size}", "quantiles, uniform"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """V (n, size, bins) and c (n, size) for n numbers; buffers (n, bins): where each bin starts, one over its
        width, and the limits of h. V decays."""
        n = self.among(n_in)
        own = [Slot("c", (n, self.size), "embedding", self.lr)]
        own += [Slot("V", (n, self.size, self.bins), "embedding", self.lr, 1.0)]
        own += [Slot(name, (n, self.bins), "buffer") for name in ("edge", "slope", "low", "high")]
        return n * self.size + n_in - n, own if n else []

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """Bins by the rows that are seen; V and c ~ U(±1 / √bins)."""
        if not p:
            return
        bound, n = 1.0 / math.sqrt(self.bins), p["c"].shape[-2]
        features.draw(p["V"], key.at("V"), "uniform", bound)
        features.draw(p["c"], key.at("c"), "uniform", bound)
        shares = np.linspace(0, 1, self.bins + 1)
        for feature in range(n):
            edges = np.unique(np.quantile(z[:, feature], shares))
            m = len(edges) - 1
            if m == 0:
                continue  # every row has the same number, from which nothing follows
            at = {name: view[feature] for name, view in q.items()}
            at["edge"][:m], at["slope"][:m] = edges[:-1], 1.0 / np.diff(edges)
            at["high"][:m] = 1
            at["low"][0], at["high"][m - 1] = -FAR, FAR

    def _h(self) -> Expr:
        return minimum(maximum((Sym("x") - Sym("edge")) * Sym("slope"), Sym("low")), Sym("high"))

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Feature by feature."""
        if not p:
            return z
        n = p["c"].shape[-2]
        z_out = features.outputs(k, ws, z, n, self.size)
        h = features.room(ws, "h", n, self.bins)
        arrays = {"x": features.number(z, n), **{name: features.vector(view) for name, view in q.items()}}
        k.add(Apply(Formula({"h": self._h()}), arrays, {"h": h}))
        features.mapped(k, p["V"], p["c"], h, features.values(z_out, n, self.size))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """dc = Σ δ, dV = Σ δ ⊗ h, δ_in = Σ of (Vᵀ δ) / (eᵗ⁺¹ − eᵗ) over the bins where h is not cut off."""
        if not p:
            return δ
        n = p["c"].shape[-2]
        h, above = ws["h"], features.values(δ, n, self.size)
        e = features.room(ws, "e", n, self.bins) if ws.needed else None
        features.mapped_back(k, p["V"], h, above, g, e)
        if e is None:
            return None
        δ_in = features.inputs(k, ws, δ, n, self.size)
        inside = where(Sym("h") > Sym("low"), 1.0, 0.0) * where(Sym("h") < Sym("high"), 1.0, 0.0)
        arrays = {"e": e, "h": h, **{name: features.vector(view) for name, view in q.items() if name != "edge"}}
        formula = Formula({"δ": row_sum(Sym("e") * Sym("slope") * inside)})
        k.add(Apply(formula, arrays, {"δ": features.number(δ_in, n)}))
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """How far through its bins each number is, what is made of it, and the gradients."""
        H, V, c = n("H"), n("V"), n("c")

        def made(seen: Arrays) -> Array:
            z, of = seen["z"], len(seen["p.c"])
            y = np.einsum("fru,fvu->rfv", seen["h"], seen["p.V"], optimize=False) + seen["p.c"]
            return np.hstack([y.reshape(len(z), -1), z[:, of:]])

        if self.numbers == 0:
            return
        shown = {"z_out": n.outputs, "z": n.inputs, "h": (H, "how far through each bin")}
        shown |= {"p.V": (V, "weights"), "p.c": (c, "biases")}
        text = f"{n.z_out} = {V} {H} + {c},  {H} = min(max(({n.z} − e) / width, low), high)"
        yield Equation("forward", text, self.forward, shown, expected=made)
        yield Equation("backward", f"d{c} = Σ_{{r}} {n.δ}", self.backward, n.slope("c", "the biases"))
        yield Equation("backward", f"d{V} = Σ_{{r}} {n.δ} ⊗ {H}", self.backward, n.slope("V", "the weights"))
        text = f"{n.δ_in} = Σ_{{t}} ({V}^{{T}} {n.δ}) ∘ [low < {H} < high] / width"
        yield Equation("backward", text, self.backward, n.below)
