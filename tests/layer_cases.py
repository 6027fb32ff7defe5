"""A small layer of every kind that is registered, in nets around it: what contracts run over."""

from __future__ import annotations

from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.ops import Array
from fcnet.nn.activations import Activation, Identity
from fcnet.nn.initializers import GlorotUniform
from fcnet.nn.layers import LAYERS, Dense, Layer
from fcnet.nn.layers.mean import Mean
from fcnet.nn.layers.residual import Residual
from fcnet.nn.losses import CrossEntropy

WIDTH, LEVELS, MEMBERS = 4, [3, 5], 2

# what has no default, and what makes a layer show all that it can do
SETTINGS: dict[str, dict[str, Any]] = {
    "batch_ensemble": {"units": WIDTH, "init": GlorotUniform(), "members": MEMBERS},
    "dense": {"units": WIDTH, "init": GlorotUniform()},
    "dropout": {"rate": 0.3},
    "embedding": {"size": 2, "levels": LEVELS},
    "fan_out": {"members": MEMBERS},
    "glu": {"units": WIDTH, "init": GlorotUniform()},
    "heads": {"units": WIDTH, "init": GlorotUniform(), "members": MEMBERS},
    "cosine": {"size": 3, "numbers": 2},
    "pbld": {"frequencies": 3, "size": 3, "numbers": 3},
    "periodic": {"frequencies": 3, "size": 2, "scale": 0.5},
    "piecewise": {"bins": 4, "size": 2, "numbers": 3},
}
WHERE = {"embedding": ("first",), "fan_out": ("first", "between")}  # where the batch's codes are; not inside others
BEHIND = ("batch_ensemble", "heads")  # they have something for each member that fan_out makes


def sample(name: str, f: Activation) -> Any:
    """One layer of this kind."""
    if name == "residual":
        return Residual([dense(3, f), dense(WIDTH, f)])
    own = {"activation": f} if name in ("dense", *BEHIND) else {}
    return LAYERS[name](**SETTINGS.get(name, {}), **own)


def dense(units: int, f: Activation) -> Dense:
    """A dense layer of units."""
    return Dense(units, f, GlorotUniform())


# where the layer stands: its place decides what it is asked for
PLACES = {
    f"{name}, {place}": (name, place)
    for name in LAYERS
    for place in WHERE.get(name, ("first", "between", "nested", "nested twice"))
}


def chain(case: str, f: Activation, n_out: int) -> list[Layer]:
    """A net with the layer at its place."""
    name, place = PLACES[case]
    layer, out = sample(name, f), dense(n_out, Identity())
    front: list[Layer] = [sample("fan_out", f)] if name in BEHIND else []
    end: list[Layer] = [Mean(MEMBERS, CrossEntropy())] if name in (*BEHIND, "fan_out") else []
    if place == "first":
        return [*front, layer, dense(3, f), out, *end]
    if place == "between":
        return [*front, dense(WIDTH, f), layer, out, *end]
    inside = Residual([layer, dense(WIDTH, f)])
    nested = inside if place == "nested" else Residual([dense(WIDTH, f), inside])
    return [*front, dense(WIDTH, f), nested, out, *end]


def codes(rows: int) -> Array:
    """Codes of two columns, some of which training has not seen."""
    drawn = random.normal(2 * rows, random.key(9, "codes")).reshape(rows, 2)
    return (np.abs(1e3 * drawn).astype(np.int64) % (np.array(LEVELS) + 1) - 1).astype(np.int32)
