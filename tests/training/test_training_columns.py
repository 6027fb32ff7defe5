"""A net belongs to columns by their names: where they stand in the file decides nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fcnet import config
from fcnet.backends.numpy import NumpyBackend
from fcnet.training.prepare import prepare

RNG = np.random.default_rng(0)
N = 90
COLUMNS = {
    "b": RNG.normal(size=N),
    "colour": np.array(["red", "green", "blue"])[RNG.integers(0, 3, N)],
    "x10": RNG.normal(size=N),
    "x9": RNG.normal(size=N),
    "kind": np.array(["u", None, "v"], dtype=object)[RNG.integers(0, 3, N)],
}
ORDERS = [["kind", "x9", "b", "x10", "colour"], ["x10", "colour", "b", "kind", "x9"]]


def begun(order, categorical="one_hot", **network):
    """The prepared run and its state before the first step, for the columns in this order."""
    data = {name: COLUMNS[name] for name in order} | {"y": COLUMNS["b"] + COLUMNS["x9"] ** 2}
    mapping = {"data": {"target": "y"}, "name": "t", "network": {"layers": [7, 5], **network}, "dtype": "float64"}
    mapping["preprocess"] = {"categorical": categorical}
    prepared = prepare(config.from_mapping(mapping, needs_data=False), 1, data=data)
    program, _ = prepared.begin(NumpyBackend())
    return prepared, program.state


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("network", [{}, {"input_dropout": 0.2}, {"layers": []}, {"init": "he_normal"}])
def test_initial_weights_follow_the_columns_names(order, network):
    """Each input begins with the same weights, bit for bit, wherever its column stands; the layers above likewise."""
    prepared, state = begun(list(COLUMNS), **network)
    other, turned = begun(order, **network)

    names, views = prepared.network.layout.slots, prepared.network.layout.views(state.θ)
    found = other.network.layout.views(turned.θ)
    assert other.data.encoder.inputs != prepared.data.encoder.inputs
    at = [other.data.encoder.inputs.index(name) for name in prepared.data.encoder.inputs]
    assert np.array_equal(found["W1"][:, at], views["W1"])
    assert len(np.unique(views["W1"])) == views["W1"].size
    for slot in names:
        if slot.name != "W1":
            assert np.array_equal(found[slot.name], views[slot.name])


def test_vectors_of_categories_follow_the_columns_names():
    """With codes and the layer embedding, a table with its columns in another order begins as the same net too."""
    layers = [{"name": "embedding", "size": 3}, 7]

    (prepared, state), *others = (begun(order, "codes", layers=layers) for order in [list(COLUMNS), *ORDERS])

    views = prepared.network.layout.views(state.θ)
    assert prepared.data.inputs.c.shape == (N, 2)
    for other, turned in others:
        found = other.network.layout.views(turned.θ)
        at = [other.data.encoder.inputs.index(name) for name in prepared.data.encoder.inputs] + list(range(3, 9))
        assert np.array_equal(other.data.inputs.c, prepared.data.inputs.c)
        assert np.array_equal(found["W2"][:, at], views["W2"])
        assert np.array_equal(found["E1"], views["E1"])
