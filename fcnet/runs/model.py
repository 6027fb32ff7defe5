"""A trained net as a checkpoint holds it: preprocessing, parameters and what the outputs mean, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import config as configs
from fcnet.backends.base import Array
from fcnet.config.schema import Config
from fcnet.data.encode import Encoder
from fcnet.data.target import Target
from fcnet.errors import CheckpointError, FcnetError
from fcnet.nn.losses import Loss
from fcnet.nn.network import Network
from fcnet.runs import checkpoint
from fcnet.training.build import BACKENDS, network, output_width
from fcnet.training.program import Forward
from fcnet.training.scoring import predictions
from fcnet.training.state import State

BATCH = 4096
"""Rows computed at a time when scoring and predicting: fixed, so that equal files give equal bytes."""


@dataclass(frozen=True)
class Parts:
    """What a checkpoint says about the net, checked: the config, the columns, the target, the layers."""

    config: Config
    encoder: Encoder
    target: Target
    loss: Loss
    network: Network


def parameters(net: Network, state: State, *, optimizer: bool) -> dict[str, Array]:
    """θ, buffers and, if asked for, the optimizer's vectors by their names in a checkpoint; views, not copies."""
    arrays = {**net.layout.views(state.θ), **net.buffers.views(state.q)}
    if optimizer:
        for name, vector in state.vectors.items():
            arrays |= {f"optimizer/{name}/{slot}": view for slot, view in net.layout.views(vector).items()}
    return arrays


def restore(net: Network, state: State, held: checkpoint.Checkpoint, *, optimizer: bool) -> None:
    """Fill the state's vectors from a checkpoint; CheckpointError for what is missing, of another shape, or too much."""
    wanted = parameters(net, state, optimizer=optimizer)
    problems = []
    for name, view in wanted.items():
        found = held.arrays.get(name)
        if found is None:
            what = "; it was saved with another optimizer" if name.startswith("optimizer/") else ""
            problems.append(f"{name} is missing{what}")
        elif found.shape != view.shape:
            problems.append(f"{name} has the shape {found.shape}, and the config needs {view.shape}")
    known = set(wanted)
    extra = [
        name
        for name in held.arrays
        if name not in known and not name.startswith("preprocess/") and not (name.startswith("optimizer/") and not optimizer)
    ]
    problems += [f"{name} is not a part of the config's net" for name in extra]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError("; ".join(problems[:5]) + more, file=str(held.path))
    for name, view in wanted.items():
        view[...] = held.arrays[name]


def understand(held: checkpoint.Checkpoint) -> Parts:
    """The parts that a checkpoint's header and preprocessing describe; CheckpointError where they make no sense."""
    header = held.header
    where = str(held.path)
    try:
        settings = configs.from_mapping(header["config"])
        encoder = Encoder.restore(header["columns"], held.arrays)
        target = Target.restore(header["target"], held.arrays)
    except FcnetError as error:
        raise CheckpointError(f"the config inside is wrong: {error.problems[0]}", file=where) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"its header lacks or garbles {error}", file=where) from None
    if settings.loss == "auto":
        raise CheckpointError("the config inside is not resolved: loss is auto", file=where)
    n_out = output_width(settings.loss, target.task, len(target.names), len(target.classes or ()))
    _check_sizes(settings, encoder.n_in, n_out, held)
    return Parts(settings, encoder, target, settings.loss, network(settings.network, encoder.n_in, n_out))


def _check_sizes(settings: Config, n_in: int, n_out: int, held: checkpoint.Checkpoint) -> None:
    """The weights' shapes against the config, by arithmetic, before any memory is asked for."""
    widths = [n_in, *(layer.units for layer in settings.network.layers), n_out]
    for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False), 1):
        for name, shape in ((f"W{i}", (after, before)), (f"b{i}", (after,))):
            found = held.arrays.get(name)
            if found is None or found.shape != shape:
                had = "is missing" if found is None else f"has the shape {found.shape}"
                raise CheckpointError(f"{name} {had}, and the config inside needs {shape}", file=str(held.path))


class Model:
    """A net that predicts. `header` is the checkpoint's; `path` its file."""

    def __init__(self, held: checkpoint.Checkpoint) -> None:
        self.header: Mapping[str, Any] = held.header
        self.path = held.path
        parts = understand(held)
        self.config, self.encoder, self.target, self.loss = parts.config, parts.encoder, parts.target, parts.loss
        self.network = parts.network
        state = State.new(self.network, (), np.dtype(self.config.dtype))
        restore(self.network, state, held, optimizer=False)
        name = self.config.backend
        self.backend = BACKENDS.get(name, BACKENDS["numpy"])()
        self.forward = Forward(self.backend, self.network, state.θ, state.q, BATCH)
        self.state = state

    @classmethod
    def read(cls, path: Path) -> Model:
        """The model of a checkpoint file; CheckpointError."""
        return cls(checkpoint.read(path))

    def probabilities(self, x: Array) -> Array:
        """Predictions float64 of encoded rows x (n, n_in): probabilities (n, K) or (n, L), or numbers (n, n_out)."""
        return predictions(self.backend, self.loss, self.target, self.forward(x))

    def decide(self, p: Array) -> Any:
        """What `prediction` says for each row of p: labels, 0/1 (n, L), or numbers (n, n_out)."""
        if self.target.classes is not None:
            return self.target.decode(p.argmax(axis=1))
        return (p > 0.5).astype(np.int64) if self.target.task == "multilabel" else p
