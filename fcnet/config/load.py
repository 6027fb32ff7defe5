"""Makes a Config of a file or a mapping and of overrides, with all problems of both reported at once."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, TypeVar, get_args

import numpy as np

from fcnet.config import paths
from fcnet.config.contradictions import contradictions, has_validation
from fcnet.config.embeddings import embedded
from fcnet.config.expand import expand
from fcnet.config.names import stem
from fcnet.config.overrides import override
from fcnet.config.places import UNUSABLE, Finding, Path, Place, Plain, Tree, refuse, shortened
from fcnet.config.recipes import NOTHING, QUALITIES, RECIPES, Facts, defaults, over
from fcnet.config.scalars import MAX_DIGITS
from fcnet.config.schema import Asked, Config
from fcnet.config.validate import validate
from fcnet.config.write import to_mapping
from fcnet.data.heading import lacking_in_file
from fcnet.data.options import Task
from fcnet.errors import ConfigError, FcnetError
from fcnet.metrics import METRICS
from fcnet.optim.solvers import SOLVERS

Name = TypeVar("Name", bound=str)
MAPPING = "config"  # what a config given from Python is called in messages
MAX_DEPTH = 20
OF_STEPS: tuple[Path, ...] = (
    *((key,) for key in ("schedule", "schedules", "average", "ensemble", "members")),
    ("network", "dropout"),
    ("training", "batch_size"),
    ("training", "clip_norm"),
)
"""What a recipe may say that a solver of the whole objective has no use for."""
OF_ALL: dict[str, tuple[str, ...]] = {
    "lr": ("optimizer",),
    "weight_decay": ("optimizer",),
    "dropout": ("network", "dropout"),
    "scale": ("network", "layers"),
}
"""What a recipe's nets may have of their own, and where the user says it of all of them."""
HOW_CELLS_STAND: tuple[Path, ...] = tuple(
    ("data", key) for key in ("delimiter", "decimal", "thousands", "header", "skip")
)
"""Where one of these is wrong, a table is not looked at."""
CHOOSING = ("recipe", "quality", "data", "metrics", "training")
"""The keys under which stands what the defaults of others go by."""


def load(path: str | os.PathLike[str], overrides: Iterable[str] = (), *, needs_data: bool = True) -> Config:
    """The config of the YAML file at `path` with `KEY=VALUE` overrides; its paths are right from the working directory.

    With `needs_data=False` the table comes from elsewhere, and `data.train` and `data.target` may be missing. Raises
    ConfigError with every problem of the file and the overrides, UsageError for an override of another form,
    StorageError where the file cannot be read.
    """
    from fcnet.config.text import read_file  # PyYAML is needed for YAML alone

    tree = read_file(path)
    return _config(tree, overrides, stem(path), FilePath(path).parent, needs_data)


def from_mapping(
    mapping: Mapping[str, Any], overrides: Iterable[str] = (), *, needs_data: bool = True, file: str = MAPPING
) -> Config:
    """The config that a mapping of plain values spells; its paths are relative to the working directory.

    Raises as `load` does; problems name what the mapping was made of, `file`, without lines.
    """
    tree = Tree({}, file)
    root = _plain(mapping, (), tree)
    if not isinstance(root, dict):
        raise ConfigError(f"an object of type {type(mapping).__name__}, expected a mapping", file=file)
    tree.root = root
    train = tree.get(("data", "train"))
    return _config(tree, overrides, stem(train if isinstance(train, str) else ""), FilePath(), needs_data)


def recheck(config: Config, file: str) -> None:
    """Refuse a config whose keys no longer fit together once `auto` is replaced by what the data say.

    Raises ConfigError, with `file` named in every problem.
    """
    refuse(contradictions(config, Tree(to_mapping(config), file), needs_data=False))


def settled(config: Config, facts: Facts) -> Config:
    """The config with what its recipe says of these data, where nothing else was asked for."""
    asked = config.asked
    by_data = config.recipe != "plain" or config.quality is not None or asked_for(config, "network", "embeddings")
    if asked is None or not by_data:
        return config
    tree = Tree(copy.deepcopy(dict(asked.root)), asked.file)
    found = _config(tree, asked.overrides, config.name, FilePath(), asked.needs_data, facts)
    return replace(found, data=config.data, output=config.output)


