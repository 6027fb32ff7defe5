"""From config and data to the net: what `auto` means, how wide the output is, which layers stand in a row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fcnet.config.schema import Config, Schedules
from fcnet.config.schema import Network as NetworkOptions
from fcnet.errors import ConfigError
from fcnet.nn.activations import Identity
from fcnet.nn.initializers import best
from fcnet.nn.layers import Dense, Dropout, Given
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError, Task
from fcnet.nn.network import Network
from fcnet.optim.schedules import Constant

_LOSS_BY_TASK: dict[str, Loss] = {
    "binary": BinaryCrossEntropy(),
    "multiclass": CrossEntropy(),
    "multilabel": BinaryCrossEntropy(),
    "regression": SquaredError(),
}


def resolve(
    config: Config,
    task: Task,
    training_rows: int,
    validated: bool,
    threads: int,
    *,
    numbers: int = 0,
    levels: tuple[int, ...] = (),
) -> Config:
    """The config with every `auto` of the training side decided but that of `backend`.

    `numbers` and `levels` are as layers are given them.
    Raises ConfigError where loss and task do not fit.
    """
    loss = _LOSS_BY_TASK[task] if config.loss == "auto" else config.loss
    if task not in loss.tasks:
        fitting = " or ".join(loss.tasks)
        raise ConfigError(f"it learns {fitting}, and the task is {task}; leave loss out, or set data.task", key="loss")
    training = config.training
    if training.batch_size == "auto":
        training = replace(
            training, batch_size=32 if training_rows <= 2_000 else 128 if training_rows <= 50_000 else 256
        )
    if not validated:
        training = replace(training, early_stopping=None)
    return replace(
        config,
        loss=loss,
        training=training,
        network=_spelled(config.network, numbers, levels),
        threads=threads if config.threads == "auto" else config.threads,
    )


def _spelled(network: NetworkOptions, numbers: int, levels: tuple[int, ...]) -> NetworkOptions:
    """Every hidden layer with all that it left to the section."""
    given = Given(network.activation, network.init, network.dropout, numbers, levels)
    return replace(network, layers=[layer.settled(given) for layer in network.layers])


def driven(schedules: Schedules) -> tuple[str, ...]:
    """The rates of layers that change over the steps."""
    return () if schedules.dropout == Constant() else ("dropout",)


def output_width(loss: Loss, task: Task, n_targets: int, n_classes: int) -> int:
    """Columns of y and of the output layer: one for each class, or for each target."""
    if task in ("binary", "multiclass"):
        return n_classes if loss.one_hot else 1
    return n_targets


def network(
    options: NetworkOptions, n_in: int, n_out: int, members: tuple[int, ...] = (), driven: Collection[str] = ()
) -> Network:
    """The layers of a resolved config, from input to output."""
    first = [Dropout(options.input_dropout)] if options.input_dropout else []
    output = Dense(n_out, options.output_activation or Identity(), best("tanh"))
    return Network([*first, *options.layers, output], n_in, members, driven)
