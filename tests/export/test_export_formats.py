"""What every format holds to: it predicts what the net does, whatever the layers, the encodings and the loss."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from export_cases import CASES, given, loaded, odd_rows, same, train

import fcnet
from fcnet import data as tables
from fcnet.data import Tally
from fcnet.export import FORMATS, export
from fcnet.export.checking import Samples
from fcnet.export.format import Wish
from fcnet.export.graph import record
from fcnet.export.onnx import told as onnx_told
from fcnet.runs.folder import resolve
from fcnet.runs.model import Predictor

CC = shutil.which("cc") or shutil.which("gcc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANE = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
with_ort = pytest.mark.skipif(not (find_spec("onnx") and find_spec("onnxruntime")), reason="runs ONNX")
with_cc = pytest.mark.skipif(not CC, reason="compiles C")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the nets of this file are trained."""
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module", params=CASES)
def case(request, folder):
    """The name and the run folder of a net of each kind."""
    return request.param, train(request.param, folder)


def built(path: Path, *flags: str) -> str:
    """What a C file's self-test says."""
    name = path.with_suffix("")
    command = [str(CC), *STRICT, *flags, f"-D{path.stem}_SELF_TEST", str(path), "-o", str(name)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([str(name)], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def inferred(path: Path, columns: dict) -> dict:
    """The outputs of an ONNX file, by onnxruntime: its inputs say whether they take numbers, texts or codes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = {each["name"]: each for each in json.loads(session.get_modelmeta().custom_metadata_map["columns"])}
    feed = {}
    for each in session.get_inputs():
        cells = columns[each.name]
        assert each.shape == ["N", 1]
        if each.type == "tensor(string)":
            feed[each.name] = np.array(cells, object).reshape(-1, 1)
        elif each.type == "tensor(int64)":
            known = about[each.name]["vocabulary"]
            places = [known.index(v) if v in known else about[each.name]["missing"] if v == "" else -1 for v in cells]
            feed[each.name] = np.array(places, np.int64).reshape(-1, 1)
        else:
            feed[each.name] = np.asarray(cells, np.float32).reshape(-1, 1)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def of(model: Predictor, rows: dict) -> Samples:
    """Rows with what the net predicts of them."""
    about = model.config.data, model.encoder, model.target, Tally(ranges=False)
    ((inputs, _),) = tables.stream(given(rows), *about)
    columns = {
        feature.name: np.array([np.nan if v is None else v for v in rows[feature.name]], np.float64)
        if feature.kind == "number"
        else ["" if v is None else v for v in rows[feature.name]]
        for feature in model.encoder.features
    }
    return Samples(columns, inputs, model.probabilities(inputs), "odd rows")


def test_a_script_predicts_what_the_net_does(case, folder):
    """From columns with missing, unknown and strange cells too."""
    name, run = case
    done = export(Predictor.read(resolve(run)), "python", folder / "net.py")

    rows = odd_rows()
    same(name, loaded(folder / "net.py").predict(rows), fcnet.load(run).predict_columns(given(rows)))
    assert done.rows > 100
    assert done.difference < 1e-5


@with_cc
def test_c_predicts_what_the_net_does(case, folder):
    """It compiles without a warning, and its own test holds for rows with missing and unknown cells."""
    model = Predictor.read(resolve(case[1]))
    assert export(model, "c", folder / "net.c").difference < 1e-5
    made = FORMATS["c"].files(record(model), Wish("odd"), of(model, odd_rows()))

    for suffix, text in made.items():
        (folder / f"odd{suffix}").write_bytes(text)
    assert built(folder / "odd.c", *SANE) == "24 rows as predicted\n"


@with_ort
@pytest.mark.parametrize("strings", ["in-graph", "codes"])
def test_onnx_predicts_what_the_net_does(strings, case, folder):
    """By onnxruntime, for any number of rows, none too; with categories as texts, or as codes of the vocabulary."""
    model = Predictor.read(resolve(case[1]))
    assert export(model, "onnx", folder / "net.onnx", strings).difference < 1e-5
    rows, expected = of(model, odd_rows()), fcnet.load(case[1]).predict_columns(given(odd_rows()))

    same(case[0], onnx_told(record(model), inferred(folder / "net.onnx", rows.columns)), expected)
    one = {name: cells[:1] for name, cells in rows.columns.items()}
    assert all(len(each) == 1 for each in inferred(folder / "net.onnx", one).values())
    none = {name: cells[:0] for name, cells in rows.columns.items()}
    assert all(len(each) == 0 for each in inferred(folder / "net.onnx", none).values())
