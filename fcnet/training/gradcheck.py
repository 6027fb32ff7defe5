"""Is the gradient right? The user's own net and loss on one real batch, in float64, against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fcnet import random
from fcnet.backends import choice
from fcnet.backends.base import Eager
from fcnet.backends.ops import Array, Ref, Tape, like
from fcnet.data.source import MemorySource, fill_targets
from fcnet.nn.losses import LossArrays, forward_backward
from fcnet.nn.workspace import Batch, Workspace
from fcnet.records import dataclass
from fcnet.training.prepare import Prepared
from fcnet.training.program import losses, targets

LIMIT = 1e-6
"""The largest relative error that rounding and curvature explain."""

ROWS = 64
"""The most rows of the batch that are used: fewer units near a kink, and less to compute."""

GROUPS = 32
"""The most groups of parameters that are checked apart; of a deeper net neighbouring tensors share one."""

STEPS = (1e-4, 1e-5, 1e-6, 1e-3, 1e-7, 1e-2)
"""Step widths h, tried until one agrees: rounding asks for a large one, a kink nearby for a small one."""


@dataclass(frozen=True)
class Check:
    """One derivative along one direction: by the backward pass, by finite differences, and how far they are apart."""

    name: str
    backward: float
    difference: float
    error: float

    @property
    def passed(self) -> bool:
        """Whether the relative error is what rounding explains."""
        return self.error < LIMIT


class Trial:
    """A float64 copy of the net with the first batch of the first epoch, whose dropout masks stay as they are.

    `rows` are the batch's row numbers in the data, `θ` (P,) and buffers `q` what everything is computed at: those `at`,
    or the initial weights, moved by 0.01 N(0, 1). Biases start at 0, where a unit without input would sit on the kink
    of relu.
    """

    def __init__(self, prepared: Prepared, at: tuple[Array, Array] | None = None) -> None:
        self.prepared = prepared = prepared.alone()
        settings, data, self.network, self.loss = prepared.settings, prepared.data, prepared.network, prepared.head.loss
        (learnt, table), columns = prepared.targets(np.float64), prepared.head.columns
        source = MemorySource(data.inputs, learnt, data.w, rows=data.parts["train"], one_hot=table, seed=settings.seed)
        self.rows = source.order(0, 0, min(prepared.batch_size, source.n, ROWS)).copy()
        self.n = len(self.rows)
        y = learnt[self.rows]
        target = np.zeros((self.n, columns))
        fill_targets(y if y.dtype.kind == "i" else y.astype(np.float64), table, np.arange(self.n), target)
        inputs, n_in, n_cat = data.inputs[self.rows].astype(np.float64), self.network.n_in, self.network.n_cat
        self.batch = Batch.of(self.n, n_in, columns, np.float64, n_cat=n_cat, weighted=data.w is not None)
        self.arrays = {"y": target, "position": np.zeros(4, np.int64), "scale": np.full((), 1.0 / self.n)}
        self.arrays |= inputs.arrays
        if data.w is not None:
            self.arrays["w"] = data.w[self.rows].astype(np.float64).reshape(-1, 1)
        self.backend = choice.make("numpy" if settings.backend == "auto" else settings.backend)
        self.θ, self.q = self.network.layout.zeros(np.float64), self.network.buffers.zeros(np.float64)
        if at is None:
            self.network.initialise(self.θ, self.q, settings.seed, inputs, ranks=data.encoder.ranks)
            key = random.key(settings.seed, "check")
            for i, view in enumerate(self.network.layout.views(self.θ).values()):
                view[...] += 0.01 * random.normal(view.size, key, i).reshape(view.shape)
        else:
            self.θ[...], self.q[...] = at
        ones = dict.fromkeys(("dropout",), np.ones(1))
        self.arrays |= {"θ": self.θ, "q": self.q, "driven": self.network.scalars(ones).reshape(-1)}

    def spaces(self) -> list[Workspace]:
        """The buffers of one pass in training."""
        seed = self.prepared.settings.seed
        return self.network.workspaces(self.batch, train=True, seed=seed, dtype=np.float64, frugal=False)

    def losses(self) -> LossArrays:
        """The buffers of a loss."""
        return losses(self.network, self.n, np.float64)

    def loss_of(self, k: Tape, a: Ref) -> LossArrays:
        """Record the loss of the outputs a (B, n_out) and its gradient."""
        out, (y, w) = self.losses(), targets(k, self.network, self.batch)
        forward_backward(k, self.loss, a, y, w, like("scale", self.arrays["scale"]), out)
        return out

    def value(self, first: int = 0, z: Array | None = None) -> Callable[[], Array]:
        """A function that gives w ℓ / B of every row, (B,), at the θ of the moment.

        With `first`, of the net from that one of its layers on, whose inputs z (B, n_in) may be changed in place.
        """
        tape = Tape()
        resident = self.arrays if z is None else {**self.arrays, "moved": z}
        inputs = self.batch.x if z is None else like("moved", z)
        at = self.network.forward(tape, self.spaces(), self.batch, first, inputs)
        out = self.loss_of(tape, at)
        step = self.backend.compile(tape.ops, dict(resident))

        def value() -> Array:
            step.run()
            return step.fetch(out.ℓ)[:, 0] / self.n

        return value

    def gradient(self) -> Array:
        """∇L at θ, by the backward pass."""
        g, spaces = np.zeros_like(self.θ), self.spaces()
        k = Eager(self.backend, {**self.arrays, "g": g})
        out = self.loss_of(k, self.network.forward(k, spaces, self.batch))
        self.network.backward(k, spaces, out.ε)
        return g


def compare(name: str, x: Array, g: Array, value: Callable[[], Array], key: Array, number: int = 0) -> Check:
    """Compare ⟨g, v⟩ with (Σ value(x + h v) − Σ value(x − h v)) / 2h along v = g/‖g‖ + u, u random of length 1.

    x is what `value` reads, changed in place and put back; g of the same shape is the gradient that is claimed. `value`
    gives the terms of a sum, whose differences are added, which rounds less than the difference of the sums.
    """
    u = random.normal(x.size, key, number).reshape(x.shape)
    norm = float(np.linalg.norm(g))
    v = u / max(float(np.linalg.norm(u)), 1e-300) + (g / norm if norm else 0.0)
    claimed, kept = float(np.vdot(g, v)), x.copy()
    found: list[Check] = []
    for h in STEPS:
        x[...] = kept + h * v
        up = value().copy()
        x[...] = kept - h * v
        down = value()
        difference = float(np.sum(up - down)) / (2 * h)
        # What rounding alone does to the difference counts as agreement.
        rounding = 64 * float(np.finfo(np.float64).eps) * float(np.abs(up).sum()) / h
        error = abs(difference - claimed) / max(abs(difference), abs(claimed), rounding / LIMIT, 1e-300)
        found.append(Check(name, claimed, difference, error))
        if error < LIMIT / 10:
            break
    x[...] = kept
    found.sort(key=lambda check: check.error)
    # Where no width agrees, the best one is so by chance.
    return found[0] if found[0].passed else found[len(found) // 2]


def check_gradient(trial: Trial) -> tuple[Check, ...]:
    """The gradient of every tensor of θ, and of all together, against finite differences."""
    g, value = trial.gradient(), trial.value()
    key = random.key(trial.prepared.settings.seed, "directions")
    whole = [compare("θ", trial.θ, g, value, key)]
    apart = []
    for i, (name, start, stop) in enumerate(_groups(trial), 1):
        apart.append(compare(name, trial.θ[start:stop], g[start:stop], value, key, i))
    return (*apart, *whole)


def _groups(trial: Trial) -> Iterator[tuple[str, int, int]]:
    """(name, start, stop) in θ of each tensor, or of neighbours together where there are many."""
    layout = trial.network.layout
    slots: Sequence[str] = [slot.name for slot in layout.slots]
    for some in np.array_split(np.arange(len(slots)), min(GROUPS, len(slots))):
        first, last = slots[int(some[0])], slots[int(some[-1])]
        stop = layout.starts[last] + layout.views(trial.θ)[last].size
        yield first if first == last else f"{first} … {last}", layout.starts[first], stop
