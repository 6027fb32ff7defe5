"""Tables from stdin for commands that read a table more than once: they are kept in a file as long as that takes."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fcnet import signals
from fcnet.errors import FcnetError, StorageError

NAME = "stdin"


@contextlib.contextmanager
def spooled(source: Path | None) -> Iterator[Path | None]:
    """`source`, or where it is `-` a temporary CSV file with all that comes from stdin.

    Errors name it `stdin`. Raises StorageError where there is no room for it.
    """
    if str(source) != "-":
        yield source
        return
    with (
        tempfile.TemporaryDirectory(prefix="fcnet-") as folder,
        signals.undoing(lambda: shutil.rmtree(folder, ignore_errors=True)),
    ):
        file = Path(folder) / f"{NAME}.csv"
        try:
            with open(file, "wb") as out:
                shutil.copyfileobj(sys.stdin.buffer, out)
        except OSError as error:
            raise StorageError(f"cannot be kept in {folder}: {error.strerror}", file=NAME) from None
        try:
            yield file
        except FcnetError as error:
            error.problems = tuple(
                replace(p, file=NAME if p.file == str(file) else p.file, text=p.text.replace(str(file), NAME))
                for p in error.problems
            )
            raise
