"""One net with many members: the layers behind `fan_out` serve all of them, and their predictions are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import Setup, draw, outputs, run

import fcnet
from fcnet import config as configs
from fcnet.backends import choice
from fcnet.backends.ops import Array
from fcnet.data.target import Binary, Classes, Numbers, Target
from fcnet.nn.activations import Identity, Tanh
from fcnet.nn.initializers import GlorotNormal
from fcnet.nn.layers import Dense
from fcnet.nn.layers.fan_out import FanOut
from fcnet.nn.layers.heads import Heads
from fcnet.nn.layers.mean import Mean
from fcnet.nn.losses import LOSSES, CrossEntropy, Loss
from fcnet.optim.rules import AdamW, Muon, Sgd
from fcnet.training.head import Head

MEMBERS, UNITS = 3, 5
BACKENDS = [name for name in ("numpy", "numba") if choice.installed(name)]


def setup(loss: Loss, n_out: int, **options: Any) -> Setup:
    """A net of three members behind a layer that they share."""
    head = Heads(n_out, Identity(), GlorotNormal(), members=MEMBERS)
    net = [FanOut(MEMBERS), Dense(UNITS, Tanh(), GlorotNormal()), head, Mean(MEMBERS, loss)]
    return Setup(net=net, loss=loss, **options)


def said(p: dict[str, Array], x: Array) -> Array:
    """What each member says, (members, n, n_out)."""
    each = [np.tanh(r * x @ p["W2"].T + p["b2"]) for r in p["r1"]]
    return np.stack([z @ W.T + b for z, W, b in zip(each, p["W3"], p["b3"], strict=True)])


def softmax(a: Array) -> Array:
    e: Array = np.exp(a - a.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def slow_gradient(p: dict[str, Array], x: Array, y: Array, w: Array) -> tuple[float, dict[str, Array]]:
    """(L, ∇L) of the mean over members and rows of w ℓ, member by member."""
    total, g = 0.0, {name: np.zeros_like(value) for name, value in p.items()}
    for j, r in enumerate(p["r1"]):
        z = np.tanh(r * x @ p["W2"].T + p["b2"])
        a = z @ p["W3"][j].T + p["b3"][j]
        total += float(-(w * np.log(softmax(a)[np.arange(len(y)), y])).mean()) / len(p["r1"])
        ε = (softmax(a) - np.eye(3)[y]) * w[:, None] / len(y) / len(p["r1"])
        g["W3"][j], g["b3"][j] = ε.T @ z, ε.sum(axis=0)
        δ = (ε @ p["W3"][j]) * (1 - z**2)
        g["W2"] += δ.T @ (r * x)
        g["b2"] += δ.sum(axis=0)
        g["r1"][j] = ((δ @ p["W2"]) * x).sum(axis=0)
    return total, g


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_is_that_of_the_mean_of_the_members_losses(backend: str, weighted: bool) -> None:
    """What members share gets the mean of their gradients, their own gets its share; the loss that is said is the mean
    of their losses, never the loss of their mean."""
    w = np.abs(draw(1, "w", 37)) + 0.1 if weighted else None
    given = setup(CrossEntropy(), 3, rule=Sgd(lr=0.1), w=w, shuffle=False)
    program, source = given.program(choice.make(backend, 1)), given.source()
    before = {name: view.copy() for name, view in program.network.layout.views(program.state.θ).items()}
    y = np.arange(37) % 3

    program.run(source, program.scalars(np.ones(1), np.ones(1)), 37)

    total, g = slow_gradient(before, source.inputs.x, y, np.ones(37) if w is None else w)
    assert float(program.state.loss) / 37 == pytest.approx(total, rel=1e-12)
    for name, view in program.network.layout.views(program.state.θ).items():
        np.testing.assert_allclose(view, before[name] - 0.1 * g[name], rtol=1e-9, atol=1e-13, err_msg=name)


def target_of(loss: Loss, n: int) -> Target:
    """Something that the loss can learn, of n columns."""
    if loss.learns == "one_hot":
        return Classes(("y",), tuple("abcd"[:n]))
    if loss.learns == "bits":
        return Binary(("y",), ("a", "b"))
    return Numbers(tuple("yz"[:n]), mean=np.zeros(n), scale=np.ones(n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_prediction_is_the_mean_of_the_members_predictions(name: str, backend: str, dtype: Any) -> None:
    """Of any loss: probabilities are averaged, or numbers, as those of an ensemble of nets are, and not what the net
    says before."""
    loss = LOSSES[name]()
    n = 3 if loss.learns == "one_hot" else 1
    head = Head(loss, target_of(loss, n))
    given = setup(loss, head.n_out, y=np.zeros((37, n)), one_hot=np.eye(3), dtype=dtype)
    program, x = given.program(choice.make(backend, 2)), draw(0, "x", 37, 4)
    p = {name: view.astype(float) for name, view in program.network.layout.views(program.state.θ).items()}

    found = outputs(program, x)

    expected = head.mixed(said(p, x.astype(dtype).astype(float)), [1 / MEMBERS] * MEMBERS)
    assert found.shape == (37, head.n_out)
    tolerance = 1e-10 if dtype is np.float64 else 2e-5
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_class_that_no_member_holds_possible_costs_much_and_not_everything() -> None:
    """Where all members are sure beyond what float32 can say, the mean is a finite number."""
    given = setup(CrossEntropy(), 3, dtype=np.float32)
    program = given.program()
    program.network.layout.views(program.state.θ)["b3"][...] = [500, 0, -500]

    found = outputs(program, draw(0, "x", 37, 4))

    assert np.isfinite(found).all()
    assert (softmax(found.astype(float))[:, 0] > 0.999).all()


def test_members_are_not_alike() -> None:
    """Each begins with factors and with an output layer of its own, and they stay apart."""
    program = setup(CrossEntropy(), 3).program()
    run(program, setup(CrossEntropy(), 3).source())
    p = program.network.layout.views(program.state.θ)

    for name in ("r1", "W3"):
        assert len({member.tobytes() for member in p[name]}) == MEMBERS, name


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_recipe_tabm_learns(task: str, tmp_path: Path) -> None:
    """Numbers, few categories and many, whatever is predicted; one net, whose members its layers make."""
    rng = np.random.default_rng(1)
    a, few, many = rng.normal(size=240), rng.integers(0, 3, 240), rng.integers(0, 12, 240)
    value = a + (few == 1) + 0.3 * many
    kinds = {"binary": np.where(value < 2, "no", "yes"), "multiclass": np.digitize(value, [1, 2.5]).astype(str)}
    table = {"a": a, "few": few.astype(str), "many": many.astype(str), "y": kinds.get(task, value)}
    options = {"target": "y", "task": task, "categorical": ["few", "many"]}
    given = {"recipe": "tabm", "name": "r", "output": str(tmp_path), "data": options, "training": {"epochs": 15}}

    run = fcnet.train(given, data=table)

    layers = configs.to_mapping(configs.load(run.path / "config.yaml", needs_data=False))["network"]["layers"]
    assert [layer.get("name", "dense") for layer in layers] == ["embedding", "piecewise", "fan_out", "dense", "dense"]
    assert "nets" not in run.metrics
    name = "rmse" if task == "regression" else "log_loss"
    scores = run.metrics["validation"][name]
    assert scores["value"] < 0.8 * scores["trivial"]
    assert len(fcnet.load(run.path).predict(table)) == 240


def test_muon_moves_each_members_own_matrix() -> None:
    """A slot with a matrix for each member is moved matrix by matrix, as its rule says of one."""
    rule = AdamW(lr=0.01, groups=[Muon(match="W*", lr=0.1)])
    program, source = setup(CrossEntropy(), 3, rule=rule, shuffle=False).program(), setup(CrossEntropy(), 3).source()
    before = program.network.layout.views(program.state.θ)["W3"].copy()

    program.run(source, program.scalars(np.ones(1), np.ones(1)), 37)

    g = program.network.layout.views(program.gradient)["W3"]
    found = program.network.layout.views(program.state.θ)["W3"]
    for j in range(MEMBERS):
        direction = Muon().plain(g[j], {"momentum": np.zeros((3, UNITS))})
        np.testing.assert_allclose(found[j], before[j] - 0.1 * direction, rtol=1e-9, atol=1e-12)
