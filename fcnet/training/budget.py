"""How many nets and epochs fit the time that a run may take, by a few steps on the clock before the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np

from fcnet.backends.base import Backend
from fcnet.records import dataclass
from fcnet.training.estimate import SCORED
from fcnet.training.prepare import Prepared
from fcnet.training.program import MAX_STEPS, Forward
from fcnet.training.refit import unsound

WATCHED = 0.5
"""Seconds of steps on the clock, at least one step beside the first, which compiles."""

PREDICTED = 4_096
"""Rows that are predicted on the clock, at most, for a fifth of that time."""

SHARE = 0.85
"""Of the time that is left, what is planned with: the rest is for checkpoints, and for what else the machine does."""

EPOCH = 0.004
"""Seconds that an epoch takes however few rows there are."""

END = 0.3
"""Seconds that the end takes however few: calibration, intervals, files."""


@dataclass(frozen=True)
class Costs:
    """Seconds of a row that is learnt from, and of one that is predicted; of all nets together."""

    learnt: float
    predicted: float


@dataclass(frozen=True)
class Affordable:
    """The run as it is planned, and the seconds that an epoch of it takes, and its end."""

    prepared: Prepared
    epoch: float
    end: float


def fitting(prepared: Prepared, backend: Backend, left: Callable[[], float]) -> Affordable:
    """The run with as many of its nets and epochs as the seconds that are `left`, when steps were measured, are enough
    for.

    Nets go first: an ensemble of short runs is worth less than one net of full length. At least one epoch is left.
    """
    settings, costs = prepared.settings, measured(prepared, backend)
    learnt, validated, tested = (len(prepared.data.parts[name]) for name in ("train", "validation", "test"))
    epoch = costs.learnt * learnt + costs.predicted * validated + EPOCH
    again = settings.refit is True or (settings.refit == "auto" and unsound(prepared) is None)
    twice = epoch + again * costs.learnt * (learnt + validated)
    folds = len(prepared.folds or (0,))
    end = folds * costs.predicted * (learnt + 2 * validated + tested)
    fit = max(0.0, (SHARE * left() - END - end) / twice / folds) * settings.ensemble  # epochs of one net
    nets = max(1, min(settings.ensemble, int(fit / settings.training.epochs)))
    epochs = max(1, min(settings.training.epochs, int(fit / nets)))
    share = nets / settings.ensemble
    settings = replace(settings, ensemble=nets, training=replace(settings.training, epochs=epochs))
    return Affordable(prepared.of(settings), epoch * share, END + end * share)


def measured(prepared: Prepared, backend: Backend) -> Costs:
    """By steps, and predictions, of a state that is thrown away."""
    program, source = prepared.begin(backend)
    size = min(prepared.batch_size, source.n)
    scalars = program.scalars(np.ones(1), np.ones(1), rates={"dropout": np.ones(1)})
    steps, spent, rows = 0, 0.0, 0
    while spent < WATCHED or not rows:
        k = 1 if not steps else min(MAX_STEPS, source.n // size, 2 * steps)
        program.state.row, start = 0, perf_counter()
        with np.errstate(all="ignore"):
            program.run(source, np.repeat(scalars, k, axis=0), size)
        spent, rows = (spent + perf_counter() - start, rows + k * size) if steps else (0.0, 0)
        steps += k
    forward = Forward(backend, prepared.network, program.state.scored, program.state.q, SCORED)
    some = source.order(0, 0, min(source.n, PREDICTED))
    made, taken = 0, 0.0
    with np.errstate(all="ignore"):
        forward(prepared.data.inputs, some[:SCORED])
        while made < len(some) and taken < WATCHED / 5:
            part, start = some[made : made + SCORED], perf_counter()
            forward(prepared.data.inputs, part)
            made, taken = made + len(part), taken + perf_counter() - start
    return Costs(spent / rows, taken / made)
