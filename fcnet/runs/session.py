"""One training run from its config to its complete folder: the loop's events go by, and files are written meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np

import fcnet
from fcnet import config as configs
from fcnet import extras, machine
from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.config.recipes import QUALITIES
from fcnet.config.schema import Config, Threshold, Training
from fcnet.config.spans import seconds
from fcnet.data import Dataset, together
from fcnet.data.opened import identity
from fcnet.errors import DataError, DivergedError, Stopped, escape
from fcnet.metrics import METRICS, chosen
from fcnet.optim.schedules import factors
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass
from fcnet.runs import checkpoint, environment, folder, origin
from fcnet.runs.beginning import begin, portable, without_path
from fcnet.runs.log import MetricsLog
from fcnet.runs.model import check_members, understand
from fcnet.runs.saver import Saver
from fcnet.training.budget import fitting
from fcnet.training.calibration import fit, thinned
from fcnet.training.estimate import refuse
from fcnet.training.events import Epoch, Event, Finished, Glance, Notice, Progress, Saving, Started
from fcnet.training.loop import Plan
from fcnet.training.pack import Pack
from fcnet.training.prepare import Prepared, prepare
from fcnet.training.refit import refit, unsound
from fcnet.training.scoring import Scorer, summary, weighted_by
from fcnet.training.state import State

Stop = Callable[[], int | None]

AROUND = 0.2
"""Seconds of a budget in which no line of the run's can say what the time is: Python's own, before and after it."""


def training(
    config: Config,
    *,
    data: object = None,
    overwrite: bool = False,
    resume: bool | Path | None = None,
    strict: bool = False,
    stop: Stop = lambda: None,
    warm: checkpoint.Checkpoint | None = None,
    began: float | None = None,
) -> Iterator[Event]:
    """Train as the config says and yield what happens; the last event is Finished.

    `data`: a frame or arrays instead of data.train. `resume`: True for the newest run of that name, or a run folder.
    `stop` is polled between batches: an exit code means save, then raise Stopped with it; 0 ends the training with the
    epoch. `warm`: nets to begin with in place of initial weights; columns and target are understood as they were then.
    `began`: since when, by the monotonic clock, the user waits; a budget counts from there.
    Raises FcnetError.
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
        watch = _Watch(stop, config.training, began)
        try:
            ready = _ready(config, threads, data, strict, start.held, watch, warm)
            refuse(ready.prepared.estimate(), start.path or Path(config.output), begun=start.held is not None)
            run = start.run
            if run is None:
                output = Path(config.output)
                opened = folder.overwrite(output, config.name) if overwrite else folder.claim(output, config.name)
                run = held.enter_context(opened)
            session = _session(ready, run, start.held, portable(configs.to_mapping(config)), watch)
            if warm is not None:
                session.saver.begin_with(warm)
            yield from session.go()
        except _StopAsked as end:
            raise Stopped(f"stopped {end.why} before the first step", end.code, saved=False) from None


