"""One training run from its config to its complete folder: the loop's events go by, and files are written on the way."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]  # it ships no types

import fcnet
from fcnet import config as configs
from fcnet import data as tables
from fcnet import files, machine
from fcnet.backends.base import Array
from fcnet.config.schema import Config
from fcnet.data.source import MemorySource, one_hot
from fcnet.errors import CheckpointError, ConfigError, DataError, DivergedError, Problem, Stopped
from fcnet.metrics import METRICS, Metric, chosen, trivial
from fcnet.nn.network import Network
from fcnet.nn.workspace import Batch
from fcnet.optim.update import Update
from fcnet.runs import checkpoint, environment, folder, origin
from fcnet.runs.log import MetricsLog
from fcnet.runs.model import BATCH, parameters, restore
from fcnet.training import build
from fcnet.training.events import Epoch, Event, Finished, Head, Notice, Progress, Started
from fcnet.training.loop import Plan, train
from fcnet.training.program import Forward, Program
from fcnet.training.scoring import Scorer, summary, truths
from fcnet.training.state import State

SAVE_SECONDS = 1.0
"""At most one checkpoint in this time."""
SAMPLE = 1024
"""Rows that data-driven initialisation sees."""

Stop = Callable[[], int | None]


@dataclass
class _Best:
    """The best parameters so far, and whether the disk has them."""

    θ: Array
    q: Array
    epoch: int = 0
    step: int = 0
    metrics: dict[str, Any] | None = None
    saved: bool = True


@dataclass(frozen=True)
class _Beginning:
    """What a run starts from: the folder to go on with, its checkpoint, or nothing."""

    path: Path | None = None
    held: checkpoint.Checkpoint | None = None


def training(
    config: Config,
    *,
    data: object = None,
    overwrite: bool = False,
    resume: bool | Path | None = None,
    strict: bool = False,
    stop: Stop = lambda: None,
) -> Iterator[Event]:
    """Train as the config says and yield what happens; the last event is Finished.

    `data`: a frame or arrays instead of data.train. `resume`: True for the newest run of that name, or a run folder.
    `stop` is polled between chunks of steps: an exit code means save, then raise Stopped with it. Raises FcnetError.
    """
    given = configs.to_mapping(config)
    beginning = _beginning(config, resume)
    if beginning.path is not None and folder.is_complete(beginning.path):
        held = beginning.held
        if held is None or not _goes_on(held, config):
            done = _summary(beginning.path)
            yield Notice(f"{beginning.path} is complete; nothing to do")
            yield Finished(beginning.path, done, "already complete")
            return
    elif resume and beginning.held is None:
        yield Notice("nothing to resume; starting the run")
    if beginning.held is not None:
        _same_config(beginning.held, given)
    threads = machine.cores() if config.threads == "auto" else config.threads
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        yield from _run(config, given, beginning, threads, data, overwrite, strict, stop)


def _run(
    config: Config,
    given: Mapping[str, Any],
    beginning: _Beginning,
    threads: int,
    data: object,
    overwrite: bool,
    strict: bool,
    stop: Stop,
) -> Iterator[Event]:
    loaded = tables.load(config.data, config.preprocess, dtype=config.dtype, data=data, strict=strict)
    notices = list(loaded.notices)
    settings = build.resolve(
        replace(config, data=loaded.resolved), loaded.target.task, len(loaded.parts["train"]),
        bool(len(loaded.parts["validation"])), threads,
    )
    _check_early_stopping(config, loaded)
    metrics = chosen(settings.metrics, loaded.target.task)
    settings = replace(settings, metrics=[metric.name for metric in metrics])
    _check_metric(settings, metrics)
    session = _Session(settings, loaded, metrics, threads)
    if beginning.held is not None:
        session.take_up(beginning.held)
        then = beginning.held.header.get("machine")
        if isinstance(then, dict):
            changed = environment.differences(then, session.machine)
            if changed:
                notices.append(f"bits may differ from the run so far: {'; '.join(changed)}")
    opened = _open(config, beginning, overwrite)
    with opened as run:
        session.begin(run, given, fresh=beginning.held is None)
        for text in [*run.notices, *notices]:
            run.say(text)
            yield Notice(text)
        yield Started(run.path, session.head())
        yield from session.go(run, stop)


def _open(config: Config, beginning: _Beginning, overwrite: bool) -> contextlib.AbstractContextManager[folder.Run]:
    if beginning.path is not None:
        return folder.reopen(beginning.path)
    output = Path(config.output)
    return folder.overwrite(output, config.name) if overwrite else folder.claim(output, config.name)


def _beginning(config: Config, resume: bool | Path | None) -> _Beginning:
    if not resume:
        return _Beginning()
    path = resume if isinstance(resume, Path) else folder.newest_of(Path(config.output), config.name)
    if path is None:
        return _Beginning()
    if not files.is_folder(path):
        raise CheckpointError("there is no such run folder", file=str(path))
    last = folder.resumable(path)
    return _Beginning(path, None if last is None else folder.read_last(last))


def _goes_on(held: checkpoint.Checkpoint, config: Config) -> bool:
    """Whether a complete run has epochs left under this config: it was given more than it had."""
    state = held.header.get("state", {})
    return state.get("finished") is None and config.training.epochs > int(state.get("epoch", 0))


def _summary(path: Path) -> Mapping[str, Any]:
    with files.Folder(path) as held:
        text = held.read(folder.SUMMARY)
    loaded: Mapping[str, Any] = json.loads(text or b"{}")
    return loaded


def _same_config(held: checkpoint.Checkpoint, given: Mapping[str, Any]) -> None:
    """Every key must be as it was given, or as it was resolved; ConfigError lists the others."""
    as_given, resolved = held.header.get("given"), held.header.get("config")
    if not isinstance(as_given, dict) or not isinstance(resolved, dict):
        raise CheckpointError("its header lacks the config, so the run cannot be continued", file=str(held.path))
    now = _portable(given)
    same = {key for key, _, _ in configs.differences(resolved, now)}
    changed = [found for found in configs.differences(_portable(as_given), now) if found[0] in same]
    if changed:
        raise ConfigError(
            Problem(
                f"is {new!r}, and the run was begun with {old!r}; a resumed run goes on as it began (only "
                "training.epochs, training.max_minutes, training.checkpoint and output may change)",
                key=key,
            )
            for key, old, new in changed
        )


def _portable(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A spelled-out config without the folders of its data files: paths are compared, and recorded, by their names."""
    section = dict(mapping["data"])
    for key in ("train", "validation", "test"):
        if isinstance(section[key], str):
            section[key] = Path(section[key]).name
    return {**mapping, "data": section, "output": Path(str(mapping["output"])).name or "runs"}


