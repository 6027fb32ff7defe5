"""What a training run tells the world while it runs: plain records, so that bars, logs and tests are mere readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fcnet.data.options import Task
from fcnet.records import dataclass


@dataclass(frozen=True)
class Glance:
    """The run at a glance, known before the first step: what goes in, what comes out, which net, how it is trained.

    `widths` has the number of inputs, of units in every hidden layer and of outputs; `activations` has one name for
    each hidden layer; `classes` is 0 for regression; a part that does not exist has 0 rows. The `nets` are of one shape
    and have `parameters` in all.
    """

    name: str
    task: Task
    rows: int
    numbers: int
    categories: int
    targets: tuple[str, ...]
    classes: int
    train: int
    validation: int
    test: int
    widths: tuple[int, ...]
    activations: tuple[str, ...]
    parameters: int
    optimizer: str
    lr: float
    backend: str
    threads: int
    nets: int = 1


@dataclass(frozen=True)
class Notice:
    """Something that the user should know: one sentence. Of those `about` one thing a run tells the first alone."""

    text: str
    about: str = ""


@dataclass(frozen=True)
class Started:
    """The data are read, the run folder is claimed, the first step comes next. Sent once.

    `packed` gives the best so far as the bytes of a checkpoint, whenever it is called. Epochs are counted anew in each
    of the `folds`.
    """

    run: Path
    glance: Glance
    packed: Callable[[], bytes] = bytes
    folds: int = 1


@dataclass(frozen=True)
class FoldBegun:
    """What comes next is of this of the `folds`, counted from 0."""

    fold: int
    folds: int

    def __str__(self) -> str:
        return f"fold {self.fold + 1} of {self.folds}"


@dataclass(frozen=True)
class Progress:
    """The place inside an epoch; `row` of `rows` are done, `train_loss` is the mean over them."""

    epoch: int
    epochs: int
    step: int
    row: int
    rows: int
    train_loss: float
    rows_per_second: float


@dataclass(frozen=True)
class MemberEpoch:
    """What an epoch has brought one member of a pack; `number` says which it is."""

    number: int
    lr: float
    train_loss: float
    val: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class Epoch:
    """One finished epoch; `val` holds the loss and every metric on validation, and is empty without validation.

    `seconds` are this epoch's training steps, `elapsed` is the time since the start, over resumes. Of a pack `lr` and
    `train_loss` are the means over those `members` that are still trained, `val` is of what the chosen nets predict
    together, and it is `best` where any member's is.
    """

    epoch: int
    epochs: int
    step: int
    lr: float
    train_loss: float
    val: Mapping[str, float]
    seconds: float
    elapsed: float
    best: bool
    members: tuple[MemberEpoch, ...] = ()


@dataclass(frozen=True)
class Saving:
    """A checkpoint is being written until the next event comes; on a slow disk that takes a while."""

    path: Path


@dataclass(frozen=True)
class Finished:
    """The end: the run folder is complete, `summary` is what metrics.json holds, `why` says what ended the run."""

    run: Path
    summary: Mapping[str, Any]
    why: str


Event = Notice | Started | FoldBegun | Progress | Epoch | Saving | Finished
