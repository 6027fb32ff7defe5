"""The NumPy backend: formulas become ufunc calls with `out=`, into the result's own memory or a few scratch buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from time import perf_counter_ns
from typing import Any

import numpy as np

from fcnet import machine, random
from fcnet.backends.base import Backend, Binding, Call, HostBackend, aligned
from fcnet.backends.offer import Offer, Products
from fcnet.backends.ops import (
    Accumulate,
    Advance,
    Apply,
    Array,
    Fill,
    Gather,
    GatherOneHot,
    Host,
    Lap,
    Load,
    Matmul,
    Norm,
    Op,
    ScatterAdd,
    Take,
    Update,
    Words,
)
from fcnet.formulas import Formula
from fcnet.formulas.expression import REDUCTIONS, Expr, is_const
from fcnet.formulas.transform import UFUNCS, expand_erf

SHARED_PRODUCT = 2**22
"""Multiplications of a product from which a second thread gains more than waiting for it costs."""


class NumpyBackend(HostBackend):
    """Plain NumPy; the definition of what every other backend must give within rounding."""

    name = "numpy"

    def __init__(self, threads: int = 1, alike: bool = False) -> None:
        """`alike`: have the same bits on one thread as on all."""
        self.threads = self.now = threads
        self._alike = alike and threads > 1
        self._scratch: dict[tuple[np.dtype[Any], int], Array] = {}

    def blas_threads(self, largest: int) -> int:
        """All where a product is large. Else one: two would wait for each other longer than they compute, and far
        longer where other programs want the cores."""
        return self.threads if largest >= SHARED_PRODUCT else 1

    def most(self, largest: int) -> int:
        """Those that BLAS is to have, where the bits do not depend on them."""
        return self.blas_threads(largest) if self._alike else 1

    def use(self, threads: int) -> None:
        """Give BLAS so many from now on."""
        self.now = threads
        machine.blas(threads)

    def _blas(self, threads: int) -> None:
        """Give BLAS so many for a while, or, with 0, what it had; where they are others."""
        if self.now != self.threads:
            machine.blas(threads or self.now)

    def bind(self, op: Op, at: Binding) -> list[Call]:
        """The calls that make one operation."""
        match op:
            case Matmul(a, b, out):
                return self._matmul(at(a), at(b), at(out))
            case Apply(formula, arrays, outs, sums):
                return self._apply(formula, at.all(arrays), at.all(outs), at.all(sums))
            case Update(formula, scalars, vectors):
                views = at.all(vectors)
                results = {name: views[name] for name in formula.results}
                return self._apply(formula, {**views, **at.all(scalars)}, results)
            case Accumulate(values, total):
                part = np.zeros(total.shape, np.float64)
                adds = (np.add.reduce, (at(values), tuple(range(total.ndim, values.ndim)), np.float64, part))
                return [adds, (np.add, (at(total), part, at(total)))]
            case Norm(g, out):
                norms = at(out).reshape(-1, 1)
                each = zip(at(g).reshape(len(norms), g.shape[-1]), norms, strict=True)
                return [call for own, norm in each for call in self._norm(own, norm.reshape(()))]
            case Words(keys, layer, position, out):
                flat = at(out).reshape(len(keys), -1)
                each_key = zip(np.array(keys, np.uint64), flat, strict=True)
                return [(_words, (key, layer, at(position), own)) for key, own in each_key]
            case Gather(x, order, position, out):
                return [(_gather, (at(x), at(order), at(position), at(out)))]
            case GatherOneHot(labels, order, position, out):
                unit = np.eye(out.shape[-1], dtype=out.dtype)
                return [(_gather_one_hot, (unit, at(labels), at(order), at(position), at(out)))]
            case Take(table, codes, first, out):
                return [(_take, (at(table), at(codes), np.array(first, np.int64), at(out)))]
            case ScatterAdd(δ, codes, first, out):
                return [(_scatter_add, (at(δ), at(codes), np.array(first, np.int64), at(out)))]
            case Fill(value, out):
                at(out)[...] = value
                return []
            case Load(table, position, out):
                return [(_load, (at(table), at(position), at(out)))]
            case Advance(rows, position):
                return [(np.add, (at(position), np.array([0, 1, rows, 1]), at(position)))]
            case Lap(_, since, total):
                return [(_lap, (at(since), at(total)))]
            case Host(function, arrays):
                return [(function, (at.all(arrays),))]
        raise AssertionError(f"no kernel for {type(op).__name__}")

    def _matmul(self, a: Array, b: Array, out: Array) -> list[Call]:
        """out = a b, by BLAS; but not a column times a row, in which OpenBLAS takes ten times as long as a loop.

        Where it adds up long sums in other blocks on one thread than on several, the product is a sum of products in
        which it does not; and where there are none, it is always made by all threads.
        """
        if a.shape[-1] == 1:
            return [(np.multiply, (a, b, out))]
        if not self._alike:
            return [(np.matmul, (a, b, out))]
        length = alike(*_form(a), *_form(b)[1:], self.threads)
        if length is None:
            return [(self._blas, (self.threads,)), (np.matmul, (a, b, out)), (self._blas, (0,))]
        calls: list[Call] = [(np.matmul, (a[..., :length], b[..., :length, :], out))]
        for start in range(length, a.shape[-1], length):
            part = self._buffer(out.shape, out.dtype, 0)
            stop = start + length
            calls += [(np.matmul, (a[..., start:stop], b[..., start:stop, :], part)), (np.add, (out, part, out))]
        return calls

    def _norm(self, g: Array, out: Array) -> list[Call]:
        """out = √(g·g)."""
        if self._alike:
            squares = self._buffer(g.shape, g.dtype, 0)
            return [(np.multiply, (g, g, squares)), (np.add.reduce, (squares, None, None, out)), (np.sqrt, (out, out))]
        return [(np.dot, (g, g, out)), (np.sqrt, (out, out))]

    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """A plain loop."""

        def run(times: int) -> None:
            for _ in range(times):
                for function, args in calls:
                    function(*args)

        return run

    def _apply(
        self, formula: Formula, arrays: Mapping[str, Array], outs: Mapping[str, Array], sums: Mapping[str, Array] = {}
    ) -> list[Call]:
        """Every result of the formula into its array, then the sums over rows; but those of symbols before, as a result
        may overwrite them.

        These are products with ones, three times as fast as np.add.reduce over the first axis.
        """
        dtype = next(iter((outs or sums).values())).dtype
        first: list[Call] = []
        last: list[Call] = []
        results = dict(outs)
        for name, total in sums.items():
            e, calls = formula.results[name], last
            if name in outs:
                summed = outs[name]
            elif e.op == "sym":
                summed, calls = arrays[str(e.value)], first
            else:
                shape = (*total.shape[:-1], max(a.shape[-2] for a in arrays.values() if a.ndim > 1), total.shape[-1])
                summed = results[name] = self._buffer(shape, dtype, len(outs) - len(results) - 1)
            calls += self._matmul(np.ones((1, summed.shape[-2]), summed.dtype), summed, total[..., None, :])
        made = Formula({name: e for name, e in formula.results.items() if name in results})
        printed = expand_erf(made, single=dtype == np.float32)
        between = _UfuncPrinter(printed, arrays, results, self._buffer).calls if made.results else []
        return [*first, *between, *last]

    def _buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any], number: int) -> Array:
        """Scratch buffer `number`: one piece of memory for all formulas, grown to the largest use; those below 0 hold
        results that are only summed."""
        size = int(np.prod(shape, dtype=np.int64))
        held = self._scratch.get((dtype, number))
        if held is None or held.size < size:
            held = self._scratch[dtype, number] = aligned(size, dtype)
        return held[:size].reshape(shape)


def _words(key: Array, layer: int, position: Array, flat: Array) -> None:
    """Four uint16 from each uint64 word, the lowest first."""
    drawn = random.words(-(-flat.size // 4), key, layer, int(position[1]), int(position[0]))
    flat[:] = drawn.astype("<u8", copy=False).view("<u2")[: flat.size]


def _gather(x: Array, order: Array, position: Array, out: Array) -> None:
    """np.take; its mode "clip" spares a buffered copy, and row numbers are always in range."""
    start = int(position[2])
    np.take(x, order[start : start + len(out)], 0, out, "clip")


def _gather_one_hot(unit: Array, labels: Array, order: Array, position: Array, out: Array) -> None:
    """Rows of the unit matrix."""
    start = int(position[2])
    np.take(unit, labels[order[start : start + len(out)]], 0, out, "clip")


def _take(table: Array, codes: Array, first: Array, out: Array) -> None:
    """Rows by fancy indices; those of −1 are cleared."""
    d = table.shape[-1]
    found = table[..., np.maximum(codes, 0) + first, :]
    found[..., codes < 0, :] = 0
    out[...] = found.reshape(*found.shape[:-2], len(first) * d)


def _scatter_add(δ: Array, codes: Array, first: Array, out: Array) -> None:
    """Member by member, row by row in their order."""
    out[...] = 0
    known, d = codes >= 0, out.shape[-1]
    rows = (codes + first)[known]
    for parts, total in zip(δ.reshape(-1, *δ.shape[-2:]), out.reshape(-1, *out.shape[-2:]), strict=True):
        np.add.at(total, rows, parts.reshape(*codes.shape, d)[known])


def _load(table: Array, position: Array, out: Array) -> None:
    """A copy of one row."""
    out[:] = table[position[3]]


def _lap(since: Array, total: Array) -> None:
    """By Python's clock."""
    now = perf_counter_ns()
    total[0] += now - since[0]
    since[0] = now


