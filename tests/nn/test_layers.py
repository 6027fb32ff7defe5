"""Initial weights and dropout: their distributions, and on what alone they depend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
from layer_cases import SETTINGS
from nn_cases import Objective, numbers
from tapes import ArrayTape, EagerArrays

from fcnet import random
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply, Array, Tape
from fcnet.config import from_mapping
from fcnet.data.source import MemorySource
from fcnet.formulas import Formula, Sym
from fcnet.nn.activations import ACTIVATIONS, PLAIN, Identity, Parametric, Relu, Selu, owned
from fcnet.nn.initializers import INITIALIZERS, GlorotUniform, HeNormal, LecunNormal, Zeros
from fcnet.nn.layers import LAYERS, Dense, Dropout, Layer, go
from fcnet.nn.losses import SquaredError
from fcnet.nn.network import Network
from fcnet.nn.parametrisations import Ntk
from fcnet.nn.rows import Rows
from fcnet.nn.workspace import Batch, Workspace
from fcnet.optim.rules import AdamW
from fcnet.optim.update import Updater
from fcnet.training.build import resolve
from fcnet.training.program import Program
from fcnet.training.state import State

# variance × n_in for 300 inputs and 200 outputs
VARIANCES = {
    "he_normal": 2.0,
    "he_uniform": 2.0,
    "glorot_normal": 2.0 * 300 / 500,
    "glorot_uniform": 2.0 * 300 / 500,
    "lecun_normal": 1.0,
    "lecun_uniform": 1.0,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_have_their_spread(name: str) -> None:
    """Mean 0 and the documented variance; uniform ones stay within √3 standard deviations, normal ones do not."""
    W = np.full((200, 300), np.nan)
    INITIALIZERS[name]().fill(W, random.key(0, "init"), 1)
    spread = np.sqrt(VARIANCES[name] / 300)

    assert abs(W.mean()) <= 4 * spread / np.sqrt(W.size)
    assert W.std() == pytest.approx(spread, rel=0.02)
    if spread:
        assert (np.abs(W).max() <= np.sqrt(3) * spread) == name.endswith("uniform")


@pytest.mark.parametrize("name", PLAIN)
def test_weights_in_front_of_a_parametric_activation_start_as_those_of_its_own(name: str) -> None:
    """At the start it is the activation that it is made of, whose initial weights suit it."""
    g = PLAIN[name]()

    assert Dense(2, Parametric(activation=g)).initializer == Dense(2, g).initializer


def initial(
    layers: list[Layer], seed: int = 0, members: tuple[int, ...] = (), dtype: Any = np.float64
) -> dict[str, Array]:
    """The initial parameters of a net of three inputs."""
    network = Network(layers, 3, members)
    θ = network.layout.zeros(dtype)
    network.initialise(θ, network.buffers.zeros(dtype), seed, Rows(numbers(1, "x", 5, 3).astype(dtype)))
    return network.layout.views(θ)


def dense(units: int) -> Dense:
    return Dense(units, Relu(), HeNormal())


def test_another_layer_does_not_move_the_weights_of_the_others() -> None:
    """Layer i draws from (seed, "init", i): layers behind it and dropout anywhere are nothing to it."""
    short = initial([dense(4), dense(2)])
    longer = initial([Dropout(0.1), dense(4), Dropout(0.5), dense(2), dense(7), dense(2)])
    narrow = initial([dense(9), dense(2)])

    np.testing.assert_array_equal(short["W1"], longer["W1"])
    np.testing.assert_array_equal(short["W2"], longer["W2"])
    np.testing.assert_array_equal(initial([dense(9)])["W1"], narrow["W1"])
    assert not np.array_equal(longer["W2"].ravel()[:4], longer["W4"].ravel()[:4])


def test_initial_weights_depend_on_the_seed_and_the_layer() -> None:
    """Another seed, another layer, another member: other weights; biases start at 0, and every width at its scale."""
    a, b = initial([dense(3), dense(3)]), initial([dense(3), dense(3)], seed=1)
    members = initial([dense(3), dense(3)], members=(4,))

    assert not np.array_equal(a["W1"], b["W1"])
    assert not np.array_equal(a["W1"], a["W2"])
    assert len({W.tobytes() for W in members["W1"]}) == 4
    np.testing.assert_array_equal(members["W1"][0], a["W1"])
    assert not a["b1"].any()
    np.testing.assert_array_equal(initial([dense(3)], dtype=np.float32)["W1"], a["W1"].astype(np.float32))


def test_ntk_starts_by_the_rows_that_are_seen() -> None:
    """Pre-activations have deviation 1, and a bias is minus a mean of its unit's: never beyond what the rows give, and
    another one for each unit and member."""
    ntk = Ntk(rescale=True, bias="data", bias_lr=0.1)
    layer = Dense(200, Relu(), LecunNormal(), parametrisation=ntk)
    x = 5.0 + 3.0 * numbers(1, "x", 50, 3)
    network = Network([layer], 3, (2,))
    θ = network.layout.zeros(np.float64)
    network.initialise(θ, network.buffers.zeros(np.float64), 0, Rows(x))
    p = network.layout.views(θ)

    a = x @ p["W1"].swapaxes(-1, -2)

    np.testing.assert_allclose(a.std(axis=-2), 1, rtol=1e-12)
    apart = (-p["b1"] - a.mean(axis=-2)).reshape(-1)  # of means of five with weights of 1/6 + 5/6 · 1/5 squared
    assert apart.std() == pytest.approx(np.sqrt(1 / 3), rel=0.15)
    assert abs(apart.mean()) < 4 * apart.std() / 20
    assert ((a.min(axis=-2) < -p["b1"]) & (-p["b1"] < a.max(axis=-2))).all()
    assert len(np.unique(apart)) == 400
    assert [(slot.key, slot.lr) for slot in layer.slots(4)[1]] == [("b", 0.1), ("W", 0.5)]


def test_ntk_of_weights_that_are_zero_stays_zero() -> None:
    """Where there is no deviation nothing is divided by it, and biases that follow the pre-activations are 0."""
    layer = Dense(4, Identity(), Zeros(), parametrisation=Ntk(rescale=True, bias="data"))

    found = initial([layer])

    assert not found["W1"].any()
    assert not found["b1"].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ntk_of_rows_that_are_alike_takes_no_rounding_for_a_deviation(dtype: Any) -> None:
    """Where the rows that are seen are the same, weights stay as they are drawn, in every layer."""
    x = np.tile(np.array([0.1, -0.7, 0.3], dtype), (1000, 1))
    found = []
    for ntk in (None, Ntk(rescale=True, bias="data")):
        layers = [Dense(units, Selu(), LecunNormal(), parametrisation=ntk) for units in (200, 50, 2)]
        network = Network(layers, 3)
        θ = network.layout.zeros(dtype)
        network.initialise(θ, network.buffers.zeros(dtype), 0, Rows(x))
        found.append(network.layout.views(θ))

    for name in ("W1", "W2", "W3"):
        np.testing.assert_array_equal(found[1][name], found[0][name])
    np.testing.assert_allclose(found[1]["b1"], -found[0]["W1"] @ x[0], rtol=1e-5)


def test_ntk_takes_the_steps_of_weights_through_the_root_of_their_inputs() -> None:
    """W and b after three steps of AdamW are those that come from steps of W′ in a = W′ x / √n_in + b."""
    lr, decay, bias_lr, x, y = 0.01, 0.3, 0.1, numbers(1, "x", 6, 4), numbers(1, "y", 6, 2)
    layer = Dense(2, Identity(), LecunNormal(), parametrisation=Ntk(bias_lr=bias_lr))
    network = Network([layer], 4)
    rule = AdamW(lr=lr, weight_decay=decay, eps=1e-12)
    update = Updater(rule, network.layout)
    state = State.new(network, update.names, np.float64)
    network.initialise(state.θ, state.q, 3, Rows(x))
    program = Program(NumpyBackend(), network, SquaredError(), update, state)
    p = {name: view.copy() for name, view in network.layout.views(state.θ).items()}

    for t in range(1, 4):
        state.row = 0
        program.run(MemorySource(Rows(x), y), update.scalars(np.array([t]), np.ones(1)), 6)

    W, b = 2.0 * p["W1"], p["b1"]
    m, v = {"W": 0.0, "b": 0.0}, {"W": 0.0, "b": 0.0}
    for t in range(1, 4):
        δ = 2 * (x @ W.T / 2 + b - y) / y.size
        g = {"W": δ.T @ x / 2, "b": δ.sum(axis=0)}
        m = {name: 0.9 * m[name] + 0.1 * g[name] for name in g}
        v = {name: 0.999 * v[name] + 0.001 * g[name] ** 2 for name in g}
        step = {name: m[name] / (1 - 0.9**t) / np.sqrt(v[name] / (1 - 0.999**t)) for name in g}
        W = W - lr * decay * W - lr * step["W"]
        b = b - lr * bias_lr * step["b"]
    found = network.layout.views(state.θ)
    np.testing.assert_allclose(2.0 * found["W1"], W, rtol=1e-6)
    np.testing.assert_allclose(found["b1"], b, rtol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "pbld", "periodic", "piecewise", "scale"])
def test_columns_that_change_places_change_nothing(name: str) -> None:
    """What a number becomes, and what the next layer makes of that, follows the column, and so do weights that start by
    the rows."""
    embedding = LAYERS[name](**SETTINGS.get(name, {}))
    made = Dense(5, Relu(), LecunNormal(), parametrisation=Ntk(rescale=True, bias="data"))
    x, n = numbers(1, "x", 30, 4), SETTINGS.get(name, {}).get("numbers", 4)
    order = np.concatenate([np.roll(np.arange(n), 1), np.arange(n, 4)[::-1]])  # numbers stay in front
    ends = []
    for places in (np.arange(4), order):
        network = Network([embedding, made], 4)
        θ, q = network.layout.zeros(np.float64), network.buffers.zeros(np.float64)
        network.initialise(θ, q, 0, Rows(x[:, places]), ranks=places)
        batch, tape = Batch.of(30, 4, 5, np.float64), Tape()
        out = network.forward(tape, network.workspaces(batch, train=False, seed=0, dtype=np.float64), batch)
        step = NumpyBackend().compile(tape.ops, {"θ": θ, "q": q, "x": x[:, places].copy()})
        step.run()
        ends.append(step.fetch(out))

    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-10, atol=1e-12)
    assert ends[0].std() > 0 or name == "cosine"  # whose factors start at 0


@dataclass(frozen=True)
class Ones:
    """An initializer of a test's own."""

    name: Literal["ones"] = "ones"

    def fill(self, W: Array, key: Array, layer: int) -> None:
        W[...] = layer


