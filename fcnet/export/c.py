"""A net as one C header and one C source file: C99, float32, no library, no allocation, nothing that changes."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import fcnet
from fcnet.backends.numpy import NumpyBackend
from fcnet.backends.ops import Apply, Array, Matmul, Op, Ref, Take, like
from fcnet.data.encodings import CategoryColumn, NumberColumn
from fcnet.data.target import Numbers
from fcnet.errors import UsageError, escape
from fcnet.export.checking import TOLERANCE, Samples
from fcnet.export.format import Wish
from fcnet.export.functions import FUNCTIONS, needed
from fcnet.export.graph import Graph, buffers
from fcnet.export.tensors import SIGNS, is_one_hot, single, spellings, written
from fcnet.formulas import Expr, Formula, Sym
from fcnet.formulas.expression import REDUCTIONS
from fcnet.formulas.transform import evaluate, expand_erf
from fcnet.records import dataclass, field
from fcnet.reports import summary

RESERVED = """auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof asm bool complex constexpr false imaginary noreturn nullptr static_assert thread_local true typeof
    typeof_unqual and and_eq bitand bitor catch char8_t char16_t char32_t class co_await co_return co_yield compl
    concept consteval constinit const_cast decltype delete dynamic_cast explicit export friend module mutable namespace
    new noexcept not not_eq operator or or_eq private protected public reinterpret_cast requires static_cast template
    this throw try typeid typename using virtual wchar_t xor xor_eq
    EOF I INFINITY NAN NULL errno i386 linux stderr stdin stdout unix"""
"""What is no name in some C or C++, which may include the header, or a macro of compilers and of usual headers."""
VECTORS = 24
"""Rows of the self-test."""
TEST = "SELF_TEST"
"""What the macro that makes a program of it ends in."""


def identifier(text: str, taken: Iterable[str] = ()) -> str:
    """A name for C: ASCII, Greek letters by their names, and none of those taken."""

    def spelled(c: str) -> str:
        if c.isascii() and (c.isalnum() or c == "_"):
            return c
        name = unicodedata.name(c, "")
        return name.split()[-1].lower() if name.startswith("GREEK") else "_"

    word = "".join(map(spelled, text)) or "_"
    if word[0].isdigit() or re.match("_[_A-Z]", word):  # names of the latter kind are the compiler's
        word = f"x{word}"
    word = f"{word}_" if word in RESERVED.split() else word
    made, number = word, 1
    while made in taken:
        number += 1
        made = f"{word}_{number}"
    return made


def literal(text: str) -> str:
    """A string for C: what is not plain ASCII as bytes of UTF-8 in octal digits."""
    plain = {chr(i) for i in range(32, 127)} - {'"', "\\", "?"}
    bytes_of = {c: "".join(f"\\{b:03o}" for b in c.encode("utf-8", "surrogatepass")) for c in {*text} - plain}
    return f'"{"".join(bytes_of.get(c, c) for c in text)}"'


def number(value: Any) -> str:
    """A float32 with the fewest digits that read back equal."""
    value = np.float32(value)
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = str(value)
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"


@dataclass
class Writer:
    """The lines of the function, and the tables and functions that they name."""

    graph: Graph
    prefix: str
    lines: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=lambda: {"level", "bits", "rows", "expected", "sizes", "main"})
    _tables: dict[bytes, str] = field(default_factory=dict)
    _buffers: dict[str, str] = field(default_factory=dict)

    def name(self, text: str) -> str:
        """One that nothing else has."""
        made = identifier(text, self._names)
        self._names.add(made)
        return made

    def table(self, array: Array, name: str) -> str:
        """The name of a constant array; the same for equal ones."""
        flat = np.ascontiguousarray(array, np.float32).reshape(-1)
        key = flat.tobytes()
        if key not in self._tables:
            self._tables[key] = made = self.name(name)
            cells = [*map(number, flat)]
            rows = "".join(f"    {', '.join(cells[i : i + 10])},\n" for i in range(0, len(cells), 10))
            self.tables.append(f"static const float {made}[{len(flat)}] = {{\n{rows}}};\n")
        return self._tables[key]

    def place(self, held: Ref, index: Sequence[str]) -> str:
        """An element of an array, by the indices of the axes that it is asked for with, from the last on."""
        fixed = self.graph.fixed(held)
        if fixed is not None:
            name, start = self.table(fixed, self.graph.name(held)), 0
            strides = tuple(math.prod(held.shape[i + 1 :]) for i in range(held.ndim))
        else:
            name, start, strides = self._buffers[held.buffer.name], held.start, held.strides
        axes = zip(held.shape, strides, index[len(index) - held.ndim :], strict=True)
        terms = [i if s == 1 else f"{i} * {s}" for n, s, i in axes if n > 1]
        return f"{name}[{' + '.join([*([str(start)] if start or not terms else []), *terms])}]"

    def loops(self, shape: Sequence[int], depth: int = 1) -> tuple[list[str], int]:
        """Opens a loop for each axis that is longer than 1; the indices, and how deep it is then."""
        index = []
        for axis, n in enumerate(shape):
            index.append(f"i{axis}" if n > 1 else "0")
            if n > 1:
                self.put(depth, f"for (int i{axis} = 0; i{axis} < {n}; i{axis}++) {{")
                depth += 1
        return index, depth

    def close(self, depth: int, to: int = 1) -> None:
        """The ends of loops."""
        for d in range(depth - 1, to - 1, -1):
            self.put(d, "}")

    def put(self, depth: int, text: str) -> None:
        """A line."""
        self.lines.append("    " * depth + text)

    def declare(self) -> None:
        """A local array for each buffer that is written, and for the inputs."""
        encoder = self.graph.encoder
        self._names |= {"row", "out", "i0", "i1", "i2", "i3", "at", "x", "c", "v"}
        self._names |= {f"{self.prefix}_{each}" for each in ("row", "result", "predict", "classes", "labels", TEST)}
        self._buffers |= {"x": "x", "c": "c"}
        if encoder.n_in:
            self.put(1, f"float x[{encoder.n_in}] = {{0.0f}};")
        if encoder.levels:
            self.put(1, f"int c[{len(encoder.levels)}];")
        for name, size in buffers(self.graph):
            path, _, own = name.rpartition("/")
            self._buffers[name] = made = self.name(f"{own}_{path}" if path else own)
            self.put(1, f"float {made}[{size}];")

    def operation(self, op: Op) -> None:
        """One operation on one row."""
        match op:
            case Matmul(a, b, out):
                *lead, rows, _ = out.shape
                assert rows == 1, "one row"
                self.put(1, "{")
                index, depth = self.loops(lead, 2)
                self.product(depth, [*index, "0"], a, b, out)
                self.close(depth)
            case Take(table, codes, first, out):
                held = self.graph.fixed(table)
                assert held is not None, "tables are parameters"
                name, d = self.table(held, self.graph.name(table)), table.shape[-1]
                for i, begin in enumerate(first):
                    at, to = self.place(codes, ["0", str(i)]), self.place(out[..., i * d : (i + 1) * d], ["0", "j"])
                    self.put(1, f"for (int j = 0; j < {d}; j++)")
                    self.put(2, f"{to} = {at} < 0 ? 0.0f : {name}[({begin} + {at}) * {d} + j];")
            case Apply(formula, arrays, outs):
                self.apply(formula, arrays, outs)

    def product(self, depth: int, index: Sequence[str], a: Ref, b: Ref, out: Ref) -> None:
        """out = z W of one row: the rows of W whose z is not 0, several at a time, so that out is read less often.

        The loop over them ends where a mark stands: with a count of its turns GCC jams several of them at -O3, and
        makes the sum one number at a time.
        """
        n, units = a.shape[-1], out.shape[-1]
        lead, j = index[:-1], "j" if units > 1 else "0"
        to, step = self.place(out, [*index, j]), 8 if n >= 8 else 4
        room = -(-n // step) * step
        self.put(depth, f"int used[{room + 1}], n = 0;")
        self.put(depth, f"float by[{room}];")
        self.put(depth, f"for (int k = 0; k < {n}; k++) {{")
        self.put(depth + 1, f"by[n] = {self.place(a, [*index, 'k' if n > 1 else '0'])};")
        self.put(depth + 1, "used[n] = k;")
        self.put(depth + 1, "n += by[n] != 0.0f;")
        self.put(depth, "}")
        self.put(depth, f"for (; n % {step}; n++) {{")
        self.put(depth + 1, "by[n] = 0.0f;")
        self.put(depth + 1, "used[n] = 0;")
        self.put(depth, "}")
        self.put(depth, "used[n] = -1;")
        self.put(depth, f"for (int j = 0; j < {units}; j++)")
        self.put(depth + 1, f"{to} = 0.0f;")
        self.put(depth, f"for (int i = 0; used[i] >= 0; i += {step}) {{")
        for m in range(step):
            at = f"i + {m}" if m else "i"
            self.put(depth + 1, f"const int k{m} = used[{at}];")
            self.put(depth + 1, f"const float z{m} = by[{at}];")
        terms = [f"z{m} * {self.place(b, [*lead, f'k{m}' if n > 1 else '0', j])}" for m in range(step)]
        sums = [f"({' + '.join(terms[m : m + 4])})" for m in range(0, step, 4)]
        self.put(depth + 1, f"for (int j = 0; j < {units}; j++)")
        self.put(depth + 2, f"{to} += {' + '.join(sums)};")
        self.put(depth, "}")

    def apply(self, formula: Formula, arrays: Mapping[str, Ref], outs: Mapping[str, Ref]) -> None:
        """Loops over the results' elements; what is summed over a row comes first."""
        (shape,) = {out.shape for out in outs.values()}
        printed = expand_erf(formula, single=True)
        self.put(1, "{")
        index, depth = self.loops(shape[:-1], 2)
        known: dict[int, str] = {}
        width = {id(node): _width(node, arrays) for node in printed.nodes()}
        for node in printed.nodes():
            if node.op == "width":
                known[id(node)] = number(width[id(node.args[0])])
            elif node.op in REDUCTIONS:
                known[id(node)] = made = f"r{len(known)}"
                n, (arg,) = width[id(node.args[0])], node.args
                here = [*index, "j" if n > 1 else "0"]
                start = self.text(arg, arrays, [*index, "0"], known) if node.op == "row_max" else "0.0f"
                self.put(depth, f"float {made} = {start};")
                self.put(depth, f"for (int j = {int(node.op == 'row_max')}; j < {n}; j++) {{")
                self.put(depth + 1, f"const float t = {self.text(arg, arrays, here, known)};")
                self.put(depth + 1, f"{made} = {made} < t ? t : {made};" if node.op == "row_max" else f"{made} += t;")
                self.put(depth, "}")
                if node.op == "row_mean":
                    self.put(depth, f"{made} /= {number(n)};")
        n = shape[-1]
        if n > 1:
            self.put(depth, f"for (int j = 0; j < {n}; j++) {{")
        inner, here = (depth + 1, [*index, "j"]) if n > 1 else (depth, [*index, "0"])
        uses: dict[int, int] = {}
        for node in printed.nodes():
            for arg in node.args if id(node) not in known else ():
                uses[id(arg)] = uses.get(id(arg), 0) + 1
        for node in printed.nodes():
            shared = uses.get(id(node), 0) > 1 and node.op not in ("sym", "const", "lt", "le", "gt", "ge")
            if id(node) not in known and shared:
                text = self.text(node, arrays, here, known)
                known[id(node)] = made = f"t{len(known)}"
                self.put(inner, f"const float {made} = {text};")
        values = [self.text(e, arrays, here, known) for e in printed.results.values()]
        if len(values) > 1:
            for i, value in enumerate(values):
                self.put(inner, f"const float s{i} = {value};")
            values = [f"s{i}" for i in range(len(values))]
        for name, value in zip(printed.results, values, strict=True):
            self.put(inner, f"{self.place(outs[name], here)} = {value};")
        self.close(inner)

    def text(self, node: Expr, arrays: Mapping[str, Ref], index: Sequence[str], known: Mapping[int, str]) -> str:
        """An expression for one element."""
        if id(node) in known:
            return known[id(node)]
        if node.op == "sym":
            return self.place(arrays[str(node.value)], index)
        if node.op == "const":
            return number(node.value)
        args = [self.text(arg, arrays, index, known) for arg in node.args]
        return self.called(node.op, args)

    def called(self, op: str, args: Sequence[str]) -> str:
        """An operation on expressions."""
        if op in SIGNS:
            return f"({args[0]} {SIGNS[op]} {args[1]})"
        if op == "neg":
            return f"(-{args[0]})"
        if op == "where":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        self.used.add(op)
        return f"{op}_of({', '.join(args)})"

    def inputs(self) -> None:
        """x and c of the row."""
        encoder = self.graph.encoder
        members, x, c = self.members(), 0, 0
        for feature in encoder.features:
            cell = f"row->{members[feature.name]}"
            if isinstance(feature, NumberColumn):
                self.used.add("is_finite")
                self.put(1, f"v = {cell} != {cell} ? {number(feature.fill)} : {cell};")
                self.put(1, "if (!is_finite_of(v))")
                self.put(2, "return 2;")
                self.put(1, f"x[{x}] = {self.encoded(feature)};")
                x += 1
                continue
            levels = self.levels(feature)
            missing = len(feature.levels) if feature.missing_level else -1
            size = len(spellings(feature))
            at = f"level_of({levels}, {size}, {cell}, {missing})"
            if feature.into == "c":
                self.put(1, f"c[{c}] = {at};")
                c += 1
                continue
            made, n = written(feature), feature.width
            self.put(1, f"at = {at};")
            if is_one_hot(made):
                self.put(1, "if (at >= 0)")
                self.put(2, f"x[{x} + at] = 1.0f;")
            else:
                table = self.table(made, f"inputs_{feature.name}")
                self.put(1, f"for (int j = 0; j < {n}; j++)")
                self.put(2, f"x[{x} + j] = {table}[(at < 0 ? {feature.size} : at) * {n} + j];")
            x += n
        for place, feature in enumerate(encoder.indicators, x):
            cell = f"row->{members[feature.name]}"
            self.put(1, f"x[{place}] = {cell} != {cell} ? 1.0f : 0.0f;")

    def encoded(self, feature: NumberColumn) -> str:
        """The input of a number v."""
        formula, state = single([feature])
        if formula is not None:
            known = {id(Sym("x")): "v", **{id(Sym(name)): number(values[0]) for name, values in state.items()}}
            return self.text(formula, {}, (), known)
        name = feature.encoding.name
        if name not in FUNCTIONS:
            raise UsageError(f"preprocess.numeric: {name} cannot be exported as C; choose --format python")
        self.used.add(name)
        tables = []
        for key, values in feature.state.items():
            whole, shown = np.array(values), f"{key}_{feature.name}"
            tables += [self.table(whole, shown), self.table(whole - whole.astype(np.float32), f"{shown}_rest")]
        return f"{name}_of({', '.join(tables)}, {len(next(iter(feature.state.values())))}, v)"

    def levels(self, feature: CategoryColumn) -> str:
        """The table of a column's categories in the order of their bytes."""
        self.used.add("level")
        made = self.name(f"levels_{feature.name}")
        found = sorted((text.encode("utf-8", "surrogatepass"), text, i) for text, i in spellings(feature).items())
        rows = "".join(f"    {{{literal(text)}, {i}}},\n" for _, text, i in found) or '    {"", -1},\n'
        self.tables.append(f"static const level {made}[] = {{\n{rows}}};\n")
        return made

    def members(self) -> dict[str, str]:
        """The names of the columns in the row."""
        found: dict[str, str] = {}
        macros = guard(self.prefix), f"{self.prefix}_{TEST}"
        for column in self.graph.encoder.columns:
            found[column] = identifier(column, (*macros, *found.values()))
        return found


