#!/usr/bin/env bash
# A time of day that is cast to text loses its fraction of a second, and the same column in CSV keeps it.
#
# Expected: a cast to text that succeeds says all of the value, as that of a datetime does; or the strict cast fails.
# Happens: Time 01:02:03.5 becomes "01:02:03" without a word, Datetime keeps its microseconds, write_csv writes nine
#   digits. Two different times become one category, and a group-by on the text adds their rows up.
# Versions: polars 2.1.0, Python 3.11. Seen 2026-11-28.
# Source: polars.Series.cast says of strict that it raises where a value cannot be converted; it does not raise here.
# With fcnet: times are spelled by dt.to_string with the fraction asked for (fcnet/data/typed.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q polars==2.1.0
"$work/venv/bin/python" - >"$work/seen" <<'PYTHON'
import datetime

import polars as pl

at = datetime.time(1, 2, 3, 500_000)
times = pl.Series("t", [at, at.replace(microsecond=0)])
print("Time, cast               ", times.cast(pl.String).to_list())
print("Time, write_csv          ", times.to_frame().write_csv(include_header=False).split())
print("Time, to_string          ", times.dt.to_string("%H:%M:%S%.f").to_list())
day = datetime.date(2024, 1, 1)
print("Datetime, cast           ", pl.Series([datetime.datetime.combine(day, at)]).cast(pl.String).to_list())
print("different, cast and not  ", times.cast(pl.String).n_unique(), times.n_unique())
PYTHON
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
Time, cast                ['01:02:03', '01:02:03']
Time, write_csv           ['01:02:03.500000000', '01:02:03.000000000']
Time, to_string           ['01:02:03.500', '01:02:03']
Datetime, cast            ['2024-01-01 01:02:03.500000']
different, cast and not   1 2
SEEN
