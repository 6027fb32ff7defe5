"""How much of what several nets gain over one a single net of their size keeps that learns from them.

    python benchmarks/distil.py DIR
    python benchmarks/distil.py DIR phoneme letter --seeds 5 --nets 16 --weight 1 training.epochs=50

Three models on the exact splits of each set, of the same layers: one net; `--nets` of them as an ensemble; and one net
with that ensemble's predictions of its table as its teacher. Kept is (error of the one − error of the taught) ÷ (error
of the one − error of the ensemble), of errors that are means over the seeds.
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

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from quality import PART, SETS, Set, table  # noqa: E402

from fcnet import api  # noqa: E402

MODELS = ("one", "ensemble", "taught")


def scores(found: Set, source: Path, settings: argparse.Namespace, seed: int, folder: Path) -> dict[str, float]:
    """The error on the test part of each model."""
    data = {
        "train": str(source),
        "target": found.target,
        "task": "auto" if found.classes else "regression",
        "split": {"by": "column", "column": PART},
    }
    base = {"network": {"layers": settings.layers}, "output": str(folder), "data": data}
    taught = {**data, "teacher": str(folder / "said.csv"), "teacher_weight": settings.weight}
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
            api.predict(str(source), folder / "said.csv", checkpoint=run.path)
    return errors


def main() -> None:
    """Run what is asked for and print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds a folder for each set")
    parser.add_argument("names", nargs="*", help="sets, or keys of the config of all three models; default: all sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", type=int, default=8)
    parser.add_argument("--weight", type=float, default=1.0, help="data.teacher_weight")
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
            source = Path(made) / "table.csv"
            with open(source, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *rows])
            kept[found.name] = [scores(found, source, settings, seed, Path(made)) for seed in range(settings.seeds)]
        one, ensemble, taught = (mean(each[model] for each in kept[found.name]) for model in MODELS)
        share = f"{(one - taught) / (one - ensemble):.2f}" if ensemble < one else "–"
        print(f"| {found.name} | {one:.5g} | {ensemble:.5g} | {taught:.5g} | {share} |", flush=True)
    if settings.json:
        settings.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
