"""What holds for every layer that is registered, at every place: gradients, and the two ways of running it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from layer_cases import BEHIND, LEVELS, MEMBERS, PLACES, WHERE, WIDTH, chain, codes, dense, sample
from nn_cases import ACTIVATION_CASES, LOSS_CASES, Objective, error, gradient_error, numbers, targets
from tapes import EagerArrays

from fcnet.backends.numpy import NumpyBackend
from fcnet.nn.activations import PLAIN, Identity, Parametric, Tanh
from fcnet.nn.layers import LAYERS, go
from fcnet.nn.layers.heads import Heads
from fcnet.nn.layers.layer import fan
from fcnet.nn.layers.mean import Mean
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.nn.workspace import Batch, Workspace

ROWS = 5
FUNCTIONS = ACTIVATION_CASES | {f"parametric {name}": Parametric(cls(), start=0.7) for name, cls in PLAIN.items()}


def objective(case: str, activation: str, loss: str, seed: int, members: tuple[int, ...] = ()) -> Objective:
    ℓ, given = LOSS_CASES[loss], codes(ROWS) if "embedding" in case else None
    x, y, w = numbers(seed, "x", ROWS, WIDTH), targets(ℓ, ROWS, 2, seed), np.abs(numbers(seed, "w", ROWS, 1)) + 0.1
    return Objective(chain(case, FUNCTIONS[activation], 2 * len(ℓ.parts)), ℓ, x, y, w, given, members)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("case", PLACES)
def test_the_gradient_of_every_layer(case: str, activation: str) -> None:
    """Alone, between others and nested, with any activation around, ∇L is what finite differences give."""
    assert error(lambda seed: objective(case, activation, "squared_error", seed), True) < 1e-6


@pytest.mark.parametrize("loss", LOSS_CASES)
@pytest.mark.parametrize("case", PLACES)
def test_the_gradient_of_every_layer_under_every_loss(case: str, loss: str) -> None:
    """Under each loss too, as one net and as an ensemble of two."""
    for members in ((), (2,)):
        assert error(lambda seed, m=members: objective(case, "prelu", loss, seed, m), False) < 1e-6, members


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in (*WHERE, *BEHIND)])
def test_the_gradient_of_a_layer_on_both_sides_of_fan_out(name: str) -> None:
    """A layer that stands twice, for the rows of the batch and for those of all members, counts its own each time."""

    def build(seed: int) -> Objective:
        x, y = numbers(seed, "x", ROWS, WIDTH), numbers(seed, "y", ROWS, 2)
        twice, out = sample(name, Tanh()), Heads(2, Identity(), members=MEMBERS)
        between = [dense(WIDTH, Tanh()), sample("fan_out", Tanh())]
        layers = [dense(WIDTH, Tanh()), twice, *between, twice, dense(3, Tanh()), out]
        return Objective([*layers, Mean(MEMBERS, LOSS_CASES["squared_error"])], LOSS_CASES["squared_error"], x, y)

    assert error(build, True) < 1e-6


@pytest.mark.parametrize("case", PLACES)
def test_a_wrong_gradient_of_any_parameter_is_seen(case: str) -> None:
    """The contract is sharp: a gradient that is off by a thousandth in one slot fails it along a coordinate."""
    f = objective(case, "tanh", "squared_error", 1)
    θ = f.start(1)
    g = f.gradient(θ)
    f.gradient = lambda _: wrong  # type: ignore[method-assign]

    for slot in f.network.layout.slots:
        wrong = g.copy()
        f.network.layout.views(wrong)[slot.name][...] *= 1.001
        at = np.flatnonzero(wrong != g)
        if len(at):
            v = np.eye(len(θ))[at[[np.argmax(np.abs(g[at]))]]]
            assert gradient_error(f, θ, v) == pytest.approx(1e-3, rel=0.01), slot.name


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("train", [True, False], ids=["training", "predicting"])
def test_every_layer_keeps_to_its_own_memory(name: str, train: bool) -> None:
    """A layer changes neither its inputs nor its parameters, nor, outside training, its buffers."""
    layer, z, c = sample(name, Tanh()), numbers(5, "z", 6, WIDTH), codes(6)
    n_out, slots = layer.slots(WIDTH)
    held = {slot.key: np.abs(numbers(5, slot.key, *slot.shape)) + 0.1 for slot in slots}
    p = {slot.key: held[slot.key] for slot in slots if slot.kind != "buffer"}
    q = {slot.key: held[slot.key] for slot in slots if slot.kind == "buffer"}
    kept = [each.copy() for each in (z, c, *p.values(), *(() if train else q.values()))]
    g = {key: np.zeros_like(value) for key, value in p.items()}
    k = EagerArrays(NumpyBackend(), {"c": c.reshape(-1), "position": np.zeros(4, np.int64)})
    ws = Workspace("1", Batch.of(6, WIDTH, n_out, np.float64, n_cat=len(LEVELS)), (6,), train, 0, np.float64)

    z_out = go(layer, k, k.refs(p), k.refs(q), ws, k.ref(z))
    if train:
        layer.backward(k, k.refs(p), k.refs(q), k.refs(g), ws, k.ref(numbers(6, "δ", 6 * fan(layer), n_out)))

    assert z_out.shape == (6 * fan(layer), n_out)
    for now, before in zip([z, c, *p.values(), *(() if train else q.values())], kept, strict=True):
        np.testing.assert_array_equal(now, before)
    assert all(gradient.any() for gradient in g.values()) or not train


@pytest.mark.parametrize("case", PLACES)
def test_another_layer_elsewhere_moves_no_words(case: str) -> None:
    """Weights and masks are drawn by path: a layer more, behind or in front without parameters, leaves all of them."""
    x, c = numbers(1, "x", 5, WIDTH), codes(5)
    own, dropout = chain(case, Tanh(), 2), LAYERS["dropout"](rate=0.2)
    more = [*own[:-1], dropout, sample("scale", Tanh()), own[-1]]

    def made(layers: Any) -> tuple[Any, list[str]]:
        network = Network(layers, WIDTH, n_cat=c.shape[1])
        θ, q = network.layout.zeros(np.float64), network.buffers.zeros(np.float64)
        network.initialise(θ, q, 0, Rows(x, c))
        return network.layout.views(θ), network.paths

    short, longer = made(own), made(more)

    last = len(Network(own[:-1], WIDTH).layers)
    assert longer[1][:last] == short[1][:last]
    before = {slot.name for slot in Network(own[:-1], WIDTH).layout.slots}
    for name in before:
        np.testing.assert_array_equal(short[0][name], longer[0][name])


def test_an_unseen_level_is_nothing_and_learns_nothing() -> None:
    """Code −1 gives a vector of zeros, and no row of the table gets a gradient from it."""
    layer, c = sample("embedding", Tanh()), np.array([[-1, 2], [0, -1], [-1, -1]], np.int32)
    E, g = numbers(2, "E", sum(LEVELS), 2), np.full((sum(LEVELS), 2), np.nan)
    k = EagerArrays(NumpyBackend(), {"c": c.reshape(-1)})
    ws = Workspace("1", Batch.of(3, 1, 5, np.float64, n_cat=2), (3,), True, 0, np.float64)
    z, δ = numbers(2, "z", 3, 1), numbers(3, "δ", 3, 5)

    z_out = k.fetch(go(layer, k, k.refs({"E": E}), {}, ws, k.ref(z)))
    layer.backward(k, k.refs({"E": E}), {}, k.refs({"E": g}), replace(ws, needed=False), k.ref(δ.copy()))

    zeros, first = np.zeros(2), LEVELS[0]
    expected = [[*z[0], *zeros, *E[first + 2]], [*z[1], *E[0], *zeros], [*z[2], *zeros, *zeros]]
    np.testing.assert_array_equal(z_out, expected)
    learnt = np.zeros_like(E)
    learnt[first + 2], learnt[0] = δ[0, 3:], δ[1, 1:3]
    np.testing.assert_array_equal(g, learnt)
