#!/usr/bin/env bash
# A frame that was sorted, filtered or sampled takes its row numbers along into Parquet, where only pandas hides them.
#
# Expected: to_parquet writes the columns of the frame, and other readers see those columns.
# Happens: an index that is no range of numbers is written as a column `__index_level_0__`, as after a sort, a filter or
#   sample; a slice keeps a range, and writes none. pandas takes it back as the index, so that it is never seen there;
#   polars gives it as one more column of whole numbers. Of rows that once lay in the order of the target it is the
#   target: a model of all other columns scores 1.0 on noise, and wants that column in every table to come.
# Versions: pandas 3.1.1 with pyarrow 26.0.1, polars 2.1.0, Python 3.11. Seen 2026-11-28.
# Source: pandas.DataFrame.to_parquet, parameter `index`: None saves a RangeIndex as metadata and any other as a column.
# With fcnet: such a column is left out with a notice (fcnet/data/numbering.py).
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

frame = pd.DataFrame({"noise": [0.3, 0.1, 0.2, 0.4], "class": ["a", "a", "b", "b"]})
path = Path(tempfile.mkdtemp()) / "t.parquet"
frames = {"as it was made": frame, "sorted": frame.sort_values("noise")}
frames |= {"filtered": frame[frame.noise > 0.15], "sliced": frame[1:]}
for what, some in frames.items():
    some.to_parquet(path)
    print(f"{what:15} pandas {list(pd.read_parquet(path).columns)}  polars {pl.read_parquet(path).columns}")
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
as it was made  pandas ['noise', 'class']  polars ['noise', 'class']
sorted          pandas ['noise', 'class']  polars ['noise', 'class', '__index_level_0__']
filtered        pandas ['noise', 'class']  polars ['noise', 'class', '__index_level_0__']
sliced          pandas ['noise', 'class']  polars ['noise', 'class']
SEEN
