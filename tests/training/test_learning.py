"""It really learns: problems with known answers, and one with nothing to be learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from training_cases import PLAN, Setup, alone, draw, epochs, layers, outputs, run

from fcnet.backends.base import Array
from fcnet.nn.activations import Identity, Tanh
from fcnet.nn.initializers import GlorotNormal
from fcnet.nn.layers import Dense
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from fcnet.nn.rows import Rows
from fcnet.optim.rules import OPTIMIZERS, Adam, Muon, RmsProp, Sgd
from fcnet.optim.schedules import CosineDecay, Linear
from fcnet.training.program import Forward

RATES: dict[str, Any] = {
    "sgd": Sgd(lr=0.1, momentum=0.9),
    "rmsprop": RmsProp(lr=0.003),
    "muon": Adam(lr=0.02, groups=[Muon(match="W*")]),
}


def accuracy(program: Any, x: Array, labels: Array) -> float:
    return float(np.mean(np.argmax(outputs(program, x), axis=-1) == labels))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_m25_three_blobs(rule: str, dtype: Any) -> None:
    """Clusters four spreads apart are told apart on fresh rows by every optimizer: at least 95 %."""
    centres = np.array([[0, 0], [4, 0], [0, 4]])
    labels = np.arange(600) % 3
    x = centres[labels] + draw(1, "blobs", 600, 2)
    setup = Setup(net=layers(8, outputs=3), x=x[:300], y=labels[:300], dtype=dtype, rule=_rule(rule))
    program = setup.program()

    run(program, setup.source(), replace(PLAN, epochs=15, batch_size=16))

    assert accuracy(program, x[300:], labels[300:]) >= 0.95


def _rule(name: str) -> Any:
    return RATES.get(name) or alone(OPTIMIZERS[name](lr=0.02))


@pytest.mark.parametrize("seed", range(3))
def test_m25_xor(seed: int) -> None:
    """What no straight line separates: a hidden layer learns it without a mistake, one output under the binary loss."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 10, float)
    y = np.array([[0], [1], [1], [0]] * 10, float)
    net: Any = [Dense(8, Tanh(), GlorotNormal()), Dense(1, Identity(), GlorotNormal())]
    setup = Setup(net=net, loss=BinaryCrossEntropy(), x=x, y=y, rule=Adam(lr=0.05), seed=seed)
    program = setup.program()

    records = epochs(run(program, setup.source(), replace(PLAN, epochs=80)))

    np.testing.assert_array_equal(outputs(program, x) > 0, y > 0.5)
    assert records[-1].train_loss < 0.05


def test_a_straight_line_is_found_exactly() -> None:
    """Targets that are a linear function of the inputs: the weights and biases come out, to six digits."""
    W, b = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -0.25]]), np.array([0.7, -1.5])
    x = draw(2, "x", 200, 3)
    setup = Setup(net=layers(outputs=2), loss=SquaredError(), x=x, y=x @ W.T + b, rule=Adam(lr=0.05))
    program = setup.program()

    run(program, setup.source(), replace(PLAN, epochs=60, batch_size=20, schedule=Linear()))

    found = program.network.layout.views(program.state.θ)
    np.testing.assert_allclose(found["W1"], W, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["b1"], b, rtol=1e-6)


def test_least_squares_with_row_weights() -> None:
    """With noise and row weights, descent on all rows ends at the solution of the normal equations."""
    x, w = draw(3, "x", 60, 3), np.abs(draw(3, "w", 60)) + 0.1
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 0.3 + draw(3, "noise", 60, 1)
    w /= w.mean()
    setup = Setup(net=layers(outputs=1), loss=SquaredError(), x=x, y=y, w=w, rule=Sgd(lr=0.2))
    program = setup.program()

    run(program, setup.source(), replace(PLAN, epochs=400, batch_size=60))

    design = np.concatenate([x, np.ones((60, 1))], axis=1)
    solution = np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w[:, None] * y))
    found = program.network.layout.views(program.state.θ)
    np.testing.assert_allclose(np.append(found["W1"], found["b1"]), solution[:, 0], rtol=1e-9)


