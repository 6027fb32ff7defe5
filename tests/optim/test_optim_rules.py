"""Optimizers over the segments of θ: factors by slot, clipping, and what holds for every rule that is registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from fcnet import random
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Array, Tape
from fcnet.config import from_mapping
from fcnet.config.text import parse
from fcnet.errors import ConfigError
from fcnet.formulas import Expr, where
from fcnet.nn.layout import Layout, Slot
from fcnet.optim.rules import OPTIMIZERS, Adam, AdamW, Grouped, Muon, Optimizer, ScheduleFree, Sgd, of_matrices
from fcnet.optim.update import Updater

LAYOUT = Layout([Slot("b1", (3,), "bias"), Slot("W1", (3, 4), "weight"), Slot("v1", (5,), "vector")])


def draw(seed: int, layout: Layout = LAYOUT) -> dict[str, Array]:
    """Some numbers for every slot."""
    shapes = {slot.name: layout.members + slot.shape for slot in layout.slots}
    return {n: random.normal(int(np.prod(s)), random.key(seed, n)).reshape(s) for n, s in shapes.items()}


class Walk:
    """θ under a rule, with the same gradient every step."""

    def __init__(
        self,
        rule: Optimizer,
        layout: Layout = LAYOUT,
        gradient: Mapping[str, Array] | None = None,
        clip_norm: float | None = None,
        dtype: Any = np.float64,
        average: float | None = None,
    ) -> None:
        self.layout, self.update = layout, Updater(rule, layout, clip_norm, average)
        self.θ, self.g = layout.zeros(dtype), layout.zeros(dtype)
        for name, value in draw(1, layout).items():
            layout.views(self.θ)[name][...] = value
        for name, value in (draw(2, layout) if gradient is None else gradient).items():
            layout.views(self.g)[name][...] = value
        self.state = {name: layout.zeros(dtype) for name in self.update.names}
        self.s = np.zeros(self.update.n_scalars * max(sum(layout.members), 1), dtype)
        tape, vectors = Tape(), {f"optimizer/{name}": vector for name, vector in self.state.items()}
        self.update.record(tape, dtype)
        self.direction = layout.zeros(dtype)
        resident = {"θ": self.θ, "g": self.g, "s": self.s, "d": self.direction, **vectors}
        self.step = NumpyBackend().compile(tape.ops, resident)

    def run(self, steps: int, factor: float = 1.0) -> dict[str, Array]:
        for row in self.update.scalars(np.arange(1, steps + 1), np.full(steps, factor)):
            self.s[:] = row
            self.step.run()
        return {name: view.copy() for name, view in self.layout.views(self.θ).items()}


def members() -> list[tuple[str, Any]]:
    """Every registered rule with its defaults, and with momentum where it has some."""
    some = [(name, cls()) for name, cls in OPTIMIZERS.items()]
    return [*some, ("sgd momentum", Sgd(momentum=0.9)), ("sgd nesterov", Sgd(momentum=0.9, nesterov=True))]


RULES = dict(members())


def alone(rule: Optimizer) -> Optimizer:
    """The rule as one of its own; one for matrices in a group, with plain descent of the same rates for the rest."""
    if not of_matrices(rule):
        return rule
    return Sgd(lr=rule.lr, weight_decay=rule.weight_decay, groups=[replace(rule, match="W*")])


@pytest.mark.parametrize("name", RULES)
def test_decay_reaches_weights_alone(name: str) -> None:
    """With decay, weights end elsewhere than without; biases and other vectors end exactly where they did."""
    cls, options = type(RULES[name]), {k: getattr(RULES[name], k) for k in ("momentum", "nesterov") if "sgd" in name}

    without, decayed = (Walk(alone(cls(lr=0.05, weight_decay=d, **options))).run(5) for d in (0.0, 0.3))

    np.testing.assert_array_equal(without["b1"], decayed["b1"])
    np.testing.assert_array_equal(without["v1"], decayed["v1"])
    assert np.abs(without["W1"] - decayed["W1"]).min() > 0


@pytest.mark.parametrize("name", RULES)
def test_the_space_between_slots_stays_zero(name: str) -> None:
    """Padding is part of the flat vectors and of their norms: no rule may fill it."""
    walk = Walk(alone(RULES[name]), clip_norm=1.0)
    walk.run(10)
    inside = LAYOUT.zeros(bool)
    for view in LAYOUT.views(inside).values():
        view[...] = True

    for vector in (walk.θ, walk.g, walk.direction, *walk.state.values()):
        assert not vector[~inside].any()
        assert vector[inside].any() or vector is walk.direction


@pytest.mark.parametrize("name", RULES)
def test_no_gradient_no_step(name: str) -> None:
    """With a gradient of zeros and no decay θ does not move, and nothing becomes NaN."""
    rule = alone(type(RULES[name])(weight_decay=0.0))
    zeros = {slot.name: np.zeros(slot.shape) for slot in LAYOUT.slots}
    walk = Walk(rule, gradient=zeros)
    start = walk.θ.copy()

    walk.run(3)

    np.testing.assert_array_equal(walk.θ, start)


@pytest.mark.parametrize("name", RULES)
def test_the_first_step_goes_downhill(name: str) -> None:
    """Every element moves against its gradient, and half the rate moves it half as far."""
    rule = alone(type(RULES[name])(weight_decay=0.0))
    full, half = Walk(rule), Walk(rule)
    start = {name: view.copy() for name, view in LAYOUT.views(full.θ).items()}
    moved, less = full.run(1), half.run(1, factor=0.5)

    for slot, view in LAYOUT.views(full.g).items():
        if of_matrices(full.update.rules[slot]):  # a matrix goes downhill as a whole
            assert ((start[slot] - moved[slot]) * view).sum() > 0
        else:
            assert (np.sign(start[slot] - moved[slot]) == np.sign(view)).all()
        np.testing.assert_allclose(start[slot] - less[slot], (start[slot] - moved[slot]) / 2, rtol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_float32_follows_float64(name: str) -> None:
    """Twenty steps in single precision, scalars included, stay within 1e-4 of those in double."""
    single, double = (Walk(alone(RULES[name]), dtype=dtype).run(20) for dtype in (np.float32, np.float64))

    for slot, value in double.items():
        assert single[slot].dtype == np.float32
        np.testing.assert_allclose(single[slot], value, rtol=1e-4, atol=1e-5)


def test_factors_of_a_slot_scale_rate_and_decay() -> None:
    """A slot with lr 0.1 and decay 2 moves as if the rule had that rate and that decay, and no other slot notices."""
    layout = Layout(
        [Slot("b1", (3,), "bias", lr=0.1), Slot("W1", (3, 4), "weight", decay=2.0), Slot("W2", (2, 3), "weight")]
    )
    found = Walk(AdamW(lr=0.1, weight_decay=0.3), layout).run(7)

    slow = Walk(AdamW(lr=0.01, weight_decay=0.3), layout=Layout([Slot("b1", (3,), "bias")])).run(7)
    shrunk = Walk(AdamW(lr=0.1, weight_decay=0.6), layout=Layout([Slot("W1", (3, 4), "weight")])).run(7)
    plain = Walk(AdamW(lr=0.1, weight_decay=0.3), layout=Layout([Slot("W2", (2, 3), "weight")])).run(7)

    for name, expected in {**slow, **shrunk, **plain}.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, err_msg=name)


def test_clipping_is_by_the_norm_of_the_whole_gradient() -> None:
    """A gradient longer than the limit is shortened to it as a whole, direction kept; a shorter one is left alone."""
    gradient = draw(2)
    norm = float(np.sqrt(sum((g**2).sum() for g in gradient.values())))
    start = Walk(Sgd(lr=1.0)).run(0)

    clipped = Walk(Sgd(lr=1.0), clip_norm=0.5).run(1)
    free = Walk(Sgd(lr=1.0), clip_norm=2 * norm).run(1)

    for name, g in gradient.items():
        np.testing.assert_allclose(start[name] - clipped[name], g * 0.5 / (norm + 1e-6), rtol=1e-9)
        np.testing.assert_allclose(start[name] - free[name], g, rtol=1e-12)


def test_adam_by_hand() -> None:
    """Two steps of Adam on one number, with the paper's Algorithm 1 in plain floats."""
    layout = Layout([Slot("b1", (1,), "bias")])
    walk = Walk(Adam(lr=0.1), layout, gradient={"b1": np.array([0.5])})
    θ = float(walk.θ[0])

    found = walk.run(2)["b1"][0]

    m = v = 0.0
    for t in (1, 2):
        m, v = 0.9 * m + 0.1 * 0.5, 0.999 * v + 0.001 * 0.25
        θ -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    assert found == pytest.approx(θ, rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 3])
