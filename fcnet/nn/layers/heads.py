"""A dense layer of each member's own, behind `fan_out`."""

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
from fcnet.nn.layers.units import Affine
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import HIDDEN


@dataclass(frozen=True)
class Heads(Affine):
    """z_outⱼ = f(Wⱼ zⱼ + bⱼ), a dense layer for each member j, behind `fan_out`; the output layer is one by itself."""

    members: int = field(default=1, metadata=HIDDEN)
    name: Literal["heads"] = "heads"

    def settled(self, given: Context) -> Self:
        """As a dense layer, for the members that there are."""
        return replace(super().settled(given), members=behind_fan_out(self, given))

    def described(self) -> tuple[str, str]:
        """Its activation and its initializer."""
        f, init = super().described()
        return f"{self.members} × {f}", init

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """b (members, n_out), W (members, n_out, n_in), and what the activation owns, of each member."""
        n, own = super().slots(n_in)
        return n, [replace(slot, shape=(self.members, *slot.shape)) for slot in own]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """Each as a dense layer starts, from words of its own."""
        drawn(p["W"], self.initializer, key)
        if self.parametrisation is not None:
            for j, inputs in enumerate(np.split(z, self.members)):
                self.parametrisation.start(p["W"][j], p["b"][j], inputs, key.words, f"{key.path}.{j}")

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Aⱼ = Zⱼ Wⱼᵀ + bⱼ, Z_outⱼ = f(Aⱼ)."""
        a = ws.new("a", self.units)
        k.add(Matmul(z.apart(self.members), transpose(p["W"]), a.apart(self.members)))
        pre, plain = Sym("a") + Sym("b"), self.f.f(Sym("a")) is Sym("a")
        z_out = a if plain else ws.new("z_out", self.units)
        results = {"a": pre} if plain else {"a": pre, "z": self.f.f(pre)}
        outs = {name: {"a": a, "z": z_out}[name].apart(self.members) for name in results}
        k.add(Apply(Formula(results), {"a": a.apart(self.members), **self._parameters(p)}, outs))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """εⱼ = (∂f/∂a)ᵀ δⱼ, dbⱼ = Σ rows εⱼ, dWⱼ = Eⱼᵀ Zⱼ, Δ_inⱼ = Eⱼ Wⱼ."""
        back, members = self.back(), self.members
        ws.keep("ε", δ)
        ε, z = δ.apart(members), ws["z"].apart(members)
        arrays = {"a": ws["a"].apart(members), "z": ws["z_out"].apart(members), "δ": ε, **self._parameters(p)}
        sums = {"ε": g["b"], **{name: g[name] for name in back if name != "ε"}}
        formula = Formula(back)
        k.add(Apply(formula, {name: arrays[name] for name in formula.symbols()}, {"ε": ε}, sums))
        δ_in = ws.new("δ_in", p["W"].shape[-1]) if ws.needed else None
        product_back(k, ε, p["W"], z, g["W"], δ_in and δ_in.apart(members))
        return δ_in

    def _parameters(self, p: Refs) -> dict[str, Ref]:
        return {name: vector(p[name]) for name in ("b", *(slot.name for slot in self.own))}

    def equations(self, n: Names) -> Iterator[Equation]:
        """What each member's layer does, and the gradients."""
        W, b, E = n("W"), n("b"), n("E")

        def made(seen: Arrays) -> Array:
            z = seen["z"].reshape(self.members, -1, seen["z"].shape[-1])
            a = np.einsum("jrk,juk->jru", z, seen["p.W"], optimize=False) + seen["p.b"][:, None]
            flat: Array = a.reshape(seen["a"].shape)
            return flat

        shown = {"a": (n("A"), "pre-activations"), "z": n.inputs, "p.W": (W, "weights of each member")}
        shown |= {"p.b": (b, "biases of each member")}
        text = f"{n('A')}_j = {n.z}_j {W}_j^{{T}} + {b}_j,  {n.z_out} = f({n('A')})"
        yield Equation("forward", text, self.forward, shown, expected=made, made={"z_out": lambda seen: seen["z_out"]})
        bias = {**n.slope("b", "the biases"), "ε": (E, "∂L/∂A, gradient at the pre-activations")}
        yield Equation("backward", f"{E} = f'({n('A')}) ∘ {n.δ},  d{b}_j = Σ_{{r}} {E}_j", self.backward, bias)
        for slot in self.own:
            own = n.slope(slot.name, "the activation's parameters")
            yield Equation("backward", f"d{n(slot.name)}_j = Σ_{{r}} ∂{n.z_out}/∂{n(slot.name)}", self.backward, own)
        yield Equation("backward", f"d{W}_j = {E}_j^{{T}} {n.z}_j", self.backward, n.slope("W", "the weights"))
        yield Equation("backward", f"{n.δ_in}_j = {E}_j {W}_j", self.backward, n.below)
