"""From the config's `data` section to matrices: reads the files, splits the rows, fits on training, encodes all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.arrays import with_target
from fcnet.data.columns import Plan, Want
from fcnet.data.dialect import check_delimiter
from fcnet.data.doubts import alike, giveaways
from fcnet.data.encode import Encoder, fit_encoder, listed
from fcnet.data.given import given
from fcnet.data.labels import check_blanks, labels_of
from fcnet.data.looks import Look, looks_like_numbers
from fcnet.data.numbering import numbering
from fcnet.data.numbers import Grammar, grammar
from fcnet.data.opened import FileRecord
from fcnet.data.options import Data, Preprocess, Task
from fcnet.data.problems import together
from fcnet.data.readers import Request, quietly, reader
from fcnet.data.resemblance import resemblances
from fcnet.data.roles import Roles, expected_names, extra_columns, scoring_plan, training_plan
from fcnet.data.split import PARTS, random_split, rows_hash
from fcnet.data.table import Table
from fcnet.data.tally import Tally
from fcnet.data.target import TASKS, Classes, Target, Wanted, check_labels, find_task, missing_rows
from fcnet.errors import ConfigError, DataError, Problem
from fcnet.nn.losses import Learnt
from fcnet.nn.rows import Rows

Array = NDArray[Any]

MANY_LEVELS = 20


@dataclass(frozen=True)
class Dataset:
    """Rows ready for a network, and all that was learned on the way.

    `inputs`: what the net gets. `y`: class indices (n,) int64 for binary and multiclass, else (n, n_out) of the dtype
    (multilabel: 0 or 1; regression: standardised if asked for). `w` (n,) float64 or None: row weight × class weight,
    scaled to mean 1 over the training rows, which weighs the loss; `row_weights` (n,) float64 or None, which weigh
    the scores. `parts`: rows of the inputs by part, (·,) int64, sorted. `part_hashes`: SHA-256 of
    each part's row numbers in its file. `resolved`: the config's section with everything found out written down.
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

    @property
    def x(self) -> Array:
        """The numbers among the inputs, (n, n_in) of the dtype."""
        return self.inputs.x


