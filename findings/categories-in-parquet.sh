#!/usr/bin/env bash
# Numbers that were declared to be categories are plain numbers again after Parquet, also for pandas itself.
#
# Expected: a pandas category survives Parquet, as one of texts does; or nobody reads it as one.
# Happens: a category of whole numbers is stored as int64; that it was one stands in the `pandas` entry of the file's
#   metadata alone, where neither pandas nor polars looks: shop 7 is then taken for 3.5 times as much as shop 2. A category
#   of texts comes back as one from both, so that nothing warns of it.
# Versions: pandas 3.1.1 with pyarrow 26.0.1, polars 2.1.0, Python 3.11. Seen 2026-11-28.
# Source: the Parquet format has no logical type for categories; Arrow keeps dictionaries in a schema of its own.
# With fcnet: the `pandas` entry is read, and what it calls categorical is a category (fcnet/data/parquet.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import tempfile
from pathlib import Path

import pandas as pd
import polars as pl

path = Path(tempfile.mkdtemp()) / "t.parquet"
frame = pd.DataFrame({"shop": [7, 2, 7], "colour": ["red", "blue", "red"]}).astype("category")
frame.to_parquet(path)
print("pandas", {name: str(kind) for name, kind in pd.read_parquet(path).dtypes.items()})
print("polars", {name: str(kind) for name, kind in pl.read_parquet(path).schema.items()})
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
pandas {'shop': 'int64', 'colour': 'category'}
polars {'shop': 'Int64', 'colour': 'Categorical'}
SEEN
