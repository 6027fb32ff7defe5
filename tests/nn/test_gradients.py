"""The gradient contract: every activation under every loss, against finite differences of the very value reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from nn_cases import ACTIVATION_CASES, LOSS_CASES, ON_VALUES, Objective, error, net, numbers, targets
from tapes import EagerArrays

from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Array
from fcnet.formulas import Expr
from fcnet.nn.activations import ACTIVATIONS, Activation, Tanh, owned
from fcnet.nn.layout import Slot
from fcnet.nn.losses import LOSSES, Exprs, Loss, Pinball, SquaredError, value

ROWS, WIDTHS = 4, (1, 2, 5)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "row weights": {"weighted": True},
    "both in an ensemble": {"dropout": 0.2, "weighted": True, "members": (2,)},
}


def objective(
    activation: Activation,
    loss: Loss,
    n_out: int,
    seed: int,
    *,
    dropout: float = 0.0,
    weighted: bool = False,
    members: tuple[int, ...] = (),
    output: Activation | None = None,
) -> Objective:
    x, y = numbers(seed, "x", ROWS, 3), targets(loss, ROWS, n_out, seed)
    w = np.abs(numbers(seed, "w", ROWS, 1)) + 0.1 if weighted else None
    layers = net(activation, n_out * len(loss.parts), dropout=dropout, output=output)
    return Objective(layers, loss, x, y, w, members=members)


@pytest.mark.parametrize("loss", LOSS_CASES)
@pytest.mark.parametrize("activation", ACTIVATION_CASES)
def test_m24_the_gradient_is_that_of_the_reported_loss(activation: str, loss: str) -> None:
    """Under every option and output width ∇L is the derivative of the accumulated loss, to 1e-6 relative."""
    f, ℓ = ACTIVATION_CASES[activation], LOSS_CASES[loss]

    for n_out in WIDTHS:
        for name, options in OPTIONS.items():

            def build(seed: int, n: int = n_out, options: dict[str, Any] = options) -> Objective:
                return objective(f, ℓ, n, seed, **options)

            assert error(build, name == "plain") < 1e-6, (n_out, name)


@pytest.mark.parametrize("loss", ON_VALUES)
@pytest.mark.parametrize("activation", ACTIVATION_CASES)
def test_the_gradient_passes_through_an_output_activation(activation: str, loss: str) -> None:
    """Losses on values may follow any output activation: the derivation's f_{N−1}."""
    f, ℓ = ACTIVATION_CASES[activation], LOSS_CASES[loss]

    for n_out in WIDTHS:

        def build(seed: int, n: int = n_out) -> Objective:
            return objective(Tanh(), ℓ, n, seed, output=f)

        assert error(build, False) < 1e-6, n_out


@dataclass(frozen=True)
class WrongVjp:
    """An activation whose derivative is off by a factor."""

    right: Any
    factor: float = 1.001
    family = "tanh"

    def f(self, a: Expr) -> Expr:
        return self.right.f(a)

    def vjp(self, a: Expr, z: Expr, δ: Expr) -> Expr:
        return self.factor * self.right.vjp(a, z, δ)

    def slots(self, n: int) -> list[Slot]:
        return owned(self.right, n)

    def slopes(self, a: Expr, z: Expr, δ: Expr) -> dict[str, Expr]:
        return self.right.slopes(a, z, δ) if owned(self.right, 1) else {}


@dataclass(frozen=True)
class WrongLoss(Loss):
    """A loss whose value or gradient is off by a factor."""

    right: Any
    of_value: float = 1.0
    of_gradient: float = 1.0

    @property
    def learns(self) -> Any:
        return self.right.learns

    @property
    def parts(self) -> tuple[str, ...]:
        return self.right.parts

    def terms(self, a: Exprs, y: Expr) -> tuple[Expr, Exprs]:
        ℓ, slopes = self.right.terms(a, y)
        return self.of_value * ℓ, tuple(self.of_gradient * slope for slope in slopes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_wrong_factor_in_a_vjp_is_caught(activation: str) -> None:
    """A vector-Jacobian product that is wrong by 1.001 fails the contract, along directions and coordinates."""
    right = ACTIVATIONS[activation]()

    def build(f: Any) -> Callable[[int], Objective]:
        return lambda seed: objective(f, SquaredError(), 2, seed)

    for every_coordinate in (False, True):
        assert error(build(WrongVjp(right, 1.0)), every_coordinate) < 1e-6
        assert error(build(WrongVjp(right)), every_coordinate) > 1e-5


@pytest.mark.parametrize("options", [{"of_gradient": 1.001}, {"of_value": 1.001}, {"of_value": 0.5}])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_whose_value_does_not_match_its_gradient_is_caught(loss: str, options: dict[str, float]) -> None:
    """A loss that reports one thing and descends another fails the contract, whichever of the two is wrong."""
    right = LOSSES[loss]()

    assert error(lambda seed: objective(Tanh(), WrongLoss(right), 2, seed), False) < 1e-6
    assert error(lambda seed: objective(Tanh(), WrongLoss(right, **options), 2, seed), False) > 1e-5


@pytest.mark.parametrize("loss", LOSS_CASES)
def test_validation_reports_the_loss_that_training_descends(loss: str) -> None:
    """Σ w ℓ of a training step is the sum of the rows' losses as they are computed without a gradient."""
    ℓ = LOSS_CASES[loss]
    for n_out in WIDTHS:
        f = objective(Tanh(), ℓ, n_out, 3, weighted=True)
        θ = f.start(3)
        total = f(θ) * ROWS
        y, w = (f.step.fetch(f.recorded.batch.named[name]) for name in ("y", "w"))

        rows: Array = np.empty((ROWS, 1))
        k = EagerArrays(NumpyBackend())
        value(k, ℓ, k.ref(_outputs(f)), k.ref(y), k.ref(rows))

        assert (rows >= -1e-15).all() or loss == "gaussian"  # a density may be above 1
        assert float((rows * w).sum()) == pytest.approx(total, rel=1e-13, abs=1e-13)


def _outputs(f: Objective) -> Array:
    """z_N of the step just made."""
    return f.step.fetch(f.recorded.spaces[-1]["z_out"])


@pytest.mark.parametrize("loss", LOSS_CASES)
def test_a_row_of_weight_two_counts_as_two_rows(loss: str) -> None:
    """Row weights are repetitions: weight 2 gives the gradient of the row standing twice, weight 0 that of none."""
    ℓ = LOSS_CASES[loss]
    x, y = numbers(1, "x", 3, 3), targets(ℓ, 3, 2, 1)
    w = np.array([[2.0], [0.0], [1.0]])
    layers = net(Tanh(), 2 * len(ℓ.parts))
    weighted = Objective(layers, ℓ, x, y, w)
    θ = weighted.start(1)

    repeated = Objective(layers, ℓ, x[[0, 0, 2]], y[[0, 0, 2]])

    np.testing.assert_allclose(weighted.gradient(θ), repeated.gradient(θ), rtol=1e-12, atol=1e-14)
    assert weighted(θ) == pytest.approx(repeated(θ), rel=1e-12)


def test_every_level_is_predicted_under_a_name_of_its_own() -> None:
    """Levels that are nearly the same are told apart; a short one stands as it was written."""
    levels = [0.5, 0.05, 1e-07, 0.9999991, 0.9999992]

    found = [said.column.format("") for said in Pinball(levels=levels).said[1:]]

    assert found == [f"prediction@{level}" for level in ("1e-07", "0.05", "0.5", "0.9999991", "0.9999992")]
