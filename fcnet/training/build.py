"""From config and data to the net: what `auto` means, which layers stand in a row."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

from fcnet.config.schema import Architecture, Config, Schedules
from fcnet.data.options import Task
from fcnet.data.target import TASKS, tasks_of
from fcnet.errors import ConfigError
from fcnet.nn.activations import Identity
from fcnet.nn.initializers import settled
from fcnet.nn.layers import Context, Dense, Dropout, Layer
from fcnet.nn.layers.heads import Heads
from fcnet.nn.layers.layer import fan
from fcnet.nn.layers.mean import Mean
from fcnet.nn.losses import Loss
from fcnet.nn.network import Network
from fcnet.optim.schedules import Constant
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass

ROWS = 1024
"""Rows that are computed at a time where a step takes all of them."""


@dataclass(frozen=True)
class Settled:
    """A config with every `auto` of the training side decided but that of `backend`, and what stood there; the rows
    that are computed at a time."""

    config: Config
    loss: Loss
    batch_size: int
    threads: int


def resolve(
    config: Config,
    task: Task,
    training_rows: int,
    validated: bool,
    threads: int,
    *,
    numbers: int = 0,
    levels: tuple[int, ...] = (),
) -> Settled:
    """Decide every `auto`; `numbers` and `levels` are as layers are given them.

    Raises ConfigError where loss and task do not fit.
    """
    loss = TASKS[task].loss if config.loss == "auto" else config.loss
    if task not in (tasks := tasks_of(loss)):
        fitting = " or ".join(tasks)
        raise ConfigError(f"it learns {fitting}, and the task is {task}; leave loss out, or set data.task", key="loss")
    training, size = config.training, config.training.batch_size
    whole = of_objective(config.optimizer)
    if whole and size != "auto" and size < training_rows:
        name = getattr(config.optimizer, "name", "it")
        raise ConfigError(f"{name} takes all {training_rows:,} rows at once; remove it", key="training.batch_size")
    if whole and size == "auto":
        size = training_rows
    if size == "auto":
        size = 32 if training_rows <= 2_000 else 128 if training_rows <= 50_000 else 256
    training = replace(training, batch_size=size)
    if not validated:
        training = replace(training, early_stopping=None)
    threads = threads if config.threads == "auto" else config.threads
    network = _spelled(config.network, numbers, levels)
    config = replace(config, loss=loss, training=training, network=network, threads=threads)
    return Settled(config, loss, min(size, ROWS) if whole else size, threads)


def _spelled(network: Architecture, numbers: int, levels: tuple[int, ...]) -> Architecture:
    """Every hidden layer with all that it left to the section."""
    given = Context(network.activation, network.init, network.dropout, numbers, levels, network.parametrisation)
    layers = []
    for layer in network.layers:
        layers.append(layer.settled(given))
        given = replace(given, members=given.members * fan(layer))
    return replace(network, layers=layers)


def of_levels(network: Architecture, levels: tuple[int, ...]) -> Architecture:
    """The same hidden layers for columns of codes that have so many levels."""
    layers: list[Any] = [
        replace(cast(Any, layer), levels=[*levels]) if getattr(layer, "levels", None) is not None else layer
        for layer in network.layers
    ]
    return replace(network, layers=layers)


def driven(schedules: Schedules) -> tuple[str, ...]:
    """The rates of layers that change over the steps."""
    return () if schedules.dropout == Constant() else ("dropout",)


def network(
    options: Architecture,
    n_in: int,
    n_out: int,
    loss: Loss,
    driven: Collection[str] = (),
    *,
    n_cat: int = 0,
    who: tuple[int, ...] = (),
) -> Network:
    """The layers of a resolved config, from input to output."""
    first = [Dropout(options.input_dropout)] if options.input_dropout else []
    init = settled(options.output_init, "tanh")
    f, of = options.output_activation or Identity(), options.parametrisation
    output: list[Layer] = [Dense(n_out, f, init, parametrisation=of)]
    if (members := math.prod(map(fan, options.layers))) > 1:
        output = [Heads(n_out, f, init, parametrisation=of, members=members), Mean(members, loss)]
    return Network([*first, *options.layers, *output], n_in, driven=driven, n_cat=n_cat, who=who)
