"""The config's sections: frozen dataclasses, the union over the registries, with their defaults and limits.

A class is at once the section, the object that the program works with, and the documentation: the text under a field
is what `fcnet schema` and docs/config.md say about it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from fcnet.backends.choice import BACKENDS
from fcnet.config.recipes import QUALITIES, RECIPES
from fcnet.config.spans import SPAN
from fcnet.data.options import Data, Folds, Preprocess
from fcnet.metrics import METRICS
from fcnet.nn.activations import ACTIVATIONS, Activation, Relu
from fcnet.nn.initializers import INITIALIZERS, Initializer
from fcnet.nn.layers import OF_NUMBERS, Dense, Hidden, Layer
from fcnet.nn.losses import LOSSES, Loss
from fcnet.nn.parametrisations import PARAMETRISATIONS, Parametrisation
from fcnet.optim.rules import OPTIMIZERS, Adam, Optimizer
from fcnet.optim.schedules import SCHEDULES, Constant, Schedule
from fcnet.optim.solvers import SOLVERS
from fcnet.records import dataclass
from fcnet.registry import HIDDEN, SHORT, Count, Ge, Gt, Le, Len, Lt, Named, OneOf, Share


def _metrics() -> list[str]:
    return list(METRICS)


def _monitored() -> list[str]:
    return ["val_loss", *(f"val_{name}" for name in METRICS)]


def _backends() -> list[str]:
    return ["auto", *BACKENDS]


def _deciding() -> list[str]:
    return [name for name, metric in METRICS.items() if metric.by_decision]


def _recipes() -> list[str]:
    return list(RECIPES)


def _qualities() -> list[str]:
    return list(QUALITIES)


@dataclass(frozen=True)
class Asked:
    """What a user wrote, before a recipe filled it up: `root`, the overrides, and whose it is."""

    root: Mapping[str, Any]
    overrides: tuple[str, ...]
    file: str
    needs_data: bool


Init = Literal["auto"] | Annotated[Initializer, Named(INITIALIZERS)]


@dataclass(frozen=True)
class CategoryVectors:
    """A learnt vector for each category."""

    size: Count
    """The length of the vectors."""


@dataclass(frozen=True)
class Embeddings:
    """A short form: what it says becomes encodings and layers, which the resolved config spells out."""

    numeric: Literal["none"] | Annotated[Layer, Named(OF_NUMBERS)] | None = None
    """A layer in front of the others that makes several values of each number, or `none`; `null`: as `layers` says."""
    categorical: Literal["auto", "one_hot"] | CategoryVectors | None = None
    """`one_hot`, or a mapping such as `{size: 8}`: a learnt vector for each category; `auto`: vectors of 8 where a
    column has more than 8 categories, one_hot elsewhere. `null`: as `preprocess.categorical` and `layers` say."""


@dataclass(frozen=True)
class Architecture:
    """The net between the columns and the output layer, which follows from data and loss."""

    layers: Annotated[list[Hidden], Len(0, 1000)] = field(default_factory=lambda: [Dense(128), Dense(128)])
    """The hidden layers, from input to output; `[]` is a linear model."""
    embeddings: Embeddings | None = field(default=None, metadata=SHORT)
    """What becomes of numbers and categories before the hidden layers, as a short form of `layers` that start with
    such embeddings; the resolved config has these."""
    activation: Annotated[Activation, Named(ACTIVATIONS)] = field(default_factory=Relu)
    """The activation of the hidden layers."""
    dropout: Share = 0.0
    """The share of the hidden layers' outputs that are dropped in training."""
    input_dropout: Share = 0.0
    """The share of the inputs that are dropped in training."""
    init: Init = "auto"
    """How weights start; `auto`: he_normal for the relu family, lecun_normal for selu, glorot_uniform for all else."""
    parametrisation: Annotated[Parametrisation, Named(PARAMETRISATIONS)] | None = None
    """How weights and biases of dense layers learn, the output layer's too; `null`: just as they are."""
    output_init: Init = "auto"
    """How weights of the output layer start; `auto`: glorot_uniform."""
    output_activation: Annotated[Activation, Named(ACTIVATIONS)] | None = None
    """An activation on the output; only with losses on values, such as squared_error."""


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation part has not improved for a while."""

    metric: Annotated[str, OneOf(_monitored)] = "val_loss"
    """What is watched, on the validation part; it also chooses `best.npz`."""
    patience: Count = 20
    """The number of epochs to wait for an improvement."""
    ties: Literal["first", "last"] = "first"
    """Which of equally good epochs is kept; as good is no improvement."""


@dataclass(frozen=True)
class CheckpointInterval:
    """How often a checkpoint is written: give exactly one of the three. At the end there is always one."""

    epochs: Count | None = None
    """After every so many epochs."""
    steps: Count | None = None
    """After every so many steps."""
    minutes: Annotated[float, Gt(0)] | None = None
    """After every so many minutes."""


EXACTLY_ONE = (CheckpointInterval,)  # of the keys of these sections one is given, and no other


@dataclass(frozen=True)
class Training:
    """How long, in what portions, and when to stop."""

    epochs: Count = 100
    """The largest number of passes over the training rows."""
    batch_size: Literal["auto"] | Count = "auto"
    """Rows a step; `auto`: 32 up to 2,000 training rows, 128 up to 50,000, else 256."""
    clip_norm: Annotated[float, Gt(0)] | None = None
    """Scale the gradient down to this norm where it is longer: times min(1, clip_norm / (‖∇L‖ + 1e-6))."""
    early_stopping: EarlyStopping | None = field(default_factory=EarlyStopping)
    """When to stop early; `null`, or no validation part: never."""
    checkpoint: CheckpointInterval = field(default_factory=lambda: CheckpointInterval(epochs=1))
    """How often a checkpoint is written; at most once a second, and at the end."""
    max_minutes: Annotated[float, Gt(0)] | None = None
    """Stop after so many minutes, with a checkpoint."""
    budget: Annotated[str, SPAN] | None = None
    """A time such as `60s`, `10m` or `1h30m` in which the run is to be done: after a few steps on the clock it gets as
    many epochs as fit, `epochs` at most, and the schedule ends with them."""


@dataclass(frozen=True)
class Average:
    """What is scored and kept is an average of the parameters over the last steps."""

    decay: Share
    """The share of the average that is kept in each step: 0.95 averages over about 20."""


@dataclass(frozen=True)
class Between:
    """Numbers whose logarithm is drawn evenly."""

    low: Annotated[float, Gt(0)]
    """The least."""
    high: Annotated[float, Gt(0)]
    """The largest."""


@dataclass(frozen=True)
class Depths:
    """Numbers that equal parts of the nets have, the first ones the least."""

    low: Annotated[int, Ge(1), Le(1000)]
    """The least."""
    high: Annotated[int, Ge(1), Le(1000)]
    """The largest."""


@dataclass(frozen=True)
class Members:
    """What each net of an ensemble has of its own, drawn from the seed, and which of them predict."""

    lr: Between | None = None
    """The learning rate; `null`: optimizer.lr for all."""
    weight_decay: Between | None = None
    """The decay of weights; `null`: optimizer.weight_decay for all."""
    dropout: Share | None = None
    """The share that hidden layers drop: 0 for half of the nets, for the others drawn evenly up to this; `null`:
    network.dropout for all."""
    scale: Between | None = None
    """The `scale` of embeddings of numbers; `null`: the layer's own for all."""
    depth: Depths | None = None
    """How often the last of network.layers stands there; `null`: once, for all."""
    select: Annotated[int, Ge(1), Le(1000)] | None = None
    """At most so often the net is picked that makes the mean of those picked so far best on validation, as
    early_stopping.metric has it; nets count as often as they are picked, and others are not kept. `null`, or no
    validation part: all count alike."""