Form = tuple[np.dtype[Any], tuple[int, int], bool]


def _form(x: Array) -> Form:
    """What BLAS's way with a factor depends on: its type, its last two axes, and whether its rows lie in one piece."""
    return x.dtype, x.shape[-2:], x.strides[-1] == x.itemsize


@cache
def alike(
    dtype: np.dtype[Any], left: tuple[int, int], by_rows: bool, right: tuple[int, int], also: bool, threads: int
) -> int | None:
    """The longest sums, up to the whole ones, whose bits are the same on one thread as on so many; None for none.

    By trial, on so much of both factors as shows it: OpenBLAS cuts sums that are too long for its buffers, and rounds
    the lengths of the parts one way on one thread and another way on several.
    """
    (m, k), n = left, right[1]
    if min(m, n) > 1 and k * 512 * min(n, 512) >= SHARED_PRODUCT:
        m, n = min(m, 512), min(n, 512)
    draw = np.random.default_rng(0)

    def factor(shape: tuple[int, int], rows: bool) -> Array:
        values = draw.random(shape if rows else shape[::-1], dtype) - dtype.type(0.5)
        return np.asarray(values if rows else values.T)

    x, y = factor((m, k), by_rows), factor((k, n), also)
    for parts in (1, 2, 3, 4, 6, 8):
        length = k if parts == 1 else -(-k // (16 * parts)) * 16
        stretches = [(start, min(start + length, k)) for start in (0, k - 1 - (k - 1) % length)]
        found = []
        for number in (1, threads):
            with machine.blas(number):
                found.append([(x[:, a:b] @ y[a:b]).tobytes() for a, b in stretches])
        if found[0] == found[1]:
            return length
    return None


def scratch(formula: Formula) -> int:
    """How many scratch buffers, each of the size of a result, `NumpyBackend` takes for a formula.

    A result that is called like an argument takes its place, as in an update.
    """
    numbers: set[int] = set()

    def buffer(shape: tuple[int, ...], dtype: np.dtype[Any], number: int) -> Array:
        numbers.add(number)
        return np.zeros(shape, dtype)

    arrays = {name: np.zeros((2, 2)) for name in formula.symbols()}
    _UfuncPrinter(
        expand_erf(formula, single=False),
        arrays,
        {name: arrays[name] if name in arrays else np.zeros((2, 2)) for name in formula.results},
        buffer,
    )
    return len(numbers)


class _UfuncPrinter:
    """Prints one formula for given arrays: each node is computed once, into memory that nothing still needs."""

    def __init__(
        self,
        formula: Formula,
        arrays: Mapping[str, Array],
        outs: Mapping[str, Array],
        buffer: Callable[[tuple[int, ...], np.dtype[Any], int], Array],
    ) -> None:
        self.calls: list[Call] = []
        self.buffer = buffer
        self.dtype = next(iter(outs.values())).dtype
        self.values: dict[int, Any] = {}  # node -> array or number
        self.owner: dict[int, Array] = {}  # id of an array that a node was computed into -> the array
        self.free: list[Array] = []
        self.made = 0
        order = formula.nodes()
        self.uses = _count_uses(order, formula)
        finals = _by_node(formula, outs)
        # An output that shares memory with a symbol may be written only when that symbol is read for the last time.
        for node in order:
            if node.op == "sym":
                self.values[id(node)] = arrays[str(node.value)]
            elif node.op == "const":
                self.values[id(node)] = node.value
        self.pending = {id(node): self.uses[id(node)] for node in order if node.op == "sym" and self.uses[id(node)] > 0}
        late: list[tuple[Array, Array]] = []
        for node in order:
            if node.op in ("sym", "const"):
                continue
            wanted = finals.get(id(node), [])
            if self._fold(node):
                continue
            result = self._compute(node, wanted[0] if wanted else None)
            for out in wanted:
                if out is not result:
                    if self._read_later(out):
                        late.append((out, result))
                        self.uses[id(node)] += 1  # keep the buffer until the end
                    else:
                        self.calls.append((np.copyto, (out, result)))
        # Results that are symbols read what the late copies overwrite, and one another's memory when they swap.
        moves = [
            (outs[name], self.values[id(node)])
            for name, node in formula.results.items()
            if node.op == "sym" or not isinstance(self.values[id(node)], np.ndarray)
        ]
        for out, value in moves:
            if isinstance(value, np.ndarray) and any(
                np.may_share_memory(value, other) for other, _ in moves if other is not out
            ):
                held = self._take(np.shape(value), ())
                self.calls.append((np.copyto, (held, value)))
                late.append((out, held))
            elif out is not value:
                late.insert(0, (out, value))  # before what it reads is written over
        self.calls += [(np.copyto, pair) for pair in late]

    def _fold(self, node: Expr) -> bool:
        """Whether `node` is a number: a width, or an operation on numbers."""
        args = [self.values[id(arg)] for arg in node.args]
        if node.op == "width":
            self.values[id(node)] = float(args[0].shape[-1])
        elif any(isinstance(arg, np.ndarray) for arg in args):
            return False
        else:
            self.values[id(node)] = float(UFUNCS[node.op](*args))
        for arg in node.args:
            self._release(arg)
        return True

    def _read_later(self, out: Array) -> bool:
        """Whether a symbol that is still to be read lies in the memory of `out`."""
        return any(
            count > 0 and isinstance(self.values[key], np.ndarray) and np.may_share_memory(self.values[key], out)
            for key, count in self.pending.items()
        )

    def _compute(self, node: Expr, final: Array | None) -> Array:
        args = [self.values[id(arg)] for arg in node.args]
        shape = _shape(node, args)
        # Operands are read by this very call: an elementwise result may take their place.
        for arg in node.args:
            self._release(arg)
        # A blend writes its target before it reads its last operand.
        blended = node.op == "where" and final is not None and np.may_share_memory(final, args[2])
        if final is not None and (
            blended or final.shape != shape or self._read_later(final) or self._overlaps(final, args)
        ):
            final = None
        in_place = node.op not in REDUCTIONS and node.op != "where"
        target = final if final is not None else self._take(shape, () if in_place else args)
        if node.op == "where":
            self._where(node, args, target)
        elif node.op in REDUCTIONS:
            reduce = np.maximum.reduce if node.op == "row_max" else np.add.reduce
            self.calls.append((reduce, (args[0], -1, None, target, True)))
            if node.op == "row_mean":
                self.calls.append((np.multiply, (target, 1.0 / args[0].shape[-1], target)))
        else:
            ufunc = UFUNCS[node.op]
            # NumPy wants the output of these two by name.
            named = node.op in ("min", "max")
            self.calls.append((partial(ufunc, out=target), tuple(args)) if named else (ufunc, (*args, target)))
        self.values[id(node)] = target
        return target

    def _where(self, node: Expr, args: list[Any], target: Array) -> None:
        """Blend: x·c + y·(1−c). A masked copy is ten times slower, and a boolean factor twice."""
        condition, x, y = args
        add = self.calls.append
        if is_const(node.args[2], 0):
            add((np.multiply, (x, condition, target)))
            return
        if node.args[1].op == "const" and node.args[2].op == "const":
            add((np.multiply, (condition, x - y, target)))
            add((np.add, (target, y, target)))
            return
        # 1 − c may replace c if nothing reads c again.
        own = self.uses[id(node.args[0])] == 0 and condition.shape == target.shape
        rest = condition if own else self._take(target.shape, (*args, target))
        if is_const(node.args[1], 1):
            add((np.copyto, (target, condition)))
        else:
            add((np.multiply, (x, condition, target)))
        add((np.subtract, (1.0, condition, rest)))
        add((np.multiply, (y, rest, rest)))
        add((np.add, (target, rest, target)))
        if not own:
            self.free.append(rest)

    def _overlaps(self, final: Array, args: list[Any]) -> bool:
        """Whether writing `final` while reading `args` would go wrong: shared memory, but not the very same array."""
        return any(
            isinstance(a, np.ndarray)
            and np.may_share_memory(a, final)
            and (a.shape != final.shape or a.strides != final.strides or a.ctypes.data != final.ctypes.data)
            for a in args
        )

    def _take(self, shape: tuple[int, ...], avoid: Sequence[Any]) -> Array:
        for index, array in enumerate(self.free):
            if array.shape == shape and not any(array is a for a in avoid):
                return self.free.pop(index)
        array = self.buffer(shape, self.dtype, self.made)
        self.made += 1
        self.owner[id(array)] = array
        return array

    def _release(self, arg: Expr) -> None:
        key = id(arg)
        self.uses[key] -= 1
        if arg.op == "sym":
            self.pending[key] -= 1
        elif self.uses[key] == 0 and id(self.values[key]) in self.owner:
            self.free.append(self.values[key])


def _count_uses(order: Sequence[Expr], formula: Formula) -> dict[int, int]:
    uses = {id(node): 0 for node in order}
    for node in order:
        for arg in node.args:
            uses[id(arg)] += 1
    for node in formula.results.values():
        if node.op == "sym":  # read at the end
            uses[id(node)] += 1
    return uses


def _by_node(formula: Formula, outs: Mapping[str, Array]) -> dict[int, list[Array]]:
    finals: dict[int, list[Array]] = {}
    for name, node in formula.results.items():
        finals.setdefault(id(node), []).append(outs[name])
    return finals


def _shape(node: Expr, args: list[Any]) -> tuple[int, ...]:
    shape = np.broadcast_shapes(*(np.shape(arg) for arg in args))
    return (*shape[:-1], 1) if node.op in REDUCTIONS else shape


def _make(threads: int, largest: int | None, products: Products) -> Backend:
    return NumpyBackend(min(threads, machine.cores()), alike=largest is not None)


OFFER = Offer(_make)
