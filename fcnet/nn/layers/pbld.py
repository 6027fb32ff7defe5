"""Periodic embeddings of numbers with a phase, made small again and put beside the number itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.formulas import Expr, Formula, Sym, cos, row_sum
from fcnet.nn import features
from fcnet.nn.layers.layer import Arrays, Equation, Key, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import MAX_COUNT, Count, Ge, Gt, Le


@dataclass(frozen=True)
class Pbld(features.NumberLayer):
    """Each number x becomes (V h + c, x) with h = cos(2π w x + φ), V, c, w and φ of its own (Holzmüller et al. 2024).

    The other inputs stand behind these values as they are.
    """

    frequencies: Count = 16
    """The length of h."""
    size: Annotated[int, Ge(2), Le(MAX_COUNT)] = 4
    """How many values a number becomes, itself among them."""
    scale: Annotated[float, Gt(0)] = 0.1
    """The standard deviation that w starts with."""
    lr: Annotated[float, Gt(0)] = 0.1
    """A factor on the learning rate."""
    name: Literal["pbld"] = "pbld"

    def described(self) -> tuple[str, str]:
        """Its name and size, and how it starts."""
        return f"pbld {self.size}", "normal, uniform"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """w, φ (n, frequencies), V (n, size − 1, frequencies) and c (n, size − 1) for n numbers; all decay."""
        n = self.among(n_in)
        m, d = self.frequencies, self.size - 1
        shapes = {"w": (n, m), "φ": (n, m), "V": (n, d, m), "c": (n, d)}
        own = [Slot(name, shape, "embedding", self.lr, 1.0) for name, shape in shapes.items() if n]
        return n * self.size + n_in - n, own

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """w ~ N(0, scale²), φ ~ U(±π), V and c ~ U(±1 / √frequencies)."""
        if not p:
            return
        bound = 1.0 / math.sqrt(self.frequencies)
        features.draw(p["w"], key.at("w"), "normal", self.scale)
        features.draw(p["φ"], key.at("φ"), "uniform", math.pi)
        features.draw(p["V"], key.at("V"), "uniform", bound)
        features.draw(p["c"], key.at("c"), "uniform", bound)

    def _phase(self, quarters: int) -> Expr:
        """2π w x + φ, so many quarters of a turn back: the cosine of one quarter is the sine."""
        return (2.0 * math.pi) * (Sym("w") * Sym("x")) + (Sym("φ") - quarters * math.pi / 2)

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Feature by feature."""
        if not p:
            return z
        n = p["w"].shape[-2]
        z_out = features.outputs(k, ws, z, n, self.size)
        h = features.room(ws, "h", n, self.frequencies)
        x, made = features.number(z, n), features.values(z_out, n, self.size)
        arrays = {"x": x, "w": features.vector(p["w"]), "φ": features.vector(p["φ"])}
        k.add(Apply(Formula({"h": cos(self._phase(0))}), arrays, {"h": h}))
        features.mapped(k, p["V"], p["c"], h, made[..., 0 : self.size - 1])
        k.add(Apply(Formula({"x": Sym("x")}), {"x": x}, {"x": made[..., self.size - 1 : self.size]}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """With e = −sin(2π w x + φ) ∘ Vᵀ δ: dφ = Σ e, dw = Σ 2π x e, δ_in = δ + Σ 2π w e."""
        if not p:
            return δ
        n, units = p["w"].shape[-2:]
        x, above = features.number(ws["z"], n), features.values(δ, n, self.size)
        e, h = features.room(ws, "e", n, units), ws["h"]
        features.mapped_back(k, p["V"], h, above[..., 0 : self.size - 1], g, e)
        w, φ = features.vector(p["w"]), features.vector(p["φ"])
        formula = Formula({"e": -(Sym("e") * cos(self._phase(1)))})
        k.add(Apply(formula, {"e": e, "x": x, "w": w, "φ": φ}, {"e": e}, {"e": g["φ"]}))
        turn = 2.0 * math.pi * Sym("e")
        k.add(Apply(Formula({"dw": turn * Sym("x")}), {"e": e, "x": x}, {}, {"dw": g["w"]}))
        if not ws.needed:
            return None
        δ_in = features.inputs(k, ws, δ, n, self.size)
        formula = Formula({"δ": Sym("δ") + row_sum(turn * Sym("w"))})
        arrays = {"δ": above[..., self.size - 1 : self.size], "e": e, "w": w}
        k.add(Apply(formula, arrays, {"δ": features.number(δ_in, n)}))
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """The waves, what is made of them, and the gradients."""
        H, w, φ, V, c = n("H"), n("w"), n("φ"), n("V"), n("c")

        def waves(seen: Arrays) -> Array:
            x = seen["z"].T[: len(seen["p.w"]), :, None]
            return np.asarray(np.cos(2 * np.pi * seen["p.w"][:, None] * x + seen["p.φ"][:, None]))

        def made(seen: Arrays) -> Array:
            z, of = seen["z"], len(seen["p.w"])
            y = np.einsum("fru,fvu->rfv", seen["h"], seen["p.V"], optimize=False) + seen["p.c"]
            both = np.concatenate([y, z[:, :of, None]], axis=-1).reshape(len(z), -1)
            return np.hstack([both, z[:, of:]])

        if self.numbers == 0:
            return
        shown = {"h": (H, "waves of each number"), "z": n.inputs, "p.w": (w, "frequencies"), "p.φ": (φ, "phases")}
        yield Equation("forward", f"{H} = cos(2π {w} {n.z} + {φ})", self.forward, shown, expected=waves)
        shown = {"z_out": n.outputs, "p.V": (V, "weights"), "p.c": (c, "biases")}
        yield Equation("forward", f"{n.z_out} = ({V} {H} + {c}, {n.z})", self.forward, shown, expected=made)
        yield Equation("backward", f"d{c} = Σ_{{r}} {n.δ}", self.backward, n.slope("c", "the biases"))
        yield Equation("backward", f"d{V} = Σ_{{r}} {n.δ} ⊗ {H}", self.backward, n.slope("V", "the weights"))
        shown = {**n.slope("φ", "the phases"), "e": (n("E"), "gradient at the phases")}
        text = f"{n('E')} = −sin(2π {w} {n.z} + {φ}) ∘ {V}^{{T}} {n.δ},  d{φ} = Σ_{{r}} {n('E')}"
        yield Equation("backward", text, self.backward, shown)
        yield Equation("backward", f"d{w} = Σ_{{r}} 2π {n.z} {n('E')}", self.backward, n.slope("w", "the frequencies"))
        yield Equation("backward", f"{n.δ_in} = {n.δ} + 2π {w}^{{T}} {n('E')}", self.backward, n.below)
