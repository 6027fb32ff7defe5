"""Activations f: each is a formula z = f(a) and its vector-Jacobian product ε = (∂f/∂a)ᵀ δ, equation (1)."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, ClassVar, Literal, Protocol

from fcnet.formulas import Expr, Sym, absolute, erf, exp, expm1, log1p, maximum, minimum, row_max, row_sum, tanh, where
from fcnet.nn.layout import Slot
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Lt, Named


class Activation(Protocol):
    """An elementwise (or row-wise, as softmax) function of the pre-activations.

    One with parameters has two methods more: `slots(n)`, vectors of n units, whose names stand as symbols in `f` and
    `vjp`; and `slopes(a, z, δ)`, what each row adds to their gradients, by name.
    """

    @property
    def family(self) -> Literal["relu", "tanh", "selu"]:
        """Which initial weights suit it: he, glorot or lecun."""

    def f(self, a: Expr) -> Expr:
        """z = f(a), (…, B, n)."""

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = (∂f/∂a)ᵀ δ, (…, B, n); z = f(a) is at hand."""


def owned(f: Activation, n: int) -> list[Slot]:
    """The parameters of an activation of n units; most have none."""
    slots: list[Slot] = f.slots(n) if hasattr(f, "slots") else []
    return slots


def logistic(a: Expr) -> Expr:
    """σ(a) = 1 / (1 + e⁻ᵃ) = where(a ≥ 0, 1, e) / (1 + e), e = exp(−|a|): neither side overflows or cancels."""
    e = exp(-absolute(a))
    return where(a >= 0.0, 1.0, e) / (1.0 + e)


@dataclass(frozen=True)
class Identity:
    """f(a) = a."""

    name: Literal["identity"] = "identity"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "tanh"

    def f(self, a: Expr) -> Expr:
        """z = a."""
        return a

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ."""
        return δ


@dataclass(frozen=True)
class Relu:
    """f(a) = max(a, 0); f'(0) = 0 (Nair and Hinton 2010)."""

    name: Literal["relu"] = "relu"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = max(a, 0)."""
        return maximum(a, 0.0)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ where z > 0, else 0: z says as much as a."""
        return where(z > 0.0, δ, 0.0)


@dataclass(frozen=True)
class LeakyRelu:
    """f(a) = a for a > 0, else slope · a (Maas et al. 2013)."""

    name: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Ge(0), Lt(1)] = 0.01
    """The slope for negative inputs."""
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = max(a, slope · a), since slope < 1."""
        return maximum(a, self.slope * a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ · (1 or slope)."""
        return δ * where(a > 0.0, 1.0, self.slope)


