"""Eight probes of the shape of the program: what later work needs is possible today, with pieces made in this file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
from training_cases import PLAN, Setup, draw, epochs, layers, outputs, run, whole

from fcnet import random
from fcnet.backends.base import Eager
from fcnet.backends.ops import Apply, Array, Host, Ref, Tape
from fcnet.data.source import MemorySource
from fcnet.formulas import Expr, Formula, Sym
from fcnet.nn.activations import Identity, Tanh
from fcnet.nn.initializers import GlorotNormal
from fcnet.nn.layers import Context, Dense, Dropout, Equation, Names
from fcnet.nn.layers.layer import Key
from fcnet.nn.layout import Slot
from fcnet.nn.losses import SquaredError
from fcnet.nn.workspace import Workspace
from fcnet.optim.rules import Adam, AdamW, Grouped, Sgd
from fcnet.optim.schedules import CosineDecay
from fcnet.training import loop
from fcnet.training.loop import train
from fcnet.training.program import Program
from fcnet.training.state import State

Arrays, Refs = Mapping[str, Array], Mapping[str, Ref]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_recorded_steps_are_eager_steps(dtype: Any) -> None:
    """Twenty compiled steps end in the same bits as twenty whose every operation is made as it is recorded."""
    setup = Setup(w=np.abs(draw(0, "w", 37)), clip_norm=0.5, dtype=dtype, rule=AdamW(lr=0.02))
    replayed, eager = setup.program(), setup.program()
    scalars = replayed.update.scalars(np.arange(1, 21), np.linspace(1, 0.1, 20))

    for program, step in ((replayed, replayed.run), (eager, _eagerly)):
        source = setup.source()
        for k in range(20):
            if program.state.row == source.n:
                program.state.epoch, program.state.row = program.state.epoch + 1, 0
            args = (source, scalars[k : k + 1], 8)
            _eagerly(program, *args) if step is _eagerly else program.run(*args)

    assert replayed.state.step == eager.state.step == 20
    assert whole(replayed.state) == whole(eager.state)
    assert not np.array_equal(replayed.state.θ, setup.program().state.θ)


def _eagerly(program: Program, source: MemorySource, scalars: Array, batch_size: int) -> None:
    """One step of which nothing is compiled beforehand."""
    state, k = program.state, Eager(program.backend, program.resident)
    r = program.blank(min(batch_size, source.n - state.row), k)
    source.fill({name: k.fetch(ref) for name, ref in r.batch.named.items()}, state.epoch, state.row)
    program.position[:2] = state.epoch, state.step
    program.s[:] = scalars[0]
    program.record(r)
    state.row += r.batch.n
    state.step += 1


def test_an_ensemble_is_its_members_trained_alone() -> None:
    """Three nets as one batched product end where three single runs from the same initial weights end."""
    net = layers(6, 5, outputs=3)
    together = Setup(net=net, members=(3,)).program()
    source = Setup().source()
    starts = {name: view.copy() for name, view in together.network.layout.views(together.state.θ).items()}
    assert not np.array_equal(starts["W1"][0], starts["W1"][1])

    found = epochs(run(together, source))

    losses = []
    for member in range(3):
        alone = Setup(net=net).program()
        for name, view in alone.network.layout.views(alone.state.θ).items():
            view[...] = starts[name][member]
        losses.append([e.train_loss for e in epochs(run(alone, source))])
        for name, view in alone.network.layout.views(alone.state.θ).items():
            part = together.network.layout.views(together.state.θ)[name][member]
            np.testing.assert_allclose(part, view, rtol=1e-10, atol=1e-13, err_msg=name)
        np.testing.assert_allclose(
            outputs(together, source.inputs.x)[member], outputs(alone, source.inputs.x), rtol=1e-10
        )
    np.testing.assert_allclose([[m.train_loss for m in e.members] for e in found], np.transpose(losses), rtol=1e-12)
    np.testing.assert_allclose([e.train_loss for e in found], np.mean(losses, axis=0), rtol=1e-12)


def test_the_first_member_starts_as_the_single_net() -> None:
    """A member's initial weights do not depend on how many others there are."""
    one, three = Setup().program(), Setup(members=(3,)).program()
    alone = one.network.layout.views(one.state.θ)

    for name, view in three.network.layout.views(three.state.θ).items():
        np.testing.assert_array_equal(view[0], alone[name])


