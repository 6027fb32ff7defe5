"""A residual block: what its layers make is added to what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

from fcnet.backends.ops import Apply, Array, Ref, Tape
from fcnet.errors import ConfigError
from fcnet.formulas import Formula, Sym
from fcnet.nn.layers.layer import (
    Arrays,
    Context,
    Equation,
    Hidden,
    Key,
    Layer,
    Names,
    Refs,
    driven,
    fan,
    go,
    spread,
    within,
)
from fcnet.nn.layout import Slot
from fcnet.nn.workspace import Workspace
from fcnet.records import dataclass
from fcnet.registry import Len


@dataclass(frozen=True)
class Residual:
    """z_out = z + g(z), g a chain of layers of its own that ends as wide as it begins (He et al. 2016).

    As the first layer it adds units to inputs, whose order then matters.
    """

    layers: Annotated[list[Hidden], Len(1, 100)]
    """The layers inside, as in `network.layers`."""
    name: Literal["residual"] = "residual"

    def settled(self, given: Context) -> Self:
        """With all layers inside settled."""
        if any(fan(layer) > 1 for layer in self.layers):
            raise ConfigError("fan_out cannot stand inside another layer; put it beside them", key="network.layers")
        return replace(self, layers=[layer.settled(given) for layer in self.layers])

    def described(self) -> tuple[str, str]:
        """What is inside."""
        inside = [layer.described() for layer in self._chain]
        return f"residual ({', '.join(kind for kind, _ in inside)})", next((how for _, how in inside if how), "")

    @property
    def _chain(self) -> list[Layer]:
        return spread(self.layers)

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """Those of the layers inside."""
        n, found = n_in, []
        for i, layer in enumerate(self._chain, start=1):
            n, own = layer.slots(n)
            found += [slot.inside(str(i)) for slot in own]
        if n != n_in:
            raise ConfigError(
                f"a residual block with {n_in:,} inputs ends in {n:,} units; its last layer must have {n_in:,}",
                key="network.layers",
            )
        return n_in, found

    def driven(self) -> dict[str, tuple[str, Callable[[Array], Array]]]:
        """What schedules move in the layers inside."""
        return {
            f"{i}.{name}": moved
            for i, layer in enumerate(self._chain, start=1)
            for name, moved in driven(layer).items()
        }

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        """The layers inside start themselves."""

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        """One after another, and the sum."""
        inner = z
        for i, layer in enumerate(self._chain, start=1):
            inner = go(layer, k, within(p, str(i)), within(q, str(i)), ws.child(str(i)), inner)
        z_out = ws.new("z_out", z.shape[-1])
        k.add(Apply(Formula({"z_out": Sym("z") + Sym("g")}), {"z": z, "g": inner}, {"z_out": z_out}))
        ws.keep("g", inner)
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        """δ_in = δ + the δ_in of the layers inside."""
        inner = ws.new("δ", δ.shape[-1])
        k.add(Apply(Formula({"δ": Sym("δ")}), {"δ": δ}, {"δ": inner}))
        for i, layer in reversed(list(enumerate(self._chain, start=1))):
            at = str(i)
            below = layer.backward(k, within(p, at), within(q, at), within(g, at), ws.inside[at], inner)
            assert below is not None, "everything inside is needed"
            inner = below
        if not ws.needed:
            return None
        k.add(Apply(Formula({"δ": Sym("δ") + Sym("g")}), {"δ": δ, "g": inner}, {"δ": δ}))
        return δ

    def equations(self, n: Names) -> Iterator[Equation]:
        """The sum, and what comes back through it; the layers inside are those of every net."""
        made = {"z_out": n.outputs, "z": n.inputs, "g": (n("G"), "what the layers inside make")}
        text = f"{n.z_out} = {n.z} + {n('G')}"
        yield Equation("forward", text, self.forward, made, expected=lambda seen: seen["z"] + seen["g"])
        yield Equation("backward", f"{n.δ_in} = {n.δ} + (∂{n('G')}/∂{n.z})^{{T}} {n.δ}", self.backward, n.below)
