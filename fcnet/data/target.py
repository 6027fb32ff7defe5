"""What is predicted: finds the task, turns target cells into what the loss wants, and predictions back into labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fcnet.data.looks import Look
from fcnet.data.numbers import BLANKS, Grammar
from fcnet.data.options import Data
from fcnet.data.spelling import TRUTHS, Label, Lookup, is_plain, keys, plain_number, shortest
from fcnet.data.table import Column, Table
from fcnet.errors import ConfigError, DataError

Array = NDArray[Any]
Task = Literal["binary", "multiclass", "multilabel", "regression"]

FEW_LABELS = 20
ROWS_A_LABEL = 5


@dataclass(frozen=True)
class Target:
    """What is predicted, fitted on the training rows.

    `classes`: the labels, in the order of the classes; None without classes. They are numbers where every label is a
    plain number, booleans where the source has those, else texts as they stand in the file; by value where all are
    numbers. `mean` and `scale` (n_out,) float64 standardise regression targets, y = (original − mean) / scale.
    `class_weights` (n_classes,) float64, or None.
    """

    task: Task
    names: tuple[str, ...]
    classes: tuple[Label, ...] | None = None
    numeric: bool = False
    """Whether all labels are numbers, however they are written."""
    mean: Array | None = None
    scale: Array | None = None
    class_weights: Array | None = None

    def encode(self, table: Table, rows: Array, grammar: Grammar, dtype: str) -> Array:
        """Class indices (B,) int64, or 0/1 or standardised numbers (B, n_out), of the given rows of a table.

        DataError names labels that training does not know and cells that are no number.
        """
        columns = [table.columns[name] for name in self.names]
        if self.classes is not None:
            return self._classes(columns[0], table, rows, grammar)
        values = np.column_stack([numbers_of(column, table)[rows] for column in columns])
        if self.task == "multilabel":
            for j, column in enumerate(columns):
                _check_binary(table, column, values[:, j], rows)
            return values.astype(dtype)
        assert self.mean is not None
        assert self.scale is not None
        return ((values - self.mean) / self.scale).astype(dtype)

    def _classes(self, column: Column, table: Table, rows: Array, grammar: Grammar) -> Array:
        assert self.classes is not None
        codes, labels = _cells(column, grammar)
        known = Lookup(self.classes, grammar)
        found = [known.find(label) for label in labels]
        lut = np.array([-1 if i is None else i for i in found], dtype=np.int64)
        y = np.append(lut, -1)[codes[rows]]
        strange = rows[np.flatnonzero(y < 0)]
        if len(strange):
            only = ", ".join(f'"{label}"' for label in self.classes[:10])
            only += ", …" if len(self.classes) > 10 else ""
            start = f'column "{column.name}": no training row has the label'
            raise table.error(
                [(int(row), f'{start} "{labels[codes[row]]}", only {only}') for row in strange],
                "rows with such labels",
            )
        result: Array = y
        return result

    def decode(self, prediction: Array) -> Array | list[Label]:
        """Labels of class indices (B,), or numbers (B, n_out) in original units, float64."""
        if self.classes is not None:
            return [self.classes[i] for i in prediction.tolist()]
        if self.task == "multilabel":
            return np.asarray(prediction)
        assert self.mean is not None
        assert self.scale is not None
        result: Array = np.asarray(prediction, dtype=np.float64) * self.scale + self.mean
        return result

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        classes = None if self.classes is None else list(self.classes)
        return {"task": self.task, "targets": list(self.names), "classes": classes, "numeric_labels": self.numeric}

    def arrays(self) -> dict[str, Array]:
        """The part that is numbers, float64, by the checkpoint's names."""
        arrays = {"target_mean": self.mean, "target_scale": self.scale, "class_weights": self.class_weights}
        return {f"preprocess/{name}": array for name, array in arrays.items() if array is not None}

    @staticmethod
    def restore(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Target:
        """The target that `header` and `arrays` describe."""
        classes = header["classes"]
        return Target(
            header["task"],
            tuple(header["targets"]),
            None if classes is None else tuple(classes),
            bool(header["numeric_labels"]),
            arrays.get("preprocess/target_mean"),
            arrays.get("preprocess/target_scale"),
            arrays.get("preprocess/class_weights"),
        )


def missing_rows(table: Table, names: Sequence[str]) -> Array:
    """Where any target is missing, (n,) bool."""
    missing = np.zeros(table.n, dtype=bool)
    for name in names:
        missing |= table.columns[name].missing()
    return missing


def find_task(
    table: Table, rows: Array, options: Data, names: Sequence[str], grammar: Grammar
) -> tuple[Task, str | None]:
    """The task, and where it was left to us the sentence that says it; errors where the config's task does not fit."""
    columns = [table.columns[name] for name in names]
    quoted = ", ".join(f'"{name}"' for name in names[:3]) + (", …" if len(names) > 3 else "")
    several = len(names) > 1
    if several and options.task in ("binary", "multiclass"):
        raise ConfigError(
            f"{len(names)} target columns cannot be {options.task}; give one, or multilabel or regression",
            key="data.task",
        )
    if options.task != "auto":
        return options.task, None
    change = "; set data.task if that is not meant"
    if several:
        binary = all(set(np.unique(numbers_of(column, table)[rows])) <= {0.0, 1.0} for column in columns)
        if binary:
            return "multilabel", f"targets {quoted}: all 0 or 1, so each is a label of its own{change}"
        return "regression", f"targets {quoted}: numbers, so regression{change}"
    column = columns[0]
    if not column.numeric:
        n = _count_labels(column, rows, grammar)
        what = "true or false" if column.boolean else "text"
        return ("binary" if n == 2 else "multiclass"), f"target {quoted}: {what}, so {n} classes{change}"
    values, counts = np.unique(column.numbers()[rows], return_counts=True)
    if len(values) == 2 and (n := _count_labels(column, rows, grammar)) == 2:
        return "binary", f"target {quoted}: two values, so 2 classes{change}"
    if len(values) == 2:
        return "multiclass", f"target {quoted}: two values in {n} spellings, so {n} classes{change}"
    if (values != np.floor(values)).any():
        return "regression", f"target {quoted}: numbers with fractions, so regression{change}"
    if len(values) <= FEW_LABELS and counts.min(initial=ROWS_A_LABEL) >= ROWS_A_LABEL:
        return "multiclass", f"target {quoted}: whole numbers, so {len(values)} classes{change}"
    why = (
        f"{len(values):,} different whole numbers"
        if len(values) > FEW_LABELS
        else f"whole numbers, some on fewer than {ROWS_A_LABEL} rows"
    )
    return "regression", f"target {quoted}: {why}, so regression{change}"


def _count_labels(column: Column, rows: Array, grammar: Grammar) -> int:
    codes = labels_of(column, grammar)[0][rows]
    return int(np.count_nonzero(np.bincount(codes + 1)))


def fit_target(
    table: Table, training: Array, task: Task, names: Sequence[str], options: Data, grammar: Grammar, standard: bool
) -> tuple[Target, list[str]]:
    """The target fitted on the training rows of a table, and notices."""
    if task in ("binary", "multiclass"):
        return _fit_classes(table, training, task, names[0], options, grammar), []
    if options.class_weight != "none":
        raise ConfigError(f"class weights need classes, and the task is {task}", key="data.class_weight")
    if task == "multilabel":
        return Target("multilabel", tuple(names)), []
    mean, scale, notices = np.zeros(len(names)), np.ones(len(names)), []
    for j, name in enumerate(names):
        values = numbers_of(table.columns[name], table)[training]
        if values.min() == values.max():
            notices.append(f'target "{name}" is constant in training')
        if standard:
            mean[j], scale[j] = moments(values)
        lost = vanishing(values, mean[j], scale[j], grammar.dtype)
        if lost:
            notices.append(
                f'target "{name}": {lost:,} numbers are too small for {grammar.dtype}; leave preprocess.target: '
                "standard, or give them in a smaller unit"
            )
    return Target("regression", tuple(names), mean=mean, scale=scale), notices


def check_labels(table: Table, task: Task, name: str, grammar: Grammar, look: Look | None = None) -> None:
    """DataError if the target of a classification has a label of its own on most rows: it is no class then.

    `look`: what the labels look like, where they look like numbers.
    """
    column = table.columns[name]
    if task not in ("binary", "multiclass"):
        return
    if column.codes is not None and not column.numeric:
        check_blanks(column, table)
    if column.codes is not None and len(column.levels) <= FEW_LABELS:
        return
    codes, labels = labels_of(column, grammar)
    cells = int((codes >= 0).sum())
    if len(labels) > FEW_LABELS and 2 * len(labels) > cells:
        meant = "; did you mean data.task=regression?" if column.numeric else "; is it the right column?"
        if look is not None:
            meant = f"; {look.what}; {look.cure}"
        raise DataError(f'column "{name}": {len(labels):,} distinct labels on {cells:,} rows{meant}', file=table.file)


def _fit_classes(table: Table, training: Array, task: Task, name: str, options: Data, grammar: Grammar) -> Target:
    column = table.columns[name]
    codes, labels = labels_of(column, grammar)
    present = np.bincount(codes[training], minlength=len(labels))
    classes = _classes([label for label, count in zip(labels, present, strict=True) if count], column.declared)
    counts = present[present > 0]
    if len(classes) < 2:
        raise DataError(
            f'column "{name}": only the label "{classes[0]}" in training; a classification needs at least two',
            file=table.file,
        )
    if task == "binary" and len(classes) != 2:
        raise DataError(
            f'column "{name}": {len(classes)} labels, and the task is binary; set data.task=multiclass',
            file=table.file,
        )
    numbers = column.numeric or all(isinstance(label, int | float) for label in classes)
    target = Target(task, (name,), classes, numbers and not column.boolean)
    return replace(target, class_weights=_class_weights(target, counts, options, grammar))


def _class_weights(target: Target, counts: Array, options: Data, grammar: Grammar) -> Array | None:
    """(n_classes,): n / (k nᵢ) for `balanced`, the config's numbers with 1 for labels not named, None for none."""
    wanted = options.class_weight
    if wanted == "none":
        return None
    if wanted == "balanced":
        result: Array = counts.sum() / (len(counts) * counts.astype(np.float64))
        return result
    assert target.classes is not None
    lookup = Lookup(target.classes, grammar)
    weights = np.ones(len(target.classes))
    for label, weight in wanted.items():
        i = lookup.find(label)
        if i is None:
            known = ", ".join(f'"{label}"' for label in target.classes[:20])
            raise ConfigError(f'no class "{label}"; the classes are {known}', key="data.class_weight")
        weights[i] = weight
    if not weights.any():
        raise ConfigError("all weights are 0", key="data.class_weight")
    return weights


SAFE = 1e150
"""Numbers up to this one may be squared, and as many of them added up as memory holds."""


def moments(values: Array) -> tuple[float, float]:
    """Mean and standard deviation (of the population) of float64 values, in two passes; (mean, 1) if constant.

    >>> moments(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    half = 2.0 if max(-low, high) > SAFE else 1.0  # so that a sum near the largest float does not overflow
    mean = float(np.mean(values / half if half > 1 else values)) * half
    centred = values - mean
    rest = float(np.mean(centred))  # what rounding left over
    mean += rest
    centred -= rest
    largest = max(high - mean, mean - low)
    unit = 1.0 if 1 / SAFE < largest < SAFE else largest  # of others the squares are no normal numbers
    if unit != 1:
        centred /= unit
    deviation = unit * float(np.sqrt(np.mean(np.square(centred, out=centred))))
    return mean, deviation if 0.0 < deviation < np.inf else 1.0


def vanishing(values: Array, mean: float, scale: float, dtype: str) -> int:
    """How many of the values (n,) leave mean, but by less than a normal number of the dtype: they count as the mean.

    Where the deviation was found, scale is of the values' own size, and nothing of account can vanish.

    >>> vanishing(np.array([0.0, 1e-45, 2.0]), 0.0, 1.0, "float32")
    1
    """
    if scale != 1:
        return 0
    away = np.abs(values - mean)
    return int(np.count_nonzero((away > 0) & (away < np.finfo(dtype).tiny)))


def numbers_of(column: Column, table: Table) -> Array:
    """The numbers of a target column, (n,) float64, booleans as 0 and 1; DataError naming its first text if any."""
    if column.numeric:
        return column.numbers()
    assert column.codes is not None
    if all(text.strip() in TRUTHS for text in column.levels):
        truths = [float(TRUTHS[text.strip()]) for text in column.levels]
        result: Array = np.array([*truths, np.nan])[column.codes]
        return result
    grammar = Grammar()
    numbers = {i for i, text in enumerate(column.levels) if grammar.number(text) is not None}
    rows = [
        (
            int(i),
            f'column "{column.name}": {grammar.why_not(column.levels[code])}; the target of this task must be numbers',
        )
        for i, code in enumerate(column.codes.tolist())
        if code >= 0 and code not in numbers
    ]
    raise table.error(rows or [(0, f'column "{column.name}" is text; the target must be numbers')], "such cells")


def _cells(column: Column, grammar: Grammar) -> tuple[Array, list[Label]]:
    """The cell of each row, as its position (n,) in the list of the different ones, −1 where missing; and that list."""
    if column.codes is None:
        values = column.numbers()
        narrow = any(np.asarray(chunk).dtype in (np.float16, np.float32) for chunk in column.chunks)
        distinct = np.unique(values[~np.isnan(values)])
        codes = np.where(np.isnan(values), -1, np.searchsorted(distinct, values)).astype(np.int64)
        return codes, [shortest(v) for v in (distinct.astype(np.float32) if narrow else distinct)]
    if column.boolean:
        return column.codes.astype(np.int64), [False, True]
    if not column.numeric:
        return column.codes.astype(np.int64), list(column.levels)
    texts = [text.strip(BLANKS) for text in column.levels]
    lut = np.array([-1 if text in grammar.missing else i for i, text in enumerate(texts)] + [-1], dtype=np.int64)
    return lut[column.codes], list(texts)


def labels_of(column: Column, grammar: Grammar) -> tuple[Array, list[Label]]:
    """The label of each row, as its position (n,) in the sorted list of labels, −1 where missing; and that list.

    Cells that `keys` makes the same are one label, which is said as a plain number where one of them is, else as the
    first of them. Numbers are sorted by value, texts as texts.
    """
    codes, cells = _cells(column, grammar)
    if not all(isinstance(cell, str) for cell in cells):
        return codes, cells
    texts = [str(cells[i]) for i in np.flatnonzero(np.bincount(codes[codes >= 0])).tolist()]
    same = dict(zip(texts, keys(texts), strict=True))
    said: dict[str, str] = {}
    for text, key in same.items():
        if key not in said or (is_plain(text) and not is_plain(said[key])):
            said[key] = text
    values = {key: None if column.declared else grammar.number(text) for key, text in said.items()}
    numeric = None not in values.values()
    order = sorted(said, key=lambda key: (values[key] if numeric else 0, said[key]))
    place = {key: i for i, key in enumerate(order)}
    lut = np.array([place.get(same.get(str(cell), ""), -1) for cell in cells] + [-1], dtype=np.int64)
    return lut[codes], [said[key] for key in order]


def _classes(labels: Sequence[Label], declared: bool) -> tuple[Label, ...]:
    """Labels as numbers where every one is a plain number, and not `declared` to be text; else as they stand."""
    texts = [label for label in labels if isinstance(label, str)]
    if declared or len(texts) < len(labels) or not all(map(is_plain, texts)):
        return tuple(labels)
    return tuple(map(plain_number, texts))


def check_blanks(column: Column, table: Table) -> None:
    """DataError if two levels of a column differ only by blanks around them."""
    assert column.codes is not None
    seen: dict[str, str] = {}
    for text in column.levels:
        other = seen.setdefault(text.strip(), text)
        if other != text:
            row = int(np.flatnonzero(column.codes == column.levels.index(text))[0])
            raise DataError(
                table.problem(
                    row,
                    f'column "{column.name}": "{text}" and "{other}" differ only by blanks; write them alike',
                )
            )


def _check_binary(table: Table, column: Column, values: Array, rows: Array) -> None:
    bad = np.flatnonzero((values != 0) & (values != 1))
    if len(bad):
        raise table.error(
            [(int(rows[i]), f'column "{column.name}": {values[i]:g} is neither 0 nor 1') for i in bad], "such cells"
        )
