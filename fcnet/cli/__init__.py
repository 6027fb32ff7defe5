"""The command `fcnet`: runs one command line and turns whatever ends it into an exit code and a few plain lines."""

from __future__ import annotations

import sys

from fcnet import signals

TYPE_CHECKING = False  # typing and collections would be imported before the handlers stand
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `argv` (default: the process's own arguments) and return the exit code. Installs signal handlers."""
    signals.install()
    # Imported after the handlers stand, so that a signal during the imports is not lost.
    from fcnet.cli.run import run

    return run(list(sys.argv[1:] if argv is None else argv))