def test_half_batches_add_up_to_the_whole() -> None:
    """With row weights, the gradients of two parts of a batch, each scaled by the whole one's rows, are its own."""
    x, y, w = draw(1, "x", 12, 4), np.arange(12) % 3, np.abs(draw(1, "w", 12))
    setup = Setup(net=layers(6, 5, outputs=3), x=x, y=y, w=w, shuffle=False)
    total = _gradient(setup.program(), setup.source(), 0, 12)

    for cut in (6, 4):
        parts = [(0, cut), (cut, 12)]
        found = [
            _gradient(replace(setup, share=12 / (stop - start)).program(), setup.source(), start, stop)
            for start, stop in parts
        ]
        np.testing.assert_allclose(found[0][0] + found[1][0], total[0], rtol=1e-12, atol=1e-15)
        assert found[0][1] + found[1][1] == pytest.approx(total[1], rel=1e-14)


def _gradient(program: Program, source: MemorySource, start: int, stop: int) -> tuple[Array, float]:
    """(∇L, Σ w ℓ) of the rows [start, stop)."""
    k = Eager(program.backend, program.resident)
    r = program.blank(stop - start, k)
    source.fill({name: k.fetch(ref) for name, ref in r.batch.named.items()}, 0, start)
    program.record_gradient(r)
    return program.gradient.copy(), float(program.state.loss)


@dataclass(frozen=True)
class Whitened(Grouped):
    """A toy matrix rule: the momentum of the gradient, divided by its own norm."""

    lr: float = 0.05
    weight_decay: float = 0.2

    def vectors(self) -> tuple[str, ...]:
        return ("momentum",)

    def update(self, g: Expr, θ: Expr, state: Any, lr: Expr, decay: Expr | None, t: Expr) -> dict[str, Expr]:
        return {"θ": (θ if decay is None else θ * (1.0 - lr * decay)) - lr * g}

    def direction(self, k: Tape, g: Ref, state: Refs, d: Ref) -> None:
        m = state["momentum"]
        k.add(Apply(Formula({"m": 0.9 * Sym("m") + Sym("g")}), {"m": m, "g": g}, {"m": m}))
        k.add(Host(self._whiten, {"m": m, "d": d}))

    def _whiten(self, at: Arrays) -> None:
        np.divide(at["m"], np.linalg.norm(at["m"], axis=(-2, -1), keepdims=True), at["d"])


@dataclass(frozen=True)
class SlowBias:
    """A dense layer whose bias learns at a tenth of the rate."""

    dense: Dense

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        n_out, slots = self.dense.slots(n_in)
        return n_out, [replace(slot, lr=0.1) if slot.kind == "bias" else slot for slot in slots]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dense, name)


@pytest.mark.parametrize("clip_norm", [None, 0.1], ids=["free", "clipped"])
def test_a_matrix_rule_on_weights_with_adamw_elsewhere(clip_norm: float | None) -> None:
    """Its own rule on each W, AdamW on the rest, bias rate × 0.1, decay on W alone: as a slow reference computes it."""
    net: Any = [SlowBias(Dense(5, Tanh(), GlorotNormal())), SlowBias(Dense(3, Identity(), GlorotNormal()))]
    setup = Setup(net=net, rule=AdamW(lr=0.01, weight_decay=0.5, groups=[Whitened(match="W*")]), clip_norm=clip_norm)
    program, source = setup.program(), setup.source()
    layout, schedule = program.network.layout, CosineDecay()
    start = {name: view.copy() for name, view in layout.views(program.state.θ).items()}
    plan = replace(PLAN, schedule=schedule)

    run(program, source, plan)

    p, state = start, {name: [np.zeros_like(view) for _ in range(2)] for name, view in start.items()}
    other = setup.program()
    for t in range(1, 16):
        epoch, row = divmod(t - 1, 5)
        for name, view in layout.views(other.state.θ).items():
            view[...] = p[name]
        g = {
            name: view.copy()
            for name, view in layout.views(
                _gradient(other, source_at(source, epoch), row * 8, min(row * 8 + 8, 37))[0]
            ).items()
        }
        if clip_norm is not None:
            norm = np.sqrt(sum((v**2).sum() for v in g.values()))
            g = {name: v * min(1.0, clip_norm / (norm + 1e-6)) for name, v in g.items()}
        factor = 0.5 * (1 + np.cos(np.pi * (t - 1) / 15))
        for name in p:
            m, v = state[name]
            if name.startswith("W"):
                m[...] = 0.9 * m + g[name]
                lr = 0.05 * factor
                p[name] = p[name] * (1 - lr * 0.2) - lr * m / np.linalg.norm(m)
            else:
                m[...] = 0.9 * m + 0.1 * g[name]
                v[...] = 0.999 * v + 0.001 * g[name] ** 2
                lr = 0.1 * 0.01 * factor
                p[name] = p[name] - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    for name, view in layout.views(program.state.θ).items():
        np.testing.assert_allclose(view, p[name], rtol=1e-9, atol=1e-12, err_msg=name)


