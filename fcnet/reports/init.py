"""The first config for a table: what `fcnet init` writes, and what `fcnet train TABLE` trains with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcnet import config, data
from fcnet.config import Config
from fcnet.data import Dataset
from fcnet.data.numbers import HINTS
from fcnet.data.options import Data, Preprocess
from fcnet.errors import ConfigError, DataError, UsageError, escape
from fcnet.reports.text import count, shorten

COMMENT = 34
"""The column where comments start, after shorter lines."""


def initial_mapping(source: Path, target: Sequence[str]) -> dict[str, Any]:
    """The config for the table `source` where it differs from the defaults: it sets rows aside for an honest score."""
    columns: dict[str, Any] = {} if not target else {"target": target[0] if len(target) == 1 else list(target)}
    return {"data": {"train": str(source), **columns, "test": 0.15}}


def require_target(source: Path) -> None:
    """Raise UsageError, with the columns of the table, unless it is an NPZ, whose target has a name by default."""
    if source.suffix.lower() == ".npz":
        return
    try:
        data.load(Data(train=str(source)), Preprocess())
    except ConfigError as error:
        text = error.problems[0].text
        raise UsageError(f"--target {text}") from None


def initial_config(source: Path, target: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """The text of a commented config for a file in `folder`, and what was noticed about the data.

    The whole table is read, as training would. Raises what that raises, and UsageError without a target.
    """
    if not target:
        require_target(source)
    mapping = initial_mapping(source, target)
    found, spelling = _read(mapping)
    mapping["data"] |= spelling
    settings = config.seen_from(config.from_mapping(mapping), str(folder))
    return _text(settings, found), list(found.notices)


def _read(mapping: dict[str, Any]) -> tuple[Dataset, Mapping[str, str]]:
    """The data, and how their numbers are spelled where that is unusual, as the error of the first look suggests."""
    try:
        return _load(mapping, {}), {}
    except DataError as error:
        suggested = [other for hint, other in HINTS if f"set {hint}" in str(error)]
        for other in reversed(suggested):  # the longest is the last
            spelling = {"decimal": other.decimal, "thousands": other.thousands}
            with contextlib.suppress(DataError):
                return _load(mapping, spelling), spelling
        raise


def _load(mapping: dict[str, Any], spelling: Mapping[str, str]) -> Dataset:
    settings = config.from_mapping({**mapping, "data": {**mapping["data"], **spelling}})
    return data.load(settings.data, settings.preprocess, dtype=settings.dtype)


def _text(settings: Config, found: Dataset) -> str:
    parts = {name: count(len(rows), "row") for name, rows in found.parts.items()}
    spelled = config.to_mapping(settings)
    section, network, training = (dict(spelled[key]) for key in ("data", "network", "training"))
    section["task"] = found.task
    unusual = [key for key in ("decimal", "thousands") if section[key] != getattr(Data, key)]
    lines = [
        "# yaml-language-server: $schema=fcnet.schema.json",
        "# (`fcnet schema > fcnet.schema.json` writes the file that lets an editor check and complete this one.)",
        "",
        *_line("name", settings.name, "the run folder's name", ""),
        *_line("seed", settings.seed, "initial weights, shuffling, dropout; not the split", ""),
        "",
        "data:",
        *_line("train", section["train"], count(len(found.x), "row")),
        *(_line("target", section["target"], _target(found)) if section["target"] is not None else []),
        *_line("task", section["task"], "binary, multiclass, multilabel or regression"),
        *(line for key in unusual for line in _line(key, section[key], "how numbers are written here")),
        *_line("validation", section["validation"], f"{parts['validation']}, to choose the best epoch"),
        *_line("test", section["test"], f"{parts['test']}, for the score that counts"),
        *_features(found),
        "",
        "network:",
        *_line("layers", network["layers"], "units of the hidden layers"),
        *_line("activation", network["activation"], "of the hidden layers"),
        *_line("dropout", network["dropout"], "0.1 to 0.5 helps against overfitting"),
        "",
        "optimizer:",
        *_line("name", spelled["optimizer"]["name"], "fcnet schema --table lists the others"),
        *_line("lr", spelled["optimizer"]["lr"], "the first number to try other values of"),
        "",
        "training:",
        *_line("epochs", training["epochs"], "at most"),
        *_line("batch_size", training["batch_size"], "32 up to 2,000 rows, 128 up to 50,000, else 256"),
        "  early_stopping:",
        *_line("metric", training["early_stopping"]["metric"], "watched on validation", "    "),
        *_line("patience", training["early_stopping"]["patience"], "epochs to wait for a better one", "    "),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, comment: str, indent: str = "  ") -> list[str]:
    first, *rest = config.dump({key: value}).rstrip("\n").split("\n")
    said = (indent + first).ljust(COMMENT - 2) + "  # " + escape(comment)
    return [said, *(indent + line for line in rest)]


def _target(found: Dataset) -> str:
    classes = found.target.classes
    if classes is None:
        return "numbers" if found.task == "regression" else "labels, 0 or 1 each"
    return f"{count(len(classes), 'class', 'classes')}: {_listed([str(label) for label in classes])}"


def _features(found: Dataset) -> list[str]:
    features = found.encoder.features
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
