"""Fits the features' preprocessing on training rows, and turns tables into the network's inputs with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet import machine
from fcnet.backends.base import aligned
from fcnet.data.encodings import CATEGORICAL, NUMERIC, CategoryColumn, Fitted, NumberColumn, OfCategories, OfNumbers
from fcnet.data.encodings.codes import Codes
from fcnet.data.options import Filled, Preprocess
from fcnet.data.scaling import Odd, encode_numbers
from fcnet.data.spelling import Lookup, keys
from fcnet.data.statistics import median, moments, vanishing
from fcnet.data.table import Column, Table
from fcnet.data.tally import Tally
from fcnet.errors import LimitError, more
from fcnet.formulas import Sym
from fcnet.nn.rows import Rows
from fcnet.records import dataclass

Array = NDArray[Any]

PAIR = 2
"""Columns that are fitted at a time, on cores of their own; each holds a few copies of itself meanwhile."""

IDENTIFIER = 1e16
"""From here on float64 does not hold every whole number of 17 digits."""


SMALL = 1 << 26
"""Bytes for which the system need not be asked whether it has them."""

MANY_LEVELS = 100
"""A column of more categories than this is named where it makes most of the inputs."""


@dataclass(frozen=True)
class Encoder:
    """Features in the order of their inputs; `names` are all columns of the training file, in their order.

    `each`: encoders of the same columns, fitted on parts of the rows, where nets have encoders of their own. The inputs
    are those of each of them then, side by side, and `features` say what is unseen or out of range.
    """

    features: tuple[Fitted, ...]
    names: tuple[str, ...]
    dtype: str
    each: tuple[Encoder, ...] = ()

    @property
    def n_in(self) -> int:
        """The number of inputs of the network that are numbers to it."""
        if self.each:
            return sum(one.n_in for one in self.each)
        return sum(feature.width for feature in self._into("x")) + len(self.indicators)

    @property
    def indicators(self) -> tuple[NumberColumn, ...]:
        """The columns whose missing cells are an input of their own; these are the last."""
        return tuple(each for each in self.features if isinstance(each, NumberColumn) and each.indicator)

    def _flags(self) -> dict[str, int]:
        """The place of each of these inputs, by the column."""
        first = self.n_in - len(self.indicators)
        return {feature.name: first + i for i, feature in enumerate(self.indicators)}

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of levels of each column of codes."""
        if self.each:
            return tuple(n for one in self.each for n in one.levels)
        return tuple(len(feature.levels) for feature in self._into("c"))

    def shares(self) -> Iterator[dict[str, slice]]:
        """Which of the inputs, among the numbers `x` and the codes `c`, belong to each of `each`."""
        at = {"x": 0, "c": 0}
        for one in self.each:
            widths = {"x": one.n_in, "c": len(one.levels)}
            yield {name: slice(at[name], at[name] + width) for name, width in widths.items()}
            at = {name: at[name] + width for name, width in widths.items()}

    @property
    def numbers(self) -> int:
        """How many of the inputs, the first ones, are columns of numbers."""
        return sum(1 for _ in takewhile(lambda feature: feature.kind == "number", self.features))

    @cached_property
    def _lookups(self) -> dict[str, Lookup]:
        """What finds the levels of each column of categories."""
        return {
            feature.name: Lookup(feature.levels) for feature in self.features if isinstance(feature, CategoryColumn)
        }

    def _into(self, where: str) -> list[Fitted]:
        return [feature for feature in self.features if feature.into == where]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are predicted from, in the order of the file."""
        return tuple(feature.name for feature in self.in_file)

    @property
    def in_file(self) -> tuple[Fitted, ...]:
        """The features in the order of the training file."""
        place = {name: i for i, name in enumerate(self.names)}
        return tuple(sorted(self.features, key=lambda feature: place[feature.name]))

    def _starts(self) -> dict[str, int]:
        """The first input of each column, among the numbers or among the codes."""
        found: dict[str, int] = {}
        for features in (self._into("x"), self._into("c")):
            widths = accumulate((feature.width for feature in features), initial=0)
            found |= {feature.name: start for feature, start in zip(features, widths, strict=False)}
        return found

    def spans(self) -> dict[str, dict[str, list[int]]]:
        """Of each column which inputs are made of it, among the numbers `x` and the codes `c`."""
        found: dict[str, dict[str, list[int]]] = {feature.name: {} for feature in self.features}
        for one, share in zip(self.each, self.shares(), strict=True):
            for name, spans in one.spans().items():
                for into, places in spans.items():
                    found[name].setdefault(into, []).extend(share[into].start + place for place in places)
        if self.each:
            return found
        starts = self._starts()
        for each in self.features:
            found[each.name][each.into] = [*range(starts[each.name], starts[each.name] + each.width)]
        for name, place in self._flags().items():
            found[name]["x"].append(place)
        return found

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, n_in of them."""
        of_cells = (name for feature in self._into("x") for name in feature.inputs)
        return (*of_cells, *(f"{feature.name}=" for feature in self.indicators))

    @property
    def ranks(self) -> Array:
        """The place of each input, (n_in,), were the columns in the order of their names: it follows the column."""
        starts = self._starts()
        widths = {feature.name: feature.width for feature in self._into("x")}
        ranks = np.empty(self.n_in, dtype=np.int64)
        at = 0
        for name in sorted(widths):
            ranks[starts[name] : starts[name] + widths[name]] = np.arange(at, at + widths[name])
            at += widths[name]
        flags = self._flags()
        for rank, name in enumerate(sorted(flags), at):
            ranks[flags[name]] = rank
        return ranks

    def rows(self, n: int) -> Rows:
        """Room for n rows; LimitError, before it is asked for, where it cannot fit."""
        n_cat = len(self.levels)
        needed = n * (self.n_in * np.dtype(self.dtype).itemsize + n_cat * 4)
        tight = next((limit for limit in machine.memory() if needed > limit.free), None) if needed > SMALL else None
        if tight is None:
            return Rows(aligned((n, self.n_in), self.dtype), aligned((n, n_cat), np.int32) if n_cat else None)
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
        if self.each:
            replace(self, each=()).encode(table, tally, rows)
            for one, share in zip(self.each, self.shares(), strict=True):
                own = Rows(*(array[:, share[name]] for name, array in inputs.arrays.items()))
                one.encode(table, Tally(ranges=False), rows, own)
            return inputs
        places, flags = self._starts(), self._flags()
        take = table.columns.pop if consume else table.columns.__getitem__
        columns = {feature.name: take(feature.name) for feature in self.features}
        odd: dict[str, Odd] = {}
        numbers: dict[OfNumbers, list[NumberColumn]] = {}
        for feature in self.features:
            if isinstance(feature, NumberColumn):
                numbers.setdefault(feature.encoding, []).append(feature)
        for group in numbers.values():
            chunks: list[list[Array | None]] = [list(columns.pop(feature.name).chunks) for feature in group]
            where = [places[feature.name] for feature in group]
            marks = [flags.get(feature.name) for feature in group]
            found = encode_numbers(group, chunks, table.file, rows, inputs.x, tally.ranges, where, marks)
            odd |= {feature.name: each for feature, each in zip(group, found, strict=True)}
        for feature in self.in_file:
            if isinstance(feature, CategoryColumn):
                start = places[feature.name]
                into = inputs.arrays[feature.into][:, start : start + feature.width]
                lookup = self._lookups[feature.name]
                at = _places(feature, lookup, columns[feature.name], table, tally, rows)
                feature.encoding.write(feature, at, into)
                continue
            noted = odd[feature.name]
            if noted.missing:
                tally.missing(feature.name, noted.missing)
            if len(noted.rows):
                tally.outside(table, feature.name, noted.rows, noted.values)
        tally.raise_any()
        return inputs

    def header(self) -> dict[str, Any]:
        """The part that is text, for the checkpoint's header."""
        columns = [feature.header() for feature in self.features]
        return {"columns": columns, "file_columns": list(self.names), "dtype": self.dtype}

    def arrays(self) -> dict[str, Array]:
        """The part that is numbers, float64, by the checkpoint's names.

        For the columns of numbers, in order, one number or one row of each kind; for another its own, with its place
        among the columns.
        """
        numbers = [feature for feature in self.features if isinstance(feature, NumberColumn)]
        kept = [{"fill": (n.fill,), **n.state, "low": (n.low,), "high": (n.high,)} for n in numbers]
        found: dict[str, Array] = {}
        for name in dict.fromkeys(name for each in kept for name in each):
            rows = np.array([each[name] for each in kept if name in each], dtype=np.float64)
            found[f"preprocess/{name}"] = rows[:, 0] if rows.shape[1] == 1 else rows
        for i, feature in enumerate(self.features):
            if isinstance(feature, CategoryColumn):
                found |= {f"preprocess/{name}/{i}": np.array(state) for name, state in feature.state.items()}
        return found

    @staticmethod
    def restore(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Encoder:
        """The encoder that `header` and `arrays` describe; without `encoding` a column is from before there was one."""
        features: list[Fitted] = []
        taken: Counter[str] = Counter()

        def own(name: str, one: bool = True) -> tuple[float, ...]:
            """What the next column of numbers has of that name: one number, or a row."""
            taken[name] += 1
            held = arrays[f"preprocess/{name}"][taken[name] - 1]
            return (float(held),) if one else tuple(map(float, held))

        for i, entry in enumerate(header["columns"]):
            name, encoding = entry["name"], entry.get("encoding")
            if entry["kind"] == "number":
                number = NUMERIC[encoding or "standard"]()
                state = {each: own(each, hasattr(number, "f")) for each in number.state}
                (fill,), (low,), (high,) = (own(each) for each in ("fill", "low", "high"))
                features.append(NumberColumn(name, number, fill, low, high, state, bool(entry.get("indicator"))))
            else:
                category = CATEGORICAL[encoding or "one_hot"]()
                state = {each: tuple(map(float, arrays[f"preprocess/{each}/{i}"])) for each in category.state}
                features.append(
                    CategoryColumn(name, category, tuple(entry["levels"]), bool(entry["missing_level"]), state)
                )
        return Encoder(tuple(features), tuple(header["file_columns"]), header["dtype"])


def fit_encoder(
    table: Table,
    names: Sequence[str],
    training: Array,
    preprocess: Preprocess,
    dtype: str,
    order: Sequence[str] = (),
    like: Encoder | None = None,
) -> tuple[Encoder, list[str]]:
    """The encoder of the named columns, fitted on the training rows of a table, and notices.

    Numbers come first, then categories, each in the order of the table; or all in the `order` that a run began with.
    `like`: columns are encoded as they are there, whatever these rows would suggest.
    """
    as_there = {} if like is None else {feature.name: _alike(feature, preprocess) for feature in like.features}
    with ThreadPoolExecutor(PAIR) as pool:
        fitted = list(
            pool.map(lambda name: _fit(table.columns[name], training, as_there.get(name, preprocess), dtype), names)
        )
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


def _ordered(features: Sequence[Fitted], order: Sequence[str]) -> tuple[Fitted, ...]:
    """Numbers first, so that they are a slice of the inputs; codes last, in the order of their columns' names, so that
    their vectors begin alike wherever the columns stand. Or as in `order`, if it has all of them."""
    places = {name: i for i, name in enumerate(order)}
    if all(feature.name in places for feature in features):
        return tuple(sorted(features, key=lambda feature: places[feature.name]))
    codes = sorted((feature for feature in features if feature.into == "c"), key=lambda feature: feature.name)
    rest = [feature for feature in features if feature.into == "x"]
    return (*sorted(rest, key=lambda feature: feature.kind != "number"), *codes)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in quotes, the first ten of them and how many more."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in names[:most]) + more


def _alike(feature: Fitted, preprocess: Preprocess) -> Preprocess:
    """What encodes a column as `feature` is, however many levels it has."""
    if isinstance(feature, NumberColumn):
        return preprocess
    encoding = feature.encoding
    return replace(preprocess, categorical=replace(encoding, above=0) if isinstance(encoding, Codes) else encoding)


@dataclass(frozen=True)
class _Found:
    """A feature, and what was remarkable in its column."""

    feature: Fitted
    constant: bool = False
    empty: bool = False
    identifier: bool = False
    vanishing: int = 0


def _fit(column: Column, training: Array, preprocess: Preprocess, dtype: str) -> _Found:
    if not column.numeric:
        return _Found(_fit_category(column, training, preprocess.categorical))
    encoding, values, given = preprocess.numeric, column.numbers()[training], preprocess.missing
    if not len(values) or np.isnan(values.min()):
        values = values[~np.isnan(values)]
    wanted = preprocess.indicators
    indicator = len(values) < len(training) if wanted == "auto" else wanted
    if not len(values):
        state, fill = (
            encoding.fit(np.zeros(1), len(training), column.name),
            0.0 if isinstance(given, str) else given.value,
        )
        return _Found(NumberColumn(column.name, encoding, fill, state=state, indicator=indicator), empty=True)
    low, high = float(values.min()), float(values.max())
    state = encoding.fit(values, len(training), column.name)
    fill = _fill(values, given) if high - low < np.inf or not isinstance(given, str) else 0.0
    identifier = (
        max(-low, high) >= IDENTIFIER
        and float(np.median(np.minimum(np.abs(values), 2 * IDENTIFIER))) >= IDENTIFIER
        and bool((values == np.floor(values)).all())
    )
    feature = NumberColumn(column.name, encoding, fill, low, high, state, indicator)
    lost = vanishing(values, 0.0, 1.0, dtype) if feature.formula is Sym("x") else 0
    return _Found(feature, low == high, False, identifier, lost)


def _fill(values: Array, given: str | Filled) -> float:
    """What stands in for missing numbers beside the values (n,), n > 0."""
    if isinstance(given, Filled):
        return given.value
    if given == "mean":
        return moments(values)[0]
    # The mean of the middle two goes over their sum, which huge numbers make infinite.
    part = 0.5 if max(-values.min(), values.max()) > np.finfo(np.float64).max / 2 else 1.0
    return median(values * part if part < 1 else values) / part


def _fit_category(column: Column, training: Array, encoding: OfCategories) -> CategoryColumn:
    assert column.codes is not None
    codes = column.codes[training]
    same = keys(column.levels)
    levels = tuple(sorted({same[i] for i in np.unique(codes[codes >= 0]).tolist()}))
    place = {level: i for i, level in enumerate(levels)}
    at = np.array([*(place.get(each, -1) for each in same), -1], dtype=np.int64)[codes]
    return encoding.fit(column.name, levels, at)


def _places(
    feature: CategoryColumn, lookup: Lookup, column: Column, table: Table, tally: Tally, rows: Array | None
) -> Array:
    """The places of the rows' cells among the levels, −1 for what training has not seen."""
    assert column.codes is not None
    codes = column.codes if rows is None else column.codes[rows]
    unseen = -2
    found = [lookup.find(text) for text in column.levels]
    lut = np.array([unseen if i is None else i for i in found] + [-1], dtype=np.int64)
    at: Array = lut[codes]
    missing = np.flatnonzero(at == -1)
    if len(missing):
        tally.missing(feature.name, len(missing))
        if feature.missing_level:
            at[missing] = len(feature.levels)
    strange = np.flatnonzero(at == unseen)
    if len(strange):
        at[strange] = -1
        tally.unseen(
            table,
            feature.name,
            strange if rows is None else rows[strange],
            [column.levels[codes[i]] for i in strange],
        )
    return at
