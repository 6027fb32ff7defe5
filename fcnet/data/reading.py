"""Reads tables for a run: which rows have a target, which column plays which part, what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.arrays import with_target
from fcnet.data.columns import Want
from fcnet.data.cures import from_stdin
from fcnet.data.dialect import check_delimiter
from fcnet.data.doubts import alike, giveaways
from fcnet.data.encode import Encoder, listed
from fcnet.data.given import given
from fcnet.data.looks import Look, looks_like_numbers
from fcnet.data.numbering import numbering
from fcnet.data.numbers import Grammar, grammar
from fcnet.data.opened import FileRecord
from fcnet.data.options import Data, Folds
from fcnet.data.problems import together
from fcnet.data.readers import Request, quietly, reader
from fcnet.data.resemblance import resemblances
from fcnet.data.roles import Roles, expected_names, extra_columns, scoring_plan, training_plan
from fcnet.data.table import Table
from fcnet.data.target import TASKS, Classes, Target, check_labels, find_task, missing_rows
from fcnet.errors import DataError, Problem
from fcnet.records import dataclass

Array = NDArray[Any]

MANY_LEVELS = 20


@dataclass(frozen=True)
class Read:
    """A table, and the `rows` (n,) of it that have a target; the other members of a data set are made of such.

    `options` is the config's section with everything found out written down, `file` what the rows came from.
    """

    table: Table
    rows: Array
    file: FileRecord | None
    roles: Roles
    options: Data
    spelling: Grammar
    notices: tuple[str, ...] = ()


def read(
    options: Data,
    *,
    base: Path = Path(),
    dtype: str = "float32",
    data: object = None,
    fitted: tuple[Encoder, Target] | None = None,
    cv: Folds | None = None,
    strict: bool = False,
    poll: Callable[[], object] = quietly,
) -> Read:
    """The table of training, or `data` in its place: its columns typed, their roles and the task found out.

    With `fitted`, columns are read as they were when encoder and target were fitted, and nothing is found out. `cv`: in
    folds by which column rows are to be dealt out, if by any.
    """
    check_delimiter(options.delimiter)
    spelling = replace(grammar(options, dtype), settled=fitted is not None)
    table, file, roles, delimiter = _training(options, base, spelling, data, fitted, cv, poll)
    if strict:
        table.refuse_left_out()
    notices = [*table.left_out, *table.notices]
    resolved = replace(options, delimiter=delimiter or options.delimiter, target=_one_or_all(roles.targets))
    if fitted is not None:
        rows, dropped = _with_target(table, roles.targets, options)
        resolved = replace(resolved, task=fitted[1].task)
        return Read(table, rows, file, roles, resolved, spelling, (*notices, *dropped))
    looks = _looks(table, roles, options, spelling, delimiter)
    roles, left_out = _left_out(table, roles, options, looks)
    if left_out and strict:
        raise DataError((Problem(f"{text}", file=table.file) for _, text in left_out))
    notices += [text for _, text in left_out]
    notices += _numbers_as_texts(roles, looks)
    rows, dropped = _with_target(table, roles.targets, options)
    notices += dropped
    task, said = find_task(table, rows, options, roles.targets, spelling)
    notices += [said] if said else []
    check_labels(table, task, roles.targets[0], spelling, looks.get(roles.targets[0]))
    notices += alike(table.names)
    notices += giveaways(table, rows, roles)
    named = [(name, "category") for name in roles.features]
    named += [(roles.targets[0], "label")] if issubclass(TASKS[task], Classes) else []
    notices += [text for name, what in named for text in resemblances(table.columns[name], spelling, what)]
    resolved = replace(resolved, task=task, exclude=[*options.exclude, *(name for name, _ in left_out)])
    return Read(table, rows, file, roles, resolved, spelling, tuple(notices))


def read_alike(
    role: str,
    source: object,
    options: Data,
    encoder: Encoder,
    target: Target,
    *,
    shown: str | None = None,
    settled: bool = True,
    strict: bool = False,
    poll: Callable[[], object] = quietly,
) -> Read:
    """Another table, of the part `role`, read as training was; its notices are of what it lacks or has too much.

    `source`: a path, or a frame or arrays; `options`: the resolved section of the training, which is `settled` once a
    net is trained with it.
    """
    spelling = replace(grammar(options, encoder.dtype), settled=settled)
    named = replace(options, target=_one_or_all(target.names))
    file = shown or (str(source) if isinstance(source, Path) else "data")
    record = None

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        return scoring_plan(encoder, target, options, names, file)

    if isinstance(source, Path):
        prefer = None if options.delimiter == "auto" else options.delimiter
        request = Request(
            source, file, named, spelling, plan, expected=encoder.columns, complete=True, prefer=prefer, poll=poll
        )
        reading = reader(source).read(request)
        table, record = reading.table, FileRecord(source.resolve(), reading.sha256, reading.table.n, role)
    else:
        table = given(source, named).table(spelling, plan)
    rows, notices = _with_target(table, target.names, options, (target, spelling))
    notices += _extra(encoder, target, table, strict)
    weight = options.weight if options.weight in table.columns else None
    roles = Roles(encoder.columns, target.names, weight, None)
    return Read(table, rows, record, roles, options, spelling, tuple(notices))


def _one_or_all(names: tuple[str, ...]) -> str | list[str | int]:
    return names[0] if len(names) == 1 else list(names)


def _training(
    options: Data,
    base: Path,
    spelling: Grammar,
    data: object,
    fitted: tuple[Encoder, Target] | None,
    cv: Folds | None,
    poll: Callable[[], object],
) -> tuple[Table, FileRecord | None, Roles, str | None]:
    """The table, its file, the roles that the config gives to its columns, and the delimiter that was found."""
    roles: list[Roles] = []
    path = base / Path(options.train).expanduser()
    handed = None if data is None else given(data, options)
    known = handed.options if handed else with_target(options) if path.suffix.lower() == ".npz" else options

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        found, wants = training_plan(known, names, cv)
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
        return handed.table(spelling, plan), None, roles[-1], None
    request = Request(path, options.train, known, spelling, plan, expected=expected_names(known), poll=poll)
    reading = reader(path).read(request)
    record = FileRecord(path.resolve(), reading.sha256, reading.table.n, "train")
    return reading.table, record, roles[-1], reading.delimiter


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
    table: Table, names: tuple[str, ...], options: Data, fitted: tuple[Target, Grammar] | None = None
) -> tuple[Array, list[str]]:
    """The rows whose target is there; the others are an error, or with `missing_target: drop` a notice.

    The error names what else is wrong with the target too, where it was `fitted` before and that can be told.
    """
    missing = missing_rows(table, names)
    if not missing.any():
        return np.arange(table.n), []
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
    return np.flatnonzero(~missing), [text]


def _looks(table: Table, roles: Roles, options: Data, spelling: Grammar, delimiter: str | None) -> Mapping[str, Look]:
    """What the columns look like that are texts without being meant to, by name."""
    again = delimiter is not None and options.header and not options.skip and not from_stdin(options.train)
    file = options.train if again else None
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