@dataclass(frozen=True)
class Schedules:
    """How other rates than the learning rate change over the steps."""

    weight_decay: Annotated[Schedule, Named(SCHEDULES)] = field(default_factory=Constant)
    """The decay of weights."""
    dropout: Annotated[Schedule, Named(SCHEDULES)] = field(default_factory=Constant)
    """The shares of dropout."""


@dataclass(frozen=True)
class Threshold:
    """The threshold is chosen on the validation part, when the training is over."""

    metric: Annotated[str, OneOf(_deciding)]
    """The metric that is to be best."""


@dataclass(frozen=True)
class Config:
    """The config of one run."""

    name: str
    """The name of the run's folder; without, the file's name less its suffix."""
    data: Data
    """The table: where it is, what its columns mean, how its cells are written."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """The seed of initial weights, shuffling and dropout; not of the split. Initial weights follow the columns' names:
    a table with its columns in another order begins as the same net."""
    recipe: Annotated[str, OneOf(_recipes)] = "plain"
    """Where the defaults of all other keys come from; what is written here stands over them."""
    quality: Annotated[str, OneOf(_qualities)] | None = None
    """How good against how fast: chooses the recipe, its length and its ensemble, by rows and inputs, and `calibration:
    auto`; `recipe`, or any other key that is written here, stands over it. `null`: the recipe's own length."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """What happens to columns before the net sees them; fitted on training rows only."""
    network: Architecture = field(default_factory=Architecture)
    """The hidden layers."""
    loss: Literal["auto"] | Annotated[Loss, Named(LOSSES)] = "auto"
    """What training makes small; `auto` is cross_entropy, binary_cross_entropy or squared_error, by task."""
    optimizer: Annotated[Optimizer, Named(ChainMap(SOLVERS, OPTIMIZERS))] = field(default_factory=Adam)
    """How a gradient becomes a step."""
    schedule: Annotated[Schedule, Named(SCHEDULES)] = field(default_factory=Constant)
    """How the learning rate changes over the steps."""
    schedules: Schedules = field(default_factory=Schedules)
    """How other rates change."""
    ensemble: Annotated[int, Ge(1), Le(1000)] = 1
    """Nets that are trained side by side, each with random words and early stopping of its own; their probabilities, or
    numbers, are averaged."""
    members: Members = field(default_factory=Members)
    """What each net of an ensemble has of its own, and which of them predict."""
    cv: Annotated[int, Ge(2), Le(100)] | Folds | None = None
    """Folds: an ensemble of each, or one net, learns from all rows but those that the fold holds out, which stop it and
    judge it; all of them together predict. A number is that of `folds`. Takes the place of data.validation."""
    refit: Literal["auto"] | bool = False
    """Whether the net is trained once more, as long as was best, on training and validation rows: `best.npz` is that
    one then, and `validated.npz` the one that was judged. `auto`: where validation rows are drawn from the table."""
    average: Average | None = None
    """An average of the parameters over the last steps, which is scored and kept; `null`: none."""
    training: Training = field(default_factory=Training)
    """How long, in what portions, and when to stop."""
    calibration: Literal["none", "auto", "temperature"] = "none"
    """Whether the outputs of the trained net are divided by a temperature, fitted on the validation part, so that
    probabilities are as often right as they say; `auto`: where the validation rows leave no doubt that it helps. It
    changes no decision."""
    threshold: Annotated[float, Gt(0), Lt(1)] | Threshold = 0.5
    """Of two classes the second is predicted where it is more probable than this; a mapping such as `{metric: f1}`
    chooses it on the validation part."""
    metrics: Literal["auto"] | list[Annotated[str, OneOf(_metrics)]] = "auto"
    """What is computed on validation every epoch and on every part at the end; `auto`: accuracy and log_loss, of two
    classes also balanced_accuracy and roc_auc, of labels f1_macro and roc_auc; of numbers rmse, mae and r2."""
    report: bool = False
    """Whether the run's page, `report.html`, is written at its end, as `fcnet report` does."""
    output: str = "runs"
    """The folder that holds the runs, relative to the working directory."""
    backend: Annotated[str, OneOf(_backends)] = "auto"
    """What computes: NumPy, or compiled steps, with `fcnet[fast]`; `auto`: these where they save more than it takes to
    load them, or to compile them for the first time."""
    threads: Literal["auto"] | Annotated[int, Ge(1), Le(4096)] = "auto"
    """Threads that compute; `auto`: the cores that the process may use. Equal bits need equal threads."""
    dtype: Literal["float32", "float64"] = "float32"
    """The precision of all numbers in the net."""
    asked: Asked | None = field(default=None, repr=False, compare=False, metadata=HIDDEN)
    """What the config was made of, for the recipe that has yet to see the data."""
