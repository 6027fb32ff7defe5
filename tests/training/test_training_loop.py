"""The loop: which epoch is best, when it stops, what it sums, how it ends when numbers run away, and how it goes on."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from training_cases import PLAN, Setup, alone, draw, epochs, layers, run, whole

from fcnet.backends import choice
from fcnet.backends.base import Array
from fcnet.errors import DivergedError
from fcnet.nn.activations import ACTIVATIONS, Relu
from fcnet.nn.layers import Dense
from fcnet.nn.losses import LOSSES, SquaredError
from fcnet.optim.rules import OPTIMIZERS, Adam, Sgd
from fcnet.optim.schedules import SCHEDULES, Constant, CosineDecay
from fcnet.training import loop
from fcnet.training.events import Epoch, Progress
from fcnet.training.loop import Plan, train

NAN = math.nan
BACKENDS = [name for name in ("numpy", "numba") if choice.installed(name)]


def judged(
    values: list[float], *, greater: bool = False, patience: int | None = None, last: bool = False
) -> tuple[Any, list[Epoch]]:
    """The state and the epochs of a run whose validation gives these values one after another."""
    program = Setup(net=layers(outputs=3)).program()
    scores: Iterator[float] = iter(values)

    def validate() -> Mapping[str, float]:
        return {"loss": next(scores)}

    plan = Plan(len(values), 37, Constant(), monitor="loss", greater=greater, patience=patience, last=last)
    return program.state, epochs(run(program, Setup().source(), plan, validate))


@pytest.mark.parametrize(
    ("values", "greater", "best"),
    [
        ([3.0, 2.0, 2.5], False, 2),
        ([3.0, 2.0, 2.5], True, 1),
        ([2.0, 2.0, 2.0], False, 1),
        ([2.0, 2.0, 2.0], True, 1),
        ([NAN, 2.0, 1.0, NAN], False, 3),
        ([NAN, 2.0, 1.0, NAN], True, 2),
        ([NAN, math.inf, 1.0], False, 3),
        ([-0.5, -math.inf, NAN], True, 1),
    ],
)
def test_k25_m7_the_best_epoch(values: list[float], greater: bool, best: int) -> None:
    """By value and direction, the earlier one of equals; NaN is never best and never blocks what follows."""
    state, records = judged(values, greater=greater)

    assert state.best_epoch == best
    assert state.best == values[best - 1]
    assert [e.epoch for e in records if e.best][-1] == best
    assert not any(e.best for e, value in zip(records, values, strict=True) if math.isnan(value))


def test_all_nan_is_no_best() -> None:
    """A run whose metric is never a number has no best value, and its epochs count as waiting."""
    state, records = judged([NAN, NAN, NAN, NAN], patience=3)

    assert math.isnan(state.best)
    assert not any(e.best for e in records)
    assert len(records) == 3
    assert state.finished


def test_early_stopping_counts_epochs_since_the_best() -> None:
    """Patience 2: the run ends after the second epoch in a row that is no better, ties included, and says so."""
    state, records = judged([5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 1.0], patience=2)

    assert [e.epoch for e in records] == [1, 2, 3, 4, 5, 6]
    assert (state.best_epoch, state.best, state.waited) == (4, 3.0, 2)
    assert "no better val_loss for 2 epochs" in str(state.finished)


def test_of_equally_good_epochs_the_last_can_be_kept() -> None:
    """With `last` an epoch as good as the best takes its place, and those to wait for are counted on."""
    state, records = judged([5.0, 3.0, NAN, 3.0, 4.0, 3.0, 9.0], patience=5, last=True)

    assert [record.best for record in records] == [True, True, False, True, False, True, False]
    assert (state.best_epoch, state.best, state.waited) == (6, 3.0, 5)


def test_without_validation_the_last_epoch_is_best() -> None:
    """With nothing to judge by every epoch is the best so far."""
    program = Setup().program()

    records = epochs(run(program, Setup().source()))

    assert [e.best for e in records] == [True, True, True]
    assert program.state.best_epoch == 3
    assert program.state.finished is None
    assert [dict(e.val) for e in records] == [{}, {}, {}]


@pytest.mark.parametrize("stop", range(1, 12))
def test_m23_patience_and_best_survive_a_resume(stop: int) -> None:
    """Stopped after any event and carried on from JSON and vectors, the run decides the same at the same epochs."""
    values = [5.0, NAN, 4.0, 4.5, 4.0, NAN, 3.0, 9.0]
    plan = Plan(8, 37, CosineDecay(warmup=0.1), monitor="loss", patience=3)
    setup = Setup()

    def validation(program: Any) -> Any:
        return lambda: {"loss": values[program.state.epoch]}

    straight = setup.program()
    expected = epochs(run(straight, setup.source(), plan, validation(straight)))
    first = setup.program()
    events = train(first, setup.source(), plan, validation(first))
    seen = [next(events) for _ in range(stop)]
    second = setup.program()
    second.state.restore(json.loads(json.dumps(first.state.numbers(), allow_nan=False)))
    for mine, theirs in zip(second.state.arrays().values(), first.state.arrays().values(), strict=True):
        mine[...] = theirs

    later = run(second, setup.source(), plan, validation(second))

    # as text, in which NaN equals NaN
    assert repr(epochs([*seen, *later])) == repr(expected)
    assert whole(second.state) == whole(straight.state)
    assert straight.state.finished
    assert len(expected) == 6


@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_m20_m21_m22_every_optimizer_and_schedule_resumes_bit_for_bit(rule: str, schedule: str) -> None:
    """In the middle of an epoch or between two: rate, bias correction, step count and dropout go on where they were."""
    options = {"momentum": 0.9} if rule in ("sgd", "rmsprop") else {}
    made = alone(OPTIMIZERS[rule](lr=0.01, weight_decay=0.1, **options))
    setup = Setup(rule=made, dtype=np.float32, clip_norm=1.0)
    plan = replace(PLAN, schedule=SCHEDULES[schedule](warmup=0.2), pause_every=1)
    straight = setup.program()
    expected = epochs(run(straight, setup.source(), plan))

    first = setup.program()
    events, seen = train(first, setup.source(), plan, None), []
    for before, stop in itertools.pairwise((0, 1, 4, 5, 6, 9)):
        seen += [next(events) for _ in range(before, stop)]
        second = setup.program()
        second.state.take(first.state)
        later = run(second, setup.source(), plan)
        assert epochs([*seen, *later]) == expected
        assert whole(second.state) == whole(straight.state)


def test_a_resume_may_extend_the_run() -> None:
    """Three epochs and then two more at a constant rate are five epochs."""
    straight, parts = Setup().program(), Setup().program()
    run(straight, Setup().source(), replace(PLAN, epochs=5))

    run(parts, Setup().source(), PLAN)
    more = run(parts, Setup().source(), replace(PLAN, epochs=5))

    assert [e.epoch for e in epochs(more)] == [4, 5]
    assert whole(parts.state) == whole(straight.state)
    assert run(parts, Setup().source(), replace(PLAN, epochs=5)) == []


def frozen(setup: Setup) -> Setup:
    """The same, at a rate too small to move anything."""
    return replace(setup, rule=Sgd(lr=1e-300))


@pytest.mark.parametrize("batch_size", [1, 7, 8, 36, 37, 38, 1000])
def test_m11_the_epochs_loss_is_the_mean_over_its_rows(batch_size: int) -> None:
    """A short last batch counts by its rows, and a batch may be larger than the data: the loss is that of all rows."""
    w = np.abs(draw(1, "w", 37))
    setup = frozen(Setup(net=layers(5, outputs=3), w=w / w.mean()))

    def loss(batch_size: int) -> float:
        return epochs(run(setup.program(), setup.source(), Plan(1, batch_size, Constant())))[0].train_loss

    assert loss(batch_size) == pytest.approx(loss(37), rel=1e-12)


def test_a_short_batch_moves_by_the_mean_over_its_own_rows() -> None:
    """Nine rows in batches of eight: the ninth row's step is as long as if it were a batch by itself."""
    x, y = draw(1, "x", 9, 4), np.arange(9) % 3
    setup = Setup(net=layers(outputs=3), x=x, y=y, rule=Sgd(lr=0.1), shuffle=False)
    both = setup.program()
    run(both, setup.source(), Plan(1, 8, Constant()))

    apart = setup.program()
    run(apart, replace(setup, x=x[:8], y=y[:8]).source(), Plan(1, 8, Constant()))
    run(apart, replace(setup, x=x[8:], y=y[8:]).source(), Plan(2, 1, Constant()))

    np.testing.assert_allclose(both.state.θ, apart.state.θ, rtol=1e-12)


