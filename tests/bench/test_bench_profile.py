"""The profile of a step: that its pieces are the step, and that measuring does not change what is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from tapes import ArrayTape, EagerArrays

from fcnet import config
from fcnet.backends import choice
from fcnet.backends.base import Call
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Accumulate, Matmul, Phase
from fcnet.config.schema import Config
from fcnet.data.source import MemorySource
from fcnet.reports.bench import _share
from fcnet.training import timing
from fcnet.training.prepare import Prepared, prepare
from fcnet.training.timing import candidates, flops, matmuls, measure, sections

MINIMAL = {"data": {"train": "a.csv", "target": "y"}}
BACKENDS = {"numpy": NumpyBackend}
if choice.installed("numba"):
    from fcnet.backends.numba.backend import Least, NumbaBackend

    BACKENDS |= {"numba": NumbaBackend, "numba, 2 threads": lambda: NumbaBackend(2, Least(1, 1, 1, 1, 1, 0))}


@pytest.fixture
def settings(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 5))
    np.savez(tmp_path / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))

    def make(**training: object) -> Config:
        return config.from_mapping(
            {
                "name": "small",
                "data": {"train": str(tmp_path / "data.npz"), "validation": 0},
                "network": {"layers": [8, 4], "dropout": 0.25},
                "training": {"batch_size": 16, **training},
                "backend": "numpy",
            }
        )

    return make


@pytest.fixture
def prepared(settings) -> Prepared:
    return prepare(settings(), 1)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "REPETITIONS", 2)


def test_every_phase_of_every_layer_is_timed(prepared, quick):
    """A profile has gather, loss, update and loop once, and forward and backward of each layer."""
    profile = measure(prepared, 0.001)[0]

    expected = {(phase, i) for phase in ("forward", "backward") for i in (1, 2, 3)}
    assert set(profile.sections) == expected | {(once, 0) for once in ("gather", "loss", "update", "loop")}
    assert all(0 <= spread.minimum <= spread.median for spread in profile.sections.values())
    assert 0 < profile.products.minimum <= profile.products.median
    assert 0 < profile.step.minimum <= profile.step.median


def test_the_operations_are_those_of_the_products(prepared, quick):
    """GFLOP/s counts two operations for each multiplication of forward and backward, and no δ below the first layer."""
    profile = measure(prepared, 0.001)[0]

    sizes = [(5, 8), (8, 4), (4, 1)]
    forward = {("forward", i): 2 * 16 * m * n for i, (m, n) in enumerate(sizes, 1)}
    backward = {("backward", i): (2 if i == 1 else 4) * 16 * m * n for i, (m, n) in enumerate(sizes, 1)}
    assert profile.section_flops == forward | backward
    assert profile.flops == sum(profile.section_flops.values())


def test_the_chosen_backend_comes_first(settings):
    """The backend that the config names leads; where it is left to fcnet, so does the one that training would take."""
    chosen = candidates(prepare(settings(), 1))
    left_open = candidates(prepare(config.from_mapping({**config.to_mapping(settings()), "backend": "auto"}), 1))

    assert chosen[0] == "numpy"
    assert left_open[0] == "numpy"  # a net this small does not pay for compiling
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sections_of_a_step_are_the_whole_step(prepared, backend):
    """Taking the time between the pieces gives the very numbers of the step in one go, and every piece some time."""
    whole, pieces = (timing._TimedBackend(prepared, BACKENDS[backend]()) for _ in range(2))
    before = whole.state.θ.copy()
    for trial in (whole, pieces):
        trial.program.position[:] = (1, 5, 16, 0)

    whole.program.step(16).run()
    pieces.laps.run(1)

    assert np.array_equal(whole.state.θ, pieces.state.θ)
    assert not np.array_equal(whole.state.θ, before)
    assert np.array_equal(whole.program.position, pieces.program.position)
    assert all(seconds > 0 for seconds in pieces.laps.seconds().values())


def test_products_are_all_that_is_kept():
    """A step of products makes products, and nothing of what else is written on the tape."""
    k = ArrayTape(NumpyBackend())
    a, b, out = np.ones((2, 3)), np.ones((3, 4)), np.zeros((2, 4))
    total = np.zeros(())
    k.add(Phase("forward", 1))
    k.add(Matmul(k.ref(a), k.ref(b), k.ref(out)))
    k.add(Accumulate(k.ref(out), k.ref(total)))

    k.backend.compile(matmuls(k.ops), k.resident).run()

    assert np.array_equal(out, np.full((2, 4), 3.0))
    assert total == 0
    assert {section: flops(own) for section, own in sections(k.ops)} == {("forward", 1): 2 * 2 * 3 * 4}


def test_sections_are_marks_alone():
    """A mark on a tape makes no call, neither when recorded nor at once."""
    made: list[Call] = []

    class Seen(NumpyBackend):
        def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
            made.extend(calls)
            return super().link(calls)

    recorded, eager = ArrayTape(Seen()), EagerArrays(Seen())

    for k in (recorded, eager):
        k.add(Phase("forward", 2))
    recorded.run()

    assert made == []
    assert sections(recorded.ops) == [(("forward", 2), [])]
    one = np.ones((1, 1))
    eager.add(Matmul(*[eager.ref(one)] * 3))
    assert len(made) == 1


def test_short_epochs_are_counted_by_rows(prepared, monkeypatch):
    """A step is the time of as many rows as a whole batch has, though the last batch of an epoch is shorter."""
    trial = timing._TimedBackend(prepared, NumpyBackend())
    clock = iter(range(1000))
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    assert isinstance(trial.source, MemorySource)

    seconds = trial._train(30)

    # events of an epoch of 60 rows in batches of 16: whatever the chunks, 60 rows go by between two of its ends
    rows = trial.state.epoch * 60 + trial.state.row - 16
    assert seconds == pytest.approx((next(clock) - 1) * 16 / rows)


def test_the_update_is_shared_out_to_all_layers(settings):
    """A layer has the part of the update that its parameters are of all, whatever they are called."""
    layers = [{"name": "cosine"}, {"name": "scale"}, {"name": "layer_norm"}, 4]
    given = settings()
    subject = prepare(
        replace(given, network=config.from_mapping({**MINIMAL, "network": {"layers": layers}}).network), 1
    )

    shares = [_share(subject, i) for i in range(subject.network.numbers[-1] + 1)]

    assert sum(shares) == pytest.approx(1)
    assert all(share > 0 for share in shares[1:])
