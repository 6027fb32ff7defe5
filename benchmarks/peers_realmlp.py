"""`recipe: realmlp` beside the authors' own RealMLP-TD (pytabkit), on the same splits and seeds: scores and seconds.

    python benchmarks/peers_realmlp.py FOLDER
    python benchmarks/peers_realmlp.py FOLDER --seeds 5 --sets churn phoneme --json figures.json

FOLDER is that of `quality.py`. Both are run one after the other on each set and seed, on as many threads. fcnet's
seconds are those of the whole command; pytabkit's are those of `fit` and `predict` alone, after its imports, on columns
that are read and typed already. Two scores count as equal where their means are no further apart than both deviations
of the seeds; one seed says nothing about that. It wants `pip install pytabkit dill msgpack pyyaml`, in an environment
that has fcnet's own packages too.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean, mean, median, stdev
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe, row
from benchmarks.quality import PART, SETS, Set, run, table

OURS, THEIRS = "fcnet", "pytabkit"


def frames(found: Set, header: list[str], rows: list[list[str]]) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """(x, y) of each part as pandas has them, and which columns are categories: those that hold a text."""
    import pandas as pd

    made: dict[str, Any] = {}
    columns = {name: [cells[j] for cells in rows] for j, name in enumerate(header)}
    parts, labels = np.array(columns.pop(PART)), columns.pop(found.target)
    categories = []
    for name, cells in columns.items():
        try:
            made[name] = np.array([float(cell) if cell else math.nan for cell in cells], dtype=np.float32)
        except ValueError:
            made[name] = cells
            categories.append(name)
    x = pd.DataFrame(made)
    y = np.unique(labels, return_inverse=True)[1] if found.classes else np.array(labels, dtype=np.float32)
    named = ("train", "validation", "test")
    return {part: (x[parts == part].reset_index(drop=True), y[parts == part]) for part in named}, categories


def of_pytabkit(
    found: Set, parts: dict[str, tuple[Any, Any]], categories: list[str], seed: int, how: dict[str, Any]
) -> Any:
    """The score on the test part, and the seconds of `fit` and `predict`; `how`: what is not to be as it comes."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    made = RealMLP_TD_Classifier if found.classes else RealMLP_TD_Regressor
    model = made(device="cpu", random_state=seed, **how)
    (x, y), (xv, yv), (xt, yt) = (parts[name] for name in ("train", "validation", "test"))
    start = perf_counter()
    model.fit(x, y, X_val=xv, y_val=yv, cat_col_names=categories)
    p = np.asarray(model.predict(xt)).reshape(-1)
    seconds = perf_counter() - start
    return float((p == yt).mean() if found.classes else np.sqrt(np.mean((p - yt) ** 2))), seconds


def equal(scores: dict[str, list[float]]) -> bool | None:
    """Whether the means are no further apart than the deviations of both; None for one seed."""
    ours, theirs = scores[OURS], scores[THEIRS]
    if len(ours) < 2:
        return None
    return abs(mean(ours) - mean(theirs)) <= math.hypot(stdev(ours), stdev(theirs))


def text(results: dict[str, dict[str, tuple[list[float], list[float]]]]) -> str:
    """A line for each set, and one for all."""
    lines = [
        row(["set", "fcnet", "pytabkit", "equal", "seconds", "pytabkit's", "÷ pytabkit's"]),
        row(["---", *["---:"] * 6]),
    ]
    ratios, same = [], []
    for name, own in results.items():
        scores = {who: found[0] for who, found in own.items()}
        seconds = {who: median(found[1]) for who, found in own.items()}
        ratios.append(seconds[OURS] / seconds[THEIRS])
        same.append(equal(scores))
        said = [f"{mean(s):.5g}" + (f" ± {stdev(s):.2g}" if len(s) > 1 else "") for s in scores.values()]
        word = {True: "yes", False: "no", None: "one seed"}[same[-1]]
        lines.append(row([name, *said, word, *(f"{s:.1f}" for s in seconds.values()), f"{ratios[-1]:.3f}"]))
    counted = "" if None in same else f"equal within the seeds' deviation on {sum(map(bool, same))} of {len(same)}; "
    return "\n".join([*lines, "", f"{counted}seconds ÷ pytabkit's, geometric mean: {geometric_mean(ratios):.3f}"])


def main() -> None:
    """Run both on what the arguments ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=[found.name for found in SETS], metavar="SET")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--epochs", type=int, help="of both, in place of their 256")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    if find_spec("pytabkit") is None:
        raise SystemExit("pytabkit is not installed: pip install pytabkit dill msgpack pyyaml")
    keys, how = ["recipe=realmlp", f"threads={given.threads}"], {"n_threads": given.threads}
    if given.epochs:
        keys, how = [*keys, f"training.epochs={given.epochs}"], {**how, "n_epochs": given.epochs}
    results: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for found in SETS:
        if given.sets and found.name not in given.sets:
            continue
        header, rows = table(found, given.folder / found.name)
        parts, categories = frames(found, header, rows)
        own = results[found.name] = {OURS: ([], []), THEIRS: ([], [])}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{found.name}.csv"
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *rows])
            for seed in range(given.seeds):
                for who, (score, seconds) in (
                    (OURS, run(found, path, {}, keys, seed)),
                    (THEIRS, of_pytabkit(found, parts, categories, seed, how)),
                ):
                    own[who][0].append(score)
                    own[who][1].append(seconds)
                    print(f"{found.name}: {who}, seed {seed}: {score:.5g}, {seconds:.1f} s", flush=True)
    print(f"\n{describe([])} Seeds: {given.seeds}, threads: {given.threads}.\n\n{text(results)}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