def guard(prefix: str) -> str:
    """The macro by which a header is read once."""
    return f"{prefix.upper()}_H"


def _width(node: Expr, arrays: Mapping[str, Ref]) -> int:
    """How many elements of a row a node has."""
    if node.op == "sym":
        return arrays[str(node.value)].shape[-1] if arrays[str(node.value)].ndim else 1
    if node.op in REDUCTIONS or not node.args:
        return 1
    return max(_width(arg, arrays) for arg in node.args)


HEADER = """\
/* {title}
   Printed by fcnet {version}; {net}. */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

/* A row: numbers are NAN (of math.h) where they are missing, texts NULL or "". */
typedef struct {{
{row}}} {name}_row;

{result}
/* Predicts for a row. 0 when all is well; 1 for a null pointer, 2 for a number that is infinite. */
int {name}_predict(const {name}_row *row, {name}_result *out);

#ifdef __cplusplus
}}
#endif

#endif
"""
SOURCE = """\
/* {title}
   Printed by fcnet {version}; {net}. C99, float32, no library.

   It tests itself by rows of which fcnet has made predictions:
       cc -std=c99 -D{name}_SELF_TEST {said}.c -o {said} && ./{said} */
#include "{file}.h"

#include <stdint.h>

{parts}
int {name}_predict(const {name}_row *row, {name}_result *out)
{{
    if (!row || !out)
        return 1;
{body}
    return 0;
}}

#ifdef {name}_SELF_TEST
#include <math.h>
#include <stdio.h>

static const {name}_row rows[{n}] = {{
{rows}}};
static const float expected[{n}][{width}] = {{
{expected}}};
static const float sizes[{width}] = {{{sizes}}};

int main(void)
{{
    {name}_result made;
    int wrong = 0;
    for (int i = 0; i < {n}; i++) {{
        int code = {name}_predict(&rows[i], &made);
        const float found[{width}] = {{{found}}};
        for (int j = 0; j < {width}; j++) {{
            float e = expected[i][j], size = fabsf(e) > sizes[j] ? fabsf(e) : sizes[j];
            if (code || !(fabsf(found[j] - e) <= {tolerance}f * size)) {{
                printf("row %d: number %d is %g, not %g (code %d)\\n", i, j, (double)found[j], (double)e, code);
                wrong = 1;
            }}
        }}
    }}
    if (!wrong)
        printf("{n} rows as predicted\\n");
    return wrong;
}}
#endif
"""


