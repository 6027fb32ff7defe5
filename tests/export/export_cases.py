"""Small nets of every kind that there is, on one small table with all that may be odd in one."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import fcnet
from fcnet.nn.layers import LAYERS

ROWS = 90
COLUMNS = ("age", "big year", "job", "city", "flag", "size")
TARGETS = {"y": "number", "n": "count", "kind": "class", "yes": "binary", "l1": "label", "l2": "label"}


def cells(rows: int, seed: int) -> dict[str, list[Any]]:
    """Columns of numbers and texts, with None where a cell is missing."""
    draw = np.random.default_rng(seed)
    age, year = draw.normal(40, 12, rows), draw.integers(1950, 2020, rows)
    found: dict[str, list[Any]] = {
        "age": [None if i % 11 == 3 else round(v, 2) for i, v in enumerate(age.tolist())],
        "big year": year.tolist(),
        "job": [
            None if i % 7 == 2 else ("smith, black", 'say "cook"', "=müller", "naïve")[k]
            for i, k in enumerate(draw.integers(4, size=rows))
        ],
        "city": [f"c{k}" for k in draw.integers(9, size=rows)],
        "flag": [("True", "False")[k] for k in draw.integers(2, size=rows)],
        "size": [("10", "9", "100")[k] for k in draw.integers(3, size=rows)],
    }
    lift = age / 10 + (year - 1985) / 20
    found["y"] = (100 + 7 * lift + draw.normal(size=rows)).tolist()
    found["n"] = draw.poisson(np.exp(np.clip(lift / 3, 0, 3))).tolist()
    found["kind"] = [("a b", "ç", "=c")[min(int(v > 4) + int(v > 5), 2)] for v in lift]
    found["yes"] = [("no", "yes")[int(v > 4)] for v in lift]
    found["l1"], found["l2"] = (lift > 4).astype(int).tolist(), (lift > 5).astype(int).tolist()
    return found


def write(path: Path, columns: dict[str, list[Any]]) -> None:
    """The table as CSV."""

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text

    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(cell, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def odd_rows() -> dict[str, list[Any]]:
    """Rows as training has not seen them: all missing, unknown categories, numbers far away, other spellings."""
    found = {name: values for name, values in cells(40, 8).items() if name in COLUMNS}
    for name, values in (("age", [None, 150.0, -3.5e-3, 1e-30]), ("big year", [None, 1900, 1999.5, 2030])):
        found[name][:4] = values
    for name in ("job", "city", "flag", "size"):
        found[name][1:4] = [None, "never", "ein ß"]
    return found


def given(rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Columns as Python callers hand them over."""
    return {name: np.array(cells, object) for name, cells in rows.items()}


def loaded(path: Path) -> Any:
    """What a script defines. An import might find the bytecode of a script of equal length that stood there a moment
    before."""
    module = sys.modules["script_under_test"] = ModuleType("script_under_test")  # its dataclasses look there
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module


SMALL = {"frequencies": 3, "size": 3}
LAYER: dict[str, Any] = {
    "dense": {"units": 5, "activation": "prelu"},
    "dropout": {"rate": 0.2},
    "glu": {"units": 4},
    "fan_out": {"members": 3},
    "batch_ensemble": {"units": 4, "activation": "prelu"},
    "heads": {"units": 4, "activation": "prelu"},
    "residual": {"layers": [{"units": 5}, {"name": "layer_norm"}, {"units": 6, "activation": "softmax"}]},
    "pbld": SMALL,
    "periodic": SMALL,
    "cosine": {"size": 3},
    "piecewise": {"bins": 4, "size": 2},
    "embedding": {"size": 2},
}
FAN_OUT = {"name": "fan_out", "members": 2}
NUMBERS_FIRST = ("pbld", "periodic", "cosine", "piecewise", "scale")


def of_layer(name: str) -> dict[str, Any]:
    """A net with that layer in it."""
    layer = {"name": name, **LAYER.get(name, {})}
    layers = [layer, {"units": 6, "activation": "silu"}] if name in (*NUMBERS_FIRST, "embedding") else [6, layer]
    layers = [FAN_OUT, *layers] if name in ("heads", "batch_ensemble") else layers
    codes = {"preprocess": {"categorical": {"name": "codes", "above": 2}}} if name == "embedding" else {}
    return {"target": "kind", "network": {"layers": layers}, **codes}


