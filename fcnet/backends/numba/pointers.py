"""Raw addresses in compiled code: arrays come in as numbers, and kernels are called through their addresses.

A recorded step is a table of (kernel, block of arguments); `replay` walks it. So one small compiled loop serves every
net, and nothing is compiled for a net that is not compiled for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fcnet.backends.numba.denormals import flush, restore


def _pointer(item: Any) -> Any:
    @intrinsic
    def at(typingctx: Any, address: Any) -> Any:
        """A pointer to the array that starts at `address`."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(item)))

        return types.CPointer(item)(types.int64), code

    return at


f4 = _pointer(types.float32)
f8 = _pointer(types.float64)
i8 = _pointer(types.int64)
u2 = _pointer(types.uint16)
u8 = _pointer(types.uint64)
i4 = _pointer(types.int32)


def _bits(source: Any, target: Any) -> Any:
    @intrinsic
    def cast(typingctx: Any, value: Any) -> Any:
        """The same bits, read as another type."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), code

    return cast


f4_to_i4 = _bits(types.float32, types.int32)
i4_to_f4 = _bits(types.int32, types.float32)
f8_to_i8 = _bits(types.float64, types.int64)
i8_to_f8 = _bits(types.int64, types.float64)


@intrinsic
def wide(typingctx: Any) -> Any:
    """Let the loops of this function go by vectors of 512 bits, where there are such; compilers prefer halves of them.

    They fear for the clock of processors that are mostly doing something else; here the products use whole ones anyway.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        attributes = builder.function.attributes
        if isinstance(attributes, set):  # by the way around llvmlite's list of those that it knows
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def call(typingctx: Any, address: Any, block: Any) -> Any:
    """Call the kernel at `address` with its block of arguments."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kernel = ir.FunctionType(ir.VoidType(), [ir.IntType(64)]).as_pointer()
        builder.call(builder.inttoptr(args[0], kernel), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def wide_product(typingctx: Any, a: Any, b: Any) -> Any:
    """The 128-bit product of two uint64, as its upper and its lower 64 bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half, wide = ir.IntType(64), ir.IntType(128)
        both = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high, low = builder.trunc(builder.lshr(both, ir.Constant(wide, 64)), half), builder.trunc(both, half)
        return context.make_tuple(builder, signature.return_type, [high, low])

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), code


@njit(cache=True)
def replay(table: Any, times: int) -> None:
    """Make every call of the table (n, 2) int64, in order, so many times."""
    before = flush()
    for _ in range(times):
        for i in range(table.shape[0]):
            call(table[i, 0], table[i, 1])
    restore(before)


def address(array: Any) -> int:
    """Where an array starts."""
    return int(array.ctypes.data)


def block(*values: Any) -> Any:
    """A kernel's arguments, (n,) int64: numbers as they are, arrays by their addresses."""
    return np.array([address(v) if isinstance(v, np.ndarray) else int(v) for v in values], dtype=np.int64)
