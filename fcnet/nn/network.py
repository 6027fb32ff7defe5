"""The network: layers in a row over one flat θ, whose forward and backward pass are recorded on a tape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from fcnet import random
from fcnet.backends.base import Eager
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply, Array, Phase, Ref, Tape, ref
from fcnet.formulas import Formula, Sym
from fcnet.nn.layers import Layer, go, spread
from fcnet.nn.layers.layer import driven as moved
from fcnet.nn.layers.layer import fan
from fcnet.nn.layout import Among, Layout, Vector
from fcnet.nn.rows import Rows
from fcnet.nn.workspace import Batch, Workspace


class Network:
    """Layers with their slots numbered as in the derivation: b1, W1 belong to the first layer that has parameters.

    `members`: (M,) for a pack of nets that are trained side by side, () for one net; `who`: the numbers by which they
    draw their random words, from 0 on where nothing is said. `driven`: the rates that schedules move. `n_cat`: the
    columns of codes beside the n_in numbers of a row.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        n_in: int,
        members: tuple[int, ...] = (),
        driven: Collection[str] = (),
        *,
        n_cat: int = 0,
        who: tuple[int, ...] = (),
    ) -> None:
        self.layers = tuple(spread(layers))
        self.n_in, self.n_cat = n_in, n_cat
        self.who = who or tuple(range(max(sum(members), 1)))
        self.own = (self.layers,) * len(self.who)  # each member's, which may differ in their rates
        self.names: list[dict[str, str]] = []  # per layer: its own slot's key -> name in the layout
        self.widths = [n_in]
        self.rows = [1]  # per layer: how many of its inputs' rows stand for a row of the batch; then those of training
        self.numbers: list[int] = []  # per layer: i of the derivation, for layers with slots
        self.paths: list[str] = []  # per layer: where its random words come from
        slots, number = [], 0
        for layer in self.layers:
            n_out, own = layer.slots(self.widths[-1])
            number += bool(own)
            self.numbers.append(number)
            path = str(number) if own else f"{number}.{layer.name}"
            self.paths.append(path + "'" * [each.rstrip("'") for each in self.paths].count(path))
            self.names.append({slot.key: slot.numbered(number).name for slot in own})
            slots += [slot.numbered(number) for slot in own]
            self.widths.append(n_out)
            self.rows.append(self.rows[-1] * fan(layer))
        self.rates = frozenset(driven)
        self.packs: tuple[Network, ...] = ()  # of members with other layers than their neighbours
        self.at, self.wide = "", 0  # of such a pack: what its buffers stand under, and how many rates are moved at most
        self.layout = Layout([slot for slot in slots if slot.kind != "buffer"], members)
        self.buffers = Layout([slot for slot in slots if slot.kind == "buffer"], members)

    @classmethod
    def pack(cls, nets: Sequence[Network], sizes: tuple[int, int] | None = None) -> Network:
        """The nets side by side: layers may differ in what schedules can move, and in nothing else.

        Neighbours with other layers than these are packs of their own over the same batches, the `packs`, in vectors
        of one size for all; `sizes`: that of θ and of the buffers, where it is larger than they need.
        """
        alike = [[*some] for _, some in itertools.groupby(nets, key=lambda net: (net.layout.slots, net.buffers.slots))]
        if len(alike) == 1 and sizes is None:
            return cls._of_one_shape(alike[0])
        packs = [cls._of_one_shape(some) for some in alike]
        made = copy(max(packs, key=lambda pack: pack.layout.size))
        made.who = tuple(number for pack in packs for number in pack.who)
        made.own = tuple(own for pack in packs for own in pack.own)
        made.rates = frozenset[str]().union(*(pack.rates for pack in packs))
        largest = max(p.layout.size for p in packs), max(p.buffers.size for p in packs)
        first, n, wide = 0, len(nets), max(len(pack.driven) for pack in packs)
        for pack in packs:
            pack.layout, pack.buffers = (
                Layout(each.slots, each.members, Among(first, n, size))
                for each, size in zip((pack.layout, pack.buffers), sizes or largest, strict=True)
            )
            pack.at, pack.wide = f"{first}/", wide
            first += len(pack.who)
        made.packs, made.wide = tuple(packs), wide
        made.layout = Layout(made.layout.slots, (n,), parts=[pack.layout for pack in packs])
        made.buffers = Layout(made.buffers.slots, (n,), parts=[pack.buffers for pack in packs])
        return made

    @classmethod
    def _of_one_shape(cls, nets: Sequence[Network]) -> Network:
        made = copy(nets[0])
        made.who = tuple(number for net in nets for number in net.who)
        made.own = tuple(own for net in nets for own in net.own)
        differ = [layer for same in zip(*made.own, strict=True) for layer in same if layer != same[0]]
        made.rates = made.rates.union(rate for layer in differ for rate, _ in moved(layer).values())
        made.layout, made.buffers = (Layout(each.slots, (len(nets),)) for each in (made.layout, made.buffers))
        return made

    def only(self, which: Sequence[int]) -> Network:
        """The pack of these of its members."""
        sizes = (self.layout.size, self.buffers.size) if self.packs else None
        return Network.pack([self.one(i) for i in which], sizes)

    def one(self, i: int) -> Network:
        """Member i as a net alone."""
        for pack in self.packs:
            if i < len(pack.who):
                return pack.one(i)
            i -= len(pack.who)
        made = copy(self)
        made.layers, made.who, made.own = self.own[i], (self.who[i],), (self.own[i],)
        made.layout, made.buffers = (Layout(each.slots) for each in (self.layout, self.buffers))
        made.at = ""
        return made

    @property
    def members(self) -> tuple[int, ...]:
        """(M,), or () for one net."""
        return self.layout.members

    @property
    def driven(self) -> list[tuple[int, str]]:
        """The numbers that schedules move: of which layer, and their names."""
        return [(i, name) for i, name, _, _ in self._moved(self.layers)]

    def _moved(self, layers: Sequence[Layer]) -> list[tuple[int, str, str, Callable[[Array], Array]]]:
        each = [(i, moved(layer)) for i, layer in enumerate(layers)]
        return [(i, name, rate, of) for i, own in each for name, (rate, of) in own.items() if rate in self.rates]

    @property
    def n_out(self) -> int:
        """The number of outputs."""
        return self.widths[-1]

    @property
    def fan(self) -> int:
        """How many rows of outputs a row of the batch has in training, one for each member that the layers make."""
        return self.rows[-1]

    @property
    def outline(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The widths between layers with parameters, and in a word each what the hidden ones are."""
        own = [i for i, names in enumerate(self.names) if names]
        kinds = tuple(self.layers[i].described()[0] for i in own)
        return (self.n_in, *(self.widths[i + 1] for i in own)), kinds[:-1]

    def largest_product(self, rows: int) -> int:
        """Multiplications of the largest matrix product of a step with so many rows."""
        return max(map(math.prod, self.product_shapes(rows)), default=0)

    def product_shapes(self, rows: int) -> list[tuple[int, int, int]]:
        """Rows, inputs and outputs of each layer's products in a step with so many rows."""
        many = {name: n for own, n in zip(self.names, self.rows, strict=False) for name in own.values()}
        weights = [(many[slot.name], slot.shape) for slot in self.layout.slots if slot.kind == "weight"]
        return [(n * rows, n_in, n_out) for n, (*_, n_out, n_in) in weights]

    def views(self, vector: Vector, layout: Layout) -> list[dict[str, Vector]]:
        """Per layer, the slots of a vector under the layer's own names."""
        named = layout.views(vector)
        return [{own: named[name] for own, name in names.items() if name in named} for names in self.names]

    def initialise(self, θ: Array, q: Array, seed: int, rows: Rows, ranks: Array | None = None) -> None:
        """Fill θ and the buffers q, layer by layer, each seeing its inputs for some rows.

        Of a pack one member after another, as it would be alone.

        Layer i draws from (seed, "init", i) alone: another layer added does not move it. Input j of the net takes what
        is drawn for place `ranks[j]` (n_in,), so that inputs which change places take their weights along.
        """
        if self.members:
            for i in range(len(θ)):
                self.one(i).initialise(θ[i], q[i], seed, rows, ranks)
            return
        for layout, vector in ((self.layout, θ), (self.buffers, q)):
            views = layout.views(vector)
            for slot in layout.slots:
                views[slot.name][...] = slot.start
        inputs = {name: np.ascontiguousarray(array) for name, array in rows.astype(θ.dtype).arrays.items()}
        resident = {"θ": θ, "q": q, **inputs}
        batch = Batch.of(len(rows), self.n_in, self.n_out, θ.dtype, n_cat=self.n_cat)
        spaces = self.workspaces(batch, train=False, seed=seed, dtype=θ.dtype)
        key = random.key(seed, "init", *self.who)
        mixing = next((i for i, names in enumerate(self.names) if "W" in names), 0)  # up to there inputs stay apart
        for i, ws in enumerate(spaces):
            spaces[i] = replace(ws, key=key, ranks=ranks if i <= mixing else None)
            move = getattr(self.layers[i], "ranked", None)  # only of layers that make more or fewer of their inputs
            ranks = move(ranks) if move is not None and ranks is not None and i < mixing else ranks
        self.forward(Eager(NumpyBackend(), resident), spaces, batch)

    def workspaces(self, batch: Batch, train: bool, seed: int, dtype: Any, *, frugal: bool = True) -> list[Workspace]:
        """One workspace for each layer, for a batch of these rows; of packs one behind the other."""
        if self.packs:
            return [ws for p in self.packs for ws in p.workspaces(batch, train, seed, dtype, frugal=frugal)]
        first, driven = self.first, self.driven
        all_driven = self.layout.each("driven", len(driven), dtype, self.wide)
        numbers: list[dict[str, Ref]] = [{} for _ in self.layers]
        for at, (i, name) in enumerate(driven):
            numbers[i][name] = all_driven[..., at : at + 1].reshape((*self.members, 1, 1) if self.members else ())
        leads, about = [(*self.members, n * batch.n) for n in self.rows], (train, seed, dtype)
        more: dict[str, Any] = {"frugal": frugal, "who": self.who, "at": self.at}
        more["first"] = self.layout.among.first if self.layout.among else 0
        return [
            Workspace(path, batch, leads[i], *about, needed=i > first, driven=numbers[i], **more)
            for i, path in enumerate(self.paths)
        ]

    def apart(self, spaces: Sequence[Workspace]) -> Iterator[tuple[Network, Sequence[Workspace]]]:
        """Each of the packs with its workspaces; itself where there are none."""
        for pack in self.packs or (self,):
            yield pack, spaces[: len(pack.layers)]
            spaces = spaces[len(pack.layers) :]

    def scalars(self, factors: Mapping[str, Array]) -> Array:
        """What schedules move, (K, M n): the factors (K,) of each rate at K steps, as the members' layers want them."""
        if self.packs:
            table = np.zeros((len(next(iter(factors.values()))), len(self.who), self.wide))
            first = 0
            for pack in self.packs:
                own, first = table[:, first : first + len(pack.who), : len(pack.driven)], first + len(pack.who)
                own[...] = pack.scalars(factors).reshape(own.shape) if own.size else 0
            return table.reshape(len(table), -1)
        columns = [of(factors[rate]) for layers in self.own for _, _, rate, of in self._moved(layers)]
        return np.stack(columns, axis=-1) if columns else np.empty((0, 0))

    @property
    def first(self) -> int:
        """The first layer with parameters, at which the backward pass ends."""
        return next((i for i, names in enumerate(self.names) if names), 0)

    def refs(self, dtype: Any) -> tuple[Ref, Ref, Ref]:
        """Where θ, the buffers q and the gradient g stand."""
        return self.layout.ref("θ", dtype), self.buffers.ref("q", dtype), self.layout.ref("g", dtype)

    def forward(self, k: Tape, spaces: Sequence[Workspace], batch: Batch, first: int = 0, z: Ref | None = None) -> Ref:
        """Record z_N (…, B, n_out) from batch.x; or from the inputs z of the layer `first` on."""
        z = batch.x if z is None else z
        if self.packs:
            out = ref("outputs", (batch.n, self.n_out), z.dtype, self.members)
            for pack, own in self.apart(spaces):
                a = {"a": pack.forward(k, own, batch)}
                k.add(Apply(Formula({"a": Sym("a")}), a, {"a": pack.layout.some(out)}))
            return out
        θ, q, _ = self.refs(z.dtype)
        p, buffers = self.views(θ, self.layout), self.views(q, self.buffers)
        for i in range(first, len(self.layers)):
            k.add(Phase("forward", self.numbers[i]))
            z = go(self.layers[i], k, p[i], buffers[i], spaces[i], z)
        return z

    def backward(self, k: Tape, spaces: Sequence[Workspace], δ: Ref) -> None:
        """Record ∇L into g from δ_{N−1} = ∂L/∂z_N (…, B, n_out). δ's memory is used up."""
        for _ in self.back(k, spaces, δ):
            pass

    def back(self, k: Tape, spaces: Sequence[Workspace], δ: Ref) -> Iterator[tuple[int, Ref]]:
        """The same layer by layer, from the last: yields which comes next, and δ at its outputs."""
        θ, q, g = self.refs(δ.dtype)
        p, buffers = self.views(θ, self.layout), self.views(q, self.buffers)
        grads = self.views(g, self.layout)
        down: Ref | None = δ
        for i in range(len(self.layers) - 1, self.first - 1, -1):
            assert down is not None
            yield i, down
            k.add(Phase("backward", self.numbers[i]))
            down = self.layers[i].backward(k, p[i], buffers[i], grads[i], spaces[i], down)
