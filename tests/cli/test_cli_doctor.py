"""`doctor` says whether fcnet can do its work here, `warmup` compiles before a run has to wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet import extras, machine
from fcnet.config.recipes import RECIPES
from fcnet.extras import PackageFault
from fcnet.reports import doctor
from fcnet.training import warmup

needs_numba = pytest.mark.skipif(not find_spec("numba"), reason="compiles with Numba")


def found(out):
    """The findings of `doctor --json` by their names."""
    return {each["name"]: each for each in json.loads(out)["findings"]}


def test_doctor_finds_a_machine_that_can_train(call):
    """Versions, processor, BLAS, every package, the folders and a training are each a line, and the exit code is 0."""
    code, out, err = call("doctor")

    labels = [line[2:].split()[0] for line in out.splitlines() if line[2:3].strip()]
    assert (code, err) == (0, "")
    names = ["fcnet", "python", "numpy", "processor", "blas", "memory"]
    names += [extra.package or package for package, extra in extras.PACKAGES.items()]
    names += ["runs", "temporary", *(["kernels"] if find_spec("numba") else []), "training"]
    assert labels == names
    assert fcnet.__version__ in out
    assert np.__version__ in out
    assert "1.000 right, read back" in out


def test_doctor_says_it_to_programs(call):
    """--json has the same findings with their verdicts, and nothing of the training is left behind."""
    code, out, _ = call("doctor", "--json")

    assert code == 0
    assert json.loads(out)["ok"] is True
    assert found(out)["training"]["verdict"] == "ok"
    assert not list(Path().iterdir())


def test_what_is_missing_is_no_fault(call, monkeypatch):
    """A package that is not there has the command that installs it and what it would give."""
    monkeypatch.setattr("fcnet.extras._faults", {})
    monkeypatch.setattr("fcnet.extras.find_spec", lambda name: None)

    code, out, _ = call("doctor", "--json")

    numba = found(out)["numba"]
    assert (code, numba["verdict"]) == (0, "missing")
    assert numba["text"] == "not installed; pip install 'fcnet[fast]' gives compiled training steps"
    assert "kernels" not in found(out)


def test_a_broken_package_is_3(call, monkeypatch):
    """What `backend: numba` would end with is what the doctor ends with, and it says what to do."""
    broken = PackageFault("is installed, and cannot be used (x)", "pip install --upgrade 'fcnet[fast]'")
    monkeypatch.setattr("fcnet.extras._faults", {"numba": broken, "polars": None})
    monkeypatch.setattr("fcnet.extras.installed", lambda name: True)

    code, out, err = call("doctor", "--json")

    assert (code, json.loads(out)["ok"], found(out)["numba"]["verdict"]) == (3, False, "wrong")
    assert err == f"fcnet: numba {broken.what}; {broken.cure}\n"


def test_a_folder_that_cannot_be_written_is_6(call, monkeypatch):
    """The folder and why stand in the finding, and the rest is looked at all the same."""
    real = tempfile.TemporaryFile

    def refuse(*arguments, **options):
        if options.get("dir") == Path():
            raise PermissionError(13, "Permission denied", ".")
        return real(*arguments, **options)

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)

    code, out, err = call("doctor", "--json")

    assert (code, found(out)["runs"]["verdict"], found(out)["training"]["verdict"]) == (6, "wrong", "ok")
    assert "no permission" in err


def test_a_net_that_does_not_learn_is_8(call, monkeypatch):
    """The training is judged, not only made."""
    monkeypatch.setattr(doctor, "LEAST", 1.5)

    code, out, err = call("doctor")

    assert code == 8
    assert "! training" in out
    assert "learn the sign of a product" in err


@pytest.mark.parametrize(
    ("extensions", "bits"),
    [
        ({"baseline": ["SSE", "SSE2"], "found": ["AVX", "AVX2", "AVX512F"]}, 512),
        ({"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4"]}, 512),
        ({"baseline": ["SSE"], "found": ["AVX", "AVX2"]}, 256),
        ({"baseline": ["X86_V2"], "found": ["X86_V3"]}, 256),
        ({"baseline": ["X86_V2"], "found": ["X86_V3"], "not found": ["X86_V4"]}, 256),
        ({"baseline": ["SSE"], "not found": ["AVX2", "AVX512F"]}, 128),
        ({"baseline": ["NEON", "ASIMD"]}, 128),
        ({}, 128),
    ],
)
def test_the_width_of_vectors_is_what_numpy_finds(monkeypatch, extensions, bits):
    """Old and new names of NumPy for the same extensions give the same width."""
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": extensions})

    assert machine.vector_bits() == bits


def test_warmup_without_numba_is_3(call, monkeypatch):
    """It says what to install."""
    monkeypatch.setattr("fcnet.extras._faults", {})
    monkeypatch.setattr("fcnet.extras.installed", lambda name: False)

    code, _, err = call("warmup")

    assert code == 3
    assert "numba is not installed; pip install 'fcnet[fast]'" in err


@needs_numba
def test_warmup_of_a_config_says_where_kernels_are(call, tmp_path):
    """Of a config's net: how many kernels were compiled, how long it took, and where they are kept."""
    rows = "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(80))
    Path("t.csv").write_text("a,y\n" + rows)
    Path("c.yaml").write_text("data: {train: t.csv, target: y}\nnetwork: {layers: [4]}\n")

    code, out, _ = call("warmup", "c.yaml", "threads=1", "--json")
    _, text, _ = call("warmup", "c.yaml", "threads=1")

    done = json.loads(out)
    assert (code, done["nets"]) == (0, ["c"])
    assert 0 <= done["compiled"] <= done["kernels"]
    assert list(Path(done["folder"]).rglob("*.nbi"))
    assert re.match(r"kernels  \d+ compiled in [\d.]+ s, [\d,]+ in all\n", text)
    assert text.endswith(f"folder   {done['folder']}\n")


