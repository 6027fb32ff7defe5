"""What a checkpoint's header must say: one schema, which every command checks as a whole before it believes any of it.

Facts that stand in two places must agree. Keys that are not known here are ignored: a later minor version may add some.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from fcnet.config.kinds import Section, words
from fcnet.config.schema import Config
from fcnet.config.strict import Fault, made
from fcnet.data.encodings import CATEGORICAL, NUMERIC
from fcnet.data.options import Task
from fcnet.data.target import TASKS
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Le, Len, Lt, Such

T = TypeVar("T")

SHOWN = 5
"""Problems that are told at once."""


def _is_hash(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")


def _is_hex_float(text: str) -> bool:
    try:
        return math.isfinite(float.fromhex(text))
    except (ValueError, OverflowError):
        return False


def _unlike(texts: list[T]) -> bool:
    return len(set(texts)) == len(texts)


Count = Annotated[int, Ge(0), Le(2**53)]
Seconds = Annotated[float, Ge(0)]
Hash = Annotated[str, Such(_is_hash, "64 hexadecimal digits")]
HexFloat = Annotated[str, Such(_is_hex_float, "a finite hexadecimal number")]
Names = Annotated[list[str], Such(_unlike, "none twice")]
Label = str | bool | int | float


@dataclass(frozen=True)
class ColumnRecord:
    """A column that is predicted from; `levels` and `missing_level` are a category's, `indicator` is a number's."""

    name: str
    kind: Literal["number", "category"]
    levels: Names | None = None
    missing_level: bool | None = None
    indicator: bool = False
    encoding: str | None = None


@dataclass(frozen=True)
class Columns:
    """Those columns in their order, all columns of the training file, and the type of the inputs."""

    columns: Annotated[list[ColumnRecord], Len(1)]
    file_columns: list[str]
    dtype: Literal["float32", "float64"]


@dataclass(frozen=True)
class Aim:
    """What is predicted."""

    task: Task
    targets: Annotated[Names, Len(1)]
    classes: Annotated[list[Label], Len(2)] | None
    numeric_labels: bool


@dataclass(frozen=True)
class File:
    """A data file."""

    role: Literal["train", "validation", "test"]
    paths: Annotated[list[str], Len(1)]
    sha256: Hash
    rows: Count = 0


@dataclass(frozen=True)
class PartRecord:
    """The rows of a part."""

    rows: Count
    sha256: Hash


@dataclass(frozen=True)
class PartRecords:
    """All parts."""

    train: PartRecord
    validation: PartRecord
    test: PartRecord


@dataclass(frozen=True)
class CalibrationRecord:
    """What validation rows said when the training was over."""

    temperature: Annotated[float, Gt(0)]
    threshold: Annotated[float, Gt(0), Lt(1)] | None
    rows: Count
    scores: list[list[float]] | None = None


@dataclass(frozen=True)
class StateRecord:
    """The place in the run that a last.npz goes on from; of several nets for each that goes on, whose numbers are
    `who`."""

    epoch: Count
    row: Count
    step: Count
    loss: HexFloat | list[HexFloat]
    best: HexFloat | list[HexFloat | None] | None
    best_epoch: Count | list[Count]
    waited: Count | list[Count]
    seconds: Seconds
    elapsed: Seconds
    finished: str | None
    who: list[Count] | None = None


@dataclass(frozen=True)
class NetRecord:
    """A net of an ensemble: its number, its weight in the mean, its best epoch, 0 before one, and its value then; the
    fold that it has not seen, and its weight among the nets of that."""

    member: Count
    weight: Annotated[float, Ge(0), Le(1)]
    epoch: Count
    best: float | None = None
    fold: Count | None = None
    share: Annotated[float, Ge(0), Le(1)] | None = None


@dataclass(frozen=True)
class FoldRecord:
    """A fold: the columns as its training rows taught them, how many rows it holds out, and how far training went."""

    columns: Annotated[list[ColumnRecord], Len(1)]
    rows: Count
    epochs: Count
    steps: Count


@dataclass(frozen=True)
class Header:
    """The whole of it; `config` is checked by the config's own schema."""

    fcnet: str
    created: str
    name: str
    run: str
    epoch: Count
    step: Count
    task: Task
    classes: list[Label] | None
    config: dict[str, Any]
    columns: Columns
    target: Aim
    guess: list[float]
    data: list[File]
    parts: PartRecords
    metrics: dict[str, float | None] | None
    machine: dict[str, str | bool | int | float | None]
    nets: Annotated[list[NetRecord], Len(1)] | None = None
    folds: Annotated[list[FoldRecord], Len(1)] | None = None
    fold: Count | None = None
    refit: bool | None = None
    content: Hash | None = None
    teacher: Hash | None = None
    guess_weighted_by: str | None = None
    calibration: CalibrationRecord | None = None
    state: StateRecord | None = None
    given: dict[str, Any] | None = None


