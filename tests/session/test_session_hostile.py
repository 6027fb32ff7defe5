"""Checkpoints with a right seal and wrong content: refused with exit 5, before they cost memory or time."""

from __future__ import annotations

import copy
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from session_runs import go, settings

import fcnet
from fcnet import api
from fcnet.cli import main
from fcnet.errors import CheckpointError, DataError
from fcnet.files import Folder
from fcnet.runs import checkpoint


@pytest.fixture
def held(place):
    """The best.npz of a small run."""
    return checkpoint.read(go(settings(training={"epochs": 1}))[-1].run / "best.npz")


def forge(held, header=None, arrays=None, name="forged.npz"):
    """A well-sealed checkpoint with parts replaced: dotted paths in the header, whole arrays (None: left out)."""
    new = copy.deepcopy(dict(held.header))
    for path, value in (header or {}).items():
        node = new
        *way, last = path.split("/")
        for key in way:
            node = node[int(key) if isinstance(node, list) else key]
        if value is KeyError:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
    both = {**held.arrays, **(arrays or {})}
    with Folder(Path()) as folder:
        checkpoint.write(folder, name, new, {key: array for key, array in both.items() if array is not None})
    return Path(name)


ARRAYS = {
    "shape": ({"W1": np.zeros((3, 4), np.float32)}, r"W1 has the shape \(3, 4\), and the config inside needs \(8, 5\)"),
    "missing": ({"b2": None}, "b2 is missing"),
    "extra": ({"W9": np.zeros((3, 4), np.float32)}, "W9 is no part of the net"),
    "dtype": ({"W1": np.zeros((8, 5), np.float64)}, "W1 is float64, and the config inside says float32"),
    "no-mean": ({"preprocess/mean": None}, "preprocess/mean"),
    "long-mean": ({"preprocess/mean": np.zeros(7)}, r"preprocess/mean: it is float64 \(7,\)"),
    "scale-0": ({"preprocess/scale": np.zeros(2)}, "preprocess/scale: it must be greater than 0"),
    "extra-preprocessing": ({"preprocess/secret": np.zeros(2)}, "preprocess/secret"),
    "target-scale": ({"preprocess/target_mean": np.zeros(1)}, "preprocess/target_mean"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_do_not_fit_are_named(held, case):
    """Missing, extra and misshapen arrays are named with both shapes, and nothing is predicted."""
    arrays, said = ARRAYS[case]

    with pytest.raises(CheckpointError, match=said) as refused:
        fcnet.load(forge(held, arrays=arrays))

    assert "forged.npz" in str(refused.value)


HEADERS = {
    "unknown-activation": ({"config/network/layers/0/activation": "exec"}, "exec"),
    "unknown-key": ({"config/network/secret": 1}, "secret"),
    "huge-layer": ({"config/network/layers/0/units": 10**9}, r"\(1000000000, 5\)"),
    "endless-layer": ({"config/network/layers/0/units": 10**30}, "units"),
    "no-config": ({"config": KeyError}, "config"),
    "config-list": ({"config": []}, "inside is wrong"),
    "columns-list": ({"columns": []}, "garbles"),
    "column-kind": ({"columns/columns/0/kind": "code"}, "garbles"),
    "column-name": ({"columns/columns/0/name": 3}, "name"),
    "column-dtype": ({"columns/dtype": "object"}, "dtype"),
    "columns-twice": ({"columns/columns/0/name": "height"}, "twice"),
    "levels": ({"columns/columns/2/levels": ["a", "a", "b"]}, "twice"),
    "levels-number": ({"columns/columns/2/levels": 5}, "garbles"),
    "task": ({"target/task": "magic"}, "target.task"),
    "no-classes": ({"target/classes": None}, "classes"),
    "few-classes": ({"target/classes": ["a"]}, "classes"),
    "class-type": ({"target/classes": ["a", [], "b"]}, r"target\.classes\[1\]"),
    "no-targets": ({"target/targets": []}, "targets"),
    "other-loss": ({"config/loss": "squared_error"}, "squared_error"),
    "other-metric": ({"config/metrics": ["rmse"]}, "rmse"),
    "newer": ({"format": [2, 0]}, r"written by fcnet 2\.x"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_make_no_sense_are_refused(held, case):
    """A config that fcnet does not know, or that the arrays do not fit, is exit 5 by arithmetic alone."""
    header, said = HEADERS[case]
    if case == "newer":
        held.header["format"] = [2, 0]
    try:
        path = forge(held, header if case != "newer" else None)
    finally:
        held.header["format"] = [1, 0]
    tracemalloc.start()

    try:
        with pytest.raises(CheckpointError, match=said):
            fcnet.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 20e6


EVAL = {
    "no-guess": {"guess": KeyError},
    "short-guess": {"guess": [0.5]},
    "text-guess": {"guess": ["a", "b", "c"]},
    "no-parts": {"parts": KeyError},
    "text-rows": {"parts/test/rows": "many"},
    "no-data": {"data": None},
    "role": {"data/0/role": "secret"},
    "no-paths": {"data/0/paths": []},
    "absolute": {"data/0/paths": ["/etc/passwd"]},
    "windows": {"data/0/paths": ["C:\\secret.txt"]},
    "home": {"data/0/paths": ["~/secret.txt"]},
    "second-file": {"config/data/test": "../../../../etc/passwd"},
    "absolute-config": {"config/data/test": "/etc/passwd"},
    "no-epoch": {"epoch": KeyError},
}


@pytest.mark.parametrize("case", EVAL)
def test_eval_of_a_garbled_header_is_refused(held, case, capsys):
    """What `eval` needs and does not find is exit 5 in one line; no path outside is read or shown."""
    path = forge(held, EVAL[case])

    code = main(["eval", str(path)])
    said = capsys.readouterr()

    assert code == 5
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "root:" not in said.err


def test_relative_path_upwards_is_read_only_with_the_recorded_hash(held, capsys):
    """A path that leads to another file is tried, found not to have the recorded hash, and nothing of it is shown."""
    Path("people.csv").unlink()
    up = "../" * 20 + "etc/passwd"

    code = main(["eval", str(forge(held, {"data/0/paths": [up, "people.csv"]}))])
    said = capsys.readouterr()

    assert code == 4
    assert "--data" in said.err
    assert "root:" not in said.err


def test_paths_that_cannot_be_read_are_no_files(held):
    """Pipes, folders, devices and unreadable names among the recorded paths are passed over, and never waited for."""
    os.mkfifo("pipe")
    Path("folder").mkdir()
    paths = ["pipe", "folder", "a\0b", "x" * 5000, "../" * 20 + "dev/zero", "people.csv"]

    assert api.evaluate(forge(held, {"data/0/paths": paths}))["part"] == "test"


def test_unknown_keys_of_the_header_are_ignored(held):
    """A later minor version may add keys and say so; this reader goes on."""
    path = forge(held, {"future": {"a": 1}, "columns/future": 2, "target/future": 3})

    assert fcnet.load(path).predict("people.csv").shape == (60,)


def test_checkpoint_on_a_table_with_other_columns_names_them(held):
    """`eval` and `predict` of a table without the columns of training name what is missing."""
    Path("other.csv").write_text("age,kind\n1,low\n")

    for act in (
        lambda: api.evaluate(held.path, data="other.csv"),
        lambda: api.predict("other.csv", Path("out.csv"), checkpoint=held.path),
    ):
        with pytest.raises(DataError, match='"height", "job"'):
            act()


def test_code_in_a_checkpoint_is_never_run(place, tmp_path):
    """A pickle where an array should be is refused, and what it would have done is not done."""

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "canary"),))

    np.savez("evil.npz", W1=np.array([Evil()], dtype=object))
    Path("evil2.npz").write_bytes(pickle.dumps(Evil()))

    for name in ("evil.npz", "evil2.npz"):
        with pytest.raises(CheckpointError):
            fcnet.load(name)
    assert not (tmp_path / "canary").exists()
