"""One training run from its config to its complete folder: the loop's events go by, and files are written meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from fcnet.errors import ConfigError, DataError, DivergedError, Stopped, escape
from fcnet.metrics import METRICS, chosen
from fcnet.optim.schedules import factors
from fcnet.optim.solvers import of_objective
from fcnet.records import dataclass
from fcnet.runs import checkpoint, environment, folder, origin
from fcnet.runs.beginning import begin, portable, without_path
from fcnet.runs.log import MetricsLog
from fcnet.runs.model import Predictor, check_members, listed, understand
from fcnet.runs.predictions import Form, text_cell
from fcnet.runs.saver import Fold, Folding, Saver
from fcnet.training.budget import fitting
from fcnet.training.calibration import fit, thinned
from fcnet.training.estimate import refuse
from fcnet.training.events import Epoch, Event, Finished, FoldBegun, Glance, Notice, Progress, Saving, Started
from fcnet.training.head import Head
from fcnet.training.loop import Plan
from fcnet.training.pack import Pack
from fcnet.training.prepare import Prepared, prepare
from fcnet.training.refit import refit, unsound
from fcnet.training.scoring import Remembered, Scorer, summary, weighted_by
from fcnet.training.state import State

Stop = Callable[[], int | None]

AROUND = 0.2
"""Seconds of a budget in which no line of the run's can say what the time is: Python's own, before and after it."""

START, SLOWER = 0.5, 4.0
"""Seconds of an epoch that say nothing of how fast the machine is, and how many times as slow as planned the end is
thought to be at most."""


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
            now = [session]
            del session, ready  # so that no fold is held by this frame
            yield from _go(now.pop())
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
        """Raise _StopAsked if it is time. The time limit waits for a step, so that every resume gets further."""
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
    were like when they were read, `epoch` and `end` how many seconds of a budget are planned for an epoch, and for what
    comes after the last one.
    """

    prepared: Prepared
    backend: Backend
    plan: Plan
    content: str | None
    read: Mapping[Path, object]
    notices: tuple[str, ...]
    epoch: float
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
    if warm is not None and config.cv is not None:
        raise ConfigError("each of its nets has columns of its own, so none begins with those of before", key="cv")
    order = [] if held is None else [column["name"] for column in held.header["columns"]["columns"]]
    known = None if warm is None else understand(warm)
    understood = None if known is None else (known.encoder, known.head.target)
    prepared = prepare(config, threads, data=data, order=order, fitted=understood, strict=strict, poll=watch.poll)
    content, settings = None, prepared.settings
    if data is not None:
        content = _content(prepared.data if prepared.folds is None else prepared.folds.fold(0))
    at = 0 if held is None or prepared.folds is None else held.header["fold"]
    if at != prepared.at:
        prepared = prepared.fold(at)
    loaded = prepared.data
    read = {file.path: identity(file.path) for file in loaded.files}
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
    prepared, epoch, end = replace(prepared, settings=settings), 0.0, 0.0
    if settings.training.budget is not None and held is None and not of_objective(settings.optimizer):
        found = fitting(prepared, backend, watch.left)
        prepared, epoch, end = found.prepared, found.epoch, found.end
        notices += _planned(settings, prepared.settings, found.epoch)
    elif settings.training.budget is not None and held is not None:  # planned anew, it would not be the same run
        then = configs.from_mapping(held.header["config"], needs_data=False)
        training = replace(settings.training, epochs=then.training.epochs)
        prepared = prepared.of(replace(settings, ensemble=then.ensemble, training=training))
    return _Ready(prepared, backend, _plan(prepared), content, read, tuple(notices), epoch, end)


def _planned(asked: Config, planned: Config, epoch: float) -> list[str]:
    """A notice where the budget is too short for all nets and epochs."""
    budget, epochs, nets = asked.training.budget, planned.training.epochs, planned.ensemble
    if (epochs, nets) == (asked.training.epochs, asked.ensemble):
        return []
    if epochs == 1:
        about = f"{float(f'{epoch:.2g}'):g}"  # 180 and not 1.8e+02
        return [f"an epoch takes about {about} s, so one is all that there is in a budget of {budget}"]
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
    if origin.parts(held.header) != _parts(prepared.folds.whole if prepared.folds else data):
        raise DataError(
            "the rows of the parts are not those that the run was begun with; resume it with the fcnet that began "
            "it, or start a new run",
            file=settings.data.train,
        )
    check_members(listed(prepared.network, held), held, settings.dtype, prepared.update.names)


