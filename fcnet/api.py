"""fcnet from Python: what the commands themselves call."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]  # it ships no types

from fcnet import config as configs
from fcnet import data as tables
from fcnet import machine
from fcnet.backends.base import Array
from fcnet.config.schema import Config
from fcnet.data import Tally
from fcnet.errors import CheckpointError, DataError, FcnetError
from fcnet.metrics import chosen
from fcnet.runs import folder, origin
from fcnet.runs.checkpoint import peek
from fcnet.runs.model import Model as Net
from fcnet.runs.predictions import Form, writing
from fcnet.runs.session import training
from fcnet.training.events import Finished, Notice
from fcnet.training.scoring import Scorer, summary


@dataclass(frozen=True)
class Run:
    """A complete training run: its folder, the scores that metrics.json holds, and what was noticed on the way."""

    path: Path
    metrics: Mapping[str, Any]
    notices: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """The best net of the run."""
        return load(self.path)


class Model:
    """A trained net. `predict` takes what `data.train` took: a file, a pandas or polars frame, arrays by name."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self.header = net.header
        self.classes = net.target.classes

    def predict(self, data: object) -> Array:
        """Labels (n,) for classes, 0/1 (n, L) for several labels, numbers (n,) or (n, n_out) for regression."""
        decided = np.asarray(self._net.decide(self._p(data)))
        return decided[:, 0] if decided.ndim == 2 and decided.shape[1] == 1 else decided

    def predict_proba(self, data: object) -> Array:
        """Probabilities (n, K) in the order of `classes`, or (n, L) for several labels."""
        if self._net.target.task == "regression":
            raise CheckpointError("a regression has no probabilities; use predict", file=str(self._net.path))
        return self._p(data)

    def evaluate(self, data: object = None, split: str | None = None) -> dict[str, Any]:
        """Loss and metrics on `data`, or on a part of the data that it was trained on."""
        return _evaluate(self._net, data, split, strict=False)

    def _p(self, data: object) -> Array:
        net = self._net
        source = Path(data) if isinstance(data, str) else data
        with _threads():
            chunks = [
                net.probabilities(x)
                for x, _ in tables.stream(source, net.config.data, net.encoder, net.target, Tally())
            ]
        if not chunks:
            return net.probabilities(np.empty((0, net.encoder.n_in), net.config.dtype))
        return np.concatenate(chunks)


def train(
    config: str | Path | Mapping[str, Any] | Config,
    data: object = None,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool | Path | None = None,
    strict: bool = False,
) -> Run:
    """Train as the config (a path, or a mapping of the same form) says.

    `data`: a pandas or polars frame, or arrays by name, instead of the file data.train. Raises FcnetError.
    """
    needs = data is None
    if isinstance(config, Mapping):
        config = configs.from_mapping(config, overrides, needs_data=needs)
    elif not isinstance(config, Config):
        config = configs.load(config, overrides, needs_data=needs)
    notices: list[str] = []
    for event in training(config, data=data, overwrite=overwrite, resume=resume, strict=strict):
        if isinstance(event, Notice):
            notices.append(event.text)
        elif isinstance(event, Finished):
            return Run(event.run, event.summary, tuple(notices))
    raise AssertionError("training ended without its last event")


def load(path: str | Path) -> Model:
    """The net of a checkpoint, or of a run folder's best.npz."""
    return Model(Net.read(folder.resolve(Path(path))))


def evaluate(
    checkpoint: Path | None, data: object = None, split: str | None = None, strict: bool = False
) -> dict[str, Any]:
    """Loss and metrics of a checkpoint (the newest complete run's by default) on one part, and what it was."""
    net = Net.read(folder.resolve(checkpoint))
    scored = _evaluate(net, Path(data) if isinstance(data, str) else data, split, strict)
    if checkpoint is None:
        scored["notices"] = [f"the newest complete run is {net.path.parent}", *scored["notices"]]
    return scored


