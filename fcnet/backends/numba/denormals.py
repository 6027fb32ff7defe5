"""Numbers below the smallest normal one count as zero while kernels run: on x86 each of them costs a hundred cycles.

They come by themselves: the gradient of a row that is learned, Adam's m of a unit that has been silent for a thousand
steps. With a few of them in θ's vectors and ε a step of 28-64-64-2 took twice as long.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

X86 = platform.machine() in ("x86_64", "AMD64")
_FLUSH = 0x8040  # flush to zero, and denormals are zero: bits 15 and 6 of the control word MXCSR


def _access(builder: Any, name: str, place: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, pointer)])


@intrinsic
def flush(typingctx: Any) -> Any:
    """From now on this thread flushes; the control word as it was, for `restore`. Nothing but on x86."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        if not X86:
            return ir.Constant(word, 0)
        place = cgutils.alloca_once(builder, word)
        _access(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(word, _FLUSH)), place)
        _access(builder, "ldmxcsr", place)
        return before

    return types.int32(), code


@intrinsic
def restore(typingctx: Any, before: Any) -> Any:
    """Give this thread back the control word that it had."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(args[0], place)
            _access(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), code
