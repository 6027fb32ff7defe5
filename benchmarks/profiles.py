"""What `fcnet bench` says of two of the nets, on plain NumPy and on compiled kernels: before and after.

python benchmarks/profiles.py --into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cases import CASES, LEARNING_RATE
from benchmarks.machine import describe, into
from fcnet import __version__
from fcnet.backends.choice import installed

ROOT = Path(__file__).parents[1]


def profile(number: int, backend: str, threads: int, folder: Path) -> str:
    """The words of `fcnet bench` for one of the nets."""
    case = CASES[number]
    x, y = case.data()
    np.savez(folder / "data.npz", x=x, y=y)
    config = {
        "data": {"train": "data.npz", "validation": 0, "task": "multiclass"},
        "network": {"layers": case.widths[1:-1]},
        "loss": "cross_entropy",
        "optimizer": {"name": "adam", "lr": LEARNING_RATE},
        "training": {"batch_size": case.batch},
        "threads": threads,
        "backend": backend,
    }
    (folder / "net.yaml").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "fcnet", "bench", "net.yaml", "-q"],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()[:-1])


def main() -> None:
    """Run the command, and write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, nargs="+", default=[0, 1], help="0 is the smallest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path, help="replace the profile in this Markdown file")
    options = parser.parse_args()
    blocks = [describe([f"fcnet {__version__}", f"numpy {np.__version__}"])]
    with tempfile.TemporaryDirectory() as name:
        for number in options.nets:
            backends = filter(installed, ("numpy", "numba"))
            found = [profile(number, backend, options.threads, Path(name)) for backend in backends]
            blocks += [f"```\n{text}\n```" for text in found]
    text = "\n\n".join(blocks) + "\n"
    print(text, end="")
    if options.into:
        into(options.into, "profile", text)


if __name__ == "__main__":
    main()