@dataclass(frozen=True)
class _Loaded:
    """One table and the rows of it that have a target."""

    table: Table
    rows: Array
    file: FileRecord | None


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
    poll: Callable[[], object] = quietly,
) -> Dataset:
    """The data that the config describes; files are relative to `base`, `data` stands in for `train`.

    With `fitted`, nothing is fitted: the same rows go through an encoder and a target of before. `learnt` is what the
    loss wants of the target. `order`: columns in the order of the inputs of a run that goes on. `strict` turns columns
    left out, extra columns and unseen categories into errors. Raises DataError, ConfigError, LimitError, StorageError.
    """
    _check(options)
    spelling = replace(grammar(options, dtype), settled=fitted is not None)
    notices: list[str] = []
    main, roles, delimiter = _read_train(options, base, spelling, data, fitted, poll)
    table = main.table
    if strict:
        table.refuse_left_out()
    notices += [*table.left_out, *table.notices]
    resolved = replace(
        options,
        delimiter=delimiter or options.delimiter,
        target=list(roles.targets) if len(roles.targets) > 1 else roles.targets[0],
    )
    if fitted is None:
        looks = _looks(table, roles, options, spelling, delimiter)
        roles, left_out = _left_out(table, roles, options, looks)
        if left_out and strict:
            raise DataError((Problem(f"{text}", file=table.file) for _, text in left_out))
        notices += [text for _, text in left_out]
        notices += _numbers_as_texts(roles, looks)
        names = [name for name, _ in left_out]
        resolved = replace(resolved, exclude=[*options.exclude, *names])
        main, dropped = _with_target(main, roles.targets, options)
        notices += dropped
        task, said = find_task(table, main.rows, options, roles.targets, spelling)
        notices += [said] if said else []
        check_labels(table, task, roles.targets[0], spelling, looks.get(roles.targets[0]))
        notices += alike(table.names)
        notices += giveaways(table, main.rows, roles)
        named = [(name, "category") for name in roles.features]
        named += [(roles.targets[0], "label")] if issubclass(TASKS[task], Classes) else []
        notices += [text for name, what in named for text in resemblances(table.columns[name], spelling, what)]
    else:
        main, dropped = _with_target(main, roles.targets, options)
        task = fitted[1].task
    resolved = replace(resolved, task=task)
    inner, more = _split(main, roles, resolved, task, spelling)
    notices += more
    training = main.rows[inner["train"]]
    if not len(training):
        raise DataError("no rows are left for training", file=table.file)
    if fitted is None:
        for name in roles.features:
            if table.columns[name].codes is not None:
                check_blanks(table.columns[name], table)
        wanted = Wanted(learnt, preprocess.target == "standard")
        target, more = TASKS[task].fit(table, training, roles.targets, options, spelling, wanted)
        notices += more
        encoder, more = fit_encoder(table, roles.features, training, preprocess, dtype, order)
        notices += more
    else:
        encoder, target = fitted
    loaded = {"train": main}
    for name in PARTS[1:]:
        path = getattr(options, name)
        if isinstance(path, str):
            part, more = _read_part(name, path, resolved, base, spelling, encoder, target, strict, poll)
            notices += more
            loaded[name] = part
    y, starts = _outputs(loaded, target, spelling, dtype)
    parts = {name: inner[name] for name in PARTS}
    hashed = {name: main.rows[inner[name]] for name in PARTS}
    for name, part in loaded.items():
        if name != "train":
            parts[name] = np.arange(starts[name], starts[name] + len(part.rows), dtype=np.int64)
            hashed[name] = part.rows
    row_weights = _row_weights(loaded, options.weight)
    w = _loss_weights(row_weights, target, y, parts["train"], table.file)
    row_weights = row_weights if target.class_weights is not None else w
    if fitted is None and target.class_weights is not None:
        notices.append("data.class_weight weighs the loss (val_loss too), and no metric")
    inputs, more = _inputs(loaded, encoder, dtype, strict)
    notices += more
    files = tuple(part.file for part in loaded.values() if part.file is not None)
    hashes = {name: rows_hash(rows) for name, rows in hashed.items()}
    return Dataset(task, inputs, y, w, row_weights, parts, hashes, encoder, target, resolved, files, tuple(notices))


def score(
    path: Path | object,
    options: Data,
    encoder: Encoder,
    target: Target,
    *,
    shown: str | None = None,
    strict: bool = False,
    poll: Callable[[], object] = quietly,
) -> Dataset:
    """All rows of another table as the part `test`, through an encoder and a target that were fitted before.

    `path`: a file, or a frame or arrays. `options`: the resolved section of the training.
    """
    spelling = replace(grammar(options, encoder.dtype), settled=True)
    notices: list[str] = []
    if isinstance(path, Path):
        part, notices = _read_part("test", str(path), options, Path(), spelling, encoder, target, strict, poll, shown)
    else:
        plan: Plan = lambda names: scoring_plan(encoder, target, options, names, "data")  # noqa: E731
        table = given(path, replace(options, target=_targets_of(target))).table(spelling, plan)
        part, notices = _with_target(
            _Loaded(table, np.arange(table.n), None), target.names, options, (target, spelling)
        )
        notices += _extra(encoder, target, table, strict)
    more: list[str] = []
    y, _ = _outputs({"test": part}, target, spelling, encoder.dtype)
    rows = np.arange(len(y), dtype=np.int64)
    weight = options.weight if options.weight in part.table.columns else None
    if options.weight is not None and weight is None:
        more.append(f'no column "{options.weight}": every row has weight 1')
    row_weights = _row_weights({"test": part}, weight)
    w = _loss_weights(row_weights, target, y)
    inputs, counted = _inputs({"test": part}, encoder, encoder.dtype, strict, ranges=True)
    more += counted
    none = np.zeros(0, dtype=np.int64)
    return Dataset(
        target.task,
        inputs,
        y,
        w,
        row_weights,
        {"train": none, "validation": none, "test": rows},
        {"test": rows_hash(part.rows)},
        encoder,
        target,
        options,
        () if part.file is None else (part.file,),
        (*part.table.notices, *notices, *more),
    )


