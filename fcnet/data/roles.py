"""Which column of the table plays which part: target, feature, weight, name of the part; or none."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from fcnet.data.columns import Want
from fcnet.data.cures import typed
from fcnet.data.encode import Encoder, listed
from fcnet.data.options import Data, Folds
from fcnet.data.problems import SHOWN
from fcnet.data.target import Target
from fcnet.errors import ConfigError, DataError, Problem, more
from fcnet.records import dataclass

LONGEST = 100
"""Characters of a name to which others are compared, and which is compared to them."""


@dataclass(frozen=True)
class Roles:
    """The columns of a table by their parts, in the order of the file."""

    features: tuple[str, ...]
    targets: tuple[str, ...]
    weight: str | None
    split: str | None
    teacher: tuple[str, ...] = ()
    fold: str | None = None


def find_roles(options: Data, names: Sequence[str], cv: Folds | None = None) -> Roles:
    """The roles that the config gives to the columns; ConfigError for every name that is not among them."""
    fold = None if cv is None else cv.column
    problems = lacking(options, names, fold)
    targets = find_targets(options, names, problems)
    weight = options.weight
    split = options.split.column if options.split.by == "column" else None
    if options.split.by == "column" and split is None:
        problems.append(Problem("by: column needs the column's name", key="data.split.column"))
    teacher = tuple(options.teacher) if isinstance(options.teacher, list) else ()
    others = {"data.weight": weight, "data.split.column": split, "cv.column": fold}
    others |= {f"data.teacher.{i}": name for i, name in enumerate(teacher)}
    listed_features, excluded = set(options.features if options.features != "all" else ()), set(options.exclude)
    for name in targets:
        if name in listed_features:
            problems.append(Problem(f'"{name}" is the target; take it out of one of the two', key="data.features"))
        if name in excluded:
            problems.append(Problem(f'"{name}" is the target; take it out of one of the two', key="data.exclude"))
        for key, other in others.items():
            if other == name:
                problems.append(Problem(f'"{name}" is the target', key=key))
    if problems:
        raise ConfigError(problems)
    taken = {*targets, *excluded, *teacher, weight, split, fold}
    wanted = set(names) if options.features == "all" else listed_features
    features = tuple(name for name in names if name in wanted and name not in taken)
    if not features:
        raise ConfigError("no column is left to predict from", key="data.features")
    return Roles(features, tuple(targets), weight, split, teacher, fold)


def find_targets(options: Data, names: Sequence[str], problems: list[Problem]) -> list[str]:
    """The names of the target columns that are there; what else is wrong with them goes to `problems`."""
    if options.target is None:
        problems.append(
            Problem(f"is missing: name the column to predict; the columns are {listed(names, 30)}", key="data.target")
        )
        return []
    wanted = options.target if isinstance(options.target, list) else [options.target]
    there = set(names)
    targets: dict[str, None] = {}
    for target in wanted:
        name = _target(target, options, names, there)
        if name in targets:
            problems.append(Problem(f'"{name}" is listed twice', key="data.target"))
        elif name in there:
            targets[name] = None
    if not wanted:
        problems.append(Problem("the list is empty: name the column to predict", key="data.target"))
    return list(targets)


def _target(target: str | int, options: Data, names: Sequence[str], there: Collection[str]) -> str:
    """The name of a target column, which without a header may be given by its number; `there` is the set of names."""
    name = str(target)
    number = re.fullmatch("-?[0-9]{1,9}", name)
    if name not in there and not options.header and number and -len(names) <= int(name) < len(names):
        return names[int(name)]
    return name


def lacking(options: Data, names: Sequence[str], fold: str | None = None) -> list[Problem]:
    """A problem for each column that the config names and the table lacks, with its key.

    The first five are spelled out; if there are several, the columns that there are follow once for all.
    """
    targets = options.target if isinstance(options.target, list) else [options.target]
    there = set(names)
    mentioned: list[tuple[str, Sequence[str | None]]] = [
        ("data.target", [None if target is None else _target(target, options, names, there) for target in targets]),
        ("data.features", [] if options.features == "all" else options.features),
        ("data.exclude", options.exclude),
        ("data.categorical", options.categorical),
        ("data.teacher", options.teacher if isinstance(options.teacher, list) else []),
        ("data.weight", [options.weight]),
        ("data.split.column", [options.split.column if options.split.by == "column" else None]),
        ("cv.column", [fold]),
    ]
    found = [
        (f"{key}.{i}" if isinstance(getattr(options, key.removeprefix("data."), None), list) else key, name)
        for key, wanted in mentioned
        for i, name in enumerate(wanted)
        if name is not None and name not in there
    ]
    texts = [(key, f'no column "{name}"{_meant(key, name, names)}') for key, name in found[:SHOWN]]
    columns = f"the columns are {listed(names, 30)}"
    if len(found) == 1:
        key, text = texts[0]
        return [Problem(f"{text}{'' if text.endswith('?') else ';'} {columns}", key=key)]
    rest = f"{more(len(found) - SHOWN, 'columns that are not there')}; " if len(found) > SHOWN else ""
    problems = [Problem(text, key=key) for key, text in texts]
    return [*problems, Problem(rest + columns, file=options.train or "data")] if found else []


def _meant(key: str, name: str, names: Sequence[str]) -> str:
    """`; did you mean …?`, or which character separates the names where nothing was separated, here or there."""
    several = [part.strip() for part in name.split(",")]
    if key == "data.target" and len(several) > 1 and set(several) <= {*names}:
        options = " ".join(f"--target {shlex.quote(part)}" for part in several)
        return f"; did you mean {typed(key, several)}? as options that is {options}"
    # The comparison goes by the product of the lengths, and nobody mistypes a name of hundreds of characters.
    short = [other for other in names if len(other) <= LONGEST] if len(name) <= LONGEST else []
    near = difflib.get_close_matches(name, short, 1)
    if near:
        return f'; did you mean "{near[0]}"?'
    mark = next((c for c in names[0] if not c.isalnum() and name in names[0].split(c)), "") if len(names) == 1 else ""
    return f"; did you mean {typed('data.delimiter', mark)}?" if mark else ""


def expected_names(options: Data) -> tuple[str, ...]:
    """Names by which a header can be told from data."""
    targets = options.target if isinstance(options.target, list) else [options.target]
    features = [] if options.features == "all" else options.features
    return tuple(str(name) for name in (*targets, *features, *options.exclude) if name is not None)


def training_plan(options: Data, names: Sequence[str], cv: Folds | None = None) -> tuple[Roles, dict[str, Want]]:
    """The roles, and how to read each column when its type is yet to be found."""
    roles = find_roles(options, names, cv)
    categorical = set(options.categorical)
    wants = {name: Want("text" if name in categorical else "auto") for name in roles.features}
    wants |= {name: Want("text" if name in categorical else "both") for name in roles.targets}
    wants |= {name: Want("number") for name in (roles.weight, *roles.teacher) if name is not None}
    if roles.split is not None:
        wants[roles.split] = Want("text")
    if roles.fold is not None:
        wants[roles.fold] = Want("auto" if cv is not None and cv.by == "time" else "text")
    return roles, wants


def _unseparated(names: Sequence[str]) -> str:
    """What may be wrong with a table of one column that is to have several, and for which there is no config."""
    return "; are its fields separated as those of the training were?" if len(names) == 1 else ""


def fitted_plan(encoder: Encoder, names: Sequence[str], file: str) -> dict[str, Want]:
    """How to read the features of a table as training read them; DataError naming those that it lacks."""
    there = set(names)
    lacking = [name for name in encoder.columns if name not in there]
    if lacking:
        raise DataError(
            f"no column {listed(lacking, 30)}, which the net was trained on; the file has {listed(names, 30)}"
            f"{_unseparated(names)}",
            file=file,
        )
    return {feature.name: Want("number" if feature.kind == "number" else "text") for feature in encoder.features}


def scoring_plan(encoder: Encoder, target: Target, options: Data, names: Sequence[str], file: str) -> dict[str, Want]:
    """As `fitted_plan`, with the target, and with the weights where the file has them."""
    wants = fitted_plan(encoder, names, file)
    there = set(names)
    lacking = [name for name in target.names if name not in there]
    if lacking:
        raise DataError(f"no target column {listed(lacking)}; the file has {listed(names, 30)}", file=file)
    numbers = target.classes is None or target.numeric
    for name in target.names:
        wants[name] = Want("both" if numbers else "text")
    if options.weight is not None and options.weight in there:
        wants[options.weight] = Want("number")
    return wants


def extra_columns(encoder: Encoder, known: Mapping[str, object] | Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of a file that training knew nothing of."""
    expected = {*encoder.names, *known}
    return [name for name in names if name not in expected]
