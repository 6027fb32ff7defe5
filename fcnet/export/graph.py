"""What every export prints: a net's recorded operations for one row, the arrays that they read, and its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fcnet.backends.ops import Apply, Array, Matmul, Op, Phase, Ref, Take, Tape, like, ref
from fcnet.data.encode import Encoder
from fcnet.data.target import Numbers
from fcnet.errors import UsageError
from fcnet.formulas import Formula, Sym, maximum, minimum
from fcnet.nn.workspace import Batch
from fcnet.records import dataclass
from fcnet.runs.model import Predictor
from fcnet.runs.predictions import Form
from fcnet.training.head import Head

PartNames = dict[tuple[str, int, int], str]
"""What parts of buffers are called, by buffer, start and size."""


@dataclass(frozen=True)
class Told:
    """A column of the predictions: `label` of the most probable class, `yes` where number i is above one half, or
    `number` i of what the graph makes, with the digits of `dtype`."""

    name: str
    what: str
    i: int
    dtype: str


@dataclass(frozen=True)
class Graph:
    """Operations for one row, from the buffers x (1, n_in) and c (1, n_cat) to `out` (1, width).

    `arrays` are what lies in the other buffers that are read and not written; `names` what parts of them are called.
    """

    model: Predictor
    ops: tuple[Op, ...]
    arrays: Mapping[str, Array]
    names: Mapping[tuple[str, int, int], str]
    out: Ref

    @property
    def encoder(self) -> Encoder:
        """How columns become x and c."""
        return self.model.encoder

    @property
    def head(self) -> Head:
        """What the outputs mean."""
        return self.model.head

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the net computes in."""
        return np.dtype(self.model.config.dtype)

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """The columns that `fcnet predict` writes."""
        target, form = self.head.target, Form.of(self.head, (), self.dtype.name)
        n = target.width
        cells: list[tuple[str, int, int]]
        if target.classes is not None:
            cells = [("label", 0, 0), *(("number", i, 0) for i in range(n))]
        elif target.shares:
            cells = [(what, i, i) for i in range(n) for what in ("yes", "number")]
        else:
            cells = [("number", s * n + i, i) for i in range(n) for s in range(len(self.head.loss.said))]
        made = zip(form.header(), cells, strict=True)
        return tuple(Told(name, what, i, form.dtypes[j]) for name, (what, i, j) in made)

    def table(self, p: Array) -> dict[str, Any]:
        """The columns of predictions p (n, width)."""
        decided = self.head.target.decide(p)
        made = {each.name: p[:, each.i] for each in self.told if each.what == "number"}
        made |= {each.name: decided[:, each.i] for each in self.told if each.what == "yes"}
        return made | {each.name: decided for each in self.told if each.what == "label"}

    def fixed(self, held: Ref) -> Array | None:
        """The array (of the ref's shape) that is there before the first operation; None where a row's own is."""
        array = self.arrays.get(held.buffer.name)
        if array is None:
            return None
        flat = array.reshape(-1)
        strides = tuple(flat.itemsize * n for n in held.strides)
        return np.ascontiguousarray(as_strided(flat[held.start :], held.shape, strides))

    def name(self, held: Ref) -> str:
        """What such an array is called: as in the checkpoint."""
        return self.names.get((held.buffer.name, held.start, held.size), held.buffer.name)


def record(model: Predictor) -> Graph:
    """The graph of a checkpoint's net, or nets."""
    tape, head, dtype = Tape(), model.head, np.dtype(model.config.dtype)
    arrays: dict[str, Array] = {}
    names: PartNames = {}
    told = [_outputs(model, i, tape, arrays, names) for i in range(len(model.nets))]
    a = told[0] if len(told) == 1 else _mixed(model, told, tape, arrays)
    if head.temperature != 1:
        tempered = ref("tempered", a.shape, dtype)
        tape.add(Apply(Formula({"a": Sym("a") / head.temperature}), {"a": a}, {"a": tempered}))
        a = tempered
    p = out = ref("p", (1, head.linked), dtype)
    head.link(tape, a, p)
    if isinstance(head.target, Numbers):
        scales = {name: np.atleast_2d(array) for name, array in head.target.scales.items()}
        arrays |= {f"target_{name}": array for name, array in scales.items()}
        out = ref("numbers", (1, head.width), np.float64)
        n = head.target.width
        refs = {**head.loss.split(p), **{name: like(f"target_{name}", array) for name, array in scales.items()}}
        for i, each in enumerate(head.saying(head.target)):
            tape.add(Apply(Formula({"p": each}), refs, {"p": out[..., i * n : (i + 1) * n]}))
    return Graph(model, tuple(_needed(tape.ops, out)), arrays, names, out)


