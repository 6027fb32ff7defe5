"""GFLOP/s of the matrix products of the four nets: fcnet's own, NumPy's BLAS, and the one that PyTorch brings along.

    python benchmarks/products.py
    python benchmarks/products.py --json products.json --into docs/performance.md

The three products of each layer at their shapes and in their orders, float32, on one thread, in one process, in turn.
In a step the factors come from elsewhere as often as not; here they are in the cache as far as they fit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import fcnet
from benchmarks.cases import CASES
from benchmarks.machine import describe, into, row
from fcnet import machine
from fcnet.backends.base import aligned
from fcnet.backends.numba.backend import NumbaBackend
from fcnet.backends.ops import Array, Matmul, like

FLOPS = 5e8
"""So many go into one timing."""


def shapes() -> list[tuple[str, int, int, int]]:
    """(product, rows, inner, columns), each once; thin ones of the output layers are left out."""
    found = []
    for case in CASES:
        for n_in, n_out in zip(case.widths[:-2], case.widths[1:-1], strict=True):
            found.append(("A = Z Wᵀ", case.batch, n_in, n_out))
            found.append(("dW = Eᵀ Z", n_out, case.batch, n_in))
            if n_in != case.widths[0]:
                found.append(("Δ = E W", case.batch, n_out, n_in))
    return list(dict.fromkeys(found))


def factors(product: str, m: int, inner: int, n: int) -> tuple[Array, Array, Array]:
    """a (m, inner), b (inner, n) and out (m, n), in the orders in which a step has them."""
    random = np.random.default_rng(0)
    a, b, out = (aligned(size, np.float32) for size in (m * inner, inner * n, m * n))
    a[...], b[...] = random.standard_normal(a.size), random.standard_normal(b.size)
    left = a.reshape(inner, m).T if product.startswith("dW") else a.reshape(m, inner)
    right = b.reshape(n, inner).T if product.startswith("A") else b.reshape(inner, n)
    return left, right, out.reshape(m, n)


def makers(a: Array, b: Array, out: Array) -> dict[str, Callable[[int], object]]:
    """For each library, what makes the product so many times over."""
    held = {"a": a, "b": b, "out": out}
    resident = {name: x if x.flags.c_contiguous else x.T for name, x in held.items()}
    refs = {name: like(name, x) if x.flags.c_contiguous else like(name, x.T).swapaxes(0, 1) for name, x in held.items()}
    found: dict[str, Callable[[int], object]] = {
        "fcnet": NumbaBackend().compile([Matmul(**refs)], resident).run,
        "NumPy": lambda times: [np.matmul(a, b, out) for _ in range(times)],
    }
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(1)
    x, y, z = (torch.from_numpy(array) for array in (a, b, out))
    return found | {"PyTorch": lambda times: [torch.mm(x, y, out=z) for _ in range(times)]}


def measure(repeat: int) -> list[dict[str, object]]:
    """Median GFLOP/s of each product."""
    results = []
    for product, m, inner, n in shapes():
        flops = 2 * m * inner * n
        times = max(2, int(FLOPS / flops))
        made = makers(*factors(product, m, inner, n))
        spent: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(repeat):
            for name, run in made.items():
                run(1)
                start = perf_counter()
                run(times)
                spent[name].append((perf_counter() - start) / times)
        rates = {name: flops / median(each) / 1e9 for name, each in spent.items()}
        results.append({"product": f"{product}: {m} × {inner} by {inner} × {n}", "gflops": rates})
    return results


def main() -> None:
    """Measure, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--into", type=Path, help="replace the table in this Markdown file")
    options = parser.parse_args()
    with machine.blas(1):
        results = measure(options.repeat)
    versions = [f"fcnet {fcnet.__version__}", f"numpy {np.__version__}"]
    if "torch" in sys.modules:
        versions.append(f"torch {sys.modules['torch'].__version__}")
    names = list(results[0]["gflops"])  # type: ignore[call-overload]
    lines = [describe(versions), "", row(["GFLOP/s on one thread", *names, *(f"÷ {name}" for name in names[1:])])]
    lines.append(row(["---", *["---:"] * (2 * len(names) - 1)]))
    for result in results:
        rates: dict[str, float] = result["gflops"]  # type: ignore[assignment]
        ratios = [f"{rates['fcnet'] / rates[name]:.2f} ×" for name in names[1:]]
        lines.append(row([str(result["product"]), *(f"{rates[name]:.0f}" for name in names), *ratios]))
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps({"machine": lines[0], "results": results}, indent=2))
    if options.into:
        into(options.into, "products", text)


if __name__ == "__main__":
    main()