@dataclass(frozen=True)
class Result:
    """The struct of a prediction: its text, the lines that fill it, and what reads each number of the graph back."""

    text: str
    fill: list[str]
    found: list[str]


def result(graph: Graph, name: str, out: str) -> Result:
    """What a prediction is in C; the graph's numbers are in the array `out`."""
    target, width = graph.head.target, graph.out.shape[-1]
    if isinstance(target, Numbers):
        return _numbers(graph, name, out)
    k = target.width
    labels = [str(label) for label in target.classes or target.names]
    what = "classes" if target.classes is not None else "labels"
    each = "" if target.classes is not None else f"[{k}]"
    said = f"its place in {name}_classes" if target.classes is not None else "1 for each label that is there, else 0"
    text = [
        f"/* The {what}: {_comment(', '.join(labels))}. */",
        f"extern const char *const {name}_{what}[{k}];",
        "",
        "typedef struct {",
        f"    int prediction{each}; /* {said} */",
        *(["    const char *label; /* the class */"] if target.classes is not None else []),
        f"    float probabilities[{k}];",
        f"}} {name}_result;",
        "",
    ]
    loop = f"    for (int i = 0; i < {width}; i++)"
    fill = [loop, f"        out->probabilities[i] = {out}[i];"]
    if target.classes is not None:
        most = ["    at = 0;", f"    for (int i = 1; i < {k}; i++)", f"        at = {out}[i] > {out}[at] ? i : at;"]
        fill += most if target.threshold == 0.5 else [f"    at = {out}[1] > {number(target.threshold)};"]
        fill += ["    out->prediction = at;", f"    out->label = {name}_classes[at];"]
    else:
        fill += [loop, f"        out->prediction[i] = {out}[i] > 0.5f;"]
    return Result("\n".join(text), fill, [f"made.probabilities[{i}]" for i in range(width)])


