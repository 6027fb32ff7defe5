"""The derivation's equations one by one, against loops over single numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from nn_cases import ACTIVATION_CASES, Objective, net, numbers
from tapes import EagerArrays

from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Array, Matmul, like
from fcnet.nn.activations import ACTIVATIONS, Activation, owned
from fcnet.nn.initializers import Zeros
from fcnet.nn.layers import Dense, Dropout, go
from fcnet.nn.layout import Layout, Slot
from fcnet.nn.losses import SquaredError
from fcnet.nn.network import Network
from fcnet.nn.workspace import Batch, Workspace
from fcnet.optim.rules import Adam, Muon
from fcnet.optim.update import Updater

B, N_IN, N_OUT = 4, 3, 2


class Made:
    """One dense layer, run forward and backward at once on numbers of its own."""

    def __init__(self, activation: Activation) -> None:
        layer = Dense(N_OUT, activation, Zeros())
        self.z = numbers(1, "z", B, N_IN)
        self.W, self.b = numbers(1, "W", N_OUT, N_IN), numbers(1, "b", N_OUT)
        self.δ = numbers(1, "δ", B, N_OUT)
        held = {"W": self.W, "b": self.b}
        held |= {slot.name: numbers(1, slot.name, *slot.shape) for slot in owned(activation, N_OUT)}
        self.g = {name: np.full(value.shape, np.nan) for name, value in held.items()}
        self.ε = self.δ.copy()
        ws = Workspace("1", Batch.of(B, N_IN, N_OUT, np.float64), (B,), True, 0, np.float64)
        k = EagerArrays(NumpyBackend())
        p, g = k.refs(held), k.refs(self.g)
        self.z_out = k.fetch(go(layer, k, p, {}, ws, k.ref(self.z))).copy()
        δ_in = layer.backward(k, p, {}, g, ws, k.ref(self.ε))
        self.δ_in = None if δ_in is None else k.fetch(δ_in)
        self.a = np.array(
            [
                [sum(self.W[k, j] * self.z[r, j] for j in range(N_IN)) + self.b[k] for k in range(N_OUT)]
                for r in range(B)
            ]
        )


def close(found: Array | None, expected: Array) -> None:
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_forward_is_a_product_a_sum_and_a_function() -> None:
    """aᵏ = Σⱼ Wᵏʲ zʲ + bᵏ and zᵏ = f(aᵏ), number by number."""
    close(Made(ACTIVATIONS["identity"]()).z_out, Made(ACTIVATIONS["identity"]()).a)
    made = Made(ACTIVATIONS["tanh"]())
    close(made.z_out, np.array([[math.tanh(made.a[r, k]) for k in range(N_OUT)] for r in range(B)]))


def test_equation_1_for_a_function_of_single_units() -> None:
    """εᵏ = δᵏ f'(aᵏ), with the derivatives of tanh and the logistic function written out."""
    tanh, sigmoid = Made(ACTIVATIONS["tanh"]()), Made(ACTIVATIONS["sigmoid"]())

    for r in range(B):
        for k in range(N_OUT):
            assert tanh.ε[r, k] == pytest.approx(tanh.δ[r, k] / math.cosh(tanh.a[r, k]) ** 2, rel=1e-12)
            e = math.exp(-sigmoid.a[r, k])
            assert sigmoid.ε[r, k] == pytest.approx(sigmoid.δ[r, k] * e / (1 + e) ** 2, rel=1e-12)


def test_equation_1_for_softmax_is_a_jacobian_product() -> None:
    """εᵏ = Σⱼ (∂zʲ/∂aᵏ) δʲ with ∂zʲ/∂aᵏ = zʲ (1[j = k] − zᵏ): no elementwise factor would do."""
    made = Made(ACTIVATIONS["softmax"]())

    for r in range(B):
        e = [math.exp(a) for a in made.a[r]]
        z = [x / sum(e) for x in e]
        for k in range(N_OUT):
            expected = sum(z[j] * ((j == k) - z[k]) * made.δ[r, j] for j in range(N_OUT))
            assert made.ε[r, k] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", ACTIVATION_CASES)
def test_equation_2(activation: str) -> None:
    """δʲ at a layer's input is Σₖ Wᵏʲ εᵏ, the k-th row of Wᵀ being W's k-th column."""
    made = Made(ACTIVATION_CASES[activation])

    expected = [[sum(made.W[k, j] * made.ε[r, k] for k in range(N_OUT)) for j in range(N_IN)] for r in range(B)]

    close(made.δ_in, np.array(expected))


@pytest.mark.parametrize("activation", ACTIVATION_CASES)
def test_equation_3(activation: str) -> None:
    """dbᵏ = εᵏ, summed over the rows."""
    made = Made(ACTIVATION_CASES[activation])

    close(made.g["b"], np.array([sum(made.ε[r, k] for r in range(B)) for k in range(N_OUT)]))


@pytest.mark.parametrize("activation", ACTIVATION_CASES)
def test_equation_4(activation: str) -> None:
    """dWᵏʲ = εᵏ zʲ with z the layer's input, summed over the rows."""
    made = Made(ACTIVATION_CASES[activation])

    expected = [[sum(made.ε[r, k] * made.z[r, j] for r in range(B)) for j in range(N_IN)] for k in range(N_OUT)]

    close(made.g["W"], np.array(expected))


