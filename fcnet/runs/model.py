"""A trained net as a checkpoint holds it: preprocessing, parameters and what the outputs mean, ready to predict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import config as configs
from fcnet import machine
from fcnet.backends import choice
from fcnet.backends.base import Backend
from fcnet.backends.offer import ProductShapes
from fcnet.backends.ops import Array
from fcnet.config.schema import Config
from fcnet.data import Dataset, Folded
from fcnet.data.encode import Encoder
from fcnet.data.target import Target
from fcnet.errors import CheckpointError, FcnetError
from fcnet.metrics import Metric, chosen
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.records import dataclass
from fcnet.runs import checkpoint
from fcnet.runs.predictions import Covering
from fcnet.training import build
from fcnet.training.calibration import Calibrator
from fcnet.training.folds import Heard
from fcnet.training.head import Head
from fcnet.training.members import drawn, layered
from fcnet.training.program import Forward
from fcnet.training.scoring import Mixed, Outputs, Scorer, Voices, summary

BATCH = 256
"""Rows computed at a time when scoring and predicting: fixed, so that equal files give equal bytes. More are not
faster, as their activations leave the cache."""

READING = 1500
"""Multiplications that take about as long as reading one cell of a table."""


@dataclass(frozen=True)
class Description:
    """What a checkpoint says, checked: the config, the columns, the target, and `nets` as the header lists them, or the
    only one, of which `network` is the first."""

    config: Config
    encoder: Encoder
    head: Head
    network: Network
    metrics: tuple[Metric, ...]
    calibration: Calibrator
    nets: tuple[Trained, ...]


@dataclass(frozen=True)
class Trained:
    """With what a net was trained: its layers, its head, and of folds which of the encoder's inputs it sees, else all.

    Nets without folds have the same head, and so have those of one fold; of one depth they have the same layers.
    """

    network: Network
    head: Head
    share: Mapping[str, slice] | None = None


def parameters(net: Network, θ: Array, q: Array, at: str = "", vectors: Mapping[str, Array] = {}) -> dict[str, Array]:
    """θ and buffers of one net, and an optimizer's vectors, by their names in a checkpoint; views, not copies.

    `at`: under what they stand, as in `2/` of the third net that the header lists, or `2/best/`.
    """
    arrays = {**net.layout.views(θ), **net.buffers.views(q)}
    for name, vector in vectors.items():
        arrays |= {f"optimizer/{name}/{slot}": view for slot, view in net.layout.views(vector).items()}
    return {at + name: view for name, view in arrays.items()}


def nets_of(header: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    """Of each net in a checkpoint what its arrays stand under, whether it goes on, and whether its best is there too.

    The header is a right one. A net that goes on has an optimizer's vectors, in a last.npz alone; so has a single one.
    """
    listed = header.get("nets")
    if listed is None:
        yield "", True, False
        return
    state = header.get("state")
    left = None if state is None else state.get("who")
    for i, net in enumerate(listed):
        here = state is not None and net.get("fold") == header.get("fold")
        goes_on = here and (left is None or net["member"] in left)
        yield f"{i}/", goes_on, goes_on and net["epoch"] > 0


def of_folds(header: Mapping[str, Any]) -> list[int]:
    """For each net in a checkpoint the number of its fold; 0 without folds."""
    nets: Sequence[Mapping[str, Any]] = header.get("nets") or ({},)
    return [net.get("fold", 0) for net in nets]


def listed(network: Network, held: checkpoint.Checkpoint) -> list[Network]:
    """The nets that a checkpoint lists, each alone: of the fold that goes on as the run has them, of others as they
    stand there. One that the run does not have counts as its first."""
    header, places = held.header, {number: place for place, number in enumerate(network.who)}
    nets = header.get("nets") or ({"member": network.who[0]},)
    there = understand(held).nets if "folds" in header else None
    return [
        network.one(places.get(net["member"], 0))
        if there is None or net["fold"] == header.get("fold")
        else there[i].network
        for i, net in enumerate(nets)
    ]


def check_members(
    nets: Sequence[Network], held: checkpoint.Checkpoint, dtype: str, vectors: Sequence[str] | None = None
) -> None:
    """Compare a checkpoint's arrays with what its nets need, by arithmetic alone: no memory is asked for.

    `nets` has a net like each that is listed. `vectors` are the names of the optimizer's, None to leave them out of
    account. Raises CheckpointError for what is missing, of another shape or type, or too much.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for (at, goes_on, best), net in zip(nets_of(held.header), nets, strict=True):
        slots = (*net.layout.slots, *net.buffers.slots)
        for start in (at, f"{at}best/") if best and vectors is not None else (at,):
            shapes |= {start + slot.name: slot.shape for slot in slots}
        for vector in (vectors or ()) if goes_on else ():
            shapes |= {f"{at}optimizer/{vector}/{slot.name}": slot.shape for slot in net.layout.slots}
    problems = []
    for name, shape in shapes.items():
        found = held.arrays.get(name)
        if found is None:
            what = "; it was saved with another optimizer, or without one" if "optimizer/" in name else ""
            problems.append(f"{name} is missing{what}")
        elif found.shape != shape:
            problems.append(f"{name} has the shape {found.shape}, and the config inside needs {shape}")
        elif found.dtype.name != dtype:
            problems.append(f"{name} is {found.dtype.name}, and the config inside says {dtype}")
    fitted = r"(\d+/)?preprocess/" if "folds" in held.header else "preprocess/"
    ignored = fitted if vectors is not None else rf"{fitted}|(\d+/)?optimizer/|\d+/best/"
    problems += [
        f"{name} is no part of the net of the config inside"
        for name in held.arrays
        if name not in shapes and not re.match(ignored, name)
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError("; ".join(problems[:5]) + more, file=str(held.path))


def fill(held: checkpoint.Checkpoint, views: Mapping[str, Array]) -> None:
    """Fill the views, as `parameters` names them, from a checkpoint that was checked."""
    for name, view in views.items():
        view[...] = held.arrays[name]


def understand(held: checkpoint.Checkpoint) -> Description:
    """The parts that a checkpoint's header and arrays describe; CheckpointError where they make no sense.

    Nothing is allocated before the arrays have the shapes that the config inside asks for.
    """
    from fcnet.runs import header  # its schema is for those who read a checkpoint

    where = str(held.path)
    try:
        settings = configs.from_mapping(held.header["config"], needs_data=False)
        wrong = header.problems(held.header, settings)
        if wrong:
            more = f", and {len(wrong) - header.SHOWN} more" if len(wrong) > header.SHOWN else ""
            raise CheckpointError(f"its header lacks or garbles {'; '.join(wrong[: header.SHOWN])}{more}", file=where)
        encoder = Encoder.restore(held.header["columns"], held.arrays)
        target = Target.restore(held.header["target"], held.arrays)
        _check_preprocessing(encoder, target, held.arrays)
        settled = build.resolve(
            settings, target.task, 1, validated=True, threads=1, numbers=encoder.numbers, levels=encoder.levels
        )
        settings, head = settled.config, Head(settled.loss, target.for_loss(settled.loss))
        calibration = Calibrator.restore(held.header.get("calibration"), head)
        head = calibration.applied(Calibrator.given(settings).applied(head))
        metrics = chosen(settings.metrics, target.task)
        learnt = [*_of_folds(held)]
    except CheckpointError:
        raise
    except FcnetError as error:
        raise CheckpointError(f"the config inside is wrong: {error.problems[0]}", file=where) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"its header lacks or garbles {error}", file=where) from None
    heads = [Head(settled.loss, aim.for_loss(settled.loss)) for _, aim in learnt] or [head]
    made: dict[tuple[int, int | None], Trained] = {}
    keys = []
    for net in held.header.get("nets") or ({"member": 0},):
        fold, own = net.get("fold", 0), drawn(settings, net["member"])
        keys.append((fold, own.depth))
        if keys[-1] not in made:
            one = learnt[fold][0] if learnt else encoder
            layers = layered(build.of_levels(settings.network, one.levels), own)
            network = build.network(layers, one.n_in, head.n_out, head.loss, n_cat=len(one.levels))
            made[keys[-1]] = Trained(network, heads[fold])
    check_members([made[key].network for key in keys], held, settings.dtype)
    if learnt:
        encoder = replace(encoder, each=tuple(one for one, _ in learnt))
        shares = [*encoder.shares()]
        made = {key: replace(each, share=shares[key[0]]) for key, each in made.items()}
    nets = tuple(made[key] for key in keys)
    return Description(settings, encoder, head, nets[0].network, metrics, calibration, nets)