def _content(data: Dataset) -> str:
    """The SHA-256 of rows as the net sees them, of folds as that of the first does."""
    digest = hashlib.sha256()
    fitted = [*data.encoder.arrays().values(), *data.target.arrays().values()]
    for array in (*data.inputs.arrays.values(), data.y, *fitted, *(() if data.w is None else (data.w,))):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
    prepared, identity = ready.prepared, secrets.token_hex(16)
    data = prepared.data if prepared.folds is None else prepared.folds.whole
    rows, w = data.parts["train"], data.row_weights
    guess = data.target.guess(data.y[rows], None if w is None else w[rows])
    columns = [*(["fold"] if prepared.folds else []), "epoch", "step", "lr", "train_loss"]
    if len(prepared.data.parts["validation"]):
        columns += ["val_loss", *(f"val_{metric.name}" for metric in prepared.metrics)]
    log = MetricsLog(run.folder, (*columns, "seconds", "elapsed"))
    now = environment.machine(prepared.threads)
    products = getattr(ready.backend, "products", None)
    now |= {} if products is None else {"products": products}
    if held is not None:
        identity, given = held.header.get("run", ""), held.header["given"]
    header = _header(ready, data, run, identity, guess, now)
    fitted = {**data.encoder.arrays(), **data.target.arrays()}
    before = () if held is None else Fold.all_before(held)
    if prepared.folds is not None:  # what is held throughout has no inputs
        ready = replace(ready, prepared=replace(prepared, data=data))
    return _of_fold(_Shared(ready, run, held, watch, data, guess, log, header, fitted, given), prepared, before)


def _of_fold(run: _Shared, prepared: Prepared, before: tuple[Fold, ...], elapsed: float = 0.0) -> _Session:
    """The session of one fold, behind those before it, which took so many seconds; without folds that of the run."""
    ready, folds = run.ready, prepared.folds
    place = None if folds is None else Folding(before, last=folds.by_time)
    guess = prepared.data.target.guess
    rows, w = prepared.data.parts["train"], prepared.data.row_weights
    pack = Pack(prepared, ready.backend, guess(prepared.data.y[rows], None if w is None else w[rows]), run.watch.poll)
    every = prepared.settings.training.checkpoint
    saver = Saver(run.folder, run.log, pack, ready.plan, every, run.header, run.fitted, run.given, place)
    later = 0.0
    if folds is not None and run.watch.left() < np.inf:
        left = len(folds) - len(before)
        later = max(0.0, run.watch.left() - ready.end) * (left - 1) / left
    pack.state.elapsed = elapsed
    return _Session(run, prepared, pack, pack.state, saver, later)


def _header(
    ready: _Ready, data: Dataset, run: folder.RunFolder, identity: str, guess: Array, now: Mapping[str, Any]
) -> dict[str, Any]:
    """What every checkpoint of the run says, whenever it is written; `data` are those of all rows."""
    settings, target = ready.prepared.recorded, data.target
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
        **({} if ready.prepared.data.teacher is None else {"teacher": _taught(ready.prepared.data)}),
        "parts": {name: {"rows": part.rows, "sha256": part.sha256} for name, part in _parts(data).items()},
        "machine": now,
    }


@dataclass(frozen=True)
class _Shared:
    """What all folds of a run have in common: what is settled, its folder, the checkpoint that it goes on from, `data`
    of all rows, with folds but for the inputs, and what stands in every checkpoint."""

    ready: _Ready
    folder: folder.RunFolder
    held: checkpoint.Checkpoint | None
    watch: _Watch
    data: Dataset
    guess: Array
    log: MetricsLog
    header: Mapping[str, Any]
    fitted: Mapping[str, Array]
    given: Mapping[str, Any]
    told: set[str] = field(default_factory=set)  # what notices were about that are not repeated


