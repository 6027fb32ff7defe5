"""A training step as a straight line of kernel calls over fixed buffers, recorded once for each batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fcnet.backends.base import Array, Backend, Tape, aligned
from fcnet.data.source import MemorySource, Source
from fcnet.nn.losses import Loss, LossArrays, forward_backward
from fcnet.nn.network import Network
from fcnet.nn.workspace import Batch, Memory, Workspace
from fcnet.optim.update import Update
from fcnet.training.state import State

MAX_STEPS = 512
"""The longest chunk: steps that are made without looking."""

FEW = 16
"""So many rows are computed in a block of their own."""


@dataclass(frozen=True)
class Recorded:
    """The calls of one step for one number of rows, and the buffers they work on."""

    tape: Tape
    batch: Batch
    spaces: list[Workspace]
    loss: LossArrays


class Program:
    """Forward, loss, backward and update of one network on one state.

    `gradient` is ∇L, filled by each step. `share`: rows of the global batch for each row of ours, 1 in one process:
    ε is scaled by 1 / rows of the global batch.
    """

    def __init__(
        self,
        backend: Backend,
        network: Network,
        loss: Loss,
        update: Update,
        state: State,
        *,
        weighted: bool = False,
        n_cat: int = 0,
        seed: int = 0,
        share: float = 1.0,
    ) -> None:
        self.backend, self.network, self.loss, self.update, self.state = backend, network, loss, update, state
        self.weighted, self.n_cat, self.seed, self.share = weighted, n_cat, seed, share
        self.dtype = state.θ.dtype
        self.gradient = network.layout.zeros(self.dtype)
        self.s = np.zeros(update.n_scalars, self.dtype)
        self.memory = Memory(self.dtype)
        self.position = np.zeros(4, np.int64)
        self._table = np.zeros((MAX_STEPS, update.n_scalars), self.dtype)
        self._source: Source | None = None
        self._recorded: dict[int, Recorded] = {}
        self._watch: list[Array] = []
        self._look: Tape | None = None
        self._norms: list[Array] = []

    def batch(self, rows: int) -> Batch:
        """The input buffers of a batch of this many rows; the largest batch must come first."""
        array = self.memory.array
        c = array(-1, "c", (rows, self.n_cat), np.int32) if self.n_cat else None
        w = array(-1, "w", (rows, 1)) if self.weighted else None
        x, y = array(-1, "x", (rows, self.network.n_in)), array(-1, "y", (rows, self.network.n_out))
        return Batch(x, y, c, w, position=self.position)

    def recorded(self, rows: int) -> Recorded:
        """The step for a batch of this many rows."""
        if rows not in self._recorded:
            r = self._recorded[rows] = self.blank(rows, Tape(self.backend))
            r.tape.section("gather")
            if isinstance(self._source, MemorySource):
                self._source.record(r.tape, r.batch, self.position)
            else:
                r.tape.call(self._fill, r.batch)
            self.record_gradient(r)
            r.tape.section("update")
            r.tape.load(self._table, self.position, self.s)
            self._record_update(r)
            r.tape.advance(self.position, rows)
            self._look = None
        return self._recorded[rows]

    def _fill(self, batch: Batch) -> None:
        assert self._source is not None
        self._source.fill(batch, int(self.position[0]), int(self.position[2]))

    def blank(self, rows: int, tape: Tape) -> Recorded:
        """The buffers of a step, with nothing on its tape."""
        batch = self.batch(rows)
        spaces = self.network.workspaces(self.memory, batch, train=True, seed=self.seed)
        lead = (*self.network.members, rows)
        ε = self.memory.array(-1, "ε", (*lead, self.network.n_out))
        return Recorded(tape, batch, spaces, LossArrays(ε, self.memory.array(-1, "ℓ", (*lead, 1)), self.state.loss))

    def record(self, r: Recorded) -> None:
        """Record forward, loss, backward and update; an `Eager` tape makes them, with the batch in the buffers."""
        self.record_gradient(r)
        self._record_update(r)

    def _record_update(self, r: Recorded) -> None:
        self.update.record(r.tape, self.state.θ, self.gradient, self.state.vectors, self.s, self._watch)

    def record_gradient(self, r: Recorded) -> None:
        """Record forward, loss and backward."""
        scale = np.full((), 1.0 / (r.batch.x.shape[-2] * self.share), self.dtype)
        θ, q = self.state.θ, self.state.q
        a = self.network.forward(r.tape, θ, q, r.spaces, r.batch, {})
        r.tape.section("loss")
        forward_backward(r.tape, self.loss, a, r.batch.y, r.batch.w, scale, r.loss)
        self.network.backward(r.tape, θ, q, self.gradient, r.spaces, r.loss.ε, {})

    def run(self, source: Source, scalars: Array, batch_size: int) -> None:
        """Make K ≤ MAX_STEPS steps from the state's place in its epoch; scalars (K, n_scalars) are each step's."""
        state, n = self.state, source.n
        if source is not self._source:
            self._source = source
            self._recorded.clear()
            self._watch.clear()
        for cell in self._watch:  # of a batch of another size it may be from long ago
            cell[...] = 0
        self._table[: len(scalars)] = scalars
        self.position[:] = (state.epoch, state.step, state.row, 0)
        source.order(state.epoch, 0, 0)
        done = 0
        while done < len(scalars):
            rows = min(batch_size, n - state.row)
            times = min(len(scalars) - done, (n - state.row) // rows)
            self.recorded(rows).tape.run(times)
            state.row += times * rows
            state.step += times
            done += times

    def finite(self) -> bool:
        """Whether every number of the state is, after a run: by what its last update has watched, and by the norms of
        the rest."""
        if self._look is None:
            self._look, self._norms = Tape(self.backend), []
            watched = {"θ", *self.update.rule.vectors()} if self._watch and not self.update.matrices else set()
            for name, vector in self.state.arrays().items():
                if name.removeprefix("optimizer/") not in watched:
                    self._norms.append(np.zeros((), self.dtype))
                    self._look.norm(vector, self._norms[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            self._look.run()
        # a norm or a sum that overflows needs a closer look
        numbers = [self.state.loss, *self._norms, *self._watch]
        return all(math.isfinite(x.item()) for x in numbers) or self.state.finite()

    def first_bad(self, r: Recorded) -> str | None:
        """The first tensor of the step just made that is not finite, in the order in which they were computed."""
        names = self.network.numbers
        for i, ws in enumerate(r.spaces):
            for own, what in (("a", "pre-activations a"), ("z_out", "outputs z")):
                if own in ws.kept and not np.isfinite(ws[own]).all():
                    return f"the {what} of layer {max(names[i], 1)}"
        if not np.isfinite(r.loss.ℓ).all():
            return "the loss"
        if not np.isfinite(r.loss.ε).all():
            return "the loss's gradient ε"
        for what, vector in (("the gradient d", self.gradient), ("the parameter ", self.state.θ)):
            views = self.network.layout.views(vector)
            for slot in reversed(self.network.layout.slots):
                if not np.isfinite(views[slot.name]).all():
                    return f"{what}{slot.name}"
        for name, vector in self.state.vectors.items():
            if not np.isfinite(vector).all():
                return f"the optimizer's {name}"
        return None


class Forward:
    """z_N of given rows, without dropout, block by block: for validation, scoring and prediction, one call at a time.

    Every block has `rows` rows, or FEW where so few are left; what they do not fill is 0. So two tapes with their
    buffers serve any number of rows, and equal calls give equal bits.
    """

    def __init__(self, backend: Backend, network: Network, θ: Array, q: Array, rows: int) -> None:
        self.backend, self.network, self.θ, self.q, self.rows = backend, network, θ, q, rows
        self._recorded: dict[int, tuple[Tape, Array, Array]] = {}

    def __call__(self, x: Array, rows: Array | None = None) -> Array:
        """(…, n, n_out) for the rows of x (n_all, n_in), all of them by default."""
        n = len(x) if rows is None else len(rows)
        out = np.empty((*self.network.members, n, self.network.n_out), self.θ.dtype)
        for start in range(0, n, self.rows):
            stop = min(start + self.rows, n)
            filled = stop - start
            tape, z, a = self._tape(min(FEW, self.rows) if filled <= FEW else self.rows)
            if rows is None:
                z[:filled] = x[start:stop]
            else:
                np.take(x, rows[start:stop], 0, z[:filled], "clip")
            z[filled:] = 0
            tape.run()
            out[..., start:stop, :] = a[..., :filled, :]
        return out

    def _tape(self, rows: int) -> tuple[Tape, Array, Array]:
        """The calls for a block of so many rows, with its inputs and its outputs."""
        if rows not in self._recorded:
            memory = Memory(self.θ.dtype)
            batch = Batch(memory.array(-1, "x", (rows, self.network.n_in)), aligned((0, 0), self.θ.dtype))
            spaces = self.network.workspaces(memory, batch, train=False, seed=0)
            tape = Tape(self.backend)
            a = self.network.forward(tape, self.θ, self.q, spaces, batch, {})
            self._recorded[rows] = (tape, batch.x, a)
        return self._recorded[rows]
