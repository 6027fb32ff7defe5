"""Where the time of a training step goes: by phase and layer, and beside the matrix products that it cannot do without.

Whole steps are timed in the loop that trains; their pieces are those of the very operations that this loop repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import field
from statistics import median
from time import perf_counter

import numpy as np

from fcnet import machine
from fcnet.backends import choice
from fcnet.backends.base import Backend, Step
from fcnet.backends.ops import Array, Lap, Matmul, Op, Phase, ref
from fcnet.records import dataclass
from fcnet.training.estimate import refuse_memory
from fcnet.training.events import Epoch, Progress
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import Prepared
from fcnet.training.program import MAX_STEPS

REPETITIONS = 7
"""How often everything is timed, in turn."""

SECONDS = 0.08
"""How long one timing of one thing lasts, at the least."""

SETTLE = 0.2
"""Seconds of training before anything is timed: nearly so long the threads of OpenBLAS that the backend before has used
still spin, waiting for more (2²⁸ cycles, an eighth of a second)."""

PhaseOfLayer = tuple[str, int]
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
    sections: dict[PhaseOfLayer, Spread]
    section_flops: dict[PhaseOfLayer, int]


def candidates(prepared: Prepared) -> list[str]:
    """The backends to measure: the one that training would take first, then whatever else is installed."""
    name: str = prepared.settings.backend
    if name == "auto":
        name, _ = prepared.choose()
    return [name, *(other for other in choice.BACKENDS if other != name and choice.fault(other) is None)]


def measure(prepared: Prepared, seconds: float | None = None) -> list[Profile]:
    """Time a step on every candidate, in turn, REPETITIONS times; the chosen backend's profile comes first.

    Raises LimitError where it would not fit, DivergedError where the steps lead to what is not finite.
    """
    refuse_memory(prepared.estimate().memory)
    trials = [_TimedBackend(prepared, prepared.backend(name)) for name in candidates(prepared)]
    for _ in range(REPETITIONS):
        for trial in trials:
            trial.repeat(SECONDS if seconds is None else seconds)
    return [trial.profile() for trial in trials]


def sections(ops: Sequence[Op]) -> list[tuple[PhaseOfLayer, list[Op]]]:
    """The operations of a step by section, in their order; those before the first mark are left out."""
    found: list[tuple[PhaseOfLayer, list[Op]]] = []
    for op in ops:
        if isinstance(op, Phase):
            found.append(((op.phase, op.layer), []))
        elif found:
            found[-1][1].append(op)
    return found


def matmuls(ops: Iterable[Op]) -> list[Matmul]:
    """The matrix products among these operations."""
    return [op for op in ops if isinstance(op, Matmul)]


def flops(ops: Iterable[Op]) -> int:
    """Additions and multiplications in the matrix products among these operations."""
    return sum(2 * op.out.size * op.a.shape[-1] for op in matmuls(ops))


@dataclass
class _Times:
    """Seconds a step, one figure each repetition."""

    step: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    sections: dict[PhaseOfLayer, list[float]] = field(default_factory=lambda: defaultdict(list))


class _TimedBackend:
    """One backend with a net in training, whose step can be timed whole and in pieces."""

    def __init__(self, prepared: Prepared, backend: Backend) -> None:
        self.program, self.source = prepared.begin(backend)
        self.state = self.program.state
        self.rows = min(prepared.batch_size, self.source.n)
        self.blas = backend.blas_threads(prepared.network.largest_product(self.rows))
        self.times = _Times()
        # A net that is only looked at never comes to the end of its epochs.
        plan = Plan(1_000_000, self.rows, prepared.settings.schedule)
        self.loop = train(self.program, self.source, plan, None)
        self._train(0.0)
        self.ops = self.program.recorded(self.rows).tape.ops
        self.laps = Laps(backend, self.ops, self.program.resident)
        self.products = backend.compile(matmuls(self.ops), self.program.resident)

    def repeat(self, seconds: float) -> None:
        """Time everything once, for about `seconds` each."""
        with machine.blas(self.blas):
            self._repeat(seconds)

    def _repeat(self, seconds: float) -> None:
        self._train(SETTLE)
        step = self._train(seconds)
        self.times.step.append(step)
        times = max(2, int(seconds / step))
        self.times.products.append(mean_seconds(self.products, times))
        spent = self._split(times)
        for section, each in spent.items():
            self.times.sections[section].append(each)
        self.times.sections["loop", 0].append(max(0.0, step - sum(spent.values())))

    def profile(self) -> Profile:
        """What was measured so far."""
        counted: dict[PhaseOfLayer, int] = defaultdict(int)
        for section, ops in sections(self.ops):
            counted[section] += flops(ops)
        return Profile(
            self.program.backend.name,
            self.rows,
            Spread.of(self.times.step),
            Spread.of(self.times.products),
            flops(self.ops),
            {section: Spread.of(each) for section, each in self.times.sections.items()},
            {section: made for section, made in counted.items() if made},
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
            if done and perf_counter() - start >= seconds:
                break
        spent = perf_counter() - start
        assert done, "the loop yields after every chunk"
        return spent * self.rows / done

    def _split(self, times: int) -> dict[PhaseOfLayer, float]:
        """Mean seconds of each section, over so many steps at changing places of the epoch."""
        state, most = self.state, min(MAX_STEPS, self.source.n // self.rows)
        self.laps.clear()
        with np.errstate(all="ignore"):
            for done in range(0, times, most):
                self.program.position[:] = (state.epoch, state.step, 0, 0)
                self.laps.run(min(most, times - done))
        return {section: spent / times for section, spent in self.laps.seconds().items()}


class Laps:
    """A recorded step that takes the time after each of its sections, in its place, with the caches as they are there.

    The first section of the first step of a run is not counted: what goes before it is no part of a step.
    """

    def __init__(self, backend: Backend, ops: Sequence[Op], resident: dict[str, Array]) -> None:
        since, first = ref("lap/since", 1, np.int64), ref("lap/first", 1, np.int64)
        made: list[Op] = [Lap({}, since, first)]
        self._totals: list[tuple[PhaseOfLayer, Array]] = []
        for i, (section, own) in enumerate(sections(ops)):
            if own:
                name, total = f"lap/{i}", np.zeros(1, np.int64)
                resident[name] = total
                self._totals.append((section, total))
                done = {f"{n}.{m}": each for n, op in enumerate(own) for m, each in enumerate(op.writes)}
                made += [*own, Lap(done, since, ref(name, 1, np.int64))]
        self.run = backend.compile(made, resident).run

    def clear(self) -> None:
        """Count from here."""
        for _, total in self._totals:
            total[0] = 0

    def seconds(self) -> dict[PhaseOfLayer, float]:
        """What was counted so far."""
        spent: dict[PhaseOfLayer, float] = defaultdict(float)
        for section, total in self._totals:
            spent[section] += int(total[0]) * 1e-9
        return dict(spent)


def mean_seconds(step: Step, times: int) -> float:
    """Seconds of one run of the step, over so many in pieces as long as a chunk of steps can be."""
    start = perf_counter()
    for done in range(0, times, MAX_STEPS):
        step.run(min(MAX_STEPS, times - done))
    return (perf_counter() - start) / times
