"""How much of what several nets gain over one a single net of their size keeps that learns from them.

    python benchmarks/distil.py DIR
    python benchmarks/distil.py DIR phoneme letter --seeds 5 --nets 16 --weight 1 training.epochs=50

Three models on the exact splits of each set, of the same layers: one net; `--nets` of them as an ensemble; and one net
with that ensemble's predictions as its teacher. Kept is (error of the one − error of the taught) ÷ (error of the one
− error of the ensemble), of errors that are means over the seeds.

Of rows that it has learnt itself a teacher says little more than their labels. So the taught net also sees `--rows` new
rows for each of training, of which only the teacher speaks: a row's cells, each as likely as not replaced by that
of one of its ten nearest neighbours (Bucilă, Caruana and Niculescu-Mizil 2006).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from quality import PART, SETS, Set, table  # noqa: E402

from fcnet import api  # noqa: E402

MODELS = ("one", "ensemble", "taught")


def near(header: list[str], rows: list[list[str]], target: str, times: int) -> list[list[str]]:
    """New rows between those of training and their neighbours, with the targets of these."""
    rng, j = np.random.default_rng(0), header.index(target)
    own = np.array([row for row in rows if row[-1] == "train"], dtype=object)
    columns = []
    for i in range(len(header) - 1):
        if i == j:
            continue
        try:
            values = np.array([float(cell or "nan") for cell in own[:, i]])
            columns.append(np.nan_to_num((values - np.nanmean(values)) / (np.nanstd(values) or 1.0)))
        except ValueError:
            columns += [own[:, i] == level for level in set(own[:, i])]
    x = np.stack([np.asarray(c, np.float32) for c in columns], axis=1)
    found = []
    for start in range(0, len(x), 512):
        some = x[start : start + 512]
        apart = (some**2).sum(1)[:, None] - 2 * some @ x.T + (x**2).sum(1)
        nearest = np.argpartition(apart, 11, axis=1)[:, :11]
        for _ in range(times):
            other = own[nearest[np.arange(len(some)), rng.integers(0, 11, len(some))]]
            swap = rng.random(other.shape) < 0.5
            swap[:, j] = False
            found += np.where(swap, other, own[start : start + 512]).tolist()
    return found


def scores(found: Set, source: Path, more: Path, settings: argparse.Namespace, seed: int) -> dict[str, float]:
    """The error on the test part of each model; `more` is the table with the new rows."""
    folder = source.parent
    data = {
        "train": str(source),
        "target": found.target,
        "task": "auto" if found.classes else "regression",
        "split": {"by": "column", "column": PART},
    }
    base = {"network": {"layers": settings.layers}, "output": str(folder), "data": data}
    taught = {**data, "train": str(more), "teacher": str(folder / "said.csv"), "teacher_weight": settings.weight}
    models: dict[str, dict[str, Any]] = {
        "one": {"seed": seed},
        "ensemble": {"seed": seed + 1000, "ensemble": settings.nets},
        "taught": {"seed": seed, "data": taught},
    }
    errors = {}
    for name in MODELS:
        run = api.train({**base, "name": name, **models[name]}, overrides=settings.keys, overwrite=True)
        test = run.metrics["test"]
        errors[name] = found.error(float(test["accuracy" if found.classes else "rmse"]["value"]))
        if name == "ensemble":
            api.predict(str(more), folder / "said.csv", checkpoint=run.path)
    return errors


def main() -> None:
    """Run what is asked for and print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds a folder for each set")
    parser.add_argument("names", nargs="*", help="sets, or keys of the config of all three models; default: all sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", type=int, default=8)
    parser.add_argument("--weight", type=float, default=1.0, help="data.teacher_weight")
    parser.add_argument("--rows", type=int, default=4, help="new rows for each of training")
    parser.add_argument("--layers", type=json.loads, default=[64, 64])
    parser.add_argument("--json", type=Path, help="keep every figure in this file")
    settings = parser.parse_intermixed_args()
    settings.keys = [name for name in settings.names if "=" in name]
    names = [name for name in settings.names if "=" not in name]
    print("| set | one net | ensemble | taught | kept |\n|---|---:|---:|---:|---:|", flush=True)
    kept: dict[str, list[dict[str, float]]] = {}
    for found in SETS:
        if names and found.name not in names:
            continue
        with tempfile.TemporaryDirectory() as made:
            header, rows = table(found, settings.folder / found.name)
            source, more = Path(made) / "table.csv", Path(made) / "more.csv"
            for path, new in ((source, []), (more, near(header, rows, found.target, settings.rows))):
                with open(path, "w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows([header, *rows, *new])
            kept[found.name] = [scores(found, source, more, settings, seed) for seed in range(settings.seeds)]
        one, ensemble, taught = (mean(each[model] for each in kept[found.name]) for model in MODELS)
        share = f"{(one - taught) / (one - ensemble):.2f}" if ensemble < one else "–"
        print(f"| {found.name} | {one:.5g} | {ensemble:.5g} | {taught:.5g} | {share} |", flush=True)
    if settings.json:
        settings.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
