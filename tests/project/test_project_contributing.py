"""CONTRIBUTING.md is right: what it shows as an addition works as an addition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tapes import EagerArrays

from fcnet import metrics
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply
from fcnet.formulas import Formula, Sym
from fcnet.metrics import METRICS, Metric
from fcnet.nn import activations

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def shown(name: str, module: object) -> Any:
    """The class or function `name` from the document, defined as if it stood in `module`."""
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL) if name in block]
    namespace = dict(vars(module))
    exec(compile(source, "CONTRIBUTING.md", "exec"), namespace)
    return namespace[name]


def computed(expression: Any, **arrays: Any) -> Any:
    """The value of an expression, by the NumPy backend."""
    out = np.empty_like(arrays["a"])
    k = EagerArrays(NumpyBackend())
    k.add(Apply(Formula({"out": expression}), k.refs(arrays), {"out": k.ref(out)}))
    return out


def test_the_activation_shown_is_one() -> None:
    """The example has every member of an activation, and its vjp is the derivative of its f."""
    example = shown("Softsign", activations)()
    a, δ = np.array([[-2.0, -0.5, 0.25, 3.0]]), np.array([[1.0, -2.0, 0.5, 4.0]])
    z = computed(example.f(Sym("a")), a=a)

    ε = computed(example.vjp(Sym("a"), Sym("z"), Sym("δ")), a=a, z=z, δ=δ)

    slope = (computed(example.f(Sym("a")), a=a + 1e-6) - computed(example.f(Sym("a")), a=a - 1e-6)) / 2e-6
    assert ε == pytest.approx(δ * slope, rel=1e-8)
    assert {name for name in dir(example) if not name.startswith("_")} >= {"name", "family", "f", "vjp"}


def test_the_metric_shown_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's function and its entry, as printed, make a metric that can be chosen by name."""
    (entry,) = re.findall(r"`\"max_error\": (Metric\(.*?\))`", TEXT)
    example: Metric = eval(entry, {**vars(metrics), "max_error": shown("max_error", metrics)})
    monkeypatch.setitem(METRICS, example.name, example)

    (chosen,) = metrics.chosen(["max_error"], "regression")

    assert chosen.value(np.array([[1.0], [2.0]]), np.array([[1.5], [0.0]])) == 2.0
    assert chosen.better(1.0, 2.0)


def test_every_path_named_exists() -> None:
    """Files, folders and registries that the document sends people to are there."""
    root = Path(__file__).parents[2]
    registries = re.findall(r"`([A-Z]{5,})`", TEXT)
    source = "\n".join(path.read_text(encoding="utf-8") for path in (root / "fcnet").rglob("*.py"))

    missing = [p for p in re.findall(r"`((?:fcnet|tests|docs|\.ci)/[\w/.]+)`", TEXT) if not (root / p).exists()]

    assert not missing
    assert len(registries) >= 6
    assert not [name for name in registries if f"\n{name}: dict[" not in source]
