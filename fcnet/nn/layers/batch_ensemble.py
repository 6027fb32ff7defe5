"""A dense layer whose matrix all members share, with scalings and biases of each member's own, behind `fan_out`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import Literal, Self

import numpy as np

from fcnet.backends.ops import Apply, Array, Matmul, Ref, Tape
from fcnet.formulas import Formula, Sym
from fcnet.nn.features import vector
from fcnet.nn.layers.layer import (
    Arrays,
    Context,
    Equation,
    Key,
    Names,
    Refs,
    behind_fan_out,
    drawn,
    product_back,
    transpose,
)
from fcnet.nn.layers.units import Units
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import HIDDEN


@dataclass(frozen=True)
class BatchEnsemble(Units):
    """z_outⱼ = f(sⱼ ∘ W (rⱼ ∘ zⱼ) + bⱼ): W is the same for all members j, r, s and b are each member's own, behind
    `fan_out` (Wen et al. 2020).

    r and s start at 1: members are unlike by `fan_out` (Gorishniy et al. 2024, "TabM").
    """

    members: int = field(default=1, metadata=HIDDEN)
    name: Literal["batch_ensemble"] = "batch_ensemble"

    def settled(self, given: Context) -> Self:
        """For the members that there are, too."""
        return replace(super().settled(given), members=behind_fan_out(self, given))

    def described(self) -> tuple[str, str]:
        """Its activation and its initializer."""
        f, init = super().described()
        return f"{f} scaled × {self.members}", init

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """W (n_out, n_in); b, s (members, n_out), r (members, n_in), and what the activation owns, of each member."""
        k, n = self.members, self.units
        own = [Slot("b", (k, n), "bias"), Slot("W", (n, n_in), "weight")]
        own += [Slot("r", (k, n_in), "vector", start=1.0), Slot("s", (k, n), "vector", start=1.0)]
        return n, [*own, *(replace(slot, shape=(k, *slot.shape)) for slot in self.own)]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """W from the initializer, b = 0, r = s = 1."""
        drawn(p["W"], self.initializer, key)

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """U = (r ∘ Z) Wᵀ with one product for all members, A = s ∘ U + b, Z_out = f(A)."""
        x, u = ws.new("x", z.shape[-1]), ws.new("u", self.units)
        arrays = {"r": vector(p["r"]), "z": self._each(z)}
        k.add(Apply(Formula({"x": Sym("r") * Sym("z")}), arrays, {"x": self._each(x)}))
        k.add(Matmul(x, transpose(p["W"]), u))
        pre, plain = Sym("s") * Sym("u") + Sym("b"), self.f.f(Sym("a")) is Sym("a")
        a = ws.new("a", self.units)
        z_out = a if plain else ws.new("z_out", self.units)
        results = {"a": pre} if plain else {"a": pre, "z": self.f.f(pre)}
        outs = {name: self._each({"a": a, "z": z_out}[name]) for name in results}
        arrays = {"u": self._each(u), **{name: vector(p[name]) for name in Formula(results).symbols() if name != "u"}}
        k.add(Apply(Formula(results), arrays, outs))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """ε = (∂f/∂a)ᵀ δ, db = Σ ε, ds = Σ ε ∘ u of each member; with D = s ∘ E: dW = Dᵀ X, dr = Σ (D W) ∘ z of each
        member, Δ_in = r ∘ D W."""
        back = self.back()
        ε = back["ε"]
        formula = Formula({"d": Sym("s") * ε, **back, "ds": ε * Sym("u")})
        arrays = {"u": ws["u"], "a": ws["a"], "z": ws["z_out"], "δ": δ}
        given = {name: self._each(each) for name, each in arrays.items()}
        given |= {name: vector(view) for name, view in p.items() if name != "W"}
        sums = {name: g[{"ε": "b", "ds": "s"}.get(name, name)] for name in ("ds", *back)}
        δ_in = ws.new("δ_in", p["W"].shape[-1])
        ws.keep("d", δ)
        k.add(Apply(formula, {name: given[name] for name in formula.symbols()}, {"d": given["δ"]}, sums))
        product_back(k, δ, p["W"], ws["x"], g["W"], δ_in)
        arrays = {"δ": self._each(δ_in), "z": self._each(ws["z"]), "r": vector(p["r"])}
        formula = Formula({"δ": Sym("r") * Sym("δ"), "dr": Sym("δ") * Sym("z")})
        k.add(Apply(formula, arrays, {"δ": self._each(δ_in)}, {"dr": g["r"]}))
        return δ_in if ws.needed else None

    def _each(self, z: Ref) -> Ref:
        """The rows of each member."""
        return z.apart(self.members)

    def equations(self, n: Names) -> Iterator[Equation]:
        """What it does, and the gradients."""
        U, A, W, r, s, b, D = (n(letter) for letter in ("U", "A", "W", "r", "s", "b", "D"))

        def apart(x: Array) -> Array:
            return x.reshape(self.members, -1, x.shape[-1])

        def product(seen: Arrays) -> Array:
            x = seen["p.r"][:, None] * apart(seen["z"])
            made = np.einsum("jrk,uk->jru", x, seen["p.W"], optimize=False)
            return np.asarray(made.reshape(seen["u"].shape))

        def scaled(seen: Arrays) -> Array:
            made = seen["p.s"][:, None] * apart(seen["u"]) + seen["p.b"][:, None]
            return np.asarray(made.reshape(seen["a"].shape))

        shown = {"u": (U, "products"), "z": n.inputs, "p.r": (r, "factors of each member"), "p.W": (W, "weights")}
        yield Equation("forward", f"{U}_j = ({r}_j ∘ {n.z}_j) {W}^{{T}}", self.forward, shown, expected=product)
        shown = {"a": (A, "pre-activations"), "p.s": (s, "factors of each member"), "p.b": (b, "biases of each member")}
        text = f"{A}_j = {s}_j ∘ {U}_j + {b}_j,  {n.z_out} = f({A})"
        yield Equation("forward", text, self.forward, {**shown, "z_out": n.outputs}, expected=scaled)
        back = {**n.slope("b", "the biases"), "d": (D, "gradient at the products")}
        text = f"{D}_j = {s}_j ∘ f'({A}_j) ∘ {n.δ}_j,  d{b}_j = Σ_{{r}} f'({A}_j) ∘ {n.δ}_j"
        yield Equation("backward", text, self.backward, back)
        for name in ("s", *(slot.name for slot in self.own), "r"):
            own = n.slope(name, "each member's own")
            yield Equation("backward", f"d{n(name)}_j = Σ_{{r}} ∂L/∂{n(name)}_j", self.backward, own)
        yield Equation("backward", f"d{W} = {D}^{{T}} ({r} ∘ {n.z})", self.backward, n.slope("W", "the weights"))
        yield Equation("backward", f"{n.δ_in}_j = {r}_j ∘ ({D}_j {W})", self.backward, n.below)
