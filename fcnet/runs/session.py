"""One training run from its config to its complete folder: the loop's events go by, and files are written meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

import fcnet
from fcnet import config as configs
from fcnet import extras, machine
from fcnet.backends.ops import Array
from fcnet.config.schema import Config
from fcnet.data.opened import identity
from fcnet.errors import DataError, DivergedError, Stopped, escape
from fcnet.metrics import METRICS, trivial
from fcnet.optim.schedules import factors
from fcnet.runs import checkpoint, environment, folder, origin
from fcnet.runs.beginning import Beginning, begin, portable, without_path
from fcnet.runs.log import MetricsLog
from fcnet.runs.model import BATCH, check_members
from fcnet.runs.saver import Saver
from fcnet.training.estimate import refuse
from fcnet.training.events import Epoch, Event, Finished, Head, Notice, Progress, Saving, Started
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import Prepared, prepare
from fcnet.training.program import Forward
from fcnet.training.scoring import Scorer, summary, truths, weighted_by
from fcnet.training.state import State

Stop = Callable[[], int | None]


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
    `stop` is polled between batches: an exit code means save, then raise Stopped with it. Raises FcnetError.
    """
    with contextlib.ExitStack() as held:
        start = begin(config, resume)
        if start.run is not None:
            held.enter_context(start.run)
        if start.done is not None:
            assert start.path is not None
            yield Notice(f"{start.path} is complete; nothing to do")
            yield Finished(start.path, start.done, "already complete")
            return
        if resume and start.held is None:
            yield Notice("nothing to resume; starting the run")
        threads = machine.cores() if config.threads == "auto" else config.threads
        held.enter_context(machine.blas(threads))
        watch = _Watch(stop, config.training.max_minutes)
        try:
            session = _session(config, threads, data, strict, watch)
            if start.held is not None:
                session.check(start.held)
            session.choose_backend(start.held)
            refuse(session.estimate, start.path or Path(config.output), begun=start.held is not None)
            run = start.run
            if run is None:
                output = Path(config.output)
                opened = folder.overwrite(output, config.name) if overwrite else folder.claim(output, config.name)
                run = held.enter_context(opened)
            yield from session.go(run, start, portable(configs.to_mapping(config)))
        except _Asked as end:
            raise Stopped(f"stopped {end.why} before the first step", end.code, saved=False) from None


