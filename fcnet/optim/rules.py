"""Optimizers: each is one formula (g, θ, state …, lr, decay, t) → (θ', state' …), the same for every element of θ.

The formulas are PyTorch's, so that a user's numbers carry over. `t` counts steps from 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Annotated, Literal, Protocol, TypeGuard

import numpy as np

from fcnet.backends.ops import Apply, Array, Matmul, Ref, Tape, ref
from fcnet.formulas import Expr, Formula, Sym, minimum, power, row_sum, sqrt
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Lt, Named

_REGISTRY: dict[str, type[Optimizer]] = {}  # filled at the end: a rule may have others in its groups
Rate = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Decay = Annotated[float, Ge(0)]
Vectors = Mapping[str, Expr]


class Optimizer(Protocol):
    """A rule for every element of θ; or for matrices as a whole, then `direction` stands in for `update`."""

    @property
    def lr(self) -> float:
        """The learning rate before schedule and factors."""

    @property
    def weight_decay(self) -> float:
        """The decay of weights before schedule and factors."""

    @property
    def match(self) -> str:
        """As one of a group: the parameters that it moves."""

    @property
    def groups(self) -> Sequence[Optimizer]:
        """Rules for some of the parameters; the first that matches takes one, and this rule the rest."""

    def vectors(self) -> tuple[str, ...]:
        """The names of its state, flat vectors like θ that start at 0; that of `average` is scored in place of θ."""

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """The new θ and state by name; `decay` is None where there is none."""


class MatrixRule(Optimizer, Protocol):
    """A rule for matrices as a whole."""

    def direction(self, k: Tape, g: Ref, state: Mapping[str, Ref], d: Ref) -> None:
        """Record d (…, n_out, n_in) from the gradient g of the same shape; `update` makes θ' of it in place of g."""

    def plain(self, g: Array, state: Mapping[str, Array]) -> Array:
        """d by other means, one step, in NumPy; `state` moves on."""


def of_matrices(rule: Optimizer) -> TypeGuard[MatrixRule]:
    """Whether a rule moves matrices as a whole."""
    return hasattr(rule, "direction")


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """What every rule may say of the parameters that it moves."""

    match: str = "*"
    """In a group: the names of the parameters it moves, as `W*`, `b[1-3]`, `*`."""
    groups: list[Annotated[Optimizer, Named(_REGISTRY)]] = field(default_factory=list)
    """Rules of their own for some parameters; what none of them matches follows this one."""


@dataclass(frozen=True)
class Sgd(Grouped):
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

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """As the class says."""
        g = _decayed(g, θ, decay)
        if not self.momentum:
            return {"θ": θ - lr * g}
        m = self.momentum * state["m"] + g
        return {"m": m, "θ": θ - lr * (g + self.momentum * m if self.nesterov else m)}


@dataclass(frozen=True)
class RmsProp(Grouped):
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

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
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
class Adam(Grouped):
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

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """As the class says."""
        m, v, step = _moments(self.beta1, self.beta2, self.eps, _decayed(g, θ, decay), state, lr, t)
        return {"m": m, "v": v, "θ": θ - step}


@dataclass(frozen=True)
class AdamW(Grouped):
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

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """As the class says."""
        m, v, step = _moments(self.beta1, self.beta2, self.eps, g, state, lr, t)
        return {"m": m, "v": v, "θ": (θ if decay is None else θ * (1.0 - lr * decay)) - step}


def _decayed(g: Expr, θ: Expr, decay: Expr | None) -> Expr:
    return g if decay is None else g + decay * θ


