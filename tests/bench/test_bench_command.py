"""`fcnet bench` from the command line."""

from __future__ import annotations

import json
import re

import pytest

from fcnet import signals
from fcnet.cli import main
from fcnet.training import timing


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(signals, "install", lambda: None)
    monkeypatch.setattr(timing, "REPETITIONS", 1)
    monkeypatch.setattr(timing, "SECONDS", 0.001)
    rows = "".join(f"{i % 7},{i % 5},{'yes' if i % 7 > i % 5 else 'no'}\n" for i in range(60))
    (tmp_path / "table.csv").write_text("a,b,answer\n" + rows)
    (tmp_path / "small.yaml").write_text("data: {train: table.csv, target: answer}\nnetwork: {layers: [8, 4]}\n")

    def run(*arguments):
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_it_shows_the_step_and_its_layers_and_what_comes_next(call):
    """For people: the net, each backend's step, a line a layer, and the command that trains."""
    code, out, _ = call("bench", "small.yaml", "backend=numpy", "optimizer.lr=0.01")

    assert code == 0
    assert out.startswith("small    2 → 8 relu → 4 relu → ")
    assert re.search(r"^ +numpy +[\d,.]+ +[\d,.]+ .* ×$", out, re.MULTILINE)
    for i, sizes in enumerate(("2 → 8", "8 → 4"), 1):
        assert f"layer {i}: {sizes}" in out
    assert out.splitlines()[-1] == "next     fcnet train small.yaml backend=numpy optimizer.lr=0.01"


def test_it_fits_a_terminal_of_80_columns(call, monkeypatch):
    """On 80 columns, and where nobody says how many there are, the tables are set closer."""
    monkeypatch.delenv("COLUMNS")

    _, out, _ = call("bench", "small.yaml", "backend=numpy")

    assert max(map(len, out.splitlines())) <= 80


def test_json_is_one_object_whose_parts_make_up_the_step(call):
    """For programs: every backend with its step, its products, its ratio, and its layers, in seconds."""
    code, out, _ = call("bench", "small.yaml", "backend=numpy", "network.input_dropout=0.1", "--json")

    found = json.loads(out)
    assert code == 0
    assert found["widths"][:3] == [2, 8, 4]
    assert found["backend"] == next(iter(found["backends"])) == "numpy"
    numpy = found["backends"]["numpy"]
    assert numpy["ratio"] == pytest.approx(numpy["step"]["median"] / numpy["products"]["median"])
    assert [layer["layer"] for layer in numpy["layers"]] == [0, 1, 2, 3]
    assert sum(layer["forward"]["median"] for layer in numpy["layers"]) == pytest.approx(numpy["forward"]["median"])
    assert sum(layer.get("update", 0) for layer in numpy["layers"]) == pytest.approx(numpy["update"]["median"])


def test_it_writes_nothing(call, tmp_path):
    """Timing leaves no run folder behind."""
    before = sorted(tmp_path.rglob("*"))

    call("bench", "small.yaml", "backend=numpy")

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["missing.yaml"], 3, "missing.yaml"),
        (["small.yaml", "network.layer=[8]"], 3, "did you mean layers?"),
        (["small.yaml", "data.train=nothing.csv"], 4, "nothing.csv"),
        ([], 2, "CONFIG"),
    ],
    ids=["no-config", "unknown-key", "no-data", "no-argument"],
)
def test_what_is_wrong_is_said_as_train_says_it(call, arguments, code, said):
    """A wrong command line, config or table ends with the exit code and the words of the other commands."""
    found = call("bench", *arguments)

    assert found[0] == code
    assert said in found[2]
    assert "Traceback" not in found[2]


def test_the_help_opens_with_an_example(call):
    """`fcnet bench --help` shows first what to type."""
    code, out, _ = call("bench", "--help")

    assert code == 0
    assert out.startswith("Example:\n  fcnet bench config.yaml\n")