def test_the_whole_backward_pass_against_loops() -> None:
    """Two layers, squared error, one row at a time: the algorithm as the derivation writes it gives ∇L."""
    x, y = numbers(2, "x", B, 3), numbers(2, "y", B, 2)
    f = Objective(net(ACTIVATIONS["tanh"](), 2), SquaredError(), x, y)
    θ = f.start(2)
    p = f.network.layout.views(θ)
    expected = {name: np.zeros_like(view) for name, view in p.items()}
    for r in range(B):
        z = [x[r]]
        for i in (1, 2, 3):
            a = p[f"W{i}"] @ z[-1] + p[f"b{i}"]
            z.append(np.tanh(a) if i < 3 else a)
        δ = 2 * (z[3] - y[r]) / 2 / B
        for i in (3, 2, 1):
            ε = δ * (1 - z[i] ** 2) if i < 3 else δ
            expected[f"b{i}"] += ε
            expected[f"W{i}"] += np.outer(ε, z[i - 1])
            δ = p[f"W{i}"].T @ ε

    found = f.network.layout.views(f.gradient(θ))

    for name, value in expected.items():
        close(found[name], value)


def test_order_of_the_parameters_is_biases_then_weights_then_the_rest() -> None:
    """θ = [b₁ …, W₁ …, others]; every slot starts on a multiple of 16 elements, and nothing else is in between."""
    slots = [Slot("E1", (5, 2), "embedding"), Slot("W1", (3, 7), "weight"), Slot("b1", (3,), "bias")]
    layout = Layout([*slots, Slot("b2", (17,), "bias"), Slot("W2", (2, 3), "weight")])

    assert layout.starts == {"b1": 0, "b2": 16, "W1": 48, "W2": 80, "E1": 96}
    assert (layout.size, layout.count) == (112, 10 + 21 + 3 + 17 + 6)
    θ = layout.zeros(np.float32)
    assert θ.ctypes.data % 64 == 0
    layout.views(θ)["W2"][1, 2] = 1.5
    assert list(np.flatnonzero(θ)) == [80 + 5]


def test_a_slot_may_be_a_single_number() -> None:
    """A parameter of shape () has its place and a view without axes, of an array and of a buffer alike."""
    layout = Layout([Slot("b1", (3,), "bias"), Slot("slope1", (), "vector")])
    θ = layout.zeros(np.float64)

    layout.views(θ)["slope1"][...] = 0.25

    assert θ.tolist() == [0.0] * 16 + [0.25] + [0.0] * 15
    part = layout.views(like("θ", θ))["slope1"]
    assert (part.shape, part.start) == ((), 16)


def test_segments_cover_everything_once_and_keep_rules_apart() -> None:
    """Each element of θ lies in one segment of equal factors; what rules of their own move never shares one."""
    layout = Layout(
        [
            Slot("b1", (3,), "bias", decay=1.0),
            Slot("W1", (3, 7), "weight"),
            Slot("W2", (2, 3), "weight"),
            Slot("v2", (9,), "vector", decay=1.0),
            Slot("v3", (9,), "vector", lr=0.5, decay=1.0),
        ]
    )

    def segments(rule: Adam) -> list[tuple[int, int, float, float]]:
        pieces = (piece.segment for piece in Updater(rule, layout).pieces)
        return [(s.start, s.stop, s.lr, s.decay) for s in pieces]

    assert segments(Adam()) == [(0, 80, 1.0, 1.0), (80, 96, 0.5, 1.0)]
    kinds = [(0, 16, 1.0, 1.0), (16, 64, 1.0, 1.0), (64, 80, 1.0, 1.0), (80, 96, 0.5, 1.0)]
    assert segments(Adam(groups=[Adam(match="W*")])) == kinds
    alone = [(0, 16, 1.0, 1.0), (16, 48, 1.0, 1.0), (48, 64, 1.0, 1.0), *kinds[2:]]
    assert segments(Adam(groups=[Muon(match="W*")])) == alone


def test_layers_without_parameters_do_not_count() -> None:
    """b1, W1 belong to the first layer that has parameters: dropout in front of it takes no number."""
    dense = Dense(2, ACTIVATIONS["relu"](), Zeros())

    network = Network([Dropout(0.5), dense, Dropout(0.5), dense], 3)

    assert [slot.name for slot in network.layout.slots] == ["b1", "b2", "W1", "W2"]
    assert network.numbers == [0, 1, 1, 2]


def test_the_first_layer_is_not_asked_for_the_gradient_of_its_input() -> None:
    """Nobody needs ∂L/∂x: where none is needed a dense layer returns nothing and makes one product less."""
    layer = Dense(N_OUT, ACTIVATIONS["relu"](), Zeros())
    z, δ = numbers(1, "z", B, N_IN), numbers(1, "δ", B, N_OUT)
    held = {"W": numbers(1, "W", N_OUT, N_IN), "b": numbers(1, "b", N_OUT)}
    ws = Workspace("1", Batch.of(B, N_IN, N_OUT, np.float64), (B,), True, 0, np.float64, needed=False)
    k = EagerArrays(NumpyBackend())
    p, g = k.refs(held), k.refs({name: np.zeros_like(value) for name, value in held.items()})
    go(layer, k, p, {}, ws, k.ref(z))
    made = len(k.ops)

    assert layer.backward(k, p, {}, g, ws, k.ref(δ)) is None
    assert sum(isinstance(op, Matmul) for op in k.ops[made:]) == 1
    assert "δ_in" not in ws.kept