@dataclass(frozen=True)
class Tanh:
    """f(a) = tanh a."""

    name: Literal["tanh"] = "tanh"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "tanh"

    def f(self, a: Expr) -> Expr:
        """z = tanh a."""
        return tanh(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (1 − z²)."""
        return δ * (1.0 - z * z)


@dataclass(frozen=True)
class Sigmoid:
    """f(a) = 1 / (1 + e⁻ᵃ)."""

    name: Literal["sigmoid"] = "sigmoid"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "tanh"

    def f(self, a: Expr) -> Expr:
        """z = σ(a)."""
        return logistic(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ z (1 − z)."""
        return δ * (z * (1.0 - z))


@dataclass(frozen=True)
class Softplus:
    """f(a) = ln(1 + eᵃ)."""

    name: Literal["softplus"] = "softplus"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = max(a, 0) + ln(1 + exp(−|a|))."""
        return maximum(a, 0.0) + log1p(exp(-absolute(a)))

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ σ(a)."""
        return δ * logistic(a)


@dataclass(frozen=True)
class Elu:
    """f(a) = a for a > 0, else alpha (eᵃ − 1) (Clevert et al. 2015)."""

    name: Literal["elu"] = "elu"
    alpha: Annotated[float, Gt(0)] = 1.0
    """Minus the limit for a → −∞."""
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = max(a, 0) + alpha (exp(min(a, 0)) − 1)."""
        return maximum(a, 0.0) + self.alpha * expm1(minimum(a, 0.0))

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ · (1 or alpha eᵃ); for a ≤ 0 the latter is z + alpha."""
        return δ * where(a > 0.0, 1.0, minimum(z, 0.0) + self.alpha)


@dataclass(frozen=True)
class Selu:
    """f(a) = λ a for a > 0, else λ α (eᵃ − 1) (Klambauer et al. 2017): keeps mean 0 and variance 1 from layer to layer.

    λ and α are the paper's, by which N(0, 1) is a fixed point. f'(0) = λ α, the derivative from the left.
    """

    name: Literal["selu"] = "selu"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "selu"

    def f(self, a: Expr) -> Expr:
        """z = λ max(a, 0) + λ α (exp(min(a, 0)) − 1)."""
        return _SELU_λ * maximum(a, 0.0) + _SELU_λ * _SELU_α * expm1(minimum(a, 0.0))

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ · (λ or λ α eᵃ); for a ≤ 0 the latter is z + λ α."""
        return δ * where(a > 0.0, _SELU_λ, minimum(z, 0.0) + _SELU_λ * _SELU_α)


_SELU_λ, _SELU_α = 1.0507009873554805, 1.6732632423543772


@dataclass(frozen=True)
class Gelu:
    """f(a) = a Φ(a), Φ the normal distribution function (Hendrycks and Gimpel 2016), exact."""

    name: Literal["gelu"] = "gelu"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = a (1 + erf(a / √2)) / 2."""
        return a * (0.5 + 0.5 * erf(a * math.sqrt(0.5)))

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (Φ(a) + a φ(a))."""
        x = a * math.sqrt(0.5)
        φ = exp(-(x * x)) * (1.0 / math.sqrt(2.0 * math.pi))
        return δ * ((0.5 + 0.5 * erf(x)) + a * φ)


@dataclass(frozen=True)
class GeluTanh:
    """f(a) = a (1 + tanh u) / 2 with u = √(2/π) (a + 0.044715 a³): the usual approximation of gelu."""

    name: Literal["gelu_tanh"] = "gelu_tanh"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = a (1 + tanh u) / 2."""
        return 0.5 * a * (1.0 + self._t(a))

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (½ (1 + t) + ½ a (1 − t²) u'(a)), t = tanh u."""
        t = self._t(a)
        du = _GELU * (1.0 + 3 * 0.044715 * (a * a))
        return δ * (0.5 * (1.0 + t) + 0.5 * a * (1.0 - t * t) * du)

    def _t(self, a: Expr) -> Expr:
        return tanh(_GELU * (a * (1.0 + 0.044715 * (a * a))))


_GELU = math.sqrt(2.0 / math.pi)


@dataclass(frozen=True)
class Silu:
    """f(a) = a σ(a) (Elfwing et al. 2017; "swish")."""

    name: Literal["silu"] = "silu"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = a σ(a)."""
        return a * logistic(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (σ + z (1 − σ))."""
        s = logistic(a)
        return δ * (s + z * (1.0 - s))


@dataclass(frozen=True)
class Mish:
    """f(a) = a tanh(softplus(a)), softplus(a) = ln(1 + eᵃ) (Misra 2019)."""

    name: Literal["mish"] = "mish"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def f(self, a: Expr) -> Expr:
        """z = a tanh(max(a, 0) + ln(1 + exp(−|a|)))."""
        return a * self._gate(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (t + a σ(a) (1 − t²)), t = tanh(softplus(a))."""
        t = self._gate(a)
        return δ * (t + a * logistic(a) * (1.0 - t * t))

    def _gate(self, a: Expr) -> Expr:
        return tanh(maximum(a, 0.0) + log1p(exp(-absolute(a))))


@dataclass(frozen=True)
class Softmax:
    """f(a)ᵏ = exp aᵏ / Σⱼ exp aʲ over a row's units: not elementwise, so its vjp is a Jacobian product."""

    name: Literal["softmax"] = "softmax"
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "tanh"

    def f(self, a: Expr) -> Expr:
        """z = e / Σ e, e = exp(a − max a)."""
        e = exp(a - row_max(a))
        return e / row_sum(e)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = z ∘ (δ − Σⱼ δʲ zʲ), since ∂zʲ/∂aᵏ = zʲ (1[j = k] − zᵏ)."""
        return z * (δ - row_sum(δ * z))


PLAIN: dict[str, type[Activation]] = {
    "identity": Identity,
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
    "elu": Elu,
    "selu": Selu,
    "gelu": Gelu,
    "gelu_tanh": GeluTanh,
    "silu": Silu,
    "mish": Mish,
    "softmax": Softmax,
}
"""Those without parameters."""


@dataclass(frozen=True)
class Prelu:
    """f(a) = a for a > 0, else α a, with an α for each unit that is learnt (He et al. 2015)."""

    name: Literal["prelu"] = "prelu"
    start: Annotated[float, Ge(0), Lt(1)] = 0.25
    """Where α starts."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate of α."""
    family: ClassVar[Literal["relu", "tanh", "selu"]] = "relu"

    def slots(self, n: int) -> list[Slot]:
        """α (n,)."""
        return [Slot("α", (n,), "vector", self.lr, start=self.start)]

    def f(self, a: Expr) -> Expr:
        """z = max(a, 0) + α min(a, 0)."""
        return maximum(a, 0.0) + Sym("α") * minimum(a, 0.0)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ · (1 or α)."""
        return δ * where(a > 0.0, 1.0, Sym("α"))

    def slopes(self, a: Expr, z: Expr, δ: Expr) -> dict[str, Expr]:
        """dα = δ · min(a, 0)."""
        return {"α": δ * minimum(a, 0.0)}


@dataclass(frozen=True)
class Parametric:
    """f(a) = a + (g(a) − a) α with another activation g and an α for each unit that is learnt.

    At α = 1 it is g, at 0 the identity (Holzmüller et al. 2024, for SELU and Mish).
    """

    name: Literal["parametric"] = "parametric"
    activation: Annotated[Activation, Named(PLAIN)] = field(default_factory=Selu)
    """The activation g."""
    start: float = 1.0
    """Where α starts."""
    lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate of α."""

    @property
    def family(self) -> Literal["relu", "tanh", "selu"]:
        """That of g."""
        return self.activation.family

    def slots(self, n: int) -> list[Slot]:
        """α (n,)."""
        return [Slot("α", (n,), "vector", self.lr, start=self.start)]

    def f(self, a: Expr) -> Expr:
        """z = a + (g(a) − a) α."""
        return a + (self.activation.f(a) - a) * Sym("α")

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        """ε = δ (1 − α) + (∂g/∂a)ᵀ (α δ)."""
        return δ * (1.0 - Sym("α")) + self.activation.vjp(a, self.activation.f(a), Sym("α") * δ)

    def slopes(self, a: Expr, z: Expr, δ: Expr) -> dict[str, Expr]:
        """dα = δ (g(a) − a)."""
        return {"α": δ * (self.activation.f(a) - a)}


ACTIVATIONS: dict[str, type[Activation]] = {**PLAIN, "prelu": Prelu, "parametric": Parametric}