def _evaluate(net: Net, data: object, split: str | None, strict: bool) -> dict[str, Any]:
    with _threads():
        if data is not None:
            source = Path(data) if isinstance(data, str) else data
            loaded = tables.score(source, net.config.data, net.encoder, net.target, strict=strict)
            part, shown = split or "test", str(data) if isinstance(data, (str, Path)) else "data"
            if split is not None:
                raise DataError(f"--split {split} is a part of the training's data, and --data another table: give one")
        else:
            loaded, part, shown = _own_data(net, split)
        rows = loaded.parts[part]
        guess = np.asarray(net.header["guess"], dtype=np.float64)
        metrics = chosen(net.config.metrics, net.target.task)
        scorer = Scorer(
            net.backend, net.forward, net.loss, net.target, metrics, guess, (loaded.x, loaded.y, loaded.w)
        )
        scores = summary(*scorer(rows))
    return {
        "name": net.header["name"],
        "checkpoint": str(net.path),
        "epoch": net.header["epoch"],
        "part": part,
        "rows": len(rows),
        "data": shown,
        "notices": list(loaded.notices) if data is not None else [],
        **scores,
    }


def _own_data(net: Net, split: str | None) -> tuple[tables.Dataset, str, str]:
    """The data that the net was trained on, found by hash, and which part to score."""
    header = net.header
    parts = header["parts"]
    part = split or next((name for name in ("test", "validation") if parts[name]["rows"]), "train")
    if not parts[part]["rows"]:
        there = ", ".join(name for name in parts if parts[name]["rows"])
        raise DataError(f"the run had no {part} part, only {there}; choose --split, or name a file with --data")
    if not header["data"]:
        raise DataError("the net was trained on data from memory; name a file with --data", file=str(net.path))
    found = origin.find(header["data"], net.path)
    section = replace(net.config.data, **{role: str(path) for role, path in found.items()})
    loaded = tables.load(section, net.config.preprocess, dtype=net.config.dtype, fitted=(net.encoder, net.target))
    if loaded.part_hashes[part] != parts[part]["sha256"]:
        raise DataError(f"the rows of {part} are not those of the training; name a file with --data", file=section.train)
    return loaded, part, section.train if part not in found else str(found[part])


def predict(
    source: str,
    output: Path | None,
    *,
    checkpoint: Path | None = None,
    keep: Sequence[str] = (),
    strict: bool = False,
    stop: Callable[[], int | None] = lambda: None,
) -> dict[str, Any]:
    """Predict for every row of a table (- is stdin) into a file (None is stdout), chunk by chunk; what was done."""
    net = Net.read(folder.resolve(checkpoint))
    tally = Tally(strict)
    target = net.target
    form = Form(target.task, target.names, target.classes, tuple(keep))  # type: ignore[arg-type]  # labels of any kind
    rows = 0
    inputs = [] if source == "-" else [Path(source)]
    notices = [] if checkpoint is not None else [f"the newest complete run is {net.path.parent}"]
    try:
        with _threads(), writing(output, form, inputs) as write:
            for x, kept in _chunks(net, source, tally, keep):
                p = net.probabilities(x)
                write(form.rows([kept[name] for name in keep], net.decide(p), p))
                rows += len(x)
    except DataError as error:
        raise _fitting_runs(error, net) if checkpoint is None else error from None
    return {
        "checkpoint": str(net.path),
        "rows": rows,
        "notices": [*notices, *tally.notices()],
    }


def _chunks(net: Net, source: str, tally: Tally, keep: Sequence[str]) -> Iterator[tuple[Array, Mapping[str, Any]]]:
    where = sys.stdin.buffer if source == "-" else Path(source)
    shown = "stdin" if source == "-" else source
    yield from tables.stream(where, net.config.data, net.encoder, net.target, tally, keep=keep, shown=shown)


def _fitting_runs(error: DataError, net: Net) -> DataError:
    """The error of columns that do not fit the newest run, with that run's name and those of the runs that they fit."""
    fitting = []
    for path in folder.complete():
        with contextlib.suppress(FcnetError):
            known = {entry["name"] for entry in peek(path / folder.BEST)["columns"]["columns"]}
            if known <= set(getattr(error, "columns", ())):
                fitting.append(str(path))
    return error


def _threads() -> Any:
    return threadpoolctl.threadpool_limits(machine.cores(), user_api="blas")


__all__ = ["Model", "Run", "evaluate", "load", "predict", "train", "training"]