class _StopAsked(Exception):
    """Something asked the run to stop: with which exit code, and what it was."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code)
        self.code, self.why = code, why


class _Watch:
    """Knows when to stop: when `stop` says so, or when the minutes since now are over and a step was made; and what is
    left of the budget."""

    def __init__(self, stop: Stop, training: Training, began: float | None) -> None:
        self._stop, now, minutes, budget = stop, monotonic(), training.max_minutes, training.budget
        self._deadline = np.inf if minutes is None else now + 60 * minutes
        since = now if began is None else began
        self._end = np.inf if budget is None else since + (seconds(budget) or 0.0) - AROUND
        self.stepped = False

    def left(self) -> float:
        """Seconds of the budget."""
        return self._end - monotonic()

    def poll(self) -> None:
        """Raise _Asked if it is time. The time limit waits for a step, so that every resume gets further."""
        code = self._stop()
        if code:
            raise _StopAsked(code, "by Ctrl-C" if code == 130 else "by a signal")
        if self.stepped and monotonic() > self._deadline:
            raise _StopAsked(75, "by the time limit")

    def enough(self) -> bool:
        """Whether this epoch is to be the last."""
        return self._stop() == 0


@dataclass(frozen=True)
class _Ready:
    """What is settled about a run before anything is allocated or written.

    `content` is the SHA-256 of the rows where they came from memory and not from a file, `read` what the data files
    were like when they were read, `end` how many seconds are planned for what comes after the last epoch.
    """

    prepared: Prepared
    backend: Backend
    plan: Plan
    content: str | None
    read: Mapping[Path, object]
    notices: tuple[str, ...]
    end: float


def _ready(
    config: Config,
    threads: int,
    data: object,
    strict: bool,
    held: checkpoint.Checkpoint | None,
    watch: _Watch,
    warm: checkpoint.Checkpoint | None,
) -> _Ready:
    """Read the data, refuse a checkpoint that does not fit them, settle what `auto` means.

    A resumed run keeps its backend, whatever is installed now.
    """
    order = [] if held is None else [column["name"] for column in held.header["columns"]["columns"]]
    known = None if warm is None else understand(warm)
    understood = None if known is None else (known.encoder, known.head.target)
    prepared = prepare(config, threads, data=data, order=order, fitted=understood, strict=strict, poll=watch.poll)
    loaded, content, settings = prepared.data, None, prepared.settings
    read = {file.path: identity(file.path) for file in loaded.files}
    if data is not None:
        digest = hashlib.sha256()
        fitted = [*loaded.encoder.arrays().values(), *loaded.target.arrays().values()]
        for array in (*loaded.inputs.arrays.values(), loaded.y, *fitted, *(() if loaded.w is None else (loaded.w,))):
            digest.update(np.ascontiguousarray(array).data)
        content = digest.hexdigest()
    name: str = settings.backend
    hint = None
    if held is not None:
        _check(held, prepared, content)
        name = held.header["config"].get("backend", "numpy") if name == "auto" else name
    if name == "auto":
        name, hint = prepared.choose(watch.left())
    backend = prepared.backend(name, _products(held, prepared.threads))
    settings = replace(settings, backend=backend.name)
    notices = [*loaded.notices, *([hint] if hint else []), *extras.notices()]
    prepared, end = replace(prepared, settings=settings), 0.0
    if settings.training.budget is not None and held is None and not of_objective(settings.optimizer):
        found = fitting(prepared, backend, watch.left)
        prepared, end = found.prepared, found.end
        notices += _planned(settings, prepared.settings, found.epoch)
    elif settings.training.budget is not None and held is not None:  # planned anew, it would not be the same run
        then = configs.from_mapping(held.header["config"], needs_data=False)
        training = replace(settings.training, epochs=then.training.epochs)
        prepared = prepared.of(replace(settings, ensemble=then.ensemble, training=training))
    return _Ready(prepared, backend, _plan(prepared), content, read, tuple(notices), end)


def _planned(asked: Config, planned: Config, epoch: float) -> list[str]:
    """A notice where the budget is too short for all nets and epochs."""
    budget, epochs, nets = asked.training.budget, planned.training.epochs, planned.ensemble
    if (epochs, nets) == (asked.training.epochs, asked.ensemble):
        return []
    if epochs == 1:
        return [f"an epoch takes about {epoch:.2g} s, so one is all that there is in a budget of {budget}"]
    some = f"{nets} of {asked.ensemble} nets and " if asked.ensemble > 1 else ""
    return [f"{some}{epochs} of {asked.training.epochs} epochs are planned for a budget of {budget}"]


def _products(held: checkpoint.Checkpoint | None, threads: int) -> Literal["own", "blas"] | None:
    """Who makes the products of a run that goes on where it began: before this was a question, own kernels did."""
    then = held.header.get("machine") if held is not None else None
    if not isinstance(then, dict) or environment.differences(then, environment.machine(threads)):
        return None
    return "blas" if then.get("products") == "blas" else "own"


def _check(held: checkpoint.Checkpoint, prepared: Prepared, content: str | None) -> None:
    """Refuse a checkpoint that is not of these data or not of this net, before anything is allocated."""
    data, settings = prepared.data, prepared.settings
    recorded = [(entry.role, entry.sha256) for entry in origin.origins(held.header, held.path)]
    shown = settings.data.train if data.files else "data"
    if recorded != [(file.role, file.sha256) for file in data.files] or held.header.get("content") != content:
        raise DataError("the data have changed since the run was begun; restore them, or start a new run", file=shown)
    if held.header.get("teacher") != _taught(data):
        raise DataError("the teacher says other things than when the run was begun; start a new run", file=shown)
    if origin.parts(held.header, held.path) != _parts(data):
        raise DataError(
            "the rows of the parts are not those that the run was begun with; resume it with the fcnet that began "
            "it, or start a new run",
            file=settings.data.train,
        )
    check_members(prepared.network.one(0), held, settings.dtype, prepared.update.names)


def _taught(data: Dataset) -> str | None:
    """The SHA-256 of what the teacher says."""
    return None if data.teacher is None else hashlib.sha256(np.ascontiguousarray(data.teacher).data).hexdigest()


def _plan(prepared: Prepared) -> Plan:
    settings, training = prepared.settings, prepared.settings.training
    stopping = training.early_stopping
    monitor = "loss" if len(prepared.data.parts["validation"]) else None
    if stopping is not None:
        monitor = stopping.metric.removeprefix("val_")
    return Plan(
        training.epochs,
        int(training.batch_size),
        settings.schedule,
        monitor,
        monitor in METRICS and METRICS[monitor].greater_is_better,
        stopping.patience if stopping is not None else None,
        training.checkpoint.steps,
        settings.schedules.weight_decay,
        settings.schedules.dropout,
        stopping is not None and stopping.ties == "last",
    )


def _parts(data: Dataset) -> dict[str, origin.Part]:
    return {name: origin.Part(len(rows), data.part_hashes[name]) for name, rows in data.parts.items()}


def _session(
    ready: _Ready, run: folder.RunFolder, held: checkpoint.Checkpoint | None, given: Mapping[str, Any], watch: _Watch
) -> _Session:
    """Allocate the state, fill in the initial weights, and what scores and saves it; `given`: the config as given."""
    prepared, backend, settings, data = ready.prepared, ready.backend, ready.prepared.settings, ready.prepared.data
    rows, w = data.parts["train"], data.row_weights
    guess = data.target.guess(data.y[rows], None if w is None else w[rows])
    pack = Pack(prepared, backend, guess, watch.poll)
    columns = ["epoch", "step", "lr", "train_loss"]
    if len(data.parts["validation"]):
        columns += ["val_loss", *(f"val_{metric.name}" for metric in prepared.metrics)]
    log = MetricsLog(run.folder, (*columns, "seconds", "elapsed"))
    now, identity = environment.machine(prepared.threads), secrets.token_hex(16)
    products = getattr(ready.backend, "products", None)
    now |= {} if products is None else {"products": products}
    if held is not None:
        identity, given = held.header.get("run", ""), held.header["given"]
    header = _header(ready, run, identity, guess, now)
    fitted = {**data.encoder.arrays(), **data.target.arrays()}
    saver = Saver(run, log, pack, ready.plan, settings.training.checkpoint, header, fitted, given)
    return _Session(ready, run, held, watch, data, ready.plan, pack, pack.state, saver)


def _header(
    ready: _Ready, run: folder.RunFolder, identity: str, guess: Array, now: Mapping[str, Any]
) -> dict[str, Any]:
    """What every checkpoint of the run says, whenever it is written."""
    settings, data = ready.prepared.settings, ready.prepared.data
    target = data.target
    return {
        "fcnet": fcnet.__version__,
        "name": settings.name,
        "run": identity,
        "task": target.task,
        "classes": None if target.classes is None else list(target.classes),
        "config": portable(configs.to_mapping(settings)),
        "columns": data.encoder.header(),
        "target": target.header(),
        "guess": [float(value) for value in guess],
        "guess_weighted_by": settings.data.weight,
        "data": origin.record(data.files, run.path),
        "content": ready.content,
        **({} if data.teacher is None else {"teacher": _taught(data)}),
        "parts": {name: {"rows": part.rows, "sha256": part.sha256} for name, part in _parts(data).items()},
        "machine": now,
    }


@dataclass(frozen=True)
class _Session:
    """A run under way: what is settled, its folder and the checkpoint that it goes on from, the net and its files."""

    ready: _Ready
    run: folder.RunFolder
    held: checkpoint.Checkpoint | None
    watch: _Watch
    data: Dataset
    plan: Plan
    pack: Pack
    state: State
    saver: Saver
    bests: list[float] = field(default_factory=list)  # after each epoch of this process, NaN where there is none

    def go(self) -> Iterator[Event]:
        """Train to the end, saving on the way, then score the run and complete it."""
        run = self.run
        notices = [*run.notices, *self.ready.notices, *self._begin()]
        for text in notices:
            yield self._say(text)
        yield Started(run.path, self.glance(), self.saver.packed)
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
            self._calibrate()
            yield from self._save()
            for path, then in self.ready.read.items():
                if identity(path) != then:
                    yield self._say(
                        f"{path.name} has changed since it was read; the run used what it had read, and eval and "
                        "--resume will want that content back"
                    )
            done, flat = self._score()
            if flat:
                lower = "" if of_objective(self.ready.prepared.settings.optimizer) else "a lower optimizer.lr, or "
                yield self._say(
                    "the net gives one value for every row, as it does when its units are dead or its weights start "
                    f"alike; try {lower}network.activation: leaky_relu"
                )
            yield from self._refit(done)
        except _StopAsked as end:
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
        self.run.say(escape(text))
        return Notice(text)

    def _begin(self) -> list[str]:
        """Write what the folder needs before the first step, or bring it and the state back to the checkpoint."""
        run, held, header, settings = self.run, self.held, self.saver.header, self.ready.prepared.settings
        config = configs.dump(without_path(configs.to_mapping(configs.seen_from(settings, str(run.path))))).encode()
        if held is None:
            run.write("config.yaml", config)
            about = environment.environment(
                seed=settings.seed, threads=self.ready.prepared.threads, started=run.now(), files=header["data"]
            )
            run.write_json(folder.ENVIRONMENT, {**about, **header["machine"], "run": header["run"]})
            self.saver.log.start()
            return []
        notices = self.saver.take_up(held, self._check_place)
        if header["config"] != held.header["config"]:
            run.write("config.yaml", config)
        # A run that goes on is not complete until it is so again.
        run.folder.remove(folder.SUMMARY)
        then = held.header.get("machine")
        then = {"products": "own", **then} if isinstance(then, dict) else {}
        changed = environment.differences(then, header["machine"])
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
        per_epoch = -(-self.pack.source.n // self.plan.batch_size)
        step, schedule = self.state.step, self.plan.schedule
        then, now = (
            float(factors(schedule, np.array([min(step, per_epoch * n - 1)]), per_epoch * n, n)[0])
            for n in (epochs, self.plan.epochs)
        )
        if self._ended() or not now > 1.001 * then:
            return []
        lr, name = self.ready.prepared.settings.optimizer.lr, getattr(schedule, "name", "")
        longer = f"the {name} schedule ends after {self.plan.epochs} epochs now, not {epochs}"
        return [f"{longer}, so the learning rate rises again, from {lr * then:.2g} to {lr * now:.2g}"]

    def _check_place(self, state: State) -> None:
        """ValueError unless epoch, row and step of a checkpoint are a place in this run."""
        n, batch = self.pack.source.n, self.plan.batch_size
        whole = state.row % batch == 0 or state.row == n
        step = state.epoch * -(-n // batch) - (-state.row // batch)
        if not (state.epoch >= 0 and 0 <= state.row <= n and whole and state.step == step):
            raise ValueError(f"the place: epoch {state.epoch}, row {state.row}, step {state.step}")

    def _save(self) -> Iterator[Saving]:
        yield Saving(self.run.path / folder.LAST)
        self.saver.save()

    def _steps(self) -> Iterator[Progress | Epoch | Saving | Notice]:
        """The loop, with a checkpoint where one is due and a look at the watch after every chunk."""
        before = self.state.elapsed
        for event in self.pack.train(self.plan):
            self.watch.stepped = True
            if isinstance(event, Notice):
                self._say(event.text)
            if isinstance(event, Epoch):
                self.saver.epoch_done(event)
                self.bests.append(self.pack.reached)
                took, before = event.elapsed - before, event.elapsed
                if self.watch.left() < took + self.ready.end and self.state.epoch < self.plan.epochs:
                    self.state.finished = f"the budget of {self.ready.prepared.settings.training.budget} is spent"
            yield event
            if isinstance(event, Epoch) and self.watch.enough():
                self.state.finished = self.state.finished or "ended by the caller"
            if self.saver.due():
                yield from self._save()
            self.watch.poll()

    def _unsettled(self) -> list[str]:
        """A notice where the score was still getting better when the epochs ran out.

        The best epoch is among the last tenth, and the last fifth has brought more than a fiftieth of what all have.
        """
        state, epochs = self.state, self.plan.epochs
        before = self.bests[max(0, len(self.bests) - 1 - max(1, epochs // 5))] if self.bests else math.nan
        if state.finished is not None or math.isnan(before) or state.waited.min() > epochs // 10:
            return []
        if not abs(self.bests[-1] - before) > abs(self.bests[-1] - np.nan_to_num(self.bests[0])) / 50:
            return []
        more = f"training.epochs={2 * epochs}"
        # Rows from memory, or from a pipe, are not there to go on with.
        kept = self.data.files and not any(file.path.parent.name.startswith("fcnet-") for file in self.data.files)
        words = ["fcnet", "train", f"--resume={self.run.path}", more]
        how = f"to go on: {shlex.join(words)}" if kept else f"resume it with {more} to go on"
        settings = self.ready.prepared.settings
        if settings.training.budget is not None:
            how = "for more give it a longer training.budget"
        elif (
            settings.quality and QUALITIES[settings.quality].recipe == settings.recipe
        ):  # the rate has come down to 0, and would rise again
            better = list(QUALITIES)[list(QUALITIES).index(settings.quality) + 1 :]
            how = f"quality={better[0]} is longer" if better else f"a new run with {more} may be better"
        rising = "rising" if self.plan.greater else "falling"
        return [f"val_{self.plan.monitor} was still {rising} when the epochs ran out; {how}"]

    def _score(self) -> tuple[dict[str, Any], bool]:
        """The summary, the best epoch's loss and metrics on every part, and whether all predictions are one value."""
        state, best = self.state, self.saver.best
        done: dict[str, Any] = {
            "best_epoch": best.epoch,
            "epochs": state.epoch,
            "step": state.step,
            "seconds": state.elapsed,
            **self.saver.nets(last=False),
        }
        scorer = self._scorer()
        for name, rows in self.data.parts.items():
            done[name] = summary(*scorer(rows, intervals=name != "train")) if len(rows) else None
        flat = scorer.flat(self.data.parts["train"])
        return done | self._calibrated(scorer) | weighted_by(self.data), flat

    def _scorer(self) -> Scorer:
        """What scores rows as best.npz predicts them."""
        scorer = self.pack.scorer()
        if self.saver.best.calibration is not None:
            scorer.head = self.saver.best.calibration.applied(scorer.head)
        return scorer

    def _calibrate(self) -> None:
        """What validation rows say of the best net goes into best.npz."""
        data, prepared = self.data, self.ready.prepared
        rows = thinned(data.parts["validation"], prepared.head.n_out)
        if len(rows):
            with np.errstate(all="ignore"):
                a = self.pack.scorer().forward(data.inputs, rows)
            w = None if data.row_weights is None else data.row_weights[rows]
            self.saver.calibrated(fit(self.ready.backend, prepared.head, prepared.settings, a, data.y[rows], w))

    def _calibrated(self, scorer: Scorer) -> dict[str, Any]:
        """What metrics.json says of it, where it was asked for."""
        settings, found = self.ready.prepared.settings, self.saver.best.calibration
        if found is None:
            return {}
        said: dict[str, Any] = {"threshold": found.threshold} if isinstance(settings.threshold, Threshold) else {}
        if settings.calibration == "none" or not scorer.head.target.shares:
            return said
        head = scorer.head
        scorer.metrics = chosen(["log_loss", "ece"], head.target.task)
        said["calibration"] = {"temperature": found.temperature}
        for name in ("validation", "test"):
            rows, both = self.data.parts[name], {}
            for when, scorer.head in (("before", replace(head, temperature=1.0)), ("after", head)):
                both[when] = scorer(rows)[1] if len(rows) else {}
            said["calibration"][name] = {
                metric: {when: scores[metric]["value"] for when, scores in both.items()} for metric in both["after"]
            }
        return said

    def _refit(self, done: dict[str, Any]) -> Iterator[Notice]:
        """Train once more on validation rows too, where that is asked for, and add its scores to the summary."""
        asked, prepared = self.ready.prepared.settings.refit, self.ready.prepared
        if not asked:
            return
        why = unsound(prepared) if asked == "auto" else None
        if why is not None:
            yield self._say(f"no refit: {why}")
            return
        data = together(self.data)
        rows = data.parts["train"]
        yield self._say(f"refit: training once more, on {len(rows):,} rows of training and validation")
        self.saver.keep_validated()
        try:
            for _ in refit(self.pack, self.plan):
                self.watch.poll()
        except DivergedError as error:
            yield self._say(f"no refit: {error.problems[0].text}; best.npz is the net that was validated")
            return
        parts = {name: {"rows": part.rows, "sha256": part.sha256} for name, part in _parts(data).items()}
        self.saver.refitted({"refit": True, "parts": parts})
        scorer = self._scorer()
        tested = data.parts["test"]
        done["refit"] = {
            "rows": len(rows),
            "train": summary(*scorer(rows)),
            "test": summary(*scorer(tested, intervals=True)) if len(tested) else None,
        }

    def _ended(self) -> bool:
        return self.state.finished is not None or self.state.epoch >= self.plan.epochs

    def _stopped(self, end: _StopAsked) -> str:
        if not self.state.step:
            return f"stopped {end.why} before the first step"
        self.saver.save()
        run = self.run
        where = "after the last epoch" if self._ended() else f"in epoch {self.state.epoch + 1}"
        text = f"stopped {end.why} {where}, step {self.state.step}; saved {run.path / folder.LAST}"
        run.say(escape(text))
        return text

    def _diverged(self, error: DivergedError) -> DivergedError:
        """The error with what is left: the best epoch is on the disk before it goes on its way."""
        self.saver.save_best()
        run = self.run
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

    def glance(self) -> Glance:
        """The run at a glance."""
        data, settings, network = self.data, self.ready.prepared.settings, self.ready.prepared.network
        kinds = [feature.kind for feature in data.encoder.features]
        parts = {name: len(rows) for name, rows in data.parts.items()}
        return Glance(
            settings.name,
            data.target.task,
            len(data.inputs),
            kinds.count("number"),
            kinds.count("category"),
            data.target.names,
            len(data.target.classes or ()),
            parts["train"],
            parts["validation"],
            parts["test"],
            *network.outline,
            network.layout.count,
            str(getattr(settings.optimizer, "name", "")),
            settings.optimizer.lr,
            settings.backend,
            self.ready.prepared.threads,
            len(network.who),
        )
