"""The layer of the derivation: a = W z + b, z_out = f(a)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Matmul, Ref, Tape
from fcnet.formulas import Expr, Formula, Sym
from fcnet.formulas.notation import line
from fcnet.formulas.transform import evaluate
from fcnet.nn.activations import logistic
from fcnet.nn.layers.layer import Arrays, Equation, Key, Names, Refs, drawn, product_back, row, transpose
from fcnet.nn.layers.units import Affine
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass


@dataclass(frozen=True)
class Dense(Affine):
    """z_out = f(W z + b). A number alone stands for its units."""

    name: Literal["dense"] = "dense"

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """W from the initializer, b = 0, and what the parametrisation makes of them."""
        drawn(p["W"], self.initializer, key)
        if self.parametrisation is not None:
            self.parametrisation.start(p["W"], p["b"], z, key.words, key.path)

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """A = Z Wᵀ + b, Z_out = f(A)."""
        a = ws.new("a", self.units)
        k.add(Matmul(z, transpose(p["W"]), a))
        pre = Sym("a") + Sym("b")
        # Where the vjp can do without a, z takes its place and one buffer less is written.
        needs_a = not ws.frugal or "a" in Formula(self.back()).symbols()
        results = {"z": self.f.f(pre)} | ({"a": pre} if needs_a else {})
        z_out = ws.new("z_out", self.units) if needs_a and self.f.f(Sym("a")) is not Sym("a") else a
        outs = {"z": z_out} | ({"a": a} if needs_a else {})
        k.add(Apply(Formula(results), {"a": a, "b": row(p["b"]), **self._parameters(p)}, outs))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """ε = (∂f/∂a)ᵀ δ (1), db = Σ rows ε (3), dW = Eᵀ Z (4), Δ_in = E W (2)."""
        ε, back = δ, self.back()
        ws.keep("ε", ε)
        if back["ε"] is Sym("δ"):
            k.add(Apply(Formula({"ε": Sym("ε")}), {"ε": ε}, {}, {"ε": g["b"]}))
        else:
            arrays = {"a": ws["a"], "z": ws["z_out"], "δ": δ, **self._parameters(p)}
            sums = {"ε": g["b"], **{name: g[name] for name in back if name != "ε"}}
            k.add(Apply(Formula(back), {name: arrays[name] for name in Formula(back).symbols()}, {"ε": ε}, sums))
        δ_in = ws.new("δ_in", p["W"].shape[-1]) if ws.needed else None
        product_back(k, ε, p["W"], ws["z"], g["W"], δ_in)
        return δ_in

    def _parameters(self, p: Refs) -> dict[str, Ref]:
        return {slot.name: row(p[slot.name]) for slot in self.own}

    def equations(self, n: Names) -> Iterator[Equation]:
        """a and z_out, then ε (1), db (3), dW (4) and δ_in (2)."""
        A, W, b, E, f = n("A"), n("W"), n("b"), n("E"), self.f
        own = [slot.name for slot in self.own]

        def text(e: Expr) -> str:
            letters = {"a": A, "z": n.z_out, "δ": n.δ, **{name: n(name) for name in own}}
            return line(e, letters, {logistic(Sym(x)): f"σ({letters[x]})" for x in ("a", "z", "δ")})

        def z_out(seen: Arrays) -> Array:
            parameters = {name: seen[f"p.{name}"][None, :] for name in own}
            return np.asarray(evaluate(f.f(Sym("a")), {"a": seen["a"], **parameters}))

        yield Equation(
            "forward",
            f"{A} = {n.z} {W}^{{T}} + {b}",
            self.forward,
            {"a": (A, "pre-activations"), "z": n.inputs, "p.W": (W, "weights"), "p.b": (b, "biases")},
            # by its definition, aʲ = Σₖ Wʲᵏ zᵏ + bʲ, without BLAS
            expected=lambda seen: np.einsum("rk,jk->rj", seen["z"], seen["p.W"], optimize=False) + seen["p.b"],
        )
        parameters = {f"p.{name}": (n(name), "parameters of the activation") for name in own}
        made = {"z_out": n.outputs, **parameters}
        yield Equation("forward", f"{n.z_out} = {text(f.f(Sym('a')))}", f.f, made, expected=z_out)
        back = self.back()
        yield Equation(
            "backward",
            f"{E} = {text(back['ε'])}",
            f.vjp,
            {"ε": (E, "∂L/∂A, gradient at the pre-activations"), "δ": (n.δ, "∂L/∂Z, gradient at the outputs")},
            "(1)",
            slope=("a", z_out),
        )
        yield Equation("backward", f"d{b} = Σ_{{r}} {E}", self.backward, n.slope("b", "the biases"), "(3)")
        for name in own:
            shown = n.slope(name, "the activation's parameters")
            yield Equation("backward", f"d{n(name)} = Σ_{{r}} {text(back[name])}", f.vjp, shown)
        weights = {**n.slope("W", "the weights"), "z": (n.z, "inputs of the layer")}
        yield Equation("backward", f"d{W} = {E}^{{T}} {n.z}", self.backward, weights, "(4)")
        below = {**n.below, "p.W": (W, "weights")}
        yield Equation("backward", f"{n.δ_in} = {E} {W}", self.backward, below, "(2)")