def _check_early_stopping(config: Config, loaded: tables.Dataset) -> None:
    """With a split column nothing but the data says whether there is a validation part."""
    if config.data.split.by == "column" and not len(loaded.parts["validation"]):
        asked = config.training.early_stopping
        if asked is not None and asked != type(config.training)().early_stopping:
            raise ConfigError("needs a validation part, and the split column has none", key="training.early_stopping")


def _check_metric(settings: Config, metrics: tuple[Metric, ...]) -> None:
    stopping = settings.training.early_stopping
    if stopping is None or stopping.metric == "val_loss":
        return
    name = stopping.metric.removeprefix("val_")
    if name not in {metric.name for metric in metrics}:
        raise ConfigError(
            f"{stopping.metric} is not computed; add {name} to metrics, or watch one of "
            + ", ".join(f"val_{metric.name}" for metric in metrics),
            key="training.early_stopping.metric",
        )


class _Session:
    """The net, its state and the files of one run."""

    def __init__(self, settings: Config, loaded: tables.Dataset, metrics: tuple[Metric, ...], threads: int) -> None:
        assert settings.loss != "auto"
        self.settings, self.loaded, self.metrics, self.loss = settings, loaded, metrics, settings.loss
        target = loaded.target
        n_out = build.output_width(self.loss, target.task, len(target.names), len(target.classes or ()))
        self.network: Network = build.network(settings.network, loaded.encoder.n_in, n_out)
        dtype = np.dtype(settings.dtype)
        self.update = Update(settings.optimizer, self.network.layout, settings.training.clip_norm)
        self.state = State.new(self.network, self.update.names, dtype)
        backend = build.BACKENDS[settings.backend]()
        x, y, w = loaded.x, loaded.y, loaded.w
        table = one_hot(self.loss, target, dtype)
        self.source = MemorySource(x, y, w, rows=loaded.parts["train"], one_hot=table, seed=settings.seed)
        self.program = Program(
            backend, self.network, self.loss, self.update, self.state, weighted=w is not None, seed=settings.seed
        )
        sample = self.source.order(0, 0, min(SAMPLE, self.source.n))
        self.network.initialise(self.state.θ, self.state.q, settings.seed, Batch(x[sample], x[:0]))
        self.best = _Best(self.state.θ.copy(), self.state.q.copy())
        training_rows = loaded.parts["train"]
        y_true = truths(target, y[training_rows])
        n_guess = len(target.classes) if target.classes is not None else len(target.names)
        guess = trivial(y_true, n_guess, None if w is None else w[training_rows])
        forward = Forward(backend, self.network, self.state.θ, self.state.q, BATCH)
        self.scorer = Scorer(backend, forward, self.loss, target, metrics, guess, (x, y, w))
        self.validated = len(loaded.parts["validation"]) > 0
        self.machine = environment.machine(threads)
        self.run_id = secrets.token_hex(16)
        self.plan = self._plan()
        self.given: Mapping[str, Any] = {}

    def _plan(self) -> Plan:
        training = self.settings.training
        stopping = training.early_stopping
        monitor = None if not self.validated else "loss"
        if stopping is not None and monitor is not None:
            monitor = stopping.metric.removeprefix("val_")
        assert training.batch_size != "auto"
        return Plan(
            training.epochs,
            training.batch_size,
            self.settings.schedule,
            monitor,
            monitor in METRICS and METRICS[monitor].greater_is_better if monitor else False,
            stopping.patience if stopping is not None else None,
            training.checkpoint.steps,
        )

    def head(self) -> Head:
        """The run at a glance."""
        loaded, settings = self.loaded, self.settings
        kinds = [feature.kind for feature in loaded.encoder.features]
        parts = {name: len(rows) for name, rows in loaded.parts.items()}
        return Head(
            settings.name,
            loaded.target.task,
            len(loaded.x),
            kinds.count("number"),
            kinds.count("category"),
            loaded.target.names,
            len(loaded.target.classes or ()),
            parts["train"],
            parts["validation"],
            parts["test"],
            (self.network.n_in, *(layer.units for layer in settings.network.layers), self.network.n_out),
            tuple(str(getattr(layer.activation, "name", "")) for layer in settings.network.layers),
            self.network.layout.count,
            str(getattr(settings.optimizer, "name", "")),
            settings.optimizer.lr,
            settings.backend,
            int(settings.threads),
        )

    def take_up(self, held: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint; CheckpointError or DataError where it is not this run's."""
        header = held.header
        if header.get("parts") != self._parts():
            raise DataError("the rows of the parts are not those that the run was begun with; restore the data file")
        recorded = [entry["sha256"] for entry in header.get("data", [])]
        if recorded != [file.sha256 for file in self.loaded.files]:
            raise DataError("the data have changed since the run was begun; restore them, or start a new run")
        restore(self.network, self.state, held, optimizer=True)
        try:
            self.state.restore(header["state"])
            self.run_id = str(header["run"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"its header lacks or garbles {error}", file=str(held.path)) from None

    def begin(self, run: folder.Run, given: Mapping[str, Any], *, fresh: bool) -> None:
        """Write what the folder needs before the first step, or bring it back to the checkpoint."""
        self.given = given
        columns = ("epoch", "step", "lr", "train_loss")
        if self.validated:
            columns += ("val_loss", *(f"val_{metric.name}" for metric in self.metrics))
        self.log = MetricsLog(run.folder, (*columns, "seconds", "elapsed"))
        if fresh:
            resolved = configs.to_mapping(configs.seen_from(self.settings, str(run.path)))
            run.write("config.yaml", configs.dump(resolved).encode())
            records = origin.record(self.loaded.files, run.path)
            run.write_json(
                folder.ENVIRONMENT,
                {
                    **environment.environment(
                        seed=self.settings.seed, threads=int(self.settings.threads), started=run.now(), files=records
                    ),
                    "run": self.run_id,
                },
            )
            self.log.start()
        else:
            self._check_run(run)
            self.log.cut(self.state.epoch)
            self._recall_best(run)

    def _check_run(self, run: folder.Run) -> None:
        text = run.folder.read(folder.ENVIRONMENT)
        recorded = json.loads(text).get("run") if text else None
        if recorded is not None and recorded != self.run_id:
            raise CheckpointError("it belongs to another run than this folder", file=str(run.path / folder.LAST))

    def _recall_best(self, run: folder.Run) -> None:
        """The best parameters so far: from best.npz, or the present ones where best is this very epoch."""
        self.best.epoch = self.state.best_epoch
        try:
            held = checkpoint.read(run.path / folder.BEST)
        except CheckpointError:
            if self.state.best_epoch == 0:
                return
            raise
        other = State.new(self.network, (), self.state.θ.dtype)
        restore(self.network, other, held, optimizer=False)
        step, metrics = held.header.get("step", 0), held.header.get("metrics")
        self.best = _Best(other.θ, other.q, self.state.best_epoch, step, metrics)

    def go(self, run: folder.Run, stop: Stop) -> Iterator[Event]:
        """Train to the end, saving on the way, then score and complete the folder."""
        deadline = np.inf
        if self.settings.training.max_minutes is not None:
            deadline = monotonic() + 60 * self.settings.training.max_minutes
        code = stop()
        validation = self.loaded.parts["validation"]
        validate = (lambda: self._validate(validation)) if self.validated else None
        last_saved = (self.state.epoch, self.state.step, monotonic())
        if code is None:
            for event in self._steps(run, validate):
                if isinstance(event, Epoch):
                    self._epoch_done(event)
                yield event
                if self._due(last_saved, within=not isinstance(event, Epoch)):
                    self._save(run)
                    last_saved = (self.state.epoch, self.state.step, monotonic())
                code = stop()
                if code is None and monotonic() > deadline:
                    code = 75
                if code is not None:
                    break
        if code is not None and not self._ended():
            if self.state.step:
                self._save(run)
            raise Stopped(self._stopped(run, code, monotonic() > deadline), code)
        self._save(run)
        done = self._score()
        run.write_json(folder.SUMMARY, done)
        why = self.state.finished or "all epochs done"
        run.say(f"done: {why}")
        yield Finished(run.path, done, why)

    def _steps(
        self, run: folder.Run, validate: Callable[[], Mapping[str, float]] | None
    ) -> Iterator[Progress | Epoch]:
        """The loop; when it diverges, the best epoch so far is on the disk before the error goes on."""
        try:
            yield from train(self.program, self.source, self.plan, validate)
        except DivergedError as error:
            if not self.best.saved:
                self._save_best(run, self._header(run))
            run.say(str(error))
            raise

    def _ended(self) -> bool:
        return self.state.finished is not None or self.state.epoch >= self.plan.epochs

    def _stopped(self, run: folder.Run, code: int, late: bool) -> str:
        why = "by Ctrl-C" if code == 130 else "by the time limit" if late else "by a signal"
        if not self.state.step:
            return f"stopped {why} before the first step"
        text = f"stopped {why} in epoch {self.state.epoch + 1}, step {self.state.step}; saved {run.path / folder.LAST}"
        run.say(text)
        return text

    def _validate(self, rows: Array) -> dict[str, float]:
        loss, values = self.scorer(rows)
        return {"loss": loss, **{name: value["value"] for name, value in values.items()}}

    def _epoch_done(self, event: Epoch) -> None:
        row: dict[str, Any] = {
            "epoch": event.epoch,
            "step": event.step,
            "lr": event.lr,
            "train_loss": event.train_loss,
            **{f"val_{name}": value for name, value in event.val.items()},
            "seconds": event.seconds,
            "elapsed": event.elapsed,
        }
        row = {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in row.items()}
        self.log.append(row)
        if event.best:
            self.best.θ[...] = self.state.θ
            self.best.q[...] = self.state.q
            self.best.epoch, self.best.step, self.best.saved = event.epoch, event.step, False
            self.best.metrics = {"train_loss": event.train_loss, **row}

    def _due(self, last: tuple[int, int, float], *, within: bool = False) -> bool:
        """Whether a checkpoint is due; at most one a second."""
        every = self.settings.training.checkpoint
        epoch, step, at = last
        now = monotonic()
        if now - at < SAVE_SECONDS:
            return False
        if every.epochs is not None:
            return not within and self.state.epoch - epoch >= every.epochs
        if every.steps is not None:
            return self.state.step - step >= every.steps
        assert every.minutes is not None
        return now - at >= 60 * every.minutes

    def _save(self, run: folder.Run) -> None:
        """best.npz if it is new, the log's rows, then last.npz: in this order nothing is ever ahead of what it needs."""
        header = self._header(run)
        if not self.best.saved:
            self._save_best(run, header)
        run.folder.append("metrics.csv", b"", sync=True)
        state = {"state": self.state.numbers(), "given": _portable(self.given)}
        arrays = parameters(self.network, self.state, optimizer=True)
        run.save(folder.LAST, {**header, **state}, {**arrays, **self._preprocessing()})

    def _save_best(self, run: folder.Run, header: Mapping[str, Any]) -> None:
        arrays = parameters(self.network, replace(self.state, θ=self.best.θ, q=self.best.q), optimizer=False)
        run.save(
            folder.BEST,
            {**header, "epoch": self.best.epoch, "step": self.best.step},
            {**arrays, **self._preprocessing()},
        )
        self.best.saved = True

    def _preprocessing(self) -> dict[str, Array]:
        return {**self.loaded.encoder.arrays(), **self.loaded.target.arrays()}

    def _parts(self) -> dict[str, Any]:
        return {
            name: {"rows": len(rows), "sha256": self.loaded.part_hashes[name]}
            for name, rows in self.loaded.parts.items()
        }

    def _header(self, run: folder.Run) -> dict[str, Any]:
        target = self.loaded.target
        return {
            "fcnet": fcnet.__version__,
            "name": self.settings.name,
            "run": self.run_id,
            "task": target.task,
            "classes": None if target.classes is None else list(target.classes),
            "config": _portable(configs.to_mapping(self.settings)),
            "columns": self.loaded.encoder.header(),
            "target": target.header(),
            "guess": [float(value) for value in self.scorer.guess],
            "epoch": self.state.epoch,
            "step": self.state.step,
            "metrics": self.best.metrics,
            "data": origin.record(self.loaded.files, run.path),
            "parts": self._parts(),
            "machine": self.machine,
        }

    def _score(self) -> dict[str, Any]:
        """The summary: the best epoch's loss and metrics on every part."""
        state, best = self.state, self.best
        done: dict[str, Any] = {
            "best_epoch": best.epoch,
            "epochs": state.epoch,
            "step": state.step,
            "seconds": state.elapsed,
        }
        kept = state.θ.copy(), state.q.copy()
        state.θ[...], state.q[...] = best.θ, best.q
        for name, rows in self.loaded.parts.items():
            done[name] = summary(*self.scorer(rows)) if len(rows) else None
        state.θ[...], state.q[...] = kept
        return done

