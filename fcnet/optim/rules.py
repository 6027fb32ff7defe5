"""Optimizers: each is one formula (g, θ, state …, lr, decay, t) → (θ', state' …), the same for every element of θ.

The formulas are PyTorch's, so that a user's numbers carry over. `t` counts steps from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from annotated_types import Ge, Gt, Lt

from fcnet.formulas import Expr, power, sqrt

Rate = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Decay = Annotated[float, Ge(0)]


class Optimizer(Protocol):
    """A rule for every element of θ."""

    @property
    def lr(self) -> float:
        """The learning rate before schedule and factors."""

    @property
    def weight_decay(self) -> float:
        """The decay of weights before schedule and factors."""

    def vectors(self) -> tuple[str, ...]:
        """The names of its state, flat vectors like θ that start at 0."""

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        """The new θ and state by name; `decay` is None where there is none."""


@dataclass(frozen=True)
class Sgd:
    """Gradient descent (Sutskever et al. 2013): m' = μ m + g, θ' = θ − lr m', or θ − lr (g + μ m') with nesterov."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.01
    """Learning rate."""
    momentum: Share = 0.0
    """μ, the share of the last direction that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: Decay = 0.0
    """Added to the gradient of weights: g + weight_decay · θ."""

    def vectors(self) -> tuple[str, ...]:
        """m, with momentum."""
        return ("m",) if self.momentum else ()

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        """As the class says."""
        g = _decayed(g, θ, decay)
        if not self.momentum:
            return {"θ": θ - lr * g}
        m = self.momentum * state["m"] + g
        return {"m": m, "θ": θ - lr * (g + self.momentum * m if self.nesterov else m)}


@dataclass(frozen=True)
class RmsProp:
    """v' = α v + (1 − α) g², θ' = θ − lr g / (√v' + eps) (Tieleman and Hinton 2012); momentum on the quotient."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: Rate = 0.01
    """Learning rate."""
    alpha: Share = 0.99
    """α, the memory of the squared gradient."""
    eps: Rate = 1e-8
    """Keeps the quotient finite."""
    momentum: Share = 0.0
    """μ, the share of the last direction that is kept."""
    weight_decay: Decay = 0.0
    """Added to the gradient of weights."""

    def vectors(self) -> tuple[str, ...]:
        """v, and m with momentum."""
        return ("v", "m") if self.momentum else ("v",)

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        """As the class says."""
        g = _decayed(g, θ, decay)
        v = self.alpha * state["v"] + (1.0 - self.alpha) * (g * g)
        step = g / (sqrt(v) + self.eps)
        if not self.momentum:
            return {"v": v, "θ": θ - lr * step}
        m = self.momentum * state["m"] + step
        return {"v": v, "m": m, "θ": θ - lr * m}


def _moments(
    beta1: float, beta2: float, eps: float, g: Expr, state: Mapping[str, Expr], lr: Expr, t: Expr
) -> tuple[Expr, Expr, Expr]:
    """(m', v', step): Adam's Algorithm 1, ε outside the bias correction."""
    m = beta1 * state["m"] + (1.0 - beta1) * g
    v = beta2 * state["v"] + (1.0 - beta2) * (g * g)
    rate = lr / (1.0 - power(beta1, t))
    return m, v, rate * m / (sqrt(v) * (1.0 / sqrt(1.0 - power(beta2, t))) + eps)


@dataclass(frozen=True)
class Adam:
    """θ' = θ − lr m̂ / (√v̂ + eps) (Kingma and Ba 2015, Algorithm 1): m and v are running means of g and g², ^ their
    bias corrections 1 / (1 − βᵗ)."""

    name: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Share = 0.9
    """Memory of the gradient."""
    beta2: Share = 0.999
    """Memory of its square."""
    eps: Rate = 1e-8
    """Keeps the quotient finite."""
    weight_decay: Decay = 0.0
    """Added to the gradient of weights."""

    def vectors(self) -> tuple[str, ...]:
        """m and v."""
        return ("m", "v")

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        """As the class says."""
        m, v, step = _moments(self.beta1, self.beta2, self.eps, _decayed(g, θ, decay), state, lr, t)
        return {"m": m, "v": v, "θ": θ - step}


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled decay (Loshchilov and Hutter 2019): weights are first multiplied by 1 − lr · weight_decay."""

    name: Literal["adamw"] = "adamw"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Share = 0.9
    """Memory of the gradient."""
    beta2: Share = 0.999
    """Memory of its square."""
    eps: Rate = 1e-8
    """Keeps the quotient finite."""
    weight_decay: Decay = 1e-2
    """Shrinks weights by lr · weight_decay a step."""

    def vectors(self) -> tuple[str, ...]:
        """m and v."""
        return ("m", "v")

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        """As the class says."""
        m, v, step = _moments(self.beta1, self.beta2, self.eps, g, state, lr, t)
        return {"m": m, "v": v, "θ": (θ if decay is None else θ * (1.0 - lr * decay)) - step}


def _decayed(g: Expr, θ: Expr, decay: Expr | None) -> Expr:
    return g if decay is None else g + decay * θ


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "rmsprop": RmsProp,
    "adam": Adam,
    "adamw": AdamW,
}
