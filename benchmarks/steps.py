"""Rows a second of whole training steps: fcnet beside PyTorch, JAX, scikit-learn and Keras, in turn, in one run.

    python benchmarks/steps.py
    python benchmarks/steps.py --threads 2 --python jax=~/jax/bin/python --json steps.json --into docs/performance.md

Shuffling, gathering, forward, backward and Adam, in float32, on the same rows in the same net. Each trainer lives in a
process of its own, bound to as many cores as it has threads; in every round each of them trains two epochs, the second
of which counts, after a pause in which the threads of the one before it fall asleep.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cases import CASES
from benchmarks.machine import describe, into, row

PAUSE = 0.3
"""Seconds before each epoch: threads of OpenMP go on looking for work for a fifth of a second after their last, on the
cores of who comes next."""

TRAINERS = {
    "fcnet.numba": "fcnet, Numba",
    "fcnet.numpy": "fcnet, NumPy",
    "torch.eager": "PyTorch",
    "torch.compiled": "PyTorch, compiled",
    "jax.step": "JAX, a call a step",
    "jax.scan": "JAX, an epoch in one scan",
    "sklearn.mlp": "scikit-learn",
    "keras.fit": "Keras",
}


class Worker:
    """A trainer in its own process."""

    def __init__(self, trainer: str, case: int, threads: int, python: str) -> None:
        count = str(threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        bound = _cores(threads)
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("worker.py")), trainer, str(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **dict.fromkeys(names, count)},
            preexec_fn=(lambda: os.sched_setaffinity(0, bound)) if bound else None,  # noqa: PLW1509  # no threads here
        )
        self.first = self._answer()
        self.answers: list[dict[str, float]] = []

    def epoch(self) -> None:
        """Train one epoch and another, and keep the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "seconds" in answer:
            self.answers.append(answer)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"it ended with exit code {self.process.wait()}"}


def _cores(threads: int) -> set[int]:
    """The first so many cores of those that we may use; none where the system cannot bind a process to them."""
    return set(sorted(os.sched_getaffinity(0))[:threads]) if hasattr(os, "sched_getaffinity") else set()


def measure(case: int, threads: int, trainers: list[str], repeat: int, pythons: dict[str, str]) -> dict[str, Any]:
    """Every trainer on one net: rows a second of each round, or why there are none."""
    batch, rows = CASES[case].batch, CASES[case].rows
    workers, found, missing = {}, {}, {}
    for name in trainers:
        worker = Worker(name, case, threads, pythons.get(name.partition(".")[0], sys.executable))
        if "missing" in worker.first:
            missing[name] = worker.first["missing"]
        else:
            workers[name] = worker
    order = list(workers)
    for _ in range(repeat):
        for name in order:
            sleep(PAUSE)
            workers[name].epoch()
        order = [*order[1:], *order[:1]][::-1]  # nobody always comes after the same neighbour
    for name, worker in workers.items():
        worker.close()
        if not worker.answers:
            missing[name] = "it ended without an answer"
            continue
        seconds = [answer["seconds"] for answer in worker.answers]
        entry = {
            "version": worker.first["version"],
            "rows_per_second": rows / median(seconds),
            "best": rows / min(seconds),
            "seconds": seconds,
            "loss": worker.answers[-1]["loss"],
        }
        if "products" in worker.answers[0]:
            products = median(answer["products"] for answer in worker.answers)
            entry["products"] = products
            entry["ratio"] = median(seconds) * batch / rows / products
        found[name] = entry
    return {"net": CASES[case].name, "threads": threads, "trainers": found, "missing": missing}


def markdown(results: list[dict[str, Any]], repeat: int) -> str:
    """Tables of medians and ratios, one for each number of threads."""
    lines = [describe(_versions(results)), ""]
    for threads in sorted({result["threads"] for result in results}):
        chosen = [result for result in results if result["threads"] == threads]
        names = [name for name in TRAINERS if any(name in result["trainers"] for result in chosen)]
        heads = [TRAINERS[name] for name in names]
        lines += [
            f"Thousand rows a second, {_count(threads)}, median of {repeat} rounds:",
            "",
            row(["net, batch", *heads]),
            row(["---", *["---:"] * len(heads)]),
            *(row([result["net"], *(_rate(result, name) for name in names)]) for result in chosen),
            "",
            "fcnet (the faster backend) against the others, and its step against its own matrix products:",
            "",
            row(
                [
                    "net, batch",
                    "÷ the best of PyTorch",
                    "÷ the best of JAX",
                    "÷ scikit-learn",
                    "÷ Keras",
                    "step ÷ products",
                ]
            ),
            row(["---", *["---:"] * 5]),
            *(row([result["net"], *_ratios(result)]) for result in chosen),
            "",
        ]
    missing = {TRAINERS[name]: why for result in results for name, why in result["missing"].items()}
    lines += [f"Left out: {name} ({why})." for name, why in missing.items()]
    return "\n".join(lines).rstrip() + "\n"


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _versions(results: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(entry["version"] for result in results for entry in result["trainers"].values()))


def _rate(result: dict[str, Any], name: str) -> str:
    entry = result["trainers"].get(name)
    return f"{entry['rows_per_second'] / 1000:,.1f}" if entry else "–"


def _ratios(result: dict[str, Any]) -> list[str]:
    entries = result["trainers"]
    ours = max(
        (e for n, e in entries.items() if n.startswith("fcnet.")), key=lambda e: e["rows_per_second"], default=None
    )
    if ours is None:
        return ["–"] * 5
    cells = []
    for library in ("torch.", "jax.", "sklearn.", "keras."):
        others = [entry["rows_per_second"] for name, entry in entries.items() if name.startswith(library)]
        cells.append(f"{ours['rows_per_second'] / max(others):.2f} ×" if others else "–")
    return [*cells, f"{ours['ratio']:.2f}"]


def main() -> None:
    """Measure, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the first epoch of each trainer is not counted")
    parser.add_argument("--nets", type=int, nargs="+", default=list(range(len(CASES))), help="0 is the smallest")
    parser.add_argument("--only", nargs="+", choices=list(TRAINERS), default=list(TRAINERS))
    parser.add_argument("--python", action="append", default=[], metavar="LIBRARY=PYTHON", help="another interpreter")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    options = parser.parse_args()
    pythons = {name: str(Path(path).expanduser()) for name, path in (text.split("=", 1) for text in options.python)}
    results = []
    for threads in options.threads:
        for case in options.nets:
            print(f"{CASES[case].name}, {_count(threads)} …", file=sys.stderr, flush=True)
            results.append(measure(case, threads, options.only, options.repeat, pythons))
    text = markdown(results, options.repeat)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(_versions(results)), "results": results}, indent=2))
    if options.into:
        into(options.into, "steps", text)


if __name__ == "__main__":
    main()