def test_an_initializer_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with one method, entered in the table, fills weights; it is told which layer it fills."""
    monkeypatch.setitem(INITIALIZERS, "ones", Ones)
    ones = INITIALIZERS["ones"]()

    found = initial([Dropout(0.1), Dense(2, Identity(), ones), Dense(1, Identity(), ones)])

    assert found["W1"].tolist() == [[1.0] * 3] * 2
    assert found["W2"].tolist() == [[2.0] * 2]


class Dropping:
    """A dropout layer on 1,000 rows of 20 units."""

    def __init__(
        self, rate: float, seed: int = 0, path: str = "1", train: bool = True, dtype: Any = np.float64
    ) -> None:
        self.z = (1.0 + np.abs(numbers(3, "z", 1000, 20))).astype(dtype)
        self.layer = Dropout(rate)
        batch, self.position = Batch.of(1000, 20, 20, dtype), np.zeros(4, np.int64)
        self.ws = Workspace(path, batch, (1000,), train, seed, dtype)
        self.tape = ArrayTape(NumpyBackend(), {"position": self.position})
        self.z_in = self.tape.ref(self.z)
        self.z_out = go(self.layer, self.tape, {}, {}, self.ws, self.z_in)

    def at(self, epoch: int, step: int) -> Array:
        self.position[:2] = epoch, step
        self.tape.run()
        return self.tape.fetch(self.z_out).copy()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_dropout_keeps_the_mean(rate: float, dtype: Any) -> None:
    """A share `rate` of the units is 0, the others are z / (1 − rate), so that the expectation is z.

    The rate is the nearest that 16 random bits a unit can give, in both places.
    """
    d = Dropping(rate, dtype=dtype)
    z_out = d.at(0, 0)

    dropped = z_out == 0
    assert abs(dropped.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / dropped.size)
    kept = (2**16 - round(rate * 2**16)) / 2**16
    assert kept == pytest.approx(1 - rate, abs=2.0**-17)
    np.testing.assert_allclose(z_out[~dropped], d.z[~dropped] / kept, rtol=1e-6)


def test_dropout_spares_no_row_and_no_unit() -> None:
    """Every unit and every row is dropped at the same rate, independently of its neighbours."""
    dropped = (Dropping(0.5).at(0, 0) == 0).astype(float)

    assert np.abs(dropped.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(1000)
    assert np.abs(dropped.mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(20)
    neighbours = np.mean((dropped[:, 1:] - 0.5) * (dropped[:, :-1] - 0.5))
    assert abs(neighbours) < 4 * 0.25 / np.sqrt(dropped[:, 1:].size)


def test_masks_depend_on_seed_epoch_step_and_path_alone() -> None:
    """The same place in the run gives the same mask in any order of asking; each of the four coordinates changes it."""
    d = Dropping(0.5)
    here = d.at(2, 30)
    others = [d.at(3, 30), d.at(2, 31), Dropping(0.5, seed=1).at(2, 30), Dropping(0.5, path="2").at(2, 30)]

    np.testing.assert_array_equal(d.at(2, 30), here)
    np.testing.assert_array_equal(Dropping(0.5).at(2, 30), here)
    masks = {(z == 0).tobytes() for z in [here, *others]}
    assert len(masks) == 5


def test_each_of_several_dropouts_in_a_row_has_masks_of_its_own() -> None:
    """However many stand one behind the other, each halves what the others have left."""
    objective = Objective(
        [*[Dropout(0.5)] * 4, Dense(1, Identity())], SquaredError(), np.ones((1000, 20)), np.ones((1000, 1))
    )

    objective.step.run()

    left = [float((objective.step.fetch(ws["z_out"]) != 0).mean()) for ws in objective.recorded.spaces[:4]]
    np.testing.assert_allclose(left, [0.5, 0.25, 0.125, 0.0625], atol=4 * 0.5 / np.sqrt(20_000))


def test_dropout_is_for_training_alone() -> None:
    """Outside training the layer hands its input on: no operation, no copy."""
    d = Dropping(0.5, train=False)

    assert d.z_out is d.z_in
    assert not d.tape.ops


def test_the_gradient_passes_where_the_unit_was_kept() -> None:
    """δ is multiplied by the very factors of the forward pass, and left alone where nobody asks for it."""
    d = Dropping(0.3)
    z_out = d.at(1, 5)
    δ = numbers(4, "δ", 1000, 20)
    expected = δ * (z_out / d.z)
    tape = ArrayTape(NumpyBackend(), d.tape.resident)

    found = d.layer.backward(tape, {}, {}, {}, d.ws, tape.ref(δ))
    tape.run()

    assert found is not None
    np.testing.assert_allclose(tape.fetch(found), expected, rtol=1e-12)
    nothing = ArrayTape(NumpyBackend())
    d.layer.backward(nothing, {}, {}, {}, replace(d.ws, needed=False), nothing.ref(δ))
    assert not nothing.ops


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_layers_keep_to_their_own_memory(name: str) -> None:
    """A layer changes neither its input nor its parameters, whatever it saves on buffers."""
    layer = Dense(4, ACTIVATIONS[name](), GlorotUniform())
    z, p = numbers(5, "z", 6, 3), {"W": numbers(5, "W", 4, 3), "b": numbers(5, "b", 4)}
    p |= {slot.name: numbers(5, slot.name, *slot.shape) for slot in owned(layer.f, 4)}
    kept = [each.copy() for each in (z, *p.values())]
    g = {slot: np.zeros_like(value) for slot, value in p.items()}
    ws = Workspace("1", Batch.of(6, 3, 4, np.float64), (6,), True, 0, np.float64)
    tape = ArrayTape(NumpyBackend())
    go(layer, tape, tape.refs(p), {}, ws, tape.ref(z))
    δ = tape.ref(numbers(6, "δ", 6, 4))
    layer.backward(tape, tape.refs(p), {}, tape.refs(g), ws, δ)

    tape.run()

    for now, before in zip([z, *p.values()], kept, strict=True):
        np.testing.assert_array_equal(now, before)
    assert g["W"].any()


def test_buffers_do_not_move_between_batch_sizes() -> None:
    """A short batch works in the memory of the long one, and both give what they would alone."""
    network = Network([dense(4), Dense(2, Identity(), Zeros())], 3)
    x, θ = numbers(7, "x", 8, 3), network.layout.zeros(np.float64)
    network.initialise(θ, network.buffers.zeros(np.float64), 0, Rows(x))
    p = network.layout.views(θ)
    resident = {"θ": θ, "q": network.buffers.zeros(np.float64)}
    arrays, steps = [], []
    for rows in (8, 3):
        batch, tape = Batch.of(rows, 3, 2, np.float64), Tape()
        spaces = network.workspaces(batch, train=True, seed=0, dtype=np.float64)
        network.forward(tape, spaces, batch)
        step = NumpyBackend().compile(tape.ops, resident)
        arrays.append(step.fetch(spaces[0]["z_out"]))
        steps.append((step, batch))

    assert np.shares_memory(*arrays)
    assert arrays[1].shape == (3, 4)
    assert arrays[1].flags.c_contiguous
    for at in (0, 1, 0):
        step, batch = steps[at]
        step.put(batch.x, x[: batch.n])
        step.run()
        np.testing.assert_allclose(arrays[at], np.maximum(x[: batch.n] @ p["W1"].T + p["b1"], 0), rtol=1e-12)


def test_selu_keeps_mean_and_variance_through_a_deep_net() -> None:
    """With the weights that `init: auto` gives it, thirty layers of selu turn N(0, 1) into much the same again."""
    network = {"layers": [300], "activation": "selu"}
    config = from_mapping({"data": {"train": "a.csv", "target": "y"}, "network": network})
    (layer,) = resolve(config, "regression", 100, validated=False, threads=1).config.network.layers
    k = EagerArrays(NumpyBackend())
    z = numbers(3, "rows", 200, 300)
    f = Formula({"z": Selu().f(Sym("a"))})

    for i in range(30):
        W = np.empty((300, 300))
        layer.init.fill(W, random.key(0, "init"), i)
        k.add(Apply(f, {"a": k.ref(z @ W.T)}, {"z": k.ref(z)}))

    assert abs(z.mean()) < 0.1
    assert abs(z.var() - 1) < 0.2
