"""The one gate to the packages that fcnet can do without: each is tried once, and whatever is wrong is one sentence."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType

from fcnet import files
from fcnet.errors import StorageError, escape
from fcnet.records import dataclass

LEAST = {"numba": (0, 60), "polars": (1, 32)}
"""The oldest versions that fcnet knows how to use, as in pyproject.toml."""


@dataclass(frozen=True)
class PackageFault:
    """What is wrong with a package, as the end of a sentence about it, and what to do.

    `missing`: it is not there, which is no fault. `storage`: the file system failed, not the package.
    """

    what: str
    cure: str = "pip install --upgrade 'fcnet[fast]'"
    missing: bool = False
    storage: StorageError | None = None


_MISSING = PackageFault("is not installed", "pip install 'fcnet[fast]'", missing=True)
_faults: dict[str, PackageFault | None] = {}
_said: dict[str, str] = {}


def fault(package: str, trial: Callable[[], ModuleType]) -> PackageFault | None:
    """What keeps a package from being used, None for nothing.

    `trial` imports it, makes a call like those to come, and returns it; it is made once in a process.
    """
    if package not in _faults:
        _faults[package] = _tried(package, trial)
    return _faults[package]


def say(about: str, text: str) -> None:
    """Something to be said of every run of this process; the last about the same thing counts."""
    _said[about] = text


def notices() -> list[str]:
    """What was found to say so far."""
    return [*_said.values()]


def installed(package: str) -> bool:
    """Whether it is there, in whatever state."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # something of that name that is no module
        return True


def _tried(package: str, trial: Callable[[], ModuleType]) -> PackageFault | None:
    if not installed(package):
        return _MISSING
    try:
        module = trial()
    except StorageError as error:
        return _unstored(error)
    except OSError as error:
        if error.errno is None:
            return _old(sys.modules.get(package)) or _broken(error)
        return _unstored(files.storage_error(error.filename or "the folder for temporary files", error))
    except Exception as error:  # noqa: BLE001  # a package that is broken may raise anything
        return _old(sys.modules.get(package)) or _broken(error)
    return _old(module)


def _old(module: ModuleType | None) -> PackageFault | None:
    """What is wrong with a module whose version is below the least."""
    version = str(getattr(module, "__version__", ""))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if module is None or not numbers or numbers >= LEAST[module.__name__]:
        return None
    least = ".".join(map(str, LEAST[module.__name__]))
    return PackageFault(f"{escape(version)} is too old: {least} is the least that works")


def _broken(error: Exception) -> PackageFault:
    said = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return PackageFault(f"is installed, and cannot be used ({escape(said)})")


def _unstored(error: StorageError) -> PackageFault:
    problem = error.problems[0]
    return PackageFault(
        f"has no place for what it compiles ({problem})",
        "name a folder that can be written with XDG_CACHE_HOME",
        storage=error,
    )
