"""Solvers take the whole objective, L over all training rows, and choose where to look at it: beside the loop.

A rule of `rules.py` makes a step of each batch's gradient. A solver is asked for one iteration at a time, and evaluates
L and ∇L as often as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, Protocol, TypeGuard

import numpy as np

from fcnet.backends.ops import Array
from fcnet.formulas import Expr
from fcnet.optim.rules import Decay, Optimizer, Rate, Vectors
from fcnet.records import dataclass
from fcnet.registry import Ge, Le

Objective = Callable[[Array], tuple[float, Array]]
"""(L, ∇L) at θ, in float64; the same bits each time that it is asked."""

ARMIJO, CURVATURE = 1e-4, 0.9
"""c₁ and c₂ of the strong Wolfe conditions, as Nocedal and Wright (2006) have them for quasi-Newton directions."""

TRIALS = 25
"""Evaluations that a line search may take."""


@dataclass(frozen=True)
class Iteration:
    """Where an iteration has come to: θ' of the dtype of θ, L there, and why it was the last one, where it was."""

    θ: Array
    loss: float
    finished: str | None = None


class Solver(Optimizer, Protocol):
    """An optimizer of the whole objective. `update` makes θ' of the direction, in place of g, and lr, its length."""

    def iterate(self, objective: Objective, θ: Array, state: Mapping[str, Array], k: int) -> Iteration:
        """One iteration from θ, after k others; the vectors of `state`, of the dtype of θ, move on at its end.

        All that is kept from one to the next is θ and `state`: so a run that goes on is the run that did not stop.
        """


def of_objective(rule: Optimizer) -> TypeGuard[Solver]:
    """Whether an optimizer takes the whole objective."""
    return hasattr(rule, "iterate")


@dataclass(frozen=True)
class Lbfgs:
    """L-BFGS (Nocedal and Wright 2006, Algorithm 7.5): θ' = θ + α p, p = −H ∇L over all training rows, once an epoch.

    H is what the last `memory` pairs s = θ' − θ and y = ∇L' − ∇L tell of the curvature, by the two loops; α meets the
    strong Wolfe conditions. It ends where no element of ∇L is larger than `tolerance`, or no step makes L smaller. For
    small tables: an iteration takes one or two passes over all rows, and is worth many epochs of small steps.
    """

    name: Literal["lbfgs"] = "lbfgs"
    memory: Annotated[int, Ge(1), Le(100)] = 10
    """The number of pairs that are kept; each takes the room of two copies of the weights."""
    weight_decay: Decay = 0.0
    """Adds ½ weight_decay ‖W‖² to the objective, over all weights."""
    tolerance: Rate = 1e-5
    """It is done where no element of the gradient is larger."""

    lr: ClassVar[float] = 1.0
    match: ClassVar[str] = "*"
    groups: ClassVar[tuple[Optimizer, ...]] = ()

    def vectors(self) -> tuple[str, ...]:
        """The pairs."""
        return tuple(f"{name}{i}" for name in "sy" for i in range(self.memory))

    def update(self, g: Expr, θ: Expr, state: Vectors, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        """θ' = θ + α p."""
        return {"θ": θ + lr * g}

    def iterate(self, objective: Objective, θ: Array, state: Mapping[str, Array], k: int) -> Iteration:
        """As the class says. The pair of iteration k stands in vectors k mod `memory`; one of zeros is none."""
        f, g = objective(θ)
        pairs = []
        for i in range(k - 1, max(k - 1 - self.memory, -1), -1):  # the newest first
            s, y = (state[f"{name}{i % self.memory}"].astype(np.float64) for name in "sy")
            if s @ y > np.finfo(np.float64).eps * (y @ y):
                pairs.append((s, y))
        p, found = direction(g, pairs), None
        if pairs and g @ p < 0:
            found = strong_wolfe(objective, θ, p, f, g, 1.0)
        if found is None:  # there are no pairs yet, or what they tell is worn out
            found = strong_wolfe(objective, θ, -g, f, g, 1.0 / max(1.0, float(np.abs(g).sum())))
        s, y = (state[f"{name}{k % self.memory}"] for name in "sy")
        if found is None:
            s[...], y[...] = 0.0, 0.0
            return Iteration(θ.copy(), f, "converged: no step makes the loss smaller")
        new, f, after = found
        s[...], y[...] = new - θ, after - g
        largest = float(np.abs(after).max(initial=0.0))
        done = f"converged: no slope is larger than {self.tolerance:g}" if largest <= self.tolerance else None
        return Iteration(new, f, done)


def direction(g: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """p = −H g by the two loops (Algorithm 7.4), of the pairs (s, y), the newest first; H starts at (s·y / y·y) 1."""
    q = g.copy()
    α = []
    for s, y in pairs:
        α.append((s @ q) / (s @ y))
        q -= α[-1] * y
    if pairs:
        s, y = pairs[0]
        q *= (s @ y) / (y @ y)
    for (s, y), each in zip(reversed(pairs), reversed(α), strict=True):
        q += s * (each - (y @ q) / (s @ y))
    return -q


def strong_wolfe(
    objective: Objective, θ: Array, p: Array, f: float, g: Array, first: float
) -> tuple[Array, float, Array] | None:
    """(θ', L', ∇L') at a step length α that meets the strong Wolfe conditions along p (Algorithms 3.5 and 3.6):

    L' ≤ L + c₁ α ∇L·p and |∇L'·p| ≤ c₂ |∇L·p|. `first` is tried first. Where TRIALS evaluations find none, the lowest
    point that meets the first of them; None where there is none. What is not finite counts as too far.
    """
    slope = float(g @ p)
    low: tuple[float, float, float] = 0.0, f, slope  # α, L, ∇L·p: the best so far
    high: tuple[float, float, float] | None = None  # the other end of what holds a minimum
    best, α = None, first
    for _ in range(TRIALS):
        new = np.asarray(θ + α * p, dtype=θ.dtype)
        value, gradient = objective(new)
        along = float(gradient @ p)
        here = α, value, along
        if not (math.isfinite(value) and math.isfinite(along)):
            high = α, math.inf, math.nan
        elif value > f + ARMIJO * α * slope or value >= low[1]:
            high = here
        else:
            best = new, value, gradient
            if abs(along) <= -CURVATURE * slope:
                return best
            if along * (1.0 if high is None else high[0] - low[0]) >= 0:
                high = low
            low = here
        if high is None:
            α *= 2.0
        elif abs(high[0] - low[0]) <= 1e-12 * max(α, first):
            break
        else:
            α = _between(low, high)
    return best


def _between(low: tuple[float, float, float], high: tuple[float, float, float]) -> float:
    """The minimum of the cubic through two points and their slopes (equation 3.59), well inside of them; else their
    middle."""
    (a, fa, da), (b, fb, db) = low, high
    middle = 0.5 * (a + b)
    if not math.isfinite(fb):
        return middle
    d1 = da + db - 3.0 * (fa - fb) / (a - b)
    root = d1 * d1 - da * db
    if root < 0:
        return middle
    d2 = math.copysign(math.sqrt(root), b - a)
    below = db - da + 2.0 * d2
    if below == 0:
        return middle
    α = b - (b - a) * (db + d2 - d1) / below
    margin = 0.1 * abs(b - a)
    return α if min(a, b) + margin <= α <= max(a, b) - margin else middle


SOLVERS: dict[str, type[Solver]] = {
    "lbfgs": Lbfgs,
}
