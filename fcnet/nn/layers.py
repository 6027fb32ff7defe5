"""Layers: aᵢ = Wᵢ zᵢ + bᵢ, zᵢ₊₁ = fᵢ(aᵢ), and the four equations of the backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fcnet import random
from fcnet.backends.base import Array, Tape, Words
from fcnet.formulas import Expr, Formula, Sym, where
from fcnet.nn.activations import Activation
from fcnet.nn.initializers import Initializer
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace

Arrays = Mapping[str, Array]


class Layer(Protocol):
    """A piece of the net. Rows are axis −2, units axis −1; leading axes are members of an ensemble."""

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """(n_out, slots) for n_in inputs; slot names without the layer's number."""

    def init(self, p: Arrays, q: Arrays, key: Array, layer: int, z: Array) -> None:
        """Fill parameters p and buffers q; z (…, B, n_in) is a batch of this layer's inputs."""

    def forward(self, k: Tape, p: Arrays, q: Arrays, ws: Workspace, z: Array, s: Arrays) -> Array:
        """Record z_out (…, B, n_out) from z (…, B, n_in)."""

    def backward(
        self, k: Tape, p: Arrays, q: Arrays, g: Arrays, ws: Workspace, δ: Array, s: Arrays, need_dz: bool
    ) -> Array | None:
        """Record the gradients into g and return δ at the layer's input, where asked for. δ may be overwritten."""


def transpose(x: Array) -> Array:
    """The last two axes exchanged, without a copy."""
    return np.swapaxes(x, -1, -2)


@dataclass(frozen=True)
class Dense:
    """z_out = f(W z + b), with `units` outputs."""

    units: int
    activation: Activation
    initializer: Initializer

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """b (n_out,) and W (n_out, n_in)."""
        return self.units, [Slot("b", (self.units,), "bias"), Slot("W", (self.units, n_in), "weight")]

    def init(self, p: Arrays, q: Arrays, key: Array, layer: int, z: Array) -> None:
        """W from the initializer, b = 0."""
        self.initializer.fill(p["W"], key, layer)
        p["b"][...] = 0

    def forward(self, k: Tape, p: Arrays, q: Arrays, ws: Workspace, z: Array, s: Arrays) -> Array:
        """A = Z Wᵀ + b, Z_out = f(A)."""
        a = ws.new("a", self.units)
        ws.keep("z", z)
        k.matmul(z, transpose(p["W"]), a)
        pre = Sym("a") + Sym("b")
        # Where the vjp can do without a, z takes its place and one buffer less is written.
        needs_a = "a" in Formula({"ε": self._vjp()}).symbols()
        results = {"z": self.activation.f(pre)} | ({"a": pre} if needs_a else {})
        z_out = ws.new("z_out", self.units) if needs_a and self.activation.f(Sym("a")) is not Sym("a") else a
        outs = {"z": z_out} | ({"a": a} if needs_a else {})
        k.apply(Formula(results), {"a": a, "b": p["b"][..., None, :]}, outs)
        ws.keep("z_out", z_out)
        return z_out

    def backward(
        self, k: Tape, p: Arrays, q: Arrays, g: Arrays, ws: Workspace, δ: Array, s: Arrays, need_dz: bool
    ) -> Array | None:
        """ε = (∂f/∂a)ᵀ δ (1), db = Σ rows ε (3), dW = Eᵀ Z (4), Δ_in = E W (2)."""
        ε = δ
        if self._vjp() is Sym("δ"):
            k.sum_rows(ε, g["b"])
        else:
            arrays = {"a": ws["a"], "z": ws["z_out"], "δ": δ}
            k.apply(Formula({"ε": self._vjp()}), arrays, {"ε": ε}, {"ε": g["b"]})
        k.matmul(transpose(ε), ws["z"], g["W"])
        if not need_dz:
            return None
        δ_in = ws.new("δ_in", p["W"].shape[-1])
        k.matmul(ε, p["W"], δ_in)
        return δ_in

    def _vjp(self) -> Expr:
        return self.activation.vjp(Sym("a"), Sym("z"), Sym("δ"))


@dataclass(frozen=True)
class Dropout:
    """z_out = z ∘ m / (1 − rate), each m 0 with probability `rate` in training; the identity otherwise.

    (Srivastava et al. 2014, "inverted".) The masks are words of (seed, "dropout") at (epoch, step, layer), 16 bits for
    each unit of each row: `rate` counts as the nearest multiple of 2⁻¹⁶.
    """

    rate: float

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """As many outputs as inputs, no parameters."""
        return n_in, []

    def init(self, p: Arrays, q: Arrays, key: Array, layer: int, z: Array) -> None:
        """Nothing to fill."""

    def forward(self, k: Tape, p: Arrays, q: Arrays, ws: Workspace, z: Array, s: Arrays) -> Array:
        """A word u below rate · 2¹⁶ drops its unit."""
        if not ws.train:
            return z
        u, z_out = ws.new("u", z.shape[-1], np.uint16), ws.new("z_out", z.shape[-1])
        k.words(u, Words(random.key(ws.seed, "dropout"), ws.layer, ws.batch.position))
        k.apply(Formula({"z_out": Sym("z") * self._mask()}), {"u": u, "z": z}, {"z_out": z_out})
        return z_out

    def backward(
        self, k: Tape, p: Arrays, q: Arrays, g: Arrays, ws: Workspace, δ: Array, s: Arrays, need_dz: bool
    ) -> Array | None:
        """δ_in = δ ∘ m / (1 − rate)."""
        if need_dz:
            k.apply(Formula({"δ": Sym("δ") * self._mask()}), {"δ": δ, "u": ws["u"]}, {"δ": δ})
        return δ

    def _mask(self) -> Expr:
        """m / (1 − rate), from the words: these take half the memory of the mask."""
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        return where(Sym("u") >= dropped, 1.0 / (1.0 - dropped / 2**16), 0.0)
