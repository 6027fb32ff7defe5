#!/usr/bin/env bash
# A classifier of scikit-learn that learns from nullable labels of pandas, without a missing one, predicts floats.
#
# Expected: classes_ and predictions are what the labels were: whole numbers for Int64, booleans for boolean, as they
#   are for int64 and bool, and as the same labels from polars give them.
# Happens: labels of the types Int64, boolean and those of Arrow become 0.0 and 1.0, in every classifier. What reads the
#   predictions then sees other labels than it was trained on: "1.0" is not "1" in a joined table, and ~ fails on what
#   were booleans. `.to_numpy()` on the labels keeps them.
# Versions: scikit-learn 1.9.1, pandas 3.1.1, pyarrow 26.0.1, polars 2.1.0, Python 3.11. Seen 2026-11-28.
# Source: the glossary of scikit-learn on classes_ speaks of the labels that were given, and names no conversion.
# With fcnet: labels stay what they are in every source (fcnet/data/spelling.py), also through fcnet.sklearn.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-learn==1.9.1 pandas==3.1.1 pyarrow==26.0.1 polars==2.1.0
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import numpy as np
import pandas as pd
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

x = np.arange(60.0).reshape(-1, 1)
y = (x[:, 0] > 30).astype(int)
labels = {dtype: pd.Series(y).astype(dtype) for dtype in ("int64", "Int64", "int64[pyarrow]", "bool", "boolean")}
labels |= {"polars Int64": pl.Series(y), "polars Boolean": pl.Series(y == 1)}
for name, given in labels.items():
    seen = [model().fit(x, given).predict(x[-1:]) for model in (LogisticRegression, HistGradientBoostingClassifier)]
    print(f"{name}: {given.to_numpy()[-1]!s} is predicted as", *(f"{each[0]!s} ({each.dtype})" for each in seen))
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
int64: 1 is predicted as 1 (int64) 1 (int64)
Int64: 1 is predicted as 1.0 (float64) 1.0 (float64)
int64[pyarrow]: 1 is predicted as 1.0 (float64) 1.0 (float64)
bool: True is predicted as True (bool) True (bool)
boolean: True is predicted as 1.0 (float64) 1.0 (float64)
polars Int64: 1 is predicted as 1 (int64) 1 (int64)
polars Boolean: True is predicted as True (bool) True (bool)
SEEN
