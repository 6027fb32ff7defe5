"""The one gate to the packages that fcnet can do without: each is tried once, and whatever is wrong is one sentence."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType

from fcnet import files
from fcnet.errors import StorageError, escape
from fcnet.records import dataclass


@dataclass(frozen=True)
class Extra:
    """A package that fcnet can do without: the extra that brings it, its oldest version, and what it gives."""

    name: str
    least: tuple[int, ...]
    gives: str
    package: str = ""
    """How it is called where it is not called as it is imported."""

    @property
    def cure(self) -> str:
        """The command that installs it."""
        return f"pip install 'fcnet[{self.name}]'"


PACKAGES = {
    "numba": Extra("fast", (0, 60), "compiled training steps"),
    "polars": Extra("fast", (1, 32), "fast reading of CSV, Parquet files"),
    "onnx": Extra("onnx", (1, 17), "fcnet export --format onnx"),
    "sklearn": Extra("sklearn", (1, 6), "fcnet.sklearn, estimators for scikit-learn", "scikit-learn"),
    "starlette": Extra("serve", (0, 40), "fcnet serve"),
    "uvicorn": Extra("serve", (0, 30), "fcnet serve"),
    "tensorboardX": Extra("tensorboard", (2, 6), "fcnet train --progress tensorboard=FOLDER"),
}
"""All of them, with the versions of pyproject.toml."""


@dataclass(frozen=True)
class PackageFault:
    """What is wrong with a package, as the end of a sentence about it, and what to do.

    `missing`: it is not there, which is no fault. `storage`: the file system failed, not the package.
    """

    what: str
    cure: str
    missing: bool = False
    storage: StorageError | None = None


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


_hearing: list[Callable[[str], object]] = []


@contextlib.contextmanager
def announcing(say: Callable[[str], object]) -> Iterator[None]:
    """Inside, `say` hears at once of what keeps the user waiting."""
    _hearing.append(say)
    try:
        yield
    finally:
        _hearing.remove(say)


def announce(text: str) -> None:
    """Something that takes a while begins: those who want to hear it do."""
    for say in _hearing:
        say(text)


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
        return PackageFault("is not installed", PACKAGES[package].cure, missing=True)
    try:
        module = trial()
    except StorageError as error:
        return _unstored(error)
    except OSError as error:
        if error.errno is None:
            return _old(package) or _broken(package, error)
        return _unstored(files.storage_error(error.filename or "the folder for temporary files", error))
    except Exception as error:  # noqa: BLE001  # a package that is broken may raise anything
        return _old(package) or _broken(package, error)
    return _old(package, module)


def _old(package: str, module: ModuleType | None = None) -> PackageFault | None:
    """What is wrong with a package whose version is below the least."""
    version = str(getattr(module or sys.modules.get(package), "__version__", ""))
    numbers, least = tuple(map(int, re.findall(r"\d+", version)[:2])), PACKAGES[package].least
    if not numbers or numbers >= least:
        return None
    return _installed(package, f"{escape(version)} is too old: {'.'.join(map(str, least))} is the least that works")


def _broken(package: str, error: Exception) -> PackageFault:
    said = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return _installed(package, f"is installed, and cannot be used ({escape(said)})")


def _installed(package: str, what: str) -> PackageFault:
    return PackageFault(what, PACKAGES[package].cure.replace("install", "install --upgrade"))


def _unstored(error: StorageError) -> PackageFault:
    problem = error.problems[0]
    return PackageFault(
        f"has no place for what it compiles ({problem})",
        "name a folder that can be written with XDG_CACHE_HOME",
        storage=error,
    )
