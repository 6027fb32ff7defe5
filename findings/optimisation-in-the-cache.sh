#!/usr/bin/env bash
# Numba's cache forgets with which optimisation it compiled: slow code of one run is every later run's.
#
# Expected: what NUMBA_OPT=0 has compiled with `cache=True`, for a debugger or to start a test sooner, is compiled anew
#   by a process that does not set it; the page on caching names the processor and the source as what a cache goes by.
# Happens: the later process takes the machine code as it is, counts a hit, and says nothing; the loop of this script is
#   scalar where a fresh cache has it by vectors. Our kernels of matrix products took ten times as long from then on,
#   until the cache was deleted.
# Versions: numba 0.68.1, llvmlite 0.50.0, numpy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: numba's pages on caching and on its environment variables.
# With fcnet: kernels that are compiled with such variables lie in a folder of their own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numba==0.68.1 llvmlite==0.50.0 numpy==2.4.6
cat >"$work/loop.py" <<'PYTHON'
import hashlib
import os
from pathlib import Path

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
def twice(x):
    for i in range(len(x)):
        x[i] *= 2


twice(np.ones(3))
code = b"".join(path.read_bytes() for path in sorted(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc")))
print(sum(twice.stats.cache_hits.values()), hashlib.sha256(code).hexdigest()[:12])
PYTHON
python="$work/venv/bin/python"
export NUMBA_CACHE_DIR=$work/cache
read -r _ slow < <(NUMBA_OPT=0 "$python" "$work/loop.py")
read -r hits later < <("$python" "$work/loop.py")
read -r _ fresh < <(NUMBA_CACHE_DIR=$work/fresh "$python" "$work/loop.py")
same() { [ "$1" = "$2" ] && echo "the same" || echo "other"; }
{
  echo "a process without NUMBA_OPT after one with NUMBA_OPT=0: hits $hits, $(same "$slow" "$later") machine code"
  echo "a process without NUMBA_OPT and with a fresh cache: $(same "$slow" "$fresh") machine code"
} >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
a process without NUMBA_OPT after one with NUMBA_OPT=0: hits 1, the same machine code
a process without NUMBA_OPT and with a fresh cache: other machine code
SEEN
