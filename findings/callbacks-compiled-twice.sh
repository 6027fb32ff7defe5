#!/usr/bin/env bash
# Numba optimises a function twice where a C callback calls it: alone, and once more inside the callback.
#
# Expected: a function that `@cfunc` calls is compiled once, and the callback is a few lines that jump to it or hold its
#   body; so a body that takes four seconds to compile costs four seconds.
# Happens: the function is optimised in a module of its own, with wrappers for Python and for C that nobody calls, and
#   then again, whole, in the callback's module, into which it is linked. Loops that are unrolled by hand, as kernels of
#   matrix products are, take twice their time to compile. `no_cpython_wrapper` and `no_cfunc_wrapper` save the wrappers;
#   the second copy goes only where the body itself stands in the callback.
# Versions: numba 0.68.1, llvmlite 0.50.0, numpy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: numba's page on `@cfunc`, whose callbacks call functions of `@jit`.
# With fcnet: the lines of a kernel's body are put into its callback; a first run compiles in about a quarter less time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numba==0.68.1 llvmlite==0.50.0 numpy==2.4.6
cat >"$work/called.py" <<'PYTHON'
from numba import cfunc, njit, types


@njit
def mean_square(n):
    total = 0.0
    for i in range(n):
        total += float(i) * float(i)
    return total / n


@cfunc(types.float64(types.int64))
def callback(n):
    return mean_square(n)


assert callback.ctypes(5) == 6.0
PYTHON
NUMBA_DUMP_OPTIMIZED=1 "$work/venv/bin/python" "$work/called.py" >"$work/dump"
"$work/venv/bin/python" - "$work/dump" >"$work/seen" <<'PYTHON'
import re
import sys

module, name, found = "", "", {}
for line in open(sys.argv[1]):
    module = match[1] if (match := re.search(r"OPTIMIZED DUMP (\w+)", line)) else module
    if line.startswith("define"):
        name = "mean_square" if "mean_square" in line else "callback" if "callback" in line else ""
        kind = "a wrapper for C" if "@cfunc." in line else "a wrapper for Python" if "cpython" in line else "the function"
    if name and re.search(r"= fmul .*double", line):
        found[f"multiplies in the module of {module}: {kind} {name}"] = None
print("\n".join(found))
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
multiplies in the module of mean_square: the function mean_square
multiplies in the module of callback: the function callback
SEEN
