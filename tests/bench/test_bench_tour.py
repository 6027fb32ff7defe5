"""docs/tour.md is right: the functions that it names are there, and a run passes them in that order."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import fcnet
from fcnet import api, config
from fcnet.runs.session import training

ROOT = Path(fcnet.__file__).parents[1]
WAYS = (ROOT / "docs/tour.md").read_text(encoding="utf-8").split("\n## ")[1:]
STOP = re.compile(r"^(\d+)\. `(fcnet/[\w/]+\.py)` `([\w.]+)`: ", re.MULTILINE)


def calls(run: Callable[[], object]) -> list[str]:
    """Every call of a function of fcnet while something runs, in all threads: file and name."""
    found: list[str] = []

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT / "fcnet") + os.sep):
            found.append(f"{Path(code.co_filename).relative_to(ROOT).as_posix()} {code.co_qualname}")

    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None takes it away
    return found


def missed(stops: list[str], passed: list[str]) -> list[str]:
    """The stops from the first on that is not passed after those before it."""
    left = iter(passed)
    for i, stop in enumerate(stops):
        if stop not in left:
            return stops[i:]
    return []


def test_the_tour_is_passed_stop_by_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training and a prediction of a small CSV go through the stops of the two ways in their order, twelve each."""
    monkeypatch.chdir(tmp_path)
    lines = ["a,b,y", *(f"{i % 7}.5,{'uv'[i % 2]},{'yes' if i % 3 else 'no'}" for i in range(60))]
    Path("t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "data": {"train": "t.csv", "target": "y"},
        "network": {"layers": [4]},
        "training": {"epochs": 1},
        "backend": "numpy",
    }
    stops = [[f"{file} {name}" for _, file, name in STOP.findall(way)] for way in WAYS]

    trained = calls(lambda: list(training(config.from_mapping(settings))))
    predicted = calls(lambda: api.predict("t.csv", Path("p.csv"), checkpoint=Path("runs/t")))

    assert [len(way) for way in stops] == [12, 12]
    assert not missed(stops[0], trained)
    assert not missed(stops[1], predicted)
    assert missed([*stops[0][:3], stops[0][5], stops[0][4]], trained), "another order is seen"


def test_every_stop_has_its_number() -> None:
    """The stops are counted from 1 on, and every numbered line is one."""
    for way in WAYS:
        numbers = [int(number) for number, _, _ in STOP.findall(way)]

        assert numbers == [*range(1, 13)]
        assert len(re.findall(r"^\d+\. ", way, re.MULTILINE)) == 12
