"""Whether fcnet can do its work here: the machine, the packages, the kernels, the folders, and a small training."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

import fcnet
from fcnet import config as configs
from fcnet import extras, files, machine
from fcnet.backends import choice
from fcnet.data import bulk
from fcnet.errors import ConfigError, DivergedError, FcnetError, escape
from fcnet.records import dataclass
from fcnet.reports.text import count, duration, figures, hang, label_width
from fcnet.runs import folder
from fcnet.runs.model import Predictor
from fcnet.runs.session import training
from fcnet.training.events import Finished

Verdict = Literal["ok", "missing", "wrong"]

ROWS, EPOCHS, LEAST = 512, 40, 0.9
"""Of the training: rows, epochs, and the accuracy that it must reach on its own rows."""

TRIALS = {"numba": lambda: choice.fault("numba"), "polars": bulk.fault}
"""Packages that are tried, and not only looked for."""


@dataclass(frozen=True)
class Observation:
    """One thing that was looked at: what was found, and the error that it is where something is wrong.

    `missing` is something that fcnet can do without.
    """

    name: str
    text: str
    verdict: Verdict = "ok"
    error: FcnetError | None = None


def examine() -> Iterator[Observation]:
    """One finding after the other, the quick ones first."""
    yield Observation("fcnet", f"{fcnet.__version__} in {Path(fcnet.__file__).parent}")
    yield Observation("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield Observation("numpy", np.__version__)
    wide = machine.vector_bits()
    yield Observation("processor", f"{machine.cpu()}; {count(machine.cores(), 'core')}, vectors of {wide} bits")
    yield Observation("blas", f"{machine.blas_name()}; fcnet gives it up to {count(machine.cores(), 'thread')}")
    limit = next(iter(machine.memory()), None)
    yield Observation("memory", "unknown" if limit is None else str(limit))
    for package, extra in extras.PACKAGES.items():
        yield _package(package, extra)
    places = {"runs": Path("runs") if files.is_folder(Path("runs")) else Path(), "temporary": Path(_temporary())}
    for name, place in places.items():
        yield _guarded(name, functools.partial(_writable, place))
    if choice.fault("numba") is None:
        yield _guarded("kernels", _kernels)
    yield _guarded("training", _training)


def error(found: Sequence[Observation]) -> FcnetError | None:
    """What to end with: all that is wrong, with the exit code of the first."""
    wrong = [finding for finding in found if finding.error is not None]
    if not wrong:
        return None
    first = wrong[0].error
    assert first is not None
    problems = [problem for finding in wrong if finding.error for problem in finding.error.problems]
    ended = FcnetError(problems)
    ended.exit_code = first.exit_code
    return ended


def mapping(found: Sequence[Observation]) -> dict[str, Any]:
    """For programs."""
    return {
        "ok": error(found) is None,
        "findings": [{"name": each.name, "verdict": each.verdict, "text": each.text} for each in found],
    }


def lines(found: Sequence[Observation], width: int) -> list[str]:
    """For people."""
    label = label_width(max((each.name for each in found), key=len))
    marks = {"ok": " ", "missing": "-", "wrong": "!"}
    return [
        line
        for each in found
        for line in hang(f"{marks[each.verdict]} {each.name}".ljust(label + 2), escape(each.text), width)
    ]


def _guarded(name: str, look: Callable[[], str]) -> Observation:
    """What `look` finds, or the error that it ends with."""
    try:
        return Observation(name, look())
    except FcnetError as wrong:
        return Observation(name, wrong.problems[0].text, "wrong", wrong)


def _package(package: str, extra: extras.Extra) -> Observation:
    named = extra.package or package
    trial = TRIALS.get(package)
    if not extras.installed(package):
        return Observation(named, f"not installed; {extra.cure} gives {extra.gives}", "missing")
    found = None if trial is None else trial()
    if found is not None:
        text = f"{found.what}; {found.cure}"
        return Observation(named, text, "wrong", found.storage or ConfigError(f"{named} {text}"))
    try:
        version = importlib.metadata.version(named)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return Observation(named, f"{version}: {extra.gives}")


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108  # only to be named


def _writable(place: Path) -> str:
    """The place and what is free there; StorageError where nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(1 << 16))
    except OSError as wrong:
        raise files.storage_error(place, wrong) from wrong
    return f"{place.resolve()} can be written; {machine.size(files.disk_free(place))} are free"


def _kernels() -> str:
    """Where they are kept, and who makes the products of the default net: a trial that compares own ones with exact
    sums and with BLAS by the clock."""
    from fcnet.backends.numba import store, trial  # an extra, and slow to import

    place = store.folder()
    kept = f"kept in {place}" if not store.is_temporary(place / "any") else "cannot be kept: each run compiles them"
    dtype = np.dtype(np.float32)
    shapes = ((64, 32, 256), (64, 256, 256), (64, 256, 1))
    some = np.random.default_rng(0)
    sizes = {"Z": 64 * 256, "E": 64 * 256, "W": 256 * 256}
    arrays = {name: some.standard_normal(n).astype(dtype) for name, n in sizes.items()}
    if not all(trial.right(op, arrays) for shape in shapes for op in trial.layer_matmuls(*shape, dtype)):
        return f"products of fcnet's own are not exact here, so BLAS makes them; {kept}"
    who = {"own": "made by fcnet's own kernels", "blas": "right, and BLAS is faster and makes them"}
    return f"products are {who[trial.verdict(shapes, dtype)]}; {kept}"


def _training() -> str:
    """A training with checkpoints, read back and used; DivergedError where the net does not learn."""
    start = perf_counter()
    x = np.random.default_rng(0).uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    with tempfile.TemporaryDirectory(prefix="fcnet-") as place:
        mapping = {
            "name": "doctor",
            "output": place,
            "data": {"train": "-", "target": "y", "validation": 0.2},
            "network": {"layers": [32, 32]},
            "optimizer": {"name": "adam", "lr": 0.01},
            "training": {"epochs": EPOCHS, "early_stopping": None},
        }
        *_, run = training(configs.from_mapping(mapping), data=(x, y))
        assert isinstance(run, Finished)
        net = Predictor.read(run.run / folder.BEST)
        accuracy = run.summary["train"]["accuracy"]["value"]
        backend = net.config.backend
    if accuracy < LEAST:
        raise DivergedError(f"a net that has to learn the sign of a product gets {figures([accuracy])[0]} right")
    spent = duration(perf_counter() - start)
    return f"{EPOCHS} epochs of {ROWS} rows in {spent} on {backend}; {figures([accuracy])[0]} right, read back"
