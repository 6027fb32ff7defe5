"""Fits the features' preprocessing on training rows, and turns tables into the network's inputs with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fcnet import machine
from fcnet.backends.base import aligned
from fcnet.data.options import Preprocess
from fcnet.data.scaling import encode_numbers, median
from fcnet.data.spelling import Lookup, keys
from fcnet.data.table import Column, Table
from fcnet.data.tally import Tally
from fcnet.data.target import moments, vanishing
from fcnet.errors import LimitError, more
from fcnet.nn.rows import Rows

Array = NDArray[Any]

NUMBERS = ("fill", "mean", "scale", "low", "high")
"""What is fitted for each column of numbers, one array each in the checkpoint."""

PAIR = 2
"""Columns that are fitted at a time, on cores of their own; each holds a few copies of itself meanwhile."""

IDENTIFIER = 1e16
"""From here on float64 does not hold every whole number of 17 digits."""


SMALL = 1 << 26
"""Bytes for which the system need not be asked whether it has them."""

MANY_LEVELS = 100
"""A column of more categories than this is named where it makes most of the inputs."""


@dataclass(frozen=True)
class Feature:
    """One column that is predicted from, as training saw it.

    A number becomes one input, (value − mean) / scale, with `fill` in place of a missing value; `low` and `high` are
    its range. A category becomes one input for each level, and one for missing cells if training had some; a row of a
    level that training did not see has zeros in all of them. So the level reserved for unknown categories has no
    weights, which is to say weights 0 that no gradient reaches.
    """

    name: str
    kind: Literal["number", "category"]
    fill: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 0.0
    levels: tuple[str, ...] = ()
    missing_level: bool = False

    @property
    def width(self) -> int:
        """The number of inputs."""
        return 1 if self.kind == "number" else len(self.levels) + self.missing_level

    @cached_property
    def lookup(self) -> Lookup:
        """Finds the input of each level."""
        return Lookup(self.levels)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the inputs are called: the column, or column=level."""
        if self.kind == "number":
            return (self.name,)
        return (*(f"{self.name}={level}" for level in self.levels), *((f"{self.name}=",) if self.missing_level else ()))


