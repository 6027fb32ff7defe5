"""From the config's `data` section to a data set: read, partition, fit and encode, with a value after each.

`load` and `score` do all of it. One table that was read can be partitioned, fitted and encoded as often as one likes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fcnet.data.encode import Encoder, fit_encoder
from fcnet.data.labels import check_blanks, labels_of
from fcnet.data.opened import FileRecord
from fcnet.data.options import Data, Preprocess, Task
from fcnet.data.readers import quietly
from fcnet.data.reading import Read, read, read_alike
from fcnet.data.split import PARTS, random_split, rows_hash
from fcnet.data.tally import Tally
from fcnet.data.target import TASKS, Classes, Target, Wanted
from fcnet.data.teacher import asked, heard
from fcnet.errors import ConfigError, DataError
from fcnet.nn.losses import Learnt
from fcnet.nn.rows import Rows
from fcnet.records import dataclass

Array = NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Rows ready for a network, and all that was learned on the way.

    `inputs`: what the net gets. `y`: class indices (n,) int64 for binary and multiclass, else (n, n_out) of the dtype
    (multilabel: 0 or 1; regression: standardised if asked for). `w` (n,) float64 or None: row weight × class weight,
    scaled to mean 1 over the training rows, which weighs the loss; `row_weights` (n,) float64 or None, which weigh
    the scores. `parts`: rows of the inputs by part, (·,) int64, sorted. `part_hashes`: SHA-256 of
    each part's row numbers in its file. `teacher`: None, or what another model says of the rows, as `Target.mixed`
    wants it. `resolved`: the config's section with everything found out written down.
    """

    task: str
    inputs: Rows
    y: Array
    w: Array | None
    row_weights: Array | None
    parts: Mapping[str, Array]
    part_hashes: Mapping[str, str]
    encoder: Encoder
    target: Target
    resolved: Data
    files: tuple[FileRecord, ...]
    notices: tuple[str, ...]
    teacher: Array | None = None

    @property
    def x(self) -> Array:
        """The numbers among the inputs, (n, n_in) of the dtype."""
        return self.inputs.x


def together(data: Dataset) -> Dataset:
    """The same data with the validation rows among those of training; the weights have mean 1 over all of these."""
    rows = np.sort(np.concatenate([data.parts["train"], data.parts["validation"]]))
    both = "".join(data.part_hashes[name] for name in ("train", "validation"))
    hashes = {**data.part_hashes, "train": hashlib.sha256(both.encode()).hexdigest(), "validation": rows_hash(rows[:0])}
    w = data.w if data.w is None else data.w / data.w[rows].mean()
    return replace(data, w=w, parts={**data.parts, "train": rows, "validation": rows[:0]}, part_hashes=hashes)


@dataclass(frozen=True)
class Partition:
    """The parts of a table: for each its rows, (·,) int64, as places among those that have a target."""

    rows: Mapping[str, Array]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """What the training rows have taught of columns and target."""

    encoder: Encoder
    target: Target
    notices: tuple[str, ...] = ()


def load(
    options: Data,
    preprocess: Preprocess,
    *,
    base: Path = Path(),
    dtype: str = "float32",
    learnt: Learnt = "numbers",
    data: object = None,
    fitted: tuple[Encoder, Target] | None = None,
    order: Sequence[str] = (),
    strict: bool = False,
    teacher: bool = True,
    poll: Callable[[], object] = quietly,
) -> Dataset:
    """The data that the config describes; files are relative to `base`, `data` stands in for `train`.

    With `fitted`, nothing is fitted: the same rows go through an encoder and a target of before. `learnt` is what the
    loss wants of the target. `order`: columns in the order of the inputs of a run that goes on. `strict` turns columns
    left out, extra columns and unseen categories into errors. Without `teacher` the config's is not asked: nothing is
    learnt. Raises DataError, ConfigError, LimitError, StorageError.
    """
    main = read(options, base=base, dtype=dtype, data=data, fitted=fitted, strict=strict, poll=poll)
    parts = partition(main)
    known = Fit(*fitted) if fitted else fit(main, parts, preprocess, dtype=dtype, learnt=learnt, order=order)
    tables = {"train": main}
    for name in PARTS[1:]:
        if isinstance(path := getattr(options, name), str):
            tables[name] = read_alike(
                name,
                base / Path(path).expanduser(),
                main.options,
                known.encoder,
                known.target,
                shown=path,
                settled=fitted is not None,
                strict=strict,
                poll=poll,
            )
    told = heard(main, known.target, asked(main, known.target, base, poll)) if teacher else None
    return taught(encode(tables, parts, known, strict=strict, consume=True), told)


