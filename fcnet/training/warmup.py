"""Compiles, before they are needed, the kernels that training, scoring and predicting with a net will want."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from fcnet import config as configs
from fcnet.config.recipes import QUALITIES, RECIPES
from fcnet.training.prepare import Prepared, prepare
from fcnet.training.program import Forward
from fcnet.training.scoring import Mixed, Scorer, Voices

ROWS = 96
"""Rows of the tables that stand in for the user's, and of those that are scored."""

TABLES = "ab", "abc", "abcd"
"""Numbers alone, with a category of few levels, and with one of many, which is embedded."""

TARGETS = {"two classes": 2, "three classes": 3, "numbers": 0}


def warm(prepared: Prepared, batch: int) -> None:
    """Make a step and score some rows, on a state that is thrown away; predictions are made `batch` rows at a time.

    Raises ConfigError where Numba is missing, StorageError where it has no place for what it compiles.
    """
    backend = prepared.backend("numba")
    program, source = prepared.begin(backend)
    scalars = program.scalars(np.ones(1), np.ones(1), rates={"dropout": np.ones(1)})
    data, state = prepared.data, program.state
    with np.errstate(all="ignore"):
        for row in {0, source.n - source.n % prepared.batch_size or source.n}:
            state.row = row
            if row < source.n:
                program.run(source, scalars, prepared.batch_size)
        forward = Forward(backend, prepared.network, state.scored, state.q, batch)
        weights = tuple(1 / n for n in prepared.network.members for _ in range(n))
        outputs = Mixed([Voices(forward, prepared.head, weights)], prepared.head) if weights else forward
        rows = data.parts["train"][:ROWS]
        guess = data.target.guess(data.y[rows], None)
        about = (data.inputs, data.y, data.w), data.row_weights
        Scorer(backend, outputs, prepared.head, prepared.metrics, guess, *about)(rows)
        for some in (rows[:1], rows):
            prepared.head.predictions(backend, outputs(data.inputs[some]))


def standard(threads: int) -> Iterator[tuple[str, Prepared]]:
    """The nets that a table of numbers and categories gets by every recipe and quality, for each task, by a name."""
    words = np.random.default_rng(0)
    x = {"a": words.standard_normal(ROWS), "b": words.standard_normal(ROWS), "c": [*map(str, np.arange(ROWS) % 3)]}
    x["d"] = [f"level {i}" for i in np.arange(ROWS) % 12]
    ways = [{"recipe": name} for name in RECIPES] + [{"quality": name} for name in QUALITIES]
    for name, classes in TARGETS.items():
        y = [f"class {i}" for i in np.arange(ROWS) % classes] if classes else words.standard_normal(ROWS)
        seen: list[object] = []
        for way, columns in itertools.product(ways, TABLES):
            mapping = {**way, "data": {"train": "-", "target": "y"}, "training": {"epochs": 8}}
            data = {**{column: x[column] for column in columns}, "y": np.asarray(y)}
            prepared = prepare(configs.from_mapping(mapping), threads, data=data)
            made = prepared.settings.network, prepared.network.n_in
            if made not in seen:
                seen.append(made)
                yield f"{name}, {next(iter(way.values()))}, columns {' '.join(columns)}", prepared
