"""What `warmup` does: kernels are compiled for nets, counted, and kept where the runs to come find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from fcnet import machine
from fcnet.backends import choice
from fcnet.config import Config
from fcnet.errors import StorageError, escape
from fcnet.reports.text import duration
from fcnet.runs.model import BATCH
from fcnet.training.prepare import prepare
from fcnet.training.warmup import standard, warm


def done(config: Config | None, say: Callable[[str], object] | None) -> dict[str, Any]:
    """Compile for the config's net, or for the standard ones, and say what came of it; `say` hears of each net.

    Raises ConfigError where Numba cannot be used, StorageError where kernels cannot be kept.
    """
    start = perf_counter()
    choice.make("numba")
    from fcnet.backends.numba import store  # an extra, and slow to import

    folder = store.folder()
    if store.is_temporary(folder / "any"):
        raise StorageError(
            "is gone with this process; name a folder that can be written with XDG_CACHE_HOME", file=str(folder)
        )
    before = store.compiled()
    threads = machine.cores() if config is None or config.threads == "auto" else config.threads
    nets = []
    with machine.blas(threads):
        for name, prepared in standard(threads) if config is None else [(config.name, prepare(config, threads))]:
            warm(prepared, BATCH)
            nets.append(name)
            if say is not None:
                say(f"{escape(name)}: {duration(perf_counter() - start)}")
    found = store.compiled()
    return {
        "folder": str(folder),
        "nets": nets,
        "compiled": len(found - before),
        "kernels": len(found),
        "seconds": perf_counter() - start,
    }


def lines(done: Mapping[str, Any]) -> list[str]:
    """For people."""
    made = f"{done['compiled']:,} compiled in {duration(done['seconds'])}"
    return [f"kernels  {made}, {done['kernels']:,} in all", f"folder   {escape(done['folder'])}"]
