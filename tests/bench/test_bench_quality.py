"""The benchmark of recipes: what it keeps of a run, and what it draws of several."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality.py"


@pytest.fixture(scope="module")
def quality():
    """benchmarks/quality.py as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_of_quality", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[:] = path
    yield module
    del sys.modules[spec.name]


FIGURES = {
    "quality=fast": {"churn": [[0.9595, 0.946], [3.0, 5.0]], "uci_kin8nm": [[0.0688, 0.0688], [4.0, 4.0]]},
    "quality=<best>": {"churn": [[0.9662], [90.0]], "uci_kin8nm": [[0.0344], [110.0]]},
}


def test_figures_that_were_kept_are_taken_in(quality, tmp_path):
    """Errors are divided by the tuned MLP's: one minus the accuracy, or the root mean squared error."""
    path = tmp_path / "f.json"
    path.write_text(json.dumps(FIGURES))

    found = quality.held(path)

    assert [r.ratio for r in found["quality=fast"]] == pytest.approx([(0.0405 + 0.054) / 2 / 0.0675, 1.0])
    assert [r.ratio for r in found["quality=<best>"]] == pytest.approx([0.0338 / 0.0675, 0.5])
    assert "| quality=fast | 0.837 |" in quality.text(found)


def test_the_picture_has_every_model_where_its_figures_are(quality, tmp_path):
    """A better model stands lower, a slower one further to the right, and published models are lines."""
    path = tmp_path / "f.json"
    path.write_text(json.dumps(FIGURES))

    root = ET.fromstring(quality.picture(quality.held(path)))

    said = ["".join(each.itertext()) for each in root if each.tag.endswith("text")]
    dots = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in root if each.tag.endswith("circle")]
    assert [text for text in said if text.startswith("quality=")] == ["quality=fast 0.837", "quality=<best> 0.500"]
    assert dots[0][0] < dots[1][0]
    assert dots[0][1] < dots[1][1]
    assert sum(text.endswith("tuned, published") for text in said) == 3