def test_m25_shuffled_labels_teach_nothing() -> None:
    """Labels without relation to the inputs: on fresh rows the net is right about as often as a coin."""
    x, labels = draw(4, "x", 1400, 5), (draw(4, "labels", 1400) > 0).astype(int)
    setup = Setup(net=layers(16, outputs=2), x=x[:400], y=labels[:400], one_hot=np.eye(2))
    program = setup.program()

    run(program, setup.source(), replace(PLAN, epochs=10, batch_size=20))

    assert abs(accuracy(program, x[400:], labels[400:]) - 0.5) < 0.06  # four standard errors


def test_m26_the_order_of_the_classes_does_not_matter() -> None:
    """With classes renamed, and the output's initial weights with them, predictions are renamed and nothing else."""
    order = np.array([2, 0, 1])
    setup = Setup(net=layers(6, outputs=3), w=np.abs(draw(5, "w", 37)))
    plain, renamed = setup.program(), setup.program()
    views = renamed.network.layout.views(renamed.state.θ)
    views["W2"][order] = views["W2"].copy()
    run(plain, setup.source(), replace(PLAN, epochs=10))

    run(renamed, replace(setup, y=order[np.arange(37) % 3]).source(), replace(PLAN, epochs=10))

    x = setup.source().inputs.x
    np.testing.assert_allclose(outputs(renamed, x)[:, order], outputs(plain, x), rtol=1e-9, atol=1e-12)


def test_m12_m13_outputs_do_not_depend_on_the_grouping_of_rows() -> None:
    """Scored one by one, by sevens or at once, rows get the same outputs within rounding, and chosen rows theirs."""
    setup = Setup(dtype=np.float32)
    program = setup.program()
    run(program, setup.source(), replace(PLAN, schedule=CosineDecay()))
    x = setup.source().inputs.x
    every = outputs(program, x)

    for size in (1, 7, 37, 64):
        forward = _forward(program, size)
        np.testing.assert_allclose(forward(Rows(x)), every, rtol=1e-5, atol=1e-6)
        rows = np.array([5, 5, 36, 0])
        np.testing.assert_allclose(forward(Rows(x), rows), every[rows], rtol=1e-5, atol=1e-6)
    assert _forward(program, 7)(Rows(x[:0])).shape == (0, 3)


def _forward(program: Any, rows: int) -> Any:
    return Forward(program.backend, program.network, program.state.θ, program.state.q, rows)


def test_scoring_sees_the_weights_of_the_moment() -> None:
    """Recorded once, scoring follows θ as training changes it, and never drops a unit."""
    setup = Setup(net=layers(6, outputs=3, dropout=0.5))
    program, source = setup.program(), setup.source()
    forward = _forward(program, 64)
    before = forward(source.inputs).copy()

    np.testing.assert_array_equal(forward(source.inputs), before)
    run(program, source)

    assert np.abs(forward(source.inputs) - before).max() > 1e-3
    np.testing.assert_array_equal(forward(source.inputs), outputs(program, source.inputs.x))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_probabilities_fit_the_frequencies(smoothing: float) -> None:
    """One constant input: the softmax of the outputs becomes the classes' shares of the weights, smoothed as asked."""
    y, w = np.arange(30) % 3, np.where(np.arange(30) % 3 == 0, 2.0, 0.5)
    setup = Setup(
        net=layers(outputs=3),
        loss=CrossEntropy(label_smoothing=smoothing),
        x=np.zeros((30, 1)),
        y=y,
        w=w,
        rule=Sgd(lr=1.0),
    )
    program = setup.program()

    run(program, setup.source(), replace(PLAN, epochs=300, batch_size=30))

    a = outputs(program, np.zeros((1, 1)))[0]
    shares = np.array([2.0, 0.5, 0.5]) / 3
    np.testing.assert_allclose(np.exp(a) / np.exp(a).sum(), (1 - smoothing) * shares + smoothing / 3, atol=1e-6)
