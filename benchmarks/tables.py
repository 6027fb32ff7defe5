"""Seconds from a CSV on disk to a training-ready matrix, and from a CSV to predictions on disk.

    python benchmarks/tables.py
    python benchmarks/tables.py --rows 50000 --json tables.json --into docs/performance.md

A made table of numbers with two classes; everything in processes of its own, in turn. Reading is timed inside them,
after the imports; `fcnet predict` is timed from outside, less what it takes on a table just large enough for it to
import the same packages. Peak memory is measured on the table and on one five times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe, into

ROOT = Path(__file__).parents[1]
SHORT = 5 << 18
"""Bytes, about, of the table that `fcnet predict` starts up on: enough for it to take polars where that is there."""
TIMES = 5

PEAK = """
def peak():
    # Not ru_maxrss, which counts what the parent had when it forked.
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return 0
"""
FCNET = """
from pathlib import Path
import numpy
import fcnet
from fcnet import data
from fcnet.data.options import Data, Preprocess
from importlib.util import find_spec
version = f"fcnet {fcnet.__version__}" + ("" if find_spec("polars") else " without polars")
if find_spec("polars") and not path.endswith(".npz"):
    import polars
def load():
    return data.load(Data(train=path, target="y"), Preprocess(), base=Path(), dtype="float32").x
"""
POLARS = """
import polars
version = f"polars {polars.__version__}"
def load():
    return polars.read_csv(path).drop("y").to_numpy().astype("float32")
"""
PANDAS = """
import pandas
version = f"pandas {pandas.__version__}"
def load():
    return pandas.read_csv(path).drop(columns="y").to_numpy("float32")
"""
TIMED = """
from time import perf_counter
start = perf_counter()
shape = load().shape
seconds = perf_counter() - start
import json
print(json.dumps({"version": version, "seconds": seconds, "peak": peak(), "shape": shape}))
"""
PREDICT = """
import sys
from fcnet.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
print(peak())
"""
READERS = {"fcnet, to a standardised matrix": FCNET, "polars, to a float32 matrix": POLARS, "pandas, likewise": PANDAS}


def make_table(path: Path, rows: int, columns: int) -> None:
    """Normal numbers with six significant digits, and a class."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, columns))
    y = np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join([*(f"x{i}" for i in range(columns)), "y"]) + "\n")
        file.writelines(
            ",".join([*(f"{value:.6g}" for value in row), label]) + "\n" for row, label in zip(x, y, strict=True)
        )


def read(code: str, path: Path) -> dict[str, Any]:
    """Read the table once in a new process."""
    found = _run([sys.executable, "-c", f"path = {str(path)!r}\n{PEAK}{code}{TIMED}"], path.parent)
    if found.returncode:
        return {"missing": found.stderr.strip().splitlines()[-1]}
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def predict(path: Path, output: str = "out.csv") -> tuple[float, int]:
    """Seconds of `fcnet predict` as a shell sees them, and its peak memory in bytes (0 where that is not told)."""
    command = [sys.executable, "-c", PEAK + PREDICT, "predict", str(path), "-o", output, "-q"]
    start = perf_counter()
    found = _run(command, path.parent)
    seconds = perf_counter() - start
    if found.returncode:
        raise SystemExit(found.stderr)
    return seconds, int(found.stdout.splitlines()[-1])


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False, env=env)


