"""Prints a formula as one fused loop over the rows and units of its arrays: a source file that Numba compiles once.

Nothing of a formula is evaluated here, and nothing of an array is looked at but its shape, strides and type. A formula
with row reductions becomes several loops over the same row, one after each reduction; what a later loop needs of an
earlier one waits in a scratch row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fcnet.backends.ops import Ref
from fcnet.formulas import Formula
from fcnet.formulas.expression import COMPARISONS, REDUCTIONS, Expr, is_const
from fcnet.records import dataclass

POINTERS = {np.dtype(np.float32): "f4", np.dtype(np.float64): "f8", np.dtype(np.uint16): "u2"}
TYPES = {"f4": "np.float32", "f8": "np.float64", "u2": "np.uint16"}
_SCALAR = {"exp": "math.exp", "expm1": "math.expm1", "log": "math.log", "log1p": "math.log1p", "tanh": "math.tanh"}
_VECTOR = {"cos": "cos4", "exp": "exp4", "expm1": "expm1_4", "log": "log4", "log1p": "log1p4", "tanh": "tanh4"}
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}

FEW = 5
"""So many units of a formula with reductions are written out one by one: then the loop over rows goes by vectors."""

WIDE = 16
"""From so many units on, a row goes by the widest vectors: one of fewer would not fill any."""

OPTIONS = 'error_model="numpy", fastmath={"contract", "nsz", "reassoc"}'

HEADER = '''"""A kernel printed by fcnet."""

import math

import numpy as np
from numba import cfunc, types

from fcnet.backends.numba.functions import cos4, exp4, expm1_4, log1p4, log4, most, over4, tanh4
from fcnet.backends.numba.pointers import f4, f8, i8, u2, wide
'''


class Strided(NamedTuple):
    """What a kernel is printed by of an array: its shape, its steps in elements, and its place: in which piece of
    memory, from which element to which, both counted from the first that the formula's arrays have there."""

    shape: tuple[int, ...]
    steps: tuple[int, ...]
    dtype: np.dtype[Any]
    place: tuple[int, int, int]

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def in_order(self) -> bool:
        """Whether its elements lie one after another."""
        along = [(n, step) for n, step in zip(self.shape, self.steps, strict=True) if n > 1]
        sizes = [n for n, _ in along]
        return all(step == math.prod(sizes[i + 1 :]) for i, (_, step) in enumerate(along))

    def meets(self, other: Strided) -> bool:
        """Whether both may have an element in common."""
        (memory, start, stop), (also, low, high) = self.place, other.place
        return memory == also and start < high and low < stop


Named = tuple[tuple[str, Strided], ...]
Groups = tuple[Named, Named, Named]
"""What a formula is over, by name: arrays, outs and sums over rows."""


@dataclass(frozen=True)
class Operand:
    """An array as the kernel sees it: its type and its step in elements along members, features, rows and units.

    Members and features that lie side by side in all arrays are one axis; where there is one of each, there is none.
    """

    kind: str
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Printed:
    """Source text of a kernel, and the arguments for these arrays: numbers first, then addresses."""

    text: str
    sizes: tuple[int, ...]
    places: tuple[tuple[int, str], ...]  # of the arrays: their group, and what they are in it
    flat: bool = False  # whether all of an array is one row
    lead: int = 0  # axes in front of rows; one less without rows
    rows: int = 0  # of scratch


def print_kernel(
    formula: Formula,
    arrays: Mapping[str, Ref],
    outs: Mapping[str, Ref],
    sums: Mapping[str, Ref],
    finite: bool = False,
) -> Printed | None:
    """The kernel, or None for arrays that it cannot walk (a step along the units other than 0 or 1).

    `finite`: no divisor is 0 or infinite in a result that counts, so that divisions may be estimated. It is printed
    once for all arrays of these forms: for layers of equal widths, members of a pack and teams of any size.
    """
    first: dict[str, tuple[int, int]] = {}  # of each buffer: its number, and the first element
    groups = tuple(
        tuple((name, _strided(x, *first.setdefault(x.buffer.name, (len(first), x.start)))) for name, x in group.items())
        for group in (arrays, outs, sums)
    )
    return _printed(tuple(formula.results.items()), groups, finite)


def _strided(x: Ref, memory: int, first: int) -> Strided:
    low, high = x.span
    return Strided(x.shape, x.strides, x.dtype, (memory, low - first, high - first))


