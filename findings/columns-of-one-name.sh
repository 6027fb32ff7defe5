#!/usr/bin/env bash
# From 1.9 on scikit-learn refuses a pandas frame with two columns of one name, in another library's words.
#
# Expected: what joins and `pd.concat(…, axis=1)` make, a frame in which a name stands twice, is fitted as before: 1.8
#   does, and goes by position; or else a ValueError of scikit-learn's that names the estimator, as for any other frame
#   that it cannot take.
# Happens: every estimator raises narwhals.exceptions.DuplicateError, of a library that neither the frame nor the caller
#   knows of. It is a ValueError, so a pipeline that catches those goes on without the model. The same table as an
#   array is fitted.
# Versions: scikit-learn 1.9.1 and 1.8.0, narwhals 2.29.0, pandas 3.1.1, numpy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: the release note of scikit-learn 1.9.0 names narwhals as a new dependency, and no table that is refused.
# With fcnet: a table with such a column is refused, and the error says which column to rename, also through
#   fcnet.sklearn.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/seen.py" <<'PYTHON'
import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
one, other = (pd.DataFrame({"size": rng.normal(size=50)}) for _ in range(2))
x = pd.concat([one, other], axis=1)
y = x.iloc[:, 0] > 0
for model in (StandardScaler(), LogisticRegression()):
    for name, given in (("frame", x), ("array", x.to_numpy())):
        try:
            said = f"{model.fit(given, y).n_features_in_} columns"
        except Exception as error:
            kind = type(error)
            said = f"{kind.__module__}.{kind.__name__}, a ValueError: {isinstance(error, ValueError)}"
        print(f"{sklearn.__version__} {type(model).__name__}, {name}: {said}")
PYTHON
for version in 1.8.0 1.9.1; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -q "scikit-learn==$version" pandas==3.1.1 narwhals==2.29.0 numpy==2.4.6
    "$work/$version/bin/python" "$work/seen.py" >>"$work/seen"
done
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
1.8.0 StandardScaler, frame: 2 columns
1.8.0 StandardScaler, array: 2 columns
1.8.0 LogisticRegression, frame: 2 columns
1.8.0 LogisticRegression, array: 2 columns
1.9.1 StandardScaler, frame: narwhals.exceptions.DuplicateError, a ValueError: True
1.9.1 StandardScaler, array: 2 columns
1.9.1 LogisticRegression, frame: narwhals.exceptions.DuplicateError, a ValueError: True
1.9.1 LogisticRegression, array: 2 columns
SEEN
