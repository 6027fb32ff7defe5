"""One schema for the header: whatever stands where, every command either does its work or ends with exit 5."""

from __future__ import annotations

import copy
import shutil
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from session_runs import go, settings

import fcnet
from fcnet.cli import main
from fcnet.errors import CheckpointError
from fcnet.files import Folder
from fcnet.runs import checkpoint

GONE = object()
VALUES = [
    GONE, None, True, False, 0, -1, 1, 2, 10**30, -(10**400), 0.5, -1.5, 1e308, "", "text", "0x1p+0", "nan", "a\0b",
    "x" * 500, "../..", [], [[]], ["a"], ["a", "a"], [1, True], {}, {"a": 1}, {"name": "relu"},
]  # fmt: skip


@pytest.fixture
def run(place):
    """A run on numbers and categories that has ended after two epochs, and is not scored yet."""
    path = go(settings(training={"epochs": 2}))[-1].run
    (path / "metrics.json").unlink()
    shutil.copytree(path, "whole")
    return path


def paths(node, way=()):
    """Every place in a header, the sections themselves included; of long lists the first two items."""
    items = node.items() if isinstance(node, dict) else enumerate(node[:2]) if isinstance(node, list) else ()
    for key, value in items:
        if (*way, key) != ("members",):
            yield (*way, key)
            yield from paths(value, (*way, key))


def changed(header, way, value):
    new = node = copy.deepcopy(dict(header))
    for key in way[:-1]:
        node = node[key]
    if value is GONE:
        del node[way[-1]]
    else:
        node[way[-1]] = copy.deepcopy(value)
    return new


def sealed(run, name, header, arrays):
    with Folder(run) as folder:
        checkpoint.write(folder, name, header, arrays)
    return run / name


def endings(run, way, value, capsys):
    """The exit codes of every command after one value of both headers was changed, and what they say on stderr."""
    shutil.rmtree(run)
    shutil.copytree("whole", run)
    for name in ("best.npz", "last.npz"):
        held = checkpoint.read(Path("whole") / name)
        if name == "last.npz" or way[0] not in ("state", "given"):
            sealed(run, name, changed(held.header, way, value), held.arrays)
    found = {}
    for args in (
        ["inspect", run], ["inspect", run, "--json"], ["eval", run], ["eval", run, "--data", "people.csv", "--json"],
        ["predict", "people.csv", "-c", run, "-o", "out.csv"], ["train", "c.yaml", f"--resume={run}"],
    ):  # fmt: skip
        code = main([*map(str, args)])
        found[" ".join(map(str, args[:1]))] = code, capsys.readouterr().err
    return found


def bad(run, way, value, capsys):
    """What no change of a header may lead to."""
    return {
        command: (code, said)
        for command, (code, said) in endings(run, way, value, capsys).items()
        # a run is resumed with the config that it was begun with
        if code not in (0, 4, 5) and not (command == "train" and code == 3)
    }


@how(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_header_is_a_bug(run, capsys, data):
    """Any value in any place of a well-sealed header is either harmless or exit 5 (4 where the data do not fit it)."""
    Path("c.yaml").write_text((Path("whole") / "config.yaml").read_text())
    places = sorted({*paths(checkpoint.read(Path("whole/last.npz")).header)}, key=repr)
    way = data.draw(st.sampled_from(places))
    value = data.draw(st.sampled_from(VALUES))

    assert bad(run, way, value, capsys) == {}


@pytest.mark.long
def test_every_value_in_every_place(run, capsys):
    """The same, for all of them."""
    Path("c.yaml").write_text((Path("whole") / "config.yaml").read_text())
    places = [*paths(checkpoint.read(Path("whole/last.npz")).header)]

    assert {
        (way, str(value)[:20]): found
        for way, value in product(places, VALUES)
        if (found := bad(run, way, value, capsys))
    } == {}


WRONG = {
    "step": [-1, True, 1.5, "3", None, 10**30],
    "epoch": [-1, True, 2.0, GONE],
    "classes": [["high", "low"], None, ["x", "y", "z"], GONE],
    "task": ["binary", "regression", GONE],
    "target/classes": [["low", "low", "mid"], [1, 2, 3]],
    "target/numeric_labels": ["yes", 1],
    "name": ["other", 3],
    "guess": [["a", "b", "c"], [True, False, False], [0.5, 0.5], [-1.0, 1.0, 1.0], None],
    "metrics/val_loss": ["low", True, []],
    "parts/train/rows": [-1, 0, "all", 1.0],
    "parts/test/sha256": ["", "0" * 63, "G" * 64, 5],
    "data/0/sha256": ["", None],
    "columns/dtype": ["float64", "int8"],
    "columns/columns/2/levels": [["a", "a"], [1, 2], GONE],
    "columns/columns/2/missing_level": [1, "no", GONE],
    "columns/file_columns": [[], [1], None],
    "machine": [[], {"cpu": []}],
    "run": [None, 5],
    "fcnet": [None, 1],
    "config/seed": [-1, 2**80, True, "x"],
    "config/backend": ["auto", "abacus"],
    "content": ["0" * 64, 1],
}


@pytest.mark.parametrize(("way", "value"), [(way, value) for way in WRONG for value in WRONG[way]])
def test_wrong_values_are_refused_with_their_place(run, capsys, way, value):
    """Wrong types, numbers out of range, and facts that disagree with their other copy are exit 5, by path."""
    held = checkpoint.read(run / "best.npz")
    keys = tuple(int(key) if key.isdigit() else key for key in way.split("/"))
    path = sealed(run, "best.npz", changed(held.header, keys, value), held.arrays)

    code = main(["inspect", str(path), "--json"])
    said = capsys.readouterr()

    assert (code, said.out) == (5, "")
    assert ".".join(key for key in way.split("/") if not key.isdigit()).split(".")[-1] in said.err
    with pytest.raises(CheckpointError):
        fcnet.load(path)


def test_resume_checks_the_header_too(run, capsys):
    """A last.npz whose state disagrees with the rest of its header is not gone on from."""
    held = checkpoint.read(run / "last.npz")
    Path("c.yaml").write_text((run / "config.yaml").read_text())
    for way, value in ((("step",), 3), (("state", "waited"), 99), (("state", "loss"), "nan"), (("classes",), ["q"])):
        sealed(run, "last.npz", changed(held.header, way, value), held.arrays)

        code = main(["train", "c.yaml", f"--resume={run}"])

        assert code == 5
        assert way[-1] in capsys.readouterr().err


def test_header_that_fcnet_writes_has_no_contradiction(run):
    """What is written is what may be read: best.npz and last.npz of a run are whole."""
    for name in ("best.npz", "last.npz"):
        assert fcnet.load(run / name).header["target"]["classes"] == fcnet.load(run / name).header["classes"]