def _outputs(
    model: Predictor, i: int, k: Tape, arrays: dict[str, Array], names: dict[tuple[str, int, int], str]
) -> Ref:
    """Record what net i says, a (1, n_out), in buffers of its own where there are several nets."""
    net, own, dtype = model.nets[i].trained.network, model.nets[i], np.dtype(model.config.dtype)
    at = "" if len(model.nets) == 1 else f"{i}/"
    tape, batch = Tape(), Batch.of(1, net.n_in, 0, dtype, n_cat=net.n_cat)
    a = net.forward(tape, net.workspaces(batch, train=False, seed=0, dtype=dtype), batch)

    def moved(held: Ref) -> Ref:
        if held.buffer.name in batch.named:
            return held
        if held.ndim == 2 and held.shape[0] > 1 and held.buffer.name not in ("θ", "q"):
            held = held.apart(held.shape[0])  # a row for each member: as features, they leave the rows one axis
        return replace(held, buffer=replace(held.buffer, name=at + held.buffer.name))

    for op in tape.ops:
        k.add(op.moved(moved))
    for buffer, layout, array in (("θ", net.layout, own.θ), ("q", net.buffers, own.q)):
        arrays[at + buffer] = array
        for name, view in layout.views(layout.ref(buffer, dtype)).items():
            names[at + buffer, view.start, view.size] = at + name
    return moved(a)


def _mixed(model: Predictor, told: Sequence[Ref], k: Tape, arrays: dict[str, Array]) -> Ref:
    """Record what one net would have to say, for what several nets say: as `Head.mixed` has it, in float64."""
    head, loss, n = model.head, model.head.loss, model.head.columns
    averaged = loss.averaged(loss.symbols)
    means = [ref(f"mean/{i}", (1, n), np.float64) for i in range(len(averaged))]
    within: dict[str, Ref] = {}
    if isinstance(head.target, Numbers) and head.target.low is not None:
        for name, end in zip(("low", "high"), head.target.ends, strict=True):
            arrays[f"within_{name}"] = np.atleast_2d(end)
            within[name] = like(f"within_{name}", arrays[f"within_{name}"])
    for own, net in zip(told, model.nets, strict=True):
        for i, (p, mean) in enumerate(zip(averaged, means, strict=True)):
            kept = bool(within) and not loss.said[i].spread
            share = minimum(maximum(p, Sym("low")), Sym("high")) if kept else p
            term = net.weight * share if own is told[0] else Sym("mean") + net.weight * share
            refs = {**loss.split(own), "mean": mean, **within}
            k.add(Apply(Formula({"mean": term}), refs, {"mean": mean}))
    a = ref("a", (1, head.n_out), model.config.dtype)
    refs = {f"p{i}": mean for i, mean in enumerate(means)}
    said = loss.unlink(tuple(map(Sym, refs)))
    k.add(Apply(Formula(dict(zip(loss.parts, said, strict=True))), refs, loss.split(a)))
    return a


def _needed(ops: Sequence[Op], out: Ref) -> list[Op]:
    """The operations, and of each the results, that `out` depends on; UsageError for one that no export prints."""
    kept: list[Op] = []
    live = {out.buffer.name}
    for op in reversed(ops):
        if isinstance(op, Phase) or not any(each.buffer.name in live for each in op.writes):
            continue
        if not isinstance(op, Apply | Matmul | Take):
            raise UsageError(f"a layer of this net makes an operation that cannot be exported ({type(op).__name__})")
        kept.append(_part(op, live) if isinstance(op, Apply) else op)
        live |= {each.buffer.name for each in kept[-1].reads}
    return kept[::-1]


def _part(op: Apply, live: set[str]) -> Apply:
    """The results that are read later."""
    outs = {name: each for name, each in op.outs.items() if each.buffer.name in live}
    formula = Formula({name: op.formula.results[name] for name in outs})
    return Apply(formula, {name: op.arrays[name] for name in formula.symbols()}, outs)


def places(held: Ref) -> Array:
    """Which elements of its buffer it is, (…) int64 in its shape."""
    found = np.full(held.shape, held.start, np.int64)
    for axis, (n, step) in enumerate(zip(held.shape, held.strides, strict=True)):
        found += (np.arange(n) * step).reshape(-1, *(1,) * (held.ndim - axis - 1))
    return found


def buffers(graph: Graph) -> Iterator[tuple[str, int]]:
    """Name and size of each buffer that is written."""
    sizes: dict[str, int] = {}
    for op in graph.ops:
        for each in op.writes:
            sizes[each.buffer.name] = max(sizes.get(each.buffer.name, 0), each.buffer.size)
    yield from sizes.items()
