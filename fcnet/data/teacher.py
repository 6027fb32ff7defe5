"""A teacher: what another model says of the rows, from which the net learns beside their own targets.

Probabilities of classes and labels, or numbers, in columns of the table or in a file of predictions such as
`fcnet predict` writes, a row for each row of the table, in the same order (Hinton, Vinyals and Dean 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.columns import Want
from fcnet.data.encode import listed
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data
from fcnet.data.readers import Request, quietly, reader
from fcnet.data.reading import Read
from fcnet.data.table import Table
from fcnet.data.target import Target
from fcnet.errors import ConfigError, DataError

Array = NDArray[Any]


def asked(main: Read, target: Target, base: Path, poll: Callable[[], object] = quietly) -> Table | None:
    """The table that holds what the teacher says, the training's own or that of a file; None without a teacher.

    DataError where a file has not a row for each of the training table's.
    """
    said = main.options.teacher
    return _read(said, main, target, base, poll) if isinstance(said, str) else None if said is None else main.table


def heard(main: Read, target: Target, table: Table | None) -> Array | None:
    """What the teacher says in `table` of `main.rows`, (n, width) float64 as `target.mixed` wants it; None without one.

    NaN where its cells of a row are all missing: there the row's own target stands alone. DataError for what is no
    probability or no number.
    """
    options = main.options
    if table is None:
        return None
    names = _in_order(options.teacher, target) if isinstance(options.teacher, list) else target.lesson
    cells = np.stack([table.columns[name].numbers()[main.rows] for name in names], axis=1)
    missing = np.isnan(cells)
    some = missing.any(axis=1) & ~missing.all(axis=1)
    p, wrong = target.heard(np.where(missing, 0.0, cells))
    told = ~missing.all(axis=1)
    bad = np.flatnonzero(some | (told & (wrong != "")))
    if len(bad):
        why = [
            (int(main.rows[i]), "some of the teacher's cells are missing" if some[i] else str(wrong[i])) for i in bad
        ]
        raise table.error(why, "rows that say no such thing")
    if not told.any():
        raise DataError(f"the teacher {_shown(options)} says nothing of any row", file=table.file)
    p[~told] = np.nan
    return p


def _shown(options: Data) -> str:
    said = options.teacher
    return listed(said) if isinstance(said, list) else f'"{said}"'


def _in_order(said: Sequence[str], target: Target) -> list[str]:
    """The columns in the order of the classes, labels or targets: by their names, else as they are listed."""
    names = target.lesson
    if set(names) == set(said):
        return names
    if len(said) == len(names) or (len(said) == 1 and len(names) == 2 and target.shares and said[0] != names[0]):
        return list(said)
    raise ConfigError(
        f"{len(said)} columns, and {len(names)} are needed: {listed(names)}, or others in this order",
        key="data.teacher",
    )


def _read(file: str, main: Read, target: Target, base: Path, poll: Callable[[], object]) -> Table:
    """The table of a file of predictions, a row for each row of the training table."""

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        lacking = [name for name in target.lesson if name not in names]
        if lacking:
            text = f"no column {listed(lacking)}, from which to learn; the file has {listed(names, 30)}"
            raise DataError(text, file=file)
        return {name: Want("number") for name in target.lesson}

    path = base / Path(file).expanduser()
    if file in main.table.names and not path.exists():
        raise ConfigError(f'"{file}" is a column; write ["{file}"], as a text names a file', key="data.teacher")
    spelling = Grammar(limit=main.spelling.limit, dtype=main.spelling.dtype)  # as predictions are written
    request = Request(path, file, Data(train=file), spelling, plan, tuple(target.lesson), complete=True, poll=poll)
    table = reader(path).read(request).table
    if table.n != main.table.n:
        raise DataError(
            f"it has {table.n:,} rows, and {main.table.file} {main.table.n:,}: it must say something of each, in their "
            "order",
            file=file,
        )
    return table
