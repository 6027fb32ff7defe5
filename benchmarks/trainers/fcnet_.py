"""fcnet: the loop behind `fcnet train`, without validation and saving, as the others have none either."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

import fcnet
from benchmarks.cases import LEARNING_RATE, Case
from fcnet import machine
from fcnet.backends.choice import make
from fcnet.data.source import MemorySource
from fcnet.nn.activations import Identity, Relu
from fcnet.nn.initializers import GlorotUniform, HeNormal
from fcnet.nn.layers import Dense
from fcnet.nn.losses import CrossEntropy
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import Adam
from fcnet.optim.schedules import Constant
from fcnet.optim.update import Updater
from fcnet.training.events import Epoch
from fcnet.training.loop import Plan, train
from fcnet.training.program import Program
from fcnet.training.state import State
from fcnet.training.timing import matmuls, mean_seconds

VERSION = f"fcnet {fcnet.__version__}, numpy {np.__version__}"


def numpy(case: Case) -> tuple[Callable[[], float], Callable[[], float]]:
    """On the NumPy backend; the second function gives the seconds of a step's own matrix products."""
    return trainer(case, "numpy")


def numba(case: Case) -> tuple[Callable[[], float], Callable[[], float]]:
    """On the Numba backend, likewise."""
    import numba  # noqa: F401  # where it is missing, this trainer is

    return trainer(case, "numba")


def trainer(case: Case, name: str, members: int = 0) -> tuple[Callable[[], float], Callable[[], float]]:
    """On the backend of that name, one net, or a pack of so many members."""
    x, y = case.data()
    n_in, *hidden, n_out = case.widths
    layers = [Dense(units, Relu(), HeNormal()) for units in hidden]
    network = Network([*layers, Dense(n_out, Identity(), GlorotUniform())], n_in, (members,) if members else ())
    update = Updater(Adam(lr=LEARNING_RATE), network.layout)
    state = State.new(network, update.names, np.float32)
    network.initialise(state.θ, state.q, 0, Rows(x[:8]))
    backend = make(name, int(os.environ["OMP_NUM_THREADS"]))
    machine.blas(backend.blas_threads(network.largest_product(case.batch)))
    program = Program(backend, network, CrossEntropy(), update, state)
    source = MemorySource(Rows(x), y, one_hot=np.eye(n_out, dtype=np.float32))
    events = train(program, source, Plan(1_000_000, case.batch, Constant()), None)

    def epoch() -> float:
        return next(event.train_loss for event in events if isinstance(event, Epoch))

    epoch()
    alone = backend.compile(matmuls(program.recorded(case.batch).tape.ops), program.resident)

    def products_alone() -> float:
        return mean_seconds(alone, case.rows // case.batch)

    return epoch, products_alone
