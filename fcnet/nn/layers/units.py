"""What layers of units share: their number, activation, initial weights and dropout."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

from fcnet.formulas import Expr, Sym
from fcnet.nn.activations import ACTIVATIONS, Activation, Identity, owned
from fcnet.nn.initializers import INITIALIZERS, Initializer, settled
from fcnet.nn.layers.layer import Context
from fcnet.nn.layout import Slot
from fcnet.nn.parametrisations import PARAMETRISATIONS, Parametrisation
from fcnet.records import dataclass
from fcnet.registry import Count, Named, Share


@dataclass(frozen=True)
class Units:
    """Units with an activation f."""

    units: Count
    """The number of units."""
    activation: Annotated[Activation, Named(ACTIVATIONS)] | None = None
    """Its activation; without, `network.activation`."""
    init: Literal["auto"] | Annotated[Initializer, Named(INITIALIZERS)] | None = None
    """How its weights start; without, `network.init`."""
    dropout: Share | None = None
    """The share of its outputs that are dropped in training; without, `network.dropout`."""

    def settled(self, given: Context) -> Self:
        """With the section's activation, init and dropout where it has none."""
        f = given.activation if self.activation is None else self.activation
        dropout = given.dropout if self.dropout is None else self.dropout
        init = settled(given.init if self.init is None else self.init, f.family)
        return replace(self, activation=f, init=init, dropout=dropout)

    @property
    def f(self) -> Activation:
        """Its activation."""
        return self.activation or Identity()

    @property
    def initializer(self) -> Initializer:
        """What its weights start from."""
        return settled(self.init, self.f.family)

    @property
    def own(self) -> list[Slot]:
        """The activation's parameters."""
        return owned(self.f, self.units)

    def described(self) -> tuple[str, str]:
        """Its activation and its initializer."""
        return str(getattr(self.f, "name", type(self.f).__name__)), str(getattr(self.init, "name", self.init))

    def back(self) -> dict[str, Expr]:
        """ε = (∂f/∂a)ᵀ δ, and what the activation's own parameters get from each row."""
        a, z, δ = Sym("a"), Sym("z"), Sym("δ")
        return {"ε": self.f.vjp(a, z, δ), **getattr(self.f, "slopes", lambda *_: {})(a, z, δ)}


@dataclass(frozen=True)
class Affine(Units):
    """A matrix W and biases b in front of the activation."""

    parametrisation: Annotated[Parametrisation, Named(PARAMETRISATIONS)] | None = None
    """How its weights and biases learn; without, `network.parametrisation`."""

    def settled(self, given: Context) -> Self:
        """With the section's parametrisation, too, where it has none."""
        of = given.parametrisation if self.parametrisation is None else self.parametrisation
        return replace(super().settled(given), parametrisation=of)

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        """b (n_out,), W (n_out, n_in), and what the activation owns."""
        lr, decay, bias = self.parametrisation.slots(n_in) if self.parametrisation else (1.0, None, 1.0)
        own = [Slot("b", (self.units,), "bias", bias), Slot("W", (self.units, n_in), "weight", lr, decay)]
        return self.units, [*own, *self.own]