def _of_folds(held: checkpoint.Checkpoint) -> Iterator[tuple[Encoder, Target]]:
    """Encoder and target of each fold, which stand under its first net; nothing without folds."""
    first = of_folds(held.header)
    for fold, about in enumerate(held.header.get("folds", ())):
        at = f"{first.index(fold)}/"
        own = {name.removeprefix(at): array for name, array in held.arrays.items() if name.startswith(at)}
        encoder = Encoder.restore({**held.header["columns"], "columns": about["columns"]}, own)
        target = Target.restore(held.header["target"], own)
        _check_preprocessing(encoder, target, own)
        yield encoder, target


def _check_preprocessing(encoder: Encoder, target: Target, arrays: Mapping[str, Array]) -> None:
    """ValueError for the first thing in the preprocessing that fcnet would not have written."""
    _require(encoder.n_in + len(encoder.levels) > 0, "columns: there is none to predict from")
    for name, array in {**encoder.arrays(), **target.arrays()}.items():
        shape = array.shape if name in encoder.arrays() else (target.width,)
        found = arrays[name]
        _require(
            found.shape == shape and found.dtype == np.float64,
            f"{name}: it is {found.dtype.name} {found.shape}, and {shape} numbers of float64 are needed",
        )
        _require(not name.endswith("scale") or bool((array > 0).all()), f"{name}: it must be greater than 0")
    known = {**encoder.arrays(), **target.arrays()}
    extra = [name for name in arrays if name.startswith("preprocess/") and name not in known]
    _require(not extra, f"{extra}, which its columns do not use")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