def test_schedule_free_is_its_three_sequences(warmup: int) -> None:
    """z, x and y of Algorithm 1 in plain arrays: θ is y, the average is x, whose weights go with the squared rate."""
    rule, lr = ScheduleFree(lr=0.1, weight_decay=0.3, warmup_steps=warmup), 0.1
    walk = Walk(rule)
    y = {name: view.copy() for name, view in LAYOUT.views(walk.θ).items()}
    x, z = ({name: value.copy() for name, value in y.items()} for _ in range(2))
    v, weights = dict.fromkeys(y, 0.0), 0.0

    found = walk.run(8)

    for t in range(1, 9):
        γ = lr * min(1.0, t / max(warmup, 1))
        weights += γ**2
        for name, g in LAYOUT.views(walk.g).items():
            v[name] = 0.999 * v[name] + 0.001 * g**2
            decay = 0.3 if name == "W1" else 0.0
            z[name] = z[name] - γ * g / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8) - γ * decay * y[name]
            x[name] = (1 - γ**2 / weights) * x[name] + γ**2 / weights * z[name]
            y[name] = 0.1 * z[name] + 0.9 * x[name]
    for name, value in found.items():
        np.testing.assert_allclose(value, y[name], rtol=1e-11)
        np.testing.assert_allclose(LAYOUT.views(walk.state["average"])[name], x[name], rtol=1e-11)


