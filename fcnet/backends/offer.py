"""What a backend says of itself before it is imported: its name aside, what it needs and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import numpy as np

from fcnet import machine
from fcnet.backends.base import Backend
from fcnet.records import dataclass

COMPILING = 20
"""Seconds that it takes about to compile what a run needs, on one core."""

SHARE = 2**20
"""Multiplications of a step's largest product that keep a thread busy for longer than it waits."""


@dataclass(frozen=True)
class ProductShapes:
    """Those of a training step: for each layer's weights rows of the batch, inputs and outputs."""

    shapes: tuple[tuple[int, int, int], ...]
    dtype: np.dtype[Any]


Products = ProductShapes | Literal["own", "blas"]
"""Who makes the products of compiled steps, or from what a trial finds that out."""


def _untried() -> ModuleType:
    raise AssertionError("what needs no package needs no trial")


@dataclass(frozen=True)
class Offer:
    """`make(threads, largest, products)` as `choice.make` has them; `needs`: the package without which it is not there,
    one of `extras.PACKAGES`, which `trial` imports, and makes a call like those to come; `ready`: whether what it has
    to compile was compiled before."""

    make: Callable[[int, int | None, Products], Backend]
    needs: str | None = None
    trial: Callable[[], ModuleType] = _untried
    ready: Callable[[], bool] = lambda: True


def paying(threads: int, largest: int | None = None) -> int:
    """How many of so many threads pay: one for each processor, and for each SHARE of the largest product."""
    busy = threads if largest is None else max(2, largest // SHARE)
    return min(threads, machine.cores(), busy)
