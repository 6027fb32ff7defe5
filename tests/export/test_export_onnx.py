"""ONNX files: what a reader finds in them, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from export_cases import cells, train, write

import fcnet
from fcnet import extras
from fcnet.cli import main
from fcnet.errors import UsageError
from fcnet.export import export
from fcnet.runs.folder import resolve
from fcnet.runs.model import Predictor

PLAIN = {
    "Add", "And", "ArgMax", "Cast", "Concat", "Div", "Equal", "Exp", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "IsNaN", "LabelEncoder", "Less", "MatMul", "Max", "Mul", "ReduceMax", "ReduceSum", "Sub", "Where",
}  # fmt: skip


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A net of three classes."""
    folder = tmp_path_factory.mktemp("onnx")
    return Predictor.read(resolve(train("two classes", folder)))


def read(path):
    """The file, as its package reads it."""
    import onnx

    return onnx.load(path)


def test_columns_are_inputs_and_classes_outputs(net, tmp_path):
    """An input a column in the order of the file, numbers or texts (N, 1); `prediction` (N), `probabilities` (N, K)."""
    export(net, "onnx", tmp_path / "net.onnx")
    graph = read(tmp_path / "net.onnx").graph

    def said(each):
        kind = each.type.tensor_type
        return each.name, kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim]

    number, text = 1, 8
    kinds = {"age": number, "big year": number, "job": text, "city": text, "flag": text, "size": text}
    assert [said(each) for each in graph.input] == [(name, kind, ["N", 1]) for name, kind in kinds.items()]
    assert [said(each) for each in graph.output] == [
        ("prediction", text, ["N"]),
        ("probabilities", number, ["N", 2]),
    ]


@pytest.mark.parametrize("strings", ["in-graph", "codes"])
def test_operations_are_plain_and_old(net, strings, tmp_path):
    """Opset 17; LabelEncoder for texts alone, and with codes no text and no other domain at all."""
    export(net, "onnx", tmp_path / "net.onnx", strings)
    model = read(tmp_path / "net.onnx")

    found = {node.op_type for node in model.graph.node}
    assert found <= PLAIN
    assert {each.domain: each.version for each in model.opset_import} == (
        {"": 17, "ai.onnx.ml": 3} if strings == "in-graph" else {"": 17}
    )
    assert ("LabelEncoder" in found) == (strings == "in-graph")
    assert any(each.data_type == 8 for each in model.graph.initializer) == (strings == "in-graph")


def test_metadata_have_the_vocabulary(net, tmp_path):
    """Task, targets, classes, and the categories of each column in the order of their codes."""
    export(net, "onnx", tmp_path / "net.onnx", "codes")
    found = {each.key: json.loads(each.value) for each in read(tmp_path / "net.onnx").metadata_props}

    assert (found["task"], found["targets"], found["classes"]) == ("binary", ["yes"], ["no", "yes"])
    assert found["columns"][:2] == [{"name": "age", "kind": "number"}, {"name": "big year", "kind": "number"}]
    job = {"vocabulary": ["=müller", "naïve", 'say "cook"', "smith, black"], "missing": 4}
    assert found["columns"][2] == {"name": "job", "kind": "category", **job}
    assert found["columns"][4] == {"name": "flag", "kind": "category", "vocabulary": ["False", "True"], "missing": -1}