@dataclass(frozen=True)
class AtEpoch:
    """A source that stays in one epoch."""

    source: MemorySource
    epoch: int

    def fill(self, batch: Arrays, epoch: int, start: int) -> None:
        self.source.fill(batch, self.epoch, start)


def source_at(source: MemorySource, epoch: int) -> Any:
    return AtEpoch(source, epoch)


@dataclass(frozen=True)
class Categories:
    """A toy first layer: each row's numbers times a learnt scale, beside a vector for its category.

    The scale starts from the data, 1 / the column's spread. A buffer counts the rows of each category seen in training.
    """

    levels: int
    width: int = 2
    name: Literal["categories"] = "categories"

    def settled(self, given: Context) -> Categories:
        return self

    def described(self) -> tuple[str, str]:
        return f"categories {self.levels}", "normal"

    def slots(self, n_in: int) -> tuple[int, list[Slot]]:
        return n_in + self.width, [
            Slot("scale", (n_in,), "vector"),
            Slot("E", (self.levels, self.width), "embedding"),
            Slot("seen", (self.levels,), "buffer"),
        ]

    def start(self, p: Arrays, q: Arrays, key: Key, z: Array) -> None:
        p["scale"][...] = 1 / z.std(axis=-2)
        p["E"][...] = random.normal(p["E"].size, key.words, key.place).reshape(p["E"].shape)
        q["seen"][...] = 0

    def forward(self, k: Tape, p: Refs, q: Refs, ws: Workspace, z: Ref) -> Ref:
        n, c = z.shape[-1], ws.batch.c
        assert c is not None
        z_out = ws.new("z_out", n + self.width)
        k.add(Apply(Formula({"z": Sym("z") * Sym("scale")}), {"z": z, "scale": p["scale"]}, {"z": z_out[..., :n]}))
        k.add(Host(self._look_up, {"z": z_out[..., n:], "E": p["E"], "c": c}))
        if ws.train:
            k.add(Host(self._count, {"seen": q["seen"], "c": c}))
        return z_out

    def backward(self, k: Tape, p: Refs, q: Refs, g: Refs, ws: Workspace, δ: Ref) -> Ref | None:
        z, c = ws["z"], ws.batch.c
        assert c is not None
        n = z.shape[-1]
        k.add(Host(self._scale, {"g": g["scale"], "δ": δ[..., :n], "z": z}))
        k.add(Host(self._spread, {"g": g["E"], "δ": δ[..., n:], "c": c}))
        assert not ws.needed
        return None

    def equations(self, n: Names) -> Iterator[Equation]:
        yield Equation("forward", f"{n.z_out} = ({n('s')} ∘ {n.z}, {n('E')}[c])", self.forward, {"z_out": n.outputs})

    def _look_up(self, at: Arrays) -> None:
        at["z"][...] = at["E"][at["c"][:, 0]]

    def _count(self, at: Arrays) -> None:
        np.add.at(at["seen"], at["c"][:, 0], 1)

    def _scale(self, at: Arrays) -> None:
        at["g"][...] = (at["δ"] * at["z"]).sum(axis=-2)

    def _spread(self, at: Arrays) -> None:
        at["g"][...] = 0
        np.add.at(at["g"], at["c"][:, 0], at["δ"])


def categories() -> Setup:
    c = (np.arange(37) * 7 % 5).astype(np.int32).reshape(-1, 1)
    net: Any = [Categories(5), Dense(4, Tanh(), GlorotNormal()), Dropout(0.3), Dense(3, Identity(), GlorotNormal())]
    return Setup(net=net, c=c, x=3 * draw(3, "x", 37, 4), rule=Adam(lr=0.02, weight_decay=0.1))


def test_a_layer_of_ones_own_starts_from_the_data() -> None:
    """Data-driven initialisation sees the layer's inputs; slots of every kind have their place and their name."""
    program = categories().program()

    views = program.network.layout.views(program.state.θ)
    assert list(views) == ["b2", "b3", "W2", "W3", "scale1", "E1"]
    np.testing.assert_allclose(views["scale1"], 1 / categories().source().inputs.x.std(axis=0), rtol=1e-12)
    assert list(program.network.buffers.views(program.state.q)) == ["seen1"]


