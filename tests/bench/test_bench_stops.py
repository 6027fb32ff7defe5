"""A cell passes few functions on its way to the parameters, and on its way to a prediction."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "stops.py"
LIMITS = {"training": (45, 20), "predicting": (30, 15)}


@pytest.fixture(scope="module")
def stops() -> Iterator[ModuleType]:
    """benchmarks/stops.py as a module."""
    spec = importlib.util.spec_from_file_location("stops", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    sys.modules["stops"] = module
    spec.loader.exec_module(module)
    sys.path[:] = path
    yield module
    del sys.modules["stops"]


def test_a_cell_passes_few_functions(stops: ModuleType) -> None:
    """From the CSV to θ and from the CSV to a prediction, the functions that hand a cell on are few, in few files."""
    ways = stops.ways()

    for name, (most, most_files) in LIMITS.items():
        found = list(ways[name].stops)
        files = {stop.partition(":")[0] for stop in found}
        assert len(found) <= most, f"{name}: {ways[name]}"
        assert len(files) <= most_files, f"{name}: {ways[name]}"
        assert found[0].startswith("data/opened.py:"), "the file is where it begins"
        assert "backends/base.py" in files, "the net is where it ends"


PLANTED = {
    "hands_on": ("def hands_on(x): return [x]", "stops"),
    "makes": ("def makes(x): return '7.654321,1'", "stops"),
    "yields": ("def yields(x):\n    yield 1\n    yield x", "stops"),
    "fills": ("def fills(x): x['out'][2] = 7.654321", "stops"),
    "looks": ("def looks(x): return len(x)", "looks"),
    "has_nothing": ("def has_nothing(x): return x", None),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_hook_knows_who_hands_on_and_who_looks(stops: ModuleType, name: str) -> None:
    """A function that returns, yields or fills in the cell is a stop; one that is given it alone only looks."""
    source, kind = PLANTED[name]
    space: dict[str, Any] = {}
    exec(compile(source, stops.PACKAGE + "planted.py", "exec"), space)
    given: Any = {"fills": {"out": np.zeros(4)}, "has_nothing": ["7.6"]}.get(name, ["a 7.654321"])

    with stops.following(stops.Followed(("7.654321",), (7.654321,))) as way:
        found = space[name](given)
        if name == "yields":
            list(found)

    assert {"stops": list(way.stops), "looks": list(way.looks)} == {
        "stops": [f"planted.py:{name}"] if kind == "stops" else [],
        "looks": [f"planted.py:{name}"] if kind == "looks" else [],
    }