def _config(
    tree: Tree,
    overrides: Iterable[str],
    name: str,
    base: FilePath,
    needs_data: bool,
    facts: Facts = NOTHING,
) -> Config:
    overrides = tuple(overrides)
    asked = Asked(copy.deepcopy(tree.root), overrides, tree.file, needs_data)
    said = _choosing(tree, overrides)
    if facts is NOTHING:
        facts = Facts(_one_of(get_args(Task), said.get(("data", "task"))))
    facts = replace(facts, metric=_judged_by(said))
    recipe, quality = _one_of(RECIPES, said.get(("recipe",))), _one_of(QUALITIES, said.get(("quality",)))
    tree.root = over(defaults(recipe, quality, facts), tree.root)
    for turn, text in enumerate(overrides, 1):
        override(tree, text, turn)
    if not tree.has(("name",)):
        tree.root["name"] = name
    tree.root.setdefault("data", None)
    expand(tree)
    _give_way(tree, asked)
    config, found = validate(tree if needs_data else replace(tree, root=_with_table(tree.root)))
    tree.findings += found
    if config is None:
        # What is right by itself is still compared, so that the user sees everything at once.
        rest = _without(tree.root, [finding.path for finding in tree.findings])
        config, _ = validate(Tree(_with_table(rest), tree.file))
    if config is not None:
        wrong = paths.problems(config, tree)
        tree.findings += [*contradictions(config, tree, needs_data=needs_data), *wrong]
        readable = not any(map(tree.known, HOW_CELLS_STAND))
        if tree.findings and needs_data and not wrong and readable:
            tree.findings += _lacking(paths.resolved(config, tree, base), tree)
    refuse(tree.findings)
    assert config is not None
    config = embedded(config, facts)
    if config.data.split.by == "column":
        config = replace(config, data=replace(config.data, validation=0, test=0))
    if not has_validation(config):
        config = replace(config, training=replace(config.training, early_stopping=None))
    return replace(paths.resolved(config, tree, base), asked=asked)


def _give_way(tree: Tree, asked: Asked) -> None:
    """What a recipe says gives way where it does not go with what the user says: codes of categories where the layers
    have no embedding, what is about steps where the optimizer is a solver, rates of each net's own to those of all."""
    coding, layers = ("preprocess", "categorical"), tree.get(("network", "layers"))
    names = [tree.get(("network", "layers", i, "name")) for i in range(len(layers) if isinstance(layers, list) else 0)]
    if tree.get((*coding, "name")) == "codes" and "embedding" not in names and not tree.written(coding):
        tree.root["preprocess"]["categorical"] = {"name": tree.get((*coding, "few")) or "one_hot"}
    for path in OF_STEPS if tree.get(("optimizer", "name")) in [*SOLVERS] else ():
        if tree.has(path) and not tree.written(path):
            del tree.get(path[:-1])[path[-1]]
    for key, path in OF_ALL.items():
        if _asks(asked, *path) and tree.has(("members", key)) and not _asks(asked, "members", key):
            del tree.root["members"][key]


def _choosing(tree: Tree, overrides: Iterable[str]) -> Tree:
    """What a config says under the keys of `CHOOSING`, before anything is checked."""
    said = Tree({key: copy.deepcopy(tree.root[key]) for key in CHOOSING if key in tree.root}, tree.file)
    for text in overrides:
        if text.partition("=")[0].partition(".")[0].strip() in CHOOSING:
            with suppress(FcnetError):  # what is wrong with it is said where it counts
                override(said, text)
    return said


def _judged_by(said: Tree) -> str | None:
    """The metric that early stopping is to watch, else the first of those asked for."""
    watched = said.get(("training", "early_stopping", "metric"))
    first = watched.removeprefix("val_") if isinstance(watched, str) else said.get(("metrics", 0))
    return _one_of(("loss", *METRICS), first)