def test_what_averages_by_itself_averages_its_own_parameters_alone() -> None:
    """In a group, what another rule moves is scored as it is; with `average` it is refused, since both would."""
    walk = Walk(Sgd(lr=0.1, groups=[ScheduleFree(lr=0.1, match="W*")]))
    found, scored = walk.run(5), LAYOUT.views(walk.state["average"])

    np.testing.assert_array_equal(scored["b1"], found["b1"])
    np.testing.assert_array_equal(scored["v1"], found["v1"])
    assert np.abs(scored["W1"] - found["W1"]).min() > 0
    with pytest.raises(ConfigError, match="schedule_free averages the parameters itself"):
        Updater(ScheduleFree(), LAYOUT, None, 0.9)


@dataclass(frozen=True)
class SignSgd(Grouped):
    """A rule of a test's own: θ' = θ − lr sign(g), and it remembers the last gradient without reading it."""

    name: Literal["sign_sgd"] = "sign_sgd"
    lr: float = 0.1
    weight_decay: float = 0.0

    def vectors(self) -> tuple[str, ...]:
        return ("last",)

    def update(
        self, g: Expr, θ: Expr, state: Mapping[str, Expr], lr: Expr, decay: Expr | None, t: Expr
    ) -> dict[str, Expr]:
        return {"θ": θ - lr * (where(g > 0.0, 1.0, 0.0) - where(g < 0.0, 1.0, 0.0)), "last": g}


