"""Checkpoints last: those of earlier releases load, NumPy alone reads them, and a copy works anywhere."""

from __future__ import annotations

import csv
import getpass
import hashlib
import json
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from session_runs import go, settings

import fcnet
from fcnet import api, config
from fcnet.errors import DataError
from fcnet.runs import checkpoint, session

ROOT = Path(__file__).parents[2]
KEPT = sorted((Path(__file__).parent / "kept").iterdir())


def table(path):
    """The rows of a CSV file, each by column."""
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("release", KEPT, ids=lambda path: path.name)
def test_checkpoint_of_a_release_predicts_as_it_did_then(place, release):
    """The checkpoints of every release load, and predict what they predicted then."""
    expected = table(release / "expected.csv")

    for name in ("best.npz", "last.npz"):
        api.predict(str(release / "rows.csv"), place / "out.csv", checkpoint=release / name)
        found = table(place / "out.csv")
        if name == "best.npz":
            assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
            for key in expected[0].keys() - {"prediction"}:
                a, b = (np.array([float(row[key]) for row in rows]) for rows in (found, expected))
                assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize("release", KEPT, ids=lambda path: path.name)
def test_run_of_a_release_can_be_resumed(place, release):
    """The last checkpoint of every release can be gone on from."""
    shutil.copy(release / "rows.csv", "rows.csv")
    shutil.copytree(release, "runs/rows")

    found = config.load(release / "config.yaml", ["data.train=rows.csv", "training.epochs=4"])
    done = list(session.training(found, resume=Path("runs/rows")))[-1]

    assert done.summary["epochs"] == 4


def test_this_release_is_kept():
    """Whoever releases a version leaves one of its checkpoints here."""
    assert fcnet.__version__ in [path.name for path in KEPT]


def numbers_run(**more):
    rng = np.random.default_rng(3)
    lines = ["a,b,c,y"]
    for i in range(80):
        a, b, c = rng.normal(size=3) * [1, 10, 0.1] + [5, 0, 2]
        lines.append(f"{a:.3f},{'' if i % 9 == 4 else f'{b:.2f}'},{c:.4f},{'xyz'[int(a > 5) + int(b > 3 and a > 5)]}")
    Path("numbers.csv").write_text("\n".join(lines) + "\n")
    mapping = settings(data={"train": "numbers.csv", "target": "y", "weight": None}, **more)
    mapping["network"] = {"layers": [9, 7], "activation": "relu", "dropout": 0.1}
    return go(mapping)[-1].run


def test_dozen_lines_of_numpy_give_the_probabilities(place):
    """The lines of docs/checkpoint.md rebuild a plain net from best.npz and agree with `fcnet predict` to 1e-6."""
    run = numbers_run()
    api.predict("numbers.csv", place / "out.csv", checkpoint=run)
    rows = table(Path("numbers.csv"))
    cells = np.array([[float(row[name] or "nan") for name in "abc"] for row in rows])
    text = (ROOT / "docs/checkpoint.md").read_text()
    columns, code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(run / "best.npz", "best.npz")

    names = {"cells": cells}
    exec(code, names)
    exec(columns, names)
    found = [[float(row[f"p({label})"]) for label in "xyz"] for row in table(place / "out.csv")]

    assert (names["columns"], names["levels"]) == (list("abc"), {})
    assert np.abs(names["p"] - np.array(found)).max() < 1e-6
    assert len(code.strip().splitlines()) <= 14


def test_documented_keys_are_those_of_a_checkpoint(place):
    """docs/checkpoint.md names every key of the header, and no other."""
    run = numbers_run()
    text = (ROOT / "docs/checkpoint.md").read_text()
    table = text[text.index("The header's keys") : text.index("## The version rule")]
    documented = {
        key for line in table.splitlines() for key in re.findall(r"`(\w+)`", line.partition("| ")[2].split("|")[0])
    }

    taught = {"train": "numbers.csv", "target": "y", "weight": None}
    api.predict("numbers.csv", Path("said.csv"), checkpoint=run)
    runs = [run, numbers_run(ensemble=2, refit=True), go(settings(data={**taught, "teacher": "said.csv"}))[-1].run]
    runs.append(go(settings(data={**taught, "validation": 0}, cv=2))[-1].run)
    found = {key for each in runs for name in ("last.npz", "best.npz") for key in checkpoint.read(each / name).header}

    assert documented == found


def test_seal_is_the_hash_of_all_bytes_before_it(place):
    """The last 64 bytes are the SHA-256 of the rest, which any tool can check."""
    data = (numbers_run() / "best.npz").read_bytes()

    assert hashlib.sha256(data[:-64]).hexdigest().encode() == data[-64:]


def test_copied_checkpoint_works_alone(place, monkeypatch):
    """A checkpoint that was copied to an empty folder on another machine predicts the same, byte for byte."""
    run = numbers_run()
    api.predict("numbers.csv", place / "here.csv", checkpoint=run)
    other = place / "elsewhere"
    other.mkdir()
    shutil.copy(run / "best.npz", other / "net.npz")
    shutil.move("numbers.csv", other / "rows.csv")
    shutil.rmtree("runs")
    monkeypatch.chdir(other)

    api.predict("rows.csv", other / "there.csv", checkpoint=Path("net.npz"))

    assert (other / "there.csv").read_bytes() == (place / "here.csv").read_bytes()
    assert api.evaluate(Path("net.npz"), data="rows.csv")["rows"] == 80
    with pytest.raises(DataError, match="--data"):
        api.evaluate(Path("net.npz"))


@pytest.mark.parametrize("absolute", [False, True])
def test_checkpoint_tells_nothing_of_the_machine(place, monkeypatch, absolute):
    """No absolute path, no user name, no host name is in a checkpoint, even where the config names them."""
    monkeypatch.setenv("FCNET_TEST_SECRET", "hunter2hunter2")
    mapping = settings(training={"epochs": 1})
    if absolute:
        mapping["data"]["train"] = str(place / "people.csv")
        mapping["output"] = str(place / "runs")

    run = go(mapping)[-1].run

    for path in run.glob("*.npz"):
        data = path.read_bytes()
        texts = [text.decode() for text in re.findall(rb"[\x20-\x7e]{4,}", data)]
        assert not [text for text in texts if str(place) in text or "hunter2" in text or "/home/" in text]
        assert not [text for text in texts if '"/' in text]
        header = json.dumps(checkpoint.read(path).header)
        for secret in (getpass.getuser(), socket.gethostname()):
            assert len(secret) < 4 or secret not in header or secret in "root localhost"
