"""`network.embeddings` is a short form: here it becomes layers and an encoding, the one way to say what they are."""

from __future__ import annotations

from dataclasses import replace

from fcnet.config.recipes import Facts
from fcnet.config.schema import CategoryVectors, Config
from fcnet.data.encodings.codes import Codes
from fcnet.data.encodings.one_hot import OneHot
from fcnet.nn.layers import Embedding

FEW = 8
"""Up to so many categories `auto` leaves a column one_hot; and the length of the vectors of others."""


def embedded(config: Config, facts: Facts) -> Config:
    """The config with what `network.embeddings` says spelled out; layers of a recipe that are of the same kind give
    way. A layer that would have no column of the data is left out."""
    said = config.network.embeddings
    if said is None:
        return config
    layers, coding = config.network.layers, config.preprocess.categorical
    if said.categorical is not None:
        layers = [layer for layer in layers if not hasattr(layer, "levels")]
        coding = coding_of(said.categorical)
        if isinstance(coding, Codes) and facts.coded != 0:
            size = FEW if isinstance(said.categorical, str) else said.categorical.size
            layers = [Embedding(size), *layers]
        elif facts.coded == 0:
            coding = OneHot()
    if said.numeric is not None:
        layers = [layer for layer in layers if not hasattr(layer, "numbers")]
        if not isinstance(said.numeric, str) and facts.numbers != 0:
            behind = sum(hasattr(layer, "levels") for layer in layers)  # they stand in front
            layers = [*layers[:behind], said.numeric, *layers[behind:]]
    return replace(
        config,
        network=replace(config.network, layers=layers, embeddings=None),
        preprocess=replace(config.preprocess, categorical=coding),
    )


def coding_of(said: str | CategoryVectors) -> Codes | OneHot:
    """How categories are encoded for what is said of them."""
    return OneHot() if said == "one_hot" else Codes(FEW if said == "auto" else 0)
