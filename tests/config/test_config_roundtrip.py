"""A config spelled out, written as YAML or recorded as JSON reads back equal; differences between two are found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnet.config import differences, dump, from_mapping, load, to_mapping
from fcnet.config.text import parse
from fcnet.errors import ConfigError
from fcnet.optim.rules import Sgd

FULL: dict[str, Any] = {
    "name": "no",
    "seed": 2**63 - 1,
    "data": {
        "train": "data/a b.csv",
        "validation": "v: 1.csv",
        "test": 0.1,
        "split": {"seed": 7},
        "weight": "010",
        "target": ["1e-3", 7],
        "exclude": ["", " ", "null", "~", "#", "a: b", "'", '"', "\\", "\t", "é", "😀", "a\nb", "1_000", "-", "yes"],
        "class_weight": {"0": 1, "no": 2.5, "<<": 3, "": 4, "1.50": 5},
        "delimiter": "\t",
        "thousands": " ",
    },
    "network": {"layers": [1, {"units": 2, "activation": {"name": "leaky_relu", "slope": 1e-7}, "init": "zeros"}]},
    "loss": {"name": "huber", "delta": 1e300},
    "optimizer": {"name": "sgd", "lr": 5e-324, "momentum": 0.9, "nesterov": True},
    "schedule": {"name": "step", "every": 3, "warmup": 0.1},
    "training": {"checkpoint": {"minutes": 0.5}, "early_stopping": None, "clip_norm": 1},
    "metrics": ["accuracy", "log_loss"],
    "dtype": "float64",
}


@pytest.mark.parametrize("mapping", [FULL, {"data": {"train": "a.csv", "target": "y"}}], ids=["full", "short"])
def test_a_config_reads_back_equal(mapping: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spelled mapping, its YAML text and its JSON text all give the config that they were made of."""
    monkeypatch.chdir(tmp_path)
    config = from_mapping(mapping)
    spelled = to_mapping(config)
    Path("c.yaml").write_text(dump(spelled), encoding="utf-8")

    assert from_mapping(spelled) == config
    assert load("c.yaml") == config
    assert from_mapping(json.loads(json.dumps(spelled, allow_nan=False))) == config


def test_every_default_is_spelled_out() -> None:
    """The recorded config has all keys, so that a later version's defaults cannot change it."""
    spelled = to_mapping(from_mapping({"data": {"train": "a.csv", "target": "y", "test": 0.0}}))

    assert dump(spelled) == DEFAULTS