def test_m10_losses_are_summed_in_float64() -> None:
    """Of 200,000 rows of equal loss in float32 the mean is the loss of one, not what a float32 sum drifts to."""
    n = 200_000
    setup = frozen(
        Setup(
            net=layers(outputs=1),
            loss=SquaredError(),
            x=np.zeros((n, 1)),
            y=np.full((n, 1), math.sqrt(0.1), np.float32),
            dtype=np.float32,
        )
    )

    found = epochs(run(setup.program(), setup.source(), Plan(1, 4096, Constant())))[0].train_loss

    assert found == pytest.approx(float(np.float32(math.sqrt(0.1)) ** 2), rel=1e-7)


def test_events_tell_the_place_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress counts rows and steps, an Epoch record follows the last of each epoch; its rate is the last step's."""
    monkeypatch.setattr(loop, "CHUNK_STEPS", 2)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e9)
    program = Setup(rule=Adam(lr=0.5)).program()

    events = run(program, Setup().source(), replace(PLAN, epochs=2, schedule=CosineDecay()))

    assert [(e.step, e.row, e.epoch) for e in events if isinstance(e, Progress)] == [
        (1, 8, 1),
        (3, 24, 1),
        (5, 37, 1),
        (7, 16, 2),
        (9, 32, 2),
        (10, 37, 2),
    ]
    assert all((e.rows, e.epochs) == (37, 2) for e in events if isinstance(e, Progress))
    records = epochs(events)
    assert [(e.epoch, e.step) for e in records] == [(1, 5), (2, 10)]
    for record, k in zip(records, (4, 9), strict=True):
        assert record.lr == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * k / 10)), rel=1e-12)
    last = [e for e in events if isinstance(e, Progress) and e.row == 37]
    assert [e.train_loss for e in last] == [e.train_loss for e in records]


