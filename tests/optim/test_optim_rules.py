"""Optimizers over the segments of θ: factors by slot, clipping, and what holds for every rule that is registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from fcnet import random
from fcnet.backends.base import Array, Tape
from fcnet.backends.numpy import NumpyBackend
from fcnet.formulas import Expr, where
from fcnet.nn.layout import Layout, Slot
from fcnet.optim.rules import OPTIMIZERS, Adam, AdamW, Optimizer, Sgd
from fcnet.optim.update import Update

LAYOUT = Layout([Slot("b1", (3,), "bias"), Slot("W1", (3, 4), "weight"), Slot("v1", (5,), "vector")])


def draw(seed: int, layout: Layout = LAYOUT) -> dict[str, Array]:
    """Some numbers for every slot."""
    shapes = {slot.name: slot.shape for slot in layout.slots}
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
    ) -> None:
        self.layout, self.update = layout, Update(rule, layout, clip_norm)
        self.θ, self.g = layout.zeros(dtype), layout.zeros(dtype)
        for name, value in draw(1, layout).items():
            layout.views(self.θ)[name][...] = value
        for name, value in (draw(2, layout) if gradient is None else gradient).items():
            layout.views(self.g)[name][...] = value
        self.state = {name: layout.zeros(dtype) for name in self.update.names}
        self.s = np.zeros(self.update.n_scalars, dtype)
        self.tape = Tape(NumpyBackend())
        self.update.record(self.tape, self.θ, self.g, self.state, self.s)

    def run(self, steps: int, factor: float = 1.0) -> dict[str, Array]:
        for row in self.update.scalars(np.arange(1, steps + 1), np.full(steps, factor)):
            self.s[:] = row
            self.tape.run()
        return {name: view.copy() for name, view in self.layout.views(self.θ).items()}


def members() -> list[tuple[str, Any]]:
    """Every registered rule with its defaults, and with momentum where it has some."""
    some = [(name, cls()) for name, cls in OPTIMIZERS.items()]
    return [*some, ("sgd momentum", Sgd(momentum=0.9)), ("sgd nesterov", Sgd(momentum=0.9, nesterov=True))]


RULES = dict(members())


@pytest.mark.parametrize("name", RULES)
def test_decay_reaches_weights_alone(name: str) -> None:
    """With decay, weights end elsewhere than without; biases and other vectors end exactly where they did."""
    cls, options = type(RULES[name]), {k: getattr(RULES[name], k) for k in ("momentum", "nesterov") if "sgd" in name}

    without, decayed = (Walk(cls(lr=0.05, weight_decay=d, **options)).run(5) for d in (0.0, 0.3))

    np.testing.assert_array_equal(without["b1"], decayed["b1"])
    np.testing.assert_array_equal(without["v1"], decayed["v1"])
    assert np.abs(without["W1"] - decayed["W1"]).min() > 0


@pytest.mark.parametrize("name", RULES)
def test_the_space_between_slots_stays_zero(name: str) -> None:
    """Padding is part of the flat vectors and of their norms: no rule may fill it."""
    walk = Walk(RULES[name], clip_norm=1.0)
    walk.run(10)
    inside = LAYOUT.zeros(bool)
    for view in LAYOUT.views(inside).values():
        view[...] = True

    for vector in (walk.θ, walk.g, *walk.state.values()):
        assert not vector[~inside].any()
        assert vector[inside].any()


@pytest.mark.parametrize("name", RULES)
def test_no_gradient_no_step(name: str) -> None:
    """With a gradient of zeros and no decay θ does not move, and nothing becomes NaN."""
    rule = type(RULES[name])(weight_decay=0.0)
    zeros = {slot.name: np.zeros(slot.shape) for slot in LAYOUT.slots}
    walk = Walk(rule, gradient=zeros)
    start = walk.θ.copy()

    walk.run(3)

    np.testing.assert_array_equal(walk.θ, start)


@pytest.mark.parametrize("name", RULES)
def test_the_first_step_goes_downhill(name: str) -> None:
    """Every element moves against its gradient, and half the rate moves it half as far."""
    rule = type(RULES[name])(weight_decay=0.0)
    full, half = Walk(rule), Walk(rule)
    start = {name: view.copy() for name, view in LAYOUT.views(full.θ).items()}
    moved, less = full.run(1), half.run(1, factor=0.5)

    for slot, view in LAYOUT.views(full.g).items():
        assert (np.sign(start[slot] - moved[slot]) == np.sign(view)).all()
        np.testing.assert_allclose(start[slot] - less[slot], (start[slot] - moved[slot]) / 2, rtol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_float32_follows_float64(name: str) -> None:
    """Twenty steps in single precision, scalars included, stay within 1e-4 of those in double."""
    single, double = (Walk(RULES[name], dtype=dtype).run(20) for dtype in (np.float32, np.float64))

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


@dataclass(frozen=True)
class SignSgd:
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