def _go(session: _Session) -> Iterator[Event]:
    """Train to the end, saving on the way, then score the run and complete it."""
    run, folds, first = session.run, len(session.prepared.folds or ()), (session.saver.fold or 0) + 1
    notices = [*run.notices, *session.ready.notices, *session.begin()]
    for text in notices:
        yield session.say(text)
    now = [session]  # the fold that is trained
    del session  # and no other is held

    def packed() -> bytes:
        return now[0].saver.packed()

    yield Started(run.path, now[0].glance(), packed, max(1, folds))
    try:
        yield from now[0].train()
        for fold in range(first, folds):
            whole, before, elapsed = now[0].whole, now[0].saver.all_done(), now[0].state.elapsed
            now.clear()  # its memory goes before the next one takes its own
            now.append(_of_fold(whole, whole.ready.prepared.fold(fold), before, elapsed))
            yield from now[0].train()
        yield from now[0].complete()
    except _StopAsked as end:
        yield Saving(run.path / folder.LAST)
        raise Stopped(now[0].stopped(end), end.code, saved=now[0].saver.steps > 0) from None
    except DivergedError as error:
        raise now[0].diverged(error) from None


@dataclass(frozen=True)
class _Session:
    """A run under way, or one fold of it: the net and its files."""

    whole: _Shared
    prepared: Prepared
    pack: Pack
    state: State
    saver: Saver
    reserved: float = 0.0  # seconds of the budget that later folds are to have
    bests: list[float] = field(default_factory=list)  # after each epoch of this process, NaN where there is none

    @property
    def ready(self) -> _Ready:
        """What is settled."""
        return self.whole.ready

    @property
    def run(self) -> folder.RunFolder:
        """The folder."""
        return self.whole.folder

    @property
    def watch(self) -> _Watch:
        """What knows when to stop."""
        return self.whole.watch

    @property
    def plan(self) -> Plan:
        """How long."""
        return self.ready.plan

    @property
    def data(self) -> Dataset:
        """What it is trained on."""
        return self.prepared.data

    def train(self) -> Iterator[Event]:
        """Train, of folds this one."""
        folds = self.prepared.folds
        if folds is not None and not self._ended():
            begun = FoldBegun(self.saver.fold or 0, len(folds))
            self.run.say(str(begun))
            yield begun
        self.watch.poll()
        yield from self._steps()
        if self.saver.settle_best():
            yield self.say(
                f"val_{self.plan.monitor} was no number in any epoch, so none was the best: best.npz is the last; "
                "for another choice give validation rows that define it, or another training.early_stopping.metric"
            )
        for text in self._unsettled():
            if text not in self.whole.told:
                self.whole.told.add(text)
                yield self.say(text)
        self.saver.fold_done()
        if folds is not None:
            yield from self._save()

    def complete(self) -> Iterator[Event]:
        """Score the run and complete it."""
        if self.prepared.folds is not None:
            done = self._judged()
        else:
            self._calibrate()
        yield from self._save()
        for path, then in self.ready.read.items():
            if identity(path) != then:
                yield self.say(
                    f"{path.name} has changed since it was read; the run used what it had read, and eval and "
                    "--resume will want that content back"
                )
        if self.prepared.folds is None:
            done, flat = self._score()
            if flat:
                lower = "" if of_objective(self.ready.prepared.settings.optimizer) else "a lower optimizer.lr, or "
                yield self.say(
                    "the net gives one value for every row, as it does when its units are dead or its weights start "
                    f"alike; try {lower}network.activation: leaky_relu"
                )
        yield from self._refit(done)
        self.run.write_json(folder.SUMMARY, done)
        why = self.state.finished or "all epochs done"
        self.run.say(f"done: {why}")
        yield Finished(self.run.path, done, why)

    def _judged(self) -> dict[str, Any]:
        """The summary of a run of folds: of the mean of all nets, and of what each says of rows that it has not seen.

        What these say makes the calibration, and predictions.csv.
        """
        folds, saver, data, run = self.prepared.folds, self.saver, self.whole.data, self.whole
        assert folds is not None
        model = Predictor(checkpoint.parse(saver.packed(), self.run.path / folder.BEST))
        backend, settings = self.ready.backend, self.ready.prepared.settings
        heard = model.heard(backend, folds, {saver.fold or 0: self.data}, self.watch.poll)
        rows, dtype = heard.rows, settings.dtype
        outputs, some = heard.others(dtype), thinned(heard.rows, model.head.n_out)
        w = None if data.row_weights is None else data.row_weights[some]
        found = fit(backend, model.head, settings, outputs(data.inputs, some), data.y[some], w)
        saver.calibrated(found)
        head = found.applied(model.head)
        about = head, self.prepared.metrics, run.guess, (data.inputs, data.y, data.w), data.row_weights, self.watch.poll
        mean, others = (Scorer(backend, each, *about) for each in (heard.all(dtype), outputs))
        tested, listed = data.parts["test"], saver.nets(last=False)
        done: dict[str, Any] = {
            "best_epoch": max(net["epoch"] for net in listed["nets"]),
            "epochs": max(each["epochs"] for each in listed["folds"]),
            "step": saver.steps,
            "seconds": self.state.elapsed,
            "nets": listed["nets"],
            "train": summary(*mean(data.parts["train"])),
            "validation": summary(*others(rows, intervals=True)),
            "test": summary(*mean(tested, intervals=True)) if len(tested) else None,
            "folds": [],
        }
        said = []
        for fold, ((own, p), each) in enumerate(zip(heard.held, listed["folds"], strict=True)):
            others.forward = one = heard.said(own, p, dtype)
            said.append(head.predictions(backend, one.a.copy()))
            best = max(net["epoch"] for net in listed["nets"] if net["fold"] == fold)
            place = {"fold": fold, "rows": len(own), "best_epoch": best, "epochs": each["epochs"]}
            done["folds"].append({**place, **summary(*others(own))})
        others.forward = outputs
        self._write_predictions([own for own, _ in heard.held], said, head)
        val = done["validation"]
        metrics = {f"val_{name}": each["value"] for name, each in val.items() if name != "loss"}
        saver.best.metrics = {"epoch": done["best_epoch"], "step": done["step"], "val_loss": val["loss"], **metrics}
        judged = {"validation": (others, rows), "test": (mean, tested)}
        return done | self._calibrated(judged) | weighted_by(data)

    def _write_predictions(self, rows: Sequence[Array], said: Sequence[Array], head: Head) -> None:
        """A line for each row and each fold that has held it out, in this order."""
        folds = self.prepared.folds
        assert folds is not None
        at, which = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        order = np.lexsort((which, at))
        form, p = Form.of(head, ("row", "fold"), self.prepared.settings.dtype), np.concatenate(said)[order]
        kept = [list(map(str, each[order].tolist())) for each in (folds.tables["train"].rows[at], which)]
        text = ",".join(map(text_cell, form.header())) + "\n" + form.rows(kept, head.target.decide(p), p)
        self.run.write(folder.PREDICTIONS, text.encode("utf-8", "surrogateescape"))

    def say(self, text: str) -> Notice:
        """A notice, which stands in log.txt too."""
        self.run.say(escape(text))
        return Notice(text)

    def begin(self) -> list[str]:
        """Write what the folder needs before the first step, or bring it and the state back to the checkpoint."""
        run, held, header, settings = self.run, self.whole.held, self.saver.header, self.ready.prepared.recorded
        config = configs.dump(without_path(configs.to_mapping(configs.seen_from(settings, str(run.path))))).encode()
        if held is None:
            run.write("config.yaml", config)
            about = environment.environment(
                seed=settings.seed, threads=self.ready.prepared.threads, started=run.now(), files=header["data"]
            )
            known = {"name": header["name"], "run": header["run"]}
            run.write_json(folder.ENVIRONMENT, {**about, **header["machine"], **known})
            self.saver.log.start()
            return []
        notices = self.saver.take_up(held, self._check_place)
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
        step = min(step, state.step) if state.finished else step  # the first epoch may have been cut short
        if not (state.epoch >= 0 and 0 <= state.row <= n and whole and state.step == step):
            raise ValueError(f"the place: epoch {state.epoch}, row {state.row}, step {state.step}")

    def _save(self) -> Iterator[Saving]:
        yield Saving(self.run.path / folder.LAST)
        self.saver.save()

    def _steps(self) -> Iterator[Progress | Epoch | Saving | Notice]:
        """The loop, with a checkpoint where one is due and a look at the watch after every chunk."""
        before, state = self.state.elapsed, self.state
        for event in self.pack.train(self.plan):
            self.watch.stepped = True
            match event:
                case Notice(text, about):
                    if about in self.whole.told:
                        continue
                    self.whole.told.update([about] if about else [])
                    self.say(text)
                case Epoch():
                    self.saver.epoch_done(event)
                    self.bests.append(self.pack.reached)
                    took, before = event.elapsed - before, event.elapsed
                    if state.epoch < self.plan.epochs:
                        self._look(took, self._end(took))
                case Progress(row=row, rows=rows) if row < rows:
                    self._look(0.0, self._end(state.elapsed - before, row / rows))
            yield event
            if isinstance(event, Epoch) and self.watch.enough():
                self.state.finished = self.state.finished or "ended by the caller"
            if self.saver.due():
                yield from self._save()
            self.watch.poll()

    def _end(self, spent: float, share: float = 1.0) -> float:
        """Seconds that the end will take, where such a share of an epoch took so many: it is slower too, then."""
        slower = (spent + START) / (self.ready.epoch * share + START)
        return self.ready.end * min(max(1.0, slower), SLOWER)

    def _look(self, next_: float, end: float) -> None:
        """Finish where the budget has no room any more for what is next and the end."""
        if self.watch.left() - self.reserved < next_ + end:
            self.state.finished = f"the budget of {self.ready.prepared.settings.training.budget} is spent"

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
        if self.prepared.folds is not None:
            how = f"a new run with {more} may be better"
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
        scorer.forward = Remembered(scorer.forward, len(self.data.inputs))  # for what calibration is about to change
        for name, rows in self.data.parts.items():
            done[name] = summary(*scorer(rows, intervals=name != "train")) if len(rows) else None
        flat = scorer.flat(self.data.parts["train"])
        judged = {name: (scorer, self.data.parts[name]) for name in ("validation", "test")}
        return done | self._calibrated(judged) | weighted_by(self.data), flat

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

    def _calibrated(self, judged: Mapping[str, tuple[Scorer, Array]]) -> dict[str, Any]:
        """What metrics.json says of it, where it was asked for; `judged`: what scores the rows of each part."""
        settings, found = self.ready.prepared.settings, self.saver.best.calibration
        if found is None:
            return {}
        said: dict[str, Any] = {"threshold": found.threshold} if isinstance(settings.threshold, Threshold) else {}
        head = judged["validation"][0].head
        if settings.calibration == "none" or not head.target.shares:
            return said
        said["calibration"] = {"temperature": found.temperature}
        for name, (scorer, rows) in judged.items():
            scorer.metrics, both = chosen(["log_loss", "ece"], head.target.task), {}
            for when, scorer.head in (("before", replace(head, temperature=1.0)), ("after", head)):
                both[when] = scorer(rows)[1] if len(rows) else {}
            said["calibration"][name] = {
                metric: {when: scores[metric]["value"] for when, scores in both.items()} for metric in both["after"]
            }
        return said

    def _refit(self, done: dict[str, Any]) -> Iterator[Notice]:
        """Train once more on validation rows too, where that is asked for, and add its scores to the summary."""
        asked = self.ready.prepared.settings.refit
        if not asked:
            return
        why = unsound(self.prepared) if asked == "auto" else None
        if why is not None:
            yield self.say(f"no refit: {why}")
            return
        data, state, budget = together(self.data), self.state, self.ready.prepared.settings.training.budget
        rows = data.parts["train"]
        share = self.saver.best.epoch / max(state.epoch, 1) * len(rows) / len(self.data.parts["train"])
        if self.watch.left() < share * state.elapsed:
            yield self.say(f"no refit: the budget of {budget} is spent")
            return
        yield self.say(f"refit: training once more, on {len(rows):,} rows of training and validation")
        self.saver.keep_validated()
        try:
            for _ in refit(self.pack, self.plan):
                self.watch.poll()
                if self.watch.left() < self.ready.end:
                    yield self.say(f"no refit: the budget of {budget} is spent; best.npz is the net that was validated")
                    return
        except DivergedError as error:
            yield self.say(f"no refit: {error.problems[0].text}; best.npz is the net that was validated")
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

    def stopped(self, end: _StopAsked) -> str:
        """What is said of it, with everything saved."""
        if not self.saver.steps:
            return f"stopped {end.why} before the first step"
        self.saver.save()
        run = self.run
        where = "after the last epoch" if self._ended() else f"in epoch {self.state.epoch + 1}"
        where += "" if self.saver.fold is None else f" of fold {self.saver.fold + 1}"
        text = f"stopped {end.why} {where}, step {self.state.step}; saved {run.path / folder.LAST}"
        run.say(escape(text))
        return text

    def diverged(self, error: DivergedError) -> DivergedError:
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
        data, settings, network = self.data, self.ready.prepared.settings, self.prepared.network
        kinds = [feature.kind for feature in data.encoder.features]
        parts = {name: len(rows) for name, rows in data.parts.items()}
        folds = len(self.prepared.folds or (0,))
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
            folds * network.layout.count,
            str(getattr(settings.optimizer, "name", "")),
            settings.optimizer.lr,
            settings.backend,
            self.ready.prepared.threads,
            folds * len(network.who),
        )
