"""The training loop: a generator that yields between chunks of steps, where the state is whole.

Progress bar, metrics log, checkpoints, signals and time limits are plain consumers: they read what is yielded, save
the state if they like, and stop asking when it is time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from fcnet.backends.ops import Array
from fcnet.data.source import Source
from fcnet.errors import DivergedError
from fcnet.optim.schedules import Constant, Schedule, factors
from fcnet.records import dataclass
from fcnet.training.events import Epoch, MemberEpoch, Notice, Progress
from fcnet.training.pace import Pace
from fcnet.training.program import MAX_STEPS, Program
from fcnet.training.state import State

CHUNK_STEPS = MAX_STEPS
CHUNK_SECONDS = 0.1


Validate = Callable[[], Mapping[str, float | Array]]
"""Loss and metrics on validation, of one net or of each member."""


@dataclass(frozen=True)
class Plan:
    """How long, in which pieces, at which rate. `batch_size` in rows; `pause_every`: steps after which a chunk ends.

    `monitor` is the validation entry that decides which epoch is best ("loss" or a metric), None without validation;
    `greater` its direction; `patience` in epochs, None for no early stopping. `decay` and `dropout`: how these change.
    `last`: of epochs that are equally good the last one is kept, and not the first.
    """

    epochs: int
    batch_size: int
    schedule: Schedule
    monitor: str | None = None
    greater: bool = False
    patience: int | None = None
    pause_every: int | None = None
    decay: Schedule = Constant()
    dropout: Schedule = Constant()
    last: bool = False

    def stopped(self, state: State) -> Array:
        """Whether it is time to stop, (…)."""
        return np.asarray(state.waited >= (math.inf if self.patience is None else self.patience))

    def scalars(self, program: Program, steps: Array, total: int) -> Array:
        """What the steps need, (K, n), of which there are `total`, counted from 0."""
        lr, decay, dropout = (factors(s, steps, total, self.epochs) for s in (self.schedule, self.decay, self.dropout))
        return program.scalars(steps + 1, lr, decay, {"dropout": dropout})


def train(
    program: Program, source: Source, plan: Plan, validate: Validate | None
) -> Iterator[Progress | Epoch | Notice]:
    """Go on from `program.state` to the end of the plan, yielding a Progress after every chunk and an Epoch after each.

    Of a pack `validate` gives one value for each member that is left; a member for which it is time to stop leaves at
    the beginning of the next epoch, and one that diverges at once. Who sets `state.finished` ends the training with the
    chunk: the first epoch is then what there is of it, of a later one nothing counts. Raises DivergedError when a
    number is not finite, of a pack one of each member, at the end of the chunk at the latest, with the state as it was
    before that chunk or earlier.
    """
    state = program.state
    steps_per_epoch = -(-source.n // plan.batch_size)
    total = steps_per_epoch * plan.epochs
    keeper, scalars = _Keeper(state), _Scalars(program, plan, total)
    pace = Pace(program.backend, program.network.largest_product(plan.batch_size))
    per_step = 0.0  # measured seconds
    mark = perf_counter()
    elapsed = state.elapsed

    def tick() -> None:
        state.elapsed = elapsed + perf_counter() - mark

    while state.epoch < plan.epochs and not state.over():
        if (stopped := plan.stopped(state)).any():
            program.keep(np.flatnonzero(~stopped).tolist())
            keeper, scalars = _Keeper(state), _Scalars(program, plan, total)
        while state.row < source.n:
            done = state.row // plan.batch_size
            k = min(CHUNK_STEPS, steps_per_epoch - done, max(1, int(CHUNK_SECONDS / per_step)) if per_step else 1)
            if plan.pause_every:
                k = min(k, plan.pause_every - state.step % plan.pause_every)
            k = pace.steps(k)
            keeper.keep(state)
            pace.begin()
            start = perf_counter()
            with np.errstate(all="ignore"):
                program.run(source, scalars(state.step, k), plan.batch_size)
            seconds = perf_counter() - start
            per_step = seconds / k
            state.seconds += seconds
            if not program.finite():
                good = state.finite()
                if not good.any():
                    raise DivergedError(_diagnose(program, source, plan, keeper.kept, total))
                lost = ", ".join(map(str, state.who[~good]))
                program.keep(np.flatnonzero(good).tolist())
                keeper, scalars = _Keeper(state), _Scalars(program, plan, total)
                yield Notice(f"training diverged in epoch {state.epoch + 1}, step {state.step}: without member {lost}")
            said = pace.end(k)
            if said:
                yield Notice(said, about="threads")
            tick()
            yield Progress(
                state.epoch + 1,
                plan.epochs,
                state.step,
                state.row,
                source.n,
                float(np.mean(state.loss)) / max(state.row, 1),
                k * plan.batch_size / max(seconds, 1e-9),
            )
            if state.over():
                break
        if state.row < source.n and state.epoch:
            return
        factor = float(factors(plan.schedule, np.array([state.step - 1]), total, plan.epochs)[0])
        rates = [rule.lr * factor for rule in program.update.own]
        yield ended(state, plan, validate, rates, tick)


def ended(
    state: State, plan: Plan, validate: Validate | None, rates: Sequence[float], tick: Callable[[], None]
) -> Epoch:
    """Judge an epoch whose rows are done, at these rates of each member, and move on to the next one; `tick` says what
    the time is now."""
    val = dict(validate()) if validate is not None else {}
    losses, seconds = state.loss / state.row, state.seconds
    state.epoch, state.row, state.seconds = state.epoch + 1, 0, 0.0
    state.loss[...] = 0.0
    best = judge(state, plan, val)
    tick()
    mean = {name: float(np.mean(values)) for name, values in val.items()}
    place = state.epoch, plan.epochs, state.step, math.fsum(rates) / len(rates), float(np.mean(losses)), mean
    return Epoch(*place, seconds, state.elapsed, bool(best.any()), _members(state, rates, losses, val, best))


def _members(
    state: State, rates: Sequence[float], losses: Array, val: Mapping[str, Any], best: Array
) -> tuple[MemberEpoch, ...]:
    """What the epoch has brought each member of a pack; none of one net."""
    return tuple(
        MemberEpoch(
            number, rates[i], float(losses[i]), {name: float(each[i]) for name, each in val.items()}, bool(best[i])
        )
        for i, number in enumerate(state.who.tolist() if state.who.ndim else [])
    )


def judge(state: State, plan: Plan, val: Mapping[str, float | Array]) -> Array:
    """Whether this epoch is kept as the best so far, (…); what is not finite never is, and one as good only with
    `plan.last`."""
    value = None if plan.monitor is None else val.get(plan.monitor)
    if value is None:
        state.best_epoch[...] = state.epoch
        return np.ones(state.best.shape, bool)
    beaten = np.isnan(state.best) | (value > state.best if plan.greater else value < state.best)
    better = np.asarray(beaten & np.isfinite(value))
    kept = better | np.asarray(value == state.best) if plan.last else better
    np.copyto(state.best, value, where=better)
    state.best_epoch[kept] = state.epoch
    state.waited[...] = np.where(better, 0, state.waited + 1)
    if plan.stopped(state).all():
        state.finished = f"no better val_{plan.monitor} for {plan.patience} epochs"
    return kept


class _Scalars:
    """What the updates of steps need, for many steps at a time: chunk by chunk it cost a fifth of a tiny net's step."""

    BLOCK = 4096

    def __init__(self, program: Program, plan: Plan, total: int) -> None:
        self._program, self._plan, self._total = program, plan, total
        self._number, self._block = -1, np.empty((0, 0))

    def __call__(self, step: int, k: int) -> Array:
        """(k, n_scalars) for the k steps after `step`, of which the first is number step + 1."""
        parts = []
        while k:
            number, at = divmod(step, self.BLOCK)
            if number != self._number:
                steps = np.arange(number * self.BLOCK, min((number + 1) * self.BLOCK, self._total))
                self._number, self._block = number, self._plan.scalars(self._program, steps, self._total)
            parts.append(self._block[at : at + k])
            step, k = step + len(parts[-1]), k - len(parts[-1])
        return np.concatenate(parts)