@needs_numba
def test_warmup_that_cannot_keep_kernels_is_6(call, monkeypatch):
    """Kernels in a temporary folder would be gone with the process, and nothing would be gained."""
    monkeypatch.setattr("fcnet.backends.numba.store.is_temporary", lambda path: True)

    code, _, err = call("warmup")

    assert code == 6
    assert "XDG_CACHE_HOME" in err


def command(folder, *words):
    """A command with a kernel folder of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(fcnet.__file__).parents[1]),
        "XDG_CACHE_HOME": str(folder / "c"),
    }
    return subprocess.run(
        [sys.executable, "-m", "fcnet", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_numba
@pytest.mark.long
def test_after_warmup_a_default_training_compiles_nothing(tmp_path):
    """Kernels of the default nets are there after it; before it, a run says that it compiles, and after it no run."""
    rows = "".join(f"{i % 7},{i % 5 / 3},{'uvw'[i % 3]},{'ab'[i % 2]}\n" for i in range(200))
    (tmp_path / "t.csv").write_text("a,b,c,y\n" + rows)
    train = ["train", "t.csv", "--target", "y", "backend=numba", "training.epochs=2"]

    first = command(tmp_path, "warmup")
    kernels = {path.name for path in (tmp_path / "c").rglob("*.nbi")}
    second = command(tmp_path, *train)

    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stderr.startswith("notice: compiling kernels once, about ")
    assert "compiling" not in second.stderr
    assert {path.name for path in (tmp_path / "c").rglob("*.nbi")} == kernels


@needs_numba
@pytest.mark.long
def test_a_run_that_compiles_says_so_to_people_and_programs(tmp_path):
    """The notice comes before the wait, on stderr or in the notices of `begin`; -q has none."""
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(80)))
    train = ["train", "t.csv", "--target", "y", "backend=numba", "training.epochs=2", "recipe=plain"]

    for more in ([], ["--progress", "jsonl"], ["-q"]):
        for path in (tmp_path / "c").rglob("*.nbi"):
            path.unlink()
        done = command(tmp_path, *train, *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("compiling kernels once, about ") == (0 if more == ["-q"] else 1)


@needs_numba
def test_the_net_of_every_recipe_can_be_warmed():
    """Packs too: a recipe that is added is among what is compiled by default."""
    names = []
    for name, prepared in warmup.standard(1):
        if name.startswith("two classes") and name.endswith("columns a b"):
            warmup.warm(prepared, 256)
            names.append(name.split(", ")[1])

    assert names == list(RECIPES)
