"""A gated linear unit: half of a product decides how much of the other half goes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np

from fcnet.backends.ops import Apply, Array, Matmul, Ref, Tape
from fcnet.formulas import Formula, Sym
from fcnet.nn.activations import logistic
from fcnet.nn.initializers import INITIALIZERS, Initializer, settled
from fcnet.nn.layers.layer import Arrays, Context, Equation, Key, Names, Refs, drawn, product_back, row, transpose
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Count, Named, Share


@dataclass(frozen=True)
class Glu:
    """z_out = v ∘ σ(u), where (v, u) = W z + b are the halves of 2 · units rows (Dauphin et al. 2017)."""

    units: Count
    """The number of units."""
    init: Literal["auto"] | Annotated[Initializer, Named(INITIALIZERS)] | None = None
    """How its weights start; without, `network.init`."""
    dropout: Share | None = None
    """The share of its outputs that are dropped in training; without, `network.dropout`."""
    name: Literal["glu"] = "glu"

    def settled(self, given: Context) -> Self:
        """With the section's init and dropout where it has none."""
        init = given.init if self.init is None else self.init
        dropout = given.dropout if self.dropout is None else self.dropout
        return replace(self, init=settled(init, "tanh"), dropout=dropout)

    def described(self) -> tuple[str, str]:
        """Its name and its initializer."""
        return "glu", str(getattr(self.init, "name", self.init))

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """b (2 n_out,) and W (2 n_out, n_in): values, then gates."""
        return self.units, [Slot("b", (2 * self.units,), "bias"), Slot("W", (2 * self.units, n_in), "weight")]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """W from the initializer, b = 0."""
        drawn(p["W"], settled(self.init, "tanh"), key)

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """A = Z Wᵀ + b, then one half times the other's σ."""
        n, a = self.units, ws.new("a", 2 * self.units)
        k.add(Matmul(z, transpose(p["W"]), a))
        k.add(Apply(Formula({"a": Sym("a") + Sym("b")}), {"a": a, "b": row(p["b"])}, {"a": a}))
        z_out = ws.new("z_out", n)
        arrays = {"v": a[..., 0:n], "u": a[..., n : 2 * n]}
        k.add(Apply(Formula({"z_out": Sym("v") * logistic(Sym("u"))}), arrays, {"z_out": z_out}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """ε = (δ ∘ σ(u), δ ∘ v ∘ σ(u) (1 − σ(u))); then as in every product: db, dW, δ_in."""
        n, a, ε = self.units, ws["a"], ws.new("ε", 2 * self.units)
        gate = logistic(Sym("u"))
        formula = Formula({"v": Sym("δ") * gate, "u": Sym("δ") * Sym("v") * (gate * (1.0 - gate))})
        halves = {"v": ε[..., 0:n], "u": ε[..., n : 2 * n]}
        k.add(Apply(formula, {"δ": δ, "v": a[..., 0:n], "u": a[..., n : 2 * n]}, halves))
        k.add(Apply(Formula({"ε": Sym("ε")}), {"ε": ε}, {}, {"ε": g["b"]}))
        δ_in = ws.new("δ_in", p["W"].shape[-1]) if ws.needed else None
        product_back(k, ε, p["W"], ws["z"], g["W"], δ_in)
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """The product and its gate, and the four gradients."""
        A, W, b, E = n("A"), n("W"), n("b"), n("E")

        def product(seen: Arrays) -> Array:
            a: Array = np.einsum("rk,jk->rj", seen["z"], seen["p.W"], optimize=False) + seen["p.b"]
            return a

        def gated(seen: Arrays) -> Array:
            v, u = np.split(seen["a"], 2, axis=-1)
            return np.asarray(v / (1.0 + np.exp(-u)))

        shown = {"a": (A, "values and gates"), "z": n.inputs, "p.W": (W, "weights"), "p.b": (b, "biases")}
        yield Equation("forward", f"{A} = {n.z} {W}^{{T}} + {b}", self.forward, shown, expected=product)
        made, text = {"z_out": n.outputs}, f"{n.z_out} = V ∘ σ(U),  {A} = (V, U)"
        yield Equation("forward", text, self.forward, made, expected=gated)
        text = f"{E} = ({n.δ} ∘ σ(U), {n.δ} ∘ V ∘ σ(U) ∘ (1 − σ(U)))"
        pre = {"ε": (E, "∂L/∂A, gradient at values and gates"), "δ": (n.δ, "∂L/∂Z, gradient at the outputs")}
        yield Equation("backward", text, self.backward, pre, "(1)", slope=("a", gated))
        yield Equation("backward", f"d{b} = Σ_{{r}} {E}", self.backward, n.slope("b", "the biases"), "(3)")
        weights = {**n.slope("W", "the weights"), "z": (n.z, "inputs of the layer")}
        yield Equation("backward", f"d{W} = {E}^{{T}} {n.z}", self.backward, weights, "(4)")
        below = {**n.below, "p.W": (W, "weights")}
        yield Equation("backward", f"{n.δ_in} = {E} {W}", self.backward, below, "(2)")