@dataclass(frozen=True)
class Encoder:
    """Features in the order of their inputs; `names` are all columns of the training file, in their order."""

    features: tuple[Feature, ...]
    names: tuple[str, ...]
    dtype: str

    @property
    def n_in(self) -> int:
        """The number of inputs of the network."""
        return sum(feature.width for feature in self.features)

    @property
    def numbers(self) -> int:
        """How many of the inputs, the first ones, are columns of numbers."""
        return sum(1 for _ in takewhile(lambda feature: feature.kind == "number", self.features))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are predicted from, in the order of the file."""
        return tuple(feature.name for feature in self.in_file)

    @property
    def in_file(self) -> tuple[Feature, ...]:
        """The features in the order of the training file."""
        place = {name: i for i, name in enumerate(self.names)}
        return tuple(sorted(self.features, key=lambda feature: place[feature.name]))

    @property
    def _starts(self) -> dict[str, int]:
        """The first input of each column."""
        widths = accumulate((feature.width for feature in self.features), initial=0)
        return {feature.name: start for feature, start in zip(self.features, widths, strict=False)}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, n_in of them."""
        return tuple(name for feature in self.features for name in feature.inputs)

    @property
    def ranks(self) -> Array:
        """The place of each input, (n_in,), were the columns in the order of their names: it follows the column."""
        starts = self._starts
        widths = {feature.name: feature.width for feature in self.features}
        ranks = np.empty(self.n_in, dtype=np.int64)
        at = 0
        for name in sorted(starts):
            ranks[starts[name] : starts[name] + widths[name]] = np.arange(at, at + widths[name])
            at += widths[name]
        return ranks

    def rows(self, n: int) -> Rows:
        """Room for n rows; LimitError, before it is asked for, where it cannot fit."""
        needed = n * self.n_in * np.dtype(self.dtype).itemsize
        tight = next((limit for limit in machine.memory() if needed > limit.free), None) if needed > SMALL else None
        if tight is None:
            return Rows(aligned((n, self.n_in), self.dtype))
        widest = max(self.features, key=lambda feature: feature.width)
        most = 2 * widest.width > self.n_in
        of = f', {widest.width:,} of them the categories of "{widest.name}",' if most else ""
        raise LimitError(
            f"{self.n_in:,} inputs{of} take {machine.size(needed)} of memory for {n:,} rows, and {tight}; use fewer "
            f"rows{', or leave the column out' if most else ' or columns'}",
            key="data.exclude" if most else "data.train",
        )

    def encode(
        self,
        table: Table,
        tally: Tally,
        rows: Array | None = None,
        out: Rows | None = None,
        *,
        consume: bool = False,
    ) -> Rows:
        """The inputs of the given rows (sorted; default all), counted in `tally`; into `out` where given.

        With `consume` the table's features are taken out of it and given back to the system as they are encoded.
        """
        inputs = self.rows(table.n if rows is None else len(rows)) if out is None else out
        x = inputs.x
        places = self._starts
        take = table.columns.pop if consume else table.columns.__getitem__
        columns = {feature.name: take(feature.name) for feature in self.features}
        numbers = [feature for feature in self.features if feature.kind == "number"]
        chunks: list[list[Array | None]] = [list(columns.pop(feature.name).chunks) for feature in numbers]
        odd = {}
        if numbers:
            at = [places[feature.name] for feature in numbers]
            found = encode_numbers(numbers, chunks, table.file, rows, x, tally.ranges, at)
            odd = dict(zip((feature.name for feature in numbers), found, strict=True))
        for feature in self.in_file:
            if feature.kind == "category":
                start = places[feature.name]
                _one_hot(feature, columns[feature.name], table, tally, rows, x[:, start : start + feature.width])
                continue
            noted = odd[feature.name]
            if noted.missing:
                tally.missing(feature.name, noted.missing)
            if len(noted.rows):
                tally.outside(table, feature.name, noted.rows, noted.values)
        tally.check()
        return inputs

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        columns: list[dict[str, Any]] = []
        for feature in self.features:
            entry: dict[str, Any] = {"name": feature.name, "kind": feature.kind}
            if feature.kind == "category":
                entry |= {"levels": list(feature.levels), "missing_level": feature.missing_level}
            columns.append(entry)
        return {"columns": columns, "file_columns": list(self.names), "dtype": self.dtype}

    def arrays(self) -> dict[str, Array]:
        """The part that is numbers, by the checkpoint's names: one float64 for each number column, in order."""
        numbers = [feature for feature in self.features if feature.kind == "number"]
        if not numbers:
            return {}
        return {
            f"preprocess/{name}": np.array([getattr(feature, name) for feature in numbers], dtype=np.float64)
            for name in NUMBERS
        }

    @staticmethod
    def restore(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Encoder:
        """The encoder that `header` and `arrays` describe."""
        features: list[Feature] = []
        j = 0
        for entry in header["columns"]:
            if entry["kind"] == "number":
                fill, mean, scale, low, high = (float(arrays[f"preprocess/{name}"][j]) for name in NUMBERS)
                features.append(Feature(entry["name"], "number", fill, mean, scale, low, high))
                j += 1
            else:
                features.append(
                    Feature(
                        entry["name"],
                        "category",
                        levels=tuple(entry["levels"]),
                        missing_level=bool(entry["missing_level"]),
                    )
                )
        return Encoder(tuple(features), tuple(header["file_columns"]), header["dtype"])


def fit_encoder(
    table: Table,
    names: Sequence[str],
    training: Array,
    preprocess: Preprocess,
    dtype: str,
    order: Sequence[str] = (),
) -> tuple[Encoder, list[str]]:
    """The encoder of the named columns, fitted on the training rows of a table, and notices.

    Numbers come first, then categories, each in the order of the table; or all in the `order` that a run began with.
    """
    with ThreadPoolExecutor(PAIR) as pool:
        fitted = list(pool.map(lambda name: _fit(table.columns[name], training, preprocess, dtype), names))
    constant = [found.feature.name for found in fitted if found.constant]
    empty = [found.feature.name for found in fitted if found.empty]
    identifiers = [found.feature.name for found in fitted if found.identifier]
    notices = []
    if constant:
        notices.append(f"constant in training, so of no use: {listed(constant)}")
    if empty:
        notices.append(f"without a value in training, so of no use: {listed(empty)}")
    why = "whole numbers of 17 digits or more, which lose their last digits"
    notices += [
        f'column "{name}" looks like an identifier: {why}; list it under data.exclude, or under data.categorical'
        for name in identifiers
    ]
    small = [found for found in fitted if found.vanishing]
    if small:
        said = ", ".join(f'"{found.feature.name}" {found.vanishing:,}' for found in small[:10])
        rest = f" {more(len(small) - 10, 'columns')}" if len(small) > 10 else ""
        notices.append(
            f"numbers too small for {dtype}, which count as 0: {said}{rest}; set preprocess.numeric: standard, or give "
            "them in a smaller unit"
        )
    encoder = Encoder(_ordered([found.feature for found in fitted], order), table.names, dtype)
    wide = [feature for feature in encoder.features if feature.kind == "category" and feature.width > MANY_LEVELS]
    width = sum(feature.width for feature in wide)
    if 2 * width > encoder.n_in:
        notices.append(
            f"{width:,} of {encoder.n_in:,} inputs are categories of {listed(feature.name for feature in wide)}; list "
            "under data.exclude what is of no use"
        )
    return encoder, notices


def _ordered(features: Sequence[Feature], order: Sequence[str]) -> tuple[Feature, ...]:
    """Numbers first, so that they are a slice of the inputs; or as in `order`, if it has all of them."""
    places = {name: i for i, name in enumerate(order)}
    if all(feature.name in places for feature in features):
        return tuple(sorted(features, key=lambda feature: places[feature.name]))
    return tuple(sorted(features, key=lambda feature: feature.kind != "number"))


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in quotes, the first ten of them and how many more."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in names[:most]) + more


@dataclass(frozen=True)
class _Fitted:
    """A feature, and what was remarkable in its column."""

    feature: Feature
    constant: bool = False
    empty: bool = False
    identifier: bool = False
    vanishing: int = 0


def _fit(column: Column, training: Array, preprocess: Preprocess, dtype: str) -> _Fitted:
    if not column.numeric:
        return _Fitted(_fit_category(column, training))
    values = column.numbers()[training]
    if not len(values) or np.isnan(values.min()):
        values = values[~np.isnan(values)]
    if not len(values):
        return _Fitted(Feature(column.name, "number"), empty=True)
    low, high = float(values.min()), float(values.max())
    # The mean of the middle two goes over their sum, which huge numbers make infinite.
    part = 0.5 if max(-low, high) > np.finfo(np.float64).max / 2 else 1.0
    mean, scale = moments(values) if preprocess.numeric == "standard" else (0.0, 1.0)
    fill = median(values * part if part < 1 else values) / part if high - low < np.inf else 0.0
    identifier = (
        max(-low, high) >= IDENTIFIER
        and float(np.median(np.minimum(np.abs(values), 2 * IDENTIFIER))) >= IDENTIFIER
        and bool((values == np.floor(values)).all())
    )
    feature = Feature(column.name, "number", fill, mean, scale, low, high)
    return _Fitted(feature, low == high, False, identifier, vanishing(values, mean, scale, dtype))


def _fit_category(column: Column, training: Array) -> Feature:
    assert column.codes is not None
    codes = column.codes[training]
    same = keys(column.levels)
    levels = tuple(sorted({same[i] for i in np.unique(codes[codes >= 0]).tolist()}))
    return Feature(column.name, "category", levels=levels, missing_level=bool((codes < 0).any()))


def _one_hot(feature: Feature, column: Column, table: Table, tally: Tally, rows: Array | None, out: Array) -> None:
    """Ones at the levels of the rows; zeros for what training has not seen."""
    assert column.codes is not None
    codes = column.codes if rows is None else column.codes[rows]
    unseen = -2
    found = [feature.lookup.find(text) for text in column.levels]
    lut = np.array([unseen if i is None else i for i in found] + [-1], dtype=np.int64)
    at = lut[codes]
    missing = np.flatnonzero(at == -1)
    if len(missing):
        tally.missing(feature.name, len(missing))
        if feature.missing_level:
            at[missing] = len(feature.levels)
    strange = np.flatnonzero(at == unseen)
    if len(strange):
        tally.unseen(
            table,
            feature.name,
            strange if rows is None else rows[strange],
            [column.levels[codes[i]] for i in strange],
        )
    out[...] = 0
    known = np.flatnonzero(at >= 0)
    out[known, at[known]] = 1