def _numbers(graph: Graph, name: str, out: str) -> Result:
    """Of numbers: a member for each that the loss says, an array where there are several targets."""
    target, said = graph.head.target, graph.head.loss.said
    n, members = target.width, list[str]()
    for each in said:
        members.append(identifier(each.column.replace("{}", ""), members))
    comment = f"/* {_comment(', '.join(target.names))}. */"
    declared = [f"    float {member}{f'[{n}]' if n > 1 else ''};" for member in members]
    text = [comment, "typedef struct {", *declared, f"}} {name}_result;", ""]
    places = [f"{member}{f'[{j}]' if n > 1 else ''}" for member in members for j in range(n)]
    fill = [f"    out->{place} = {out}[{i}];" for i, place in enumerate(places)]
    return Result("\n".join(text), fill, [f"made.{place}" for place in places])


def _comment(text: str) -> str:
    """A text within a comment: one line of printable ASCII, that neither ends it nor begins another."""
    shown = text if len(text) <= 90 else text[:87] + "..."
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", shown).encode("ascii", "backslashreplace").decode().replace("\\", "/")
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)", " ", plain)


def printed(graph: Graph, wish: Wish, samples: Samples) -> dict[str, bytes]:
    """Header and source. UsageError for a name that no source can include."""
    if re.search(r'["\\\x00-\x1f]|\?\?', wish.name):
        raise UsageError(f'-o "{escape(wish.name)}.c": a C program cannot include a file of this name; choose another')
    name, encoder, target = identifier(wish.name), graph.encoder, graph.head.target
    source = Writer(graph, name)
    source.declare()
    numbers = any(isinstance(feature, NumberColumn) for feature in encoder.features)
    texts = any(isinstance(feature, CategoryColumn) and feature.into == "x" for feature in encoder.features)
    source.lines += ["    float v;"] * numbers + ["    int at;"] * (texts or target.classes is not None)
    source.inputs()
    for op in graph.ops:
        source.operation(op)
    made = result(graph, name, source._buffers[graph.out.buffer.name])
    members = source.members()
    kinds = {feature.name: isinstance(feature, NumberColumn) for feature in encoder.features}
    row = "".join(
        f"    {'float ' if kinds[column] else 'const char *'}{members[column]}; /* {_comment(column)} */\n"
        for column in encoder.columns
    )
    labels = ""
    if not isinstance(target, Numbers):
        what, n = ("classes", len(target.classes)) if target.classes is not None else ("labels", target.width)
        cells = "".join(f"    {literal(str(label))},\n" for label in target.classes or target.names)
        labels = f"const char *const {name}_{what}[{n}] = {{\n{cells}}};\n"
    about = {
        "title": _comment(
            f"{name}: predicts {', '.join(target.names)} from {len(encoder.columns)} columns of a table."
        ),
        "version": fcnet.__version__,
        "net": _comment(summary.net(*graph.model.network.outline).replace("→", "-")),
        "name": name,
        "file": wish.name,
        "said": _comment(wish.name),
    }
    half = VECTORS // 2
    chosen = np.unique([*range(half), *np.linspace(half, len(samples) - 1, half).astype(np.int64)])
    scale = target.scale if isinstance(target, Numbers) else np.ones(target.width)
    width = graph.out.shape[-1]
    vectors = {
        "n": len(chosen),
        "width": width,
        "rows": _rows([_cell(samples.columns[column], i) for column in encoder.columns] for i in chosen.tolist()),
        "expected": _rows(map(number, samples.p[i]) for i in chosen.tolist()),
        "sizes": ", ".join(number(scale[i % len(scale)]) for i in range(width)),
        "found": ", ".join(made.found),
        "tolerance": repr(TOLERANCE),
    }
    parts = [*needed(source.used), *source.tables, *([labels] if labels else [])]
    header = HEADER.format(**about, guard=guard(name), row=row, result=made.text)
    text = SOURCE.format(**about, **vectors, parts="\n".join(parts), body="\n".join([*source.lines, *made.fill]))
    return {".c": text.encode("utf-8", "surrogateescape"), ".h": header.encode()}


