"""Where the time of a training step goes: by phase and layer, and beside the matrix products that it cannot do without.

Whole steps are timed in the loop that trains; their pieces are those of the very tape that this loop replays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import numpy as np

from fcnet import machine
from fcnet.backends import choice
from fcnet.backends.base import Array, Backend, Call, Tape
from fcnet.data.source import MemorySource, one_hot
from fcnet.nn.workspace import Batch
from fcnet.training import build
from fcnet.training.estimate import refuse_memory
from fcnet.training.events import Epoch, Progress
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import Prepared
from fcnet.training.program import Program
from fcnet.training.state import State

REPETITIONS = 7
"""How often everything is timed, in turn."""

SECONDS = 0.08
"""How long one timing of one thing lasts, at the least."""

SAMPLE = 1024
"""Rows that data-driven initialisation sees."""

Section = tuple[str, int]
"""gather, forward, loss, backward, update or loop; and the layer, i of the derivation, 0 where there is none."""


@dataclass(frozen=True)
class Spread:
    """The median and the minimum over the repetitions, in seconds."""

    median: float
    minimum: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Of one figure each repetition."""
        listed = list(seconds)
        return cls(median(listed), min(listed))


@dataclass(frozen=True)
class Profile:
    """A step of `rows` rows on one backend.

    `step` is the whole, as the loop makes it; `products` are its own matrix products alone, `flops` additions and
    multiplications in them; `sections` split the step. "loop" is what the loop adds to the calls of a step: shuffling,
    the schedule, the search for what is not finite. `section_flops` are those of the products in each section.
    """

    backend: str
    rows: int
    step: Spread
    products: Spread
    flops: int
    sections: dict[Section, Spread]
    section_flops: dict[Section, int]


