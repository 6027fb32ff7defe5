"""The reference is written from the classes: the table, docs/config.md and the JSON Schema say what the loader does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fcnet.config import from_mapping, load, to_mapping
from fcnet.config.reference import jsonschema, markdown, table
from fcnet.config.text import parse
from fcnet.data.numbers import AUTO_MISSING
from fcnet.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_the_one_of_the_classes() -> None:
    """docs/config.md is what `python -m fcnet.config.reference` writes."""
    assert (ROOT / "docs/config.md").read_text(encoding="utf-8") == markdown()


def test_every_key_has_a_row_with_its_meaning() -> None:
    """Whatever a spelled config holds is in the table, with a type and a sentence."""
    rows = {row.key.split(" (")[0]: row for row in table()}

    def walk(value: Any, prefix: str) -> None:
        for key, below in value.items():
            assert rows[prefix + key].type
            if isinstance(below, dict):
                walk(below, f"{prefix}{key}.")

    spelled = to_mapping(from_mapping({"data": {"train": "a.csv", "target": "y"}}))
    for name, schedule in spelled["schedules"].items():  # its keys are told where the registry is
        assert rows[f"schedules.{name}"].type == "name (as schedule) or mapping"
        del schedule["name"]
        walk(schedule, "schedule.")
        schedule.clear()
    del spelled["optimizer"]["name"]
    del spelled["schedule"]["name"]
    walk(spelled, "")
    assert [row.key for row in table() if not row.meaning] == []


def test_the_reference_lists_the_marks_of_missing_cells() -> None:
    """What `missing: auto` takes for missing stands in the reference, mark by mark, and nothing else does."""
    (meaning,) = [row.meaning for row in table() if row.key == "data.missing"]

    assert set(re.findall(r"`([^`]+)`", meaning)) - {"auto"} == AUTO_MISSING - {""}


def test_defaults_in_the_table_are_those_of_the_loader() -> None:
    """Written into a config, the table's defaults change nothing."""
    plain = {"data": {"train": "a.csv", "target": "y"}}
    absent = {row.key for row in table() if row.default == "null"}
    for row in table():
        section = row.key.rpartition(".")[0]
        if row.default in ("", "required", "the file's stem", "required, but for NPZ") or re.search(
            r"[\[ (:]", row.key
        ):
            continue
        tree = parse(f"{row.key.split('.')[-1]}: {row.default}", "c.yaml").root
        for part in reversed(row.key.split(".")[:-1]):
            tree = {part: tree}
        if "checkpoint" not in row.key:  # of its three keys exactly one is given
            tree["data"] = plain["data"] | tree.get("data", {})
            there = {section: {}} if section in absent and section in tree else {}  # a key makes it
            assert from_mapping(tree) == from_mapping(plain | there), row.key


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value satisfies a schema: the keywords that ours uses, by the letter of the specification."""
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "null": type(None),
        "integer": int,
        "number": (int, float),
    }
    known = {"type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties", "items"}
    known |= {"minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    assert set(schema) <= known | {"description", "default", "title", "$schema", "$defs"}
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return any(valid(value, option, root) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    if not isinstance(value, types[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    if isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema["additionalProperties"]
        known_values = all(valid(v, properties[key], root) for key, v in value.items() if key in properties)
        others = [v for key, v in value.items() if key not in properties]
        others_fit = not others if rest is False else all(valid(v, rest, root) for v in others)
        return known_values and others_fit and set(schema.get("required", ())) <= set(value)
    if isinstance(value, list):
        enough = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return enough and all(valid(v, schema["items"], root) for v in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low = value >= schema.get("minimum", value) and value > schema.get("exclusiveMinimum", value - 1)
        return low and value <= schema.get("maximum", value) and value < schema.get("exclusiveMaximum", value + 1)
    return True


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_right(file: Path) -> None:
    """Every config that comes with fcnet loads, and an editor finds nothing to mark in it."""
    schema = jsonschema()

    assert load(file).name
    assert valid(parse(file.read_text(encoding="utf-8"), str(file)).root, schema, schema)


CASES = [
    ("{}", True),
    ("loss: {name: quantile, levels: []}", False),
    ("network: {layers: [{name: residual, layers: []}]}", False),
    ("seed: 3", True),
    ("seed: -1", False),
    ("seed: x", False),
    ("sede: 3", False),
    ("optimizer: sgd", True),
    ("optimizer: {name: sgd, momentum: 0.9}", True),
    ("optimizer: {beta1: 0.5}", True),
    ("optimizer: {momentum: 0.5}", False),
    ("optimizer: {name: adam, momentum: 0.5}", False),
    ("optimizer: adm", False),
    ("optimizer: {lr: 0}", False),
    ("loss: auto", True),
    ("loss: {name: huber, delta: 2}", True),
    ("loss: {delta: 2}", False),
    ("network: {layers: [1, {units: 2, dropout: 0.5, activation: tanh}]}", True),
    ("network: {layers: [0]}", False),
    ("network: {layers: [8, layer_norm, {name: residual, layers: [8, {name: glu, units: 8}]}, scale]}", True),
    ("network: {layers: [8, layer_nrom]}", False),
    ("network: {layers: [{name: residual, layers: [{unit: 8}]}]}", False),
    ("network: {layers: [{name: scale, units: 3}]}", False),
    ("optimizer: {name: adamw, groups: [{match: W*, name: muon}]}", True),
    ("optimizer: {name: adamw, groups: [{match: W*}]}", False),
    ("average: {decay: 0.9}", True),
    ("average: {decay: 1}", False),
    ("schedules: {dropout: flat_cos}", True),
    ("network: {layers: [{dropout: 0.5}]}", False),
    ("network: {layers: 3}", False),
    ("network: {dropout: 1}", False),
    ("training: {early_stopping: null}", True),
    ("training: {early_stopping: {metric: val_rmse}}", True),
    ("training: {early_stopping: {metric: rmse}}", False),
    ("training: {checkpoint: {minutes: 0.5}}", True),
    ("training: {checkpoint: {epochs: null, steps: 9}}", True),
    ("training: {checkpoint: {epochs: 1, steps: 9}}", False),
    ("training: {checkpoint: {}}", False),
    ("training: {checkpoint: }", False),
    ("training: {batch_size: true}", False),
    ("training:", True),
    ("optimizer:", True),
    ("network: {activation: , layers: [8]}", True),
    ("network: {layers: [{units: }]}", False),
    ("loss:", False),
    ("seed:", False),
    ("metrics: [accuracy, roc_auc]", True),
    ("metrics: [acc]", False),
    ("dtype: float16", False),
    ("threads: 0", False),
]


@pytest.mark.parametrize(("text", "right"), CASES)
def test_the_schema_agrees_with_the_loader(tmp_path: Path, text: str, right: bool) -> None:
    """What the JSON Schema takes or refuses, the loader takes or refuses."""
    schema = jsonschema()
    file = tmp_path / "c.yaml"
    file.write_text("data: {train: a.csv, target: y}\n" + text.removeprefix("{}"))
    tree = parse(file.read_text(), "c.yaml").root

    assert valid(tree, schema, schema) is right
    if right:
        load(file)
    else:
        with pytest.raises(ConfigError):
            load(file)


def test_the_schema_accepts_every_spelled_config() -> None:
    """The config that a run records is right by the schema, and the schema is plain JSON."""
    schema = json.loads(json.dumps(jsonschema(), allow_nan=False))
    spelled = to_mapping(from_mapping({"data": {"train": "a.csv", "target": ["y", 3]}, "optimizer": "rmsprop"}))

    assert valid(spelled, schema, schema)
    assert not valid({**spelled, "data": {"target": "y"}}, schema, schema)


def test_the_schema_describes_every_key() -> None:
    """An editor shows a sentence at every key."""

    def undescribed(schema: Any, path: str) -> list[str]:
        found = [f"{path}.{key}" for key, below in schema.get("properties", {}).items() if "description" not in below]
        return found + [
            missing
            for key, below in schema.items()
            if isinstance(below, dict)
            for missing in undescribed(below, f"{path}.{key}")
        ]

    missing = undescribed(jsonschema(), "")
    assert [path for path in missing if not path.endswith(".name")] == []