def _targets_of(target: Target) -> str | list[str | int]:
    return target.names[0] if len(target.names) == 1 else list(target.names)


def _check(options: Data) -> None:
    check_delimiter(options.delimiter)
    files = [name for name in PARTS[1:] if isinstance(getattr(options, name), str)]
    if options.split.by == "column" and files:
        raise ConfigError(
            f"by: column names the parts, and data.{files[0]} is a file; choose one of the two", key="data.split.by"
        )
    fractions = [getattr(options, name) for name in PARTS[1:] if not isinstance(getattr(options, name), str)]
    if sum(fractions) >= 1:
        raise ConfigError(
            f"data.validation and data.test take {sum(fractions):g} of all rows, which leaves none to train on",
            key="data.validation",
        )


def _read_train(
    options: Data,
    base: Path,
    spelling: Grammar,
    data: object,
    fitted: tuple[Encoder, Target] | None,
    poll: Callable[[], object],
) -> tuple[_Loaded, Roles, str | None]:
    roles: list[Roles] = []
    path = base / Path(options.train).expanduser()
    handed = None if data is None else given(data, options)
    known = handed.options if handed else with_target(options) if path.suffix.lower() == ".npz" else options

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        found, wants = training_plan(known, names)
        roles.append(found)
        if fitted is not None:
            wants |= {
                feature.name: Want("number" if feature.kind == "number" else "text") for feature in fitted[0].features
            }
            there = set(names)
            lacking = [name for name in fitted[0].columns if name not in there]
            if lacking:
                raise DataError(f"no column {listed(lacking, 30)}, which the net was trained on", file=options.train)
        return wants

    if handed is not None:
        table = handed.table(spelling, plan)
        return _Loaded(table, np.arange(table.n), None), roles[-1], None
    request = Request(path, options.train, known, spelling, plan, expected=expected_names(known), poll=poll)
    reading = reader(path).read(request)
    record = FileRecord(path.resolve(), reading.sha256, reading.table.n, "train")
    return _Loaded(reading.table, np.arange(reading.table.n), record), roles[-1], reading.delimiter


def _read_part(
    role: str,
    path: str,
    options: Data,
    base: Path,
    spelling: Grammar,
    encoder: Encoder,
    target: Target,
    strict: bool,
    poll: Callable[[], object],
    shown: str | None = None,
) -> tuple[_Loaded, list[str]]:
    """A file of validation or test rows, read as training was, and notices of what it has too much."""
    where = base / Path(path).expanduser()
    shown = shown or path

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        return scoring_plan(encoder, target, options, names, shown)

    named = replace(options, target=_targets_of(target))
    prefer = None if options.delimiter == "auto" else options.delimiter
    request = Request(
        where, shown, named, spelling, plan, expected=encoder.columns, complete=True, prefer=prefer, poll=poll
    )
    reading = reader(where).read(request)
    record = FileRecord(where.resolve(), reading.sha256, reading.table.n, role)
    whole = _Loaded(reading.table, np.arange(reading.table.n), record)
    part, notices = _with_target(whole, target.names, options, (target, spelling))
    return part, notices + _extra(encoder, target, reading.table, strict)


