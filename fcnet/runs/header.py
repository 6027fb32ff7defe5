"""What a checkpoint's header must say: one schema, which every command checks as a whole before it believes any of it.

Facts that stand in two places must agree. Keys that are not known here are ignored: a later minor version may add some.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Le, Len, Predicate

from fcnet.config.schema import Config
from fcnet.nn.losses import Task

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
Number = Annotated[float, Predicate(math.isfinite)]
Seconds = Annotated[float, Ge(0), Predicate(math.isfinite)]
Hash = Annotated[str, Predicate(_is_hash)]
HexFloat = Annotated[str, Predicate(_is_hex_float)]
Names = Annotated[list[str], Predicate(_unlike)]
Label = str | bool | int | Number


@dataclass(frozen=True)
class Column:
    """A column that is predicted from; `levels` and `missing_level` are a category's."""

    name: str
    kind: Literal["number", "category"]
    levels: Names | None = None
    missing_level: bool | None = None


@dataclass(frozen=True)
class Columns:
    """Those columns in their order, all columns of the training file, and the type of the inputs."""

    columns: Annotated[list[Column], Len(1)]
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
class Part:
    """The rows of a part."""

    rows: Count
    sha256: Hash


@dataclass(frozen=True)
class Parts:
    """All parts."""

    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True)
class Place:
    """The place in the run that a last.npz goes on from."""

    epoch: Count
    row: Count
    step: Count
    loss: HexFloat
    best: HexFloat | None
    best_epoch: Count
    waited: Count
    seconds: Seconds
    elapsed: Seconds
    finished: str | None


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
    guess: list[Number]
    data: list[File]
    parts: Parts
    metrics: dict[str, Number | None] | None
    machine: dict[str, str | bool | int | Number | None]
    content: Hash | None = None
    guess_weighted_by: str | None = None
    state: Place | None = None
    given: dict[str, Any] | None = None


def problems(header: Mapping[str, Any], settings: Config) -> list[str]:
    """Everything that is wrong with a header, each with its path in it; `settings` is the config inside."""
    from pydantic import ValidationError  # with the config's

    try:
        # JSON in, as for the config: only there strict means what we mean
        found: Header = _schema().validate_json(json.dumps(header), strict=True)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False)
        by_path: dict[str, str] = {}  # a value with several alternatives fails each of them
        for each in told:
            by_path.setdefault(*_told(each["loc"], each["type"], each["msg"], header))
        return [f"{path}{text}" for path, text in by_path.items()]
    return list(_contradictions(found, settings))


@cache
def _schema() -> Any:
    from pydantic import TypeAdapter  # as above

    return TypeAdapter(Header)


def _told(loc: tuple[str | int, ...], kind: str, message: str, header: Any) -> tuple[str, str]:
    """("target.classes[1]", ": it should be a valid string, and it is []"); pydantic also names members of unions."""
    path, node = "", header
    for part in loc:
        if isinstance(node, Mapping) and part in node:
            path, node = f"{path}.{part}" if path else str(part), node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            path, node = f"{path}[{part}]", node[part]
        elif kind == "missing":
            return (f"{path}.{part}" if path else str(part)), ", which is missing"
    shown = json.dumps(node, ensure_ascii=False)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    if "predicate" in kind:
        return path, f": {'something stands twice in it' if isinstance(node, list) else f'{shown} cannot stand there'}"
    return path, f": {message.replace('Input should', 'it should')}, and it is {shown}"


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
    if (aim.classes is not None) != (aim.task in ("binary", "multiclass")):
        yield "target.classes: they do not fit the task"
    elif aim.classes is not None and (len(aim.targets) > 1 or (aim.task == "binary" and len(aim.classes) != 2)):
        yield "target.classes: how many there are does not fit the task"
    elif aim.classes is not None and len(set(map(repr, aim.classes))) < len(aim.classes):
        yield "target.classes: a label stands twice"
    if len(header.guess) != len(aim.classes or aim.targets):
        yield f"guess: it has {len(header.guess)} numbers, and {len(aim.classes or aim.targets)} are needed"
    elif aim.task != "regression" and min(header.guess) < 0:
        yield "guess: a share is below 0"
    names = [column.name for column in columns.columns]
    if len(set(names)) < len(names):
        yield "columns.columns: a name stands twice"
    if not {*names} <= {*columns.file_columns}:
        yield "columns.columns: not all of them are among columns.file_columns"
    for i, column in enumerate(columns.columns):
        if column.kind == "category" and (column.levels is None or column.missing_level is None):
            yield f"columns.columns[{i}]: a category has levels and missing_level"
    if (header.content is None) != bool(header.data):
        yield "data and content: one of them says where the rows came from"
    if len({file.role for file in header.data}) < len(header.data):
        yield "data: a role stands twice"
    if not header.parts.train.rows:
        yield "parts.train.rows: there are none"
    if state is not None and max(state.best_epoch, state.waited) > state.epoch:
        yield "state: best_epoch and waited are at most epoch"
