"""What a run was made with: versions, processor, BLAS, threads, seed, command and data; nothing about the person."""

from __future__ import annotations

import contextlib
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

import fcnet
from fcnet import machine as machines

# an absolute path inside a word: after "=", a bracket, a quote, a comma or a blank, or the letter of an option
_ABSOLUTE = re.compile(r"""(?:(?<=[=\[{,:"'\s])|(?<=^-[A-Za-z]))(?:[/~]|[A-Za-z]:[\\/])[^,\]}"']*""")


def machine(threads: int) -> dict[str, Any]:
    """What equal bits need to be equal: versions, processor, BLAS and number of threads."""
    return {
        "fcnet": fcnet.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": machines.cpu(),
        "blas": machines.blas_name(),
        "threads": threads,
    }


def environment(
    *, seed: int, threads: int, started: str, files: Iterable[Mapping[str, Any]], command: Sequence[str] | None = None
) -> dict[str, Any]:
    """The content of `environment.json`; `files` are the records of the data files (name, rows, SHA-256).

    `command` (sys.argv by default) is recorded with every absolute path in it made relative to the working directory,
    or cut to its last part where it leads elsewhere.
    """
    words = sys.argv if command is None else command
    return {
        **machine(threads),
        "started": started,
        "seed": seed,
        "command": [portable(word) for word in [Path(words[0]).name, *words[1:]]] if words else [],
        "data": list(files),
    }


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of `machine` has changed since, each as one phrase; empty when equal bits may be expected."""
    return [f"{key}: {recorded.get(key)} then, {value} now" for key, value in now.items() if recorded.get(key) != value]


def portable(word: str) -> str:
    """A word of a command line without what only this machine knows: `a=/home/x/data.csv` becomes `a=data.csv`.

    A path below the working directory is made relative to it; of another absolute path the last part stays.
    """
    if _is_absolute(word):
        return _relative(word)
    return _ABSOLUTE.sub(lambda match: _relative(match[0]), word)


def _is_absolute(word: str) -> bool:
    return word.startswith(("/", "~")) or PureWindowsPath(word).is_absolute()


def _relative(path: str) -> str:
    with contextlib.suppress(OSError, ValueError):  # a working directory that is gone, or on another drive
        relative = Path(path).relative_to(Path.cwd())
        return str(relative)
    return PureWindowsPath(path).name or path  # this class takes both kinds of slashes
