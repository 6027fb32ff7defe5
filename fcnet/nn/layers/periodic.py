"""Periodic embeddings of numbers: sines and cosines of learnt frequencies, and what a small layer makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.formulas import Expr, Formula, Sym, cos, maximum, row_sum, where
from fcnet.nn import features
from fcnet.nn.layers.layer import Arrays, Equation, Key, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Count, Gt


@dataclass(frozen=True)
class Periodic(features.NumberLayer):
    """Each number x becomes max(V h + c, 0) with h = (cos(2π w x), sin(2π w x)), V, c and w of its own (Gorishniy et
    al. 2022, "PLR").

    The other inputs stand behind these values as they are.
    """

    frequencies: Count = 48
    """The length of w."""
    size: Count = 24
    """How many values a number becomes."""
    scale: Annotated[float, Gt(0)] = 0.01
    """The standard deviation that w starts with; it matters much."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate."""
    name: Literal["periodic"] = "periodic"

    def described(self) -> tuple[str, str]:
        """Its name and size, and how it starts."""
        return f"periodic {self.size}", "normal, uniform"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """w (n, frequencies), V (n, size, 2 · frequencies) and c (n, size) for n numbers; V decays."""
        n, m = self.among(n_in), self.frequencies
        shapes = {"w": (n, m), "V": (n, self.size, 2 * m), "c": (n, self.size)}
        own = [Slot(name, shape, "embedding", self.lr, float(name == "V")) for name, shape in shapes.items() if n]
        return n * self.size + n_in - n, own

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """w ~ N(0, scale²) within ±3 scale, V and c ~ U(±1 / √(2 · frequencies))."""
        if not p:
            return
        bound = 1.0 / math.sqrt(2 * self.frequencies)
        features.draw(p["w"], key.at("w"), "cut normal", self.scale)
        features.draw(p["V"], key.at("V"), "uniform", bound)
        features.draw(p["c"], key.at("c"), "uniform", bound)

    def _waves(self) -> dict[str, Expr]:
        """cos(2π w x) and sin(2π w x), which is a cosine a quarter of a turn back."""
        phase = (2.0 * math.pi) * (Sym("w") * Sym("x"))
        return {"u": cos(phase), "v": cos(phase - math.pi / 2)}

    def _halves(self, h: Ref) -> dict[str, Ref]:
        m = self.frequencies
        return {"u": h[..., 0:m], "v": h[..., m : 2 * m]}

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """Feature by feature."""
        if not p:
            return z
        n, m = p["w"].shape[-2:]
        z_out = features.outputs(k, ws, z, n, self.size)
        h = features.room(ws, "h", n, 2 * m)
        arrays = {"x": features.number(z, n), "w": features.vector(p["w"])}
        halves = self._halves(h)
        for half, wave in self._waves().items():  # loops with two cosines do not go by vectors
            k.add(Apply(Formula({half: wave}), arrays, {half: halves[half]}))
        features.mapped(k, p["V"], p["c"], h, features.values(z_out, n, self.size), lambda a: maximum(a, 0.0))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """ε = δ where z > 0; with (d, e) = Vᵀ ε: dw = Σ 2π x t, δ_in = Σ 2π w t, t = e cos(2π w x) − d sin(2π w x)."""
        if not p:
            return δ
        n, m = p["w"].shape[-2:]
        ε, z_out = (features.values(x, n, self.size) for x in (δ, ws["z_out"]))
        d, h = features.room(ws, "d", n, 2 * m), ws["h"]
        formula = Formula({"ε": Sym("δ") * where(Sym("z") > 0.0, 1.0, 0.0)})
        k.add(Apply(formula, {"δ": ε, "z": z_out}, {"ε": ε}))
        features.mapped_back(k, p["V"], h, ε, g, d)
        halves, waves = self._halves(d), self._halves(h)
        turned = (2.0 * math.pi) * (Sym("e") * Sym("u") - Sym("d") * Sym("v"))
        arrays = {"d": halves["u"], "e": halves["v"], **waves}
        t, x = halves["u"], features.number(ws["z"], n)
        k.add(Apply(Formula({"t": turned}), arrays, {"t": t}))
        k.add(Apply(Formula({"dw": Sym("t") * Sym("x")}), {"t": t, "x": x}, {}, {"dw": g["w"]}))
        if not ws.needed:
            return None
        δ_in = features.inputs(k, ws, δ, n, self.size)
        arrays = {"t": t, "w": features.vector(p["w"])}
        k.add(Apply(Formula({"δ": row_sum(Sym("t") * Sym("w"))}), arrays, {"δ": features.number(δ_in, n)}))
        return δ_in

    def equations(self, n: Names) -> Iterator[Equation]:
        """The waves, what is made of them, and the gradients."""
        H, w, V, c = n("H"), n("w"), n("V"), n("c")

        def waves(seen: Arrays) -> Array:
            turn = 2 * np.pi * seen["p.w"][:, None] * seen["z"].T[: len(seen["p.w"]), :, None]
            return np.concatenate([np.cos(turn), np.sin(turn)], axis=-1)

        def made(seen: Arrays) -> Array:
            z, of = seen["z"], len(seen["p.w"])
            y = np.einsum("fru,fvu->rfv", seen["h"], seen["p.V"], optimize=False) + seen["p.c"]
            return np.hstack([np.maximum(y, 0).reshape(len(z), -1), z[:, of:]])

        if self.numbers == 0:
            return
        shown = {"h": (H, "waves of each number"), "z": n.inputs, "p.w": (w, "frequencies")}
        text = f"{H} = (cos(2π {w} {n.z}), sin(2π {w} {n.z}))"
        yield Equation("forward", text, self.forward, shown, expected=waves)
        shown = {"z_out": n.outputs, "p.V": (V, "weights"), "p.c": (c, "biases")}
        yield Equation("forward", f"{n.z_out} = max({V} {H} + {c}, 0)", self.forward, shown, expected=made)
        E = n("E")
        text = f"{E} = {n.δ} ∘ [1 where {n.z_out} > 0, else 0],  d{c} = Σ_{{r}} {E}"
        yield Equation("backward", text, self.backward, n.slope("c", "the biases"))
        yield Equation("backward", f"d{V} = Σ_{{r}} {E} ⊗ {H}", self.backward, n.slope("V", "the weights"))
        text = f"d{w} = Σ_{{r}} 2π {n.z} (∂{H} / ∂(2π {w} {n.z}))^{{T}} {V}^{{T}} {E}"
        yield Equation("backward", text, self.backward, n.slope("w", "the frequencies"))
        yield Equation("backward", f"{n.δ_in} = (∂{H} / ∂{n.z})^{{T}} {V}^{{T}} {E}", self.backward, n.below)