def test_a_layer_of_ones_own_has_the_right_gradient() -> None:
    """Embeddings and the toy's scale pass the gradient contract: finite differences along every coordinate."""
    program, source = categories().program(), categories().source()
    θ = program.state.θ.copy()

    def at(θ: Array) -> float:
        program.state.θ[:], program.state.loss[...] = θ, 0.0
        return _gradient(program, source, 0, 37)[1] / 37

    at(θ)
    g = program.gradient.copy()
    for i in np.flatnonzero(θ):
        h = np.zeros_like(θ)
        h[i] = 2e-4
        found = (8 * (at(θ + h) - at(θ - h)) - at(θ + 2 * h) + at(θ - 2 * h)) / (12 * 2e-4)
        assert found == pytest.approx(g[i], rel=1e-6, abs=1e-9)


def test_a_layer_of_ones_own_is_saved_and_resumed() -> None:
    """Stopped anywhere and carried on from numbers and vectors, the run ends in the same bits, its buffer too."""
    setup = categories()
    straight, source = setup.program(), setup.source()
    run(straight, source)
    seen = straight.network.buffers.views(straight.state.q)["seen1"]
    np.testing.assert_array_equal(seen, 3 * np.bincount(setup.c[:, 0]))

    for stop in range(1, 18):
        first = setup.program()
        events = train(first, source, replace(PLAN, pause_every=1), None)
        for _ in range(stop):
            next(events)
        numbers, arrays = first.state.numbers(), {n: a.copy() for n, a in first.state.arrays().items()}

        second = setup.program()
        for name, array in second.state.arrays().items():
            array[...] = arrays[name]
        second.state.restore(numbers)
        run(second, setup.source())

        assert whole(second.state) == whole(straight.state), f"stopped after {stop} events"
        np.testing.assert_array_equal(second.state.q, straight.state.q)


class Chunks:
    """Rows in blocks of five, as a file would give them: no array of all rows is ever seen."""

    def __init__(self, source: MemorySource) -> None:
        self.blocks = [np.arange(at, min(at + 5, len(source.inputs.x))) for at in range(0, len(source.inputs.x), 5)]
        self.source = source

    @property
    def n(self) -> int:
        return self.source.n

    def order(self, epoch: int, start: int, stop: int) -> Array:
        return self.source.order(epoch, start, stop)

    def fill(self, batch: Arrays, epoch: int, start: int) -> None:
        rows = self.order(epoch, start, start + len(batch["x"]))
        for block in self.blocks:
            here = np.isin(rows, block)
            batch["x"][here] = self.source.inputs.x[block][rows[here] - block[0]]
            batch["y"][here] = np.eye(3)[self.source.y[block][rows[here] - block[0]]]


def test_rows_in_chunks_give_the_same_run() -> None:
    """A source that hands out rows block by block trains to the same bits as one that holds them all."""
    ends = []
    for source in (Setup().source(), Chunks(Setup().source())):
        program = Setup().program()
        events = run(program, source)
        ends.append((whole(program.state), epochs(events)))

    assert ends[0] == ends[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_epochs_do_not_depend_on_where_chunks_end(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """Looking up after every step, every seventh or every 64th gives the same θ and the same sums, bit for bit."""
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e9)
    x, y = draw(4, "x", 300, 4), draw(4, "y", 300, 2)
    setup = Setup(net=layers(5, outputs=2), loss=SquaredError(), x=x, y=y.astype(dtype), rule=Sgd(lr=0.01), dtype=dtype)
    ends, chunks = [], []
    for steps in (1, 7, 64):
        monkeypatch.setattr(loop, "CHUNK_STEPS", steps)
        program = setup.program()
        events = run(program, setup.source(), replace(PLAN, batch_size=3))
        ends.append((whole(program.state), epochs(events)))
        chunks.append(len(events))

    assert chunks[0] > chunks[1] > chunks[2]
    assert ends[0] == ends[1] == ends[2]


def test_the_state_is_the_whole_world() -> None:
    """A copy is independent, takes everything over, and a state of numbers and vectors alone is the same state."""
    program = Setup().program()
    run(program, Setup().source())
    state = program.state

    copy = state.copy()
    assert whole(copy) == whole(state)
    copy.θ[0] += 1
    copy.step += 1
    assert whole(copy) != whole(state)
    other = State.new(program.network, program.update.names, np.float64)
    other.take(state)
    assert whole(other) == whole(state)
