"""Threads that another program holds up are done without while it does, and no bit depends on that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tapes import ArrayTape

from fcnet import machine
from fcnet.backends.base import Paced
from fcnet.backends.numpy import NumpyBackend, alike
from fcnet.backends.ops import Apply, Matmul, Norm
from fcnet.formulas import Formula, Sym
from fcnet.training import pace
from fcnet.training.pace import Pace


class Machine:
    """A backend on a machine where a step takes so many seconds on one thread, and on two."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one = self.two = 0.001
        self.share = 1.0  # of two processors
        self.wall = self.used = 0.0
        self.threads = 2
        monkeypatch.setattr(pace, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(pace, "process_time", lambda: self.used)

    def most(self, largest: int) -> int:
        return 2

    def use(self, threads: int) -> None:
        self.threads = threads

    def train(self, made: Pace, seconds: float) -> Iterator[tuple[int, str | None]]:
        """After every chunk: the threads that made it, and what is said."""
        stop = self.wall + seconds
        while self.wall < stop:
            step = self.one if self.threads == 1 else self.two
            steps, threads = made.steps(max(1, int(0.1 / step))), self.threads
            made.begin()
            self.wall += steps * step
            self.used += steps * step * threads * (self.share if threads == 2 else 1.0)
            yield threads, made.end(steps)


def test_one_thread_goes_on_where_two_are_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second the run goes on with one thread, says so once, and takes both when the other program ends."""
    found = Machine(monkeypatch)
    made = Pace(found, 2**30)  # type: ignore[arg-type]  # all that it asks of a backend
    found.two, found.share = 0.02, 0.6

    held_up = [*found.train(made, 1.0)]
    then = [*found.train(made, 20.0)]
    found.two, found.share = 0.0006, 1.0
    after = [*found.train(made, 60.0)]

    said = [text for _, text in held_up + then + after if text]
    assert held_up[-1][0] == 1
    assert len(said) == 1
    assert "one thread is 20.0 × as fast as 2" in said[0]
    assert sum(threads == 2 for threads, _ in then) <= 4
    assert after[-1][0] == 2


def test_trials_cost_next_to_nothing_where_threads_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of one's own, steps of one thread are tried more and more seldom, for an instant."""
    found = Machine(monkeypatch)
    found.one = 0.0018
    made = Pace(found, 2**30)  # type: ignore[arg-type]

    chunks = [threads for threads, _ in found.train(made, 120.0)]

    assert 1 <= chunks.count(1) <= 6
    assert found.threads == 2


def test_nothing_is_tried_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for one thread has one."""
    made = Pace(NumpyBackend(1), 2**30)

    assert made.most == 1
    assert made.steps(512) == 512


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(128, 784, 256), (256, 500, 64), (64, 1000, 7), (1, 2000, 300), (300, 640, 1)]
)
def test_products_have_the_same_bits_on_one_blas_thread_as_on_two(m: int, k: int, n: int, dtype: Any) -> None:
    """Long sums too, which OpenBLAS cuts into other blocks when it shares a product out."""
    backend, draw = NumpyBackend(2, alike=True), np.random.default_rng(1)
    a, b = (draw.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
    norm, sums, ends = np.zeros((), dtype), np.zeros(k, dtype), []
    out = np.zeros((m, n), dtype)
    tape = ArrayTape(backend)
    by_columns = [tape.ref(np.ascontiguousarray(x.T).T) for x in (a, b)]
    tape.add(Matmul(tape.ref(a), tape.ref(b), tape.ref(out)))
    tape.add(Matmul(*by_columns, tape.ref(out)))
    tape.add(Apply(Formula({"a": Sym("a")}), {"a": tape.ref(a)}, {}, {"a": tape.ref(sums)}))
    tape.add(Norm(tape.ref(b.reshape(-1)), tape.ref(norm)))

    for threads in (1, 2):
        with machine.blas(threads):
            backend.use(threads)
            tape.run()
        ends.append((out.tobytes(), sums.tobytes(), norm.tobytes()))

    assert ends[0] == ends[1]
    np.testing.assert_allclose(out, a.astype(np.float64) @ b, rtol=1e-3, atol=1e-3)


def test_both_backends_can_change_their_threads() -> None:
    """What the loop looks for, each of them has."""
    assert isinstance(NumpyBackend(2, alike=True), Paced)
    pytest.importorskip("numba")
    from fcnet.backends.numba.backend import NumbaBackend

    assert isinstance(NumbaBackend(2), Paced)


def test_short_sums_are_left_whole() -> None:
    """A product that is made in one piece on any number of threads stays one call."""
    form = np.dtype(np.float32), (128, 256), True

    assert alike(*form, (256, 128), True, 2) == 256
