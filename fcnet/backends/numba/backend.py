"""Binds kernel calls to compiled code: what a step does becomes a table of addresses that one compiled loop walks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]  # it ships no types

from fcnet.backends.base import Array, Call, Segment, Words, aligned
from fcnet.backends.numba import kernels, store
from fcnet.backends.numba.pointers import address, block, replay
from fcnet.backends.numba.printer import POINTERS, print_kernel
from fcnet.backends.numpy import NumpyBackend
from fcnet.formulas import Formula
from fcnet.formulas.transform import expand_erf

_SYMBOLS = {  # the names under which OpenBLAS is bundled, and the width of its integers
    "scipy_cblas_{}gemm64_": 64,
    "cblas_{}gemm64_": 64,
    "scipy_cblas_{}gemm": 32,
    "cblas_{}gemm": 32,
}
_ROW, _COLUMN = 111, 112  # CblasNoTrans, CblasTrans


class Native:
    """A kernel and its block of arguments; what the block points to is kept alive here."""

    __slots__ = ("address", "block", "held")

    def __init__(self, kernel: Any, values: Any, held: Any) -> None:
        self.address, self.block, self.held = int(kernel.address), values, held

    def __call__(self) -> None:
        """Run the kernel once, by itself."""
        replay(_table([self]), 1)


class NumbaBackend:
    """Fused loops for formulas, NumPy's own BLAS for products; what has no kernel here falls back to NumPy."""

    name = "numba"

    def __init__(self) -> None:
        self.plain = NumpyBackend()
        self.gemm = _find_gemm()

    def link(self, calls: Sequence[Call]) -> Callable[[int], None]:
        """Kernels that follow one another become one call; a step of kernels alone is repeated without Python."""
        linked: list[Call] = []
        run: list[Native] = []
        for function, args in [*calls, (None, ())]:
            if isinstance(function, Native):
                run.append(function)
                continue
            if run:
                linked.append((replay, (_table(run), 1)))
                run = []
            if function is not None:
                linked.append((function, args))
        held = tuple(calls)
        if len(linked) == 1 and linked[0][0] is replay:
            table = linked[0][1][0]

            def repeat(times: int) -> None:
                assert held
                replay(table, times)

            return repeat
        return self.plain.link(linked)

    def matmul(self, a: Array, b: Array, out: Array) -> list[Call]:
        """out = a b by BLAS, one product for each member."""
        found = self.gemm.get(out.dtype)
        if found is None:
            return self.plain.matmul(a, b, out)
        kernel, function = found
        calls: list[Call] = []
        lead = out.shape[:-2]
        a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
        for index in np.ndindex(*lead):
            x, y, z = a[index], b[index], out[index]
            orders = [_order(x), _order(y)]
            if None in orders or z.strides[1] != z.itemsize or z.strides[0] != z.itemsize * z.shape[1]:
                return self.plain.matmul(a, b, out)
            (tx, lx), (ty, ly) = orders  # type: ignore[misc]  # None was just excluded
            values = block(function, tx, ty, *z.shape, x.shape[1], x, lx, y, ly, z, max(1, z.shape[1]))
            calls.append(_call(kernel, values, (x, y, z)))
        return calls

    def apply(
        self,
        formula: Formula,
        arrays: Mapping[str, Array],
        outs: Mapping[str, Array],
        sums: Mapping[str, Array] | None = None,
    ) -> list[Call]:
        """The formula as one printed kernel, with the sums over rows of some results."""
        sums = sums or {}
        dtype = next(iter(outs.values())).dtype
        expanded = expand_erf(formula, single=dtype == np.float32)
        printed = print_kernel(expanded, arrays, outs, sums)
        if printed is None:
            return self.plain.apply(formula, arrays, outs, sums)
        scratch = aligned(printed.scratch, dtype)
        values = block(*printed.sizes, *printed.arrays, scratch)
        return [_call(store.load(printed.text).kernel, values, (printed.arrays, scratch))]

    def sum_rows(self, e: Array, out: Array) -> list[Call]:
        """out = Σ over the rows of e."""
        if not (e.flags.c_contiguous and out.flags.c_contiguous):
            return self.plain.sum_rows(e, out)
        members = int(np.prod(e.shape[:-2], dtype=np.int64))
        return [_call(_typed("sum_rows", e), block(e, out, members, *e.shape[-2:]), (e, out))]

    def accumulate(self, values: Array, total: Array) -> list[Call]:
        """total += Σ values."""
        if not values.flags.c_contiguous:
            return self.plain.accumulate(values, total)
        return [_call(_typed("accumulate", values), block(values, total, values.size), (values, total))]

    def norm(self, g: Array, out: Array) -> list[Call]:
        """out = ‖g‖."""
        return [_call(_typed("norm", g), block(g, out, g.size), (g, out))]

    def words(self, out: Array, words: Words) -> list[Call]:
        """out = raw words."""
        k0, k1 = (int(word) for word in words.key.view(np.int64))
        held = (out, words.position)
        return [_call(kernels.words, block(k0, k1, words.layer, words.position, out, out.size), held)]

    def gather(self, x: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out = the rows of x (n_all, n) at the place of the step."""
        if not x.flags.c_contiguous or x.dtype not in POINTERS:
            return self.plain.gather(x, order, position, out)
        values = block(x, order, position, out, *out.shape)
        return [_call(_typed("gather", out), values, (x, order, position, out))]

    def gather_one_hot(self, labels: Array, order: Array, position: Array, out: Array) -> list[Call]:
        """out = one-hot rows of the labels at the place of the step."""
        values = block(labels, order, position, out, *out.shape)
        return [_call(_typed("gather_one_hot", out), values, (labels, order, position, out))]

    def load(self, table: Array, position: Array, out: Array) -> list[Call]:
        """out = the step's row of the table."""
        return [_call(_typed("load", out), block(table, position, out, out.size), (table, position, out))]

    def advance(self, position: Array, rows: int) -> list[Call]:
        """The next step."""
        return [_call(kernels.advance, block(position, rows), position)]

    def update(self, formula: Formula, vectors: Mapping[str, Array], segments: Sequence[Segment]) -> list[Call]:
        """The formula over every segment, each in one pass."""
        calls: list[Call] = []
        for start, stop, scalars in segments:
            views = {name: vector[start:stop] for name, vector in vectors.items()}
            calls += self.apply(formula, {**views, **scalars}, {name: views[name] for name in formula.results})
        return calls


def _table(natives: Sequence[Native]) -> Array:
    return np.array([[native.address, address(native.block)] for native in natives], dtype=np.int64)


def _call(kernel: Any, values: Array, held: Any) -> Call:
    return Native(kernel, values, held), ()


def _typed(name: str, like: Array) -> Any:
    return getattr(kernels, f"{name}_{POINTERS[like.dtype]}")


def _order(x: Array) -> tuple[int, int] | None:
    """(row- or column-major, leading dimension) as BLAS wants them, or None."""
    rows, columns = x.strides[0] // x.itemsize, x.strides[1] // x.itemsize
    if columns == 1 and rows >= x.shape[1]:
        return _ROW, max(1, rows)
    if rows == 1 and columns >= x.shape[0]:
        return _COLUMN, max(1, columns)
    return None


def _find_gemm() -> dict[np.dtype[Any], tuple[Any, int]]:
    """For each precision the kernel that calls NumPy's BLAS, and the address of its product, where known."""
    found: dict[np.dtype[Any], tuple[Any, int]] = {}
    np.ones((2, 2)) @ np.ones((2, 2))  # the library is loaded
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] != "blas" or "numpy" not in library["filepath"].lower():
            continue
        loaded = ctypes.CDLL(library["filepath"])
        for pattern, width in _SYMBOLS.items():
            for letter, kind in (("s", np.float32), ("d", np.float64)):
                function = getattr(loaded, pattern.format(letter), None)
                if function is not None and np.dtype(kind) not in found:
                    kernel = getattr(kernels, f"matmul_{POINTERS[np.dtype(kind)]}_{width}")
                    found[np.dtype(kind)] = (kernel, ctypes.cast(function, ctypes.c_void_p).value or 0)
    return found