class _Keeper:
    """A copy of the state from which a chunk can be replayed, renewed when that costs under 0.5 % of the time."""

    def __init__(self, state: State) -> None:
        start = perf_counter()
        self.kept = state.copy()
        self.at = perf_counter()
        self.cost = self.at - start

    def keep(self, state: State) -> None:
        """Renew the copy if it is time."""
        now = perf_counter()
        if now - self.at > 200 * self.cost:
            self.kept.take(state)
            self.at = perf_counter()
            self.cost = self.at - now


def _diagnose(program: Program, source: Source, plan: Plan, kept: State, total: int) -> str:
    """Replay from the kept state, step by step, and name the first step and tensor that is not finite."""
    state = program.state
    last = state.step
    judged = [each.copy() for each in state.judged]  # the kept state may be of an earlier epoch
    state.take(kept)
    while state.step < last:
        if state.row >= source.n:
            state.epoch, state.row = state.epoch + 1, 0
            state.loss[...] = 0.0
        steps = np.array([state.step])
        factor = factors(plan.schedule, steps, total, plan.epochs)
        rows = min(plan.batch_size, source.n - state.row)
        epoch, before = state.epoch + 1, state.copy()
        with np.errstate(all="ignore"):
            program.run(source, plan.scalars(program, steps, total), plan.batch_size)
        if not program.finite():
            bad = program.first_bad(rows) or "the sum of the losses"
            step = state.step
            state.take(before)
            for own, then in zip(state.judged, judged, strict=True):
                own[...] = then
            lr = program.update.rule.lr * float(factor[0])
            return (
                f"training diverged in epoch {epoch}, step {step}: not finite any more: {bad}; "
                f"the learning rate was {lr:g}: lower optimizer.lr, or set training.clip_norm: 1"
            )
    raise AssertionError("the replay did not meet what the chunk met")