def test_chunks_end_where_a_checkpoint_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pause every three steps, every third step is the end of a chunk, over epochs, wherever the run began."""
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e9)
    events = run(Setup().program(), Setup().source(), replace(PLAN, pause_every=3))

    ends = {e.step for e in events if isinstance(e, Progress)}
    assert {3, 6, 9, 12, 15} <= ends


def test_validation_sees_the_state_of_its_epoch() -> None:
    """Validation runs once an epoch, after its last step, and what it returns is what the record holds."""
    program = Setup().program()
    steps: list[int] = []

    def validate() -> dict[str, float]:
        steps.append(program.state.step)
        return {"loss": 1.0 / len(steps), "accuracy": 0.5}

    records = epochs(run(program, Setup().source(), replace(PLAN, monitor="accuracy", greater=True), validate))

    assert steps == [5, 10, 15]
    assert [dict(e.val) for e in records] == [{"loss": 1.0 / i, "accuracy": 0.5} for i in (1, 2, 3)]
    assert program.state.best_epoch == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_m4_a_rate_far_too_high_ends_the_run(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """The error names epoch, step and tensor, the same ones wherever chunks end, and what it leaves is finite."""
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e9)
    y = draw(2, "y", 37, 1).astype(dtype)
    setup = Setup(net=layers(8, outputs=1), loss=SquaredError(), y=y, rule=Sgd(lr=1e6), dtype=dtype)
    texts = set()
    for chunk in (1, 3, 64):
        monkeypatch.setattr(loop, "CHUNK_STEPS", chunk)
        program = setup.program()

        with pytest.raises(DivergedError) as caught:
            run(program, setup.source(), replace(PLAN, epochs=50))

        assert caught.value.exit_code == 8
        assert program.state.finite()
        done = program.state.step
        texts.add(str(caught.value))
        assert min(texts).startswith(f"training diverged in epoch {done // 5 + 1}, step {done + 1}: ")
    assert len(texts) == 1
    assert re.search(
        r"step \d+: not finite any more: the .+; the learning rate was 1e\+06: lower optimizer\.lr", texts.pop()
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_not_finite_after_a_chunk_is_found(name: str, bad: float) -> None:
    """One bad number anywhere in the state before a chunk is found after it, unless it has gone."""
    for backend in BACKENDS:
        setup = Setup(rule=alone(OPTIMIZERS[name]()))
        program, source, found = setup.program(choice.make(backend, 2)), setup.source(), 0
        scalars = program.update.scalars(np.arange(1, 4), np.ones(3))
        kept = program.state.copy()
        for vector, at in itertools.product(program.state.arrays().values(), (0, -1)):
            if vector.size:
                program.state.take(kept)
                vector[at] = bad
                with np.errstate(all="ignore"):
                    program.run(source, scalars, 16)  # of 37 rows: two sizes of batch

                assert program.finite() == program.state.finite()
                found += not program.finite()
        assert (found > 0) == (bad != 1.0)


@dataclass(frozen=True)
class Exploding:
    """A schedule that ruins everything after two of three epochs."""

    warmup: float = 0.0

    def at(self, t: Array, epochs: float) -> Array:
        return np.where(t > 2 / 3, 1e250, 1.0)


def test_divergence_keeps_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the replay starts in an earlier epoch, the best epoch and the patience counter are those of the present."""
    monkeypatch.setattr(loop._Keeper, "keep", lambda self, state: None)
    program = Setup(net=layers(5, outputs=3), rule=Sgd(lr=0.1)).program()
    values = iter([3.0, 4.0])
    plan = replace(PLAN, schedule=Exploding(), monitor="loss")

    with pytest.raises(DivergedError, match=r"epoch 3, step 1[2-5]: .* the learning rate was 1e\+249"):
        run(program, Setup().source(), plan, lambda: {"loss": next(values)})

    assert (program.state.epoch, program.state.best, program.state.best_epoch, program.state.waited) == (2, 3.0, 1, 1)
    assert program.state.finite()


