"""A small layer of every kind that is registered, in nets around it: what contracts run over."""

from __future__ import annotations

from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array
from fcnet.nn.activations import Activation, Identity
from fcnet.nn.initializers import GlorotUniform
from fcnet.nn.layers import LAYERS, Dense, Layer
from fcnet.nn.layers.residual import Residual

WIDTH, LEVELS = 4, [3, 5]

# what has no default, and what makes a layer show all that it can do
SETTINGS: dict[str, dict[str, Any]] = {
    "dense": {"units": WIDTH, "init": GlorotUniform()},
    "dropout": {"rate": 0.3},
    "embedding": {"size": 2, "levels": LEVELS},
    "glu": {"units": WIDTH, "init": GlorotUniform()},
    "cosine": {"size": 3, "numbers": 2},
    "pbld": {"frequencies": 3, "size": 3, "numbers": 3},
    "periodic": {"frequencies": 3, "size": 2, "scale": 0.5},
    "piecewise": {"bins": 4, "size": 2, "numbers": 3},
}
FIRST = ("embedding",)  # they stand where the batch's codes are


def sample(name: str, f: Activation) -> Any:
    """One layer of this kind."""
    if name == "residual":
        return Residual([dense(3, f), dense(WIDTH, f)])
    own = {"activation": f} if name == "dense" else {}
    return LAYERS[name](**SETTINGS.get(name, {}), **own)


def dense(units: int, f: Activation) -> Dense:
    """A dense layer of units."""
    return Dense(units, f, GlorotUniform())


# where the layer stands: its place decides what it is asked for
PLACES = {
    f"{name}, {place}": (name, place)
    for name in LAYERS
    for place in (("first",) if name in FIRST else ("first", "between", "nested", "nested twice"))
}


def chain(case: str, f: Activation, n_out: int) -> list[Layer]:
    """A net with the layer at its place."""
    name, place = PLACES[case]
    layer, out = sample(name, f), dense(n_out, Identity())
    if place == "first":
        return [layer, dense(3, f), out]
    if place == "between":
        return [dense(WIDTH, f), layer, out]
    inside = Residual([layer, dense(WIDTH, f)])
    return [dense(WIDTH, f), inside if place == "nested" else Residual([dense(WIDTH, f), inside]), out]


def codes(rows: int) -> Array:
    """Codes of two columns, some of which training has not seen."""
    drawn = random.normal(2 * rows, random.key(9, "codes")).reshape(rows, 2)
    return (np.abs(1e3 * drawn).astype(np.int64) % (np.array(LEVELS) + 1) - 1).astype(np.int32)
