"""Whether products are made by kernels of our own or by NumPy's BLAS: tried once for a net on a machine, then kept.

Which of them is faster depends on the processor, the BLAS and the shapes, and so do the bits of a training: that is why
a verdict is kept, and why there is none where it cannot be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numba
import numpy as np

from fcnet import files, machine
from fcnet.backends.base import HostStep
from fcnet.backends.numba import store
from fcnet.backends.numba.backend import NumbaBackend, Products
from fcnet.backends.ops import Array, Matmul, ref
from fcnet.errors import StorageError

SPENT = 0.05
"""Seconds that a trial takes, after what has to be compiled."""

AHEAD = 1.2
"""How many times as fast BLAS has to be: products of our own leave a step one compiled call, which threads share,
and a trial beside other programs is wrong by a tenth."""

ROUNDS = 3
"""So many at least."""

ROWS, LARGEST = 512, 2**26
"""Rows of a batch that is tried, and multiplications of a product; of a larger one some rows are made."""

Shape = tuple[int, int, int]
"""A layer's rows of the batch, inputs and outputs."""


@cache
def chosen(shapes: Sequence[Shape], dtype: np.dtype[Any]) -> Products:
    """`own` where that is right and not slower at a net's shapes; `blas` else, and where a verdict cannot be kept."""
    about = [list(map(list, shapes)), dtype.name, machine.cpu(), machine.blas_name(), numba.__version__, store.name()]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    path = store.folder() / f"products-{key}.json"
    if store.is_temporary(path):
        return "blas"
    return _read(path) or _kept(path, verdict(shapes, dtype))


def verdict(shapes: Sequence[Shape], dtype: np.dtype[Any]) -> Products:
    """What a trial says."""
    shapes = [(min(rows, ROWS), n_in, n_out) for rows, n_in, n_out in dict.fromkeys(shapes)]
    made = {name: np.random.default_rng(0).standard_normal(n).astype(dtype) for name, n in _sizes(shapes).items()}
    ops = [op for shape in shapes for op in layer_matmuls(*shape, dtype)]
    if not all(right(op, made) for op in ops):
        return "blas"
    with machine.blas(1):
        own, blas = times([(_step("own", op, made), _step("blas", op, made)) for op in ops], [*map(_often, ops)])
    return "own" if own <= blas * AHEAD else "blas"


def layer_matmuls(rows: int, n_in: int, n_out: int, dtype: np.dtype[Any]) -> list[Matmul]:
    """A layer's products A = Z Wᵀ, Δ = E W and dW = Eᵀ Z, in their orders in memory."""
    Z, E, W = ref("Z", (rows, n_in), dtype), ref("E", (rows, n_out), dtype), ref("W", (n_out, n_in), dtype)
    made = []
    for a, b in ((Z, W.swapaxes(0, 1)), (E, W), (E.swapaxes(0, 1), Z)):
        some = a[: max(1, LARGEST // b.size)]
        made.append(Matmul(some, b, ref("out", (some.shape[0], b.shape[1]), dtype)))
    return made


def right(op: Matmul, held: dict[str, Array]) -> bool:
    """Whether our own a b is exact to within the rounding of its sums, on the first rows: they do not know the rest."""
    few = Matmul(op.a[:33], op.b, op.out[:33])
    step = _step("own", few, held)
    step.put(few.out, np.nan)
    step.run()
    a, b, out = (step.fetch(x).astype(np.float64) for x in (few.a, few.b, few.out))
    bound = (len(b) + 2) * np.finfo(op.out.dtype).eps * (np.abs(a) @ np.abs(b))
    return bool((np.abs(out - a @ b) <= bound).all())  # NaN is not


def times(steps: Sequence[tuple[HostStep, HostStep]], often: Sequence[int]) -> tuple[float, float]:
    """Seconds for all products, by each way, the shortest of its times for each, which is made so `often` at a time.

    The ways take turns, after a round that does not count.
    """
    best = np.full((len(steps), 2), np.inf)
    start = now = perf_counter()
    made = 0
    while made <= ROUNDS or now < start + SPENT:
        for i, ways in enumerate(steps):
            for j, step in enumerate(ways):
                begin = perf_counter()
                step.run(often[i])
                now = perf_counter()
                best[i, j] = min(best[i, j], (now - begin) / often[i]) if made else np.inf
        start, made = start if made else now, made + 1
    own, blas = best.sum(axis=0).tolist()
    return own, blas


def _often(op: Matmul) -> int:
    """How often a product is made at a time, so that the clock does not count."""
    return 1 + 2**20 // (op.out.size * op.b.shape[0])


def _sizes(shapes: Sequence[Shape]) -> dict[str, int]:
    return {
        "Z": max(rows * n_in for rows, n_in, _ in shapes),
        "E": max(rows * n_out for rows, _, n_out in shapes),
        "W": max(n_in * n_out for _, n_in, n_out in shapes),
    }


def _step(by: Products, op: Matmul, held: dict[str, Array]) -> HostStep:
    """The product, by that way."""
    return NumbaBackend(products=by).compile([op], held)


def _read(path: Path) -> Products | None:
    """What was found before; None where that is unreadable or garbled."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["products"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if said in ("own", "blas") else None


def _kept(path: Path, found: Products) -> Products:
    """This verdict from now on, or that of a run beside this one, which was done with its trial before."""
    before = _read(path)
    if before is not None:
        return before
    try:
        files.write_file(path, json.dumps({"products": found}).encode())
    except (OSError, StorageError):
        return "blas"
    return found