@lru_cache(4096)
def _printed(results: tuple[tuple[str, Expr], ...], groups: Groups, finite: bool) -> Printed | None:
    arrays, outs, sums = map(dict, groups)
    return _KernelPrinter(Formula(dict(results)), arrays, outs, sums, finite).printed


class _KernelPrinter:
    def __init__(
        self,
        formula: Formula,
        arrays: Mapping[str, Strided],
        outs: Mapping[str, Strided],
        sums: Mapping[str, Strided],
        finite: bool,
    ) -> None:
        self.formula, self.sums, self.finite = formula, sums, finite
        self.kind = POINTERS[next(iter((outs or sums).values())).dtype]
        self.order = formula.nodes()
        self.named = {f"in_{node.value}": arrays[str(node.value)] for node in self.order if node.op == "sym"}
        self.named |= {f"out_{name}": array for name, array in outs.items()}
        shape = np.broadcast_shapes(*(a.shape for a in self.named.values()))
        while len(shape) < 3:
            shape = (1, *shape)
        self.shape = shape
        self.operands: dict[str, Operand] = {}
        self._names: dict[int, str] = {}
        self.variables: dict[str, str] = {}  # operand -> the pointer variable; one for the same memory
        self.printed: Printed | None = None
        reduces = any(node.op in REDUCTIONS for node in self.order)
        if not self._walk(shape, flat=not reduces and not sums):
            return
        self.printed = self._print()

    def _walk(self, shape: tuple[int, ...], flat: bool) -> bool:
        """Find every array's steps; False where they are none that the loops can make."""
        full = math.prod(shape)
        contiguous = all(a.size == 1 or (a.size == full and a.in_order) for a in self.named.values())
        self.flat = flat and contiguous
        steps: dict[str, tuple[int, ...]]
        if self.flat:
            self.shape = (full,)
            steps = {name: (int(a.size == full),) for name, a in self.named.items()}
        else:
            moves = {name: _moves(a, shape) for name, a in self.named.items()}
            moves |= {f"sum_{name}": _moves(total, shape, rows=False) for name, total in self.sums.items()}
            self.shape, steps = _merged(shape, moves)
        self.totals = {name: steps.pop(f"sum_{name}") for name in self.sums}
        if any(s[-1] not in (0, 1) for s in steps.values()):
            return False
        seen: dict[tuple[int, int, tuple[int, ...]], str] = {}
        for name, a in self.named.items():
            if a.dtype not in POINTERS:
                return False
            self.operands[name] = Operand(POINTERS[a.dtype], steps[name])
            place = (*a.place[:2], steps[name])
            self.variables[name] = seen.setdefault(place, f"p{len(seen)}")
        return True

    def _print(self) -> Printed:
        self._levels()
        self._phases()
        n = self.shape[-1]
        self.few = self.last > 0 and 1 < n <= FEW
        self.units = [str(unit) for unit in range(n)] if self.few else ["j"]
        pointers = list(dict.fromkeys(self.variables.values()))
        first = self.first = {p: next(n for n, v in self.variables.items() if v == p) for p in pointers}
        sums = list(self.sums)
        stored = {id(node): i for i, node in enumerate(self.waiting)}
        self.stored = stored
        kinds = [self.operands[first[p]].kind for p in pointers]
        names = [*pointers, *(f"sum{i}" for i in range(len(sums)))]
        kinds += [self.kind] * len(sums)
        lead, rows = range(len(self.shape) - 2), [] if self.flat else ["B"]
        steps = [f"m{m}_{name}" for m in lead for name in names] + [f"b_{p}" for p in pointers if rows]
        arguments = [*(f"M{m}" for m in lead), *rows, "n", *steps, *names, *(["row"] if stored else [])]
        body = [*(["wide()"] if self.flat or self.few or n >= WIDE else []), *self._body(pointers, sums)]
        count = len(self.shape) + len(steps)
        values = [f"q[{i}]" for i in range(count)]
        values += [f"{kind}(q[{count + i}])" for i, kind in enumerate(kinds)]
        values += [f"{self.kind}(q[{count + len(kinds)}])"] if stored else []
        unpacked = [f"{name} = {value}" for name, value in zip(arguments, values, strict=True)]
        lines = [HEADER, "", f"@cfunc(types.void(types.int64), cache=True, {OPTIONS})", "def kernel(block):"]
        lines += ["    " + line for line in ["q = i8(block)", *unpacked, *body]] + [""]
        along = [*(self.operands[first[p]].steps for p in pointers), *(self.totals[name] for name in sums)]
        sizes = [*self.shape, *(moves[m] for m in lead for moves in along)]
        sizes += [moves[-2] for moves in along[: len(pointers)] if rows]
        places = [(int(group == "out"), name) for group, _, name in (first[p].partition("_") for p in pointers)]
        places += [(2, name) for name in sums]
        return Printed("\n".join(lines), tuple(sizes), tuple(places), self.flat, len(lead) - self.flat, len(stored))

    def _levels(self) -> None:
        """Whether a node has one value a row ("row") or one a unit ("full"); numbers and 0-d symbols count as row."""
        self.level: dict[int, str] = {}
        for node in self.order:
            if node.op == "sym":
                full = self.operands[f"in_{node.value}"].steps[-1] == 1
            elif node.op in REDUCTIONS or node.op == "width":
                full = False
            else:
                full = any(self.level[id(arg)] == "full" for arg in node.args)
            self.level[id(node)] = "full" if full else "row"

    def _phases(self) -> None:
        """After how many reductions a node can be computed, and which values wait in scratch rows."""
        self.phase: dict[int, int] = {}
        for node in self.order:
            before = max((self.phase[id(arg)] for arg in node.args), default=0)
            more = node.op in REDUCTIONS and self.level[id(node.args[0])] == "full"
            self.phase[id(node)] = before + more
        self.last = max(self.phase.values())
        reads: dict[str, int] = {}  # pointer -> the last phase that loads it
        for node in self.order:
            for arg in node.args:
                if arg.op == "sym" and node.op != "width":
                    pointer = self.variables[f"in_{arg.value}"]
                    at = self.phase[id(node)] - (node.op in REDUCTIONS and self.level[id(arg)] == "full")
                    reads[pointer] = max(reads.get(pointer, 0), at)
        # An output is written when nothing later reads its memory; results that are symbols count as reads at the end.
        self.written: dict[str, int] = {}
        for name, node in self.formula.results.items():
            out = self.named.get(f"out_{name}")
            memory = {p for other, p in self.variables.items() if out is not None and self.named[other].meets(out)}
            self.written[name] = max([self.phase[id(node)], *(reads.get(p, 0) for p in memory)])
        waiting: dict[int, Expr] = {}
        for node in self.order:
            for arg in node.args:
                later = self.phase[id(node)] - (node.op in REDUCTIONS and self.level[id(arg)] == "full")
                self._wait(arg, later, waiting)
        for name, node in self.formula.results.items():
            self._wait(node, self.written[name], waiting)
        self.waiting = list(waiting.values())

    def _wait(self, node: Expr, later: int, waiting: dict[int, Expr]) -> None:
        if node.op not in ("sym", "const") and self.level[id(node)] == "full" and later > self.phase[id(node)]:
            waiting[id(node)] = node

    def _body(self, pointers: list[str], sums: list[str]) -> list[str]:
        lines = []
        scalars = [n for n in self.order if n.op == "sym" and not any(self.operands[f"in_{n.value}"].steps)]
        self.text: dict[int, str] = {}
        for node in scalars:
            name = self._name(node)
            lines.append(f"{name} = {self.variables[f'in_{node.value}']}[0]")
            self.text[id(node)] = name
        lead = range(len(self.shape) - 2)

        def start(name: str) -> str:
            return " + ".join(f"m{m} * m{m}_{name}" for m in lead)

        inner = [f"{p}_ = {start(p)}" for p in pointers if lead]
        for i, _ in enumerate(sums):
            inner += [
                f"sum{i}_ = {start(f'sum{i}') or 0}",
                "for j in range(n):",
                f"    sum{i}[sum{i}_ + j] = {TYPES[self.kind]}(0.0)",
            ]
        row: list[str] = []
        if not self.flat:
            inner.append("for b in range(B):")
            moves = {p: self.operands[self.first[p]].steps[-2] if self.few else f"b_{p}" for p in pointers}
            row = [f"{p}b = {f'{p}_ + ' if lead else ''}b * {moves[p]}" for p in pointers]
        for phase in range(self.last + 1):
            row += self._phase_lines(phase, sums)
        inner += row if self.flat else ["    " + line for line in row]
        for m in reversed(lead):
            inner = [f"for m{m} in range(M{m}):", *("    " + line for line in inner)]
        return [*lines, *inner]

    def _phase_lines(self, phase: int, sums: list[str]) -> list[str]:
        lines: list[str] = []
        # values of the whole row that became known
        for node in self.order:
            if self.level[id(node)] == "row" and self.phase[id(node)] == phase and id(node) not in self.text:
                lines += self._row_value(node)
        reductions = [
            node
            for node in self.order
            if node.op in REDUCTIONS and self.level[id(node.args[0])] == "full" and self.phase[id(node)] == phase + 1
        ]
        for node in reductions:
            start = "-np.inf" if node.op == "row_max" else "0.0"
            lines.append(f"{self._name(node)} = {TYPES[self.kind]}({start})")
        lines += self._row_writes(phase, sums)
        for unit in self.units:
            loop = self._unit_lines(phase, sums, reductions, unit)
            if self.few:
                lines += loop
            elif loop:
                lines += ["for j in range(n):", *("    " + line for line in loop)]
        for node in reductions:
            if node.op == "row_mean":
                lines.append(f"{self._name(node)} = {self._name(node)} / {TYPES[self.kind]}(n)")
            self.text[id(node)] = self._name(node)
        return lines

    def _unit_lines(self, phase: int, sums: list[str], reductions: list[Expr], unit: str) -> list[str]:
        """What is done of one unit in this phase."""
        loop: list[str] = []
        known: dict[int, str] = {}

        def scratch(node: Expr) -> str:
            place = self.stored[id(node)]
            return f"row{place}_{unit}" if self.few else f"row[{place} * n + j]"

        def value(node: Expr) -> str:
            """The variable of a node; computed or loaded on first use."""
            if self.level[id(node)] == "row":
                return self.text[id(node)]
            if id(node) not in known:
                name = self._name(node) + (f"_{unit}" if self.few else "")
                if node.op == "sym":
                    pointer = self.variables[f"in_{node.value}"]
                    code = f"{pointer}[{self._place(pointer, unit)}]"
                elif self.phase[id(node)] < phase:
                    code = scratch(node)
                else:
                    code = self._code(node, [value(arg) for arg in node.args])
                loop.append(f"{name} = {code}")
                known[id(node)] = name
            return known[id(node)]

        for node in reductions:
            x, acc = value(node.args[0]), self._name(node)
            if node.op == "row_max":
                loop.append(f"{acc} = most({acc}, {x})")
            else:
                loop.append(f"{acc} += {x}")
        now = [(scratch(node), value(node)) for node in self.waiting if self.phase[id(node)] == phase]
        loop += [f"{place} = {text}" for place, text in now]
        writes: list[str] = []
        for name, node in self.formula.results.items():
            if self.written[name] == phase and self._full(name):
                writes += self._write(name, value(node), unit, sums)
        return loop + writes

    def _row_writes(self, phase: int, sums: list[str]) -> list[str]:
        """Results of which a row has one: those of one unit, too."""
        lines: list[str] = []
        for name, node in self.formula.results.items():
            if self.written[name] == phase and not self._full(name):
                lines += self._write(name, self.text[id(node)], "", sums)
        return lines

    def _write(self, name: str, value: str, unit: str, sums: list[str]) -> list[str]:
        """Put the value into the result of that name, and add it to its sum."""
        lines = []
        if f"out_{name}" in self.variables:
            pointer = self.variables[f"out_{name}"]
            lines.append(f"{pointer}[{self._place(pointer, unit)}] = {value}")
        if name in sums:
            i = sums.index(name)
            lines.append(f"sum{i}[sum{i}_{f' + {unit}' if unit else ''}] += {value}")
        return lines

    def _place(self, pointer: str, unit: str) -> str:
        """Where a unit is, or the row's only one."""
        if self.flat:
            return unit or "0"
        return f"{pointer}b + {unit}" if unit else f"{pointer}b"

    def _full(self, name: str) -> bool:
        """Whether a result has a value for each unit; one that is only summed has."""
        return f"out_{name}" not in self.operands or self.operands[f"out_{name}"].steps[-1] == 1

    def _row_value(self, node: Expr) -> list[str]:
        name = self._name(node)
        if node.op == "const":
            self.text[id(node)] = self._number(node, self.kind)
            return []
        self.text[id(node)] = name
        if node.op == "sym":
            pointer = self.variables[f"in_{node.value}"]
            return [f"{name} = {pointer}[{self._place(pointer, '')}]"]
        if node.op == "width":
            return [f"{name} = {TYPES[self.kind]}(n)"]
        if node.op in REDUCTIONS:  # of one value: itself, or n times it
            x = self.text[id(node.args[0])]
            return [f"{name} = {x}" + (f" * {TYPES[self.kind]}(n)" if node.op == "row_sum" else "")]
        return [f"{name} = {self._code(node, [self.text[id(arg)] for arg in node.args])}"]

    def _code(self, node: Expr, args: list[str]) -> str:
        op = node.op
        if op in COMPARISONS and any(self._kind_of(arg) == "u2" for arg in node.args):
            args = [self._number(a, "u2") if a.op == "const" else text for a, text in zip(node.args, args, strict=True)]
        if op == "div" and self.kind == "f4" and self.finite:
            return f"over4({args[0]}, {args[1]})"
        if op in _SIGNS:
            return f"{args[0]} {_SIGNS[op]} {args[1]}"
        if op == "neg":
            return f"-{args[0]}"
        if op == "abs":
            return f"abs({args[0]})"
        if op == "sqrt":
            return f"np.sqrt({args[0]})"
        if op == "where":
            # A product, as in NumPy, where one side is 0: the compiler would put the other's load behind a branch.
            one, zero = self._constant(1.0), self._constant(0.0)
            if is_const(node.args[2], 0):
                return f"{args[1]} * ({one} if {args[0]} else {zero})"
            if is_const(node.args[1], 0):
                return f"{args[2]} * ({zero} if {args[0]} else {one})"
            return f"{args[1]} if {args[0]} else {args[2]}"
        if op in ("min", "max"):
            sign = ">=" if op == "min" else "<="
            x, y = args if node.args[1].op == "const" or node.args[0].op != "const" else args[::-1]
            chosen = f"{x} if not ({x} {sign} {y}) else {y}"
            if any(arg.op == "const" and arg.value == arg.value for arg in node.args):  # y is a number, not NaN
                return chosen
            return f"({chosen}) if {y} == {y} else {y}"
        if self.kind == "f4" and op in _VECTOR:
            return f"{_VECTOR[op]}({args[0]})"
        if op in _SCALAR:
            return f"{_SCALAR[op]}({args[0]})"
        if op == "cos":
            return f"{TYPES[self.kind]}(math.cos({args[0]}))"
        assert op == "pow", op
        return f"{TYPES[self.kind]}(math.pow({args[0]}, {args[1]}))"

    def _kind_of(self, node: Expr) -> str:
        return self.operands[f"in_{node.value}"].kind if node.op == "sym" else self.kind

    def _number(self, node: Expr, kind: str) -> str:
        assert isinstance(node.value, (int, float))
        return _literal(node.value, kind)

    def _constant(self, value: float) -> str:
        return _literal(value, self.kind)

    def _name(self, node: Expr) -> str:
        return self._names.setdefault(id(node), f"v{len(self._names)}")


