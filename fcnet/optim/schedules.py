"""Schedules: the factor on the learning rate as a function of t, the share of the steps that are done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

Array = NDArray[Any]
Warmup = Annotated[float, Ge(0), Lt(1)]
Factor = Annotated[float, Gt(0), Le(1)]


class Schedule(Protocol):
    """A factor on lr."""

    @property
    def warmup(self) -> float:
        """The share of all steps in which the factor first rises to 1."""

    def at(self, t: Array, epochs: float) -> Array:
        """The factors, (K,) float64, at t (K,) in [0, 1); `epochs` is how long the whole takes."""


def factors(schedule: Schedule, steps: Array, total: int, epochs: int) -> Array:
    """The factors, (K,), at steps k (K,) = 0 … total − 1: (k + 1) / w while k < w, then the schedule.

    w = warmup · total, rounded. The first step after the warm-up is at t = 0.
    """
    w = round(schedule.warmup * total)
    t = np.maximum(steps - w, 0) / max(total - w, 1)
    after = schedule.at(t, epochs * (total - w) / max(total, 1))
    return np.where(steps < w, (steps + 1) / max(w, 1), after)


def _elapsed(t: Array, epochs: float) -> Array:
    """Whole epochs done; the small number undoes the rounding of t."""
    return np.floor(t * epochs + 1e-9)


@dataclass(frozen=True)
class Constant:
    """The same rate throughout."""

    name: Literal["constant"] = "constant"
    warmup: Warmup = 0.0
    """The share of all steps in which the rate first rises to its full value."""

    def at(self, t: Array, epochs: float) -> Array:
        """1."""
        return np.ones_like(t)


@dataclass(frozen=True)
class Step:
    """× factor after every `every` epochs; PyTorch's StepLR."""

    name: Literal["step"] = "step"
    every: Annotated[int, Ge(1)] = 30
    """Epochs between two steps."""
    factor: Factor = 0.1
    """What the rate is multiplied by."""
    warmup: Warmup = 0.0
    """The share of all steps in which the rate first rises to its full value."""

    def at(self, t: Array, epochs: float) -> Array:
        """factor to the power ⌊epochs done / every⌋."""
        return self.factor ** np.floor(_elapsed(t, epochs) / self.every)


@dataclass(frozen=True)
class Exponential:
    """× factor after every epoch; PyTorch's ExponentialLR."""

    name: Literal["exponential"] = "exponential"
    factor: Factor = 0.95
    """What the rate is multiplied by."""
    warmup: Warmup = 0.0
    """The share of all steps in which the rate first rises to its full value."""

    def at(self, t: Array, epochs: float) -> Array:
        """factor to the power of the epochs done."""
        return self.factor ** _elapsed(t, epochs)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `end` (Loshchilov and Hutter 2017), moving every step; PyTorch's CosineAnnealingLR."""

    name: Literal["cosine"] = "cosine"
    end: Annotated[float, Ge(0), Le(1)] = 0.0
    """The share of the rate that is left at the end."""
    warmup: Warmup = 0.0
    """The share of all steps in which the rate first rises to its full value."""

    def at(self, t: Array, epochs: float) -> Array:
        """end + (1 − end) (1 + cos πt) / 2."""
        return self.end + (1.0 - self.end) * 0.5 * (1.0 + np.cos(np.pi * t))


@dataclass(frozen=True)
class Linear:
    """A straight line from 1 to `end`, moving every step; PyTorch's LinearLR with start_factor 1."""

    name: Literal["linear"] = "linear"
    end: Annotated[float, Ge(0), Le(1)] = 0.0
    """The share of the rate that is left at the end."""
    warmup: Warmup = 0.0
    """The share of all steps in which the rate first rises to its full value."""

    def at(self, t: Array, epochs: float) -> Array:
        """1 + (end − 1) t."""
        return 1.0 + (self.end - 1.0) * t


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "linear": Linear,
}
