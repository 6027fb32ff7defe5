"""Which functions a cell of a CSV passes on its way to θ, and on its way to a prediction: a profile hook follows it.

python benchmarks/stops.py

One cell has a value that nothing else has. The hook looks at what every function of fcnet is given (its arguments and
what they hold) and at what it returns, yields and fills. The cell may be a text, a part of a text or of bytes, a
number, or the number as the net's input. A *stop* is a function that hands the cell on; one that is given the cell and
hands nothing on *looks* at it. On the way to a prediction what is followed is the cell, and then the predicted number.
Training is followed to the end of its first step, in a batch of all rows; plain NumPy computes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import fcnet
from fcnet import api, config
from fcnet.runs import checkpoint
from fcnet.runs.session import training
from fcnet.training.events import Epoch, Progress

ROWS = 211
CELL = "7.654321"
PACKAGE = str(Path(fcnet.__file__).parent) + os.sep


@dataclass
class Way:
    """The functions that something passes, by file and name, in the order in which they are first called."""

    stops: dict[str, None] = field(default_factory=dict)
    looks: dict[str, None] = field(default_factory=dict)

    def __str__(self) -> str:
        files = {name.partition(":")[0] for name in self.stops}
        return f"{len(self.stops)} stops in {len(files)} files, and {len(self.looks)} functions that only look"


@dataclass(frozen=True)
class Followed:
    """What is looked for: texts, and numbers that no other number equals."""

    texts: tuple[str, ...]
    numbers: tuple[float, ...]

    def within(self, value: Any, depth: int = 3) -> bool:
        """Whether it is in `value`, or in what that holds."""
        if isinstance(value, str):
            return any(text in value for text in self.texts)
        if isinstance(value, bytes | bytearray | memoryview):
            return any(text.encode() in bytes(value) for text in self.texts)
        if isinstance(value, float):
            return value in self.numbers
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "f":
                return any(bool((value == value.dtype.type(number)).any()) for number in self.numbers)
            if value.dtype == np.uint8:
                return self.within(value.tobytes())
            return value.dtype.kind in "OU" and any(text in value.reshape(-1).tolist() for text in self.texts)
        return bool(depth) and any(self.within(each, depth - 1) for each in held(value))


def held(value: Any) -> Iterable[Any]:
    """What a container or an object of fcnet holds."""
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, type) or not (type(value).__module__ or "").startswith("fcnet"):
        return ()
    slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    return [*getattr(value, "__dict__", {}).values(), *slots]


@contextmanager
def following(what: Followed) -> Iterator[Way]:
    """The way of it through all that runs meanwhile, in this thread and in those that it starts."""
    way, given = Way(), dict[int, bool]()

    def hook(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(PACKAGE):
            return
        name = f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_qualname}"
        if name in way.stops or code.co_name in ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"):
            return
        if event == "call":
            given[id(frame)] = what.within(arguments(frame))
            return
        before = given.pop(id(frame), False)
        if what.within(result) or (not before and what.within(arguments(frame))):
            way.looks.pop(name, None)
            way.stops[name] = None
        elif before:
            way.looks[name] = None

    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        yield way
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None takes it away


def arguments(frame: FrameType) -> list[Any]:
    """The values of a function's arguments as they are now."""
    code = frame.f_code
    n = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return [frame.f_locals.get(name) for name in code.co_varnames[:n]]


def ways() -> dict[str, Way]:
    """The ways of a cell in training and in predicting, in a folder that is left empty."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return _ways()
        finally:
            os.chdir(home)


def _ways() -> dict[str, Way]:
    draw = np.random.default_rng(0)
    rows = [f"{a:.4f},{b:.4f},{'uvw'[i % 3]}" for i, (a, b) in enumerate(draw.normal(5, 2, (ROWS, 2)))]
    rows[100] = f"{CELL},0.25,u"
    lines = ["a,b,c,y", *(f"{row},{'yes' if i % 3 else 'no'}" for i, row in enumerate(rows))]
    Path("t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "data": {"train": "t.csv", "target": "y", "validation": 0},
        "network": {"layers": [8]},
        "training": {"epochs": 1, "batch_size": ROWS},
        "backend": "numpy",
    }
    plan = config.from_mapping(settings)
    list(training(plan))
    arrays = checkpoint.read(Path("runs/t/best.npz")).arrays
    cell = float(CELL)
    z = float(np.float32((cell - arrays["preprocess/mean"][0]) / arrays["preprocess/scale"][0]))
    with following(Followed((CELL,), (cell, z))) as trained:
        for event in training(plan):
            if isinstance(event, Progress | Epoch):
                break
    api.predict("t.csv", Path("p.csv"), checkpoint=Path("runs/t"))
    p = Path("p.csv").read_text(encoding="utf-8").splitlines()[101].split(",")[1:]
    Path("p.csv").unlink()
    with following(Followed((CELL, *p), (cell, z, *map(float, p)))) as predicted:
        api.predict("t.csv", Path("p.csv"), checkpoint=Path("runs/t"))
    return {"training": trained, "predicting": predicted}


def main() -> None:
    """Print both ways."""
    for name, way in ways().items():
        print(f"{name}: {way}")
        for stop in way.stops:
            print(f"    {stop}")
        for look in way.looks:
            print(f"  ( {look} )")


if __name__ == "__main__":
    main()