def measure(rows: int, columns: int, repeat: int) -> dict[str, Any]:
    """Medians over the rounds, and the reasons of whoever is left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, short = folder / "table.csv", folder / "short.csv"
        make_table(table, rows, columns)
        few = SHORT // (9 * columns)
        with open(table, encoding="utf-8") as file:
            short.write_text("".join(islice(file, 1 + few)), encoding="utf-8")
        config = folder / "config.yaml"
        config.write_text(
            "data: {train: table.csv, target: y}\nnetwork: {layers: [64, 64]}\ntraining: {epochs: 1}\n",
            encoding="utf-8",
        )
        trained = _run([sys.executable, "-m", "fcnet", "train", str(config), "-q"], folder)
        if trained.returncode:
            raise SystemExit(trained.stderr)
        answers: dict[str, list[dict[str, Any]]] = {reader: [] for reader in READERS}
        whole, start_up = [], []
        for _ in range(repeat):
            for reader, code in READERS.items():
                answers[reader].append(read(code, table))
            whole.append(predict(table)[0])
            start_up.append(predict(short)[0])
        size = table.stat().st_size
        found = {
            reader: {
                "version": given[0]["version"],
                "seconds": median(each["seconds"] for each in given),
                "peak": max(each["peak"] for each in given),
            }
            for reader, given in answers.items()
            if "missing" not in given[0]
        }
        peaks = _peaks(
            folder, table, rows, columns, parquet="without" not in answers[next(iter(READERS))][0]["version"]
        )
    beyond = median(whole) - median(start_up)
    return {
        "rows": rows,
        "columns": columns,
        "bytes": size,
        "readers": found,
        "missing": {reader: given[0]["missing"] for reader, given in answers.items() if "missing" in given[0]},
        "predict": {"seconds": beyond, "start": median(start_up), "rows_per_second": rows / beyond},
        "peaks": peaks,
    }


def _peaks(folder: Path, table: Path, rows: int, columns: int, parquet: bool) -> dict[str, list[int]]:
    """Peak memory in bytes by what was done, on the table and on one that repeats its rows."""
    long = folder / "long.csv"
    with open(table, encoding="utf-8") as file, open(long, "w", encoding="utf-8") as out:
        out.write(file.readline())
        body = file.read()
        out.writelines(body for _ in range(TIMES))
    found: dict[str, list[int]] = {}
    for path, n in ((table, rows), (long, rows * TIMES)):
        arrays = path.with_suffix(".npz")
        x = np.random.default_rng(0).standard_normal((n, columns), dtype=np.float32)
        np.savez(arrays, x=x, y=(x[:, 0] > 0).astype(np.int64))
        found.setdefault("matrix", []).append(x.nbytes)
        del x
        for what, source in (("load a CSV", path), ("load an NPZ", arrays)):
            found.setdefault(what, []).append(read(READERS[next(iter(READERS))], source)["peak"])
        for kind in ("CSV", *(["Parquet"] if parquet else [])):
            peak = predict(path, f"out.{kind.lower()}")[1]
            found.setdefault(f"`fcnet predict`, CSV to {kind}", []).append(peak)
    return found


def markdown(found: dict[str, Any], repeat: int) -> str:
    """One table: seconds, against polars, peak memory."""
    readers, predicted = found["readers"], found["predict"]
    base = next((entry["seconds"] for name, entry in readers.items() if name.startswith("polars")), None)
    size = f"{found['bytes'] / 1e6:.0f} MB"
    rows = [(name, entry["seconds"], f"{entry['peak'] / 1e6:.0f}") for name, entry in readers.items()]
    rows.append(("`fcnet predict` to a CSV, beyond start-up", predicted["seconds"], ""))
    lines = [
        describe([entry["version"] for entry in readers.values()]),
        "",
        f"{found['rows']:,} rows × {found['columns']} numbers and a class, {size}, median of {repeat}:",
        "",
        "| | seconds | ÷ polars | peak memory, MB |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {name} | {seconds:.2f} | {_against(seconds, base)} | {peak} |" for name, seconds, peak in rows),
        "",
        f"Predictions a second: {predicted['rows_per_second']:,.0f}. Start-up: {predicted['start']:.2f} s.",
        *(f"Left out: {name} ({why})." for name, why in found["missing"].items()),
        "",
        f"| peak memory, MB | {found['rows']:,} rows | {found['rows'] * TIMES:,} rows |",
        "| --- | ---: | ---: |",
        *(f"| {what} | {a / 1e6:.0f} | {b / 1e6:.0f} |" for what, (a, b) in found["peaks"].items()),
    ]
    return "\n".join(lines) + "\n"


def _against(seconds: float, base: float | None) -> str:
    return f"{seconds / base:.2f} ×" if base else "–"


def main() -> None:
    """Measure, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    options = parser.parse_args()
    found = measure(options.rows, options.columns, options.repeat)
    text = markdown(found, options.repeat)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    if options.into:
        into(options.into, "tables", text)


if __name__ == "__main__":
    main()
