"""Which backend a run takes: by arithmetic on its size, by what is installed and by what was compiled before.

No clock is asked: the same run on the same machine would be one backend's today and the other's tomorrow, and have
other bits. A run that is resumed goes on with the backend that it began with.
"""

from __future__ import annotations

import math

from fcnet import backends, extras
from fcnet.backends import *  # noqa: F403  the folders, each of which is a backend
from fcnet.backends import numpy as _numpy
from fcnet.backends.base import Backend
from fcnet.backends.offer import COMPILING, Offer, Products
from fcnet.errors import ConfigError
from fcnet.records import dataclass

BACKENDS: dict[str, Offer] = {"numpy": _numpy.OFFER, **{name: globals()[name].OFFER for name in backends.__all__}}
"""All that there are, by their names."""

WORTH = 5.0
"""Seconds that kernels must save before any are compiled, which costs more than that, but only the first time."""

LOADING = 1.0
"""Seconds that they must save where they were compiled before: about what it takes to load Numba and them."""

FAST = "pip install 'fcnet[fast]'"

# Seconds of a processor, measured on an AMD EPYC with single precision for nets of 300 to 1,200,000 parameters: what
# they save is right to within a half for most. A slower processor takes as many times as long to load kernels, too.
_PRODUCT = 1.8e-11  # one multiplication and addition
_STEP = {"numpy": 45e-6, "numba": 3e-6}  # calls of one step
_PARAMETER = {"numpy": 6e-9, "numba": 0.3e-9}  # an optimizer's update
_RESULT = {"numpy": 0.45e-9, "numba": 0.1e-9}  # one operation of a formula, on one number


@dataclass(frozen=True)
class Work:
    """How much a run has to do: `parameters` of the net, `results` of the operations in a step's formulas, the
    `batch_size` in rows, all `steps`, and the bytes of a number."""

    parameters: int
    results: int
    batch_size: int
    steps: int
    itemsize: int = 4

    def seconds(self, backend: str) -> float:
        """A rough figure for the whole run."""
        numbers = self.parameters * _PARAMETER[backend] + self.results * _RESULT[backend]
        numbers += 3 * self.batch_size * self.parameters * _PRODUCT
        return self.steps * (_STEP[backend] + numbers * self.itemsize / 4)


def installed(name: str) -> bool:
    """Whether what a backend needs is there."""
    needs = BACKENDS[name].needs
    return needs is None or extras.installed(needs)


def fault(name: str) -> extras.PackageFault | None:
    """What keeps a backend from being used here, None for nothing."""
    offer = BACKENDS[name]
    return None if offer.needs is None else extras.fault(offer.needs, offer.trial)


def usable(name: str) -> str:
    """The backend of that name, or NumPy where it cannot be used; that it is broken is among the notices then."""
    found = fault(name)
    if found is None:
        return name
    if not found.missing:
        extras.say(name, f"{name} {found.what}; NumPy computes instead; {found.cure}")
    return "numpy"


def choose(work: Work, left: float = math.inf) -> tuple[str, str | None]:
    """(the backend that `auto` means, a sentence for the user or None).

    Kernels that were compiled before need to save little. Where few seconds of a budget are `left` nothing is compiled
    or loaded: beside other programs that takes several times as long.
    """
    saved, ready = work.seconds("numpy") - work.seconds("numba"), BACKENDS["numba"].ready()
    if left < (10 * LOADING if ready else 2 * COMPILING):
        return "numpy", None
    worth = min(WORTH, LOADING) if ready else WORTH
    if saved < worth:
        return "numpy", None
    times = work.seconds("numpy") / work.seconds("numba")
    name = usable("numba")
    hint = f"about {times:.1f} × faster with: {FAST}" if not installed("numba") else None
    return name, hint


def make(
    name: str,
    threads: int = 1,
    largest: int | None = None,
    products: Products = "own",
) -> Backend:
    """The backend of that name, on so many threads; ConfigError where its package is missing or broken.

    `largest`: multiplications of the largest product of a step. A team has as many threads as there are processors and
    as have enough to do: more would change no bit, and wait for one another. `products`: who makes those of compiled
    steps, or from what a trial finds that out.
    """
    found = fault(name)
    if found is not None:
        if found.storage is not None:
            raise found.storage
        raise ConfigError(f"{name} {found.what}; {found.cure}, or choose numpy", key="backend")
    return BACKENDS[name].make(threads, largest, products)
