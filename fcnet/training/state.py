"""The whole mutable world of a run: saving it is the checkpoint, loading it is the resume."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnet.backends.base import aligned
from fcnet.backends.ops import Array
from fcnet.nn.network import Network


@dataclass
class State:
    """θ, buffers q, optimizer vectors, and the place in the run; of a pack for each member, along the first axis.

    `epoch` counts finished epochs, `row` the rows of the one in progress, `step` all steps; `loss` (…) is Σ w ℓ over
    those rows, in float64, one addition a step. `best` (…) is the early-stopping metric's best value, NaN before there
    is one, of `best_epoch` (…); `waited` (…) the epochs since; `who` (…) the numbers of the members that are left.
    `seconds` are this epoch's training steps, `elapsed` the whole run's, in seconds.
    """

    θ: Array
    q: Array
    vectors: dict[str, Array]
    loss: Array
    best: Array
    best_epoch: Array
    waited: Array
    who: Array
    epoch: int = 0
    row: int = 0
    step: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    finished: str | None = None

    @classmethod
    def new(cls, network: Network, vectors: tuple[str, ...], dtype: Any) -> State:
        """Zeros in the shape of the network."""
        members = network.members
        return cls(
            network.layout.zeros(dtype),
            network.buffers.zeros(dtype),
            {name: network.layout.zeros(dtype) for name in vectors},
            np.zeros(members, np.float64),
            np.full(members, np.nan),
            np.zeros(members, np.int64),
            np.zeros(members, np.int64),
            np.array(network.who, np.int64).reshape(members),
        )

    def over(self) -> bool:
        """Whether the training has finished before its last epoch."""
        return self.finished is not None

    @property
    def scored(self) -> Array:
        """What is scored and kept: the average of θ, or θ itself."""
        return self.vectors.get("average", self.θ)

    @property
    def judged(self) -> tuple[Array, Array, Array]:
        """What early stopping has found so far."""
        return self.best, self.best_epoch, self.waited

    def arrays(self) -> dict[str, Array]:
        """The vectors by name."""
        return {"θ": self.θ, "q": self.q, **{f"optimizer/{name}": vector for name, vector in self.vectors.items()}}

    def numbers(self) -> dict[str, Any]:
        """Everything that is no array, ready for JSON. Floats in hexadecimal: they come back bit for bit."""
        return {
            "epoch": self.epoch,
            "row": self.row,
            "step": self.step,
            "loss": _each(float.hex, self.loss),
            "best": _each(lambda best: None if math.isnan(best) else best.hex(), self.best),
            "best_epoch": self.best_epoch.tolist(),
            "waited": self.waited.tolist(),
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "finished": self.finished,
            **({"who": self.who.tolist()} if self.who.ndim else {}),
        }

    def restore(self, numbers: dict[str, Any]) -> None:
        """Take over what `numbers` gave."""
        for name in ("epoch", "row", "step"):
            setattr(self, name, int(numbers[name]))
        each: dict[str, Callable[[Any], float]] = {"best_epoch": int, "waited": int, "loss": float.fromhex}
        each["best"] = lambda best: math.nan if best is None else float.fromhex(best)
        for name, of in each.items():
            own = getattr(self, name)
            own[...] = [of(value) for value in numbers[name]] if own.ndim else of(numbers[name])
        self.seconds, self.elapsed = float(numbers["seconds"]), float(numbers["elapsed"])
        self.finished = numbers["finished"]

    def copy(self) -> State:
        """An independent state of the same content."""
        return copy.deepcopy(self)

    def take(self, other: State) -> None:
        """The content of `other`, in this state's own memory (a compiled step works in it)."""
        for mine, theirs in zip(self.arrays().values(), other.arrays().values(), strict=True):
            mine[...] = theirs
        self.restore(other.numbers())

    def keep(self, which: Sequence[int]) -> None:
        """These of the members are left, in memory of their own."""
        for name in ("θ", "q", "loss", "best", "best_epoch", "waited", "who"):
            setattr(self, name, taken(getattr(self, name), which))
        self.vectors = {name: taken(vector, which) for name, vector in self.vectors.items()}

    def finite(self) -> Array:
        """Whether every number is, (…)."""
        found = np.isfinite(self.loss)
        for vector in self.arrays().values():
            found = found & np.isfinite(vector).all(axis=-1)
        return found


def _each(of: Callable[[float], Any], values: Array) -> Any:
    """The function of one number, or of each of several."""
    return [of(value) for value in values.tolist()] if values.ndim else of(float(values))


def taken(array: Array, which: Sequence[int]) -> Array:
    """Those rows, aligned as all vectors are."""
    made = aligned((len(which), *array.shape[1:]), array.dtype)
    made[...] = array[list(which)]
    return made
