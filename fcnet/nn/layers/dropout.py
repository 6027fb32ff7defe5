"""Dropout: some units of each row are left out of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from fcnet.backends.ops import Apply, Array, Ref, Tape, Words
from fcnet.formulas import Expr, Formula, Sym, where
from fcnet.formulas.notation import compact
from fcnet.formulas.transform import evaluate
from fcnet.nn.layers.layer import Complete, Equation, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Share


@dataclass(frozen=True)
class Dropout(Complete):
    """z_out = z ∘ m / (1 − rate), each m 0 with probability `rate` in training; the identity otherwise.

    (Srivastava et al. 2014, "inverted".) The masks are words of (seed, "dropout") at (epoch, step, path), 16 bits for
    each unit of each row: `rate` counts as the nearest multiple of 2⁻¹⁶.
    """

    rate: Share
    """The share of the units that are dropped."""
    name: Literal["dropout"] = "dropout"

    def described(self) -> tuple[str, str]:
        """With its rate."""
        return f"dropout {compact(self.rate)}", ""

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """As many outputs as inputs, no parameters."""
        return n_in, []

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """A word u below rate · 2¹⁶ drops its unit."""
        if not ws.train:
            return z
        u, z_out = ws.new("u", z.shape[-1], np.uint16), ws.new("z_out", z.shape[-1])
        k.add(Words(ws.keys("dropout"), ws.place, ws.batch.position, u))
        k.add(Apply(Formula({"z_out": Sym("z") * self._mask(ws)}), {"u": u, "z": z, **ws.driven}, {"z_out": z_out}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """δ_in = δ ∘ m / (1 − rate)."""
        if ws.needed:
            k.add(Apply(Formula({"δ": Sym("δ") * self._mask(ws)}), {"δ": δ, "u": ws["u"], **ws.driven}, {"δ": δ}))
        return δ

    def driven(self) -> dict[str, tuple[str, Callable[[Array], Array]]]:
        """What a schedule of the rate moves: the words that drop their unit, and the factor on the others."""
        return {
            "dropped": ("dropout", self._dropped),
            "kept": ("dropout", lambda f: 1.0 / (1.0 - self._dropped(f) / 2**16)),
        }

    def _dropped(self, f: Array) -> Array:
        """How many of the 2¹⁶ words drop their unit at f times the rate."""
        return np.minimum(np.round(self.rate * f * 2**16), 2**16 - 1)

    def _mask(self, ws: Workspace | None = None) -> Expr:
        """m / (1 − rate), from the words: these take half the memory of the mask."""
        if ws is not None and ws.driven:
            return where(Sym("u") >= Sym("dropped"), Sym("kept"), 0.0)
        dropped = int(self._dropped(np.ones(())))
        return where(Sym("u") >= dropped, 1.0 / (1.0 - dropped / 2**16), 0.0)

    def equations(self, n: Names) -> Iterator[Equation]:
        """The mask, forward and back (9)."""
        M = f"M_{{{n.above}}}"
        words = {"mask": (M, f"mask: 0 with probability {compact(self.rate)}, else {1.0 / (1.0 - self.rate):.4g}")}
        mask = {"mask": lambda seen: np.asarray(evaluate(self._mask(), {"u": seen["u"].astype(np.float64)}))}
        out = {"z_out": (n.z_out, "outputs that are kept, scaled up"), **words}
        yield Equation("forward", f"{n.z_out} ← {M} ∘ {n.z_out}", self.forward, out, "(9)", made=mask)
        back = {"δ_in": (n.δ, "gradient before the mask"), **words}
        yield Equation("backward", f"{n.δ} ← {M} ∘ {n.δ}", self.backward, back, "(9)", made=mask)
