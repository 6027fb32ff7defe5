"""A graph in the language of formats that compute on whole arrays of any number of rows: each result has a name.

Buffers vanish: what is read of one is the result that was written there, or parts of several side by side.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fcnet.backends.ops import Apply, Array, Matmul, Ref, Take
from fcnet.data.encodings import CategoryColumn, Fitted, NumberColumn, OfNumbers
from fcnet.data.spelling import TRUTHS, Lookup
from fcnet.export.graph import Graph, places
from fcnet.formulas import Expr, Formula, Sym
from fcnet.formulas.transform import rebuild
from fcnet.records import dataclass, field

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
"""What stands between two numbers, in every language that has infix operators."""

Names = Mapping[str, str]


class Printer(ABC):
    """What a format says for each thing that a net does. Values are names; those of a row are (N, n), or of its
    features (n, N, m); arrays that are the same for all rows stand without N, or with 1 for it."""

    reads: np.dtype[Any] = np.dtype(np.float64)
    """What numbers come in, and are encoded in."""
    exact: bool = False
    """Whether a formula is computed in the widest type of its arrays, as `predict` does, and cast only then."""

    @abstractmethod
    def constant(self, array: Array, name: str) -> str:
        """An array."""

    @abstractmethod
    def numbers(self, features: Sequence[NumberColumn]) -> str:
        """Columns of numbers (N, k), missing ones filled."""

    @abstractmethod
    def missing(self, features: Sequence[NumberColumn]) -> str:
        """Which cells (N, k) of columns of numbers are missing, as booleans."""

    @abstractmethod
    def level(self, feature: CategoryColumn) -> str:
        """The places (N, 1) of a column's cells among its levels, the missing level behind them, −1 for the unknown."""

    @abstractmethod
    def encoded(self, encoding: OfNumbers, v: str, state: Mapping[str, Array]) -> str:
        """The inputs of numbers v (N, k) by an encoding that has no formula."""

    @abstractmethod
    def cast(self, x: str, dtype: np.dtype[Any]) -> str:
        """The numbers in another type."""

    @abstractmethod
    def one_hot(self, levels: str, widths: Sequence[int], dtype: np.dtype[Any]) -> str:
        """For each column of places (N, n) as many inputs as it has levels, 1 at the place, side by side."""

    @abstractmethod
    def matmul(self, a: str, b: str, name: str) -> str:
        """The product over the last two axes."""

    @abstractmethod
    def apply(self, formula: Formula, arrays: Names, names: Names, dtype: np.dtype[Any]) -> dict[str, str]:
        """The results of a formula; `names` is what to call them."""

    @abstractmethod
    def part(self, x: str, start: int, stop: int) -> str:
        """Columns of x (N, n)."""

    @abstractmethod
    def pick(self, x: str, columns: Array) -> str:
        """Columns of x (N, n) in any order."""

    @abstractmethod
    def concat(self, xs: Sequence[str]) -> str:
        """Side by side."""

    @abstractmethod
    def by_feature(self, x: str, n: int, m: int) -> str:
        """(N, n m) as (n, N, m)."""

    @abstractmethod
    def by_row(self, x: str, width: int) -> str:
        """(n, N, m) as (N, n m)."""

    @abstractmethod
    def take(self, table: Array, codes: str, first: Sequence[int], name: str) -> str:
        """For each code (N, n) its row of the table (K + 1, d), side by side, (N, n d); the last one for −1."""


@dataclass
class _Written:
    """What was written to one buffer: the latest results, and which of them each element is of."""

    size: int
    whole: dict[tuple[Any, ...], tuple[str, Array]] = field(default_factory=dict)

    def write(self, held: Ref, value: str) -> None:
        """A result; earlier ones that it overlaps are over."""
        at = places(held)
        gone = [key for key, (_, old) in self.whole.items() if np.intersect1d(old, at).size]
        for key in gone:
            assert set(self.whole[key][1].flat) <= set(at.flat), "a result is overwritten in part"
            del self.whole[key]
        self.whole[_key(held)] = (value, at)


def _key(held: Ref) -> tuple[Any, ...]:
    """Equal where two refs are one array; an axis of length 1 has any stride."""
    return (held.start, held.shape, tuple(s for n, s in zip(held.shape, held.strides, strict=True) if n > 1))


