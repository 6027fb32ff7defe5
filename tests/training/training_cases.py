"""Small runs for the tests of training: a net, its rows, and a program over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.base import Backend
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Array
from fcnet.data.source import MemorySource
from fcnet.nn.activations import Identity, Relu
from fcnet.nn.initializers import GlorotNormal, HeNormal
from fcnet.nn.layers import Dense, Dropout, Layer
from fcnet.nn.losses import CrossEntropy, Loss
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import Adam, Optimizer, Sgd, of_matrices
from fcnet.optim.schedules import Constant
from fcnet.optim.update import Updater
from fcnet.training.events import Epoch, Progress
from fcnet.training.loop import Plan, train
from fcnet.training.program import Forward, Program
from fcnet.training.state import State

PLAN = Plan(epochs=3, batch_size=8, schedule=Constant())


def draw(seed: int, purpose: str, *shape: int) -> Array:
    """Normal numbers of this shape, float64."""
    return random.normal(int(np.prod(shape)), random.key(seed, purpose)).reshape(shape)


def alone(rule: Optimizer) -> Optimizer:
    """The rule as one of its own; one for matrices in a group, with plain descent of the same rates for the rest."""
    if not of_matrices(rule):
        return rule
    return Sgd(lr=rule.lr, weight_decay=rule.weight_decay, groups=[replace(rule, match="W*")])


def layers(*units: int, outputs: int, dropout: float = 0.0) -> list[Layer]:
    """Hidden relu layers, each with dropout behind it where it is asked for, and outputs."""
    hidden: list[Layer] = []
    for n in units:
        hidden.append(Dense(n, Relu(), HeNormal()))
        if dropout:
            hidden.append(Dropout(dropout))
    return [*hidden, Dense(outputs, Identity(), GlorotNormal())]


@dataclass(frozen=True)
class Setup:
    """Everything that a run is made of; 37 rows of three classes by default."""

    net: Sequence[Layer] = ()
    loss: Loss = CrossEntropy()
    rule: Optimizer = Adam(lr=0.01)
    x: Any = None
    y: Any = None
    w: Any = None
    c: Any = None
    one_hot: Any = None
    dtype: Any = np.float64
    seed: int = 0
    members: tuple[int, ...] = ()
    clip_norm: float | None = None
    average: float | None = None
    driven: tuple[str, ...] = ()
    share: float = 1.0
    shuffle: bool = True

    def source(self) -> MemorySource:
        """The rows."""
        x = draw(0, "x", 37, 4) if self.x is None else self.x
        y = np.arange(len(x)) % 3 if self.y is None else self.y
        one_hot = np.eye(3, dtype=self.dtype) if self.one_hot is None and y.ndim == 1 else self.one_hot
        x = x.astype(self.dtype)
        return MemorySource(Rows(x, self.c), y, self.w, one_hot=one_hot, seed=self.seed, shuffle=self.shuffle)

    def program(self, backend: Backend | None = None) -> Program:
        """A program with initial weights, before its first step."""
        source = self.source()
        net = self.net or layers(6, 5, outputs=3, dropout=0.2)
        n_cat = 0 if self.c is None else self.c.shape[1]
        network = Network(net, source.inputs.x.shape[1], self.members, self.driven, n_cat=n_cat)
        update = Updater(self.rule, network.layout, self.clip_norm, self.average)
        state = State.new(network, update.names, self.dtype)
        program = Program(
            backend or NumpyBackend(),
            network,
            self.loss,
            update,
            state,
            weighted=self.w is not None,
            seed=self.seed,
            share=self.share,
        )
        rows = source.order(0, 0, source.n)
        network.initialise(state.θ, state.q, self.seed, source.inputs[rows])
        state.scored[...] = state.θ
        return program


def run(program: Program, source: Any, plan: Plan = PLAN, validate: Any = None) -> list[Progress | Epoch]:
    """Train to the end."""
    return list(train(program, source, plan, validate))


def epochs(events: Sequence[Progress | Epoch]) -> list[Epoch]:
    """The records of whole epochs, without what a clock measured."""
    return [replace(e, seconds=0.0, elapsed=0.0) for e in events if isinstance(e, Epoch)]


def whole(state: State) -> dict[str, Any]:
    """All of a state but its clocks, comparable bit for bit."""
    arrays = {name: array.tobytes() for name, array in state.arrays().items()}
    return {**arrays, **{n: v for n, v in state.numbers().items() if n not in ("seconds", "elapsed")}}


def outputs(program: Program, x: Array) -> Array:
    """z_N of rows, without dropout."""
    forward = Forward(program.backend, program.network, program.state.scored, program.state.q, 64)
    return forward(Rows(x.astype(program.dtype)))
