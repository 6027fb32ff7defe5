"""Everything that comes before a run's first allocation: limits, data, the config without `auto`, the net's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fcnet import config as configs
from fcnet import data as tables
from fcnet import machine
from fcnet.backends import choice
from fcnet.backends.base import Backend
from fcnet.backends.offer import ProductShapes
from fcnet.backends.ops import Apply, Array, Words, ref
from fcnet.config.contradictions import fitted_on_validation
from fcnet.config.recipes import Facts
from fcnet.config.schema import Config
from fcnet.data import Dataset, Encoder, Folded, Target
from fcnet.data.options import Folds
from fcnet.data.source import MemorySource
from fcnet.errors import ConfigError
from fcnet.metrics import Metric, chosen
from fcnet.nn.network import Network
from fcnet.optim.solvers import of_objective
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.training import build
from fcnet.training.calibration import Calibrator
from fcnet.training.estimate import Estimate, estimate, refuse_layers, refuse_table
from fcnet.training.head import Head
from fcnet.training.members import Own, members, pack, single
from fcnet.training.program import Program, blank, record_gradient
from fcnet.training.state import State

SAMPLE = 1024
"""Rows that data-driven initialisation sees."""


@dataclass(frozen=True)
class Prepared:
    """A run as it would begin: the config without any `auto` but the backend's, the data, the metrics, the net."""

    settings: Config
    data: Dataset
    metrics: tuple[Metric, ...]
    head: Head
    network: Network
    update: Updater
    batch_size: int
    threads: int
    folds: Folded | None = None
    """Where there are folds, all of them; the data and the rest are those of one, whose number is `at`."""
    at: int = 0

    def fold(self, i: int) -> Prepared:
        """The run of one of the folds."""
        assert self.folds is not None
        settled = build.Settled(self.settings, self.head.loss, self.batch_size, self.threads)
        return _made(self.settings, self.folds.fold(i), self.metrics, settled, self.folds, i)

    @property
    def recorded(self) -> Config:
        """The config as it is to be written down: with folds the columns have the levels of all rows."""
        if self.folds is None:
            return self.settings
        levels = self.folds.whole.encoder.levels
        return replace(self.settings, network=build.of_levels(self.settings.network, levels))

    def alone(self) -> Prepared:
        """The run of its first net."""
        if not self.network.members:
            return self
        network, update = self.network.one(0), self.update
        update = Updater(update.own[0], network.layout, update.clip_norm, update.average)
        return replace(self, network=network, update=update)

    def of(self, settings: Config) -> Prepared:
        """The run with other settings of its length and its ensemble."""
        made, owns = replace(self.alone(), settings=settings), members(settings, self.at)
        return pack(made, owns) if len(owns) > 1 else made if owns == [Own()] else single(made, owns[0])

    def estimate(self) -> Estimate:
        """What the run will need of memory and disk."""
        parts = [len(rows) for rows in self.data.parts.values()]
        return estimate(
            self.settings,
            self.network,
            self.head,
            self.update,
            batch_size=self.batch_size,
            rows=len(self.data.inputs),
            training_rows=len(self.data.parts["train"]),
            scored_rows=max(parts),
            validation_rows=len(self.data.parts["validation"]),
            **({} if self.folds is None else {"folds": len(self.folds), "table": self.folds.bytes}),
        )

    def work(self) -> choice.Work:
        """How much there is to do, by which `backend: auto` decides."""
        network, dtype = self.network, np.dtype(self.settings.dtype)
        steps = self.settings.training.epochs * -(-len(self.data.parts["train"]) // self.batch_size)
        r = blank(network, self.batch_size, dtype, columns=self.head.columns)
        record_gradient(r, network, self.head.loss, ref("scale", (), dtype))
        results = sum(op.results for op in r.tape.ops if isinstance(op, Apply))
        return choice.Work(network.layout.count, results, self.batch_size, steps, dtype.itemsize)

    def choose(self, left: float = math.inf) -> tuple[str, str | None]:
        """What `backend: auto` means for this run, which has so many seconds, and what is to be said of it."""
        return choice.choose(self.work(), left)

    def backend(self, name: str, products: Literal["own", "blas"] | None = None) -> Backend:
        """The backend of that name, for the steps of this run; ConfigError where its package is missing.

        `products`: who makes those of compiled steps, where that is settled.
        """
        shapes = tuple(self.network.product_shapes(self.batch_size))
        asked = products or ProductShapes(shapes, np.dtype(self.settings.dtype))
        return choice.make(name, self.threads, self.network.largest_product(self.batch_size), asked)

    def targets(self, dtype: Any) -> tuple[Array, Array | None]:
        """What is learnt: y, with the table of one-hot rows where it is numbers of classes; see `MemorySource`."""
        data, loss = self.data, self.head.loss
        if data.teacher is None:
            return data.y, self.head.one_hot(dtype)
        share = self.settings.data.teacher_weight
        return data.target.mixed(data.y, data.teacher, share, loss.learns).astype(dtype), None

    def begin(self, backend: Backend) -> tuple[Program, MemorySource]:
        """The program with initial weights, before its first step, and the rows of training.

        BLAS gets the threads that suit the backend.
        """
        settings, data, network = self.settings, self.data, self.network
        machine.blas(backend.blas_threads(network.largest_product(self.batch_size)))
        dtype = np.dtype(settings.dtype)
        state = State.new(network, self.update.names, dtype)
        y, table = self.targets(dtype)
        source = MemorySource(data.inputs, y, data.w, rows=data.parts["train"], one_hot=table, seed=settings.seed)
        weighted = data.w is not None
        program = Program(backend, network, self.head.loss, self.update, state, weighted=weighted, seed=settings.seed)
        sample = source.order(0, 0, min(SAMPLE, source.n))
        network.initialise(state.θ, state.q, settings.seed, data.inputs[sample], ranks=data.encoder.ranks)
        state.scored[...] = state.θ
        return program, source


def prepare(
    config: Config,
    threads: int,
    *,
    data: object = None,
    order: Sequence[str] = (),
    fitted: tuple[Encoder, Target] | None = None,
    strict: bool = False,
    poll: Callable[[], object] = lambda: None,
) -> Prepared:
    """Read the data and settle the config; `data` stands in for data.train, `poll` is called while reading; `order`:
    columns in the order of the inputs of a run that goes on; `fitted`: what columns and target mean, where that is so.

    Raises every FcnetError that a config or its data can have, LimitError for what cannot fit.
    """
    refuse_layers(config)
    if data is None:
        refuse_table(config.data, Path(), config.dtype)
    learnt = "numbers" if config.loss == "auto" else config.loss.learns
    given: dict[str, Any] = {"dtype": config.dtype, "learnt": learnt, "data": data, "order": order, "strict": strict}
    cv = Folds(config.cv) if isinstance(config.cv, int) else config.cv
    folds = None if cv is None else tables.folded(config.data, config.preprocess, cv, poll=poll, **given)
    if folds is None:
        loaded = tables.load(config.data, config.preprocess, fitted=fitted, poll=poll, **given)
    else:
        loaded = folds.fold(folds.largest)
    config = configs.settled(config, Facts.of(loaded))
    validated = len(loaded.parts["validation"]) > 0
    stopping = config.training.early_stopping
    wanted = configs.asked_for(config, "training", "early_stopping")
    if wanted and stopping is not None and not validated and stopping != type(config.training)().early_stopping:
        raise ConfigError("needs a validation part, and the split column has none", key="training.early_stopping")
    for key in () if validated else fitted_on_validation(config):
        raise ConfigError("is fitted on a validation part, and the split column has none", key=key)
    settled = build.resolve(
        replace(config, data=loaded.resolved, cv=cv),
        loaded.target.task,
        len(loaded.parts["train"]),
        validated,
        threads,
        numbers=loaded.encoder.numbers,
        levels=(loaded if folds is None else folds.whole).encoder.levels,
    )
    metrics = chosen(config.metrics, loaded.target.task)
    settings = replace(settled.config, metrics=[metric.name for metric in metrics])
    configs.recheck(settings, config.name)
    return _made(settings, loaded, metrics, settled, folds, 0 if folds is None else folds.largest)


def _made(
    settings: Config,
    loaded: Dataset,
    metrics: tuple[Metric, ...],
    settled: build.Settled,
    folds: Folded | None,
    at: int,
) -> Prepared:
    """The run of a settled config on these data."""
    head = Calibrator.given(settings).applied(Head(settled.loss, loaded.target))
    encoder, driven = loaded.encoder, build.driven(settings.schedules)
    settings = replace(settings, network=build.of_levels(settings.network, encoder.levels))
    shape = encoder.n_in, head.n_out, head.loss
    network = build.network(settings.network, *shape, driven=driven, n_cat=len(encoder.levels))
    average = None if settings.average is None else settings.average.decay
    update = Updater(settings.optimizer, network.layout, settings.training.clip_norm, average)
    if of_objective(settings.optimizer):
        _refuse_changing(network, head)
    prepared = Prepared(
        settings, loaded, metrics, head, network, update, settled.batch_size, settled.threads, folds, at
    )
    return prepared.of(settings)


def _refuse_changing(network: Network, head: Head) -> None:
    """ConfigError where the loss of all rows is no function of θ: a layer draws, or changes its buffers on the way."""
    r = blank(network, 1, np.float32, columns=head.columns)
    network.forward(r.tape, r.spaces, r.batch)
    for op in r.tape.ops:
        if isinstance(op, Words) or any(each.buffer.name == "q" for each in op.writes):
            what = (
                "draws random words, as dropout does"
                if isinstance(op, Words)
                else "goes by batches, as batch_norm does"
            )
            raise ConfigError(f"it takes the whole objective, and a layer {what}; remove it", key="optimizer")