class _Asked(Exception):
    """Something asked the run to stop: with which exit code, and what it was."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code)
        self.code, self.why = code, why


class _Watch:
    """Knows when to stop: when `stop` says so, or when the minutes since now are over and a step was made."""

    def __init__(self, stop: Stop, minutes: float | None) -> None:
        self._stop = stop
        self._deadline = np.inf if minutes is None else monotonic() + 60 * minutes
        self.stepped = False

    def poll(self) -> None:
        """Raise _Asked if it is time. The time limit waits for a step, so that every resume gets further."""
        code = self._stop()
        if code is not None:
            raise _Asked(code, "by Ctrl-C" if code == 130 else "by a signal")
        if self.stepped and monotonic() > self._deadline:
            raise _Asked(75, "by the time limit")


def _session(config: Config, threads: int, data: object, strict: bool, watch: _Watch) -> _Session:
    prepared = prepare(config, threads, data=data, strict=strict, poll=watch.poll)
    content = None
    if data is not None:
        loaded, digest = prepared.data, hashlib.sha256()
        fitted = [*loaded.encoder.arrays().values(), *loaded.target.arrays().values()]
        for array in (loaded.x, loaded.y, *fitted, *(() if loaded.w is None else (loaded.w,))):
            digest.update(np.ascontiguousarray(array).data)
        content = digest.hexdigest()
    return _Session(prepared, content, watch)


class _Session:
    """The net, its state and the files of one run.

    `content` is the SHA-256 of the rows where they came from memory and not from a file.
    """

    def __init__(self, prepared: Prepared, content: str | None, watch: _Watch) -> None:
        self.prepared = prepared
        self.settings, self.data, self.metrics = prepared.settings, prepared.data, prepared.metrics
        self.network, self.update, self.estimate = prepared.network, prepared.update, prepared.estimate()
        self.content, self.watch = content, watch
        self.validated = len(self.data.parts["validation"]) > 0
        self.plan = self._plan()
        self.machine = environment.machine(int(self.settings.threads))
        self.bests: list[float | None] = []  # after each epoch of this process
        self.read = {file.path: identity(file.path) for file in self.data.files}

    def _plan(self) -> Plan:
        training = self.settings.training
        stopping = training.early_stopping
        monitor = "loss" if self.validated else None
        if stopping is not None:
            monitor = stopping.metric.removeprefix("val_")
        return Plan(
            training.epochs,
            self.prepared.batch_size,
            self.settings.schedule,
            monitor,
            monitor in METRICS and METRICS[monitor].greater_is_better,
            stopping.patience if stopping is not None else None,
            training.checkpoint.steps,
            self.settings.schedules.weight_decay,
            self.settings.schedules.dropout,
        )

    def check(self, held: checkpoint.Checkpoint) -> None:
        """Refuse a checkpoint that is not of these data or not of this net, before anything is allocated."""
        recorded = [(entry.role, entry.sha256) for entry in origin.origins(held.header, held.path)]
        if recorded != [(file.role, file.sha256) for file in self.data.files] or (
            held.header.get("content") != self.content
        ):
            shown = self.settings.data.train if self.data.files else "data"
            raise DataError(
                "the data have changed since the run was begun; restore them, or start a new run", file=shown
            )
        if origin.parts(held.header, held.path) != self._parts():
            raise DataError(
                "the rows of the parts are not those that the run was begun with; resume it with the fcnet that began "
                "it, or start a new run",
                file=self.settings.data.train,
            )
        check_members(self.network, held, self.settings.dtype, self.update.names)

    def choose_backend(self, held: checkpoint.Checkpoint | None) -> None:
        """Settle what `auto` means; a resumed run keeps its backend, whatever is installed now."""
        self.notices = list(self.data.notices)
        name: str = self.settings.backend
        if name == "auto" and held is not None:
            name = held.header["config"].get("backend", "numpy")
        if name == "auto":
            name, hint = self.prepared.choose()
            self.notices += [hint] if hint else []
        self.backend = self.prepared.backend(name)
        self.notices += extras.notices()
        self.settings = replace(self.settings, backend=self.backend.name)  # type: ignore[arg-type]  # a backend of the schema

    def go(self, run: folder.Run, start: Beginning, given: Mapping[str, Any]) -> Iterator[Event]:
        """Train to the end in the folder `run`, saving on the way, then score and complete it."""
        self._build()
        notices = [*run.notices, *self.notices, *self._begin(run, start.held, given)]
        for text in notices:
            yield self._say(text)
        yield Started(run.path, self.head())
        try:
            self.watch.poll()
            yield from self._steps()
            if self.saver.settle_best():
                yield self._say(
                    f"val_{self.plan.monitor} was no number in any epoch, so none was the best: best.npz is the last; "
                    "for another choice give validation rows that define it, or another training.early_stopping.metric"
                )
            for text in self._unsettled():
                yield self._say(text)
            yield from self._save()
            for path, then in self.read.items():
                if identity(path) != then:
                    yield self._say(
                        f"{path.name} has changed since it was read; the run used what it had read, and eval and "
                        "--resume will want that content back"
                    )
            done = self._score()
            if self.flat:
                yield self._say(
                    "the net gives one value for every row, as it does when its units are dead or its weights start "
                    "alike; try a lower optimizer.lr, or network.activation: leaky_relu"
                )
        except _Asked as end:
            yield Saving(run.path / folder.LAST)
            raise Stopped(self._stopped(end), end.code, saved=bool(self.state.step)) from None
        except DivergedError as error:
            raise self._diverged(error) from None
        run.write_json(folder.SUMMARY, done)
        why = self.state.finished or "all epochs done"
        run.say(f"done: {why}")
        yield Finished(run.path, done, why)

    def _say(self, text: str) -> Notice:
        """A notice, which stands in log.txt too."""
        self.saver.run.say(escape(text))
        return Notice(text)

    def _build(self) -> None:
        """Allocate the state, fill in the initial weights, and what scores it."""
        data = self.data
        self.program, self.source = self.prepared.begin(self.backend)
        self.state = self.program.state
        rows, w = data.parts["train"], data.row_weights
        n_guess = len(data.target.classes or data.target.names)
        guess = trivial(truths(data.target, data.y[rows]), n_guess, None if w is None else w[rows])
        forward = Forward(self.backend, self.network, self.state.scored, self.state.q, BATCH)
        self.scorer = Scorer(
            self.backend,
            forward,
            self.prepared.loss,
            data.target,
            self.metrics,
            guess,
            (data.x, data.y, data.w),
            data.row_weights,
            self.watch.poll,
        )

    def _begin(self, run: folder.Run, held: checkpoint.Checkpoint | None, given: Mapping[str, Any]) -> list[str]:
        """Write what the folder needs before the first step, or bring it and the state back to the checkpoint."""
        columns = ["epoch", "step", "lr", "train_loss"]
        if self.validated:
            columns += ["val_loss", *(f"val_{metric.name}" for metric in self.metrics)]
        log = MetricsLog(run.folder, (*columns, "seconds", "elapsed"))
        identity = secrets.token_hex(16)
        if held is not None:
            identity, given = held.header.get("run", ""), held.header["given"]
        header = self._header(run, identity)
        self.saver = Saver(
            run, log, self.network, self.state, self.settings.training.checkpoint, header, self._fitted(), given
        )
        config = configs.dump(
            without_path(configs.to_mapping(configs.seen_from(self.settings, str(run.path))))
        ).encode()
        if held is None:
            run.write("config.yaml", config)
            about = environment.environment(
                seed=self.settings.seed, threads=int(self.settings.threads), started=run.now(), files=header["data"]
            )
            run.write_json(folder.ENVIRONMENT, {**about, "run": identity})
            log.start()
            return []
        notices = self.saver.take_up(held, self._check_place)
        if header["config"] != held.header["config"]:
            run.write("config.yaml", config)
        # A run that goes on is not complete until it is so again.
        run.folder.remove(folder.SUMMARY)
        then = held.header.get("machine")
        changed = environment.differences(then if isinstance(then, dict) else {}, self.machine)
        said = f"goes on after epoch {self.state.epoch}, step {self.state.step}"
        bits = [f"bits may differ from the run so far: {'; '.join(changed)}"] if changed else []
        return [
            said,
            *notices,
            *self._risen(configs.from_mapping(held.header["config"], needs_data=False).training.epochs),
            *bits,
        ]

    def _risen(self, epochs: int) -> list[str]:
        """A notice where the learning rate rises because the run is not as long any more as it was begun with."""
        per_epoch = -(-self.source.n // self.plan.batch_size)
        step, schedule = self.state.step, self.plan.schedule
        then, now = (
            float(factors(schedule, np.array([min(step, per_epoch * n - 1)]), per_epoch * n, n)[0])
            for n in (epochs, self.plan.epochs)
        )
        if self._ended() or not now > 1.001 * then:
            return []
        lr, name = self.settings.optimizer.lr, getattr(schedule, "name", "")
        longer = f"the {name} schedule ends after {self.plan.epochs} epochs now, not {epochs}"
        return [f"{longer}, so the learning rate rises again, from {lr * then:.2g} to {lr * now:.2g}"]

    def _check_place(self, state: State) -> None:
        """ValueError unless epoch, row and step of a checkpoint are a place in this run."""
        n, batch = self.source.n, self.plan.batch_size
        whole = state.row % batch == 0 or state.row == n
        step = state.epoch * -(-n // batch) - (-state.row // batch)
        if not (state.epoch >= 0 and 0 <= state.row <= n and whole and state.step == step):
            raise ValueError(f"the place: epoch {state.epoch}, row {state.row}, step {state.step}")

    def _save(self) -> Iterator[Saving]:
        yield Saving(self.saver.run.path / folder.LAST)
        self.saver.save()

    def _steps(self) -> Iterator[Progress | Epoch | Saving | Notice]:
        """The loop, with a checkpoint where one is due and a look at the watch after every chunk."""
        validation = self.data.parts["validation"]
        for event in train(
            self.program, self.source, self.plan, (lambda: self._validate(validation)) if self.validated else None
        ):
            self.watch.stepped = True
            if isinstance(event, Notice):
                self._say(event.text)
            if isinstance(event, Epoch):
                self.saver.epoch_done(event)
                self.bests.append(self.state.best)
            yield event
            if self.saver.due():
                yield from self._save()
            self.watch.poll()

    def _unsettled(self) -> list[str]:
        """A notice where the score was still getting better when the epochs ran out.

        The best epoch is among the last tenth, and the last fifth has brought more than a fiftieth of what all have.
        """
        state, epochs = self.state, self.plan.epochs
        before = self.bests[max(0, len(self.bests) - 1 - max(1, epochs // 5))] if self.bests else None
        if state.finished is not None or state.best is None or before is None or state.waited > epochs // 10:
            return []
        if not abs(state.best - before) > abs(state.best - (self.bests[0] or 0.0)) / 50:
            return []
        more = f"training.epochs={2 * epochs}"
        # Rows from memory, or from a pipe, are not there to go on with.
        kept = self.data.files and not any(file.path.parent.name.startswith("fcnet-") for file in self.data.files)
        words = ["fcnet", "train", f"--resume={self.saver.run.path}", more]
        how = f"to go on: {shlex.join(words)}" if kept else f"resume it with {more} to go on"
        rising = "rising" if self.plan.greater else "falling"
        return [f"val_{self.plan.monitor} was still {rising} when the epochs ran out; {how}"]

    def _validate(self, rows: Array) -> dict[str, float]:
        loss, values = self.scorer(rows)
        return {"loss": loss, **{name: value["value"] for name, value in values.items()}}

    def _score(self) -> dict[str, Any]:
        """The summary: the best epoch's loss and metrics on every part."""
        state, best = self.state, self.saver.best
        done: dict[str, Any] = {
            "best_epoch": best.epoch,
            "epochs": state.epoch,
            "step": state.step,
            "seconds": state.elapsed,
        }
        kept = state.scored.copy(), state.q.copy()
        try:  # the scorer reads the state's memory
            state.scored[...], state.q[...] = best.θ, best.q
            for name, rows in self.data.parts.items():
                done[name] = summary(*self.scorer(rows)) if len(rows) else None
            self.flat = self.scorer.flat(self.data.parts["train"])
        finally:
            state.scored[...], state.q[...] = kept
        return done | weighted_by(self.data)

    def _ended(self) -> bool:
        return self.state.finished is not None or self.state.epoch >= self.plan.epochs

    def _stopped(self, end: _Asked) -> str:
        if not self.state.step:
            return f"stopped {end.why} before the first step"
        self.saver.save()
        run = self.saver.run
        where = "after the last epoch" if self._ended() else f"in epoch {self.state.epoch + 1}"
        text = f"stopped {end.why} {where}, step {self.state.step}; saved {run.path / folder.LAST}"
        run.say(escape(text))
        return text

    def _diverged(self, error: DivergedError) -> DivergedError:
        """The error with what is left: the best epoch is on the disk before it goes on its way."""
        self.saver.save_best()
        run = self.saver.run
        names = run.folder.names()
        if run.folder.path != run.path:
            kept = f"no checkpoint was saved before; the old run stays in {run.path}"
        elif folder.LAST in names:
            kept = f"the last good checkpoint is {run.path / folder.LAST}"
        elif folder.BEST in names:
            kept = f"{run.path / folder.BEST} holds epoch {self.saver.best.epoch}"
        else:
            kept = "no checkpoint was saved before"
        problem = error.problems[0]
        problem = replace(problem, text=f"{problem.text}; {kept}")
        run.say(str(problem))
        return DivergedError(problem)

    def head(self) -> Head:
        """The run at a glance."""
        data, settings = self.data, self.settings
        kinds = [feature.kind for feature in data.encoder.features]
        parts = {name: len(rows) for name, rows in data.parts.items()}
        return Head(
            settings.name,
            data.target.task,
            len(data.x),
            kinds.count("number"),
            kinds.count("category"),
            data.target.names,
            len(data.target.classes or ()),
            parts["train"],
            parts["validation"],
            parts["test"],
            *self.network.outline,
            self.network.layout.count,
            str(getattr(settings.optimizer, "name", "")),
            settings.optimizer.lr,
            settings.backend,
            int(settings.threads),
        )

    def _header(self, run: folder.Run, identity: str) -> dict[str, Any]:
        """What every checkpoint of the run says, whenever it is written."""
        target = self.data.target
        return {
            "fcnet": fcnet.__version__,
            "name": self.settings.name,
            "run": identity,
            "task": target.task,
            "classes": None if target.classes is None else list(target.classes),
            "config": portable(configs.to_mapping(self.settings)),
            "columns": self.data.encoder.header(),
            "target": target.header(),
            "guess": [float(value) for value in self.scorer.guess],
            "guess_weighted_by": self.settings.data.weight,
            "data": origin.record(self.data.files, run.path),
            "content": self.content,
            "parts": {name: {"rows": part.rows, "sha256": part.sha256} for name, part in self._parts().items()},
            "machine": self.machine,
        }

    def _fitted(self) -> dict[str, Array]:
        return {**self.data.encoder.arrays(), **self.data.target.arrays()}

    def _parts(self) -> dict[str, origin.Part]:
        return {name: origin.Part(len(rows), self.data.part_hashes[name]) for name, rows in self.data.parts.items()}
