"""Records a run of fcnet in MLflow: python docs/to_mlflow.py RUN [EXPERIMENT].

The resolved config becomes parameters, metrics.csv the metrics of each epoch, metrics.json those of the end, and the
folder's files artifacts, with the net as ONNX where fcnet[onnx] is installed.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import yaml

FILES = ("best.npz", "config.yaml", "environment.json", "metrics.csv", "metrics.json", "log.txt", "report.html")
LONGEST = 500
"""Characters of a parameter that every tracking server takes."""


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value) of everything in a config."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)[:LONGEST]


def name(text: str) -> str:
    """A name as MLflow takes it."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in text)


def record(run: Path) -> None:
    """Log all of a complete run to the active one of MLflow."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    mlflow.log_params({name(key): value for key, value in flat(config)})
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            scores = {name(key): float(cell) for key, cell in row.items() if cell and key != "epoch"}
            mlflow.log_metrics(scores, step=int(row["epoch"]))
    done = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for part in ("train", "validation", "test"):
        for metric, value in (done.get(part) or {}).items():
            shown = value["value"] if isinstance(value, Mapping) else value
            if isinstance(shown, int | float):
                mlflow.log_metric(f"{part}/{name(metric)}", shown)
    for file in FILES:
        if (run / file).is_file():
            mlflow.log_artifact(str(run / file))
    if find_spec("onnx"):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "model.onnx"
            words = [sys.executable, "-m", "fcnet", "export", str(run), "--format", "onnx", "-o", str(target), "-q"]
            if subprocess.run(words, check=False).returncode == 0:  # it says what it cannot express
                mlflow.log_artifact(str(target))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    mlflow.set_experiment(sys.argv[2] if len(sys.argv) > 2 else "fcnet")
    with mlflow.start_run(run_name=folder.name):
        record(folder)
