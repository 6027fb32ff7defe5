"""One trainer on one net in a process of its own: for every line that it reads it trains two epochs, and says how long
the second took. After a pause a core takes a while to be as fast as before: that is the machine, not the trainer.

Started by steps.py, which sets its threads beforehand: no library changes them reliably once it is loaded.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cases import CASES


def main(trainer: str, number: str) -> None:
    """Answer with one JSON object a line: first what this is, or what is missing; then an epoch each."""
    module, _, function = trainer.partition(".")
    case = CASES[int(number)]
    try:
        library = importlib.import_module(f"benchmarks.trainers.{module}_")
        made: Any = getattr(library, function)(case)
    except Exception as error:  # noqa: BLE001  # whatever keeps a library from running here, the table must say it
        _say({"missing": f"{type(error).__name__}: {error}".partition("\n")[0]})
        return
    epoch, products = made if isinstance(made, tuple) else (made, None)
    _say({"version": library.VERSION})
    for _ in sys.stdin:
        epoch()
        start = perf_counter()
        loss = epoch()
        answer = {"seconds": perf_counter() - start, "loss": loss}
        if products is not None:
            answer["products"] = products()
        _say(answer)


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