def test_a_rule_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with one formula, entered in the table, is an optimizer: nothing else knows about it."""
    monkeypatch.setitem(OPTIMIZERS, "sign_sgd", SignSgd)
    gradient = draw(2)
    walk = Walk(OPTIMIZERS["sign_sgd"]())
    start = {name: view.copy() for name, view in LAYOUT.views(walk.θ).items()}

    found = walk.run(3)

    for name, g in gradient.items():
        np.testing.assert_allclose(found[name], start[name] - 0.3 * np.sign(g), rtol=1e-12)
        np.testing.assert_array_equal(LAYOUT.views(walk.state["last"])[name], g)


def test_groups_take_what_their_pattern_matches() -> None:
    """The first group that matches a name moves it, and the main rule the rest, each as it does alone."""
    groups: list[Any] = [Sgd(match="W[12]", lr=0.3), Adam(match="b*", lr=0.2), Sgd(match="b1", lr=9.0)]
    layout = Layout([Slot(n, (3,), "bias") for n in ("b1", "b2")] + [Slot(f"W{i}", (2, 3), "weight") for i in (1, 3)])
    found = Walk(AdamW(lr=0.1, groups=groups), layout).run(6)

    for name, rule in {"W1": Sgd(lr=0.3), "b1": Adam(lr=0.2), "b2": Adam(lr=0.2), "W3": AdamW(lr=0.1)}.items():
        (slot,) = [slot for slot in layout.slots if slot.name == name]
        expected = Walk(rule, Layout([slot])).run(6)[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, err_msg=name)


def test_a_group_that_moves_nothing_is_refused_with_the_names_there_are() -> None:
    """A pattern that matches no parameter is a slip, and not silently without effect."""
    layout = Layout([Slot("b1", (3,), "bias"), Slot("W1", (2, 3), "weight")])
    groups: list[Any] = [Sgd(match="b*"), Sgd(match="w*")]

    with pytest.raises(ConfigError, match=r'"w\*" is the name of no parameter of this net, which are b1, W1') as error:
        Updater(AdamW(groups=groups), layout)

    assert error.value.problems[0].key == "optimizer.groups.1.match"


def orthogonal(u: Array) -> Array:
    """The five rounds of Newton and Schulz on one matrix, from Jordan et al. 2024, number by number of its SVD."""
    U, s, V = np.linalg.svd(u / (np.sqrt((u**2).sum()) + 1e-7), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    direction: Array = (U * s) @ V * np.sqrt(max(1.0, u.shape[0] / u.shape[1]))
    return direction


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 5), (5, 1), (4, 4), (2, 3, 4), (2, 4, 3)])
def test_muon_is_what_its_singular_values_say(shape: tuple[int, ...]) -> None:
    """Wide, tall, square and thin matrices, and those of an ensemble, move as a reference by SVD moves them."""
    layout = Layout([Slot("b1", (3,), "bias"), Slot("W1", shape[-2:], "weight")], shape[:-2])
    gradient = {"b1": np.ones((*shape[:-2], 3)), "W1": draw(4, layout)["W1"]}
    muon = Muon(match="W*", lr=0.02, momentum=0.9, weight_decay=0.1)
    walk = Walk(Sgd(lr=0.5, groups=[muon]), layout, gradient)
    start = {name: view.copy() for name, view in layout.views(walk.θ).items()}

    found = walk.run(3)

    W, m, g = start["W1"].reshape(-1, *shape[-2:]), np.zeros(shape[-2:]), gradient["W1"].reshape(-1, *shape[-2:])
    for member in range(len(W)):
        expected, m = W[member], np.zeros(shape[-2:])
        state = {"momentum": np.zeros(shape[-2:])}
        for _ in range(3):
            m = 0.9 * m + 0.1 * g[member]
            u = 0.1 * g[member] + 0.9 * m
            np.testing.assert_allclose(muon.plain(g[member], state), orthogonal(u), rtol=1e-9, atol=1e-12)
            expected = expected * (1 - 0.02 * 0.1) - 0.02 * orthogonal(u)
        np.testing.assert_allclose(found["W1"].reshape(W.shape)[member], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["b1"], start["b1"] - 1.5)


def test_a_matrix_rule_alone_is_refused_with_a_cure_that_works() -> None:
    """Muon on biases is a contradiction; the config that the message shows is one that loads and trains."""
    with pytest.raises(ConfigError, match="muon moves weight matrices alone, and b1 is none") as caught:
        Updater(Muon(), LAYOUT)

    cure = str(caught.value).split("as in ")[1].removeprefix("optimizer: ")
    text = "data: {train: a.csv, target: y}\noptimizer: " + cure
    tree = from_mapping(parse(text, "c.yaml").root)  # type: ignore[arg-type]
    assert caught.value.exit_code == 3
    assert {name: type(rule) for name, rule in Updater(tree.optimizer, LAYOUT).rules.items()} == {
        "b1": AdamW,
        "W1": Muon,
        "v1": AdamW,
    }


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if "average" not in rule.vectors()])
def test_an_average_follows_every_rule(name: str) -> None:
    """θ̄ ← decay θ̄ + (1 − decay) θ' after each step, from the initial θ; θ itself is where it would be without."""
    rule, plain = alone(RULES[name]), Walk(alone(RULES[name]))
    walk = Walk(rule, average=0.8)
    expected = walk.θ.copy()
    walk.state["average"][:] = walk.θ

    for t in range(1, 6):
        for each in (walk, plain):
            each.s[:] = each.update.scalars(np.array([t]), np.ones(1))[0]
            each.step.run()
        np.testing.assert_array_equal(walk.θ, plain.θ)
        expected = 0.8 * expected + 0.2 * walk.θ
        np.testing.assert_allclose(walk.state["average"], expected, rtol=1e-12)
