"""Threads that share a step: the same bits as one thread that makes every piece, whatever happens to one of them."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from fcnet import random
from fcnet.backends.base import Array, Tape
from fcnet.backends.numba import denormals, team
from fcnet.backends.numba.backend import Least, NumbaBackend, _in_step
from fcnet.data.source import MemorySource
from fcnet.formulas import Formula, Sym, row_sum
from fcnet.nn.activations import Gelu, Identity, Relu, Softmax
from fcnet.nn.initializers import HeNormal
from fcnet.nn.layers import Dense, Dropout
from fcnet.nn.losses import CrossEntropy
from fcnet.nn.network import Network
from fcnet.optim.rules import AdamW
from fcnet.optim.update import Update
from fcnet.training.program import Program
from fcnet.training.state import State

ALL = Least(0, 0, 0, 0, units=0)


def program(threads: int) -> tuple[Program, MemorySource]:
    """A net of every kind of call, large enough to be cut, before its first step."""
    layers = [
        Dense(64, Relu(), HeNormal()),
        Dropout(0.2),
        Dense(80, Softmax(), HeNormal()),
        Dense(48, Gelu(), HeNormal()),
    ]
    network = Network([*layers, Dense(3, Identity(), HeNormal())], 50)
    update = Update(AdamW(lr=1e-3), network.layout, clip_norm=0.1)
    state = State.new(network, update.names, np.float32)
    x = random.normal(640 * 50, random.key(0, "team")).reshape(640, 50).astype(np.float32)
    source = MemorySource(x, np.arange(640) % 3, np.abs(x[:, 0]), one_hot=np.eye(3, dtype=np.float32))
    made = Program(NumbaBackend(threads, ALL), network, CrossEntropy(), update, state, weighted=True)
    source.fill(batch := made.batch(64), 0, 0)
    network.initialise(state.θ, state.q, 0, batch)
    return made, source


def steps(made: Program, source: MemorySource, alone: bool) -> dict[str, bytes]:
    """All of the state after thirty epochs of ten steps; `alone`: every piece in turn, by this thread."""
    for epoch in range(30):
        made.state.epoch, made.state.row = epoch, 0
        scalars = made.update.scalars(np.arange(10) + made.state.step + 1, np.ones(10))
        if alone:
            tape = made.recorded(64).tape
            made._table[:10] = scalars
            made.position[:] = epoch, made.state.step, 0, 0
            source.order(epoch, 0, 0)
            for _ in range(10):
                for call, args in tape.calls:
                    call(*args)
            made.state.step += 10
        else:
            made.run(source, scalars, 64)
    return {name: array.tobytes() for name, array in made.state.arrays().items()}


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_wait_for_what_they_need(threads: int) -> None:
    """Three hundred steps of a team end in the bits of the same pieces made one after another."""
    together, alone = program(threads), program(threads)
    alone[0].run(alone[1], alone[0].update.scalars(np.arange(1, 2), np.zeros(1)), 64)  # binds the source
    alone[0].state.take(together[0].state)

    ends = [steps(*together, alone=False), steps(*alone, alone=True)]

    assert ends[0] == ends[1]
    assert np.isfinite(together[0].state.θ).all()


def test_a_step_is_cut_for_the_team() -> None:
    """Products, formulas, gather, words, norm and update each have a piece for both threads."""
    made, source = program(2)
    made.run(source, made.update.scalars(np.arange(1, 2), np.ones(1)), 64)

    natives = [call for call, _ in made.recorded(64).tape.calls]

    assert sum(len(native.pieces) == 2 for native in natives) > 20
    assert made.recorded(64).tape.backend.link(made.recorded(64).tape.calls).__name__ == "together"


@pytest.mark.parametrize(("units", "how"), [(128, "repeat"), (256, "together")])
def test_a_step_of_narrow_layers_is_left_to_one_thread(units: int, how: str) -> None:
    """Where a thread would use what it fetches from another too seldom, nothing is shared; the numbers are the same."""
    z, w = random.normal(2048 * units, random.key(0, "z")), random.normal(units * units, random.key(0, "w"))
    outs = []
    for threads in (1, 2):
        a, loss = np.zeros((2048, units), np.float32), np.zeros(1)
        tape = Tape(NumbaBackend(threads))
        tape.matmul(z.astype(np.float32).reshape(2048, units), w.astype(np.float32).reshape(units, units).T, a)
        tape.apply(Formula({"a": Sym("a") * Sym("a") + Sym("a")}), {"a": a}, {"a": a})
        tape.apply(Formula({"a": row_sum(Sym("a")) + Sym("a")}), {"a": a}, {"a": a})
        tape.accumulate(a, loss)
        tape.run()
        outs.append(a)

    assert tape.backend.link(tape.calls).__name__ == how
    assert sum(len(call.pieces) == 2 for call, _ in tape.calls) >= 2
    assert outs[0].tobytes() == outs[1].tobytes()


def doubling(n: int) -> tuple[Tape, Array]:
    """A tape that doubles n numbers in a team of two."""
    x = np.ones(n, np.float64)
    tape = Tape(NumbaBackend(2, ALL))
    tape.apply(Formula({"x": 2.0 * Sym("x")}), {"x": x}, {"x": x})
    return tape, x


def test_an_interrupted_walk_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the work is handed out lets the other thread go, and the next walk is whole."""
    tape, x = doubling(64)
    tape.run(3)

    walk = team._Job.walk

    def interrupted(job: team._Job) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        walk(job)

    with monkeypatch.context() as patched:
        patched.setattr(team._Job, "walk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tape.run(3)
    x[...] = 1.0
    tape.run(4)

    assert (x == 16).all()


def test_two_walks_at_once_take_turns() -> None:
    """Two Python threads may train in one process."""
    tapes = [doubling(64) for _ in range(2)]
    threads = [threading.Thread(target=lambda t=tape: [t.run(1) for _ in range(50)]) for tape, _ in tapes]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all((x == 2.0**50).all() for _, x in tapes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_a_team_of_its_own() -> None:
    """Threads do not live on in a fork: it starts its own, and ends with the right numbers."""
    tape, x = doubling(64)
    tape.run(1)

    child = os.fork()
    if not child:
        tape.run(2)
        os._exit(0 if (x == 8).all() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("source", "target", "barriers"),
    [("z", "u", 1), ("z", "y", 2), ("z", "x", 2), ("y", "u", 2), ("x", "u", 1)],
    ids=["nothing shared", "write after write", "write after read", "read after write", "read after read"],
)
def test_a_barrier_stands_where_the_order_matters(source: str, target: str, barriers: int) -> None:
    """y = 2x by units, then a sum of rows: threads wait where one touches what the other has, and at the step's end."""
    held = {name: np.ones((64, 64)) for name in "xyzu"}
    backend = NumbaBackend(2, ALL)
    calls = backend.apply(Formula({"y": 2.0 * Sym("x")}), {"x": held["x"]}, {"y": held["y"]})
    rows = Formula({"r": row_sum(Sym("s")) + Sym("s")})
    calls += backend.apply(rows, {"s": held[source]}, {"r": held[target]})

    tables = _in_step([call for call, _ in calls], 2)

    assert [sum(piece is None for piece in table) for table in tables] == [barriers, barriers]
    assert [len(table) for table in tables] == [2 + barriers, 2 + barriers]


@pytest.mark.skipif(not denormals.X86, reason="elsewhere the smallest numbers cost no more than others")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_smallest_numbers_are_zero_while_kernels_run(threads: int, dtype: Any) -> None:
    """What lies below the smallest normal number is neither read nor written by kernels, and is as ever elsewhere."""
    tiny = np.finfo(dtype).tiny
    x, y = np.full(64, 1.5 * tiny, dtype), np.full(64, 0.5 * tiny, dtype)
    tape = Tape(NumbaBackend(threads, ALL))
    tape.apply(Formula({"x": 0.5 * Sym("x"), "y": 4.0 * Sym("y")}), {"x": x, "y": y}, {"x": x, "y": y})

    tape.run()

    assert not x.any()
    assert not y.any()
    assert np.array([1.5 * tiny], dtype)[0] * dtype(0.5) > 0
