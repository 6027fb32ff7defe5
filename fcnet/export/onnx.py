"""A net as an ONNX graph: an input for each column, in plain operations of opset 17."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fcnet
from fcnet import extras
from fcnet.backends.ops import Array
from fcnet.data.encodings import CategoryColumn, NumberColumn, OfNumbers
from fcnet.data.encodings.quantile import EDGE, MIDDLE, TAIL, Quantile
from fcnet.data.target import Numbers
from fcnet.errors import UsageError, escape
from fcnet.export.checking import Samples
from fcnet.export.format import Wish
from fcnet.export.graph import Graph
from fcnet.export.tensors import Names, Printer, lower, spellings
from fcnet.formulas import Expr, Formula
from fcnet.records import dataclass, field

OPSET, ML_OPSET, IR = 17, 3, 8
"""The lowest opset that has all that is used, and its companions: readers of 2022 know them."""

NODES = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log",
    "tanh": "Tanh", "sqrt": "Sqrt", "erf": "Erf", "cos": "Cos", "min": "Min", "max": "Max", "pow": "Pow",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "where": "Where",
}  # fmt: skip
OUTPUTS = "prediction", "probabilities"


@dataclass
class Nodes(Printer):
    """The nodes and constants of a graph; values know their types."""

    wish: Wish
    inputs: dict[str, tuple[str, type]]
    """What each column is called, and the type of its cells."""
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    types: dict[str, np.dtype[Any]] = field(default_factory=dict)
    _keys: dict[Any, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    reads = np.dtype(np.float32)

    def __post_init__(self) -> None:
        self._taken |= {*OUTPUTS, *self.inputs}
        self.types |= {name: np.dtype(kind) for name, (_, kind) in self.inputs.items()}

    def new(self, name: str) -> str:
        """A name that nothing has yet."""
        made, number = name, 1
        while made in self._taken:
            number += 1
            made = f"{name}_{number}"
        self._taken.add(made)
        return made

    def node(self, op: str, inputs: Sequence[str], name: str, dtype: Any, **attributes: Any) -> str:
        """The result of a node."""
        from onnx import helper

        made = self.new(name)
        self.nodes.append(helper.make_node(op, [*inputs], [made], name=made, **attributes))
        self.types[made] = np.dtype(dtype)
        return made

    def like(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """The same, where the result has the type of the first input."""
        return self.node(op, inputs, name, self.types[inputs[0]], **attributes)

    def constant(self, array: Array, name: str) -> str:
        """An initializer, the same for equal ones."""
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes() if array.dtype.kind != "O" else tuple(array.tolist())
        if key not in self._keys:
            self._keys[key] = made = self.new(name)
            self.constants[made], self.types[made] = array, array.dtype
        return self._keys[key]

    def whole(self, *values: int) -> str:
        """A vector of whole numbers."""
        return self.constant(np.array(values, np.int64), "n")

    def numbers(self, features: Sequence[NumberColumn]) -> str:
        """Side by side, filled where one is NaN."""
        v = self._cells(features)
        fill = self.constant(np.array([[feature.fill for feature in features]], np.float32), "fill")
        return self.node("Where", [self.node("IsNaN", [v], "missing", bool), fill, v], "v", np.float32)

    def missing(self, features: Sequence[NumberColumn]) -> str:
        """Those that are NaN."""
        return self.node("IsNaN", [self._cells(features)], "missing", bool)

    def _cells(self, features: Sequence[NumberColumn]) -> str:
        names = [feature.name for feature in features]
        return names[0] if len(names) == 1 else self.concat(names)

    def level(self, feature: CategoryColumn) -> str:
        """By a table of texts; or the code that comes in, where it is one."""
        if self.wish.strings == "codes":
            return self._within(feature.name, feature.size)
        found = spellings(feature) | ({"": len(feature.levels)} if feature.missing_level else {})
        found = found or {"": -1}
        return self.node(
            "LabelEncoder",
            [feature.name],
            "level",
            np.int64,
            domain="ai.onnx.ml",
            keys_strings=[*found],
            values_int64s=[*found.values()],
            default_int64=-1,
        )

    def _within(self, code: str, size: int) -> str:
        least, most = (self.constant(np.array(v, np.int64), "n") for v in (0, size))
        there = [self.node("GreaterOrEqual", [code, least], "c", bool), self.node("Less", [code, most], "c", bool)]
        unknown = self.constant(np.array(-1, np.int64), "unknown")
        return self.node("Where", [self.node("And", there, "c", bool), code, unknown], "level", np.int64)

    def encoded(self, encoding: OfNumbers, v: str, state: Mapping[str, Array]) -> str:
        """Quantiles column by column; there is no other encoding without a formula."""
        if not isinstance(encoding, Quantile):
            raise UsageError(f"preprocess.numeric: {encoding.name} cannot be exported as ONNX; choose --format python")
        columns = []
        for i, quantiles in enumerate(state["quantiles"]):
            columns.append(self._quantile(self.cast(self.part(v, i, i + 1), np.dtype(np.float64)), quantiles))
        return columns[0] if len(columns) == 1 else self.concat(columns)

    def _quantile(self, x: str, q: Array) -> str:
        """Φ⁻¹(p) of x (N, 1) float64, p the share of training below it, as `quantile.py` has both."""
        n = len(q)

        def one(value: float) -> str:
            return self.constant(np.array(value, np.float64), "k")

        table, last = self.constant(q[None, :], "quantiles"), self.constant(np.array(n - 1, np.int64), "n")

        def do(op: str, *args: str, dtype: Any = np.float64, **attributes: Any) -> str:
            return self.node(op, args, "q", dtype, **attributes)

        def count(op: str) -> str:
            held = do("Cast", do(op, x, table, dtype=bool), dtype=np.int64, to=_kind(np.int64))
            return do("ReduceSum", held, self.whole(1), dtype=np.int64, keepdims=1)

        def step(low: str) -> str:
            """How many steps lie below x, which stands between the quantiles `low` and the next."""
            nought, before = (self.constant(np.array(v, np.int64), "n") for v in (0, n - 2))
            low = do("Max", do("Min", low, before, dtype=np.int64), nought, dtype=np.int64)
            high = do("Add", low, self.constant(np.array(1, np.int64), "n"), dtype=np.int64)
            flat = self.constant(q, "quantiles")
            a, b = do("Gather", flat, low), do("Gather", flat, high)
            width = do("Sub", b, a)
            width = do("Where", do("Greater", width, one(0.0), dtype=bool), width, one(1.0))
            part = do("Div", do("Sub", x, a), width)
            return do("Add", do("Cast", low, to=_kind(np.float64)), part)

        unit = self.constant(np.array(1, np.int64), "n")
        up = step(do("Sub", count("GreaterOrEqual"), unit, dtype=np.int64))
        down = step(do("Sub", count("Greater"), unit, dtype=np.int64))
        p = do("Div", do("Mul", do("Add", up, down), one(0.5)), do("Cast", last, to=_kind(np.float64)))
        least = do("LessOrEqual", x, one(q[0]), dtype=bool)
        greatest = do("GreaterOrEqual", x, one(q[-1]), dtype=bool)
        p = do("Where", greatest, one(1.0), do("Where", least, one(0.0), p))
        p = do("Where", do("And", least, greatest, dtype=bool), one(0.5), p)
        p = do("Max", do("Min", p, one(1.0 - EDGE)), one(EDGE))

        def ratio(polynomials: Sequence[Sequence[float]], z: str) -> str:
            made = []
            for coefficients in polynomials:
                value = one(coefficients[-1])
                for c in reversed(coefficients[:-1]):
                    value = do("Add", do("Mul", value, z), one(c))
                made.append(value)
            return do("Div", *made)

        away = do("Sub", p, one(0.5))
        near = do("Mul", away, ratio(MIDDLE, do("Sub", one(0.180625), do("Mul", away, away))))
        tail = do("Min", p, do("Sub", one(1.0), p))
        r = do("Sub", do("Sqrt", do("Neg", do("Log", tail))), one(1.6))
        far = do("Mul", do("Sign", away), ratio(TAIL, r))
        return do("Where", do("Greater", do("Abs", away), one(0.425), dtype=bool), far, near)

    def cast(self, x: str, dtype: np.dtype[Any]) -> str:
        """A node where the type is another."""
        return x if self.types[x] == dtype else self.node("Cast", [x], "x", dtype, to=_kind(dtype))

    def one_hot(self, levels: str, widths: Sequence[int], dtype: np.dtype[Any]) -> str:
        """Compared with the places that there are."""
        column = self.whole(*np.repeat(np.arange(len(widths)), widths).tolist())
        place = self.whole(*(i for n in widths for i in range(n)))
        each = self.node("Gather", [levels, column], "level", np.int64, axis=1)
        return self.node("Cast", [self.node("Equal", [each, place], "is", bool)], "x", dtype, to=_kind(dtype))

    def matmul(self, a: str, b: str, name: str) -> str:
        """One node."""
        return self.like("MatMul", [a, b], name)

    def apply(self, formula: Formula, arrays: Names, names: Names, dtype: np.dtype[Any]) -> dict[str, str]:
        """A node for each operation."""
        known: dict[int, str] = {}
        for e in formula.nodes():
            if e.op == "sym":
                known[id(e)] = self.cast(arrays[str(e.value)], dtype)
            elif e.op == "const":
                known[id(e)] = self.constant(np.array(e.value, dtype), "k")
            else:
                known[id(e)] = self._made(e, [known[id(arg)] for arg in e.args], dtype, "t")
        return {name: known[id(e)] for name, e in formula.results.items()}

    def _made(self, e: Expr, args: list[str], dtype: np.dtype[Any], name: str) -> str:
        match e.op:
            case "log1p":
                one = self.constant(np.array(1, dtype), "k")
                return self.like("Log", [self.like("Add", [args[0], one], name)], name)
            case "expm1":
                one = self.constant(np.array(1, dtype), "k")
                return self.like("Sub", [self.like("Exp", args, name), one], name)
            case "row_sum":
                return self.like("ReduceSum", [*args, self.whole(-1)], name, keepdims=1)
            case "row_mean" | "row_max":
                return self.like("ReduceMean" if e.op == "row_mean" else "ReduceMax", args, name, axes=[-1], keepdims=1)
            case "width":
                shape = self.node("Shape", args, name, np.int64, start=-1)
                return self.cast(shape, dtype)
            case "lt" | "le" | "gt" | "ge":
                return self.node(NODES[e.op], args, name, bool)
        return self.node(NODES[e.op], args, name, dtype)

    def part(self, x: str, start: int, stop: int) -> str:
        """A slice."""
        return self.like("Slice", [x, *(self.whole(v) for v in (start, stop, 1))], "x")

    def pick(self, x: str, columns: Array) -> str:
        """By their numbers."""
        return self.like("Gather", [x, self.whole(*columns.tolist())], "x", axis=1)

    def concat(self, xs: Sequence[str]) -> str:
        """As they come."""
        return self.like("Concat", xs, "x", axis=1)

    def by_feature(self, x: str, n: int, m: int) -> str:
        """A 0 in a shape leaves the number of rows as it is, which may be 0.

        The last axis, of one, is a detour: onnxruntime before 1.32 makes one node of `Transpose` and `MatMul`, which
        ends the process where there are no rows.
        """
        apart = self.like("Reshape", [x, self.whole(0, n, m, 1)], "x")
        swapped = self.like("Transpose", [apart], "x", perm=[1, 0, 2, 3])
        return self.like("Squeeze", [swapped, self.whole(3)], "x")

    def by_row(self, x: str, width: int) -> str:
        """The way back."""
        return self.like("Reshape", [self.like("Transpose", [x], "x", perm=[1, 0, 2]), self.whole(0, width)], "x")

    def take(self, table: Array, codes: str, first: Sequence[int], name: str) -> str:
        """Three nodes for the rows' numbers, and one for the rows."""
        whole = self.constant(table, name)
        last, nought = (self.constant(np.array(v, np.int64), "n") for v in (len(table) - 1, 0))
        unknown = self.node("Less", [codes, nought], "is", bool)
        at = self.node("Add", [codes, self.whole(*first)], "at", np.int64)
        at = self.node("Where", [unknown, last, at], "at", np.int64)
        found = self.node("Gather", [whole, at], "e", table.dtype, axis=0)
        return self.like("Reshape", [found, self.whole(0, len(first) * table.shape[1])], "e")