def _moves(a: Strided, shape: tuple[int, ...], rows: bool = True) -> tuple[int, ...]:
    """The steps of an array, which may have no `rows`, along axes of this shape; 0 where it is the same along one."""
    steps = [step if n > 1 else 0 for n, step in zip(a.shape, a.steps, strict=True)]
    steps = steps if rows else [*steps[:-1], 0, *steps[-1:]]
    return (*[0] * (len(shape) - len(steps)), *steps)


def _merged(
    shape: tuple[int, ...], moves: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Shape and steps with as few axes in front of rows as do: without those of length 1, and with neighbours that lie
    side by side in every array as one."""
    kept: list[int] = [axis for axis, n in enumerate(shape[:-2]) if n > 1][:1]
    sizes = [shape[axis] for axis in kept]
    for axis in range(kept[0] + 1 if kept else len(shape), len(shape) - 2):
        if shape[axis] == 1:
            continue
        if all(steps[kept[-1]] == steps[axis] * shape[axis] for steps in moves.values()):
            kept[-1], sizes[-1] = axis, sizes[-1] * shape[axis]
        else:
            kept, sizes = [*kept, axis], [*sizes, shape[axis]]
    lead = {name: tuple(steps[axis] for axis in kept) for name, steps in moves.items()}
    return (*sizes, *shape[-2:]), {name: (*lead[name], *steps[-2:]) for name, steps in moves.items()}


def _literal(value: float, kind: str) -> str:
    """A number as the kernel's text says it; `repr` has no word of Python for what is not finite."""
    return f"{TYPES[kind]}({value!r})" if math.isfinite(value) else f"{TYPES[kind]}(float('{value!r}'))"
