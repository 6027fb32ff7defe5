"""Whether anything falls off a cliff: a step with every activation, dropout, optimizer, batch size, width and depth.

    python benchmarks/cliffs.py
    python benchmarks/cliffs.py --json cliffs.json --into docs/performance.md

Steps as `fcnet train` makes them, float32, on the compiled backend where it is installed. All variants of a table are
timed in turn, in every round.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe, into, row
from fcnet import __version__, machine
from fcnet.backends.choice import installed, make
from fcnet.data.source import MemorySource
from fcnet.nn.activations import ACTIVATIONS, Activation, Identity, Relu
from fcnet.nn.initializers import GlorotUniform
from fcnet.nn.layers import Dense, Dropout
from fcnet.nn.losses import CrossEntropy
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import OPTIMIZERS, Adam, Optimizer
from fcnet.optim.update import Updater
from fcnet.training.program import MAX_STEPS, Program
from fcnet.training.state import State

SECONDS = 0.1
"""How long one timing lasts, at the least."""


@dataclass(frozen=True)
class Variant:
    """A net by its widths, inputs first, and what may be unusual about its step."""

    widths: tuple[int, ...] = (54, 256, 256, 256, 7)
    batch: int = 256
    activation: Activation = Relu()
    dropout: float = 0.0
    rule: Optimizer = Adam()
    clip_norm: float | None = None

    @property
    def flops(self) -> int:
        """Operations of a step's matrix products."""
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        return 2 * self.batch * (3 * sum(m * n for m, n in pairs) - pairs[0][0] * pairs[0][1])


class Step:
    """A step of a variant, ready to be repeated."""

    def __init__(self, variant: Variant, backend: str, threads: int) -> None:
        n_in, *hidden, n_out = variant.widths
        layers: list[Dense | Dropout] = []
        for units in hidden:
            layers.append(Dense(units, variant.activation, GlorotUniform()))
            if variant.dropout:
                layers.append(Dropout(variant.dropout))
        network = Network([*layers, Dense(n_out, Identity(), GlorotUniform())], n_in)
        update = Updater(variant.rule, network.layout, variant.clip_norm)
        state = State.new(network, update.names, np.float32)
        random = np.random.default_rng(0)
        x = random.standard_normal((variant.batch * 8, n_in), dtype=np.float32)
        y = random.integers(n_out, size=len(x))
        network.initialise(state.θ, state.q, 0, Rows(x[:8]))
        made = make(backend, threads)
        self.blas = made.blas_threads(network.largest_product(variant.batch))
        self.program = Program(made, network, CrossEntropy(), update, state)
        source = MemorySource(Rows(x), y, one_hot=np.eye(n_out, dtype=np.float32))
        with machine.blas(self.blas):
            self.program.run(source, update.scalars(np.arange(1, 9), np.full(8, 1e-6)), variant.batch)
            self.step = self.program.step(variant.batch)
            self.times = 1
            self.times = max(1, min(10_000, int(SECONDS / self.seconds())))

    def seconds(self) -> float:
        """Seconds of one step."""
        with machine.blas(self.blas), np.errstate(all="ignore"):
            start, left = perf_counter(), self.times
            while left:
                piece = min(left, 8, MAX_STEPS)
                self.program.position[:] = 0
                self.step.run(piece)
                left -= piece
            return (perf_counter() - start) / self.times


def measure(variants: Mapping[str, Variant], backend: str, threads: int, repeat: int) -> dict[str, float]:
    """Median seconds of a step of each variant."""
    steps = {name: Step(variant, backend, threads) for name, variant in variants.items()}
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeat):
        for name, step in steps.items():
            spent[name].append(step.seconds())
    return {name: median(each) for name, each in spent.items()}


TABLES: dict[str, dict[str, Variant]] = {
    "activation": {name: Variant(activation=kind()) for name, kind in ACTIVATIONS.items()},
    "dropout and clipping": {
        "neither": Variant(),
        "dropout 0.1": Variant(dropout=0.1),
        "dropout 0.5": Variant(dropout=0.5),
        "clip_norm 1": Variant(clip_norm=1.0),
    },
    "optimizer": {name: Variant(rule=kind()) for name, kind in OPTIMIZERS.items()},
    "batch size": {str(n): Variant(batch=n) for n in (1, 4, 16, 64, 256, 1024, 4096)},
    "width": {str(n): Variant((54, n, n, 7)) for n in (16, 64, 256, 1024, 4096)},
    "depth": {str(n): Variant((54, *[256] * n, 7)) for n in (1, 2, 3, 5, 10)},
}
COMPARED = {"activation": "relu", "dropout and clipping": "neither", "optimizer": "adam"}


def markdown(results: Mapping[str, Mapping[str, float]], backend: str, threads: int) -> str:
    """A table for each kind of variant."""
    count = f"{threads} thread{'s' * (threads > 1)}"
    lines = [
        describe([f"fcnet {__version__}", f"numpy {np.__version__}"]),
        "",
        f"54-256-256-256-7 in batches of 256, but for what a table varies; {backend}, {count}:",
    ]
    for name, found in results.items():
        base = COMPARED.get(name)
        last = f"÷ {base}" if base else "GFLOP/s of products"
        lines += ["", row([name, "µs a step", "thousand rows a second", last]), row(["---", *["---:"] * 3])]
        for each, seconds in found.items():
            variant = TABLES[name][each]
            end = f"{seconds / found[base]:.2f} ×" if base else f"{variant.flops / seconds / 1e9:,.1f}"
            lines.append(row([each, f"{seconds * 1e6:,.0f}", f"{variant.batch / seconds / 1e3:,.1f}", end]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--backend", choices=["numpy", "numba"], default="numba" if installed("numba") else "numpy")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the tables in this Markdown file")
    options = parser.parse_args()
    results = {}
    for name in options.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = measure(TABLES[name], options.backend, options.threads, options.repeat)
    text = markdown(results, options.backend, options.threads)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps({"machine": describe([]), "seconds": results}, indent=2))
    if options.into:
        into(options.into, "cliffs", text)


if __name__ == "__main__":
    main()