def _kind(dtype: Any) -> int:
    """ONNX's number of a type."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _labels(classes: Sequence[Any]) -> Array:
    """The classes as an array of one type."""
    kinds = {type(label) for label in classes}
    if kinds == {bool}:
        return np.array(classes, bool)
    if kinds <= {int, float} and (kinds == {float} or all(abs(label) < 2**53 for label in classes)):
        return np.array(classes, np.int64 if kinds == {int} else np.float64)
    return np.array([str(label) for label in classes], object)


@dataclass(frozen=True)
class Output:
    """An output of the graph: its value there, and how many numbers it has of a row, 0 where it has one and no axis."""

    value: str
    width: int


def outputs(graph: Graph, nodes: Nodes, p: str) -> dict[str, Output]:
    """The outputs by their names."""
    target = graph.head.target
    n = target.width
    if isinstance(target, Numbers):
        found, kept = {}, graph.head.loss.said
        types = {each.dtype for each in graph.told}
        dtype = np.dtype(np.float64 if "float64" in types else np.float32)
        for i, each in enumerate(kept):
            value = nodes.cast(p if len(kept) == 1 else nodes.part(p, i * n, (i + 1) * n), dtype)
            flat = value if n > 1 else nodes.like("Reshape", [value, nodes.whole(-1)], "y")
            found[each.column.replace("{}", "")] = Output(flat, n if n > 1 else 0)
        return found
    if target.classes is None:
        return {"prediction": Output(_above(graph, nodes, p, 0.5), n), "probabilities": Output(p, n)}
    if target.threshold == 0.5:
        decided = nodes.node("ArgMax", [p], "at", np.int64, axis=1, keepdims=0)
    else:
        second = _above(graph, nodes, nodes.part(p, 1, 2), target.threshold)
        decided = nodes.like("Reshape", [second, nodes.whole(-1)], "at")
    labels = _labels(target.classes)
    if labels.dtype.kind != "O" or nodes.wish.strings != "codes":
        decided = nodes.node("Gather", [nodes.constant(labels, "labels"), decided], "y", labels.dtype)
    return {"prediction": Output(decided, 0), "probabilities": Output(p, n)}


def _above(graph: Graph, nodes: Nodes, p: str, threshold: float) -> str:
    """1 where p is above the threshold, else 0."""
    above = nodes.node("Greater", [p, nodes.constant(np.array(threshold, graph.dtype), "k")], "is", bool)
    return nodes.node("Cast", [above], "y", np.int64, to=_kind(np.int64))


def printed(graph: Graph, wish: Wish) -> bytes:
    """The file. UsageError for a column that is called like an output."""
    from onnx import TensorProto, checker, helper, numpy_helper

    encoder = graph.encoder
    texts = np.int64 if wish.strings == "codes" else object
    kinds = {each.name: np.float32 if isinstance(each, NumberColumn) else texts for each in encoder.features}
    taken = sorted({*encoder.columns} & {*OUTPUTS})
    if taken:
        raise UsageError(
            f'column "{taken[0]}" is called like an output of the graph; rename it, or choose another format'
        )
    nodes = Nodes(wish, {column: (column, kinds[column]) for column in encoder.columns})
    made = outputs(graph, nodes, lower(graph, nodes))
    for name, each in made.items():  # under their own names
        nodes.nodes.append(helper.make_node("Identity", [each.value], [name], name=name))

    def kind(dtype: Any) -> int:
        return int(TensorProto.STRING) if np.dtype(dtype).kind == "O" else _kind(dtype)

    given = [helper.make_tensor_value_info(name, kind(kinds[name]), ["N", 1]) for name in encoder.columns]
    said = []
    for name, each in made.items():
        shape: list[str | int | None] = ["N", each.width] if each.width else ["N"]
        said.append(helper.make_tensor_value_info(name, kind(nodes.types[each.value]), shape))
    held = helper.make_graph(
        nodes.nodes,
        escape(wish.name),
        given,
        said,
        [numpy_helper.from_array(array, name) for name, array in nodes.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    opsets += [helper.make_opsetid("ai.onnx.ml", ML_OPSET)] if any(n.domain for n in nodes.nodes) else []
    model = helper.make_model(held, opset_imports=opsets, ir_version=IR, producer_name="fcnet")
    model.producer_version = fcnet.__version__
    helper.set_model_props(model, {name: json.dumps(value, ensure_ascii=False) for name, value in about(graph).items()})
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def about(graph: Graph) -> dict[str, Any]:
    """What a reader may want to know: task, targets, classes, and for each column its kind; of categories the texts,
    whose places are their codes, and the code of a missing cell. −1 is a category that training has not seen."""
    target = graph.head.target
    columns: list[dict[str, Any]] = []
    for feature in graph.encoder.in_file:
        columns.append({"name": feature.name, "kind": feature.kind})
        if isinstance(feature, CategoryColumn):
            missing = len(feature.levels) if feature.missing_level else -1
            columns[-1] |= {"vocabulary": [*feature.levels], "missing": missing}
    classes = None if target.classes is None else [*target.classes]
    return {"task": target.task, "targets": [*target.names], "classes": classes, "columns": columns}


class Onnx:
    """One file."""

    suffixes = (".onnx",)
    single = True
    codes = True

    def following(self, path: Path) -> str:
        """A session."""
        code = f"import onnxruntime; onnxruntime.InferenceSession({json.dumps(str(path), ensure_ascii=False)})"
        return f"python -c {shlex.quote(code)}"

    def files(self, graph: Graph, wish: Wish, samples: Samples) -> dict[str, bytes]:
        """The graph; UsageError where the package onnx is not there."""
        found = extras.fault("onnx", _trial)
        if found is not None:
            raise UsageError(f"--format onnx: the package onnx {found.what}: {found.cure}")
        return {".onnx": printed(graph, wish)}

    def predicts(self, graph: Graph, wish: Wish, files: Mapping[str, bytes], samples: Samples) -> Mapping[str, Any]:
        """By the reference that the package brings along."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        given: dict[str, Array] = {}
        for feature in graph.encoder.features:
            cells = samples.columns[feature.name]
            if isinstance(feature, NumberColumn):
                given[feature.name] = np.asarray(cells, np.float32).reshape(-1, 1)
            elif wish.strings == "codes":
                given[feature.name] = codes(feature, cells)
            else:
                given[feature.name] = np.array([*cells], object).reshape(-1, 1)
        session = ReferenceEvaluator(onnx.load_from_string(files[".onnx"]))
        with np.errstate(all="ignore"):
            made = dict(zip(session.output_names, session.run(None, given), strict=True))
        return told(graph, made)


