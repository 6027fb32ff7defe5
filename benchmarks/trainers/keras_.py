"""Keras: `fit` for one epoch, on whichever of its backends is installed (KERAS_BACKEND chooses)."""
# ruff: noqa: E402  # Keras reads its backend from the environment when it is imported

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

for _module, _backend in (("jax", "jax"), ("tensorflow", "tensorflow"), ("torch", "torch")):
    if find_spec(_module) is not None:
        os.environ.setdefault("KERAS_BACKEND", _backend)

import keras

from benchmarks.cases import LEARNING_RATE, Case

VERSION = f"keras {keras.__version__} on {keras.backend.backend()}"


def fit(case: Case) -> Callable[[], float]:
    """Sequential, compiled as Keras does by default."""
    keras.utils.set_random_seed(0)
    x, y = case.data()
    hidden = [
        keras.layers.Dense(units, activation="relu", kernel_initializer="he_normal") for units in case.widths[1:-1]
    ]
    net = keras.Sequential([keras.layers.Input(case.widths[:1]), *hidden, keras.layers.Dense(case.widths[-1])])
    net.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def epoch() -> float:
        return float(net.fit(x, y, batch_size=case.batch, epochs=1, verbose=0).history["loss"][-1])

    epoch()
    return epoch
