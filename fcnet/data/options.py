"""The config sections that say what the table is: `data`, `data.split` and `preprocess`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from fcnet.data.encodings import CATEGORICAL, NUMERIC, OfCategories, OfNumbers
from fcnet.data.encodings.one_hot import OneHot
from fcnet.data.encodings.standard import Standard
from fcnet.records import dataclass
from fcnet.registry import Ge, Gt, Le, Lt, Named

Task = Literal["binary", "multiclass", "multilabel", "regression"]
Fraction = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class Split:
    """How the rows of `train` are dealt out to training, validation and test."""

    by: Literal["random", "column"] = "random"
    """`random`, or `column`: the parts are named in a column."""
    column: str | None = None
    """With `by: column`: the column whose cells are train, validation or test."""
    stratify: Literal["auto"] | bool = "auto"
    """Keep the shares of the classes in every part: `auto` for classification, `true` insists, `false` never."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """The seed of the split, and of nothing else."""


@dataclass(frozen=True)
class Data:
    """The table: where it is, what its columns mean, how its cells are written."""

    train: str
    """CSV, TSV (.gz too), Parquet or NPZ; relative to the config file."""
    validation: Fraction | str = 0.15
    """A fraction of all rows of `train`, a file, or 0 for none."""
    test: Fraction | str = 0
    """A fraction of all rows of `train`, a file, or 0 for none."""
    split: Split = field(default_factory=Split)
    """How the rows are dealt out."""
    target: str | int | list[str | int] | None = None
    """The column to predict, or a list of columns; optional for NPZ."""
    task: Literal["auto", Task] = "auto"
    """What is predicted; `auto` looks at the target's values and says what it found."""
    features: Literal["all"] | list[str] = "all"
    """The columns to predict from. `all`, with a notice for each that it leaves out, is without columns that have no
    value, texts that are mostly different, the index that pandas writes (`__index_level_0__`, `Unnamed: 0`), and what
    numbers the rows: in tables of 20 rows and more, whole numbers, none missing, that only rise or only fall from row
    to row, or are n consecutive numbers in any order, unless there is nothing else. A list keeps the last two kinds."""
    exclude: list[str] = field(default_factory=list)
    """Columns to leave out."""
    categorical: list[str] = field(default_factory=list)
    """Columns to read as categories whatever they hold."""
    weight: str | None = None
    """A column of row weights: how much each row counts, in the loss and in every score."""
    class_weight: Literal["none", "balanced"] | dict[str, Annotated[float, Ge(0)]] = "none"
    """`balanced`, or a weight for each label; it weighs the loss and no score."""
    teacher: str | list[str] | None = None
    """What another model says of the rows of `train`, to be learnt beside their targets: a file of predictions as
    `fcnet predict` writes them, in the order of the rows, or a list of columns: a probability for each class or label
    (of two classes that of the second alone will do), or a number for each target. Where its cells are empty, a row's
    own target stands alone. Metrics and losses of validation and test go by the targets."""
    teacher_weight: Annotated[float, Gt(0), Le(1)] = 0.5
    """How much of what is learnt comes from the teacher; the rest from the target."""
    missing: Literal["auto"] | list[str] = "auto"
    """The texts that mean a missing cell, in all columns. `auto`: in columns of numbers an empty cell, `NA`, `N/A`,
    `n/a`, `#N/A`, `NaN`, `nan`, `null`, `NULL`, `None`, `?`, `.` and `-`; in columns of text an empty cell
    alone. Listed texts are added to these; the numbers that they spell are missing in Parquet, NPZ and frames too."""
    missing_target: Literal["error", "drop"] = "error"
    """What to do with rows whose target is missing."""
    delimiter: str = "auto"
    """The character between fields; `auto` finds it. A blank stands for runs of blanks and tabs."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers."""
    thousands: Literal["", ",", ".", " ", "'", "_"] = ""
    """The thousands mark of numbers; none unless given."""
    header: bool = True
    """Whether the first record names the columns; without, they are x0, x1, …"""
    skip: Annotated[int, Ge(0)] = 0
    """So many lines of `train` stand above its table: titles, comments."""
    x: str = "x"
    """NPZ: the name of the array of features."""
    y: str = "y"
    """NPZ: the name of the array of targets."""


@dataclass(frozen=True)
class Filled:
    """Missing numbers are one that is given."""

    value: float
    """It, in the units of the table."""


@dataclass(frozen=True)
class Folds:
    """How rows are dealt out to folds, each of which is held out once."""

    folds: Annotated[int, Ge(2), Le(100)] = 5
    """How many there are."""
    repeats: Annotated[int, Ge(1), Le(100)] = 1
    """So often the rows are dealt out anew, to as many more nets."""
    by: Literal["random", "group", "time"] = "random"
    """`random`, classes in their shares as data.split.stratify has it; `group`: rows with the same cell in `column`
    stay together; `time`: in the order of `column` each fold is held out from a net that learns from all rows before
    it, and the last net is the one that predicts."""
    column: str | None = None
    """With `by: group` and `by: time`: the column that they go by, which is not predicted from. Times are numbers, or
    texts such as 2024-05-31."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """The seed of the dealing, and of nothing else."""


@dataclass(frozen=True)
class Preprocess:
    """What happens to columns before the net sees them; fitted on training rows only."""

    numeric: Annotated[OfNumbers, Named(NUMERIC)] = field(default_factory=Standard)
    """Numbers: `standard` subtracts the mean and divides by the standard deviation; `robust` goes by median and
    quartiles and keeps to ±3; `quantile` spreads ranks like a normal distribution."""
    missing: Literal["median", "mean"] | Filled = "median"
    """What missing numbers become: the median or the mean of the training rows, or, as `{value: 0}`, a number."""
    indicators: Literal["auto"] | bool = False
    """Whether a column of numbers also has an input that is 1 where its cell is missing and 0 elsewhere; `auto`: where
    cells of training rows are missing. They stand behind all other inputs."""
    categorical: Annotated[OfCategories, Named(CATEGORICAL)] = field(default_factory=OneHot)
    """`one_hot`: each category of the training rows becomes an input, 1 in its rows and 0 in all others; missing cells
    become one too where training has some. The level reserved for unknown categories takes no input: they are 0 in all
    of them, as if it had weights 0 that no gradient reaches; missing cells share it where training has none.
    `signs`: columns of two categories become one input, −1 or 1, and 0 for missing and unknown; others are one_hot.
    `codes`: categories are looked up by the layer `embedding`, which stands among the first of network.layers."""
    target: Literal["none", "standard"] = "standard"
    """Regression targets: learn them standardised."""
    clamp: bool = False
    """Regression: keep predictions within the range that the training rows' targets have."""
