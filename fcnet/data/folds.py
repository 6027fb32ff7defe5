"""A table dealt into folds: it is read once, and encoded anew for each by what its own training rows have taught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.data.dataset import Dataset, Fit, Partition, encode, fit, labels_to_stratify, partition, taught
from fcnet.data.options import Data, Folds, Preprocess
from fcnet.data.readers import quietly
from fcnet.data.reading import Read, read, read_alike
from fcnet.data.spelling import in_time, keys
from fcnet.data.split import folds_at_random, folds_in_time, folds_of_groups
from fcnet.data.table import Table
from fcnet.data.teacher import asked, heard
from fcnet.errors import DataError
from fcnet.nn.losses import Learnt
from fcnet.nn.rows import Rows
from fcnet.records import dataclass

Array = NDArray[Any]


@dataclass(frozen=True)
class Folded:
    """The table with the parts of each fold; `whole` is what all rows but those of the test have taught, its part
    `train` these rows, and its inputs are of no width. `teacher`: what holds another model's answers, see `asked`.
    """

    tables: Mapping[str, Read]
    whole: Dataset
    known: Fit
    parts: tuple[Partition, ...]
    preprocess: Preprocess
    learnt: Learnt
    by_time: bool
    teacher: Table | None

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def largest(self) -> int:
        """The fold with the most training rows, the first of such."""
        return int(np.argmax([len(part.rows["train"]) for part in self.parts]))

    def fold(self, i: int) -> Dataset:
        """The data of one fold: the rows that it holds out are its part `validation`."""
        main, dtype = self.tables["train"], self.whole.encoder.dtype
        order = [feature.name for feature in self.known.encoder.features]
        known = fit(main, self.parts[i], self.preprocess, dtype=dtype, learnt=self.learnt, order=order, like=self.known)
        found = encode(self.tables, self.parts[i], replace(known, notices=()))
        return replace(taught(found, heard(main, known.target, self.teacher)), notices=self.whole.notices)

    @property
    def bytes(self) -> int:
        """What the table takes in memory, while the folds are trained."""
        columns = [column for part in self.tables.values() for column in part.table.columns.values()]
        arrays = [array for column in columns for array in (*column.chunks, column.codes) if array is not None]
        return sum(array.nbytes for array in arrays)


def folded(
    options: Data,
    preprocess: Preprocess,
    cv: Folds,
    *,
    base: Path = Path(),
    dtype: str = "float32",
    learnt: Learnt = "numbers",
    data: object = None,
    order: Sequence[str] = (),
    strict: bool = False,
    teacher: bool = True,
    poll: Callable[[], object] = quietly,
) -> Folded:
    """The data that the config describes, in folds; arguments and errors are those of `load`."""
    main = read(replace(options, validation=0.0), base=base, dtype=dtype, data=data, cv=cv, strict=strict, poll=poll)
    parts = partition(main)
    pool = np.sort(np.concatenate([parts.rows["train"], parts.rows["validation"]]))
    empty, rows = pool[:0], {"test": parts.rows["test"]}
    dealt, said = _dealt(main, pool, cv)
    all_rows = Partition({**rows, "train": pool, "validation": empty}, (*parts.notices, *said))
    known = fit(main, all_rows, preprocess, dtype=dtype, learnt=learnt, order=order)
    tables = {"train": main}
    if isinstance(options.test, str):
        path, about = base / Path(options.test).expanduser(), (main.options, known.encoder, known.target)
        tables["test"] = read_alike("test", path, *about, shown=options.test, settled=False, strict=strict, poll=poll)
    whole = encode(tables, all_rows, known, strict=strict)
    whole = replace(whole, inputs=Rows(np.empty((len(whole.inputs), 0), dtype)))
    own = tuple(Partition({**rows, "train": pool[trained], "validation": pool[held]}) for trained, held in dealt)
    answers = asked(main, known.target, base, poll) if teacher else None
    return Folded(tables, whole, known, own, preprocess, learnt, cv.by == "time", answers)


def _dealt(main: Read, pool: Array, cv: Folds) -> tuple[list[tuple[Array, Array]], list[str]]:
    """For each fold the rows that are learnt from and those that are held out, as places in `pool`; and notices."""
    n, table = len(pool), main.table
    if n < cv.folds:
        raise DataError(
            f"{n} rows cannot be dealt into {cv.folds} folds; give more rows, or fewer folds", file=table.file
        )
    if cv.by == "time":
        found = folds_in_time(_times(main, pool), cv.folds)
        if found is None:
            text = f'column "{cv.column}": too few different times for {cv.folds} folds; give fewer folds'
            raise DataError(text, file=table.file)
        return found, []
    notices: list[str] = []
    if cv.by == "group":
        groups = _groups(main, pool)
        if (there := int(groups.max()) + 1) < cv.folds:
            text = f'column "{cv.column}": {there} groups cannot be dealt into {cv.folds} folds; give fewer folds'
            raise DataError(text, file=table.file)
        held = folds_of_groups(groups, cv.folds, cv.repeats, cv.seed)
    else:
        classes, labels = labels_to_stratify(main)
        held, alone = folds_at_random(n, cv.folds, cv.repeats, cv.seed, None if classes is None else classes[pool])
        if (others := n - len(alone)) < cv.folds:
            text = f"{others} rows of classes with two rows and more cannot be dealt into {cv.folds} folds"
            raise DataError(f"{text}; give more rows, or fewer folds", file=table.file)
        if len(alone):
            assert classes is not None
            names = ", ".join(f'"{labels[classes[pool[i]]]}"' for i in alone[:5])
            rest = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            text = f"classes of one row, which no fold can hold out: {names}{rest}"
            if main.options.split.stratify is True:
                raise DataError(f"{text}; set data.split.stratify: auto, or drop them", file=table.file)
            notices.append(text)
    return [(np.setdiff1d(np.arange(n), rows), rows) for rows in held], notices


def _groups(main: Read, pool: Array) -> Array:
    """The group of each row of `pool`, (n,) int64 from 0."""
    column = main.table.columns[main.roles.fold or ""]
    assert column.codes is not None
    codes = column.codes[main.rows[pool]]
    _refuse_missing(main, pool[codes < 0])
    same = {key: i for i, key in enumerate(dict.fromkeys(keys(column.levels)))}
    of_level = np.array([same[key] for key in keys(column.levels)], dtype=np.int64)
    return np.asarray(np.unique(of_level[codes], return_inverse=True)[1].reshape(-1))


def _times(main: Read, pool: Array) -> Array:
    """The time of each row of `pool`, (n,): numbers, or the ranks of texts."""
    column, rows = main.table.columns[main.roles.fold or ""], main.rows[pool]
    if column.numeric:
        numbers = column.numbers()[rows]
        _refuse_missing(main, pool[np.isnan(numbers)])
        return numbers
    assert column.codes is not None
    codes = column.codes[rows]
    _refuse_missing(main, pool[codes < 0])
    levels, plain = column.levels, [in_time(text) for text in column.levels]
    bad = np.flatnonzero(np.array([text is None for text in plain])[codes])
    if len(bad):
        name, wanted = column.name, "a number, or a time such as 2024-05-31 or 2024-05-31 08:30"
        said = [(int(rows[i]), f'column "{name}": "{levels[codes[i]]}" is no time; write {wanted}') for i in bad]
        raise main.table.error(said, "such cells")
    return np.unique([text or "" for text in plain], return_inverse=True)[1].reshape(-1)[codes]


def _refuse_missing(main: Read, rows: Array) -> None:
    if len(rows):
        text = f'column "{main.roles.fold}": the cell is empty, and folds go by it; fill it in, or leave the row out'
        raise main.table.error([(int(main.rows[i]), text) for i in rows], "such rows")
