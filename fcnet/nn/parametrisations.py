"""What a layer's weights mean to its optimizer, and how they follow the rows that are seen at the start."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Protocol

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array
from fcnet.nn.workspace import place
from fcnet.records import dataclass
from fcnet.registry import Gt


class Parametrisation(Protocol):
    """How a dense layer learns, beyond a = W z + b."""

    def slots(self, n_in: int) -> tuple[float, float, float]:
        """The factors on the learning rate of W and on its decay, and on the learning rate of b."""

    def start(self, W: Array, b: Array, z: Array, key: Array, path: str) -> None:
        """Change the initial W (n_out, n_in) and b (n_out,), which are there, by a batch of inputs z (B, n_in); random
        words are those of (key, path)."""


@dataclass(frozen=True)
class Ntk:
    """a = W′ z / √n_in + b, where steps are those of W′ (Jacot et al. 2018); what is kept is W = W′ / √n_in.

    So the learning rate of W has the factor 1 / √n_in, and its decay √n_in. That is the same for rules whose steps do
    not depend on the gradient's length, as Adam's with decoupled decay; with sgd steps of W′ itself would be another
    √n_in smaller. `init` decides what W starts with: lecun_normal is W′ ~ N(0, 1). RealMLP (Holzmüller et al. 2024) has
    `rescale: true` and `bias: data`.
    """

    rescale: bool = False
    """Whether the weights of each unit start with pre-activations W z of deviation 1 on the rows that are seen."""
    bias: Literal["zeros", "data"] = "zeros"
    """How biases start: `data`: for each unit at minus a random mean of its pre-activations on five of these rows."""
    bias_lr: Annotated[float, Gt(0)] = 1.0
    """A factor on the learning rate of biases."""
    name: Literal["ntk"] = "ntk"

    def slots(self, n_in: int) -> tuple[float, float, float]:
        """1 / √n_in, √n_in and `bias_lr`."""
        root = math.sqrt(max(n_in, 1))
        return 1.0 / root, root, self.bias_lr

    def start(self, W: Array, b: Array, z: Array, key: Array, path: str) -> None:
        """W through the deviation of W z; then b = −Σ λʳ aʳ, r five random rows, λ uniform on the simplex.

        Weights of zero and rows that are all alike have no deviation, but for rounding, and stay as they are. (The
        biases of Steinwart 2019, "he+5".)
        """
        a = z @ W.T
        rows, units = a.shape
        if self.rescale:
            deviation = a.std(axis=0)
            deviation[deviation <= rows * np.finfo(a.dtype).eps * np.abs(a).max(axis=0)] = 1
            W /= deviation[:, None]
            a /= deviation
        if self.bias == "data":
            drawn = random.uniform(2 * POINTS * units, key, place(f"{path}.b")).reshape(2, POINTS, units)
            chosen = np.take_along_axis(a, (drawn[0] * rows).astype(np.int64), axis=0)
            λ = -np.log1p(-drawn[1])
            b[...] = -(chosen * (λ / λ.sum(axis=0))).sum(axis=0)


POINTS = 5
"""Rows of which a bias is a mean."""

PARAMETRISATIONS: dict[str, type[Parametrisation]] = {"ntk": Ntk}