def _extra(encoder: Encoder, target: Target, table: Table, strict: bool) -> list[str]:
    """The notice of columns that training did not have, which with `strict` is an error."""
    extra = extra_columns(encoder, target.names, table.names)
    if extra and strict:
        raise DataError(f"columns that training did not have: {listed(extra)}", file=table.file)
    if strict:
        table.refuse_left_out()
    said = [f"columns not used: {listed(extra)}"] if extra else []
    return [f"{table.file}: {text}" for text in (*said, *table.left_out)]


def _with_target(
    loaded: _Loaded, names: tuple[str, ...], options: Data, fitted: tuple[Target, Grammar] | None = None
) -> tuple[_Loaded, list[str]]:
    """The rows whose target is there; the others are an error, or with `missing_target: drop` a notice.

    The error names what else is wrong with the target too, where it was `fitted` before and that can be told.
    """
    table = loaded.table
    missing = missing_rows(table, names)
    if not missing.any():
        return loaded, []
    quoted = listed(names, 3)
    if options.missing_target == "error":
        settled = fitted is not None and fitted[1].settled
        cure = "fill it in, or leave the row out" if settled else "fill it in, or set data.missing_target=drop"
        rows = [(int(row), f"the target {quoted} is missing; {cure}") for row in np.flatnonzero(missing)]
        error = table.error(rows, "rows without a target")
        if fitted is not None:
            target, spelling = fitted
            try:
                target.encode(table, np.flatnonzero(~missing), spelling, "float64")
            except DataError as other:
                error = together(error, other)
        raise error
    n = int(missing.sum())
    if n == table.n:
        raise DataError(f"no row has the target {quoted}", file=table.file)
    text = f"{table.file}: left out {n:,} row{'s' if n > 1 else ''} whose target {quoted} is missing"
    return replace(loaded, rows=np.flatnonzero(~missing)), [text]


def _looks(table: Table, roles: Roles, options: Data, spelling: Grammar, delimiter: str | None) -> Mapping[str, Look]:
    """What the columns look like that are texts without being meant to, by name."""
    file = options.train if delimiter is not None and options.header and not options.skip else None
    forced = set(options.categorical)
    names = [name for name in (*roles.features, *roles.targets) if name not in forced]
    columns = [table.columns[name] for name in names if not table.columns[name].numeric]
    found = {column.name: looks_like_numbers(column, table.lines, spelling, file, delimiter) for column in columns}
    return {name: look for name, look in found.items() if look is not None}


def _numbers_as_texts(roles: Roles, looks: Mapping[str, Look]) -> list[str]:
    """A notice for each column that is read as categories or classes although its cells look like numbers."""
    return [
        f'column "{name}": {looks[name].what}; read as {"classes" if name in roles.targets else "categories"}; '
        f"if numbers are meant, {looks[name].cure}"
        for name in (*roles.features, *roles.targets)
        if name in looks
    ]


def _left_out(
    table: Table, roles: Roles, options: Data, looks: Mapping[str, Look]
) -> tuple[Roles, list[tuple[str, str]]]:
    """The roles without the features that are of no use as they are: (column, why)."""
    found: list[tuple[str, str]] = []
    forced = set(options.categorical)
    for name in roles.features:
        column = table.columns[name]
        if column.empty:
            found.append((name, f'column "{name}" is left out: it has no value'))
        elif not column.numeric and name not in forced:
            assert column.codes is not None
            cells, distinct = int((column.codes >= 0).sum()), len(column.levels)
            if distinct > MANY_LEVELS and 2 * distinct > cells:
                why = f"text with {distinct:,} different values in {cells:,} cells"
                said = f"{why}; list it under data.categorical to keep it"
                if look := looks.get(name):
                    said = f"{look.what}; list it under data.categorical to keep it as text, or {look.cure}"
                found.append((name, f'column "{name}" is left out: {said}'))
    if options.features == "all":
        useless = {*options.categorical, *(name for name, _ in found)}
        found += numbering(table, [name for name in roles.features if name not in useless])
    names = {name for name, _ in found}
    features = tuple(name for name in roles.features if name not in names)
    if not features:
        raise DataError(
            [
                *(Problem(text, file=table.file) for _, text in found[:5]),
                Problem("no column is left to predict from", file=table.file),
            ]
        )
    return replace(roles, features=features), found