def _one_of(names: Iterable[Name], said: Plain) -> Name | None:
    """What is said where it is one of the names, else None."""
    return next((name for name in names if name == said), None)


def asked_for(config: Config, *path: str) -> bool:
    """Whether the user has said something at a key or in it, in the file or on the command line."""
    return config.asked is not None and _asks(config.asked, *path)


def _asks(asked: Asked, *path: str) -> bool:
    key = ".".join(path)
    given = [text.partition("=")[0].strip() for text in asked.overrides]
    if Tree(dict(asked.root), asked.file).has(path) or any(f"{name}.".startswith(f"{key}.") for name in given):
        return True
    said = Tree({}, asked.file)  # a mapping as a whole, members={lr: …}, says what is in it
    for name, text in zip(given, asked.overrides, strict=True):
        if key.startswith(f"{name}."):
            with suppress(FcnetError):  # what is wrong with it is said where it counts
                override(said, text)
    return said.has(path)


def _lacking(config: Config, tree: Tree) -> list[Finding]:
    """The columns that the table lacks: as the config is refused anyway, it is looked at now, for the names alone."""
    found = []
    for problem in lacking_in_file(config.data):
        path = tree.path(problem.key) if problem.key else ()
        place = tree.place(path) if path else Place(problem.file or tree.file)
        kind = "columns that are not there" if path else "what there is"  # the latter closes the former
        found.append(Finding(kind, path, problem.text, place))
    return found


def _with_table(root: dict[str, Plain]) -> dict[str, Plain]:
    """The tree with an empty path where no table is named."""
    data = root.get("data", {})
    return {**root, "data": {"train": "", **data} if isinstance(data, dict) else data}


def _without(root: dict[str, Plain], wrong: list[Path]) -> dict[str, Plain]:
    """A copy less the wrong entries; of a list the whole."""
    rest = copy.deepcopy(root)
    for path in wrong:
        node: Plain = rest
        keys = [part for part in path if isinstance(part, str)]
        end = next((i for i, part in enumerate(path) if isinstance(part, int)), len(keys))
        for part in path[: end - 1]:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and end:
            node.pop(path[end - 1], None)
    return rest


def _plain(value: Any, path: Path, tree: Tree) -> Plain:
    """A copy of a value from Python with texts for keys and paths; what is not plain becomes a finding."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    tree.values[path] = place = Place(tree.file)
    problem = ""
    if len(path) >= MAX_DEPTH:
        problem = f"nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, Mapping):
        plain = {}
        for key, below in value.items():
            key = key.item() if isinstance(key, np.generic) else key  # noqa: PLW2901  # a label as NumPy holds it
            name = str(key) if isinstance(key, str | int | float) else None
            name = None if name is not None and UNUSABLE.search(name) else name
            if name is None or name in plain:
                why = "is there twice" if name in plain else "cannot be a key"
                text = f"the key {shortened(repr(key))} {why}"
                tree.findings.append(Finding("such problems", (*path, repr(key)), text, place))
            else:
                tree.keys[(*path, name)] = place
                plain[name] = _plain(below, (*path, name), tree)
        return plain
    elif isinstance(value, list | tuple):
        return [_plain(item, (*path, i), tree) for i, item in enumerate(value)]
    elif isinstance(value, os.PathLike):
        return _plain(os.fsdecode(value), path, tree)
    elif isinstance(value, float) and not math.isfinite(value):
        problem = f"{value!r} is no number to work with; numbers must be finite"
    elif isinstance(value, str):
        problem = "the text holds a NUL or half of a surrogate pair" if UNUSABLE.search(value) else ""
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        problem = f"a whole number of more than {MAX_DIGITS} digits"
    elif not (value is None or isinstance(value, bool | int | float)):
        problem = (
            f"an object of type {type(value).__name__}; expected text, a number, a boolean, None, a list or a mapping"
        )
    if problem:
        tree.findings.append(Finding("such problems", path, problem, place))
        return None
    return value