PARAMETRIC = {"name": "parametric", "activation": "mish"}
CASES: dict[str, dict[str, Any]] = {
    "classes": {"target": "kind", "network": {"layers": [8, {"units": 5, "activation": "gelu"}]}},
    "binary": {"target": "yes", "network": {"layers": [{"units": 6, "activation": PARAMETRIC}]}},
    "two classes": {"target": "yes", "loss": "cross_entropy"},
    "labels": {"target": ["l1", "l2"], "network": {"layers": [{"units": 6, "activation": "elu"}]}},
    "calibrated": {"target": "yes", "calibration": "temperature", "threshold": {"metric": "f1"}},
    "calibrated classes": {"target": "kind", "calibration": "temperature"},
    "numbers": {"target": ["y", "n"], "task": "regression", "network": {"layers": [6], "output_activation": None}},
    "float64": {"target": "y", "dtype": "float64", "preprocess": {"clamp": True}},
    "quantile": {"target": "y", "loss": {"name": "quantile", "levels": [0.05, 0.25, 0.5, 0.9]}},
    "gaussian": {"target": ["y", "n"], "task": "regression", "loss": "gaussian"},
    "poisson": {"target": "n", "task": "regression", "loss": "poisson"},
    "robust": {"target": "y", "preprocess": {"numeric": "robust"}},
    "quantiles": {"target": "kind", "preprocess": {"numeric": "quantile"}},
    "signs": {"target": "kind", "preprocess": {"categorical": "signs"}},
    "indicators": {"target": "kind", "preprocess": {"missing": {"value": -1}, "indicators": "auto"}},
    "focal": {"target": "kind", "loss": "focal"},
    "gamma": {"target": "y", "loss": "gamma"},
    "three nets": {"target": "kind", "ensemble": 3},
    "two nets of two classes": {"target": "yes", "ensemble": 2},
    "two nets of numbers": {"target": "y", "ensemble": 2, "loss": "gaussian", "preprocess": {"clamp": True}},
    "as they are": {"target": "yes", "preprocess": {"numeric": "none"}},
    "realmlp": {"target": "kind", "recipe": "realmlp", "network": {}},
    "members": {"target": "kind", "recipe": "tabm", "network": {"layers": [{"name": "embedding"}, FAN_OUT, 6]}},
    "members of two classes": {"target": "yes", "network": {"layers": [FAN_OUT, 6]}},
    "two nets of members": {"target": "y", "ensemble": 2, "loss": "gaussian", "network": {"layers": [6, FAN_OUT, 5]}},
    **{f"layer {name}": of_layer(name) for name in LAYERS},
}  # fmt: skip


def train(case: str, folder: Path) -> Path:
    """The run folder of a net of this kind, trained for a moment on a table in `folder`."""
    table = folder / "t.csv"
    if not table.exists():
        write(table, cells(ROWS, 7))
    settings = dict(CASES[case])
    data = {"train": str(table), "features": list(COLUMNS), "categorical": ["size"], "target": settings.pop("target")}
    if "task" in settings:
        data["task"] = settings.pop("task")
    name = "".join(c if c.isalnum() else "-" for c in case)
    base = {"name": name, "data": data, "threads": 1, "backend": "numpy", "output": str(folder / "runs")}
    training = {"epochs": 2, "batch_size": 32, "early_stopping": None}
    return fcnet.train({**base, "network": {"layers": [6]}, "training": training, **settings}, overwrite=True).path


def same(case: str, made: Any, expected: Any) -> None:
    """Equal labels; probabilities to 1e-5, numbers to 1e-5 of their size."""
    assert {*made} == {*expected}, case
    for name, values in expected.items():
        found = np.asarray(made[name]).reshape(-1)
        if np.asarray(values).dtype.kind in "OUSib":
            assert [str(v) for v in found] == [str(v) for v in values], (case, name)
        else:
            size = max(1.0, float(np.max(np.abs(values)))) if not math.isnan(float(np.sum(values))) else 1.0
            np.testing.assert_allclose(found, values, rtol=0, atol=1e-5 * size, err_msg=f"{case}: {name}")