def lower(graph: Graph, printer: Printer) -> str:
    """Print all of a graph, from the columns on; the name of its result (N, width)."""
    return _Lowering(graph, printer).result()


class _Lowering:
    def __init__(self, graph: Graph, printer: Printer) -> None:
        self.graph, self.printer = graph, printer
        self.buffers: dict[str, _Written] = {}
        self.constants: dict[Ref, str] = {}

    def result(self) -> str:
        self._inputs()
        for op in self.graph.ops:
            match op:
                case Matmul(a, b, out):
                    self._write(out, self.printer.matmul(self._read(a), self._read(b), _word(out)))
                case Take(table, codes, first, out):
                    held = self.graph.fixed(table)
                    assert held is not None, "tables are parameters"
                    held = np.concatenate([held, np.zeros_like(held[:1])])
                    self._write(out, self.printer.take(held, self._read(codes), first, self.graph.name(table)))
                case Apply(formula, arrays, outs):
                    read = {name: self._read(each) for name, each in arrays.items()}
                    names = {name: _word(each) for name, each in outs.items()}
                    dtype = next(iter(outs.values())).dtype
                    floats = {name: each.dtype for name, each in arrays.items() if each.dtype.kind == "f"}
                    widest = np.result_type(dtype, *floats.values()) if self.printer.exact else dtype
                    if self.printer.exact:
                        read |= {
                            name: self.printer.cast(read[name], widest) for name, own in floats.items() if own != widest
                        }
                    for name, value in self.printer.apply(formula, read, names, widest).items():
                        self._write(outs[name], value if widest == dtype else self.printer.cast(value, dtype))
        return self._read(self.graph.out)

    def _write(self, out: Ref, value: str) -> None:
        self.buffers.setdefault(out.buffer.name, _Written(out.buffer.size)).write(out, value)

    def _read(self, held: Ref) -> str:
        fixed = self.graph.fixed(held)
        if fixed is not None:
            if held not in self.constants:
                self.constants[held] = self.printer.constant(fixed, self.graph.name(held))
            return self.constants[held]
        buffer = self.buffers[held.buffer.name]
        if _key(held) in buffer.whole:
            return buffer.whole[_key(held)][0]
        wanted = places(held)
        pieces = [each for each in buffer.whole.values() if np.intersect1d(each[1], wanted).size]
        flat = [self.printer.by_row(v, at.size) if at.ndim == 3 else v for v, at in pieces]
        x = flat[0] if len(flat) == 1 else self.printer.concat(flat)
        order = np.concatenate([at.reshape(-1) for _, at in pieces])
        where = np.full(buffer.size, -1)
        where[order] = np.arange(len(order))
        columns = where[wanted.reshape(-1)]
        assert (columns >= 0).all(), "what is read was written"
        start, stop = int(columns[0]), int(columns[0]) + len(columns)
        if not (columns == np.arange(start, stop)).all():
            x = self.printer.pick(x, columns)
        elif stop - start < len(order):
            x = self.printer.part(x, start, stop)
        return self.printer.by_feature(x, held.shape[0], held.shape[2]) if held.ndim == 3 else x

    def _inputs(self) -> None:
        """x and c of the columns."""
        encoder, printer = self.graph.encoder, self.printer
        of_x = [feature for feature in encoder.features if feature.into == "x"]
        pieces = [self._inputs_of(list(group)) for _, group in itertools.groupby(of_x, key=_alike)]
        if encoder.indicators:
            pieces.append(printer.cast(printer.missing(encoder.indicators), self.graph.dtype))
        if pieces:
            x = pieces[0] if len(pieces) == 1 else printer.concat(pieces)
            self.buffers["x"] = _Written(encoder.n_in)
            self.buffers["x"].whole[0, (1, encoder.n_in), (1,) if encoder.n_in > 1 else ()] = x, _range(encoder.n_in)
        codes = [feature for feature in encoder.features if isinstance(feature, CategoryColumn) and feature.into == "c"]
        if codes:
            levels = [printer.level(feature) for feature in codes]
            c, n = levels[0] if len(levels) == 1 else printer.concat(levels), len(codes)
            self.buffers["c"] = _Written(n)
            self.buffers["c"].whole[0, (1, n), (1,) if n > 1 else ()] = c, _range(n)

    def _inputs_of(self, features: list[Fitted]) -> str:
        """The inputs of neighbours that are encoded alike."""
        printer, dtype = self.printer, self.graph.dtype
        numbers = [feature for feature in features if isinstance(feature, NumberColumn)]
        if numbers:
            v, encoding = printer.numbers(numbers), numbers[0].encoding
            state = {name: np.array([each.state[name] for each in numbers]) for name in numbers[0].state}
            formula, known = numbers[0].formula, {name: values[:, 0] for name, values in state.items()}
            if formula is None:
                return printer.cast(printer.encoded(encoding, v, state), dtype)
            if formula is Sym("x"):
                return printer.cast(v, dtype)
            if printer.reads == np.float32:
                formula, known = single(numbers)
                assert formula is not None, "there was one"
            arrays = {name: printer.constant(values[None, :], name) for name, values in known.items()}
            results = printer.apply(Formula({"x": formula}), {"x": v, **arrays}, {"x": "x"}, printer.reads)
            return printer.cast(results["x"], dtype)
        categories = [feature for feature in features if isinstance(feature, CategoryColumn)]
        levels = [printer.level(feature) for feature in categories]
        codes = levels[0] if len(levels) == 1 else printer.concat(levels)
        tables = [written(feature) for feature in categories]
        if all(map(is_one_hot, tables)):
            return printer.one_hot(codes, [table.shape[1] for table in tables], dtype)
        made = [
            printer.take(table.astype(dtype), code, (0,), feature.name)
            for table, code, feature in zip(tables, levels, categories, strict=True)
        ]
        return made[0] if len(made) == 1 else printer.concat(made)


