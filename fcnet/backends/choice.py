"""Which backend a run takes: by arithmetic on its size and by what is installed, never by a clock.

So the same config on the same data with the same packages always takes the same one, and a resumed run goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from fcnet import machine
from fcnet.backends.base import Backend
from fcnet.backends.numpy import NumpyBackend
from fcnet.errors import ConfigError

WORTH = 5.0
"""Seconds that compiled kernels must save before they are taken: about what compiling them costs the first time."""

SHARE = 2**20
"""Multiplications of a step's largest product that keep a thread busy for longer than it waits."""

# Seconds, measured on two cores of an AMD EPYC; only their ratios matter.
_PRODUCT = 1.2e-11  # one multiplication and addition of a large product
_STEP = {"numpy": 60e-6, "numba": 5e-6}  # calls of one step, and as much for each layer below
_LAYER = {"numpy": 40e-6, "numba": 4e-6}
_PARAMETER = {"numpy": 1.2e-9, "numba": 0.35e-9}  # an optimizer's update
_UNIT = {"numpy": 2.5e-9, "numba": 0.4e-9}  # bias, activation and its vjp, for one unit of one row


@dataclass(frozen=True)
class Work:
    """How much a run has to do: `parameters` and hidden and output `units` of the net, its `layers`, the `batch_size`
    in rows and all `steps`."""

    parameters: int
    units: int
    layers: int
    batch_size: int
    steps: int

    def seconds(self, backend: str) -> float:
        """A rough figure for the whole run."""
        step = _STEP[backend] + self.layers * _LAYER[backend] + self.parameters * _PARAMETER[backend]
        step += self.batch_size * (self.units * _UNIT[backend] + 3 * self.parameters * _PRODUCT)
        return self.steps * step


def installed(name: str) -> bool:
    """Whether what a backend needs is there."""
    return name == "numpy" or find_spec(name) is not None


def choose(work: Work) -> tuple[str, str | None]:
    """(the backend that `auto` means, a sentence for the user or None)."""
    saved = work.seconds("numpy") - work.seconds("numba")
    if saved < WORTH:
        return "numpy", None
    times = work.seconds("numpy") / work.seconds("numba")
    if installed("numba"):
        return "numba", None
    return "numpy", f"about {times:.1f} × faster with: pip install 'fcnet[fast]'"


def team(threads: int, largest: int | None = None) -> int:
    """How many of so many threads pay: one for each processor, and for each SHARE of the largest product."""
    busy = threads if largest is None else max(2, largest // SHARE)
    return min(threads, machine.cores(), busy)


def make(name: str, threads: int = 1, largest: int | None = None) -> Backend:
    """The backend of that name, on so many threads; ConfigError where its package is missing.

    `largest`: multiplications of the largest product of a step. A team has as many threads as there are processors and
    as have enough to do: more would change no bit, and wait for one another.
    """
    if not installed(name):
        raise ConfigError(f"{name} is not installed; pip install 'fcnet[fast]', or choose numpy", key="backend")
    if name == "numba":
        from fcnet.backends.numba.backend import NumbaBackend  # an extra, and slow to import

        return NumbaBackend(team(threads, largest))
    return NumpyBackend(threads)
