"""What a run records about its surroundings helps to repeat it, and says nothing about the person."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet.files import json_text
from fcnet.runs import environment


def test_environment_names_what_equal_bits_need() -> None:
    """Versions, processor, BLAS with its kernel, threads, seed, command and data are there, as strict JSON."""
    found = environment.environment(
        seed=3, threads=2, started="2025-01-01", files=[{"name": "a.csv", "sha256": "00"}], command=["fcnet", "train"]
    )

    assert json.loads(json_text(found)) == found
    assert found["fcnet"] == fcnet.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["cpu"]
    assert found["blas"]
    assert (found["threads"], found["seed"], found["command"]) == (2, 3, ["fcnet", "train"])
    assert found["data"] == [{"name": "a.csv", "sha256": "00"}]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("train", "train"),
        ("data/a.csv", "data/a.csv"),
        ("a/b/c.yaml", "a/b/c.yaml"),
        ("/home/ada/x.yaml", "x.yaml"),
        ("/home/ada/a=b.yaml", "a=b.yaml"),
        ("{here}/data/x.csv", "data/x.csv"),
        ("data.train=/home/ada/x.csv", "data.train=x.csv"),
        ("data.train={here}/d/x.csv", "data.train=d/x.csv"),
        ("--output=/home/ada/runs", "--output=runs"),
        ("-o/home/ada/runs", "-oruns"),
        ("x-o/home/ada/runs", "x-o/home/ada/runs"),
        ("data={train: /home/ada/x.csv, test: '/home/ada/y.csv'}", "data={train: x.csv, test: 'y.csv'}"),
        ("~/x.csv", "x.csv"),
        ("C:\\Users\\ada\\x.csv", "x.csv"),
        ("data.train=C:/Users/ada/x.csv", "data.train=x.csv"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ("network.layers=[64,64]", "network.layers=[64,64]"),
    ],
)
def test_x13_command_is_recorded_without_absolute_paths(
    word: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths below the working directory become relative to it, of others the last part stays; the rest is as typed."""
    monkeypatch.chdir(tmp_path)

    found = environment.environment(
        seed=0, threads=1, started="", files=[], command=["/home/ada/bin/fcnet", word.replace("{here}", str(tmp_path))]
    )

    assert found["command"] == ["fcnet", expected]


def test_differences_are_named() -> None:
    """What has changed since is named with both values; nothing is said when nothing has."""
    now = environment.machine(2)

    assert environment.differences({**now, "seed": 1}, now) == []
    assert environment.differences({**now, "threads": 4}, now) == ["threads: 4 then, 2 now"]
    assert len(environment.differences({}, now)) == len(now)
