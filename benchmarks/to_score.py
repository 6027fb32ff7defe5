"""Seconds from a CSV on disk to a stated accuracy on validation, everything included: interpreter, imports, reading.

    python benchmarks/to_score.py
    python benchmarks/to_score.py --train mnist_train.csv.gz --validation mnist_test.csv.gz --target label \\
        --layers 256 128 --batch 128 --goal 0.975

Three scripts do the same: read, standardise, train with Adam, score after every epoch, end at the goal. Each runs in a
process of its own, in turn. Without --train it is the table of digits that comes with fcnet, split three to one.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe, into

ROOT = Path(__file__).parents[1]

SCRIPTS = {"fcnet": "fcnet_.py", "PyTorch with pandas": "torch_.py", "scikit-learn with pandas": "sklearn_.py"}


def run(script: str, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One script from start to end; what it said, and the seconds that a shell would have waited."""
    start = perf_counter()
    path = Path(__file__).parent / "scripts" / script
    done = subprocess.run(
        [sys.executable, str(path), json.dumps(task)], cwd=folder, text=True, capture_output=True, check=False
    )
    seconds = perf_counter() - start
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": seconds}


def split(table: Path, folder: Path) -> tuple[Path, Path]:
    """Every fourth row into validation.csv, the others into train.csv."""
    with open(table, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    paths = folder / "train.csv", folder / "validation.csv"
    for path, kept in zip(paths, ([r for i, r in enumerate(rows) if i % 4], rows[::4]), strict=True):
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *kept])
    return paths


def markdown(task: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> str:
    """One table: seconds, against fcnet, epochs and the accuracy reached."""
    good = {name: answers for name, answers in found.items() if "missing" not in answers[0]}
    times = {name: median(answer["seconds"] for answer in answers) for name, answers in good.items()}
    base = times.get("fcnet")
    repeat = max(map(len, found.values()))
    net = f"hidden layers {' and '.join(map(str, task['layers']))}, batches of {task['batch']}"
    lines = [
        describe([answers[0]["version"] for answers in good.values()]),
        "",
        f"{Path(task['train']).name} to an accuracy of {task['goal']:g} on validation, {net}, median of {repeat}:",
        "",
        "| | seconds | ÷ fcnet | epochs | accuracy |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, answers in good.items():
        last = answers[-1]
        reached = f"{last['score']:.4f}" + ("" if last["score"] >= task["goal"] else ", not reached")
        ratio = f"{times[name] / base:.2f} ×" if base else "–"
        lines.append(f"| {name} | {times[name]:.2f} | {ratio} | {last['epochs']} | {reached} |")
    lines += [""] * (len(good) < len(found))
    lines += [f"Left out: {name} ({answers[0]['missing']})." for name, answers in found.items() if name not in good]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--target", default="digit")
    parser.add_argument("--layers", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--goal", type=float, default=0.97)
    parser.add_argument("--epochs", type=int, default=50, help="give up after so many")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    parser.add_argument("--mark", default="to_score", help="the name of the table there")
    options = parser.parse_args()
    if (options.train is None) != (options.validation is None):
        parser.error("--train and --validation go together")
    with tempfile.TemporaryDirectory() as name:
        train, validation = options.train, options.validation
        if train is None:
            train, validation = split(ROOT / "data" / "digits.csv", Path(name))
        task = {
            "train": str(train.resolve()),
            "validation": str(validation.resolve()),
            "target": options.target,
            "layers": options.layers,
            "batch": options.batch,
            "goal": options.goal,
            "epochs": options.epochs,
        }
        found: dict[str, list[dict[str, Any]]] = {label: [] for label in SCRIPTS}
        for _ in range(options.repeat):
            for label, script in SCRIPTS.items():
                found[label].append(run(script, task, Path(name)))
    text = markdown(task, found)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps({"task": task, "found": found}, indent=2))
    if options.into:
        into(options.into, options.mark, text)


if __name__ == "__main__":
    main()
