#!/usr/bin/env bash
# One column of times, three spellings: what a table says of a date depends on who wrote it, and on the other rows.
#
# Expected: a column of midnights is written the same way by each way of one library, and the same value the same way
#   whatever stands in the other rows, so that a level such as "2024-01-01" means the same in a CSV and in memory.
# Happens: pandas writes "2024-01-01" where all rows are midnights, and "2024-01-01 00:00:00" for the same value as soon
#   as one row is not. polars casts to "2024-01-01 00:00:00.000000" with a blank, and writes CSV with a T and no blank.
#   str() of a value of the pandas column is a third spelling. A category fitted on one is unknown to the others.
# Versions: pandas 3.1.1, polars 2.1.0, Python 3.11. Seen 2026-11-28.
# Source: pandas.DataFrame.to_csv (date_format), polars.DataFrame.write_csv (datetime_format); neither page compares them.
# With fcnet: one function spells times from every source (fcnet/data/spelling.py; the table in docs/data.md).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import pandas as pd
import polars as pl

midnights = pd.Series(pd.to_datetime(["2024-01-01 00:00", "2024-01-02 00:00"]))
mixed = pd.Series(pd.to_datetime(["2024-01-01 00:00", "2024-01-02 12:30"]))
print("pandas to_csv, all midnights  ", midnights.to_csv(index=False, header=False).split("\n")[0])
print("pandas to_csv, one is not     ", mixed.to_csv(index=False, header=False).split("\n")[0])
print("pandas str of a value         ", str(midnights[0]))
print("polars cast to text           ", pl.from_pandas(midnights).cast(pl.String)[0])
frame = pl.DataFrame({"when": pl.from_pandas(midnights)})
print("polars write_csv              ", frame.write_csv(include_header=False).split("\n")[0])
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
pandas to_csv, all midnights   2024-01-01
pandas to_csv, one is not      2024-01-01 00:00:00
pandas str of a value          2024-01-01 00:00:00
polars cast to text            2024-01-01 00:00:00.000000
polars write_csv               2024-01-01T00:00:00.000000
SEEN
