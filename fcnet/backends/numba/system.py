"""What compiled code asks of the system, by the addresses of the C library's functions; 0 where there is none."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _address(name: str) -> int:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (TypeError, OSError, AttributeError):  # Windows
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


NAP = _address("usleep")
CLOCK = _address("clock_gettime")
MONOTONIC: int = getattr(time, "CLOCK_MONOTONIC", 0)


@intrinsic
def nap(typingctx: Any, function: Any, microseconds: Any) -> Any:
    """Call usleep at its address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(32)
        kind = ir.FunctionType(whole, [whole]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), [builder.trunc(args[1], whole)])

    return types.int32(types.int64, types.int64), code


@intrinsic
def read_clock(typingctx: Any, function: Any, clock: Any, time: Any) -> Any:
    """Call clock_gettime at its address: seconds and nanoseconds into the two int64 at the address `time`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flag, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(flag, [flag, pointer]).as_pointer()
        place = builder.inttoptr(args[2], pointer)
        return builder.call(builder.inttoptr(args[0], kind), [builder.trunc(args[1], flag), place])

    return types.int32(types.int64, types.int64, types.int64), code
