"""Small nets on small batches: an objective L(θ) by a training step's own operations, and its finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.base import Binding, HostStep
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Accumulate, Array, Phase
from fcnet.nn.activations import ACTIVATIONS, Activation, Elu, LeakyRelu
from fcnet.nn.initializers import Zeros
from fcnet.nn.layers import Dense, Dropout, Layer
from fcnet.nn.losses import LOSSES, CrossEntropy, Focal, Huber, Loss, Pinball, Tweedie
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import Sgd
from fcnet.optim.update import Updater
from fcnet.training.program import Program
from fcnet.training.state import State

# every registered one with its defaults, and those whose options change the formula
ACTIVATION_CASES: dict[str, Activation] = {name: cls() for name, cls in ACTIVATIONS.items()} | {
    "leaky_relu(0.3)": LeakyRelu(slope=0.3),
    "elu(0.7)": Elu(alpha=0.7),
}
LOSS_CASES: dict[str, Loss] = {name: cls() for name, cls in LOSSES.items()} | {
    "huber(0.4)": Huber(delta=0.4),
    "cross_entropy(0.2)": CrossEntropy(label_smoothing=0.2),
    "focal(0.5)": Focal(gamma=0.5),
    "focal(0)": Focal(gamma=0.0),
    "quantile(0.2, 0.7)": Pinball(levels=[0.7, 0.2]),
    "tweedie(1.9)": Tweedie(power=1.9),
}
ON_VALUES = [name for name, loss in LOSS_CASES.items() if loss.learns == "numbers" and loss.on_values]
H = 2e-4


def numbers(seed: int, purpose: str, *shape: int) -> Array:
    """Normal numbers of this shape."""
    return random.normal(int(np.prod(shape)), random.key(seed, purpose)).reshape(shape)


def targets(loss: Loss, rows: int, n: int, seed: int) -> Array:
    """Targets that the loss can learn, (rows, n): one-hot rows, numbers, counts, or zeros and ones."""
    y = numbers(seed, "y", rows, n)
    if loss.learns == "one_hot":
        return np.eye(n)[np.argmax(y, axis=-1)]
    if loss.learns == "amounts":
        return np.floor(np.abs(2 * y))
    if loss.learns == "positive":
        return 0.1 + np.abs(y)
    return y if loss.learns == "numbers" else (y > 0).astype(float)


def net(activation: Activation, n_out: int, *, dropout: float = 0.0, output: Activation | None = None) -> list[Layer]:
    """3 inputs → 3 → 2 → n_out, with dropout in front of each hidden layer where it is asked for."""
    drop: list[Layer] = [Dropout(dropout)] if dropout else []
    last = ACTIVATIONS["identity"]() if output is None else output
    return [
        *drop,
        Dense(3, activation, Zeros()),
        *drop,
        Dense(2, activation, Zeros()),
        Dense(n_out, last, Zeros()),
    ]


class Objective:
    """L(θ) of a net on one batch, and ∇L, by the operations that a training step records: until the loss, or all."""

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss,
        x: Array,
        y: Array,
        w: Array | None = None,
        c: Array | None = None,
        members: tuple[int, ...] = (),
    ) -> None:
        self.network = Network(layers, x.shape[-1], members, n_cat=0 if c is None else c.shape[-1])
        self.state = State.new(self.network, (), np.float64)
        update = Updater(Sgd(), self.network.layout)
        self.program = Program(NumpyBackend(), self.network, loss, update, self.state, weighted=w is not None, seed=5)
        self.recorded = self.program.blank(len(x))
        self.program.record_gradient(self.recorded)
        backend, at = NumpyBackend(), Binding(self.program.resident)
        bound = [(op, backend.bind(op, at)) for op in self.recorded.tape.ops if not isinstance(op, Phase)]
        until_loss = 1 + max(i for i, (op, _) in enumerate(bound) if isinstance(op, Accumulate))
        self.step, self.value = (
            HostStep(backend.link([call for _, calls in some for call in calls]), at)
            for some in (bound, bound[:until_loss])
        )
        given: dict[str, Any] = {"x": x, "y": y, "w": w, "c": c}
        for name, ref in self.recorded.batch.named.items():
            self.step.put(ref, given[name])
        self.program.position[:] = (2, 7, 0, 0)
        if self.state.q.size:  # θ comes with every call
            self.network.initialise(self.state.θ, self.state.q, 5, Rows(x, c))
        self.q = self.state.q.copy()
        flags = self.network.layout.zeros(np.float64)
        for view in self.network.layout.views(flags).values():
            view[...] = 1
        self.used = np.flatnonzero(flags)  # along a pack's members, one after another

    def __call__(self, θ: Array) -> float:
        """L = (1/B) Σ w ℓ, summed over the members."""
        self._begin(θ)
        self.value.run()
        return float(self.state.loss.sum()) / self.recorded.batch.n

    def gradient(self, θ: Array) -> Array:
        """∇L."""
        self._begin(θ)
        self.step.run()
        return self.program.gradient.reshape(-1).copy()

    def _begin(self, θ: Array) -> None:
        self.state.θ.reshape(-1)[:], self.state.q[...], self.state.loss[...] = θ, self.q, 0.0

    def start(self, seed: int) -> Array:
        """Some θ, all of whose entries are far from 0 on average."""
        θ = np.zeros(self.state.θ.size)
        θ[self.used] = 0.8 * numbers(seed, "θ", len(self.used))
        return θ

    def directions(self, seed: int, n: int) -> Array:
        """n random unit vectors of θ's size."""
        v = np.zeros((n, self.state.θ.size))
        v[:, self.used] = numbers(seed, "directions", n, len(self.used))
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    def coordinates(self) -> Array:
        """The unit vectors along every parameter."""
        return np.eye(self.state.θ.size)[self.used]


def gradient_error(objective: Objective, θ: Array, directions: Array) -> float | None:
    """The largest relative error of ∇L·v over the directions v, or None if one of them crosses a kink.

    Central differences of fourth order with two step lengths: where they disagree the function has a kink nearby. They
    say so without looking at the gradient. Derivatives below 1 % of the largest count as that much: what is left of
    them is rounding.
    """
    exact = directions @ objective.gradient(θ)
    coarse, fine = np.array([_derivatives(objective, θ, v) for v in directions]).T
    size = max(float(np.abs(fine).max()), 1e-4)
    if np.abs(coarse - fine).max() > 1e-7 * size:
        return None
    return float(np.max(np.abs(exact - coarse) / np.maximum(np.abs(coarse), 1e-2 * size)))


def _derivatives(f: Objective, θ: Array, v: Array) -> tuple[float, float]:
    """With step lengths H and H / 2."""
    d = [f(θ + h * v) - f(θ - h * v) for h in (H / 2, H, 2 * H)]
    return (8 * d[1] - d[2]) / (12 * H), (8 * d[0] - d[1]) / (6 * H)


def error(build: Callable[[int], Objective], every_coordinate: bool) -> float:
    """The error at the first of some nets that is smooth along all directions that are tried."""
    for seed in range(40):
        f = build(seed)
        directions = f.directions(seed, 2)
        if every_coordinate:
            directions = np.concatenate([directions, f.coordinates()])
        found = gradient_error(f, f.start(seed), directions)
        if found is not None:
            return found
    raise AssertionError("every net has a kink at hand")
