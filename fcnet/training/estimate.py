"""What a run will need of memory and disk, by arithmetic on shapes: what cannot fit is refused before it begins."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fcnet import files, machine
from fcnet.backends.numpy import scratch
from fcnet.backends.ops import Apply, Op, Tape, Update, buffers, ref
from fcnet.config.schema import Config
from fcnet.data.options import Data
from fcnet.errors import ConfigError, LimitError
from fcnet.machine import size
from fcnet.nn.losses import value
from fcnet.nn.network import Network
from fcnet.nn.workspace import Batch
from fcnet.optim.update import Updater
from fcnet.records import dataclass
from fcnet.training.head import Head
from fcnet.training.program import FEW, blank, record_gradient

SCORED = 256
"""Rows that are scored at a time; their activations are held beside those of a training batch."""

CALLS = 450_000
"""Bytes of the objects that recorded calls consist of."""

HEADER = 8192
"""Bytes of a checkpoint beside its arrays; a table with many columns takes more."""

LOG_ROW, LOG_ROWS = 100, 1000
"""Bytes of a row of the log, and how many are counted: a run rarely makes as many epochs as it may."""

FIRST = 1 << 20
"""Bytes of a table that are looked at to guess how many cells it has."""


@dataclass(frozen=True)
class Usage:
    """One thing that takes room: its name, its bytes, how they come about, and the config key that changes it."""

    name: str
    bytes: int
    how: str
    key: str = "network.layers"


@dataclass(frozen=True)
class Estimate:
    """What a run needs: parts of the memory, of which `loaded` are there once the data are read, and of the disk."""

    loaded: tuple[Usage, ...]
    memory: tuple[Usage, ...]
    disk: tuple[Usage, ...]


def estimate(
    settings: Config,
    network: Network,
    head: Head,
    update: Updater,
    *,
    batch_size: int,
    rows: int,
    training_rows: int,
    scored_rows: int,
    validation_rows: int,
    folds: int = 1,
    table: int = 0,
) -> Estimate:
    """The estimate for a resolved config: `rows` of the data in all, and of the training part, the largest part and
    validation; of so many folds, which keep a table of so many bytes."""
    item, n_out = np.dtype(settings.dtype).itemsize, network.n_out
    batch, scored = min(batch_size, training_rows), SCORED + FEW
    numbers = network.n_in + head.columns
    how = f"{rows:,} rows × {numbers:,} numbers × {item} bytes"
    how += f", and × {network.n_cat:,} codes × 4 bytes" if network.n_cat else ""
    loaded = [Usage("data", rows * (numbers * item + network.n_cat * 4), how, "data.train")]
    if table:
        loaded.append(Usage("table", table, "as it was read, for every fold to encode", "data.train"))
    vectors = update.names
    largest = max((int(np.prod(slot.shape)) for slot in network.layout.slots), default=0)
    memory = _parameters(len(network.who) * network.layout.size, vectors, item)
    memory.append(_scratch(update, settings.dtype))
    step, pass_ = (_numbers(ops, settings.dtype) for ops in _one_row(network, head, settings.dtype))
    pass_ += network.n_in  # the rows, before they are put into their buffer
    memory += [
        Usage("batch", batch * step * item, f"{batch:,} rows × {step:,} numbers × {item} bytes", "training.batch_size"),
        Usage("scoring", scored * pass_ * item, f"{scored:,} rows × {pass_:,} numbers × {item} bytes"),
        Usage("calls", CALLS, "of a step and of a pass, as they are recorded"),
        Usage("scores", scored_rows * n_out * 40, f"{scored_rows:,} rows × {n_out:,} outputs × 40 bytes"),
    ]
    if folds > 1:
        kept = (folds - 1) * len(network.who) * network.layout.size * item
        memory.append(Usage("folds' nets", kept, f"{folds - 1} more, as the weights"))
        sums = 2 * rows * n_out * 8
        memory.append(Usage("out of fold", sums, f"2 × {rows:,} rows × {n_out:,} outputs × 8 bytes", "data.train"))
    if network.members:
        each = 2 * item + (16 if settings.members.select else 0)
        how = f"{validation_rows:,} rows × {n_out:,} outputs × {len(network.who)} nets × {each} bytes"
        memory.append(Usage("nets' outputs", len(network.who) * validation_rows * n_out * each, how, "ensemble"))
    # Drawing the initial weights takes float64 copies of one matrix; most of what is above is allocated later.
    drawn = 32 * largest
    later = sum(part.bytes for part in memory if part.name not in ("weights", "gradient", "optimizer"))
    if drawn > later:
        memory.append(Usage("initial weights", drawn - later, f"{largest:,} numbers × 32 bytes while they are drawn"))
    needed = tuple(part for part in memory if part.bytes)
    return Estimate(tuple(loaded), needed, _disk(settings, network, vectors, item, folds))


def _parameters(count: int, vectors: Sequence[str], item: int) -> list[Usage]:
    """The vectors as long as θ; two copies of them are kept, of the best epoch and to find what made a run diverge."""
    one, names = count * item, " and ".join(vectors)
    return [
        Usage("weights", one, f"{count:,} numbers × {item} bytes, in slots of 64 bytes"),
        Usage("gradient", one, "as the weights"),
        Usage("optimizer", len(vectors) * one, f"its {names}, each as the weights"),
        Usage("best epoch", one, "a copy of the weights"),
        Usage("last good step", (1 + len(vectors)) * one, "a copy of the weights and of the optimizer's vectors"),
    ]


def _scratch(update: Updater, dtype: str) -> Usage:
    """What an update needs beside the vectors."""
    tape, item = Tape(), np.dtype(dtype).itemsize
    update.record(tape, dtype)
    largest = max((_between(op) for op in tape.ops), default=0)
    known = {"θ", "g", "s", *(f"optimizer/{name}" for name in update.names)}
    if not update.matrices:
        known.add("d")
    n = largest + sum(buffer.size for name, buffer in buffers(tape.ops).items() if name not in known)
    return Usage("update", n * item, f"{n:,} numbers × {item} bytes between its operations")


def _between(op: Op) -> int:
    """The numbers that a formula needs between its operations."""
    if isinstance(op, Update):
        return op.size * scratch(op.formula)
    return max(out.size for out in op.outs.values()) * scratch(op.formula) if isinstance(op, Apply) else 0


def _one_row(network: Network, head: Head, dtype: str) -> tuple[list[Op], list[Op]]:
    """What a step does with a batch of one row, and a pass without dropout whose outputs are scored, as recorded."""
    step = blank(network, 1, dtype, columns=head.columns, weighted=True)
    record_gradient(step, network, head.loss, ref("scale", (), dtype))
    tape, batch = Tape(), Batch.of(1, network.n_in, head.columns, dtype, n_cat=network.n_cat)
    network.forward(tape, network.workspaces(batch, train=False, seed=0, dtype=dtype), batch)
    value(tape, head.loss, ref("a", (1, network.n_out), dtype), batch.y, ref("ℓ", (1, 1), dtype))
    return step.tape.ops, tape.ops


def _numbers(ops: Sequence[Op], dtype: str) -> int:
    """The numbers that one row takes in the buffers of these operations, and between their formulas' own."""
    item = np.dtype(dtype).itemsize
    own = [buffer for name, buffer in buffers(ops).items() if name not in ("θ", "q", "g", "position")]
    total = sum(buffer.size * buffer.dtype.itemsize for buffer in own)
    held: dict[int, int] = {}
    for op in ops:
        if isinstance(op, Apply):
            size = math.prod(np.broadcast_shapes(*(x.shape for x in (*op.arrays.values(), *op.outs.values()))))
            summed = sum(name not in op.outs and op.formula.results[name].op != "sym" for name in op.sums)
            for number in range(-summed, scratch(op.formula)):
                # A buffer that is too small for a layer gets a larger one beside it: the calls before point to the old.
                if held.get(number, 0) < size:
                    held[number] = size
                    total += size * item
    return -(-total // item)


def _disk(settings: Config, network: Network, vectors: Sequence[str], item: int, folds: int) -> tuple[Usage, ...]:
    one = folds * network.layout.count * item + HEADER
    last = one + (len(vectors) + bool(network.members or folds > 1)) * network.layout.count * item
    lines = folds * min(settings.training.epochs, LOG_ROWS)
    return (
        Usage("best.npz", one, "the weights"),
        Usage("last.npz", last, "the weights and the optimizer's vectors"),
        Usage("saving", last, "last.npz once more, while the new one is written and the old one kept"),
        Usage("log", lines * LOG_ROW, f"{lines:,} rows of metrics.csv × {LOG_ROW} bytes"),
    )


def refuse_layers(config: Config) -> None:
    """LimitError where the hidden layers alone cannot fit, whatever the data are; nothing is allocated or read."""
    n, count = 0, 0  # so many inputs as the data will have are not counted
    for layer in config.network.layers:
        try:
            n, slots = layer.slots(n)
        except ConfigError:
            if n:
                raise
            continue  # it may well fit what the data have
        count += sum(math.prod(slot.shape) for slot in slots)
    item = np.dtype(config.dtype).itemsize
    refuse_memory([part for part in _parameters(count, config.optimizer.vectors(), item) if part.bytes])


def refuse_table(options: Data, base: Path, dtype: str) -> None:
    """LimitError where the training table cannot fit, guessed from its size and its first part.

    A file that is not there, or is no plain file, is left to its reader to complain about.
    """
    path = base / options.train
    try:
        total, cells = os.stat(path).st_size, 0
        if total > FIRST and path.is_file():
            cells = _cells(path, total, options.delimiter)
    except (OSError, ValueError, EOFError, zlib.error):
        return
    item = np.dtype(dtype).itemsize
    if cells:
        how = f"about {cells:,} cells × {8 + item} bytes while they are read"
        refuse_memory([Usage("table", cells * (8 + item), how, "data.train")])


def _cells(path: Path, total: int, delimiter: str) -> int:
    """About how many cells a file has, from its first part."""
    if path.suffix.lower() == ".npz":
        return total // 8
    with open(path, "rb") as file:
        first = file.read(FIRST)
    if first.startswith(b"\x1f\x8b"):
        packed, first = len(first), _unpacked(first)
        total = total * len(first) // packed
    marks = [delimiter.encode()] if delimiter != "auto" else [b",", b";", b"\t", b"|"]
    lines = first.count(b"\n") or first.count(b"\r")
    cells = max(map(first.count, marks)) + lines
    return total * cells // max(1, len(first))


def _unpacked(packed: bytes) -> bytes:
    """What the first part of a gzip file unpacks to, as far as it goes; never more than a hundred times as much."""
    return zlib.decompressobj(wbits=31).decompress(packed, 100 * len(packed))


def refuse(found: Estimate, folder: Path, begun: bool = False) -> None:
    """LimitError, with the arithmetic, where what is still to be allocated, or written to `folder`, cannot fit.

    A run that was `begun` before has its checkpoints already, and needs room to replace them.
    """
    refuse_memory(found.memory)
    parts = [part for part in found.disk if not begun or part.name == "saving"]
    needed, free = sum(part.bytes for part in parts), files.disk_free(folder)
    if needed > free:
        raise LimitError(
            f"needs {_sum(parts)} of disk, and {size(free)} are free; free some space, or choose another folder "
            "with output",
            file=str(folder),
        )


def refuse_memory(parts: Iterable[Usage]) -> None:
    """LimitError, with the arithmetic, where the parts together exceed what this process may still take."""
    parts = tuple(parts)
    needed = sum(part.bytes for part in parts)
    for limit in machine.memory():
        if needed > limit.free:
            most = max(parts, key=lambda part: part.bytes)
            raise LimitError(f"needs {_sum(parts)} of memory, and {limit}; {_ADVICE[most.key]}", key=most.key)


_ADVICE = {
    "network.layers": "use fewer units",
    "training.batch_size": "use smaller batches",
    "data.train": "use fewer rows or columns",
    "ensemble": "use fewer nets",
}


def _sum(parts: Sequence[Usage]) -> str:
    """The arithmetic: every part of at least a hundredth, the rest together, and the sum."""
    total = sum(part.bytes for part in parts)
    said = [f"{size(part.bytes)} ({part.name})" for part in parts if part.bytes * 100 >= total]
    rest = sum(part.bytes for part in parts if part.bytes * 100 < total)
    said += [f"{size(rest)} (the rest)"] if rest else []
    return said[0] if len(said) == 1 else f"{' + '.join(said)} = {size(total)}"
