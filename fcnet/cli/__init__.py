"""The command `fcnet`: runs one command line and turns whatever ends it into an exit code and a few plain lines."""

from __future__ import annotations

import atexit
import gc
import sys
import time

from fcnet import signals

TYPE_CHECKING = False  # typing and collections would be imported before the handlers stand
if TYPE_CHECKING:
    from collections.abc import Sequence


GARBAGE = 20_000
"""New objects after which Python looks for garbage among them; its own default is some hundreds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `argv` (default: the process's own arguments) and return the exit code. Installs signal handlers."""
    began = time.monotonic()
    signals.install()
    # Most of what a command makes is modules, of which nothing is garbage: looking for some takes a twentieth of a
    # short command's time, and at the end of the process as much again.
    gc.set_threshold(GARBAGE)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    # Imported after the handlers stand, so that a signal during the imports is not lost.
    from fcnet.cli.run import run

    return run(list(sys.argv[1:] if argv is None else argv), began)
