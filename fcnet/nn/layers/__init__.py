"""The layers, one in each file; whatever file is put here with a layer in it is one more."""

from __future__ import annotations

import pkgutil

from fcnet.nn.layers.layer import LAYERS, Context, Equation, Hidden, Layer, Names, go, spread
from fcnet.registry import members

_files = sorted(each.name for each in pkgutil.iter_modules(__path__))
__all__ = [*_files]  # noqa: PLE0604
from fcnet.nn.layers import *  # noqa: E402, F403  the files that have just been named

for _module in _files:
    LAYERS |= {vars(_found)["name"]: _found for _found in members(globals()[_module])}

OF_NUMBERS: dict[str, type[Layer]] = {name: kind for name, kind in LAYERS.items() if hasattr(kind, "numbers")}
"""Those of them that make several values of each number."""

from fcnet.nn.layers.dense import Dense  # noqa: E402  they are registered by now
from fcnet.nn.layers.dropout import Dropout  # noqa: E402
from fcnet.nn.layers.embedding import Embedding  # noqa: E402

__all__ = [
    "LAYERS",
    "OF_NUMBERS",
    "Context",
    "Dense",
    "Dropout",
    "Embedding",
    "Equation",
    "Hidden",
    "Layer",
    "Names",
    "go",
    "spread",
]
