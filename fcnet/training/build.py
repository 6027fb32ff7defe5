"""From config and data to the net: what `auto` means, how wide the output is, which layers stand in a row."""

from __future__ import annotations

from dataclasses import replace

from fcnet.config.schema import Config
from fcnet.config.schema import Layer as HiddenLayer
from fcnet.config.schema import Network as NetworkOptions
from fcnet.errors import ConfigError
from fcnet.nn.activations import Activation, Identity
from fcnet.nn.initializers import GlorotUniform, HeNormal, Initializer, LecunNormal
from fcnet.nn.layers import Dense, Dropout, Layer
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError, Task
from fcnet.nn.network import Network

_LOSS_BY_TASK: dict[str, Loss] = {
    "binary": BinaryCrossEntropy(),
    "multiclass": CrossEntropy(),
    "multilabel": BinaryCrossEntropy(),
    "regression": SquaredError(),
}
_INIT_BY_FAMILY: dict[str, Initializer] = {"relu": HeNormal(), "tanh": GlorotUniform(), "selu": LecunNormal()}


def resolve(config: Config, task: Task, training_rows: int, validated: bool, threads: int) -> Config:
    """The config with every `auto` of the training side decided but that of `backend`.

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
        network=_spelled(config.network),
        threads=threads if config.threads == "auto" else config.threads,
    )


def _spelled(network: NetworkOptions) -> NetworkOptions:
    """Every hidden layer with its own activation, dropout and init."""
    layers = []
    for layer in network.layers:
        activation = layer.activation if layer.activation is not None else network.activation
        init = layer.init if layer.init is not None else network.init
        if init == "auto":
            init = _INIT_BY_FAMILY[activation.family]
        dropout = layer.dropout if layer.dropout is not None else network.dropout
        layers.append(HiddenLayer(layer.units, activation, dropout, init))
    return replace(network, layers=layers)


def output_width(loss: Loss, task: Task, n_targets: int, n_classes: int) -> int:
    """Columns of y and of the output layer: one for each class, or for each target."""
    if task in ("binary", "multiclass"):
        return n_classes if loss.one_hot else 1
    return n_targets


def network(options: NetworkOptions, n_in: int, n_out: int, members: tuple[int, ...] = ()) -> Network:
    """The layers of a resolved config, from input to output."""
    layers: list[Layer] = [Dropout(options.input_dropout)] if options.input_dropout else []
    for layer in options.layers:
        assert layer.activation is not None
        assert layer.init is not None
        assert layer.init != "auto"
        layers.append(Dense(layer.units, layer.activation, layer.init))
        if layer.dropout:
            layers.append(Dropout(layer.dropout))
    output: Activation = options.output_activation or Identity()
    return Network([*layers, Dense(n_out, output, _INIT_BY_FAMILY["tanh"])], n_in, members)