def candidates(prepared: Prepared) -> list[str]:
    """The backends to measure: the one that training would take first, then whatever else is installed."""
    settings, network = prepared.settings, prepared.network
    name: str = settings.backend
    if name == "auto":
        assert settings.training.batch_size != "auto"
        n, units = len(prepared.data.parts["train"]), network.widths[1:]
        steps = settings.training.epochs * -(-n // settings.training.batch_size)
        name, _ = choice.choose(
            choice.Work(network.layout.count, sum(units), len(units), settings.training.batch_size, steps)
        )
    return [name, *(other for other in ("numpy", "numba") if other != name and choice.installed(other))]


def measure(prepared: Prepared, seconds: float | None = None) -> list[Profile]:
    """Time a step on every candidate, in turn, REPETITIONS times; the chosen backend's profile comes first.

    Raises LimitError where it would not fit, DivergedError where the steps lead to what is not finite.
    """
    refuse_memory(prepared.estimate().memory)
    trials = [_Trial(prepared, choice.make(name, int(prepared.settings.threads))) for name in candidates(prepared)]
    for _ in range(REPETITIONS):
        for trial in trials:
            trial.repeat(SECONDS if seconds is None else seconds)
    return [trial.profile() for trial in trials]


class Products(Tape):
    """Keeps the matrix products of what is recorded and nothing else; `flops` counts them by section."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.flops: dict[Section, int] = defaultdict(int)

    def add(self, calls: list[Call]) -> None:
        """Drop the calls."""

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """out = a b."""
        super().add(self.backend.matmul(a, b, out))
        _, phase, layer = self.sections[-1]
        self.flops[phase, layer] += 2 * out.size * a.shape[-1]


@dataclass
class _Times:
    """Seconds a step, one figure each repetition."""

    step: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    sections: dict[Section, list[float]] = field(default_factory=lambda: defaultdict(list))


class _Trial:
    """One backend with a net in training, whose step can be timed whole and in pieces."""

    def __init__(self, prepared: Prepared, backend: Backend) -> None:
        settings, data, network = prepared.settings, prepared.data, prepared.network
        assert settings.training.batch_size != "auto"
        dtype = np.dtype(settings.dtype)
        table = one_hot(prepared.loss, data.target, dtype)
        self.source = MemorySource(data.x, data.y, data.w, rows=data.parts["train"], one_hot=table, seed=settings.seed)
        self.state = State.new(network, prepared.update.names, dtype)
        sample = self.source.order(0, 0, min(SAMPLE, self.source.n))
        network.initialise(self.state.θ, self.state.q, settings.seed, Batch(data.x[sample], data.x[:0]))
        self.program = Program(
            backend,
            network,
            prepared.loss,
            prepared.update,
            self.state,
            weighted=data.w is not None,
            seed=settings.seed,
        )
        self.rows = min(settings.training.batch_size, self.source.n)
        self.times = _Times()
        self.largest = build.largest_product(network, self.rows)
        # A net that is only looked at never comes to the end of its epochs.
        self.loop = train(self.program, self.source, Plan(1_000_000, self.rows, settings.schedule), None)
        self._train(0.0)
        tape = self.program.recorded(self.rows).tape
        self.pieces = list(_pieces(tape))
        self.products = Products(backend)
        self.program.record_gradient(self.program.blank(self.rows, self.products))
        self.idle = Tape(backend)  # what it costs to time a piece at all
        self.idle.advance(self.program.position, 0)

    def repeat(self, seconds: float) -> None:
        """Time everything once, for about `seconds` each."""
        with machine.blas(self.program.backend.blas_threads(self.largest)):
            self._repeat(seconds)

    def _repeat(self, seconds: float) -> None:
        step = self._train(seconds)
        self.times.step.append(step)
        times = max(2, int(seconds / step))
        self.times.products.append(_mean(self.products.run, times))
        idle = _mean(self.idle.run, 1000)
        spent = {section: max(0.0, total - idle) for section, total in self._split(times).items()}
        for section, each in spent.items():
            self.times.sections[section].append(each)
        self.times.sections["loop", 0].append(max(0.0, step - sum(spent.values())))

    def profile(self) -> Profile:
        """What was measured so far."""
        return Profile(
            self.program.backend.name,
            self.rows,
            Spread.of(self.times.step),
            Spread.of(self.times.products),
            sum(self.products.flops.values()),
            {section: Spread.of(each) for section, each in self.times.sections.items()},
            dict(self.products.flops),
        )

    def _train(self, seconds: float) -> float:
        """Train for at least so long; seconds for each `rows` rows."""
        done, start = 0, perf_counter()
        before = self.state.row
        for event in self.loop:
            match event:
                case Progress(row=row):
                    done, before = done + row - before, row
                case Epoch():
                    before = 0
            if perf_counter() - start >= seconds:
                break
        spent = perf_counter() - start
        assert done, "the loop yields after every chunk"
        return spent * self.rows / done

    def _split(self, times: int) -> dict[Section, float]:
        """Mean seconds of each section, over steps at changing places of the epoch."""
        spent: dict[Section, float] = defaultdict(float)
        position, row = self.program.position, 0
        with np.errstate(all="ignore"):
            for _ in range(times):
                row = row + self.rows if row + 2 * self.rows <= self.source.n else 0
                position[:] = (self.state.epoch, self.state.step, row, 0)
                for section, run in self.pieces:
                    start = perf_counter()
                    run(1)
                    spent[section] += perf_counter() - start
        return {section: total / times for section, total in spent.items()}


def _pieces(tape: Tape) -> Iterator[tuple[Section, Callable[[int], None]]]:
    """Each section of the tape with a function that makes its calls."""
    stops = [start for start, _, _ in tape.sections[1:]] + [len(tape.calls)]
    for (start, phase, layer), stop in zip(tape.sections, stops, strict=True):
        if stop > start:
            yield (phase, layer), tape.backend.link(tape.calls[start:stop])


def _mean(run: Callable[[], object], times: int) -> float:
    start = perf_counter()
    for _ in range(times):
        run()
    return (perf_counter() - start) / times