def taught(data: Dataset, told: Array | None) -> Dataset:
    """The same data with what a teacher says of the rows of the training's table, if there is one."""
    if told is None:
        return data
    silent = np.full((len(data.y) - len(told), told.shape[1]), np.nan)  # rows of other files
    return replace(data, teacher=np.concatenate([told, silent]).astype(data.encoder.dtype))


def score(
    source: Path | object,
    options: Data,
    encoder: Encoder,
    target: Target,
    *,
    strict: bool = False,
) -> Dataset:
    """All rows of another table as the part `test`, through an encoder and a target that were fitted before.

    `source`: a file, or a frame or arrays. `options`: the resolved section of the training.
    """
    found = read_alike("test", source, options, encoder, target, strict=strict)
    said = list(found.table.notices)
    if options.weight is not None and found.roles.weight is None:
        said += [*found.notices, f'no column "{options.weight}": every row has weight 1']
    else:
        said += found.notices
    tables = {"test": replace(found, notices=tuple(said))}
    return encode(tables, Partition({}), Fit(encoder, target), strict=strict, ranges=True, consume=True)


def partition(main: Read) -> Partition:
    """The parts that the config's section asks for; DataError where none is left for training."""
    rows, notices = _split(main)
    if not len(rows["train"]):
        raise DataError("no rows are left for training", file=main.table.file)
    return Partition(rows, tuple(notices))


def fit(
    main: Read,
    parts: Partition,
    preprocess: Preprocess,
    *,
    dtype: str = "float32",
    learnt: Learnt = "numbers",
    order: Sequence[str] = (),
    like: Fit | None = None,
) -> Fit:
    """Encoder and target, fitted on the part `train` alone; `order` is as for `load`.

    `like`: what more of the rows have taught. Columns are encoded likewise, and the classes are those.
    """
    table, roles, options = main.table, main.roles, main.options
    training = main.rows[parts.rows["train"]]
    for name in roles.features:
        if table.columns[name].codes is not None:
            check_blanks(table.columns[name], table)
    wanted = Wanted(learnt, preprocess.target == "standard", preprocess.clamp)
    task = cast(Task, options.task)
    target, notices = (
        TASKS[task].fit(table, training, roles.targets, options, main.spelling, wanted)
        if like is None or like.target.classes is None
        else (like.target, [])
    )
    encoder, more = fit_encoder(
        table, roles.features, training, preprocess, dtype, order, None if like is None else like.encoder
    )
    weighed = "data.class_weight weighs the loss (val_loss too), and no metric"
    return Fit(encoder, target, (*notices, *more, *([weighed] if target.class_weights is not None else [])))


def encode(
    tables: Mapping[str, Read],
    parts: Partition,
    known: Fit,
    *,
    strict: bool = False,
    ranges: bool = False,
    consume: bool = False,
) -> Dataset:
    """One data set of all tables: the one of training with its parts, and those that are a part as a whole.

    `ranges`: whether values outside the range of training are counted. With `consume` the tables are used up on the
    way, for both would not fit into memory.
    """
    encoder, target, main = known.encoder, known.target, tables.get("train")
    first = next(iter(tables.values()))
    y, starts = _outputs(tables, target, encoder.dtype)
    places = {name: parts.rows.get(name, np.zeros(0, dtype=np.int64)) for name in PARTS}
    hashed = {} if main is None else {name: main.rows[rows] for name, rows in places.items()}
    for name, part in tables.items():
        if part is not main:
            places[name] = np.arange(starts[name], starts[name] + len(part.rows), dtype=np.int64)
            hashed[name] = part.rows
    row_weights = _row_weights(tables, first.roles.weight)
    w = _loss_weights(row_weights, target, y, None if main is None else places["train"], first.table.file)
    row_weights = row_weights if target.class_weights is not None else w
    inputs, counted = _inputs(tables, encoder, strict, ranges, consume)
    said = [() if main is None else main.notices, parts.notices, known.notices]
    said += [part.notices for part in tables.values() if part is not main]
    return Dataset(
        target.task,
        inputs,
        y,
        w,
        row_weights,
        places,
        {name: rows_hash(rows) for name, rows in hashed.items()},
        encoder,
        target,
        first.options,
        tuple(part.file for part in tables.values() if part.file is not None),
        (*(text for some in said for text in some), *counted),
    )


def _inputs(
    tables: Mapping[str, Read], encoder: Encoder, strict: bool, ranges: bool, consume: bool
) -> tuple[Rows, list[str]]:
    """The inputs of all tables, in their order, and notices."""
    matrix = _in_place(tables, encoder) if consume else None
    inputs = encoder.rows(sum(len(part.rows) for part in tables.values())) if matrix is None else Rows(matrix)
    notices: list[str] = []
    at = 0
    for part in tables.values():
        columns = part.table.columns
        for name in columns.keys() - set(encoder.columns) if consume else ():
            del columns[name]
        tally = Tally(strict, ranges)
        encoder.encode(part.table, tally, part.rows, inputs[at : at + len(part.rows)], consume=consume)
        at += len(part.rows)
        prefix = f"{part.table.file}: " if len(tables) > 1 else ""
        notices += [prefix + text for text in tally.notices()]
    return inputs, notices


