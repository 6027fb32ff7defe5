"""Which column of the table plays which part: target, feature, weight, name of the part; or none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcnet.data.columns import Want
from fcnet.data.encode import Encoder, listed
from fcnet.data.options import Data
from fcnet.data.target import Target
from fcnet.errors import ConfigError, DataError, Problem


@dataclass(frozen=True)
class Roles:
    """The columns of a table by their parts, in the order of the file."""

    features: tuple[str, ...]
    targets: tuple[str, ...]
    weight: str | None
    split: str | None


def find_roles(options: Data, names: Sequence[str]) -> Roles:
    """The roles that the config gives to the columns; ConfigError for every name that is not among them."""
    problems: list[Problem] = []

    def check(wanted: Sequence[str], key: str) -> None:
        problems.extend(Problem(_no_column(name, names), key=key) for name in wanted if name not in names)

    targets = find_targets(options, names, problems)
    weight = options.weight
    split = options.split.column if options.split.by == "column" else None
    if options.features != "all":
        check(options.features, "data.features")
    check(options.exclude, "data.exclude")
    check(options.categorical, "data.categorical")
    check([weight] if weight is not None else [], "data.weight")
    check([split] if split is not None else [], "data.split.column")
    if options.split.by == "column" and split is None:
        problems.append(Problem("by: column needs the column's name", key="data.split.column"))
    others = {"data.weight": weight, "data.split.column": split}
    for name in targets:
        if options.features != "all" and name in options.features:
            problems.append(Problem(f'"{name}" is the target; take it out of one of the two', key="data.features"))
        if name in options.exclude:
            problems.append(Problem(f'"{name}" is the target; take it out of one of the two', key="data.exclude"))
        for key, other in others.items():
            if other == name:
                problems.append(Problem(f'"{name}" is the target', key=key))
    if problems:
        raise ConfigError(problems)
    taken = {*targets, *options.exclude, weight, split}
    wanted = names if options.features == "all" else options.features
    features = tuple(name for name in names if name in wanted and name not in taken)
    if not features:
        raise ConfigError("no column is left to predict from", key="data.features")
    return Roles(features, tuple(targets), weight, split)


def find_targets(options: Data, names: Sequence[str], problems: list[Problem]) -> list[str]:
    """The names of the target columns; what is wrong with them goes to `problems`."""
    if options.target is None:
        problems.append(
            Problem(f"is missing: name the column to predict; the columns are {listed(names, 30)}", key="data.target")
        )
        return []
    targets: list[str] = []
    for target in options.target if isinstance(options.target, list) else [options.target]:
        name = str(target)
        if name not in names and not options.header and name.lstrip("-").isdigit():
            index = int(name)
            if -len(names) <= index < len(names):
                name = names[index]
            else:
                problems.append(
                    Problem(f"{index}: the table has {len(names)} columns, 0 to {len(names) - 1}", key="data.target")
                )
                continue
        if name not in names:
            problems.append(Problem(_no_column(name, names), key="data.target"))
        elif name in targets:
            problems.append(Problem(f'"{name}" is listed twice', key="data.target"))
        else:
            targets.append(name)
    if not targets and not problems:
        problems.append(Problem("the list is empty: name the column to predict", key="data.target"))
    return targets


def _no_column(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    meant = f'; did you mean "{near[0]}"?' if near else ";"
    return f'no column "{name}"{meant} the columns are {listed(names, 30)}'


def expected_names(options: Data) -> tuple[str, ...]:
    """Names by which a header can be told from data."""
    targets = options.target if isinstance(options.target, list) else [options.target]
    features = [] if options.features == "all" else options.features
    return tuple(str(name) for name in (*targets, *features, *options.exclude) if name is not None)


def training_plan(options: Data, names: Sequence[str]) -> tuple[Roles, dict[str, Want]]:
    """The roles, and how to read each column when its type is yet to be found."""
    roles = find_roles(options, names)
    wants = {name: Want("text" if name in options.categorical else "auto") for name in roles.features}
    wants |= {name: Want("text" if name in options.categorical else "both") for name in roles.targets}
    if roles.weight is not None:
        wants[roles.weight] = Want("number")
    if roles.split is not None:
        wants[roles.split] = Want("text")
    return roles, wants


def fitted_plan(encoder: Encoder, names: Sequence[str], file: str) -> dict[str, Want]:
    """How to read the features of a table as training read them; DataError naming those that it lacks."""
    lacking = [name for name in encoder.columns if name not in names]
    if lacking:
        raise DataError(
            f"no column {listed(lacking, 30)}, which the net was trained on; the file has {listed(names, 30)}",
            file=file,
        )
    return {feature.name: Want("number" if feature.kind == "number" else "text") for feature in encoder.features}


def scoring_plan(encoder: Encoder, target: Target, options: Data, names: Sequence[str], file: str) -> dict[str, Want]:
    """As `fitted_plan`, with the target, and with the weights where the file has them."""
    wants = fitted_plan(encoder, names, file)
    lacking = [name for name in target.names if name not in names]
    if lacking:
        raise DataError(f"no target column {listed(lacking)}; the file has {listed(names, 30)}", file=file)
    numbers = target.classes is None or target.numeric
    for name in target.names:
        wants[name] = Want("both" if numbers else "text")
    if options.weight is not None and options.weight in names:
        wants[options.weight] = Want("number")
    return wants


def extra_columns(encoder: Encoder, known: Mapping[str, object] | Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of a file that training knew nothing of."""
    return [name for name in names if name not in encoder.names and name not in known]