@pytest.mark.parametrize("what", ["x", "y", "w"])
def test_a_number_that_is_none_is_found_in_its_chunk(what: str) -> None:
    """One NaN among the inputs, targets or weights of one row ends the run in the epoch that meets it."""
    arrays = {"x": draw(1, "x", 37, 4), "y": draw(1, "y", 37, 1), "w": np.ones(37)}
    arrays[what][20] = np.nan
    setup = Setup(net=layers(5, outputs=1), loss=SquaredError(), **arrays)
    program = setup.program()
    start = program.state.θ.copy()
    start[~np.isfinite(start)] = 0

    with pytest.raises(DivergedError, match="epoch 1, step"):
        run(program, setup.source())

    assert program.state.finite()


@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e30), (np.float64, 1e300)])
def test_m9_large_but_finite_numbers_are_no_divergence(dtype: Any, large: float) -> None:
    """Parameters whose squares overflow are still numbers, and looking at them gives no warning."""
    for backend in BACKENDS:
        program = Setup(dtype=dtype).program(choice.make(backend, 2))
        state = program.state
        for vector in state.arrays().values():
            if not vector.size:
                continue
            vector[-1] = large
            assert program.finite()
            for bad in (np.nan, np.inf, -np.inf):
                vector[-1] = bad
                assert not program.finite()
            vector[-1] = 0
        state.loss[...] = np.nan
        assert not program.finite()


def test_numbers_survive_json_bit_for_bit() -> None:
    """What JSON cannot hold exactly, an infinite best value included, comes back as it was."""
    state = Setup().program().state
    for best in (math.nan, 0.1, -math.inf, 5e-324):
        state.best[...], state.best_epoch[...], state.waited[...], state.finished = best, 7, 3, "why"
        state.loss[...] = 0.1 + 0.2
        other = Setup().program().state

        other.restore(json.loads(json.dumps(state.numbers(), allow_nan=False)))

        assert whole(other) == whole(state)
        assert float(other.loss) == 0.1 + 0.2


def test_an_activation_a_loss_and_an_optimizer_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry in one table each, and a net is trained with them: nothing else has to know."""

    class Twice(Relu):
        """2 max(a, 0)."""

        def f(self, a: Any) -> Any:
            return 2.0 * super().f(a)

        def vjp(self, a: Any, z: Any, δ: Any) -> Any:
            return 2.0 * super().vjp(a, z, δ)

    class Fourth(SquaredError):
        """Mean of (a − y)⁴."""

        def terms(self, a: Any, y: Any) -> Any:
            ℓ, (dℓ,) = super().terms(a, y)
            return ℓ * ℓ, (2.0 * ℓ * dℓ,)

    class Halved(Adam):
        """Adam at half the rate."""

        def update(self, g: Any, θ: Any, state: Any, lr: Any, decay: Any, t: Any) -> Any:
            return super().update(g, θ, state, 0.5 * lr, decay, t)

    for table, name, cls in ((ACTIVATIONS, "twice", Twice), (LOSSES, "fourth", Fourth), (OPTIMIZERS, "halved", Halved)):
        monkeypatch.setitem(table, name, cls)  # type: ignore[arg-type]
    net: Any = [replace(layers(6, outputs=1)[0], activation=ACTIVATIONS["twice"]()), layers(6, outputs=1)[1]]
    assert isinstance(net[0], Dense)
    setup = Setup(net=net, loss=LOSSES["fourth"](), rule=OPTIMIZERS["halved"](lr=0.02), y=draw(5, "y", 37, 1))

    records = epochs(run(setup.program(), setup.source(), replace(PLAN, epochs=40)))

    assert records[-1].train_loss < 0.5 * records[0].train_loss


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_of_steps_do_not_depend_on_where_chunks_begin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steps are asked for, in one piece or in many, across blocks or within, each has the same scalars."""
    monkeypatch.setattr(loop._Scalars, "BLOCK", 16)
    program = Setup(rule=Adam(lr=0.1)).program()
    plan = replace(PLAN, epochs=10, schedule=SCHEDULES[name](warmup=0.1))
    expected = program.update.scalars(np.arange(1, 51), loop.factors(plan.schedule, np.arange(50), 50, 10))

    for cuts in ([0, 50], [0, 1, 2, 15, 16, 17, 33, 50], [0, 47, 50]):
        scalars = loop._Scalars(program, plan, 50)
        pieces = [scalars(start, stop - start) for start, stop in itertools.pairwise(cuts)]

        np.testing.assert_array_equal(np.concatenate(pieces), expected)
        np.testing.assert_array_equal(scalars(20, 5), expected[20:25])
