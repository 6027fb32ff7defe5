#!/usr/bin/env bash
# numpy.savez takes arrays of newer types, and what comes back is no array of them, with a warning at most.
#
# Expected: what savez writes without an error, load reads as it was; or savez refuses.
# Happens: bfloat16 (of ml_dtypes, the type that JAX and PyTorch users hold) comes back as |V2, two raw bytes that no
#   arithmetic takes, without a word at either end. A StringDType array is written as a pickle, and then load, as it is
#   called by default, refuses it; astype(str) of it is refused too, unless the length is given: astype("U3").
# Versions: numpy 2.4.6, ml_dtypes 0.6.0, Python 3.11. Seen 2026-11-28.
# Source: NEP 55 (StringDType) speaks of pickles for npy; the ml_dtypes README of casts alone.
# With fcnet: such members are refused with the astype that helps (fcnet/data/npz.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 ml_dtypes==0.6.0
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import tempfile
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np

path = Path(tempfile.mkdtemp()) / "x.npz"
arrays = {
    "bfloat16": np.ones(2, ml_dtypes.bfloat16),
    "StringDType": np.array(["a", "b"], dtype=np.dtypes.StringDType()),
    "StringDType as U1": np.array(["a", "b"], dtype=np.dtypes.StringDType()).astype("U1"),
}
for name, array in arrays.items():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        np.savez(path, x=array)
    try:
        found = np.load(path)["x"].dtype.str
    except ValueError as error:
        found = f"ValueError: {error}"
    print(f"{name:19} {len(said)} warnings at savez, then {found}")
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
bfloat16            0 warnings at savez, then |V2
StringDType         1 warnings at savez, then ValueError: Object arrays cannot be loaded when allow_pickle=False
StringDType as U1   0 warnings at savez, then <U1
SEEN