DEFAULTS = """\
name: a
data:
  train: a.csv
  validation: 0.15
  test: 0.0
  split: {by: random, column: null, stratify: auto, seed: 0}
  target: y
  task: auto
  features: all
  exclude: []
  categorical: []
  weight: null
  class_weight: none
  teacher: null
  teacher_weight: 0.5
  missing: auto
  missing_target: error
  delimiter: auto
  decimal: .
  thousands: ""
  header: true
  skip: 0
  x: x
  y: y
seed: 0
recipe: plain
quality: null
preprocess:
  numeric: standard
  missing: median
  indicators: false
  categorical: one_hot
  target: standard
  clamp: false
network:
  layers: [128, 128]
  activation: relu
  dropout: 0.0
  input_dropout: 0.0
  init: auto
  parametrisation: null
  output_init: auto
  output_activation: null
loss: auto
optimizer: {name: adam, lr: 0.001, beta1: 0.9, beta2: 0.999, eps: 1e-08, weight_decay: 0.0}
schedule: {name: constant, warmup: 0.0}
schedules:
  weight_decay: {name: constant, warmup: 0.0}
  dropout: {name: constant, warmup: 0.0}
ensemble: 1
members: {lr: null, weight_decay: null, dropout: null, scale: null, depth: null, select: null}
cv: null
refit: false
average: null
training:
  epochs: 100
  batch_size: auto
  clip_norm: null
  early_stopping: {metric: val_loss, patience: 20, ties: first}
  checkpoint: {epochs: 1}
  max_minutes: null
  budget: null
calibration: none
threshold: 0.5
metrics: auto
report: false
output: runs
backend: auto
threads: auto
dtype: float32
"""

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    [
        "no",
        "1e-3",
        "010",
        "0x1f",
        "1_0",
        ".inf",
        "null",
        "~",
        "true",
        "<<",
        "- a",
        "a: b",
        "#",
        "\u2028",
        "\ufeff",
        "[",
        "!x",
        "&x",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_plain_mapping_survives_its_yaml_text(mapping: dict[str, Any]) -> None:
    """Whatever texts, numbers, lists and mappings are written, the same come back, types included."""
    tree = parse(dump(mapping), "c.yaml")

    assert not tree.findings
    assert repr(tree.root) == repr(mapping)


def test_other_readers_see_the_same_texts() -> None:
    """What YAML 1.1 takes for a boolean, a number or a date is quoted, so that other readers see texts too."""
    texts = ["010", "1e-3", "null", "~", ".inf", "1_0", "0x1f", "no", "OFF", "12:30", "2001-01-01", "true", "="]
    mapping = {"a": texts, "b": 0.5, "c": [1, True, None], **dict.fromkeys(texts, 1)}

    assert yaml.safe_load(dump(mapping)) == mapping


def test_differences_name_every_key_that_changed() -> None:
    """C36: an edited config is compared key by key; what a resumed run may change is left out."""
    before = from_mapping({"data": {"train": "a.csv", "target": "y"}})
    after = from_mapping(
        {
            "data": {"train": "a.csv", "target": "z", "class_weight": {"a": 1}},
            "seed": 1,
            "network": {"layers": [128, 64]},
            "optimizer": {"name": "sgd"},
            "training": {"epochs": 7, "max_minutes": 3, "checkpoint": {"steps": 9}, "batch_size": 8},
            "output": "elsewhere",
        }
    )

    found = differences(to_mapping(before), to_mapping(after))

    assert found == [
        ("data.target", "y", "z"),
        ("data.class_weight", "none", {"a": 1.0}),
        ("seed", 0, 1),
        ("network.layers", [128, 128], [128, 64]),
        ("optimizer.name", "adam", "sgd"),
        ("optimizer.lr", 0.001, 0.01),
        ("optimizer.beta1", 0.9, None),
        ("optimizer.beta2", 0.999, None),
        ("optimizer.eps", 1e-08, None),
        ("optimizer.momentum", None, 0.0),
        ("optimizer.nesterov", None, False),
        ("training.batch_size", "auto", 8),
    ]
    assert differences(to_mapping(before), to_mapping(before)) == []


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"seed": object()}, "config: seed: an object of type object; expected text, a number"),
        ({"seed": math.nan}, "config: seed: nan is no number to work with; numbers must be finite"),
        ({"seed": 10**5000}, "config: seed: a whole number of more than 400 digits"),
        ({"name": "a\0b"}, "config: name: the text holds a NUL"),
        ({"name": "\ud800"}, "config: name: the text holds a NUL or half of a surrogate pair"),
        ({None: 1}, "None cannot be a key"),
        ({"\ud800": 1}, "cannot be a key"),
        ({"data": {"class_weight": {1: 2, "1": 3}}}, "the key '1' is there twice"),
        ({"seed": True}, "config: seed: true, expected a whole number"),
        (
            {"optimizer": {"lr": "1e-3"}},
            'config: optimizer.lr: the text "1e-3", expected a number > 0; remove the quotes',
        ),
    ],
)
def test_a_mapping_from_python_is_checked_like_a_file(mapping: dict[Any, Any], problem: str) -> None:
    """What is not plain, or not allowed, is named with its key; the file is called config."""
    with pytest.raises(ConfigError) as caught:
        from_mapping({"data": {"train": "a.csv", "target": "y"}, **mapping})

    assert problem in str(caught.value)


def test_numbers_may_be_labels_in_python() -> None:
    """A mapping from Python may name its classes by number."""
    config = from_mapping({"data": {"train": "a.csv", "target": "y", "class_weight": {0: 1, 1.5: 2}}})

    assert config.data.class_weight == {"0": 1.0, "1.5": 2.0}


def test_a_mapping_that_holds_itself_is_refused() -> None:
    """A circle ends at the depth that files may have."""
    circle: dict[str, Any] = {}
    circle["data"] = circle

    with pytest.raises(ConfigError, match="nested deeper than 20 levels"):
        from_mapping(circle)


@pytest.mark.parametrize("thing", [[1], "c.yaml", 3, None])
def test_something_else_than_a_mapping_is_refused(thing: Any) -> None:
    """A config from Python is a mapping."""
    with pytest.raises(ConfigError, match="expected a mapping"):
        from_mapping(thing)


def test_numpy_scalars_are_the_numbers_that_they_are() -> None:
    """A mapping from a notebook may hold NumPy's numbers, as values and as labels."""
    config = from_mapping(
        {
            "data": {"train": "a.csv", "target": "y", "class_weight": {np.int64(3): np.float64(2)}},
            "seed": np.int64(3),
            "optimizer": {"lr": np.float32(0.5), "name": np.str_("sgd"), "nesterov": np.bool_(False)},
        }
    )

    assert (config.seed, config.optimizer, config.data.class_weight) == (3, Sgd(lr=0.5), {"3": 2.0})
    assert type(config.seed) is int
