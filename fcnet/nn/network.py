"""The network: layers in a row over one flat θ, whose forward and backward pass are recorded on a tape."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fcnet import random
from fcnet.backends.base import Array, Eager, Tape
from fcnet.backends.numpy import NumpyBackend
from fcnet.nn.layers import Layer
from fcnet.nn.layout import Layout
from fcnet.nn.workspace import Batch, Memory, Workspace

Arrays = Mapping[str, Array]


class Network:
    """Layers with their slots numbered as in the derivation: b1, W1 belong to the first layer that has parameters.

    `members`: leading axes of an ensemble trained as one batched product; () is one net.
    """

    def __init__(self, layers: Sequence[Layer], n_in: int, members: tuple[int, ...] = ()) -> None:
        self.layers = tuple(layers)
        self.n_in = n_in
        self.members = members
        self.names: list[dict[str, str]] = []  # per layer: its own slot name -> name in the layout
        self.widths = [n_in]
        self.numbers: list[int] = []  # per layer: i of the derivation, for layers with slots
        slots, number = [], 0
        for layer in self.layers:
            n_out, own = layer.slots(self.widths[-1])
            number += bool(own)
            self.numbers.append(number)
            self.names.append({slot.name: f"{slot.name}{number}" for slot in own})
            slots += [replace(slot, name=f"{slot.name}{number}") for slot in own]
            self.widths.append(n_out)
        self.layout = Layout([slot for slot in slots if slot.kind != "buffer"], members)
        self.buffers = Layout([slot for slot in slots if slot.kind == "buffer"], members)

    @property
    def n_out(self) -> int:
        """The number of outputs."""
        return self.widths[-1]

    def largest_product(self, rows: int) -> int:
        """Multiplications of the largest matrix product of a step with so many rows."""
        return max(rows * a * b for a, b in itertools.pairwise(self.widths))

    def views(self, vector: Array, layout: Layout) -> list[dict[str, Array]]:
        """Per layer, the slots of a vector under the layer's own names."""
        named = layout.views(vector)
        return [{own: named[name] for own, name in names.items() if name in named} for names in self.names]

    def initialise(self, θ: Array, q: Array, seed: int, batch: Batch, ranks: Array | None = None) -> None:
        """Fill θ and the buffers q, layer by layer, each seeing its inputs for `batch`.

        Layer i draws from (seed, "init", i) alone: another layer added does not move it. Input j of the net takes what
        is drawn for place `ranks[j]` (n_in,), so that inputs which change places take their weights along.
        """
        key = random.key(seed, "init")
        p, buffers = self.views(θ, self.layout), self.views(q, self.buffers)
        k = Eager(NumpyBackend())
        spaces = self.workspaces(Memory(θ.dtype), batch, train=False, seed=seed)
        z = batch.x
        for layer, own, held, number, ws in zip(self.layers, p, buffers, self.numbers, spaces, strict=True):
            layer.init(own, held, key, number, z)
            if ranks is not None and number == 1 and "W" in own:
                own["W"][...] = own["W"][..., ranks]
            z = layer.forward(k, own, held, ws, z, {})

    def workspaces(self, memory: Memory, batch: Batch, train: bool, seed: int) -> list[Workspace]:
        """One workspace for each layer, for a batch of these rows."""
        lead = (*self.members, batch.x.shape[-2])
        return [Workspace(memory, i, batch, lead, train, seed) for i in range(len(self.layers))]

    def forward(self, k: Tape, θ: Array, q: Array, spaces: Sequence[Workspace], batch: Batch, s: Arrays) -> Array:
        """Record z_N (…, B, n_out) from batch.x."""
        z = batch.x
        p, buffers = self.views(θ, self.layout), self.views(q, self.buffers)
        for layer, number, own, held, ws in zip(self.layers, self.numbers, p, buffers, spaces, strict=True):
            k.section("forward", number)
            z = layer.forward(k, own, held, ws, z, s)
        return z

    def backward(self, k: Tape, θ: Array, q: Array, g: Array, spaces: Sequence[Workspace], δ: Array, s: Arrays) -> None:
        """Record ∇L into g from δ_{N−1} = ∂L/∂z_N (…, B, n_out). δ's memory is used up."""
        p, buffers = self.views(θ, self.layout), self.views(q, self.buffers)
        grads = self.views(g, self.layout)
        first = next((i for i, names in enumerate(self.names) if names), 0)
        down: Array | None = δ
        for i in range(len(self.layers) - 1, first - 1, -1):
            assert down is not None
            k.section("backward", self.numbers[i])
            down = self.layers[i].backward(k, p[i], buffers[i], grads[i], spaces[i], down, s, need_dz=i > first)
