"""Whose products a run uses: those that are right and not slower here, and always the same for the same net."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from fcnet import extras
from fcnet.backends import choice
from fcnet.backends.base import HostStep
from fcnet.backends.numba import store, trial
from fcnet.backends.offer import ProductShapes
from fcnet.backends.ops import Array, Matmul

SHAPES = ((20, 9, 17), (20, 17, 3))
F4 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kernel folder of the test's own, in which nothing was tried yet."""
    monkeypatch.setattr(store, "_private", [])
    monkeypatch.setattr(store, "_own", lambda: tmp_path)
    trial.chosen.cache_clear()
    yield tmp_path
    trial.chosen.cache_clear()


def clocked(monkeypatch: pytest.MonkeyPatch, own: float, blas: float) -> list[Any]:
    """Have trials find these times; what was tried."""
    tried: list[Any] = []
    monkeypatch.setattr(trial, "times", lambda steps, often: tried.append(steps) or (own, blas))
    return tried


@pytest.mark.parametrize(("own", "blas", "products"), [(1.0, 1.0, "own"), (1.19, 1.0, "own"), (1.21, 1.0, "blas")])
def test_the_faster_products_are_taken(own: float, blas: float, products: str, monkeypatch: Any) -> None:
    """BLAS has to be a fifth faster at the shapes of the net, forward and backward, of which each is tried once."""
    tried = clocked(monkeypatch, own, blas)

    assert trial.verdict((*SHAPES, SHAPES[0]), F4) == products
    assert len(tried[0]) == 6


def test_wrong_products_are_not_used_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element that is off by more than rounding can be, or none that was written, and BLAS makes all products."""
    clocked(monkeypatch, 0.0, 1.0)
    step = trial._step

    class Off:
        """A step that spoils the last element of what it has made."""

        def __init__(self, made: HostStep, out: Any, by: float) -> None:
            self.made, self.out, self.by = made, out, by

        def __getattr__(self, name: str) -> Any:
            return getattr(self.made, name)

        def run(self, times: int = 1) -> None:
            self.made.run(times)
            self.made.fetch(self.out)[-1, -1] += self.by

    def off(by: float) -> Any:
        return lambda way, op, held: Off(step(way, op, held), op.out, by) if way == "own" else step(way, op, held)

    found = []
    for by in (0.0, 1e-3, np.nan):
        monkeypatch.setattr(trial, "_step", off(by))
        found.append(trial.verdict(SHAPES, F4))

    assert found == ["own", "blas", "blas"]


def test_a_real_trial_times_both_ways() -> None:
    """It ends with two times, of products that were made as often as it takes for the clock to see them."""
    op = trial.layer_matmuls(*SHAPES[0], F4)[0]
    held: dict[str, Array] = {name: np.ones(400, np.float32) for name in ("Z", "E", "W")}
    steps = [(trial._step("own", op, held), trial._step("blas", op, held))]

    own, blas = trial.times(steps, [trial._often(op)])

    assert 0 < own < 1
    assert 0 < blas < 1
    assert trial._often(op) > 100
    assert trial._often(trial.layer_matmuls(1000, 500, 500, F4)[0]) == 1
    assert (steps[0][0].fetch(op.out) == 9).all()


def test_a_product_is_tried_as_a_step_has_it() -> None:
    """The factors lie in memory as in a step; of very long ones some rows do."""
    forward, back, gradient = trial.layer_matmuls(20, 9, 17, F4)
    long: list[Matmul] = trial.layer_matmuls(trial.ROWS, 4000, 3000, F4)

    assert [(op.a.shape, op.b.shape, op.out.shape) for op in (forward, back, gradient)] == [
        ((20, 9), (9, 17), (20, 17)),
        ((20, 17), (17, 9), (20, 9)),
        ((17, 20), (20, 9), (17, 9)),
    ]
    assert (forward.b.strides, back.b.strides, gradient.a.strides) == ((1, 9), (9, 1), (1, 17))
    assert all(op.out.size * op.b.shape[0] <= trial.LARGEST for op in long)


def test_a_verdict_is_kept(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run of the same net on the same machine does not try again, but one of another net does, and one that
    finds no verdict in the file."""
    tried = clocked(monkeypatch, 2.0, 1.0)
    assert trial.chosen(SHAPES, F4) == "blas"
    (kept,) = kernels.glob("products-*.json")

    for text, then, times in ((None, "blas", 1), ("{", "own", 2), ('{"products": "both"}', "own", 3), ("[]", "own", 4)):
        clock = 2.0 if text is None else 1.0
        monkeypatch.setattr(trial, "times", lambda steps, often, own=clock: tried.append(steps) or (own, 1.0))
        if text is not None:
            kept.write_text(text)
        trial.chosen.cache_clear()
        assert trial.chosen(SHAPES, F4) == then
        assert len(tried) == times
    assert trial.chosen(SHAPES[:1], F4) == "own"
    assert len([*kernels.glob("products-*.json")]) == 2


def test_of_two_trials_at_a_time_the_first_verdict_counts(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that found BLAS faster goes by what another has kept meanwhile, as all later ones will."""

    def other(steps: object, often: object) -> tuple[float, float]:
        trial.chosen.cache_clear()
        clocked(monkeypatch, 1.0, 1.0)
        assert trial.chosen(SHAPES, F4) == "own"
        return 2.0, 1.0

    monkeypatch.setattr(trial, "times", other)

    assert trial.chosen(SHAPES, F4) == "own"
    trial.chosen.cache_clear()
    assert trial.chosen(SHAPES, F4) == "own"


@pytest.mark.parametrize("how", ["temporary", "no room"])
def test_where_no_verdict_can_be_kept_products_are_blas(
    how: str, kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of an error; the next process could find another verdict, and other bits."""
    clocked(monkeypatch, 0.0, 1.0)
    if how == "temporary":
        monkeypatch.setattr(store, "_private", [kernels])
    else:

        def full(path: Path, data: bytes) -> None:
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(trial.files, "write_file", full)
    before = extras.notices()

    assert trial.chosen(SHAPES, F4) == "blas"
    assert extras.notices() == before


def test_a_backend_without_its_own_products_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products by BLAS, on two threads as on one, and everything else by kernels; BLAS has the threads then."""
    op, *_ = trial.layer_matmuls(*SHAPES[0], F4)
    clocked(monkeypatch, 2.0, 1.0)
    outs = []
    for threads, wanted in ((1, "own"), (1, "blas"), (2, ProductShapes(SHAPES, F4))):
        backend: Any = choice.make("numba", threads, products=wanted)  # type: ignore[arg-type]
        draw = np.random.default_rng(0)
        held: dict[str, Array] = {name: draw.random(n).astype(F4) for name, n in trial._sizes(SHAPES).items()}
        step = backend.compile([op], held)
        step.run()
        outs.append(np.array(step.fetch(op.out)))

    assert backend.products == "blas"
    assert backend.blas_threads(2**30) == backend.plain.threads
    assert outs[1].tobytes() == outs[2].tobytes()
    np.testing.assert_allclose(outs[1], outs[0], rtol=1e-6)