def _split(
    main: _Loaded, roles: Roles, options: Data, task: Task, spelling: Grammar
) -> tuple[dict[str, Array], list[str]]:
    """The parts among the rows that have a target, as positions in them."""
    table = main.table
    if roles.split is not None:
        return _split_by_column(main, roles.split), []
    fractions = [0.0 if isinstance(f, str) else float(f) for f in (options.validation, options.test)]
    classes: Array | None = None
    labels: list[str] = []
    stratify = options.split.stratify
    classification = issubclass(TASKS[task], Classes)
    if stratify is True and not classification:
        raise ConfigError(f"stratify needs classes, and the task is {task}", key="data.split.stratify")
    if stratify and classification:
        column = table.columns[roles.targets[0]]
        codes, found = labels_of(column, spelling)
        classes, labels = codes[main.rows], [str(label) for label in found]
    return random_split(len(main.rows), fractions, options.split.seed, classes, labels, stratify is True, table.file)


def _split_by_column(main: _Loaded, name: str) -> dict[str, Array]:
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


def _outputs(
    loaded: Mapping[str, _Loaded], target: Target, spelling: Grammar, dtype: str
) -> tuple[Array, dict[str, int]]:
    """One y for all tables, and where each table's rows start in it."""
    starts: dict[str, int] = {}
    ys: list[Array] = []
    for name, part in loaded.items():
        starts[name] = sum(map(len, ys))
        ys.append(target.encode(part.table, part.rows, spelling, dtype))
    return np.concatenate(ys), starts


def _inputs(
    loaded: Mapping[str, _Loaded], encoder: Encoder, dtype: str, strict: bool, ranges: bool = False
) -> tuple[Rows, list[str]]:
    """The inputs of all tables, in their order, and notices. The tables' columns are used up: both would not fit."""
    matrix = _in_place(loaded, encoder, dtype)
    inputs = encoder.rows(sum(len(part.rows) for part in loaded.values())) if matrix is None else Rows(matrix)
    notices: list[str] = []
    at = 0
    for part in loaded.values():
        columns = part.table.columns
        for name in columns.keys() - set(encoder.columns):
            del columns[name]
        tally = Tally(strict, ranges)
        encoder.encode(part.table, tally, part.rows, inputs[at : at + len(part.rows)], consume=True)
        at += len(part.rows)
        prefix = f"{part.table.file}: " if len(loaded) > 1 else ""
        notices += [prefix + text for text in tally.notices()]
    return inputs, notices


def _in_place(loaded: Mapping[str, _Loaded], encoder: Encoder, dtype: str) -> Array | None:
    """The matrix that was read, where the inputs can take its place cell by cell."""
    if len(loaded) > 1:
        return None
    (part,) = loaded.values()
    table, matrix = part.table, part.table.matrix
    fits = (
        matrix is not None
        and matrix.dtype == dtype
        and matrix.shape == (len(part.rows), encoder.n_in)
        and tuple(feature.name for feature in encoder.features) == table.names[: encoder.n_in]
        and all(feature.kind == "number" for feature in encoder.features)
    )
    return matrix if fits else None


def _weight(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:g}"


def _row_weights(loaded: Mapping[str, _Loaded], weight: str | None) -> Array | None:
    """The cells of the column of weights, (n,) float64; None without one."""
    if weight is None:
        return None
    pieces: list[Array] = []
    for part in loaded.values():
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
    if target.class_weights is not None:
        w = w * target.class_weights[y]
    if training is None:
        return w
    total = float(w[training].mean())
    if not total > 0 or not np.isfinite(total):
        raise DataError("the weights of the training rows are all 0, or too large", file=file)
    return np.asarray(w / total)
