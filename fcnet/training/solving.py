"""Training by a solver: a generator like the loop, of the same events, in which an epoch is one iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np

from fcnet.backends.base import Step
from fcnet.backends.ops import Advance, Array, like
from fcnet.data.source import MemorySource
from fcnet.errors import DivergedError
from fcnet.optim.solvers import of_objective
from fcnet.training.build import ROWS
from fcnet.training.events import Epoch, Progress
from fcnet.training.loop import Plan, Validate, ended
from fcnet.training.program import Program, blank, record_gradient


class Whole:
    """(L + ½ weight_decay ‖W‖², its gradient) over all rows of training, in float64, as a function of θ (size,).

    Rows stand in the order of the data, and each sum in that of the rows: the same bits each time. The program's own θ
    is not touched. `poll` is called between blocks and may raise.
    """

    def __init__(self, program: Program, source: MemorySource, poll: Callable[[], object]) -> None:
        self.program, self.n, self.poll = program, source.n, poll
        self.source = MemorySource(
            source.inputs, source.y, source.w, rows=source.rows, one_hot=source.one_hot, shuffle=False
        )
        layout, dtype = program.network.layout, program.dtype
        self.θ, self.g = layout.zeros(dtype), layout.zeros(dtype)
        self.total, self.position = np.zeros(()), np.zeros(4, np.int64)
        self.decay = program.update.decays()
        whole, rest = divmod(self.n, ROWS)
        self._steps = [(rows, times, self._step(rows)) for rows, times in ((ROWS, whole), (rest, 1)) if rows and times]
        self._last: tuple[Array, tuple[float, Array]] | None = None

    def _step(self, rows: int) -> Step:
        program, network = self.program, self.program.network
        columns = network.n_out // len(program.loss.parts)
        r = blank(network, rows, program.dtype, columns=columns, weighted=program.weighted, seed=program.seed)
        scale = np.full((), 1.0 / rows, program.dtype)
        self.source.record(r.tape, r.batch)
        record_gradient(r, network, program.loss, like("scale", scale))
        r.tape.add(Advance(rows, r.batch.position))
        own = {"θ": self.θ, "g": self.g, "loss": self.total, "position": self.position, "scale": scale}
        resident = {**own, "q": program.state.q, **self.source.resident(r.batch)}
        return program.backend.compile(r.tape.ops, resident)

    def __call__(self, θ: Array) -> tuple[float, Array]:
        """As the class says."""
        if self._last is not None and np.array_equal(self._last[0], θ):
            return self._last[1]
        self.θ[...], self.total[...], self.position[...] = θ, 0.0, 0
        loss, g = self.penalty(self.θ)
        with np.errstate(all="ignore"):
            for rows, times, step in self._steps:
                for _ in range(times):
                    self.poll()
                    step.run()
                    g += self.g * (rows / self.n)
        found = loss + float(self.total) / self.n, g
        self._last = self.θ.copy(), found
        return found

    def penalty(self, θ: Array) -> tuple[float, Array]:
        """(½ weight_decay ‖W‖², its gradient), in float64."""
        g = self.decay * θ
        return 0.5 * float(g @ θ), g


def solve(
    program: Program,
    source: MemorySource,
    plan: Plan,
    validate: Validate | None,
    poll: Callable[[], object] = lambda: None,
) -> Iterator[Progress | Epoch]:
    """Go on from `program.state` to the end of the plan, yielding a Progress and an Epoch for each iteration.

    The state is whole wherever `poll`, or `validate`, raises: an iteration that is not done has not begun. Raises
    DivergedError where L is not finite to begin with.
    """
    state, solver = program.state, program.update.rule
    assert of_objective(solver)
    objective = Whole(program, source, poll)
    mark, elapsed = perf_counter(), state.elapsed

    def tick() -> None:
        state.elapsed = elapsed + perf_counter() - mark

    while state.row or not (state.epoch >= plan.epochs or state.over()):
        if not state.row:
            start = perf_counter()
            done = solver.iterate(objective, state.θ, state.vectors, state.epoch)
            if not math.isfinite(done.loss):
                raise DivergedError(
                    "the loss of all training rows is not finite at the initial weights; look for huge values in the "
                    "table, or set network.init"
                )
            state.θ[...], state.finished = done.θ, done.finished
            state.row, state.step = source.n, state.step + 1
            mean = done.loss - objective.penalty(state.θ)[0]
            state.loss[...] = mean * source.n
            state.seconds = perf_counter() - start
            tick()
            yield Progress(
                state.epoch + 1,
                plan.epochs,
                state.step,
                state.row,
                source.n,
                mean,
                source.n / max(state.seconds, 1e-9),
            )
        yield ended(state, plan, validate, [solver.lr], tick)
