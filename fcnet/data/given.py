"""What a Python caller hands over (frames, arrays, (X, y)), as columns by name, and which of them are the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fcnet.data.arrays import array_of, feature_names, table_of_columns
from fcnet.data.columns import Wants
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data
from fcnet.data.table import Table
from fcnet.data.typed import same_cells
from fcnet.errors import DataError
from fcnet.records import dataclass


@dataclass(frozen=True)
class Given:
    """Columns by name, each (n,); the config's section with the target's name; what is to be said about the names."""

    columns: Mapping[str, Any]
    options: Data
    notices: tuple[str, ...] = ()

    def table(self, grammar: Grammar, plan: Wants) -> Table:
        """The columns as a table; DataError for what is no column of cells."""
        shapes = {name: values.shape for name, values in self.columns.items()}
        if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:5])
            raise DataError(f"the columns must be one-dimensional and of one length; found {found}", file="data")
        return table_of_columns(self.columns, grammar, plan, "data", self.notices)


def given(data: object, options: Data) -> Given:
    """The columns of a pandas or polars frame, of (X, y), of a mapping of columns or of the arrays x and y.

    X is a frame, a series or an array; y likewise, with a column for each target. The target is called as the config
    says, else as y calls itself, else `options.y`. A y called like a column of X that holds other values gets a name of
    its own: both were meant. Raises DataError for what is no table, and where X and y do not belong together.
    """
    x, y, names = data, None, None
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DataError(f"data is a tuple of {len(data)}; give (X, y)", file="data")
        x, y = data
    elif isinstance(data, Mapping):
        whole = data.get(options.x)
        if hasattr(whole, "columns") or len(array_of(whole).shape) == 2:
            x, y, names = whole, data.get(options.y), data.get("columns")
        if options.target is None and (options.x in data or options.y in data):
            options = replace(options, target=options.y) if y is None else options
    features = _by_name(x)
    if features is None:
        features = _by_number(x, names, options, type(data).__name__, alone=not isinstance(data, tuple | Mapping))
    return Given(features, options) if y is None else _joined(features, x, y, options)


def _joined(features: Mapping[str, Any], x: object, y: object, options: Data) -> Given:
    """The columns of X with those of y, under the names of the targets."""
    targets, wanted = _targets(y, options)
    n, rows = (len(next(iter(columns.values()), ())) for columns in (features, targets))
    if n != rows:
        raise DataError(f"X has {n:,} rows and y {rows:,}; both must have as many rows", file="data")
    _check_index(x, y)
    columns, names, notices = dict(features), [], []
    for name, values in targets.items():
        called = name
        if name in features and same_cells(features[name], values):
            notices.append(f'X holds the target "{name}" too; nothing is predicted from it')
        elif name in features:
            if wanted is not None:
                raise DataError(
                    f'"{name}" names a column of X and the target, with different values; give data.target another '
                    "name",
                    file="data",
                )
            while called in features or called in targets:
                called += " (target)"
            notices.append(f'y is called "{called}": "{name}" is a column of X, with other values')
        columns[called] = values
        names.append(called)
    target: Any = wanted if wanted is not None else names[0] if len(names) == 1 else names
    return Given(columns, replace(options, target=target), tuple(notices))


def _targets(y: object, options: Data) -> tuple[dict[str, Any], str | int | list[str | int] | None]:
    """The columns of y by the targets' names, and the names that the config gives, if it does."""
    wanted = options.target
    names = None if wanted is None else [str(name) for name in (wanted if isinstance(wanted, list) else [wanted])]
    found = _by_name(y)
    if found is None:
        values = array_of(y)
        if len(values.shape) not in (1, 2):
            raise DataError(
                f"y has the shape {values.shape}; give a value, or a row of values, for each row of X", file="data"
            )
        parts = [values] if len(values.shape) == 1 else list(values.T)
        called = [options.y] if len(parts) == 1 else [f"{options.y}{j}" for j in range(len(parts))]
        found = dict(zip(called, parts, strict=True))
    if names is None:
        return found, None
    if set(names) <= set(found):
        return {name: found[name] for name in names}, wanted
    if len(names) != len(found):
        raise DataError(
            f"y has {len(found)} column{'' if len(found) == 1 else 's'}, and data.target names {len(names)}; "
            "list a name for each",
            file="data",
        )
    return dict(zip(names, found.values(), strict=True)), wanted


def _by_name(data: Any) -> dict[str, Any] | None:
    """The columns of a frame, a mapping, or a series with a name; None for what has no names."""
    if isinstance(data, Mapping):
        return {str(name): array_of(values) for name, values in data.items()}
    if type(data).__name__ == "LazyFrame":
        raise DataError("a LazyFrame has no rows yet; give what its collect() returns", file="data")
    if not hasattr(data, "to_numpy"):
        return None
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        names = list(map(str, data.columns))
        twice = next((name for name, n in Counter(names).items() if n > 1), None)
        if twice is not None:
            raise DataError(f'two columns are named "{twice}"; rename one', file="data")
        return {str(name): array_of(data[name]) for name in data.columns}
    name = getattr(data, "name", None)
    return None if name is None or name == "" else {str(name): array_of(data)}


def _by_number(x: object, names: object, options: Data, kind: str, alone: bool) -> dict[str, Any]:
    """The columns of an array, called x0, x1, … or as `names` says."""
    array = array_of(x)
    columns = [array] if len(array.shape) == 1 and not alone else list(array.T) if len(array.shape) == 2 else []
    if alone and not columns:
        raise DataError(f"data is {kind}; give a pandas or polars frame, (X, y), or a mapping of arrays", file="data")
    if not columns:
        raise DataError(f'"{options.x}" has the shape {array.shape}; it must be rows × columns', file="data")
    called = feature_names(None if names is None else np.asarray(names), len(columns), "data")
    return dict(zip(called, columns, strict=True))


def _check_index(x: Any, y: Any) -> None:
    """DataError where X and y both have an index of pandas and label their rows differently.

    By place, two rows would be joined that pandas itself would never join; by label, those who reset one index alone
    would get other rows than they mean. So the caller says which.
    """
    if not all(hasattr(getattr(each, "index", None), "equals") for each in (x, y)) or x.index.equals(y.index):
        return
    a, b = x.index.tolist(), y.index.tolist()
    at = next((i for i, (one, other) in enumerate(zip(a, b, strict=True)) if one != other), 0)
    cure = "y.to_numpy() where its rows are in the order of X"
    if sorted(map(str, a)) == sorted(map(str, b)):
        cure = f"y.loc[X.index], or {cure}"
    raise DataError(f"X and y have different indexes (row index {at}: {a[at]} and {b[at]}); give {cure}", file="data")
