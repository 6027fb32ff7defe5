#!/usr/bin/env bash
# A column in small units loses all its differences in scikit-learn's quantile transform to a normal distribution.
#
# Expected: quantiles do not depend on the unit: the same column in metres and in nanometres has the same normal scores,
#   or a warning says otherwise.
# Happens: whatever is within 1e-7, an absolute length, of the smallest value counts as the smallest: of a thousand
#   different values around 1e-8 (volts, moles, rates) all become -5.199, without a word. To a uniform distribution the
#   same column keeps them apart. A scaling in front, or behind what makes the unit, mends it.
# Versions: scikit-learn 1.9.1, NumPy 2.4.6, Python 3.11. Seen 2026-11-28.
# Source: the documentation of QuantileTransformer says that it is non-linear and rank-based, and names no length.
# With fcnet: `preprocess.numeric: quantile` goes by ranks alone (fcnet/data/encodings/quantile.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-learn==1.9.1 numpy==2.4.6
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import warnings

import numpy as np
from sklearn.preprocessing import QuantileTransformer

warnings.simplefilter("error")
x = np.random.default_rng(0).normal(size=(1000, 1))
for unit in (1.0, 1e-6, 1e-7, 1e-8):
    for shape in ("uniform", "normal"):
        z = QuantileTransformer(output_distribution=shape).fit_transform(x * unit)
        print(f"× {unit:g}, {shape}: {len(np.unique(z)):,} different of 1,000, from {z.min():.3f} to {z.max():.3f}")
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
× 1, uniform: 1,000 different of 1,000, from 0.000 to 1.000
× 1, normal: 1,000 different of 1,000, from -5.199 to 5.199
× 1e-06, uniform: 1,000 different of 1,000, from 0.000 to 1.000
× 1e-06, normal: 1,000 different of 1,000, from -5.199 to 5.199
× 1e-07, uniform: 1,000 different of 1,000, from 0.000 to 1.000
× 1e-07, normal: 981 different of 1,000, from -5.199 to 5.199
× 1e-08, uniform: 1,000 different of 1,000, from 0.000 to 1.000
× 1e-08, normal: 1 different of 1,000, from -5.199 to -5.199
SEEN