def _split(main: Read) -> tuple[dict[str, Array], list[str]]:
    """The parts among the rows that have a target, as positions in them."""
    table, roles, options = main.table, main.roles, main.options
    if roles.split is not None:
        return _split_by_column(main, roles.split), []
    fractions = [0.0 if isinstance(f, str) else float(f) for f in (options.validation, options.test)]
    stratify = options.split.stratify
    classes, labels = labels_to_stratify(main)
    return random_split(len(main.rows), fractions, options.split.seed, classes, labels, stratify is True, table.file)


def labels_to_stratify(main: Read) -> tuple[Array | None, list[str]]:
    """The class of each row that has a target, (n,), and the labels, where rows are to be dealt out by class."""
    task, stratify = cast(Task, main.options.task), main.options.split.stratify
    classification = issubclass(TASKS[task], Classes)
    if stratify is True and not classification:
        raise ConfigError(f"stratify needs classes, and the task is {task}", key="data.split.stratify")
    if not stratify or not classification:
        return None, []
    codes, found = labels_of(main.table.columns[main.roles.targets[0]], main.spelling)
    return codes[main.rows], [str(label) for label in found]


def _split_by_column(main: Read, name: str) -> dict[str, Array]:
    table = main.table
    column = table.columns[name]
    assert column.codes is not None
    where = {part: i for i, part in enumerate(PARTS)}
    lut = np.array([where.get(text.strip(), -1) for text in column.levels] + [-1], dtype=np.int64)
    part = lut[column.codes]
    bad = np.flatnonzero(part < 0)
    if len(bad):

        def cell(row: int) -> str:
            assert column.codes is not None
            code = column.codes[row]
            return "the cell is empty" if code < 0 else f'"{column.levels[code]}"'

        raise table.error(
            [(int(row), f'column "{name}": {cell(int(row))}; write train, validation or test') for row in bad],
            "rows without a part",
        )
    return {text: np.flatnonzero(part[main.rows] == i).astype(np.int64) for text, i in where.items()}


def _outputs(tables: Mapping[str, Read], target: Target, dtype: str) -> tuple[Array, dict[str, int]]:
    """One y for all tables, and where each table's rows start in it."""
    starts: dict[str, int] = {}
    ys: list[Array] = []
    for name, part in tables.items():
        starts[name] = sum(map(len, ys))
        ys.append(target.encode(part.table, part.rows, part.spelling, dtype))
    return np.concatenate(ys), starts


def _in_place(tables: Mapping[str, Read], encoder: Encoder) -> Array | None:
    """The matrix that was read, where the inputs can take its place cell by cell."""
    if len(tables) > 1:
        return None
    (part,) = tables.values()
    table, matrix = part.table, part.table.matrix
    fits = (
        matrix is not None
        and matrix.dtype == encoder.dtype
        and matrix.shape == (len(part.rows), encoder.n_in)
        and tuple(feature.name for feature in encoder.features) == table.names[: encoder.n_in]
        and all(feature.kind == "number" for feature in encoder.features)
    )
    return matrix if fits else None


def _weight(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:g}"


def _row_weights(tables: Mapping[str, Read], weight: str | None) -> Array | None:
    """The cells of the column of weights, (n,) float64; None without one."""
    if weight is None:
        return None
    pieces: list[Array] = []
    for part in tables.values():
        if weight not in part.table.columns:
            raise DataError(f'no column "{weight}", which holds the weights', file=part.table.file)
        values = part.table.columns[weight].numbers()[part.rows]
        bad = np.flatnonzero(~(values >= 0))
        if len(bad):
            raise part.table.error(
                [
                    (int(part.rows[i]), f'column "{weight}": the weight is {_weight(values[i])}; it must be 0 or more')
                    for i in bad
                ],
                "rows with such weights",
            )
        pieces.append(values)
    return np.concatenate(pieces)


def _loss_weights(
    row_weights: Array | None, target: Target, y: Array, training: Array | None = None, file: str = ""
) -> Array | None:
    """Row weight × class weight, scaled to mean 1 over the `training` rows where there are; None where all are 1."""
    if row_weights is None and target.class_weights is None:
        return None
    w = np.ones(len(y)) if row_weights is None else row_weights
    with np.errstate(over="ignore"):
        if target.class_weights is not None:
            w = w * target.class_weights[y]
        if training is None:
            return w
        total = float(w[training].mean())
    if not total > 0 or not np.isfinite(total):
        raise DataError("the weights of the training rows are all 0, or too large", file=file)
    return np.asarray(w / total)