@dataclass(frozen=True)
class Muon(Grouped):
    """For weight matrices alone, in a group: their momentum made orthogonal (Jordan et al. 2024), θ' = (1 − lr ·
    weight_decay) θ − lr · d.

    m' = μ m + (1 − μ) g, u = (1 − μ) g + μ m', X = u / (‖u‖ + 1e-7); then five times X ← a X + (b A + c A²) X with
    A = X Xᵀ, (a, b, c) = (3.4445, −4.7750, 2.0315), on the short side; d = X √max(1, n_out / n_in).
    Five rounds cost 30 w³ for w × w weights, forward and backward pass 6 B w²: large batches pay.
    """

    name: Literal["muon"] = "muon"
    lr: Rate = 0.02
    """Learning rate."""
    momentum: Share = 0.95
    """μ."""
    weight_decay: Decay = 0.0
    """Decay of the weights themselves, apart from the gradient."""

    def vectors(self) -> tuple[str, ...]:
        """The momentum."""
        return ("momentum",)

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """θ' from the direction, which stands in for g."""
        return {"θ": (θ if decay is None else θ * (1.0 - lr * decay)) - lr * g}

    def direction(self, k: Tape, g: Ref, state: Mapping[str, Ref], d: Ref) -> None:
        """As the class says."""
        *lead, n_out, n_in = g.shape
        members = tuple(lead[:1]) if g.members else ()
        many = lead[len(members) :]  # matrices of a slot that has several
        short, long = sorted((n_out, n_in))
        place = f"muon/{g.first}/{'×'.join(map(str, [*many, n_out, n_in]))}"

        def made(name: str, rows: int, columns: int) -> Ref:
            return replace(ref(f"{place}/{name}", (*many, rows, columns), g.dtype, members), first=g.first)

        μ, m = self.momentum, state["momentum"]
        new = μ * Sym("m") + (1.0 - μ) * Sym("g")
        u, X, Y = made("u", n_out, n_in), made("X", short, long), made("Y", short, long)
        A, B = made("A", short, short), made("B", short, short)
        k.add(Apply(Formula({"m": new, "u": (1.0 - μ) * Sym("g") + μ * new}), {"m": m, "g": g}, {"m": m, "u": u}))
        flat, size = u.reshape((*lead, 1, n_out * n_in)), made("size", 1, 1)
        k.add(Apply(Formula({"s": sqrt(row_sum(Sym("u") * Sym("u"))) + 1e-7}), {"u": flat}, {"s": size}))
        k.add(Apply(Formula({"u": Sym("u") / Sym("s")}), {"u": flat, "s": size}, {"u": flat}))
        tall = n_out > n_in
        k.add(Apply(Formula({"X": Sym("u")}), {"u": u.swapaxes(-1, -2) if tall else u}, {"X": X}))
        a, b, c = NEWTON_SCHULZ
        for _ in range(5):
            k.add(Matmul(X, X.swapaxes(-1, -2), A))
            k.add(Matmul(A, A, B))
            k.add(Apply(Formula({"B": b * Sym("A") + c * Sym("B")}), {"A": A, "B": B}, {"B": B}))
            k.add(Matmul(B, X, Y))
            k.add(Apply(Formula({"X": a * Sym("X") + Sym("Y")}), {"X": X, "Y": Y}, {"X": X}))
        scale = math.sqrt(max(1.0, n_out / n_in))
        k.add(Apply(Formula({"d": scale * Sym("X")}), {"X": X.swapaxes(-1, -2) if tall else X}, {"d": d}))

    def plain(self, g: Array, state: Mapping[str, Array]) -> Array:
        """The same, matrix by matrix."""
        m, μ = state["momentum"], self.momentum
        m[...] = μ * m + (1.0 - μ) * g
        u = (1.0 - μ) * g + μ * m
        X = u / (np.linalg.norm(u, axis=(-2, -1), keepdims=True) + 1e-7)
        *_, n_out, n_in = g.shape
        X = X.swapaxes(-1, -2) if n_out > n_in else X
        a, b, c = NEWTON_SCHULZ
        for _ in range(5):
            A = X @ X.swapaxes(-1, -2)
            X = a * X + (b * A + c * A @ A) @ X
        d: Array = (X.swapaxes(-1, -2) if n_out > n_in else X) * math.sqrt(max(1.0, n_out / n_in))
        return d


@dataclass(frozen=True)
class ScheduleFree(Grouped):
    """AdamW without a schedule (Defazio et al. 2024, Algorithm 1): steps z, their mean x, gradients at y between them.

    z' = z − γ (g / (√v̂ + eps) + weight_decay · y), x' = (1 − c) x + c z', y' = (1 − beta1) z' + beta1 x', with
    γ = lr · min(1, t / warmup_steps) and c = γ² / Σ γ² over the steps so far. θ is y; x is what is scored and kept, as
    with `average`. Kept is d = z − x, so that x = y − (1 − beta1) d. A schedule moves γ, and c does not see it. Layers
    with running averages have them at y.
    """

    name: Literal["schedule_free"] = "schedule_free"
    lr: Rate = 2.5e-3
    """Learning rate."""
    beta1: Share = 0.9
    """How near to the mean x gradients are computed."""
    beta2: Share = 0.999
    """Memory of the squared gradient."""
    eps: Rate = 1e-8
    """Keeps the quotient finite."""
    weight_decay: Decay = 0.0
    """Shrinks weights by lr · weight_decay a step."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Steps in which the rate rises to its full value."""

    def vectors(self) -> tuple[str, ...]:
        """d, v, and x as the average."""
        return ("d", "v", "average")

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """As the class says."""
        n = max(self.warmup_steps, 1)
        w = minimum(t, float(n))
        squares = w * (w + 1.0) * (2.0 * w + 1.0) * (1.0 / (6.0 * n * n)) + (t - w)  # Σ (γ / lr)²
        c = w * w * (1.0 / (n * n)) / squares
        v = self.beta2 * state["v"] + (1.0 - self.beta2) * (g * g)
        γ = lr * w * (1.0 / n)
        step = γ * g / (sqrt(v) * (1.0 / sqrt(1.0 - power(self.beta2, t))) + self.eps)
        x = θ - (1.0 - self.beta1) * state["d"]
        ahead = state["d"] - (step if decay is None else step + γ * decay * θ)  # z' − x
        mean, d = x + c * ahead, (1.0 - c) * ahead
        return {"v": v, "d": d, "average": mean, "θ": mean + (1.0 - self.beta1) * d}


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)

OPTIMIZERS: dict[str, type[Optimizer]] = _REGISTRY
OPTIMIZERS |= {
    "sgd": Sgd,
    "rmsprop": RmsProp,
    "adam": Adam,
    "adamw": AdamW,
    "muon": Muon,
    "schedule_free": ScheduleFree,
}
