"""Seconds for many rows by a trained net, beside onnxruntime with the same net exported.

    python benchmarks/predicting.py
    python benchmarks/predicting.py --rows 50000 --threads 1 --backend numpy

Both in one process, in turn, round by round. `net`: rows in memory, probabilities in memory; onnxruntime has its
session and its columns ready, fcnet its model. `file`: from an NPZ file to a CSV file, by what `fcnet predict` does;
onnxruntime is given the time to read the file, without and with that to make its session, and polars writes its CSV.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, os.environ.get("FCNET_TREE", str(Path(__file__).parents[1])))

NETS: dict[str, dict[str, Any]] = {
    "the defaults": {"recipe": "plain", "network": {"layers": [128, 128]}},
    "the defaults, 10 classes": {"recipe": "plain", "network": {"layers": [128, 128]}},
    "quality: fast": {"quality": "fast"},
    "quality: default": {"quality": "default"},
    "recipe: pack": {"recipe": "pack", "training": {"early_stopping": None}},
}
COLUMNS, LEARNT, ROUNDS = 20, 4_000, 5


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--nets", nargs="+", default=list(NETS), help="those whose names start so")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # fcnet takes what it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(args.threads)))
    import numpy as np
    import onnxruntime

    import fcnet
    from benchmarks.machine import describe, row

    print(f"Milliseconds for {args.rows:,} rows of {COLUMNS} numbers, fcnet's times those of onnxruntime.\n")
    heads = ["onnxruntime, net", "fcnet, net", "onnxruntime, file", "and session", "fcnet, file"]
    print(row(["net", *heads]))
    print(row(["---"] * 6), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        warnings.simplefilter("ignore")  # values outside the range of the few rows that are learnt
        x = np.random.default_rng(0).standard_normal((args.rows, COLUMNS), dtype=np.float32)
        np.savez("rows.npz", x=x)
        for name, config in NETS.items():
            if name.startswith(tuple(args.nets)):
                learnt = x[:LEARNT]
                y = learnt[:, :10].argmax(1) if "classes" in name else learnt[:, 0] + learnt[:, 1] ** 2 > 1
                np.savez("learnt.npz", x=learnt, y=y.astype(np.int64))
                ways = _ways(config, args.backend, args.threads, x)
                rounds = [[_timed(way) for way in ways] for _ in range(args.rounds)]
                net, own_net, whole, session, own = (1e3 * min(times) for times in zip(*rounds, strict=True))
                ours = f"{own:.0f} ({own / whole:.2f} x, {own / (whole + session):.2f} x)"
                cells = [f"{net:.0f}", f"{own_net:.0f} ({own_net / net:.2f} x)", f"{whole:.0f}", f"+ {session:.0f}"]
                print(row([name, *cells, ours]), flush=True)
    versions = [f"fcnet {fcnet.__version__}", f"onnxruntime {onnxruntime.__version__}"]
    print(f"\n{args.threads} threads, {args.backend}; the shortest of {args.rounds} rounds. {describe(versions)}")


def _timed(way: Callable[[], object]) -> float:
    start = perf_counter()
    way()
    return perf_counter() - start


def _ways(config: dict[str, Any], backend: str, threads: int, x: Any) -> list[Callable[[], object]]:
    """Train a net for an epoch and export it: what is timed, the columns of the table in their order."""
    import numpy as np
    import onnxruntime
    import polars as pl

    import fcnet
    from fcnet import api
    from fcnet.export import export
    from fcnet.runs.model import Predictor

    training = {"epochs": 1, **config.get("training", {})}
    given = {"data": {"train": "learnt.npz"}, "name": "net", "backend": backend, **config, "training": training}
    run = fcnet.train(given, overwrite=True)
    export(Predictor.read(run.path / "best.npz"), "onnx", Path("net.onnx"))
    model = fcnet.load(run.path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def session() -> Any:
        return onnxruntime.InferenceSession("net.onnx", options, providers=["CPUExecutionProvider"])

    def columns(rows: Any) -> dict[str, Any]:
        return {f"x{i}": np.ascontiguousarray(rows[:, i : i + 1]) for i in range(rows.shape[1])}

    def file() -> None:
        feed = columns(np.load("rows.npz")["x"])
        prediction, p = ready.run(["prediction", "probabilities"], feed)
        found = {"prediction": prediction, **{f"p({k})": p[:, k] for k in range(p.shape[1])}}
        pl.DataFrame(found).write_csv("onnx.csv")

    ready, fed = session(), columns(x)
    return [
        lambda: ready.run(None, fed),
        lambda: model.predict_proba(x),
        file,
        session,
        lambda: api.predict("rows.npz", Path("fcnet.csv"), checkpoint=run.path),
    ]


if __name__ == "__main__":
    main()
