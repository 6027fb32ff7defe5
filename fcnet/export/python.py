"""A net as one Python script that needs NumPy alone, with a command line of its own."""

from __future__ import annotations

import base64
import importlib.util
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fcnet
from fcnet.backends.ops import Array
from fcnet.data.encodings import CategoryColumn, NumberColumn, OfNumbers
from fcnet.data.numbers import grammar
from fcnet.export.checking import Samples
from fcnet.export.format import Wish
from fcnet.export.graph import Graph
from fcnet.export.source import taken
from fcnet.export.tensors import SIGNS, Names, Printer, lower
from fcnet.formulas import Expr, Formula
from fcnet.formulas.transform import UFUNCS, expand_erf
from fcnet.records import dataclass, field
from fcnet.reports import summary

ROWS = {"row_sum": "np.sum", "row_mean": "np.mean", "row_max": "np.max"}


@dataclass
class Script(Printer):
    """Lines of NumPy; arrays that they name are in `arrays`, functions of fcnet that they call in `called`."""

    exact = True

    lines: list[str] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    called: list[tuple[str, str]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def _new(self, name: str) -> str:
        """A name that nothing has yet, as Python spells names."""
        word = "".join(c if c.isidentifier() or (c.isalnum() and i) else "_" for i, c in enumerate(name)) or "v"
        made = word if word.isidentifier() else f"v_{word}"
        number = 1
        while made in self._taken:
            number += 1
            made = f"{word}_{number}"
        self._taken.add(made)
        return made

    def _line(self, name: str, text: str) -> str:
        made = self._new(name)
        self.lines.append(f"{made} = {text}")
        return made

    def constant(self, array: Array, name: str) -> str:
        """By its name in the checkpoint."""
        key, number = name, 1
        while key in self.arrays and not _same(self.arrays[key], array):
            number += 1
            key = f"{name}_{number}"
        self.arrays[key] = array
        return f"P[{key!r}]"

    def numbers(self, features: Sequence[NumberColumn]) -> str:
        """Side by side, filled where one is missing."""
        v = self._cells(features)
        return self._line("v", f"np.where(np.isnan({v}), {[feature.fill for feature in features]!r}, {v})")

    def missing(self, features: Sequence[NumberColumn]) -> str:
        """Those that are NaN."""
        return self._line("missing", f"np.isnan({self._cells(features)})")

    def _cells(self, features: Sequence[NumberColumn]) -> str:
        return self._line("v", f"np.stack([rows[name] for name in {[each.name for each in features]!r}], axis=1)")

    def level(self, feature: CategoryColumn) -> str:
        """As the table has them."""
        return f"rows[{feature.name!r}][:, None]"

    def encoded(self, encoding: OfNumbers, v: str, state: Mapping[str, Array]) -> str:
        """By the encoding's own function, which is written into the script."""
        self.called.append((type(encoding).__module__, type(encoding).__name__))
        held = ", ".join(f'"{name}": {self.constant(array, name)}' for name, array in state.items())
        return self._line("v", f"{type(encoding).__name__}().encode({v}.T.copy(), {{{held}}}).T")

    def cast(self, x: str, dtype: np.dtype[Any]) -> str:
        """A copy, if need be."""
        return self._line("x", f"{x}.astype(np.{dtype}, copy=False)")

    def one_hot(self, levels: str, widths: Sequence[int], dtype: np.dtype[Any]) -> str:
        """Compared with the places that there are."""
        column = self.constant(np.repeat(np.arange(len(widths)), widths), "column")
        place = self.constant(np.concatenate([np.arange(n) for n in widths]), "place")
        return self._line("x", f"({levels}[:, {column}] == {place}).astype(np.{dtype})")

    def matmul(self, a: str, b: str, name: str) -> str:
        """By BLAS."""
        return self._line(name, f"{a} @ {b}")

    def apply(self, formula: Formula, arrays: Names, names: Names, dtype: np.dtype[Any]) -> dict[str, str]:
        """A line for each result, and for what several of its parts have in common."""
        printed = expand_erf(formula, single=dtype == np.float32)
        uses: dict[int, int] = {}
        for node in printed.nodes():
            for arg in node.args:
                uses[id(arg)] = uses.get(id(arg), 0) + 1
        known: dict[int, str] = {}

        def text(node: Expr) -> str:
            if id(node) in known:
                return known[id(node)]
            if node.op == "sym":
                return arrays[str(node.value)]
            if node.op == "const":
                return f"({node.value!r})" if str(node.value).startswith("-") else repr(node.value)
            made = _call(node, [text(arg) for arg in node.args], dtype)
            if uses.get(id(node), 0) > 1:
                known[id(node)] = made = self._line("t", _bare(made))
            return made

        return {name: self._line(names[name], _bare(text(e))) for name, e in printed.results.items()}

    def part(self, x: str, start: int, stop: int) -> str:
        """A view."""
        return f"{x}[:, {start}:{stop}]"

    def pick(self, x: str, columns: Array) -> str:
        """By their numbers."""
        return f"{x}[:, {self.constant(columns, 'columns')}]"

    def concat(self, xs: Sequence[str]) -> str:
        """As they come."""
        return self._line("x", f"np.concatenate([{', '.join(xs)}], axis=1)")

    def by_feature(self, x: str, n: int, m: int) -> str:
        """A view."""
        return f"{x}.reshape(len({x}), {n}, {m}).swapaxes(0, 1)"

    def by_row(self, x: str, width: int) -> str:
        """A copy."""
        return f"{x}.swapaxes(0, 1).reshape(-1, {width})"

    def take(self, table: Array, codes: str, first: Sequence[int], name: str) -> str:
        """By their numbers."""
        whole, at = self.constant(table, name), self.constant(np.array(first, np.int64), "first")
        width = len(first) * table.shape[1]
        return self._line("e", f"{whole}[np.where({codes} < 0, -1, {codes} + {at})].reshape(-1, {width})")


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _bare(text: str) -> str:
    """Without the brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for c in text[:-1]:
        depth += (c == "(") - (c == ")")
        if not depth:
            return text
    return text[1:-1]


def _call(node: Expr, args: list[str], dtype: Any) -> str:
    if node.op in SIGNS:
        return f"({args[0]} {SIGNS[node.op]} {args[1]})"
    if node.op == "neg":
        return f"(-{args[0]})"
    if node.op == "where":  # of two numbers NumPy makes float64
        both = [
            f"np.{dtype}({arg})" if n.op == "const" else arg for arg, n in zip(args[1:], node.args[1:], strict=True)
        ]
        return f"np.where({_bare(args[0])}, {', '.join(both)})"
    if node.op == "width":
        return f"{args[0]}.shape[-1]"
    if node.op in ROWS:
        return f"{ROWS[node.op]}({_bare(args[0])}, axis=-1, keepdims=True)"
    return f"np.{UFUNCS[node.op].__name__}({', '.join(map(_bare, args))})"


SCRIPT = '''#!/usr/bin/env python3
"""{title}

    python {name}.py INPUT.csv          writes what `fcnet predict INPUT.csv -o -` writes; - reads stdin
    from {name} import predict          predict({{"column": [cells, ...], ...}}) gives columns of predictions

It needs NumPy alone. fcnet {version} has printed it from the net that it trained; `forward` below is the net.
"""

from __future__ import annotations

{imports}

{parts}


P: dict[str, Any] = {{{arrays}}}


def forward(rows: Mapping[str, Any]) -> Any:
    """{summary}"""
{lines}
    return {result}


NET = Net(
{facts})
predict = NET.predict

if __name__ == "__main__":
    sys.exit(main(NET))
'''


def printed(graph: Graph, name: str) -> str:
    """The text of the script."""
    printer, target, options = Script(), graph.head.target, graph.model.config.data
    result = lower(graph, printer)
    needed = [("fcnet.export.script", each) for each in ("Net", "main", "array")]
    imports, parts = taken([*needed, *printer.called], ("predict", "encode") if printer.called else ("predict",))
    spelling = grammar(options, graph.dtype.name)
    categories = [each for each in graph.encoder.features if isinstance(each, CategoryColumn)]
    read = {"missing": spelling.missing, "missing_text": spelling.missing_text}
    marks = f"{spelling.decimal!r}, {spelling.thousands!r}"
    sets = "".join(f"frozenset({sorted(texts)!r}), " for texts in read.values())
    facts = {
        "columns": repr({each.name: [*each.levels] if each in categories else None for each in graph.encoder.features}),
        "missing": repr({each.name: len(each.levels) for each in categories if each.missing_level}),
        "names": repr([*graph.encoder.names]),
        "targets": repr([*target.names]),
        "classes": repr([*(target.classes or ())]),
        "threshold": repr(target.threshold),
        "told": repr([(each.name, each.what, each.i, each.dtype) for each in graph.told]),
        "grammar": f"Grammar({marks}, {sets}{spelling.limit!r})",
        "delimiter": repr("," if options.delimiter == "auto" else options.delimiter),
        "header": repr(options.header),
        "forward": "forward",
    }
    widths, kinds = graph.model.network.outline
    return SCRIPT.format(
        title=_plain(
            f"{name}: predicts {', '.join(target.names)} from {len(graph.encoder.columns)} columns of a table."
        ),
        name=_plain(name),
        version=fcnet.__version__,
        imports="\n".join(imports),
        parts=parts,
        arrays="".join(f"\n    {key!r}: {_array(array)}," for key, array in printer.arrays.items()) + "\n",
        summary=summary.net(widths, kinds),
        lines=textwrap.indent("\n".join(printer.lines), "    "),
        result=result,
        facts="".join(f"    {key}={text},\n" for key, text in facts.items()),
    )


def _plain(said: str) -> str:
    """A text within a docstring, which shows it as it is."""
    return repr(said)[1:-1].replace('"', '\\"')


FEW, WIDTH = 16, 116
"""So many numbers are printed as they are; the letters of a line of others."""


def _array(array: Array) -> str:
    if array.size <= FEW:
        return f"np.array({array.tolist()!r}, np.{array.dtype})"
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b85encode(plain.tobytes()).decode()
    text = "\n".join(text[i : i + WIDTH] for i in range(0, len(text), WIDTH))
    return f'array("{plain.dtype.str}", {array.shape!r}, """\n{text}\n""")'


class Python:
    """One script that needs NumPy alone."""

    suffixes = (".py",)
    single = False
    codes = False

    def following(self, path: Path) -> str:
        """Its command line."""
        return f"python {shlex.quote(str(path))} YOUR.csv"

    def files(self, graph: Graph, wish: Wish, samples: Samples) -> dict[str, bytes]:
        """The script."""
        return {".py": printed(graph, wish.name).encode()}

    def predicts(self, graph: Graph, wish: Wish, files: Mapping[str, bytes], samples: Samples) -> Mapping[str, Any]:
        """By its own `predict`, loaded as a module from a temporary folder."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "script.py"
            path.write_bytes(files[".py"])
            spec = importlib.util.spec_from_file_location("fcnet_script", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # its dataclasses look there
            try:
                spec.loader.exec_module(module)
                made: Mapping[str, Any] = module.predict(samples.columns)
            finally:
                del sys.modules[spec.name]
        return made
