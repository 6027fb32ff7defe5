"""Whether probabilities are honest and intervals keep their promise, on test parts that nothing was fitted on.

    python benchmarks/honesty.py FOLDER quality=fast
    python benchmarks/honesty.py FOLDER quality=fast --sets churn phoneme --seeds 2 --into docs/decisions.md

FOLDER holds the sets of benchmarks/quality.py. Each is trained with `calibration=auto` and the keys given. Of classes
it shows the expected calibration error and the log-loss on the test part before and after the temperature; of all, the
share of test rows that sets or intervals hold, and how many standard errors that is away from what was asked. The error
is that of the n test rows and of the m validation rows: √(c (1 − c) (1/n + 1/m)).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import fcnet
from benchmarks.machine import describe, into, row
from benchmarks.quality import PART, SETS, Set, table

COVERAGE = 0.8, 0.9


@dataclass(frozen=True)
class Found:
    """What one run came to: (before, after) of both figures, None for numbers; of each coverage the share, and by how
    many standard errors it is off."""

    set: Set
    seed: int
    temperature: float | None
    ece: tuple[float, float] | None
    log_loss: tuple[float, float] | None
    covered: tuple[tuple[float, float], ...]

    @property
    def rise(self) -> float:
        """The log-loss after ÷ before, less 1; 0 for numbers."""
        return self.log_loss[1] / self.log_loss[0] - 1 if self.log_loss else 0.0


def runs(found: Set, folder: Path, keys: Sequence[str], seeds: int) -> Iterator[Found]:
    """One run for each seed."""
    header, rows = table(found, folder / found.name)
    target = header.index(found.target)
    test = [cells for cells in rows if cells[-1] == "test"]
    held = sum(cells[-1] == "validation" for cells in rows)
    with tempfile.TemporaryDirectory() as scratch:
        for name, some in (("all", rows), ("test", test)):
            with open(Path(scratch) / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *some])
        for seed in range(seeds):
            config = {
                "name": f"{found.name}-{seed}",
                "seed": seed,
                "output": scratch,
                "calibration": "auto",
                "data": {
                    "train": str(Path(scratch) / "all.csv"),
                    "target": found.target,
                    "task": "auto" if found.classes else "regression",
                    "split": {"by": "column", "column": PART},
                },
            }
            run = fcnet.train(config, overrides=keys)
            covered = []
            for coverage in COVERAGE:
                columns = run.model.predict_columns(Path(scratch) / "test.csv", coverage=coverage)
                if found.classes:
                    sets = columns["set"].tolist()
                    hits = [cells[target] in said.split("|") for cells, said in zip(test, sets, strict=True)]
                else:
                    y = np.array([float(cells[target]) for cells in test])
                    hits = ((columns["low"] <= y) & (y <= columns["high"])).tolist()
                error = math.sqrt(coverage * (1 - coverage) * (1 / len(test) + 1 / held))
                share = float(np.mean(hits))
                covered.append((share, (share - coverage) / error))
            said = run.metrics.get("calibration")
            both = [None if said is None else tuple(said["test"][name].values()) for name in ("ece", "log_loss")]
            yield Found(found, seed, said and said["temperature"], *both, tuple(covered))  # type: ignore[arg-type]


def cells(found: Found) -> list[str]:
    """A row of the table."""
    shown = [f"{found.set.name}, seed {found.seed}"]
    if found.ece is None or found.log_loss is None or found.temperature is None:
        shown += [""] * 4
    else:
        shown += [
            f"{found.temperature:.2f}",
            " → ".join(f"{value:.4f}" for value in found.ece),
            " → ".join(f"{value:.4f}" for value in found.log_loss),
            f"{found.rise:+.1%}",
        ]
    return [*shown, *(f"{share:.3f} ({off:+.1f})" for share, off in found.covered)]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=[found.name for found in SETS], metavar="SET")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    done: list[Found] = []
    for found in SETS:
        if not given.sets or found.name in given.sets:
            for one in runs(found, given.folder, given.keys, given.seeds):
                print(row(cells(one)), flush=True)
                done.append(one)
    heads = ["set", "T", "calibration error", "log-loss", "change", *(f"covered, {c:.0%} asked" for c in COVERAGE)]
    lines = [row(heads), row(["---", *["---:"] * (len(heads) - 1)]), *(row(cells(one)) for one in done)]
    classes = [one for one in done if one.ece]
    fell = sum(one.ece[1] < one.ece[0] for one in classes if one.ece)
    near = [sum(abs(one.covered[i][1]) <= 2 for one in done) for i in range(len(COVERAGE))]
    rise = max((one.rise for one in classes), default=0.0)
    asked = " and ".join(f"{n} of {len(done)}" for n in near)
    summary = (
        f"The calibration error fell in {fell} of {len(classes)} runs, the log-loss changed by {rise:+.1%} at most. "
        f"Within two standard errors of what was asked: {asked}."
    )
    made = f"{describe([])} Keys: {' '.join(given.keys) or 'none'}.\n\n" + "\n".join(lines) + f"\n\n{summary}\n"
    print(f"\n{made}")
    if given.into:
        into(given.into, "honesty", made)


if __name__ == "__main__":
    main()
