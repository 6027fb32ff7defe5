"""Small runs, what of them must be equal, and ways to start, stop and crash them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from fcnet import api, config
from fcnet.runs import checkpoint, session


def write_table(path: Path, n: int = 60) -> None:
    """A table of numbers with gaps, a category, row weights and a target of three classes."""
    rng = np.random.default_rng(7)
    lines = ["age,height,job,weight,kind"]
    for i in range(n):
        age, height = rng.normal(40, 12), rng.normal(170, 9)
        job = "abc"[rng.integers(3)]
        kind = ("low", "mid", "high")[int(age + 3 * rng.normal() > 35) + int(height > 172)]
        lines.append(f"{'' if i % 11 == 3 else f'{age:.2f}'},{height:.1f},{job},{1 + i % 3},{kind}")
    path.write_text("\n".join(lines) + "\n")


def settings(**more: Any) -> dict[str, Any]:
    """A config in which everything that has state is switched on; `more` replaces sections or parts of them."""
    mapping: dict[str, Any] = {
        "name": "people",
        "data": {"train": "people.csv", "target": "kind", "weight": "weight", "validation": 0.2, "test": 0.2},
        "network": {"layers": [8, {"units": 5, "activation": "tanh"}], "dropout": 0.2, "input_dropout": 0.1},
        "training": {
            "epochs": 5,
            "batch_size": 7,
            "clip_norm": 1.0,
            "checkpoint": {"steps": 2},
            "early_stopping": {"metric": "val_loss", "patience": 3},
        },
        "threads": 1,
        "backend": "numpy",
    }
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(mapping.get(key), Mapping) and "name" not in value
        mapping[key] = {**mapping[key], **value} if both else value
    return mapping


def outcome(run: Path) -> dict[str, Any]:
    """Everything about a complete run that an interruption must not change."""
    found: dict[str, Any] = {}
    for name in ("best.npz", "last.npz"):
        held = checkpoint.read(run / name)
        found |= {f"{name}/{key}": (array.shape, array.tobytes()) for key, array in held.arrays.items()}
        state = dict(held.header.get("state", {}))
        found[f"{name}/state"] = {key: state[key] for key in state if key not in ("seconds", "elapsed")}
        found[f"{name}/place"] = held.header["epoch"], held.header["step"]
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    found["metrics.csv"] = [row[:-2] for row in rows]
    summary = json.loads((run / "metrics.json").read_text())
    found["metrics.json"] = {key: summary[key] for key in summary if key != "seconds"}
    api.predict("people.csv", run / "predictions.csv", checkpoint=run)
    found["predictions"] = (run / "predictions.csv").read_bytes()
    (run / "predictions.csv").unlink()
    return found


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The names of what differs between two outcomes."""
    return [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


class Crash(BaseException):
    """The process is no more: nothing is saved, nothing is tidied up."""


def go(mapping: Mapping[str, Any], stop: Callable[[], int | None] = lambda: None, **how: Any) -> list[Any]:
    """All events of one run."""
    data = how.get("data")
    return list(session.training(config.from_mapping(mapping, needs_data=data is None), stop=stop, **how))


def crash_at(poll: int) -> Callable[[], None]:
    """A `stop` that crashes the run when it is asked for the `poll`-th time."""
    left = [poll]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    return stop


class Zygote:
    """A process that has imported everything and forks one `fcnet` command line after the other."""

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("session_zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(api.__file__).parents[1])},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def start(self, arguments: list[str], folder: Path, **how: Any) -> int:
        """Fork `fcnet ARGUMENTS` in `folder`; its process id. `how`: see session_zygote.py."""
        return self._ask({"arguments": arguments, "folder": str(folder), **how})

    def wait(self, pid: int) -> int:
        """The exit code of a fork; negative for the signal that killed it."""
        return os.waitstatus_to_exitcode(self._ask({"wait": pid}))

    def run(self, arguments: list[str], folder: Path, **how: Any) -> int:
        """Fork a command and wait for its exit code."""
        return self.wait(self.start(arguments, folder, **how))

    def _ask(self, request: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())
