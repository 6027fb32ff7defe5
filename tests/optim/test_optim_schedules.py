"""Schedules: the factor at every step, written out by hand, and what holds for every one that is registered."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from fcnet.optim.schedules import (
    SCHEDULES,
    Constant,
    CosineDecay,
    CosLog,
    Exponential,
    FlatCos,
    Linear,
    OneCycle,
    Schedule,
    StepDecay,
    factors,
)

EPOCHS, PER_EPOCH = 6, 5
TOTAL = EPOCHS * PER_EPOCH

WRITTEN_OUT: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "constant": (Constant(), lambda k: 1.0),
    "constant after warm-up": (Constant(warmup=0.2), lambda k: min(1.0, (k + 1) / 6)),
    "step": (StepDecay(every=2, factor=0.1), lambda k: 0.1 ** (k // 10)),
    "step after warm-up": (
        StepDecay(every=2, factor=0.1, warmup=0.1),
        lambda k: (k + 1) / 3 if k < 3 else 0.1 ** ((k - 3) // 10),
    ),
    "exponential": (Exponential(factor=0.9), lambda k: 0.9 ** (k // 5)),
    "exponential after warm-up": (
        Exponential(factor=0.9, warmup=0.5),
        lambda k: (k + 1) / 15 if k < 15 else 0.9 ** ((k - 15) // 5),
    ),
    "cosine": (CosineDecay(), lambda k: (1 + math.cos(math.pi * k / 30)) / 2),
    "cosine with an end": (CosineDecay(end=0.2), lambda k: 0.2 + 0.4 * (1 + math.cos(math.pi * k / 30))),
    "linear": (Linear(), lambda k: 1 - k / 30),
    "flat_cos": (
        FlatCos(hold=0.4),
        lambda k: 1.0 if k < 12 else (1 + math.cos(math.pi * (k - 12) / 18)) / 2,
    ),
    "flat_cos after warm-up": (
        FlatCos(warmup=0.2),
        lambda k: min(1.0, (k + 1) / 6) if k < 18 else (1 + math.cos(math.pi * (k - 18) / 12)) / 2,
    ),
    "coslog": (CosLog(), lambda k: math.sin(math.pi * math.log2(1 + k / 2)) ** 2),
    "coslog of two": (CosLog(waves=2), lambda k: math.sin(math.pi * math.log2(1 + k / 10)) ** 2),
    "one_cycle": (
        OneCycle(rise=0.4, start=0.1, end=0.02),
        lambda k: (
            0.1 + 0.9 * math.sin(math.pi * k / 24) ** 2
            if k < 12
            else 0.02 + 0.98 * math.cos(math.pi * (k - 12) / 36) ** 2
        ),
    ),
    "linear after warm-up": (Linear(end=0.5, warmup=0.1), lambda k: (k + 1) / 3 if k < 3 else 1 - 0.5 * (k - 3) / 27),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_the_factor_at_every_step(name: str) -> None:
    """Each step of a run of 6 epochs of 5 steps has the factor that the documentation's words give."""
    schedule, factor = WRITTEN_OUT[name]

    found = factors(schedule, np.arange(TOTAL), TOTAL, EPOCHS)

    np.testing.assert_allclose(found, [factor(k) for k in range(TOTAL)], rtol=1e-12, atol=1e-13)


def test_every_schedule_is_written_out() -> None:
    """The table above names every registered schedule."""
    assert {type(schedule) for schedule, _ in WRITTEN_OUT.values()} == set(SCHEDULES.values())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.99])
def test_a_schedule_starts_at_the_full_rate_and_never_exceeds_it(name: str, warmup: float) -> None:
    """After a warm-up in equal steps the first factor is 1; none is negative or above 1; the last step has one too.

    Waves begin at 0, and their first is at its top when the logarithm is at a half; a cycle begins at its start.
    """
    schedule = SCHEDULES[name](warmup=warmup)
    for total, epochs in [(1, 1), (7, 7), (1000, 13)]:
        found = factors(schedule, np.arange(total), total, epochs)
        w = round(warmup * total)

        np.testing.assert_allclose(found[:w], np.arange(1, w + 1) / max(w, 1))
        if w < total:
            assert found[w] == {"coslog": 0.0, "one_cycle": 0.04}.get(name, 1.0)
        assert found.dtype == np.float64
        assert (found >= 0).all()
        assert (found <= 1).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_do_not_depend_on_how_steps_are_grouped(name: str) -> None:
    """Asked for one by one or in pieces, as a resumed run asks, each step has exactly the same factor."""
    schedule = SCHEDULES[name](warmup=0.15)
    whole = factors(schedule, np.arange(97), 97, 7)

    for size in (1, 10, 64):
        pieces = [factors(schedule, np.arange(at, min(at + size, 97)), 97, 7) for at in range(0, 97, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(("schedule", "every"), [(Exponential(factor=0.5), 1), (StepDecay(every=3, factor=0.5), 3)])
def test_rates_by_epoch_change_exactly_between_epochs(schedule: Schedule, every: int) -> None:
    """However many steps an epoch has, rounding never moves a drop of the rate by a step."""
    for per_epoch in (1, 3, 7, 49, 1000):
        for epochs in (3, 30, 77):
            found = factors(schedule, np.arange(per_epoch * epochs), per_epoch * epochs, epochs)

            expected = 0.5 ** (np.arange(per_epoch * epochs) // per_epoch // every)
            np.testing.assert_array_equal(found, expected, f"{per_epoch} steps an epoch")


@pytest.mark.parametrize(("waves", "ends"), [(1, [1]), (2, [1 / 3, 1]), (4, [1 / 15, 3 / 15, 7 / 15, 1])])
def test_waves_end_where_each_has_been_twice_as_long_as_the_last(waves: int, ends: list[float]) -> None:
    """coslog comes down to 0 at its natural ends and nowhere else, with a top of 1 in every wave."""
    t = np.arange(15001) / 15000

    found = CosLog(waves=waves).at(t, 1.0)

    zeros = np.flatnonzero((found[1:-1] <= found[:-2]) & (found[1:-1] <= found[2:])) + 1
    np.testing.assert_allclose(t[[*zeros, -1]], ends, atol=1e-4)
    np.testing.assert_allclose(CosLog(waves=waves).at(np.array(ends), 1.0), 0, atol=1e-12)
    for start, stop in itertools.pairwise([0, *ends]):
        assert found[(t >= start) & (t <= stop)].max() == pytest.approx(1.0, abs=1e-4)


def test_one_cycle_is_pytorchs_but_for_a_step() -> None:
    """The factors are OneCycleLR's, which takes rise · total − 1 steps up and total − 1 in all."""
    torch = pytest.importorskip("torch")
    total = 2000
    weight = torch.nn.Parameter(torch.zeros(1))
    rule = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(rule, max_lr=1.0, total_steps=total, cycle_momentum=False)
    expected = []
    for _ in range(total):
        expected.append(rule.param_groups[0]["lr"])
        rule.step()
        if len(expected) < total:
            theirs.step()

    found = factors(OneCycle(), np.arange(total), total, 1)

    np.testing.assert_allclose(found, expected, atol=2 * math.pi / (0.3 * total))
    assert found.argmax() == np.argmax(expected) + 1