def codes(feature: CategoryColumn, cells: Any) -> Array:
    """The codes (n, 1) of texts, as a reader of the vocabulary makes them."""
    place = spellings(feature) | {"": len(feature.levels) if feature.missing_level else -1}
    return np.array([place.get(text, -1) for text in cells], np.int64).reshape(-1, 1)


def told(graph: Graph, made: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of predictions, of the outputs."""
    target, n = graph.head.target, graph.head.target.width
    if isinstance(target, Numbers):
        both = np.concatenate([np.asarray(made[each]).reshape(-1, n) for each in made], axis=1)
        return {each.name: both[:, each.i] for each in graph.told}
    p, decided = made["probabilities"], np.asarray(made["prediction"])
    found: dict[str, Any] = {each.name: p[:, each.i] for each in graph.told if each.what == "number"}
    if target.classes is None:
        return found | {each.name: decided[:, each.i] for each in graph.told if each.what == "yes"}
    known = {key: label for label in target.classes for key in (label, str(label))}
    coded = decided.dtype.kind == "i" and not all(isinstance(label, int) for label in target.classes)
    return found | {"prediction": [target.classes[v] if coded else known[v] for v in decided.tolist()]}


def _trial() -> Any:
    import onnx

    onnx.helper.make_opsetid("", OPSET)
    return onnx
