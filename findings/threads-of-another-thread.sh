#!/usr/bin/env bash
# A thread that asks threadpoolctl for another number of BLAS threads gets none, without a word, if another asked first.
#
# Expected: threadpool_limits sets the number of the BLAS that all threads share, whoever asks; or it says that it did not.
# Happens: with OpenBLAS the first thread that sets a number without a `with` becomes the one that controls it. What any
#   other thread asks for is dropped: no error, no warning, and the number stays. A service that sets 1 when it starts and
#   2 in a worker computes on 1.
# Versions: threadpoolctl 3.8.0 with the OpenBLAS in the wheel of numpy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: the docstring of threadpoolctl.OpenBLASController; the README does not speak of it.
# With fcnet: machine.blas sets the number under a lock, and gives it back (fcnet/machine.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 threadpoolctl==3.8.0
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import threading

import numpy  # noqa
from threadpoolctl import threadpool_info, threadpool_limits

def now():
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

threadpool_limits(1, user_api="blas")
print("main thread asks for 1 ", now())
def other():
    threadpool_limits(2, user_api="blas")
    print("another asks for 2     ", now())
t = threading.Thread(target=other); t.start(); t.join()
threadpool_limits(2, user_api="blas")
print("main thread asks for 2 ", now())
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
main thread asks for 1  [1]
another asks for 2      [1]
main thread asks for 2  [2]
SEEN
