"""What is predicted: finds the task, turns target cells into what the loss wants, and predictions back into labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from itertools import compress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fcnet.data.labels import as_numbers, cells_of, check_blanks, labels_of, numbers_in, numbers_of
from fcnet.data.looks import Look
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data, Task
from fcnet.data.spelling import Label, Lookup
from fcnet.data.statistics import moments, vanishing
from fcnet.data.table import Column, Table
from fcnet.errors import ConfigError, DataError
from fcnet.formulas import Expr, Sym, maximum, minimum
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy, Learnt, Loss, Said, SquaredError
from fcnet.records import dataclass

Array = NDArray[Any]

FEW_LABELS = 20
ROWS_A_LABEL = 5


@dataclass(frozen=True)
class Target(ABC):
    """What is predicted, fitted on the training rows: a class for each kind of task, which answers for all of it.

    `names`: its columns. `classes`: the labels, in the order of the classes; None without classes. They are numbers
    where every label is a plain number, booleans where the source has those, else texts as they stand in the file; by
    value where all are numbers. `class_weights` (n_classes,) float64, or None.
    """

    names: tuple[str, ...]
    classes: tuple[Label, ...] | None = None
    numeric: bool = False
    """Whether all labels are numbers, however they are written."""
    class_weights: Array | None = None
    threshold: float = 0.5
    """Of two classes the second is decided for where it is more probable than this."""

    task: ClassVar[Task]
    gives: ClassVar[tuple[Learnt, ...]]
    """The forms in which a loss can have it."""
    loss: ClassVar[Loss]
    """What training makes small unless the config names another."""
    metrics: ClassVar[tuple[str, ...]]
    """What `metrics: auto` computes."""
    shares: ClassVar[bool] = True
    """Whether predictions are probabilities."""
    cells: ClassVar[str]
    """What its columns hold, for people."""
    unit: ClassVar[tuple[str, str]]
    """What one output is, what several are."""
    trivial: ClassVar[str] = "the majority"
    """What one predicts who has seen no inputs."""

    @classmethod
    @abstractmethod
    def fit(
        cls, table: Table, training: Array, names: Sequence[str], options: Data, grammar: Grammar, wanted: Wanted
    ) -> tuple[Target, list[str]]:
        """The target fitted on the training rows of a table, and notices."""

    @abstractmethod
    def encode(self, table: Table, rows: Array, grammar: Grammar, dtype: str) -> Array:
        """Class indices (B,) int64, or 0/1 or standardised numbers (B, n_out), of the given rows of a table.

        DataError names labels that training does not know and cells that are no number.
        """

    @property
    def width(self) -> int:
        """How many classes there are, or labels, or numbers."""
        return len(self.classes or self.names)

    def columns(self, learnt: Learnt) -> int:
        """The columns of y in the form in which a loss learns it."""
        return self.width

    def truths(self, y: Array) -> Array:
        """Targets as metrics want them: class indices (n,), labels (n, L), or numbers (n, n_out) in their own units."""
        return y

    def guess(self, y: Array, w: Array | None = None) -> Array:
        """What one predicts for every row who has seen nothing but the training targets y and their weights w (n,).

        The share of each class, (n_classes,), whose most probable is the majority; the mean of labels or numbers.
        """
        return np.asarray(np.average(self.truths(y).astype(np.float64), axis=0, weights=w))

    def point(self, p: Array) -> Array:
        """The part (n, width) of predictions p that metrics judge."""
        return p

    def decided(self, p: Array) -> Array:
        """Of classes the index of the most probable one, (n,), or what the threshold says of two."""
        return np.asarray(p.argmax(axis=1) if self.threshold == 0.5 else (p[:, 1] > self.threshold).astype(np.int64))

    @abstractmethod
    def decide(self, p: Array) -> Any:
        """What `prediction` says for each row of p: labels, 0/1 (n, L), or numbers (n, n_out)."""

    def digits(self, dtype: str) -> tuple[str, ...]:
        """For each column the type whose digits hold all that a net of `dtype` knows of it, and hardly more.

        That is the net's own, but for numbers that lie so far from 0 that float32 has no digits left for how they
        differ.
        """
        return (dtype,) * len(self.names)

    @classmethod
    @abstractmethod
    def heading(cls, names: Sequence[str], classes: Sequence[Label], said: Sequence[Said]) -> list[str]:
        """The columns of a file of predictions."""

    @classmethod
    @abstractmethod
    def filled(cls, prediction: Any, p: Any) -> list[tuple[Any, int | None]]:
        """What stands in these columns, each with the number of the target whose digits it has: arrays (n,), and
        labels as a list (n,). `prediction` is what `decide` gives of p."""

    @property
    @abstractmethod
    def lesson(self) -> list[str]:
        """Those of them that another net may learn from, one for each of `width`."""

    def heard(self, p: Array) -> tuple[Array, Array]:
        """What a teacher says, cells (n, ·) of numbers, in the form of `mixed`; and what is wrong with a row, or ""."""
        odd = ~((p >= 0) & (p <= 1))
        wrong = [f"{row[at.argmax()]:g} is no probability" if at.any() else "" for row, at in zip(p, odd, strict=True)]
        return p, np.array(wrong, dtype=object)

    def mixed(self, y: Array, p: Array, weight: float, learnt: Learnt) -> Array:
        """(1 − weight) y + weight p (n, columns), in the form in which a loss learns it; y alone where p is NaN.

        y is what `encode` gives, p (n, width) what a teacher says.
        """
        share = np.where(np.isnan(p).any(axis=1, keepdims=True), 0.0, weight)
        return np.asarray((1.0 - share) * y + share * np.nan_to_num(p))

    @classmethod
    def misfit(cls, targets: int, classes: int | None) -> str | None:
        """Why so many columns and classes are none of this task; None where they are."""
        return None if classes is None else "they do not fit the task"

    @abstractmethod
    def strangeness(self, likely: Array, truths: Array) -> Array:
        """How far off predictions are, (n, targets): 1 − p(truth), or how far numbers lie outside of what is likely.

        `likely`: p (n, width), or of numbers (3, n, n_targets), see `Head`.
        """

    @classmethod
    def covered(cls, names: Sequence[str]) -> list[str]:
        """The columns of a file that `covering` fills."""
        return [f"set({name})" for name in names]

    @abstractmethod
    def covering(self, likely: Array, limits: Array) -> list[tuple[Any, int | None]]:
        """All that would be no further off than `limits` (targets,), as `filled` gives columns: for each row the labels
        joined by |, or two ends."""

    def for_loss(self, loss: Loss) -> Target:
        """The same, with what its loss wants of it."""
        return self

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        classes = None if self.classes is None else list(self.classes)
        return {"task": self.task, "targets": list(self.names), "classes": classes, "numeric_labels": self.numeric}

    def arrays(self) -> dict[str, Array]:
        """The part that is numbers, (width,) float64, by the checkpoint's names."""
        return {} if self.class_weights is None else {"preprocess/class_weights": self.class_weights}

    @staticmethod
    def restore(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Target:
        """The target that `header` and `arrays` describe."""
        kind, classes = TASKS[header["task"]], header["classes"]
        about = tuple(header["targets"]), None if classes is None else tuple(classes), bool(header["numeric_labels"])
        return kind(*about, **kind.kept(arrays))

    @classmethod
    def kept(cls, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """The fields that `arrays` gave."""
        return {"class_weights": arrays.get("preprocess/class_weights")}


class Classes(Target):
    """One of several classes: y is their indices."""

    task: ClassVar[Task] = "multiclass"
    gives: ClassVar[tuple[Learnt, ...]] = ("one_hot",)
    loss: ClassVar[Loss] = CrossEntropy()
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")
    cells = "classes"
    unit = ("class", "classes")

    @classmethod
    def fit(
        cls, table: Table, training: Array, names: Sequence[str], options: Data, grammar: Grammar, wanted: Wanted
    ) -> tuple[Target, list[str]]:
        """The labels of the training rows, and their weights."""
        (name,) = names
        column = table.columns[name]
        codes, labels = labels_of(column, grammar)
        present = np.bincount(codes[training], minlength=len(labels))
        classes = as_numbers([label for label, count in zip(labels, present, strict=True) if count], column.declared)
        counts = present[present > 0]
        if len(classes) < 2:
            raise DataError(
                f'column "{name}": only the label "{classes[0]}" in training; a classification needs at least two',
                file=table.file,
            )
        if cls.misfit(1, len(classes)):
            raise DataError(
                f'column "{name}": {len(classes)} labels, and the task is {cls.task}; set data.task=multiclass',
                file=table.file,
            )
        numbers = column.numeric or all(isinstance(label, int | float) for label in classes)
        weights = _class_weights(classes, counts, options, grammar)
        return cls((name,), classes, numbers and not column.boolean, weights), []

    def encode(self, table: Table, rows: Array, grammar: Grammar, dtype: str) -> Array:
        """Indices (B,) int64."""
        assert self.classes is not None
        column = table.columns[self.names[0]]
        codes, labels = cells_of(column, grammar)
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

    def columns(self, learnt: Learnt) -> int:
        """One for each class, or one for the second of two."""
        return self.width if learnt == "one_hot" else 1

    def guess(self, y: Array, w: Array | None = None) -> Array:
        """The share of each class."""
        counts = np.bincount(y, weights=w, minlength=self.width).astype(np.float64)
        return np.asarray(counts / counts.sum())

    def decide(self, p: Array) -> list[Label]:
        """The label of the class that is decided for."""
        assert self.classes is not None
        labels = np.empty(len(self.classes), object)
        labels[:] = self.classes
        found: list[Label] = labels[self.decided(p)].tolist()
        return found

    def strangeness(self, likely: Array, truths: Array) -> Array:
        """1 − p of the class."""
        return 1.0 - np.take_along_axis(likely, truths[:, None], axis=1)

    @classmethod
    def covered(cls, names: Sequence[str]) -> list[str]:
        """One."""
        return ["set"]

    def covering(self, likely: Array, limits: Array) -> list[tuple[Any, int | None]]:
        """The labels that are probable enough, which may be none."""
        assert self.classes is not None
        return [(_joined(1.0 - likely <= limits, self.classes), None)]

    @classmethod
    def heading(cls, names: Sequence[str], classes: Sequence[Label], said: Sequence[Said]) -> list[str]:
        """The label, and the probability of each."""
        return ["prediction", *(f"p({label})" for label in classes)]

    @classmethod
    def filled(cls, prediction: Any, p: Any) -> list[tuple[Any, int | None]]:
        """Probabilities have the digits of the net."""
        return [(list(prediction), None), *((share, 0) for share in np.asarray(p).T)]

    @property
    def lesson(self) -> list[str]:
        """The probability of each class."""
        return self.heading(self.names, self.classes or (), ())[1:]

    def heard(self, p: Array) -> tuple[Array, Array]:
        """They add up to 1; of two classes one is enough."""
        p, wrong = super().heard(p)
        if p.shape[1] == 1:
            return np.hstack([1.0 - p, p]), wrong
        total = p.sum(axis=1)
        for i in np.flatnonzero((wrong == "") & ~(np.abs(total - 1.0) <= NEAR)):
            wrong[i] = f"the probabilities add up to {total[i]:g}, not to 1"
        with np.errstate(all="ignore"):
            return p / total[:, None], wrong

    def mixed(self, y: Array, p: Array, weight: float, learnt: Learnt) -> Array:
        """One-hot rows, of which a loss of bits learns the last column."""
        found = super().mixed(np.eye(self.width)[y], p, weight, learnt)
        return found if learnt == "one_hot" else found[:, -1:]

    @classmethod
    def misfit(cls, targets: int, classes: int | None) -> str | None:
        """One column, at least two classes."""
        if classes is None:
            return "they do not fit the task"
        return "how many there are does not fit the task" if targets > 1 or classes < 2 else None


class Binary(Classes):
    """One of two classes."""

    task = "binary"
    gives = ("one_hot", "bits")
    loss = BinaryCrossEntropy()
    metrics = ("accuracy", "log_loss", "balanced_accuracy", "roc_auc")

    @classmethod
    def misfit(cls, targets: int, classes: int | None) -> str | None:
        """One column, two classes."""
        return super().misfit(targets, classes if classes in (None, 2) else 0)


class Labels(Target):
    """Several labels that each are there or not: y is 0 and 1."""

    task = "multilabel"
    gives = ("bits",)
    loss = BinaryCrossEntropy()
    metrics = ("accuracy", "log_loss", "f1_macro", "roc_auc")
    cells = "labels, 0 or 1 each"
    unit = ("label", "labels")

    @classmethod
    def fit(
        cls, table: Table, training: Array, names: Sequence[str], options: Data, grammar: Grammar, wanted: Wanted
    ) -> tuple[Target, list[str]]:
        """There is nothing to fit."""
        _refuse_class_weights(options, cls.task)
        return cls(tuple(names)), []

    def encode(self, table: Table, rows: Array, grammar: Grammar, dtype: str) -> Array:
        """0 and 1 (B, L)."""
        values = numbers_in(table, self.names, rows)
        for j, name in enumerate(self.names):
            bad = np.flatnonzero((values[:, j] != 0) & (values[:, j] != 1))
            if len(bad):
                said = [(int(rows[i]), f'column "{name}": {values[i, j]:g} is neither 0 nor 1') for i in bad]
                raise table.error(said, "such cells")
        return values.astype(dtype)

    @property
    def lesson(self) -> list[str]:
        """The probability of each label."""
        return [f"p({name})" for name in self.names]

    def decide(self, p: Array) -> Array:
        """1 for what is more probable than not."""
        return (p > 0.5).astype(np.int64)

    def strangeness(self, likely: Array, truths: Array) -> Array:
        """Of each label 1 − p of what is so."""
        return np.where(truths == 1, 1.0 - likely, likely)

    def covering(self, likely: Array, limits: Array) -> list[tuple[Any, int | None]]:
        """Of each label 0, 1, both or none."""
        both = np.stack([likely <= limits, 1.0 - likely <= limits], axis=2)
        return [(_joined(both[:, j], (0, 1)), None) for j in range(self.width)]

    @classmethod
    def heading(cls, names: Sequence[str], classes: Sequence[Label], said: Sequence[Said]) -> list[str]:
        """For each label whether it is there, and the probability."""
        return [f"{what}({name})" for name in names for what in ("prediction", "p")]

    @classmethod
    def filled(cls, prediction: Any, p: Any) -> list[tuple[Any, int | None]]:
        """Whole numbers, and probabilities."""
        pairs = enumerate(zip(np.asarray(prediction).T, np.asarray(p).T, strict=True))
        return [each for j, (yes, share) in pairs for each in ((yes.astype(np.int64), None), (share, j))]


@dataclass(frozen=True)
class Numbers(Target):
    """Numbers: y = (original − mean) / scale.

    `mean` and `scale` (n_out,) float64. `amounts`: whether they must be 0 or more, and are learnt as multiples of their
    mean, unmoved; `positive`: and are above 0. `low` and `high` (n_out,) float64: no prediction is beyond them.
    """

    mean: Array = field(kw_only=True)
    scale: Array = field(kw_only=True)
    amounts: bool = field(default=False, kw_only=True)
    positive: bool = field(default=False, kw_only=True)
    low: Array | None = field(default=None, kw_only=True)
    high: Array | None = field(default=None, kw_only=True)

    task = "regression"
    gives = ("numbers", "amounts", "positive")
    loss = SquaredError()
    metrics = ("rmse", "mae", "r2")
    shares = False
    cells = "numbers"
    unit = ("number", "numbers")
    trivial = "the mean"

    @classmethod
    def fit(
        cls, table: Table, training: Array, names: Sequence[str], options: Data, grammar: Grammar, wanted: Wanted
    ) -> tuple[Target, list[str]]:
        """Mean and deviation of the training rows, of amounts the mean alone; (0, 1) unless they are standardised."""
        _refuse_class_weights(options, cls.task)
        mean, scale, notices = np.zeros(len(names)), np.ones(len(names)), []
        amounts, positive = wanted.learnt != "numbers", wanted.learnt == "positive"
        for j, name in enumerate(names):
            values = numbers_of(table.columns[name], table)[training]
            if values.min() == values.max():
                notices.append(f'target "{name}" is constant in training')
            if wanted.standard:
                mean[j], scale[j] = moments(values)
            if wanted.standard and amounts:
                mean[j], scale[j] = 0.0, mean[j] if mean[j] > 0 else 1.0
            lost = vanishing(values, mean[j], scale[j], grammar.dtype)
            if lost:
                notices.append(
                    f'target "{name}": {lost:,} numbers are too small for {grammar.dtype}; leave preprocess.target: '
                    "standard, or give them in a smaller unit"
                )
        found = cls(tuple(names), mean=mean, scale=scale, amounts=amounts, positive=positive)
        if wanted.clamped:
            values = numbers_in(table, names, training)
            found = replace(found, low=values.min(axis=0), high=values.max(axis=0))
        return found, notices

    def encode(self, table: Table, rows: Array, grammar: Grammar, dtype: str) -> Array:
        """Standardised numbers (B, n_out); DataError where amounts are below 0."""
        values = numbers_in(table, self.names, rows)
        bad = np.argwhere(self._outside(values))
        if len(bad):
            allowed = "above 0" if self.positive else "of 0 and more"
            wanted = f"and the loss learns amounts {allowed}; mend the row, or choose another loss"
            what = "not above 0" if self.positive else "below 0"
            said = [(int(rows[i]), f'column "{self.names[j]}": {values[i, j]:g} is {what}, {wanted}') for i, j in bad]
            raise table.error(said, "such cells")
        with np.errstate(over="ignore"):
            y = ((values - self.mean) / self.scale).astype(dtype)
        far = np.argwhere(~np.isfinite(y))
        if len(far):
            why = f"is too far from the numbers of the training rows for {dtype}"
            said = [(int(rows[i]), f'column "{self.names[j]}": {values[i, j]:g} {why}') for i, j in far]
            raise table.error(said, "such cells")
        return y

    def _outside(self, values: Array) -> Array:
        """Which numbers the loss cannot learn."""
        if self.positive:
            return np.asarray(values <= 0)
        return np.asarray(values < 0) if self.amounts else np.zeros(values.shape, bool)

    @property
    def lesson(self) -> list[str]:
        """The prediction of each number."""
        return self.heading(self.names, (), (Said(),))

    def heard(self, p: Array) -> tuple[Array, Array]:
        """Numbers in the target's units become standardised ones."""
        odd = ~np.isfinite(p) | self._outside(p)
        wrong = [f"{row[at.argmax()]:g} is no amount" if at.any() else "" for row, at in zip(p, odd, strict=True)]
        return (p - self.mean) / self.scale, np.array(wrong, dtype=object)

    @property
    def scales(self) -> dict[str, Array]:
        """What leads back to the original units, (n_out,) float64 each: mean and scale, and the range where it has
        one."""
        found = {"mean": self.mean, "scale": self.scale, "low": self.low, "high": self.high}
        return {name: array for name, array in found.items() if array is not None}

    def decoded(self, y: Expr, *, spread: bool = False) -> Expr:
        """A prediction in original units, a formula of y and of `scales`; a `spread` is no place, and is not moved."""
        if spread:
            return y * Sym("scale")
        placed = y * Sym("scale") + Sym("mean")
        return placed if self.low is None else minimum(maximum(placed, Sym("low")), Sym("high"))

    def within(self, y: Array) -> Array:
        """Standardised numbers (…, n_out), none beyond what predictions are kept between."""
        return y if self.low is None else np.clip(y, *self.ends)

    def moved(self, y: Array, into: Target, *, spread: bool) -> Array:
        """Standardised numbers (…, n_out) as another target has them; a `spread` is no place, and is only scaled."""
        assert isinstance(into, Numbers)
        if into is self:
            return y
        return np.asarray((y * self.scale + (0.0 if spread else self.mean - into.mean)) / into.scale)

    @property
    def ends(self) -> tuple[Array, Array]:
        """The least and the greatest standardised number (n_out,) of a prediction, where there are such."""
        assert self.low is not None
        assert self.high is not None
        return (self.low - self.mean) / self.scale, (self.high - self.mean) / self.scale

    def truths(self, y: Array) -> Array:
        """In original units."""
        return np.asarray(np.asarray(y, dtype=np.float64) * self.scale + self.mean)

    def point(self, p: Array) -> Array:
        """What a loss says first."""
        return p[:, : self.width]

    def decide(self, p: Array) -> Array:
        """The same."""
        return self.point(p)

    def strangeness(self, likely: Array, truths: Array) -> Array:
        """How far the truth lies outside, below 0 within, in units."""
        low, high, unit = likely
        return np.asarray(np.maximum(low - truths, truths - high) / unit)

    @classmethod
    def covered(cls, names: Sequence[str]) -> list[str]:
        """Two ends of each."""
        return [f"{end}({name})" if len(names) > 1 else end for name in names for end in ("low", "high")]

    def covering(self, likely: Array, limits: Array) -> list[tuple[Any, int | None]]:
        """From where to where; amounts are never below 0."""
        low, high, unit = likely
        low, high = low - limits * unit, high + limits * unit
        ends = np.maximum(low, 0.0) if self.amounts else low, np.maximum(low, high)
        return [(end[:, j], j) for j in range(low.shape[1]) for end in ends]

    def digits(self, dtype: str) -> tuple[str, ...]:
        """float64 where the mean is more than `FAR` deviations from 0, or float32 has not their size."""
        near = (np.abs(self.mean) <= FAR * self.scale) & (self.scale > 1e-30) & (self.scale < 1e20)
        return tuple(dtype if fits else "float64" for fits in near)

    @classmethod
    def heading(cls, names: Sequence[str], classes: Sequence[Label], said: Sequence[Said]) -> list[str]:
        """What the loss says of each number."""
        targets = [f"({name})" for name in names] if len(names) > 1 else [""]
        return [each.column.replace("{}", target) for target in targets for each in said]

    @classmethod
    def filled(cls, prediction: Any, p: Any) -> list[tuple[Any, int | None]]:
        """First the prediction; what else is said stands in p behind it."""
        point = np.asarray(prediction)
        point = point.reshape(len(point), -1)
        n = point.shape[1]
        more = [] if p is None else np.split(np.asarray(p), np.asarray(p).shape[1] // n, axis=1)[1:]
        return [(each[:, j], j) for j in range(n) for each in (point, *more)]

    def for_loss(self, loss: Loss) -> Target:
        """Whether they are amounts."""
        return replace(self, amounts=loss.learns != "numbers", positive=loss.learns == "positive")

    def arrays(self) -> dict[str, Array]:
        """What moves and scales them, and the range of predictions where they have one."""
        return {f"preprocess/target_{name}": array for name, array in self.scales.items()}

    @classmethod
    def kept(cls, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Mean and scale, which must be there, and the range of predictions where there is one."""
        ends = ("low", "high") if "preprocess/target_low" in arrays else ()
        return {name: arrays[f"preprocess/target_{name}"] for name in ("mean", "scale", *ends)}


@dataclass(frozen=True)
class Wanted:
    """In what form a loss wants its target: what it learns of them, whether they are standardised, and whether
    predictions stay within their range."""

    learnt: Learnt = "numbers"
    standard: bool = True
    clamped: bool = False


NEAR = 1e-3
"""How far from 1 the probabilities of a row may add up to."""

FAR = 1_000
"""Numbers whose mean is more than so many deviations from 0 are written in float64."""


def _joined(within: Array, labels: Sequence[Label]) -> list[str]:
    """For each row of within (n, K) the labels that are, joined by |."""
    texts = [label if isinstance(label, str) else repr(label) for label in labels]
    rows, which = np.unique(np.packbits(within, axis=1), axis=0, return_inverse=True)
    sets = ["|".join(compress(texts, row)) for row in np.unpackbits(rows, axis=1, count=len(texts))]
    return [sets[i] for i in which.reshape(-1).tolist()]


TASKS: dict[Task, type[Target]] = {kind.task: kind for kind in (Binary, Classes, Labels, Numbers)}


def tasks_of(loss: Loss | type[Loss]) -> tuple[Task, ...]:
    """What a loss can learn."""
    return tuple(task for task, kind in TASKS.items() if loss.learns in kind.gives)


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
    if options.task != "auto":
        if several and issubclass(TASKS[options.task], Classes):
            raise ConfigError(
                f"{len(names)} target columns cannot be {options.task}; give one, or multilabel or regression",
                key="data.task",
            )
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


def _refuse_class_weights(options: Data, task: str) -> None:
    if options.class_weight != "none":
        raise ConfigError(f"class weights need classes, and the task is {task}", key="data.class_weight")


def check_labels(table: Table, task: Task, name: str, grammar: Grammar, look: Look | None = None) -> None:
    """DataError if the target of a classification has a label of its own on most rows: it is no class then.

    `look`: what the labels look like, where they look like numbers.
    """
    column = table.columns[name]
    if not issubclass(TASKS[task], Classes):
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


def _class_weights(classes: tuple[Label, ...], counts: Array, options: Data, grammar: Grammar) -> Array | None:
    """(n_classes,): n / (k nᵢ) for `balanced`, the config's numbers with 1 for labels not named, None for none."""
    wanted = options.class_weight
    if wanted == "none":
        return None
    if wanted == "balanced":
        result: Array = counts.sum() / (len(counts) * counts.astype(np.float64))
        return result
    lookup = Lookup(classes, grammar)
    weights = np.ones(len(classes))
    for label, weight in wanted.items():
        i = lookup.find(label)
        if i is None:
            known = ", ".join(f'"{label}"' for label in classes[:20])
            raise ConfigError(f'no class "{label}"; the classes are {known}', key="data.class_weight")
        weights[i] = weight
    if not weights.any():
        raise ConfigError("all weights are 0", key="data.class_weight")
    return weights
