"""The gradient check: it agrees with every formula that is shipped, and sees a mistake of a thousandth in one."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from check_cases import learnable, prepared, wrong_activation

from fcnet.data.target import tasks_of
from fcnet.nn.activations import ACTIVATIONS, owned
from fcnet.nn.losses import LOSSES
from fcnet.training.gradcheck import GROUPS, ROWS, Trial, check_gradient, compare
from fcnet.training.trace import trace

FITTING = [(name, task) for name, loss in LOSSES.items() for task in tasks_of(loss)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_passes(tmp_path, activation):
    """A net of any activation on real rows has the gradient that finite differences give."""
    checks = check_gradient(Trial(prepared(tmp_path, network={"layers": [5, 4], "activation": activation})))

    own = [f"{slot.name}{i}" for i in (1, 2) for slot in owned(ACTIVATIONS[activation](), 1)]
    assert [c.name for c in checks] == ["b1", "b2", "b3", "W1", "W2", "W3", *own, "θ"]
    assert all(c.passed for c in checks), checks


@pytest.mark.parametrize(("loss", "task"), FITTING)
def test_every_loss_passes_with_dropout_and_weights(tmp_path, loss, task):
    """Any loss, with dropout on inputs and units and with unequal rows, has the right gradient; masks hold still."""
    data = {"class_weight": "balanced"} if task in ("binary", "multiclass") else {}
    data |= learnable(tmp_path, LOSSES[loss])

    checks = check_gradient(
        Trial(prepared(tmp_path, task, loss=loss, data=data, network={"dropout": 0.3, "input_dropout": 0.2}))
    )

    assert all(c.passed for c in checks), checks


def test_weights_that_start_at_zero_pass(tmp_path):
    """Units that would sit on the kink of relu are moved off it, so that no right gradient is called wrong."""
    checks = check_gradient(
        Trial(prepared(tmp_path, network={"layers": [8, 8], "activation": "relu", "init": "zeros"}))
    )

    assert all(c.passed for c in checks), checks


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0])
def test_a_wrong_factor_in_an_activation_is_seen(tmp_path, monkeypatch, factor):
    """A vjp that is off by a thousandth fails the check of all that lies below it, and of nothing above."""
    wrong_activation(monkeypatch, factor)

    checks = {
        c.name: c for c in check_gradient(Trial(prepared(tmp_path, network={"layers": [5], "activation": "tanh"})))
    }

    assert not checks["W1"].passed
    assert not checks["b1"].passed
    assert not checks["θ"].passed
    assert checks["W2"].passed
    assert checks["b2"].passed


def test_a_wrong_factor_in_a_loss_is_seen(tmp_path):
    """A loss whose gradient does not belong to its value fails the check everywhere."""

    @dataclass(frozen=True)
    class Wrong(LOSSES["cross_entropy"]):
        def terms(self, a, y):
            ℓ, (slope,) = super().terms(a, y)
            return ℓ, (1.001 * slope,)

    subject = prepared(tmp_path)

    checks = check_gradient(Trial(replace(subject, head=replace(subject.head, loss=Wrong()))))

    assert not any(c.passed for c in checks)
    assert max(c.error for c in checks) == pytest.approx(1e-3, rel=0.01)


def test_a_deep_net_is_checked_in_groups(tmp_path):
    """A net of a hundred layers is checked as a whole and in a bounded number of groups of neighbours."""
    checks = check_gradient(Trial(prepared(tmp_path, network={"layers": [4] * 100, "activation": "tanh"})))

    assert len(checks) == GROUPS + 1
    assert checks[0].name == "b1 … b7"
    assert all(c.passed for c in checks)


def test_the_batch_is_the_first_of_training_and_theta_comes_back(tmp_path):
    """The rows are training rows, at most a batch of them, and the check leaves θ as it was, bit for bit."""
    subject = prepared(tmp_path, training={"batch_size": 20})
    trial = Trial(subject)
    before = trial.θ.copy()

    check_gradient(trial)

    assert len(trial.rows) == min(20, ROWS)
    assert set(trial.rows) <= set(subject.data.parts["train"])
    assert np.array_equal(trial.θ, before)


def test_a_direction_without_slope_agrees():
    """Where the value does not depend on a parameter, a gradient of 0 is right and any other is wrong."""
    x, key = np.ones(3), np.array([1, 2], np.uint64)

    flat = compare("x", x, np.zeros(3), lambda: np.ones(1), key)
    wrong = compare("x", x, np.full(3, 1e-3), lambda: np.ones(1), key)

    assert flat.passed
    assert not wrong.passed
    assert np.array_equal(x, np.ones(3))


def test_a_step_taken_apart_holds_together(tmp_path):
    """Every equation of a step holds by itself: forward, loss, backward and update, with dropout and clipping."""
    trial = Trial(
        prepared(
            tmp_path,
            network={"layers": [7, 5], "activation": "silu", "dropout": 0.2, "input_dropout": 0.1},
            optimizer={"name": "adamw", "lr": 0.01},
            training={"clip_norm": 0.1},
        )
    )

    found = trace(trial, checked=100)

    assert all(c.passed for c in found.checks), found.checks
    assert {c.name for c in found.checks} >= {"A1", "Z2", "L", "E1", "dW1", "db1", "Δ1", "Δ2", "dW3", "θ'"}
    assert np.array_equal(found.step.g, trial.gradient())
    assert found.step.foretold < 0
    assert found.step.after < found.step.before


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
def test_the_update_is_computed_twice(tmp_path, optimizer):
    """The step that the backend makes is the one that the rule's formula gives when it is evaluated plainly."""
    found = trace(Trial(prepared(tmp_path, "regression", optimizer={"name": optimizer, "weight_decay": 0.1})), 100)

    assert found.step.check.error < 1e-12
    assert np.linalg.norm(found.step.change) > 0


def test_a_step_taken_apart_names_the_wrong_equation(tmp_path, monkeypatch):
    """With a mistake in one vjp, equation (1) of that layer fails, and so do its gradients; all others hold."""
    wrong_activation(monkeypatch)

    found = trace(Trial(prepared(tmp_path, network={"layers": [5], "activation": "tanh"})), 100)

    assert [c.name for c in found.checks if not c.passed] == ["E1", "db1", "dW1"]