def problems(header: Mapping[str, Any], settings: Config) -> list[str]:
    """Everything that is wrong with a header, each with its path in it; `settings` is the config inside."""
    faults: list[Fault] = []
    found: Header = made((Section(Header),), header, faults, others=True)  # a later minor version may have more keys
    return [_told(fault, header) for fault in faults] or list(_contradictions(found, settings))


def _told(fault: Fault, header: Mapping[str, Any]) -> str:
    """`target.classes[1]: it should be text, and it is []`."""
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.path).removeprefix(".")
    if fault.kind == "missing":
        return f"{at}, which is missing"
    value: Any = header
    for part in fault.path:
        value = value[part]
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    return f"{at}: it should be {words(fault.expected)}, and it is {shown}"


def _contradictions(header: Header, settings: Config) -> Iterator[str]:
    """What no two places of a right header say."""
    aim, columns, state = header.target, header.columns, header.state
    twice: list[tuple[str, Any, str, Any]] = [
        ("task", header.task, "target.task", aim.task),
        ("classes", header.classes, "target.classes", aim.classes),
        ("name", header.name, "config.name", settings.name),
        ("columns.dtype", columns.dtype, "config.dtype", settings.dtype),
    ]
    if state is not None:
        twice += [("epoch", header.epoch, "state.epoch", state.epoch), ("step", header.step, "state.step", state.step)]
    for one, a, other, b in twice:
        if repr(a) != repr(b):  # as 1, 1.0 and true are equal
            yield f"{one} and {other} do not agree"
    resolved = {
        "backend": settings.backend,
        "threads": settings.threads,
        "loss": settings.loss,
        "training.batch_size": settings.training.batch_size,
    }
    yield from (f"config.{key}: auto is not resolved" for key, value in resolved.items() if value == "auto")
    kind = TASKS[aim.task]
    misfit = kind.misfit(len(aim.targets), None if aim.classes is None else len(aim.classes))
    if misfit:
        yield f"target.classes: {misfit}"
    elif aim.classes is not None and len(set(map(repr, aim.classes))) < len(aim.classes):
        yield "target.classes: a label stands twice"
    if len(header.guess) != len(aim.classes or aim.targets):
        yield f"guess: it has {len(header.guess)} numbers, and {len(aim.classes or aim.targets)} are needed"
    elif kind.shares and min(header.guess) < 0:
        yield "guess: a share is below 0"
    names = [column.name for column in columns.columns]
    if len(set(names)) < len(names):
        yield "columns.columns: a name stands twice"
    if not {*names} <= {*columns.file_columns}:
        yield "columns.columns: not all of them are among columns.file_columns"
    yield from _of_columns("columns.columns", columns.columns)
    if (header.content is None) != bool(header.data):
        yield "data and content: one of them says where the rows came from"
    if len({file.role for file in header.data}) < len(header.data):
        yield "data: a role stands twice"
    if not header.parts.train.rows:
        yield "parts.train.rows: there are none"
    yield from _of_folds(header, settings)
    yield from _of_nets(header, settings)


