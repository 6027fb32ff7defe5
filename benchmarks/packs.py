"""Eight nets as one pack beside eight runs one after another: how many times as fast whole epochs of all eight are.

    python benchmarks/packs.py
    python benchmarks/packs.py --against ../before --threads 2 --members 8

Each in a process of its own, in turn, round by round; the single runs can be those of another checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, os.environ.get("FCNET_TREE", str(Path(__file__).parents[1])))

from benchmarks.cases import CASES, LEARNING_RATE, Case
from benchmarks.machine import describe, row
from benchmarks.trainers import fcnet_

ROUNDS = 7
OWN = str(Path(__file__).parents[1])


class Worker:
    """A pack of so many members, or a net alone, in a process with a checkout's fcnet."""

    def __init__(self, tree: str, case: int, backend: str, threads: int, members: int) -> None:
        args = [sys.executable, __file__, "--work", str(case), backend, str(members)]
        env = {**os.environ, "FCNET_TREE": tree, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def seconds(self) -> float:
        """Of one more epoch."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work(case: Case, backend: str, members: int) -> None:
    """Say how long an epoch takes, for every line that is read."""
    if members:
        epoch, _ = fcnet_.trainer(case, backend, members)
    else:
        epoch, _ = getattr(fcnet_, backend)(case)
    print(json.dumps(0.0), flush=True)
    for _ in sys.stdin:
        epoch()
        start = perf_counter()
        epoch()
        print(json.dumps(perf_counter() - start), flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", default=OWN, help="the checkout whose single runs are measured")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    print(row(["net, batch", "one after another, s an epoch of all", "as a pack", "times as fast"]))
    print(row(["---"] * 4))
    for number in args.cases:
        about = number, args.backend, args.threads
        workers = Worker(args.against, *about, 0), Worker(OWN, *about, args.members)
        rounds = [[worker.seconds() for worker in workers] for _ in range(args.rounds)]
        for worker in workers:
            worker.close()
        alone, pack = (min(times) for times in zip(*rounds, strict=True))
        figures = args.members * alone, pack, args.members * alone / pack
        print(row([CASES[number].name, *(f"{figure:.3f}" for figure in figures)]), flush=True)
    print()
    print(f"{args.members} nets, {args.threads} threads, {args.backend}. {describe([fcnet_.VERSION])}")
    print(f"Adam, lr {LEARNING_RATE:g}; the shortest of {args.rounds} epochs each.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(CASES[int(sys.argv[2])], sys.argv[3], int(sys.argv[4]))
    else:
        main()