def test_digits_that_float32_has_not_are_refused(tmp_path):
    """Numbers that differ behind the digits of an input: the message says so, and no file appears."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random(80) < 0.5, 1.0, -1.0)
    write(tmp_path / "t.csv", {"id": [repr(1e9 + v) for v in y.tolist()], "y": ["ab"[int(v > 0)] for v in y]})
    settings = {"data": {"train": str(tmp_path / "t.csv"), "target": "y"}, "output": str(tmp_path), "backend": "numpy"}
    run = fcnet.train({**settings, "network": {"layers": [4]}, "training": {"epochs": 30}})

    for name in ("onnx", "c"):
        path = tmp_path / f"net.{name}"
        with pytest.raises(UsageError, match=r'column "id" needs more digits than float32 has; .* --format python'):
            export(Predictor.read(resolve(run.path)), name, path)
        assert not path.exists()
    assert export(Predictor.read(resolve(run.path)), "python", tmp_path / "net.py").difference < 1e-5


def test_texts_that_data_missing_lists_are_missing_in_the_check(tmp_path):
    """Cells of the training file that mean a missing category are none that training has not seen."""
    jobs = ["cook", "smith", "-"] * 20
    rows = [f"{job},{'yes' if job == '-' else 'no'}" for job in jobs]
    (tmp_path / "t.csv").write_text("\n".join(["job,y", *rows, ""]))
    data = {"train": str(tmp_path / "t.csv"), "target": "y", "missing": ["-"]}
    config = {"data": data, "network": {"layers": []}, "training": {"epochs": 40}, "optimizer": {"lr": 0.1}}
    run = fcnet.train({**config, "output": str(tmp_path), "backend": "numpy"}).path

    assert export(Predictor.read(resolve(run)), "onnx", tmp_path / "net.onnx").of == "training rows and drawn ones"


def test_a_column_called_like_an_output_is_refused(tmp_path):
    """Two things of a graph cannot have one name."""
    table = {"prediction": list(range(30)), "y": ["ab"[i % 2] for i in range(30)]}
    write(tmp_path / "t.csv", table)
    data = {"train": str(tmp_path / "t.csv"), "target": "y", "features": ["prediction"]}
    run = fcnet.train({"data": data, "output": str(tmp_path), "network": {"layers": [2]}, "training": {"epochs": 1}})

    with pytest.raises(UsageError, match='column "prediction" is called like an output of the graph'):
        export(Predictor.read(resolve(run.path)), "onnx", tmp_path / "net.onnx")


def test_without_the_package_the_command_says_what_to_install(net, tmp_path, monkeypatch, capsys):
    """Exit code 2, in one line."""
    monkeypatch.setattr(extras, "_faults", {})
    monkeypatch.setattr(extras, "installed", lambda package: False)

    assert main(["export", str(net.path), "--format", "onnx", "-o", str(tmp_path / "net.onnx")]) == 2
    assert "the package onnx is not installed: pip install 'fcnet[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()


def test_other_names_than_the_formats_are_refused(net, tmp_path, capsys):
    """A name that says another format, and the checkpoint itself."""
    assert main(["export", str(net.path), "--format", "onnx", "-o", str(tmp_path / "net.py")]) == 2
    assert "end the name in .onnx" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["c", "python"])
def test_codes_are_refused_where_categories_are_texts(net, tmp_path, capsys, kind):
    """An option that would change nothing is wrong usage, and nothing is written."""
    path = tmp_path / f"net.{'py' if kind == 'python' else kind}"

    assert main(["export", str(net.path), "--format", kind, "--strings", "codes", "-o", str(path)]) == 2
    said = f"--strings codes: {kind} takes categories as texts; leave it out, or write --format onnx"
    assert said in capsys.readouterr().err
    assert not path.exists()


def test_labels_keep_their_types(tmp_path):
    """Whole numbers come out as int64, fractions as float64, booleans as booleans."""
    columns = cells(60, 3)
    kinds = {"i": ([3, 7], 7), "f": ([0.5, 2.5], 11), "b": (["True", "False"], 8)}
    for name, (values, kind) in kinds.items():
        write(tmp_path / "t.csv", {"age": columns["age"], "y": [values[i % 2] for i in range(60)]})
        data = {"train": str(tmp_path / "t.csv"), "target": "y", "task": "binary"}
        run = fcnet.train(
            {"data": data, "output": str(tmp_path), "network": {"layers": [2]}, "training": {"epochs": 1}}
        )
        export(Predictor.read(resolve(run.path)), "onnx", tmp_path / f"{name}.onnx")
        assert read(tmp_path / f"{name}.onnx").graph.output[0].type.tensor_type.elem_type == kind, name
    assert "onnx" in sys.modules
