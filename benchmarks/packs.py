"""Several nets as one pack beside runs one after another, and beside PyTorch: member-epochs a second.

    python benchmarks/packs.py
    python benchmarks/packs.py --against ../before --threads 2 --members 8
    python benchmarks/packs.py --members 16 --rows 6400 --rounds 3     # in a minute

Each in a process of its own, in turn, round by round; the single runs can be those of another checkout. PyTorch trains
all nets at once, by batched products and by `vmap`, and is left out where it is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

sys.path.insert(0, os.environ.get("FCNET_TREE", str(Path(__file__).parents[1])))

from benchmarks.cases import CASES, LEARNING_RATE, Case
from benchmarks.machine import describe, row
from benchmarks.trainers import fcnet_

ROUNDS = 7
NETS = (*CASES, Case((64, 192, 192, 2), 256, 25_600))
"""The last one as wide as the nets of `recipe: pack`."""
OWN = str(Path(__file__).parents[1])
WAYS = ("one after another", "pack", "torch bmm", "torch vmap")


class Worker:
    """A way to train so many members, in a process with a checkout's fcnet."""

    def __init__(self, tree: str, way: str, case: int, rows: int, backend: str, threads: int, members: int) -> None:
        args = [sys.executable, __file__, "--work", way, str(case), str(rows), backend, str(members)]
        env = {**os.environ, "FCNET_TREE": tree, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def seconds(self) -> float:
        """Of one more epoch: of one net where they are trained one after another, else of all of them."""
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


def work(way: str, case: Case, backend: str, members: int) -> None:
    """Say how long an epoch takes, for every line that is read."""
    epoch = made(way, case, backend, members)
    print(json.dumps(0.0), flush=True)
    for _ in sys.stdin:
        epoch()
        start = perf_counter()
        epoch()
        print(json.dumps(perf_counter() - start), flush=True)


def made(way: str, case: Case, backend: str, members: int) -> Callable[[], float]:
    """What trains an epoch."""
    if way == "one after another":
        return getattr(fcnet_, backend)(case)[0]  # type: ignore[no-any-return]  # of another checkout, it may be
    if way == "pack":
        return fcnet_.trainer(case, backend, members)[0]
    from benchmarks.trainers import torch_

    return getattr(torch_, way.removeprefix("torch "))(case, members)  # type: ignore[no-any-return]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", default=OWN, help="the checkout whose single runs are measured")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, len(NETS) - 1])
    parser.add_argument("--rows", type=int, default=64_000, help="the most rows of an epoch")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    ways = [way for way in WAYS if not way.startswith("torch") or importlib.util.find_spec("torch")]
    print("Member-epochs a second, and the pack's times those of each.\n")
    print(row(["net, batch", *ways]))
    print(row(["---"] * (1 + len(ways))))
    for number in args.cases:
        about = number, args.rows, args.backend, args.threads, args.members
        workers = [Worker(args.against if way == WAYS[0] else OWN, way, *about) for way in ways]
        rounds = [[worker.seconds() for worker in workers] for _ in range(args.rounds)]
        for worker in workers:
            worker.close()
        shortest = [min(times) for times in zip(*rounds, strict=True)]
        rates = [(1 if way == WAYS[0] else args.members) / s for way, s in zip(ways, shortest, strict=True)]
        pack = rates[ways.index("pack")]
        print(row([NETS[number].name, *(f"{rate:.2f} ({pack / rate:.2f} x)" for rate in rates)]), flush=True)
    print()
    print(f"{args.members} nets, {args.threads} threads, {args.backend}. {describe([fcnet_.VERSION])}")
    print(f"Adam, lr {LEARNING_RATE:g}; the shortest of {args.rounds} epochs each.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        case = NETS[int(sys.argv[3])]
        most = int(sys.argv[4]) // case.batch * case.batch  # whole batches
        work(sys.argv[2], replace(case, rows=min(case.rows, most)), sys.argv[5], int(sys.argv[6]))
    else:
        main()
