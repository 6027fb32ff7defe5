"""A trained net as a checkpoint holds it: preprocessing, parameters and what the outputs mean, ready to predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import config as configs
from fcnet import machine
from fcnet.backends import choice
from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.config.schema import Config
from fcnet.data import Dataset
from fcnet.data.encode import Encoder
from fcnet.data.target import Target
from fcnet.errors import CheckpointError, FcnetError
from fcnet.metrics import Metric, chosen
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.records import dataclass
from fcnet.runs import checkpoint
from fcnet.training import build
from fcnet.training.head import Head
from fcnet.training.program import Forward
from fcnet.training.scoring import Scorer, summary
from fcnet.training.state import State

BATCH = 256
"""Rows computed at a time when scoring and predicting: fixed, so that equal files give equal bytes. More are not
faster, as their activations leave the cache."""

READING = 1500
"""Multiplications that take about as long as reading one cell of a table."""


@dataclass(frozen=True)
class Description:
    """What a checkpoint says about the net, checked: the config, the columns, the target, the layers."""

    config: Config
    encoder: Encoder
    head: Head
    network: Network
    metrics: tuple[Metric, ...]


def parameters(net: Network, state: State, *, optimizer: bool) -> dict[str, Array]:
    """θ, buffers and, if asked for, the optimizer's vectors by their names in a checkpoint; views, not copies."""
    arrays = {**net.layout.views(state.θ), **net.buffers.views(state.q)}
    if optimizer:
        for name, vector in state.vectors.items():
            arrays |= {f"optimizer/{name}/{slot}": view for slot, view in net.layout.views(vector).items()}
    return arrays


def check_members(net: Network, held: checkpoint.Checkpoint, dtype: str, vectors: Sequence[str] | None = None) -> None:
    """Compare a checkpoint's arrays with what the net needs, by arithmetic alone: no memory is asked for.

    `vectors` are the names of the optimizer's, None to leave them out of account. Raises CheckpointError for what is
    missing, of another shape or type, or too much.
    """
    shapes = {slot.name: net.members + slot.shape for slot in (*net.layout.slots, *net.buffers.slots)}
    for vector in vectors or ():
        shapes |= {f"optimizer/{vector}/{slot.name}": net.members + slot.shape for slot in net.layout.slots}
    problems = []
    for name, shape in shapes.items():
        found = held.arrays.get(name)
        if found is None:
            what = "; it was saved with another optimizer, or without one" if name.startswith("optimizer/") else ""
            problems.append(f"{name} is missing{what}")
        elif found.shape != shape:
            problems.append(f"{name} has the shape {found.shape}, and the config inside needs {shape}")
        elif found.dtype.name != dtype:
            problems.append(f"{name} is {found.dtype.name}, and the config inside says {dtype}")
    ignored = ("preprocess/",) if vectors is not None else ("preprocess/", "optimizer/")
    problems += [
        f"{name} is no part of the net of the config inside"
        for name in held.arrays
        if name not in shapes and not name.startswith(ignored)
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError("; ".join(problems[:5]) + more, file=str(held.path))


def restore(net: Network, state: State, held: checkpoint.Checkpoint, *, optimizer: bool) -> None:
    """Fill the state's vectors from a checkpoint; raises what `check_members` raises."""
    check_members(net, held, state.θ.dtype.name, tuple(state.vectors) if optimizer else None)
    for name, view in parameters(net, state, optimizer=optimizer).items():
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
        metrics = chosen(settings.metrics, target.task)
    except CheckpointError:
        raise
    except FcnetError as error:
        raise CheckpointError(f"the config inside is wrong: {error.problems[0]}", file=where) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"its header lacks or garbles {error}", file=where) from None
    net = build.network(settings.network, encoder.n_in, head.n_out, n_cat=len(encoder.levels))
    check_members(net, held, settings.dtype)
    return Description(settings, encoder, head, net, metrics)


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
class Engine:
    """What computes for one thread at a time: a backend with its scratch memory, and the net's buffers in it."""

    backend: Backend
    forward: Forward


class Predictor:
    """A net that predicts, for several threads at a time. `header` is the checkpoint's; `path` its file."""

    def __init__(self, held: checkpoint.Checkpoint) -> None:
        self.header: Mapping[str, Any] = held.header
        self.path = held.path
        parts = understand(held)
        self.config, self.encoder, self.head, self.target = parts.config, parts.encoder, parts.head, parts.head.target
        self.network, self.metrics = parts.network, parts.metrics
        self.state = State.new(self.network, (), np.dtype(self.config.dtype))
        restore(self.network, self.state, held, optimizer=False)
        self._backend = choice.usable(self.config.backend)
        shapes = tuple(self.network.product_shapes(int(self.config.training.batch_size)))
        self._products = choice.ProductShapes(shapes, np.dtype(self.config.dtype))
        small = self.network.layout.size <= READING * self.encoder.n_in
        self._threads = 1 if small else machine.cores()
        self._idle: list[Engine] = []

    @classmethod
    def read(cls, path: Path) -> Predictor:
        """The model of a checkpoint file; CheckpointError."""
        return cls(checkpoint.read(path))

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine for a while, with the threads of BLAS that are right for it; as many are kept as were used at once.

        What all of them read, the parameters, nobody writes.
        """
        try:
            engine = self._idle.pop()
        except IndexError:
            backend = choice.make(self._backend, self._threads, products=self._products)
            engine = Engine(backend, Forward(backend, self.network, self.state.θ, self.state.q, BATCH))
        try:
            with machine.agreed(engine.backend.blas_threads(self.network.largest_product(BATCH))):
                yield engine
        finally:
            self._idle.append(engine)

    def probabilities(self, inputs: Rows) -> Array:
        """Predictions float64 of encoded rows: probabilities (n, K) or (n, L), or numbers (n, n_out)."""
        quietly = np.errstate(all="ignore")  # an absurd input may overflow, which its prediction shows
        with self.engine() as engine, quietly:
            return self.head.predictions(engine.backend, engine.forward(inputs))

    def scores(self, data: Dataset, part: str, guess: Array) -> dict[str, Any]:
        """Loss and metrics, as in metrics.json, of a part; `guess` is as Scorer wants it."""
        with self.engine() as engine:
            about = self.head, self.metrics, guess, (data.inputs, data.y, data.w), data.row_weights
            scorer = Scorer(engine.backend, engine.forward, *about)
            return summary(*scorer(data.parts[part], intervals=part != "train"))
