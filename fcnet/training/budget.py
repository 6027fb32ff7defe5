"""How many nets and epochs fit the time that a run may take, by a few steps on the clock before the run."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np

from fcnet.backends.base import Backend
from fcnet.training.prepare import Prepared
from fcnet.training.program import MAX_STEPS

WATCHED = 0.5
"""Seconds of steps on the clock, at least one step beside the first, which compiles."""

SHARE = 0.85
"""Of the time that is left, what is planned with: the rest is for checkpoints, and for what else the machine does."""

FORWARD = 0.4
"""What a row costs that is only predicted, of one that is learnt from."""

EPOCH = 0.004
"""Seconds that an epoch takes however few rows there are."""


def fitting(prepared: Prepared, backend: Backend, left: float) -> tuple[Prepared, float]:
    """The run with as many of its nets and epochs as `left` seconds are enough for, and what an epoch takes.

    Nets go first: an ensemble of short runs is worth less than one net of full length. At least one epoch is left.
    """
    settings, row = prepared.settings, _seconds(prepared, backend)
    learnt, validated, tested = (len(prepared.data.parts[name]) for name in ("train", "validation", "test"))
    epoch = row * (learnt + FORWARD * validated) + EPOCH
    scored = row * FORWARD * (learnt + validated + tested)
    fit = max(0.0, (SHARE * left - scored) / epoch) * settings.ensemble  # epochs of one net
    nets = max(1, min(settings.ensemble, int(fit / settings.training.epochs)))
    epochs = max(1, min(settings.training.epochs, int(fit / nets)))
    settings = replace(settings, ensemble=nets, training=replace(settings.training, epochs=epochs))
    return prepared.of(settings), epoch * nets / prepared.settings.ensemble


def _seconds(prepared: Prepared, backend: Backend) -> float:
    """Of steps of a state that is thrown away, for each row."""
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
    return spent / rows