@dataclass(frozen=True)
class WeightedNet:
    """One net of a model: θ and buffers q in the layout of `trained.network`, and its share in the mean.

    `member` is its number in the ensemble, `epoch` the one that it is from, `fold` the one that it has not seen, and
    `share` its weight among the nets of that.
    """

    θ: Array
    q: Array
    weight: float
    member: int
    epoch: int
    trained: Trained
    fold: int | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Engine:
    """What computes for one thread at a time: a backend with its scratch memory, and the nets' buffers in it."""

    backend: Backend
    forward: Outputs


class Predictor:
    """A net that predicts, or several, for several threads at a time. `header` is the checkpoint's; `path` its file.

    `nets` has every net, one or more; `network` is the first, alone. The prediction is the mean of theirs, each
    counting by its weight; the weights sum to 1. To go over them:

        for net in model.nets:
            arrays = parameters(net.trained.network, net.θ, net.q)  # {"W1": …, "b1": …}
            …  # net.weight · what the head predicts of the outputs under these
    """

    def __init__(self, held: checkpoint.Checkpoint) -> None:
        self.header: Mapping[str, Any] = held.header
        self.path = held.path
        parts = understand(held)
        self.config, self.encoder, self.head, self.target = parts.config, parts.encoder, parts.head, parts.head.target
        self.network, self.metrics, self.calibration = parts.network, parts.metrics, parts.calibration
        given = held.header.get("nets")
        nets: list[dict[str, Any]] = given or [{"weight": 1.0, "member": 0, "epoch": held.header["epoch"]}]
        folds, dtype, own = of_folds(held.header), np.dtype(self.config.dtype), list[WeightedNet]()
        self._groups: list[tuple[Network, Array, Array]] = []  # a fold's nets, or all
        for fold in dict.fromkeys(folds):
            n = folds.count(fold)
            some = [parts.nets[i].network for i in range(len(own), len(own) + n)]
            pack = some[0] if given is None else Network.pack(some)
            θ, q = pack.layout.zeros(dtype), pack.buffers.zeros(dtype)
            self._groups.append((pack, θ, q))
            rows = (each.reshape(n, each.shape[-1]) for each in (θ, q))
            for at, one, other in zip(range(len(own), len(own) + n), *rows, strict=True):
                net = nets[at]
                own.append(
                    WeightedNet(
                        one,
                        other,
                        net["weight"],
                        net["member"],
                        net["epoch"],
                        parts.nets[at],
                        net.get("fold"),
                        net.get("share", 1.0),
                    )
                )
        self.nets = tuple(own)
        for (at_, *_), net in zip(nets_of(held.header), self.nets, strict=True):
            fill(held, parameters(net.trained.network, net.θ, net.q, at_))
        self._backend = choice.usable(self.config.backend)
        shapes = tuple(self.network.product_shapes(int(self.config.training.batch_size)))
        self._products = ProductShapes(shapes, np.dtype(self.config.dtype))
        small = sum(net.trained.network.layout.size for net in self.nets) <= READING * self.encoder.n_in
        self._threads = 1 if small else machine.cores()
        self._idle: list[Engine] = []

    @classmethod
    def read(cls, path: Path) -> Predictor:
        """The model of a checkpoint file; CheckpointError."""
        return cls(checkpoint.read(path))

    @property
    def parameters(self) -> int:
        """How many all nets have together."""
        return sum(net.trained.network.layout.count for net in self.nets)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine for a while, with the threads of BLAS that are right for it; as many are kept as were used at once.

        What all of them read, the parameters, nobody writes.
        """
        try:
            engine = self._idle.pop()
        except IndexError:
            backend = choice.make(self._backend, self._threads, products=self._products)
            voices = self.voices(backend)
            alone = self.header.get("nets") is None
            engine = Engine(backend, voices[0].forward if alone else Mixed(voices, self.head))
        try:
            with machine.agreed(engine.backend.blas_threads(self.network.largest_product(BATCH))):
                yield engine
        finally:
            self._idle.append(engine)

    def voices(self, backend: Backend) -> list[Voices]:
        """The nets, those of a fold together, with their weights; each sees its share of the inputs."""
        found, at = [], 0
        for pack, θ, q in self._groups:
            nets = self.nets[at : at + max(1, *pack.members)] if pack.members else self.nets[at : at + 1]
            at += len(nets)
            forward, trained = Forward(backend, pack, θ, q, BATCH), nets[0].trained
            head = self.head if trained.share is None else trained.head
            found.append(Voices(forward, head, tuple(net.weight for net in nets), trained.share))
        return found

    def alone(self, net: WeightedNet, inputs: Rows) -> Array:
        """What one of the nets predicts, as `probabilities` does for all."""
        with self.engine() as engine:
            trained = net.trained
            forward: Outputs = Forward(engine.backend, trained.network, net.θ, net.q, BATCH)
            if trained.share is not None:
                forward = Mixed([Voices(forward, trained.head, (1.0,), trained.share)], self.head)
            return self.head.predictions(engine.backend, forward(inputs))

    def probabilities(self, inputs: Rows) -> Array:
        """Predictions float64 of encoded rows: probabilities (n, K) or (n, L), or numbers (n, n_out)."""
        quietly = np.errstate(all="ignore")  # an absurd input may overflow, which its prediction shows
        with self.engine() as engine, quietly:
            return self.head.predictions(engine.backend, engine.forward(inputs))

    def covering(self, coverage: float | None) -> Callable[[Array], Covering]:
        """What makes of predictions columns of sets or intervals that hold the truth with that chance; none of None.

        UsageError where the checkpoint cannot say it.
        """
        if coverage is None:
            return lambda p: ()
        limits = self.calibration.limits(coverage, str(self.path))
        return lambda p: self.head.covering(p, limits)

    def heard(
        self,
        backend: Backend,
        folds: Folded,
        known: Mapping[int, Dataset] = {},
        poll: Callable[[], object] = lambda: None,
    ) -> Heard:
        """What the nets of each fold say of its own rows; `known`: data of folds that need not be encoded again."""
        found = Heard(len(folds.whole.inputs), self.head)
        for fold, voices in enumerate(self.voices(backend)):
            poll()
            shares = tuple(net.share for net in self.nets if net.fold == fold)
            with np.errstate(all="ignore"):
                found.hear(known[fold] if fold in known else folds.fold(fold), voices, shares)
        return found

    def out_of_fold(self, folds: Folded) -> tuple[Array, Array]:
        """The rows that some fold holds out (m,), sorted, and predictions of each by the nets that have not seen it."""
        with self.engine() as engine:
            found = self.heard(engine.backend, folds)
            return found.rows, self.head.predictions(engine.backend, found.others(self.config.dtype).a)

    def scores_out_of_fold(self, folds: Folded, guess: Array) -> tuple[dict[str, Any], int]:
        """Loss and metrics, as in metrics.json, of rows by nets that have not seen them, and how many these are."""
        with self.engine() as engine:
            found, data = self.heard(engine.backend, folds), folds.whole
            about = self.head, self.metrics, guess, (data.inputs, data.y, data.w), data.row_weights
            scorer = Scorer(engine.backend, found.others(self.config.dtype), *about)
            return summary(*scorer(found.rows, intervals=True)), len(found.rows)

    def scores(self, data: Dataset, part: str, guess: Array) -> dict[str, Any]:
        """Loss and metrics, as in metrics.json, of a part; `guess` is as Scorer wants it."""
        with self.engine() as engine:
            about = self.head, self.metrics, guess, (data.inputs, data.y, data.w), data.row_weights
            scorer = Scorer(engine.backend, engine.forward, *about)
            return summary(*scorer(data.parts[part], intervals=part != "train"))
