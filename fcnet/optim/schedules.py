"""Schedules: the factor on the learning rate as a function of t, the share of the steps that are done."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Le, Lt

Array = NDArray[Any]
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


@dataclass(frozen=True, kw_only=True)
class Warmed:
    """What every schedule may say of its beginning."""

    warmup: Annotated[float, Ge(0), Lt(1)] = 0.0
    """The share of all steps in which the rate first rises to its full value."""


@dataclass(frozen=True)
class Constant(Warmed):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"

    def at(self, t: Array, epochs: float) -> Array:
        """1."""
        return np.ones_like(t)


@dataclass(frozen=True)
class StepDecay(Warmed):
    """× factor after every `every` epochs; PyTorch's StepLR."""

    name: Literal["step"] = "step"
    every: Annotated[int, Ge(1)] = 30
    """Epochs between two steps."""
    factor: Factor = 0.1
    """What the rate is multiplied by."""

    def at(self, t: Array, epochs: float) -> Array:
        """factor to the power ⌊epochs done / every⌋."""
        return self.factor ** np.floor(_elapsed(t, epochs) / self.every)


@dataclass(frozen=True)
class Exponential(Warmed):
    """× factor after every epoch; PyTorch's ExponentialLR."""

    name: Literal["exponential"] = "exponential"
    factor: Factor = 0.95
    """What the rate is multiplied by."""

    def at(self, t: Array, epochs: float) -> Array:
        """factor to the power of the epochs done."""
        return self.factor ** _elapsed(t, epochs)


@dataclass(frozen=True)
class CosineDecay(Warmed):
    """Half a cosine from 1 to `end` (Loshchilov and Hutter 2017), moving every step; PyTorch's CosineAnnealingLR."""

    name: Literal["cosine"] = "cosine"
    end: Annotated[float, Ge(0), Le(1)] = 0.0
    """The share of the rate that is left at the end."""

    def at(self, t: Array, epochs: float) -> Array:
        """end + (1 − end) (1 + cos πt) / 2."""
        return self.end + (1.0 - self.end) * 0.5 * (1.0 + np.cos(np.pi * t))


@dataclass(frozen=True)
class Linear(Warmed):
    """A straight line from 1 to `end`, moving every step; PyTorch's LinearLR with start_factor 1."""

    name: Literal["linear"] = "linear"
    end: Annotated[float, Ge(0), Le(1)] = 0.0
    """The share of the rate that is left at the end."""

    def at(self, t: Array, epochs: float) -> Array:
        """1 + (end − 1) t."""
        return 1.0 + (self.end - 1.0) * t


@dataclass(frozen=True)
class FlatCos(Warmed):
    """1 up to `hold`, then half a cosine down to 0, moving every step."""

    name: Literal["flat_cos"] = "flat_cos"
    hold: Annotated[float, Ge(0), Lt(1)] = 0.5
    """The share of the steps before it begins to fall."""

    def at(self, t: Array, epochs: float) -> Array:
        """1 for t < hold, then (1 + cos π (t − hold) / (1 − hold)) / 2."""
        return 0.5 * (1.0 + np.cos(np.pi * np.maximum(t - self.hold, 0.0) / (1.0 - self.hold)))


@dataclass(frozen=True)
class CosLog(Warmed):
    """Waves that grow longer, each down to 0: four end after 1/15, 3/15, 7/15 and all of the steps.

    With four of them it is the coslog4 of Holzmüller et al. 2024.
    """

    name: Literal["coslog"] = "coslog"
    waves: Annotated[int, Ge(1), Le(16)] = 4
    """How many there are, each twice as long as the one before."""

    def at(self, t: Array, epochs: float) -> Array:
        """(1 − cos(2π log₂(1 + (2^waves − 1) t))) / 2."""
        return 0.5 * (1.0 - np.cos(2.0 * np.pi * np.log2(1.0 + (2.0**self.waves - 1.0) * t)))


@dataclass(frozen=True)
class OneCycle(Warmed):
    """Up from `start` to 1 and down to `end`, each half a cosine (Smith and Topin 2018); PyTorch's OneCycleLR.

    PyTorch gives start and end as 1 / div_factor = 0.04 and 0.04 / final_div_factor, and reaches the top and the end
    one step earlier; it moves the momentum against the rate, too, which stays here.
    """

    name: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3
    """The share of the steps in which the rate rises."""
    start: Annotated[float, Ge(0), Le(1)] = 0.04
    """The share of the rate at the beginning."""
    end: Annotated[float, Ge(0), Le(1)] = 4e-6
    """The share of the rate that is left at the end."""

    def at(self, t: Array, epochs: float) -> Array:
        """start + (1 − start) (1 − cos πt / rise) / 2 for t < rise, then down to `end` as cosine does."""
        up = 0.5 * (1.0 - np.cos(np.pi * np.minimum(t / self.rise, 1.0)))
        down = 0.5 * (1.0 + np.cos(np.pi * np.maximum(t - self.rise, 0.0) / (1.0 - self.rise)))
        return np.where(t < self.rise, self.start + (1.0 - self.start) * up, self.end + (1.0 - self.end) * down)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "exponential": Exponential,
    "cosine": CosineDecay,
    "linear": Linear,
    "flat_cos": FlatCos,
    "coslog": CosLog,
    "one_cycle": OneCycle,
}
