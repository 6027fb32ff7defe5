"""The first config for a table: what `fcnet init` writes, and what `fcnet train TABLE` trains with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fcnet import config, data
from fcnet.config import Config
from fcnet.config.kinds import any_of
from fcnet.config.places import COMMAND_LINE
from fcnet.config.recipes import QUALITIES, RECIPES, Facts, defaults
from fcnet.data import Dataset
from fcnet.data.numbers import HINTS
from fcnet.data.options import Data, Preprocess
from fcnet.data.target import TASKS
from fcnet.errors import ConfigError, DataError, UsageError, escape
from fcnet.reports.text import count, shorten

COMMENT = 34
"""The column where comments start, after shorter lines."""


def initial_mapping(source: Path, target: Sequence[str]) -> dict[str, Any]:
    """The config for the table `source` where it differs from the defaults: it learns well, and sets rows aside for an
    honest score."""
    columns: dict[str, Any] = {} if not target else {"target": target[0] if len(target) == 1 else list(target)}
    return {"quality": "default", "data": {"train": str(source), **columns, "test": 0.15}}


def require_target(source: Path) -> None:
    """Raise UsageError, with the columns of the table, unless it is an NPZ, whose target has a name by default."""
    if source.suffix.lower() == ".npz":
        return
    try:
        data.load(Data(train=str(source)), Preprocess())
    except ConfigError as error:
        text = error.problems[0].text
        raise UsageError(f"--target {text}") from None


def initial_config(
    source: Path, target: Sequence[str], folder: Path, overrides: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """The text of a commented config for a file in `folder`, and what was noticed about the data.

    `overrides` are written into it as `KEY=VALUE` of the command line would set them. The whole table is read, as
    training would. Raises what that raises, and UsageError without a target.
    """
    if not target and not any(text.startswith("data.target=") for text in overrides):
        require_target(source)
    mapping = initial_mapping(source, target)
    found, spelling = _read(mapping, overrides)
    mapping["data"] |= spelling
    settings = _settings(mapping, overrides)
    settings = config.settled(settings, Facts.of(found))
    config.recheck(replace(settings, data=replace(settings.data, task=found.target.task)), COMMAND_LINE)
    settings = config.seen_from(settings, str(folder))
    return _text(settings, found), list(found.notices)


def _settings(mapping: Mapping[str, Any], overrides: Sequence[str]) -> Config:
    return config.from_mapping(mapping, overrides, file=COMMAND_LINE)


def _read(mapping: dict[str, Any], overrides: Sequence[str]) -> tuple[Dataset, Mapping[str, str]]:
    """The data, and how their numbers are spelled where that is unusual, as the error of the first look suggests."""
    try:
        return _load(mapping, overrides, {}), {}
    except DataError as error:
        suggested = [other for hint, other in HINTS if f"set {hint}" in str(error)]
        for other in reversed(suggested):  # the longest is the last
            spelling = {"decimal": other.decimal, "thousands": other.thousands}
            with contextlib.suppress(DataError):
                return _load(mapping, overrides, spelling), spelling
        raise


def _load(mapping: dict[str, Any], overrides: Sequence[str], spelling: Mapping[str, str]) -> Dataset:
    settings = _settings({**mapping, "data": {**mapping["data"], **spelling}}, overrides)
    return data.load(settings.data, settings.preprocess, dtype=settings.dtype)


def _text(settings: Config, found: Dataset) -> str:
    parts = {name: count(len(rows), "row") for name, rows in found.parts.items()}
    facts, chosen = Facts.of(found), {"recipe": settings.recipe, "quality": settings.quality}
    usual = config.settled(config.from_mapping({"name": settings.name, "data": _PLAIN, **chosen}), facts)
    spelled, recipe = config.to_mapping(settings), defaults(settings.recipe, settings.quality, facts)
    given = _changes(spelled, config.to_mapping(usual))
    spelled["data"]["task"] = found.task
    validated = len(found.parts["validation"]) > 0
    comments: dict[str, dict[str, str]] = {
        "data": {
            "train": count(len(found.inputs), "row"),
            **({"target": _target(found)} if spelled["data"]["target"] is not None else {}),
            "task": any_of(tuple(TASKS)),
            "decimal": "how numbers are written here",
            "thousands": "how numbers are written here",
            "validation": parts["validation"] + (", to choose the best epoch" if validated else ""),
            "test": parts["test"] + (", for the score that counts" if len(found.parts["test"]) else ""),
        },
        "network": {
            "layers": "units of the hidden layers",
            "activation": "of the hidden layers",
            "dropout": "0.1 to 0.5 helps against overfitting",
        },
        "optimizer": {
            "name": "fcnet schema --table lists the others",
            "lr": "the first number to try other values of",
        },
        "training": {
            "epochs": "at most",
            "batch_size": "" if recipe else "32 up to 2,000 rows, 128 up to 50,000, else 256",
            **({"early_stopping": "watched on validation; the best epoch is kept"} if validated else {}),
        },
    }
    sections: dict[str, list[str]] = {}
    for key in [*comments, *(key for key in recipe if key not in (*comments, *chosen))]:
        said, own, off = comments.get(key, {}), given.pop(key, {}), recipe.get(key, {})
        if key == "data" or not recipe:
            own = {name: spelled[key][name] for name in said if name not in UNUSUAL or name in own} | own
        elif key == "training" and not validated:
            own.pop("early_stopping", None)
        sections[key] = _section(key, own, off, said)
    sections["data"] += _features(found)
    rest = [key for key in given if key not in ("name", "seed")]
    return "\n".join(
        [
            "# yaml-language-server: $schema=fcnet.schema.json",
            "# (`fcnet schema > fcnet.schema.json` writes the file that lets an editor check and complete this one.)",
            "",
            *_line("name", settings.name, "the run folder's name", ""),
            *_line("seed", settings.seed, "initial weights, shuffling, dropout; not the split", ""),
            *_chosen(settings),
            *(line for lines in sections.values() for line in ("", *lines)),
            *([""] if rest else []),
            *(line for key in rest for line in _line(key, given[key], "", "")),
            "",
        ]
    )


_PLAIN = {"train": "a.csv", "target": "y"}
UNUSUAL = ("decimal", "thousands")
"""Keys that are written only where they are not as usual."""


def _chosen(settings: Config) -> list[str]:
    """The lines of what the defaults come from."""
    quality, recipe, lines = settings.quality, settings.recipe, []
    if quality is not None:
        lines += _line("quality", quality, f"{any_of(tuple(QUALITIES))}; it gives what is commented out below", "")
    if recipe != ("plain" if quality is None else QUALITIES[quality].recipe):
        lines += _line("recipe", recipe, any_of(tuple(RECIPES)), "")
    return lines


def _section(key: str, own: Any, off: Any, comments: Mapping[str, str]) -> list[str]:
    """The lines of a section: its `own` keys, and commented out those of the recipe, `off`, that it leaves as they
    are; keys with comments come first."""
    if not isinstance(off, Mapping):
        return [f"# {line}" for line in _line(key, off, "", "")] if own == {} else _line(key, own, "", "")
    mark, lines = ("  # ", [f"{key}:"]) if own else ("#   ", [f"# {key}:"])
    for name in dict.fromkeys([*comments, *own, *off]):
        if name in own:
            lines += _line(name, own[name], comments.get(name, ""))
        elif name in off:
            lines += [mark + line[2:] for line in _line(name, off[name], comments.get(name, ""))]
    return lines


def _changes(spelled: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are not as usual: of a section these of its keys, of what has a name or keys of its own all."""
    changed = {key: value for key, value in spelled.items() if value != plain.get(key)}
    for key, value in changed.items():
        usual = plain.get(key)
        if isinstance(value, dict) and isinstance(usual, dict) and "name" not in value:
            changed[key] = _changes(value, usual)
    return changed


def _line(key: str, value: Any, comment: str, indent: str = "  ") -> list[str]:
    first, *rest = config.dump({key: value}).rstrip("\n").split("\n")
    said = (indent + first).ljust(COMMENT - 2) + "  # " + escape(comment) if comment else indent + first
    return [said, *(indent + line for line in rest)]


def _target(found: Dataset) -> str:
    classes = found.target.classes
    if classes is None:
        return found.target.cells
    return f"{count(len(classes), 'class', 'classes')}: {_listed([str(label) for label in classes])}"


def _features(found: Dataset) -> list[str]:
    features = found.encoder.in_file
    numbers = [f.name for f in features if f.kind == "number"]
    texts = [f"{f.name} ({len(f.levels)})" for f in features if f.kind == "category"]
    rows = [
        (count(len(numbers), "number"), numbers),
        (count(len(texts), "category", "categories"), texts),
        ("left out", list(found.resolved.exclude)),
    ]
    return [f"  # {label}: {_listed(names)}" for label, names in rows if names]


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = [shorten(name, 24) for name in names[:most]]
    return ", ".join([*shown, f"… ({len(names) - most} more)"] if len(names) > most else shown)
