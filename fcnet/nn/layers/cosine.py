"""Cosine embeddings of numbers: the number and cosines of it, each with a factor and a shift of its own."""

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
from fcnet.registry import MAX_COUNT, Ge, Gt, Le


@dataclass(frozen=True)
class Cosine(features.NumberLayer):
    """Each number x becomes a ∘ (cos(2π (w x + b)), x) + c, w, b, a and c of its own (TabPack, 2026).

    a and c start at 0. The other inputs stand behind these values as they are.
    """

    size: Annotated[int, Ge(2), Le(MAX_COUNT)] = 17
    """How many values a number becomes, itself among them."""
    scale: Annotated[float, Gt(0)] = 1.0
    """The standard deviation that w starts with."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate."""
    name: Literal["cosine"] = "cosine"

    def described(self) -> tuple[str, str]:
        """Its name and size, and how it starts."""
        return f"cosine {self.size}", "normal, zeros"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """w, b (n, size − 1), a and c (n, size) for n numbers."""
        n = self.among(n_in)
        units = {"w": self.size - 1, "b": self.size - 1, "a": self.size, "c": self.size}
        own = [Slot(name, (n, m), "embedding", self.lr) for name, m in units.items() if n]
        return n * self.size + n_in - n, own

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """w ~ N(0, scale²) within ±3 scale, all else 0."""
        if p:
            features.draw(p["w"], key.at("w"), "cut normal", self.scale)

    def _turn(self) -> Expr:
        return (2.0 * math.pi) * (Sym("w") * Sym("x") + Sym("b"))

    def _parts(self, x: Ref) -> tuple[Ref, Ref]:
        """Of the cosines, and of the number itself."""
        m = self.size - 1
        return x[..., 0:m], x[..., m : m + 1]

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Feature by feature; the cosines are kept."""
        if not p:
            return z
        n, m = p["w"].shape[-2:]
        z_out, h = features.outputs(k, ws, z, n, self.size), features.room(ws, "h", n, m)
        x, made = features.number(z, n), self._parts(features.values(z_out, n, self.size))
        a, c = (self._parts(features.vector(p[name])) for name in "ac")
        arrays = {"x": x, "w": features.vector(p["w"]), "b": features.vector(p["b"]), "a": a[0], "c": c[0]}
        wave = cos(self._turn())
        k.add(Apply(Formula({"z": Sym("a") * wave + Sym("c"), "h": wave}), arrays, {"z": made[0], "h": h}))
        arrays = {"x": x, "a": a[1], "c": c[1]}
        k.add(Apply(Formula({"z": Sym("a") * Sym("x") + Sym("c")}), arrays, {"z": made[1]}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """dc = Σ δ, da = Σ δ ∘ (h, x); with e = −2π sin(2π (w x + b)) a δ: db = Σ e, dw = Σ e x, δ_in = a δ + Σ e w."""
        if not p:
            return δ
        n = p["w"].shape[-2]
        above, x = features.values(δ, n, self.size), features.number(ws["z"], n)
        h = ws["h"]
        k.add(Apply(Formula({"δ": Sym("δ")}), {"δ": above}, {}, {"δ": g["c"]}))
        da, formula = self._parts(g["a"]), Formula({"da": Sym("δ") * Sym("h")})
        waves, straight = self._parts(above)
        k.add(Apply(formula, {"δ": waves, "h": h}, {}, {"da": da[0]}))
        k.add(Apply(formula, {"δ": straight, "h": x}, {}, {"da": da[1]}))
        a, w, b = (features.vector(p[name]) for name in "awb")
        formula = Formula({"e": (-2.0 * math.pi) * (Sym("a") * Sym("δ")) * cos(self._turn() - math.pi / 2)})
        arrays = {"a": self._parts(a)[0], "δ": waves, "x": x, "w": w, "b": b}
        k.add(Apply(formula, arrays, {"e": h}, {"e": g["b"]}))
        k.add(Apply(Formula({"dw": Sym("e") * Sym("x")}), {"e": h, "x": x}, {}, {"dw": g["w"]}))
        if not ws.needed:
            return None
        δ_in = features.inputs(k, ws, δ, n, self.size)
        formula = Formula({"δ": Sym("a") * Sym("δ") + row_sum(Sym("e") * Sym("w"))})
        arrays = {"a": self._parts(a)[1], "δ": straight, "e": h, "w": w}
        k.add(Apply(formula, arrays, {"δ": features.number(δ_in, n)}))
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """The values, and the gradients."""
        w, b, a, c, E = n("w"), n("b"), n("a"), n("c"), n("E")

        def made(seen: Arrays) -> Array:
            z, of = seen["z"], len(seen["p.w"])
            x = z[:, :of, None]
            both = np.concatenate([np.cos(2 * np.pi * (seen["p.w"] * x + seen["p.b"])), x], axis=-1)
            return np.hstack([(seen["p.a"] * both + seen["p.c"]).reshape(len(z), -1), z[:, of:]])

        if self.numbers == 0:
            return
        shown = {"z_out": n.outputs, "z": n.inputs, "p.w": (w, "frequencies"), "p.b": (b, "phases in turns")}
        shown |= {"p.a": (a, "factors"), "p.c": (c, "shifts")}
        H = f"(cos(2π ({w} {n.z} + {b})), {n.z})"
        yield Equation("forward", f"{n.z_out} = {a} ∘ {H} + {c}", self.forward, shown, expected=made)
        yield Equation("backward", f"d{c} = Σ_{{r}} {n.δ}", self.backward, n.slope("c", "the shifts"))
        yield Equation("backward", f"d{a} = Σ_{{r}} {n.δ} ∘ {H}", self.backward, n.slope("a", "the factors"))
        text = f"{E} = −2π sin(2π ({w} {n.z} + {b})) ∘ {a} ∘ {n.δ},  d{b} = Σ_{{r}} {E}"
        yield Equation("backward", text, self.backward, n.slope("b", "the phases"))
        yield Equation("backward", f"d{w} = Σ_{{r}} {n.z} {E}", self.backward, n.slope("w", "the frequencies"))
        yield Equation("backward", f"{n.δ_in} = {a} {n.δ} + {w}^{{T}} {E}", self.backward, n.below)
