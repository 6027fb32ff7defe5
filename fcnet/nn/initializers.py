"""Initial weights: a distribution with a scale that follows from the number of inputs and outputs."""

from __future__ import annotations

import math
from typing import Literal, Protocol

from fcnet import random
from fcnet.backends.ops import Array
from fcnet.records import dataclass


class Initializer(Protocol):
    """Fills the weights of a layer."""

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Fill W (n_out, n_in) from the words of (key, layer)."""


def _fill(W: Array, key: Array, layer: int, draw: str, scale: float) -> None:
    normal = draw == "normal"
    drawn = random.normal(W.size, key, layer) if normal else 2.0 * random.uniform(W.size, key, layer) - 1.0
    W[...] = (scale * drawn).reshape(W.shape)


@dataclass(frozen=True)
class HeNormal:
    """W ~ N(0, 2 / n_in) (He et al. 2015): keeps the variance of relu's pre-activations."""

    name: Literal["he_normal"] = "he_normal"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Standard deviation √(2 / n_in)."""
        _fill(W, key, layer, "normal", math.sqrt(2.0 / W.shape[-1]))


@dataclass(frozen=True)
class HeUniform:
    """W ~ U(±√(6 / n_in)) (He et al. 2015)."""

    name: Literal["he_uniform"] = "he_uniform"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Limit √(6 / n_in)."""
        _fill(W, key, layer, "uniform", math.sqrt(6.0 / W.shape[-1]))


@dataclass(frozen=True)
class GlorotNormal:
    """W ~ N(0, 2 / (n_in + n_out)) (Glorot and Bengio 2010)."""

    name: Literal["glorot_normal"] = "glorot_normal"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Standard deviation √(2 / (n_in + n_out))."""
        _fill(W, key, layer, "normal", math.sqrt(2.0 / (W.shape[-1] + W.shape[-2])))


@dataclass(frozen=True)
class GlorotUniform:
    """W ~ U(±√(6 / (n_in + n_out))) (Glorot and Bengio 2010)."""

    name: Literal["glorot_uniform"] = "glorot_uniform"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Limit √(6 / (n_in + n_out))."""
        _fill(W, key, layer, "uniform", math.sqrt(6.0 / (W.shape[-1] + W.shape[-2])))


@dataclass(frozen=True)
class LecunNormal:
    """W ~ N(0, 1 / n_in) (LeCun et al. 1998)."""

    name: Literal["lecun_normal"] = "lecun_normal"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Standard deviation √(1 / n_in)."""
        _fill(W, key, layer, "normal", math.sqrt(1.0 / W.shape[-1]))


@dataclass(frozen=True)
class LecunUniform:
    """W ~ U(±√(3 / n_in)) (LeCun et al. 1998)."""

    name: Literal["lecun_uniform"] = "lecun_uniform"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """Limit √(3 / n_in)."""
        _fill(W, key, layer, "uniform", math.sqrt(3.0 / W.shape[-1]))


@dataclass(frozen=True)
class Zeros:
    """W = 0: for an output layer that should start at the same prediction for every row."""

    name: Literal["zeros"] = "zeros"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        """All zeros."""
        W[...] = 0


INITIALIZERS: dict[str, type[Initializer]] = {
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "zeros": Zeros,
}

BEST: dict[str, type[Initializer]] = {"relu": HeNormal, "tanh": GlorotUniform, "selu": LecunNormal}
"""What `init: auto` is, by the family of the activation."""


def settled(init: Initializer | Literal["auto"] | None, family: str) -> Initializer:
    """What is asked for; else the initializer that suits an activation of that family."""
    return BEST[family]() if init is None or init == "auto" else init
