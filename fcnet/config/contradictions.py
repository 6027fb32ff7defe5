"""Finds keys that are each right but do not fit together, and names both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from fcnet.config.embeddings import coding_of, embedded
from fcnet.config.names import flaw
from fcnet.config.places import Finding, Path, Tree, dotted, shortened
from fcnet.config.recipes import NOTHING
from fcnet.config.schema import Config, Threshold
from fcnet.data.target import TASKS, Binary, Classes, Numbers
from fcnet.metrics import METRICS
from fcnet.nn.layers import Layer
from fcnet.nn.losses import LOSSES
from fcnet.optim.rules import Sgd
from fcnet.optim.schedules import Constant, StepDecay
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass


@dataclass(frozen=True)
class Clash:
    """What is wrong at `path`, in view of the keys `others`."""

    path: Path
    text: str
    others: tuple[Path, ...] = ()


def contradictions(config: Config, tree: Tree, *, needs_data: bool) -> list[Finding]:
    """What does not fit together in a config whose every key is right by itself."""
    clashes = [
        *_name(config, tree),
        *_parts(config, tree),
        *(_target(config) if needs_data else ()),
        *_columns(config),
        *_table(config),
        *_tasks(config),
        *_training(config),
        *_members(config),
        *_folds(config),
        *_embeddings(config, tree),
        *_codes(embedded(config, NOTHING)),
        *_held(config),
    ]
    found = []
    for clash in clashes:
        involved = [clash.path, *clash.others]
        if not any(map(tree.known, involved)):
            # The place is that of a key that is written, for a default has none.
            at = next((path for path in involved if tree.has(path)), clash.path)
            found.append(Finding("contradictions", clash.path, clash.text, tree.place(at)))
    return found


def _name(config: Config, tree: Tree) -> Iterator[Clash]:
    found = flaw(config.name)
    if found:
        name, written = shortened(config.name), tree.written(("name",))
        whose, cure = ("", "choose another") if written else (", from the file's name,", "give another with name=…")
        yield Clash(("name",), f'"{name}"{whose} cannot name a run\'s folder on every system: {found}; {cure}')


def _parts(config: Config, tree: Tree) -> Iterator[Clash]:
    data = config.data
    validation, test = data.validation, data.test
    by: Path = ("data", "split", "by")
    if data.split.by == "column":
        for key, value in (("validation", validation), ("test", test)):
            if value != 0 and tree.written(("data", key)):
                text = f"{value} is not used with data.split.by: column, where a column names the parts; remove it"
                yield Clash(("data", key), text, (by,))
    elif not isinstance(validation, str) and not isinstance(test, str) and validation + test >= 1:
        text = f"{validation:g} and data.test: {test:g} leave no rows for training; together they must be less than 1"
        yield Clash(("data", "validation"), text, (("data", "test"),))
    if data.split.by == "column" and data.split.column is None:
        text = "data.split.by: column needs data.split.column, the column whose cells are train, validation or test"
        yield Clash(("data", "split", "column"), f"is missing; {text}", (by,))
    if data.split.by != "column" and data.split.column is not None:
        text = f"is only used with data.split.by: column, not with {data.split.by}; write by: column or remove it"
        yield Clash(("data", "split", "column"), text, (by,))
    stopping: Path = ("training", "early_stopping")
    if not has_validation(config) and tree.get(stopping) is not None and tree.written(stopping):
        text = "needs a validation part, but data.validation is 0; set data.validation, or early_stopping: null"
        yield Clash(stopping, text, (("data", "validation"),))
    for key in fitted_on_validation(config) if not has_validation(config) else ():
        text = "is fitted on a validation part, but data.validation is 0; set data.validation, or leave it out"
        yield Clash((key,), text, (("data", "validation"),))


def fitted_on_validation(config: Config) -> list[str]:
    """The keys that ask for something that only validation rows can say."""
    asked = {
        "calibration": config.calibration == "temperature",
        "threshold": isinstance(config.threshold, Threshold),
        "refit": config.refit is True,
    }
    return [key for key, needed in asked.items() if needed]


def has_validation(config: Config) -> bool:
    """Whether there may be a validation part; of a split column only its cells tell, and folds are one each."""
    return config.cv is not None or config.data.split.by == "column" or config.data.validation != 0


def _columns(config: Config) -> Iterator[Clash]:
    data = config.data
    targets = data.target if isinstance(data.target, list) else [data.target]
    fold = None if config.cv is None or isinstance(config.cv, int) else config.cv.column
    uses: dict[Path, list[object]] = {
        ("data", "target"): [target for target in targets if target is not None],
        ("data", "teacher"): [*data.teacher] if isinstance(data.teacher, list) else [],
        ("data", "weight"): [data.weight] if data.weight is not None else [],
        ("data", "split", "column"): [data.split.column] if data.split.column is not None else [],
        ("cv", "column"): [fold] if fold is not None else [],
        ("data", "features"): [*data.features] if isinstance(data.features, list) else [],
        ("data", "exclude"): [*data.exclude],
    }
    if isinstance(data.target, list) and not data.target:
        yield Clash(("data", "target"), "an empty list; name at least one column")
    for path, names in uses.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            yield Clash(path, f'names the column "{twice[0]}" twice; keep one')
    features, exclude = ("data", "features"), ("data", "exclude")
    for role in (("data", "target"), ("data", "weight"), ("data", "split", "column"), ("cv", "column")):
        for other in (features, exclude) if role[-1] != "column" else (features,):
            shared = set(uses[role]) & set(uses[other])
            if shared:
                name = next(name for name in uses[other] if name in shared)
                text = f'the column "{name}" is also {dotted(role)}; remove it from one of the two'
                yield Clash(other, text, (role,))
    if data.weight is not None and data.weight in uses["data", "target"]:
        yield Clash(
            ("data", "weight"),
            f'the column "{data.weight}" is also data.target; they must differ',
            (("data", "target"),),
        )


def _target(config: Config) -> Iterator[Clash]:
    if config.data.target is None and not config.data.train.lower().endswith(".npz"):
        yield Clash(("data", "target"), "is missing; name the column to predict, or a list of columns")


def _table(config: Config) -> Iterator[Clash]:
    data = config.data
    mark = data.delimiter.replace("\\t", "\t")
    if mark != "auto" and (len(mark) != 1 or mark in '"\r\n'):
        text = f'"{data.delimiter}" is no delimiter; expected auto or one character, such as "," ";" "|" or "\\t"'
        yield Clash(("data", "delimiter"), text)
    if data.thousands == data.decimal:
        text = f'"{data.thousands}" is also data.decimal; they must differ'
        yield Clash(("data", "thousands"), text, (("data", "decimal"),))


def _tasks(config: Config) -> Iterator[Clash]:
    task, asked = config.data.task, (("data", "task"),)
    names = config.metrics if isinstance(config.metrics, list) else []
    watched = config.training.early_stopping.metric.removeprefix("val_") if config.training.early_stopping else "loss"
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield Clash(("metrics",), f"names {twice[0]} twice; keep one")
    if names and watched != "loss" and watched not in names:
        text = f"val_{watched} is not among metrics; add {watched} to metrics, or watch another"
        yield Clash(("training", "early_stopping", "metric"), text, (("metrics",),))
    yield from _output(config)
    if task == "auto":
        return
    if watched != "loss" and task not in METRICS[watched].tasks:
        text = f"val_{watched} does not fit data.task: {task}; watch val_loss or one of {_fitting(task)}"
        yield Clash(("training", "early_stopping", "metric"), text, asked)
    kind = TASKS[task]
    if not isinstance(config.loss, str) and config.loss.learns not in kind.gives:
        fit = ", ".join(name for name, loss in LOSSES.items() if loss.learns in kind.gives)
        text = f"{config.loss.name} does not fit data.task: {task}; those that do are {fit}"
        yield Clash(("loss",), text, asked)
    for name in names:
        if task not in METRICS[name].tasks:
            yield Clash(
                ("metrics",), f"{name} does not fit data.task: {task}; those that do are {_fitting(task)}", asked
            )
    if issubclass(kind, Numbers) and config.data.class_weight != "none":
        yield Clash(("data", "class_weight"), f"there are no classes with data.task: {task}; remove it", asked)
    if config.calibration == "temperature" and not kind.shares:
        yield Clash(("calibration",), f"there are no probabilities with data.task: {task}; remove it", asked)
    if config.threshold != 0.5 and not issubclass(kind, Binary):
        yield Clash(("threshold",), f"is for two classes, not for data.task: {task}; remove it", asked)
    if not issubclass(kind, Classes) and config.data.split.stratify is True:
        text = f"rows cannot be dealt out by class with data.task: {task}; write stratify: auto"
        yield Clash(("data", "split", "stratify"), text, asked)


def _fitting(task: str) -> str:
    return ", ".join(name for name, metric in METRICS.items() if task in metric.tasks)


def _output(config: Config) -> Iterator[Clash]:
    """An output activation is for losses on values; the others own the link between the net and the prediction."""
    if config.network.output_activation is None:
        return
    key: Path = ("network", "output_activation")
    values = ", ".join(name for name, loss in LOSSES.items() if loss().on_values)
    if not isinstance(config.loss, str) and not config.loss.on_values:
        text = f"does not go with loss: {config.loss.name}, which has its own; remove it, or take one of {values}"
        yield Clash(key, text, (("loss",),))
    elif isinstance(config.loss, str) and config.data.task != "auto" and not TASKS[config.data.task].loss.on_values:
        text = f"does not go with data.task: {config.data.task}, whose loss has its own; remove it"
        yield Clash(key, text, (("data", "task"),))


def _training(config: Config) -> Iterator[Clash]:
    training, schedule, optimizer = config.training, config.schedule, config.optimizer
    given = [key for key in ("epochs", "steps", "minutes") if getattr(training.checkpoint, key) is not None]
    if len(given) != 1:
        text = f"give exactly one of epochs, steps and minutes, not {' and '.join(given) or 'none'}"
        yield Clash(("training", "checkpoint"), text)
    if isinstance(schedule, StepDecay) and schedule.every > training.epochs:
        text = f"{schedule.every} is more than training.epochs: {training.epochs}, so the rate would never change"
        yield Clash(("schedule", "every"), text, (("training", "epochs"),))
    if of_objective(optimizer):
        yield from _whole(config)
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        text = "needs optimizer.momentum greater than 0"
        yield Clash(("optimizer", "nesterov"), text, (("optimizer", "momentum"),))


def _members(config: Config) -> Iterator[Clash]:
    """Limits between which numbers are drawn stand in their order; there is a layer that can be repeated."""
    if config.members.depth is not None and not config.network.layers:
        text = "repeats the last of network.layers, and there is none; give it one"
        yield Clash(("members", "depth"), text, (("network", "layers"),))
    for key in ("lr", "weight_decay", "scale", "depth"):
        limits = getattr(config.members, key)
        if limits is not None and limits.low > limits.high:
            text = f"{limits.low:g} is more than members.{key}.high: {limits.high:g}; exchange them"
            yield Clash(("members", key, "low"), text, (("members", key, "high"),))


def _folds(config: Config) -> Iterator[Clash]:
    """What folds do not go with."""
    cv = config.cv
    if cv is None:
        return
    if isinstance(config.data.validation, str):
        text = f"{config.data.validation} is not used with cv, whose folds take turns as validation part; remove it"
        yield Clash(("data", "validation"), text, (("cv",),))
    if config.refit is True:
        text = "does not go with cv, whose nets have learnt from all rows between them; remove it"
        yield Clash(("refit",), text, (("cv",),))
    if isinstance(cv, int):
        return
    if cv.by == "random" and cv.column is not None:
        text = "is only used with cv.by: group and cv.by: time, not with random; write one of them, or remove it"
        yield Clash(("cv", "column"), text, (("cv", "by"),))
    if cv.by != "random" and cv.column is None:
        text = f"is missing; cv.by: {cv.by} needs it, the column that folds go by"
        yield Clash(("cv", "column"), text, (("cv", "by"),))
    if cv.by == "time" and cv.repeats > 1:
        yield Clash(
            ("cv", "repeats"), f"{cv.repeats} would all be one and the same by time; remove it", (("cv", "by"),)
        )


def _whole(config: Config) -> Iterator[Clash]:
    """What is about steps and their batches does not go with a solver, which takes the whole objective."""
    name = getattr(config.optimizer, "name", "")
    stands: dict[Path, bool] = {
        ("schedule",): config.schedule != Constant(),
        ("schedules",): config.schedules != type(config.schedules)(),
        ("average",): config.average is not None,
        ("ensemble",): config.ensemble > 1,
        ("members",): config.members != type(config.members)(),
        ("training", "clip_norm"): config.training.clip_norm is not None,
        ("network", "dropout"): config.network.dropout > 0,
        ("network", "input_dropout"): config.network.input_dropout > 0,
    }
    for path, found in stands.items():
        if found:
            text = f"does not go with optimizer: {name}, which takes all rows at once and chooses its steps; remove it"
            yield Clash(path, text, (("optimizer",),))


def _codes(config: Config) -> Iterator[Clash]:
    """Codes of categories are for layers that look them up, which stand in front."""
    key: Path = ("network", "layers")
    looked_up = [path for path, layer in _layers(config.network.layers, key) if hasattr(layer, "levels")]
    front = 0
    for layer in config.network.layers:
        if not hasattr(layer, "levels") and not hasattr(layer, "numbers"):  # what it takes from the columns
            break
        front += 1
    for path in looked_up:
        if len(path) > len(key) + 1 or int(path[-1]) >= front:
            yield Clash(path, "looks up codes of categories, so it comes before all layers that are no embeddings")
    encoding = config.preprocess.categorical
    if encoding.into == "c" and not looked_up:
        text = f"{encoding.name} are for the layer embedding; put one first in network.layers, or write one_hot"
        yield Clash(("preprocess", "categorical"), text, (key,))


def _embeddings(config: Config, tree: Tree) -> Iterator[Clash]:
    """What stands in network.embeddings does not stand in the long form too."""
    said = config.network.embeddings
    for kind, taken in (("numeric", "numbers"), ("categorical", "levels")):
        key: Path = ("network", "embeddings", kind)
        if said is None or getattr(said, kind) is None:
            continue
        for path, layer in _layers(config.network.layers, ("network", "layers")):
            if hasattr(layer, taken) and tree.written(path):
                yield Clash(key, f"{dotted(path)} says so too, with {layer.name}; write one of the two", (path,))
    coding: Path = ("preprocess", "categorical")
    if said is not None and said.categorical is not None and tree.written(coding):
        own = config.preprocess.categorical
        if coding_of(said.categorical) != own:
            text = f"says how categories come, and {dotted(coding)} is {own.name}; remove one of the two"
            yield Clash(("network", "embeddings", "categorical"), text, (coding,))


def _layers(layers: list[Layer], path: Path) -> Iterator[tuple[Path, Layer]]:
    """All layers with their places, those inside others too."""
    for i, layer in enumerate(layers):
        yield (*path, i), layer
        yield from _layers(getattr(layer, "layers", []), (*path, i, "layers"))


_SMALLEST, _LARGEST = 1.1754944e-38, 3.4028235e38  # float32's, without those that processors take for 0


def _held(config: Config) -> Iterator[Clash]:
    """Hyper-parameters of optimizer, loss and activations that would be 0 or infinite in float32."""
    if config.dtype == "float64":
        return
    computed = {"optimizer": config.optimizer, "loss": config.loss, "network": config.network}
    found = [pair for key, section in computed.items() for pair in _numbers(section, (key,))]
    for path, value in [*found, *_numbers(config.training.clip_norm, ("training", "clip_norm"))]:
        small = 0 < abs(value) < _SMALLEST
        if small or abs(value) > _LARGEST:
            limit = f"at least {_SMALLEST}" if small else f"at most {_LARGEST}"
            text = f"{value:g} is {0 if small else 'infinite'} in float32; write {limit}, or set dtype: float64"
            yield Clash(path, text, (("dtype",),))


def _numbers(node: object, path: Path) -> Iterator[tuple[Path, float]]:
    """Every float under a section, with its key."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from _numbers(item, (*path, i))
    elif is_dataclass(node):
        for field in fields(node):
            yield from _numbers(getattr(node, field.name), (*path, field.name))
    elif isinstance(node, float):
        yield path, node
