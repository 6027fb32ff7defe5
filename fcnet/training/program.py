"""A training step as operations over named buffers, recorded and compiled once for each batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fcnet.backends.base import Backend, Step
from fcnet.backends.ops import Advance, Apply, Array, Fill, Host, Load, Phase, Ref, Tape, like, ref
from fcnet.data.source import MemorySource, Source
from fcnet.formulas import Formula, Sym
from fcnet.nn.losses import Loss, LossArrays, forward_backward
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.nn.workspace import Batch, Workspace
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.training.state import State

MAX_STEPS = 512
"""The longest chunk: steps that are made without looking."""

FEW = 16
"""So many rows are computed in a block of their own."""


@dataclass(frozen=True)
class Recorded:
    """The operations of one step for one number of rows, and the buffers that they work on."""

    tape: Tape
    batch: Batch
    spaces: list[Workspace]
    loss: LossArrays


def blank(network: Network, rows: int, dtype: Any, *, columns: int, weighted: bool = False, seed: int = 0) -> Recorded:
    """The buffers of a step, with nothing on its tape; y has so many `columns`."""
    batch = Batch.of(rows, network.n_in, columns, dtype, n_cat=network.n_cat, weighted=weighted)
    spaces = network.workspaces(batch, train=True, seed=seed, dtype=dtype)
    return Recorded(Tape(), batch, spaces, losses(network, rows, dtype))


def losses(network: Network, rows: int, dtype: Any) -> LossArrays:
    """The buffers of a loss of so many rows."""
    members, rows = network.members, network.fan * rows
    ε, ℓ = ref("ε", (rows, network.n_out), dtype, members), ref("ℓ", (rows, 1), dtype, members)
    return LossArrays(ε, ℓ, ref("loss", (), np.float64, members))


def record_gradient(r: Recorded, network: Network, loss: Loss, scale: Ref) -> None:
    """Record forward, loss and backward; `scale`, 0-d, is 1 / rows of the global batch."""
    y, w = targets(r.tape, network, r.batch)
    for net, spaces in network.apart(r.spaces):
        a = net.forward(r.tape, spaces, r.batch)
        out = LossArrays(*map(net.layout.some, (r.loss.ε, r.loss.ℓ, r.loss.total)))
        r.tape.add(Phase("loss"))
        forward_backward(r.tape, loss, a, y, w, scale, out)
        net.backward(r.tape, spaces, out.ε)


def targets(k: Tape, network: Network, batch: Batch) -> tuple[Ref, Ref | None]:
    """y and w of the rows of outputs: of the batch, or recorded once for each member that the layers make.

    These share a row's weight, so that its loss is the mean of theirs.
    """
    y, w, members = batch.y, batch.w, network.fan
    if members == 1:
        return y, w
    rows = members * batch.n
    all_y, all_w = ref("y/members", (rows, y.shape[-1]), y.dtype), ref("w/members", (rows, 1), y.dtype)
    k.add(Apply(Formula({"y": Sym("y")}), {"y": y.on("row", "unit")}, {"y": all_y.apart(members)}))
    if w is None:
        k.add(Fill(1.0 / members, all_w))
    else:
        k.add(Apply(Formula({"w": Sym("w") / members}), {"w": w.on("row", "unit")}, {"w": all_w.apart(members)}))
    return all_y, all_w


class Program:
    """Forward, loss, backward and update of one network on one state.

    `resident` are the arrays that steps share, by the names of their buffers: the state's, `gradient` ∇L, filled by
    each step, and the scalars s. `share`: rows of the global batch for each row of ours, 1 in one process: ε is scaled
    by 1 / rows of the global batch.
    """

    def __init__(
        self,
        backend: Backend,
        network: Network,
        loss: Loss,
        update: Updater,
        state: State,
        *,
        weighted: bool = False,
        seed: int = 0,
        share: float = 1.0,
    ) -> None:
        self.backend, self.network, self.loss, self.update, self.state = backend, network, loss, update, state
        self.weighted, self.seed, self.share = weighted, seed, share
        self.dtype = state.θ.dtype
        self.position = np.zeros(4, np.int64)
        self._allocate()

    def _allocate(self) -> None:
        """What steps need beside the state; nothing is recorded yet."""
        n = len(self.network.who)
        self.gradient = self.network.layout.zeros(self.dtype)
        driven = self.network.wide or len(self.network.driven)
        self.s, self.driven = (np.zeros(n * k, self.dtype) for k in (self.update.n_scalars, driven))
        self._table, self._driven = (np.zeros((MAX_STEPS, each.size), self.dtype) for each in (self.s, self.driven))
        own = {"g": self.gradient, "s": self.s, "position": self.position, "table": self._table}
        own |= {"driven": self.driven, "driven/table": self._driven, "loss": self.state.loss}
        self.resident: dict[str, Array] = {**self.state.arrays(), **own}
        self._source: Source | None = None
        self._recorded: dict[int, Recorded] = {}
        self._steps: dict[int, Step] = {}
        self._made: set[int] = set()

    def keep(self, which: Sequence[int]) -> None:
        """Go on with these of the members alone; no bit of theirs changes."""
        self.network = self.network.only(which)
        self.update = self.update.only(which, self.network.layout)
        self.state.keep(which)
        self._allocate()

    def recorded(self, rows: int) -> Recorded:
        """The whole step for a batch of this many rows."""
        if rows not in self._recorded:
            r = self._recorded[rows] = self.blank(rows)
            r.tape.add(Phase("gather"))
            if isinstance(self._source, MemorySource):
                self._source.record(r.tape, r.batch)
                self.resident |= self._source.resident(r.batch)
            else:
                r.tape.add(Host(self._fill, {**r.batch.named, "position": r.batch.position}))
            if len(self.driven):
                r.tape.add(Load(like("driven/table", self._driven), r.batch.position, like("driven", self.driven)))
            self.record_gradient(r)
            r.tape.add(Phase("update"))
            r.tape.add(Load(like("table", self._table), r.batch.position, like("s", self.s)))
            self.update.record(r.tape, self.dtype)
            r.tape.add(Advance(rows, r.batch.position))
        return self._recorded[rows]

    def step(self, rows: int) -> Step:
        """The same, compiled."""
        if rows not in self._steps:
            self._steps[rows] = self.backend.compile(self.recorded(rows).tape.ops, self.resident)
        return self._steps[rows]

    def _fill(self, arrays: Mapping[str, Array]) -> None:
        assert self._source is not None
        epoch, _, start, _ = arrays["position"].tolist()
        self._source.fill({name: x for name, x in arrays.items() if name != "position"}, epoch, start)

    def blank(self, rows: int, tape: Tape | None = None) -> Recorded:
        """The buffers of a step, with nothing on its tape."""
        columns = self.network.n_out // len(self.loss.parts)
        made = blank(self.network, rows, self.dtype, columns=columns, weighted=self.weighted, seed=self.seed)
        return made if tape is None else replace(made, tape=tape)

    def record(self, r: Recorded) -> None:
        """Record forward, loss, backward and update; an `Eager` tape makes them, with the batch in the buffers."""
        self.record_gradient(r)
        self.update.record(r.tape, self.dtype)

    def record_gradient(self, r: Recorded) -> None:
        """Record forward, loss and backward."""
        name = f"scale/{r.batch.n}"  # a number that would be printed into the kernels would make them anew
        self.resident[name] = np.full((), 1.0 / (r.batch.n * self.share), self.dtype)
        record_gradient(r, self.network, self.loss, like(name, self.resident[name]))

    def scalars(
        self, t: Array, lr: Array, decay: Array | None = None, rates: Mapping[str, Array] | None = None
    ) -> Array:
        """What steps t (K,), counted from 1, need: (K, n) float64, of the schedules' factors (K,); of a pack member by
        member."""
        own = self.update.scalars(t, lr, decay)
        return np.hstack([own, self.network.scalars(rates)]) if rates and self.network.driven else own

    def run(self, source: Source, scalars: Array, batch_size: int) -> None:
        """Make K ≤ MAX_STEPS steps from the state's place in its epoch; scalars (K, n_scalars) are each step's."""
        state, n = self.state, source.n
        if source is not self._source:
            self._source = source
            self._recorded.clear()
            self._steps.clear()
        self._made.clear()
        self._table[: len(scalars)] = scalars[:, : len(self.s)]
        self._driven[: len(scalars)] = scalars[:, len(self.s) :]
        self.position[:] = (state.epoch, state.step, state.row, 0)
        source.order(state.epoch, 0, 0)
        done = 0
        while done < len(scalars):
            rows = min(batch_size, n - state.row)
            times = min(len(scalars) - done, (n - state.row) // rows)
            self.step(rows).run(times)
            self._made.add(rows)
            state.row += times * rows
            state.step += times
            done += times

    def finite(self) -> bool:
        """Whether every number of the state is, after a run: by what its last updates have watched, and by the norms
        of the rest."""
        watched = [self._steps[rows].finite() for rows in self._made]
        all_watched = watched and None not in watched and not self.update.matrices
        seen = {"θ", *self.update.names} if all_watched else set()
        with np.errstate(over="ignore", invalid="ignore"):
            norms = [
                math.isfinite(float(np.dot(vector.ravel(), vector.ravel())))
                for name, vector in self.state.arrays().items()
                if name.removeprefix("optimizer/") not in seen
            ]
        # a norm or a sum that overflows needs a closer look
        if np.isfinite(self.state.loss).all() and all(norms) and all(each is not False for each in watched):
            return True
        return bool(self.state.finite().all())

    def first_bad(self, rows: int) -> str | None:
        """The first tensor of the step just made that is not finite, in the order in which they were computed."""
        r, step = self.recorded(rows), self.step(rows)
        names = [number for net, _ in self.network.apart(r.spaces) for number in net.numbers]
        for i, ws in enumerate(r.spaces):
            for own, what in (("a", "pre-activations a"), ("z_out", "outputs z")):
                if own in ws.kept and not np.isfinite(step.fetch(ws[own])).all():
                    return f"the {what} of layer {max(names[i], 1)}"
        if not np.isfinite(step.fetch(r.loss.ℓ)).all():
            return "the loss"
        if not np.isfinite(step.fetch(r.loss.ε)).all():
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
        self.n_out, self.dtype = network.n_out, θ.dtype
        self._compiled: dict[int, tuple[Step, Batch, Ref]] = {}

    def __call__(self, inputs: Rows, rows: Array | None = None) -> Array:
        """(…, n, n_out) for those of the inputs that `rows` names, all of them by default."""
        n = len(inputs) if rows is None else len(rows)
        out = np.empty((*self.network.members, n, self.network.n_out), self.θ.dtype)
        for start in range(0, n, self.rows):
            stop = min(start + self.rows, n)
            filled = stop - start
            step, batch, a = self._step(min(FEW, self.rows) if filled <= FEW else self.rows)
            for name, given in inputs.arrays.items():
                if name not in batch.named:
                    continue
                buffer = batch.named[name]
                if rows is None and filled == len(given[start:stop]) == buffer.shape[0]:
                    step.put(buffer, given[start:stop])
                    continue
                block = np.zeros(buffer.shape, buffer.dtype)
                if rows is None:
                    block[:filled] = given[start:stop]
                else:
                    np.take(given, rows[start:stop], 0, block[:filled], "clip")
                step.put(buffer, block)
            step.run()
            out[..., start:stop, :] = step.fetch(a)[..., :filled, :]
        return out

    def _step(self, rows: int) -> tuple[Step, Batch, Ref]:
        """The pass over a block of so many rows, with its inputs and its outputs, in memory of its own."""
        if rows not in self._compiled:
            tape, dtype = Tape(), self.θ.dtype
            batch = Batch.of(rows, self.network.n_in, 0, dtype, n_cat=self.network.n_cat)
            a = self.network.forward(tape, self.network.workspaces(batch, train=False, seed=0, dtype=dtype), batch)
            step = self.backend.compile(tape.ops, {"θ": self.θ, "q": self.q})
            self._compiled[rows] = step, batch, a
        return self._compiled[rows]