def written(feature: CategoryColumn) -> Array:
    """The inputs (levels + 1, width) of each level of a column, and behind them those of the unknown, float64."""
    made = np.zeros((feature.size + 1, feature.width))
    feature.encoding.write(feature, np.append(np.arange(feature.size), -1), made)
    return made


def is_one_hot(table: Array) -> bool:
    """Whether each level is an input of its own, and the unknown none."""
    return np.array_equal(table, np.eye(*table.shape))


def single(columns: Sequence[NumberColumn]) -> tuple[Expr | None, dict[str, Array]]:
    """The formula of columns that are encoded alike, for float32, and what it names, (k,) each; None without one.

    A difference from a number that float32 has not is taken in two steps, so that it is as exact as that of float64.
    """
    formula = columns[0].formula
    state = {name: np.array([column.state[name] for column in columns]) for name in columns[0].state}
    if formula is None:
        return None, state
    known = {name: values[:, 0].astype(np.float32) for name, values in state.items()}
    rest = {f"{name}_rest": (state[name][:, 0] - values).astype(np.float32) for name, values in known.items()}

    def change(node: Expr) -> Expr | None:
        if node.op == "sub" and node.args[1].op == "sym" and str(node.args[1].value) in known:
            return rebuild(node.args[0], change) - node.args[1] - Sym(f"{node.args[1].value}_rest")
        return None

    made = rebuild(formula, change)
    found = {**known, **rest}
    return made, {name: found[name] for name in Formula({"": made}).symbols() if name != "x"}


def spellings(feature: CategoryColumn) -> dict[str, int]:
    """The texts that formats without a `Lookup` know as a column's categories: as training has them, booleans in every
    spelling, and whole numbers with `.0` too."""
    lookup, found = Lookup(feature.levels), dict[str, int]()
    for i, level in enumerate(feature.levels):
        others = [text for text, value in TRUTHS.items() if TRUTHS.get(level.strip()) is value]
        for text in (level.strip(), *others, f"{level.strip()}.0"):
            if text and lookup.find(text) == i:
                found.setdefault(text, i)
    return found


def _alike(feature: Fitted) -> Any:
    if isinstance(feature, NumberColumn):
        return feature.encoding
    return None if is_one_hot(written(feature)) else feature.name


def _range(n: int) -> Array:
    return np.arange(n).reshape(1, n)


def _word(held: Ref) -> str:
    """What a result is called: by its buffer, `3/z_out` as z_out_3."""
    path, _, name = held.buffer.name.rpartition("/")
    return f"{name}_{path}" if path else name