def _of_columns(at: str, columns: list[ColumnRecord]) -> Iterator[str]:
    for i, column in enumerate(columns):
        if column.encoding not in (None, *(NUMERIC if column.kind == "number" else CATEGORICAL)):
            yield f'{at}[{i}].encoding: there is no "{column.encoding}" for a {column.kind}'
        if column.kind == "category" and (column.levels is None or column.missing_level is None):
            yield f"{at}[{i}]: a category has levels and missing_level"
        if column.kind == "category" and column.indicator:
            yield f"{at}[{i}]: a category has no indicator"


def _of_folds(header: Header, settings: Config) -> Iterator[str]:
    """What folds and their nets do not say of each other."""
    nets, folds = header.nets or [], header.folds
    if (folds is None) != (settings.cv is None):
        yield "folds: there are some where config.cv is, and only there"
    numbers = [net.fold for net in nets]
    if folds is None:
        if header.fold is not None or any(number is not None for number in numbers):
            yield "fold: there are no folds"
        return
    if [*dict.fromkeys(numbers)] != [*range(len(folds))] or any(None in (net.fold, net.share) for net in nets):
        yield "nets: each is of one of the folds, in order, and none is without"
    if header.fold != (None if header.state is None else len(folds) - 1):
        yield "fold: it is the last one where training goes on, and only there"
    for i, fold in enumerate(folds):
        if [(c.name, c.kind) for c in fold.columns] != [(c.name, c.kind) for c in header.columns.columns]:
            yield f"folds[{i}].columns: they are not those of columns.columns"
        yield from _of_columns(f"folds[{i}].columns", fold.columns)


def _of_nets(header: Header, settings: Config) -> Iterator[str]:
    """What an ensemble and its nets do not say of each other."""
    nets, state = header.nets, header.state
    if (nets is None) != (settings.ensemble == 1 and settings.cv is None):
        yield "nets: there are some where config.ensemble is more than 1 or config.cv is, and only there"
    judged = [] if state is None else [state.best_epoch, state.waited]
    each = [number for one in judged for number in (one if isinstance(one, list) else [one])]
    if state is not None and max(each, default=0) > state.epoch:
        yield "state: best_epoch and waited are at most epoch"
    if nets is None:
        if state is not None and not (state.who is None and all(isinstance(one, int) for one in judged)):
            yield "state: it is of several nets, and there is one"
        return
    numbers, n = [net.member for net in nets], settings.ensemble
    if numbers != sorted({*numbers}) or any(net.member // n != (net.fold or 0) for net in nets):
        yield f"nets: their members are numbers below {n}, on from fold to fold, in order and none twice"
    if abs(math.fsum(net.weight for net in nets) - 1) > 1e-6:
        yield "nets: their weights do not sum to 1"
    own = [net for net in nets if net.fold == header.fold] if state is not None else nets
    if max((net.epoch for net in own), default=0) > header.epoch:
        yield "nets: one is of a later epoch"
    if state is None:
        return
    if settings.ensemble == 1:
        if state.who is not None or [net.epoch for net in own] != [state.best_epoch]:
            yield "state: it is of several nets, or not of the fold's"
        return
    numbers = [net.member for net in own]
    listed = [state.loss, state.best, state.best_epoch, state.waited]
    if not state.who or any(not isinstance(one, list) or len(one) != len(state.who) for one in listed):
        yield "state: it has as many numbers of each kind as there are nets that go on"
    elif not {*state.who} <= {*numbers} or state.who != sorted({*state.who}):
        yield "state.who: not all of them are among nets, in order"
    elif [net.epoch for net in own if net.member in state.who] != state.best_epoch:
        yield "state.best_epoch and nets do not agree"
