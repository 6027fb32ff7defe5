"""The whole mutable world of a run: saving it is the checkpoint, loading it is the resume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fcnet.backends.ops import Array
from fcnet.nn.network import Network


@dataclass
class State:
    """θ, buffers q, optimizer vectors, and the place in the run.

    `epoch` counts finished epochs, `row` the rows of the one in progress, `step` all steps; `loss` is Σ w ℓ over those
    rows, in float64, one addition a step. `best` is the early-stopping metric's best value, of `best_epoch`; `waited`
    the epochs since. `seconds` are this epoch's training steps, `elapsed` the whole run's, in seconds.
    """

    θ: Array
    q: Array
    vectors: dict[str, Array]
    loss: Array = field(default_factory=lambda: np.zeros((), np.float64))
    epoch: int = 0
    row: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    finished: str | None = None

    @classmethod
    def new(cls, network: Network, vectors: tuple[str, ...], dtype: Any) -> State:
        """Zeros in the shape of the network."""
        return cls(
            network.layout.zeros(dtype),
            network.buffers.zeros(dtype),
            {name: network.layout.zeros(dtype) for name in vectors},
        )

    @property
    def scored(self) -> Array:
        """What is scored and kept: the average of θ, or θ itself."""
        return self.vectors.get("average", self.θ)

    def arrays(self) -> dict[str, Array]:
        """The flat vectors by name."""
        return {"θ": self.θ, "q": self.q, **{f"optimizer/{name}": vector for name, vector in self.vectors.items()}}

    def numbers(self) -> dict[str, Any]:
        """Everything that is no array, ready for JSON. Floats in hexadecimal: they come back bit for bit."""
        return {
            "epoch": self.epoch,
            "row": self.row,
            "step": self.step,
            "loss": float(self.loss).hex(),
            "best": None if self.best is None else float(self.best).hex(),
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "finished": self.finished,
        }

    def restore(self, numbers: dict[str, Any]) -> None:
        """Take over what `numbers` gave."""
        for name in ("epoch", "row", "step", "best_epoch", "waited"):
            setattr(self, name, int(numbers[name]))
        self.loss[...] = float.fromhex(numbers["loss"])
        self.best = None if numbers["best"] is None else float.fromhex(numbers["best"])
        self.seconds, self.elapsed = float(numbers["seconds"]), float(numbers["elapsed"])
        self.finished = numbers["finished"]

    def copy(self) -> State:
        """An independent state of the same content."""
        other = State(self.θ.copy(), self.q.copy(), {name: v.copy() for name, v in self.vectors.items()})
        other.restore(self.numbers())
        return other

    def take(self, other: State) -> None:
        """The content of `other`, in this state's own memory (a compiled step works in it)."""
        for mine, theirs in zip(self.arrays().values(), other.arrays().values(), strict=True):
            mine[...] = theirs
        self.restore(other.numbers())

    def finite(self) -> bool:
        """Whether every number is."""
        return bool(np.isfinite(self.loss)) and all(bool(np.isfinite(v).all()) for v in self.arrays().values())