def _rows(rows: Iterable[Iterable[str]]) -> str:
    return "".join(f"    {{{', '.join(row)}}},\n" for row in rows)


def _cell(cells: Array | list[str], i: int) -> str:
    return literal(cells[i]) if isinstance(cells, list) else number(cells[i])


class C:
    """A header and a source file."""

    suffixes = (".c", ".h")
    single = True
    codes = False

    def following(self, path: Path) -> str:
        """Its own test."""
        program = str(path.with_suffix(""))
        run = program if path.is_absolute() else f"./{program}"
        source, program, run = map(shlex.quote, (str(path), program, run))
        return f"cc -std=c99 -D{identifier(path.stem)}_SELF_TEST {source} -o {program} && {run}"

    def files(self, graph: Graph, wish: Wish, samples: Samples) -> dict[str, bytes]:
        """Both."""
        return printed(graph, wish, samples)

    def predicts(self, graph: Graph, wish: Wish, files: Mapping[str, bytes], samples: Samples) -> Mapping[str, Any]:
        """As C does it: row by row in float32, preprocessing included. A compiler is the user's own; with it, the test
        that the file brings along."""
        encoder = graph.encoder
        x, at = samples.inputs.x.astype(np.float32), 0
        for feature in encoder.features:
            formula, state = single([feature]) if isinstance(feature, NumberColumn) else (None, {})
            if isinstance(feature, NumberColumn) and formula is not None:
                v = np.asarray(samples.columns[feature.name], np.float64).astype(np.float32)
                values = {"x": np.where(np.isnan(v), np.float32(feature.fill), v), **state}
                x[:, at] = evaluate(formula, values)
            at += feature.width if feature.into == "x" else 0
        resident = {name: array.astype(np.float32) for name, array in graph.arrays.items()}
        one = [op.moved(_float32) for op in graph.ops]
        step = NumpyBackend().compile(one, resident)
        made = np.empty((len(samples), graph.out.shape[-1]))
        refs = {"x": like("x", x[:1]), "out": _float32(graph.out)}
        c = samples.inputs.c
        for i in range(len(samples)):
            step.put(refs["x"], x[i : i + 1])
            if c is not None:
                step.put(like("c", c[:1]), c[i : i + 1])
            with np.errstate(all="ignore"):
                step.run()
            made[i] = step.fetch(refs["out"])[0]
        return graph.table(made)


def _float32(held: Ref) -> Ref:
    """The same in float32."""
    if held.dtype.kind != "f":
        return held
    return replace(held, buffer=replace(held.buffer, dtype=np.dtype(np.float32)))
