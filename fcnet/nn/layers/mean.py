"""The last layer of a net with `fan_out`: what one net would have to say for the mean of the members' predictions.

It follows from the loss, so that no config has it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fcnet.backends.ops import Apply, Ref, Tape
from fcnet.formulas import Formula, Sym
from fcnet.nn.layers.layer import Complete, Equation, Names, Refs
from fcnet.nn.layout import Slot
from fcnet.nn.losses import Loss
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass


@dataclass(frozen=True)
class Mean(Complete):
    """a = unlink((1 / members) Σⱼ averaged(aⱼ)), the two of the loss; in training all aⱼ as they are, of which the loss
    is the mean of the members'."""

    members: int
    loss: Loss

    @property
    def name(self) -> str:
        """No name that a config could say."""
        return "mean"

    def described(self) -> tuple[str, str]:
        """It has nothing that starts."""
        return "mean", ""

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """None."""
        return n_in, []

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """a (…, B, n_out) of z (…, members · B, n_out)."""
        if ws.train:
            return z
        loss, (rows, n_out) = self.loss, z.shape[-2:]
        n, told = n_out // len(loss.parts), loss.averaged(loss.symbols)
        said = {f"p{i}": ws.new(f"p{i}", (rows, n)) for i in range(len(told))}
        k.add(Apply(Formula(dict(zip(said, told, strict=True))), loss.split(z), said))
        each = {f"{name}/{j}": p.among(self.members, j) for name, p in said.items() for j in range(self.members)}
        mean = [sum((Sym(f"{p}/{j}") for j in range(1, self.members)), Sym(f"{p}/0")) / self.members for p in said]
        z_out = ws.new("z_out", (rows // self.members, n_out))
        least = float(np.finfo(z.dtype).tiny)
        outs = loss.split(z_out)
        k.add(Apply(Formula(dict(zip(outs, loss.unlink(tuple(mean), least), strict=True))), each, outs))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """Nothing to do."""
        return δ

    def equations(self, n: Names) -> Iterator[Equation]:
        """None of a step."""
        return iter(())
