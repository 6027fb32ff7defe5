"""Where printed kernels lie: source files in a folder of the user's own, named by the hash of their text.

Numba keeps the machine code beside them, so a kernel is compiled once for all processes to come. Nothing but text that
fcnet printed in this very process is ever imported: a file that holds anything else is written anew.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache, wraps
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import fcnet
from fcnet import extras, files, signals
from fcnet.backends.offer import COMPILING

P = ParamSpec("P")
T = TypeVar("T")

FEW = 20
"""Kernels are fewer where no net was trained, but Numba tried."""

_private: list[Path] = []
"""The temporary folder of this process, where it has one."""

_loading = threading.RLock()  # of another thread's module there might be a half


def kept(compiling: Callable[P, T]) -> Callable[P, T]:
    """The function, which compiles something, with all of that kept in the kernel folder.

    What Numba cannot write, read or understand there is compiled again in a temporary folder, with a notice. One thread
    at a time. Raises StorageError where there is no room for that either.
    """

    def twice(*args: P.args, **kwargs: P.kwargs) -> T:
        place = folder()
        _announce()
        try:
            with _numba_in(place):
                return compiling(*args, **kwargs)
        except Exception as error:  # a damaged cache may raise anything
            if place in _private:
                raise _named(error, place) from error
            why = error
        temporary = _leave()
        try:
            with _numba_in(temporary):
                made = compiling(*args, **kwargs)
        except Exception as error:
            raise _named(error, temporary) from error
        _say(f" in {place}", why)
        return made

    @wraps(compiling)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        with _loading:
            return twice(*args, **kwargs)

    return locked


def load(text: str) -> ModuleType:
    """The module of a printed kernel."""
    name = f"_fcnet_kernel_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    with _loading:
        return sys.modules[name] if name in sys.modules else _load(name, text)


@kept
def _load(name: str, text: str) -> ModuleType:
    path = folder() / f"{name}.py"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write_file(path, text.encode())
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


CALLED = "dots", "functions", "kernels", "pointers", "product"
"""What kernels call."""

SETTINGS = (
    "NUMBA_OPT",
    "NUMBA_LOOP_VECTORIZE",
    "NUMBA_SLP_VECTORIZE",
    "NUMBA_ENABLE_AVX",
    "NUMBA_BOUNDSCHECK",
    "NUMBA_DEBUGINFO",
    "NUMBA_DISABLE_INTEL_SVML",
)
"""Variables that make other machine code of the same text."""


@cache
def name() -> str:
    """The folder's name: kernels have the functions that they call in them, and Numba sees neither these change nor
    with which settings it compiles: what was compiled slow once would be taken ever after."""
    here = Path(__file__).parent
    called = b"".join((here / f"{module}.py").read_bytes() for module in CALLED)
    given = "".join(f"{each}={os.environ[each]}" for each in SETTINGS if each in os.environ)
    return f"kernels-{fcnet.__version__}-{hashlib.sha256(called + given.encode()).hexdigest()[:8]}"


def folder() -> Path:
    """The user's kernel folder, 0700 and owned by the user; a temporary one where there can be none."""
    if _private:
        return _private[0]
    place = _own()
    if isinstance(place, Path):
        return place
    _say("", place)
    return _leave()


def _place() -> Path:
    """Where the user's folder is, or will be; RuntimeError for a user without a home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "fcnet" / name()


def ready() -> bool:
    """Whether the kernels of a net were compiled into it before; nothing is made."""
    try:
        return sum(1 for _ in islice(_place().rglob("*.nbi"), FEW)) >= FEW
    except (OSError, RuntimeError):
        return False


@cache
def _own() -> Path | Exception:
    """The user's folder, or what is wrong with it."""
    try:
        path = _place()
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (path.parent, path):
            each.mkdir(exist_ok=True, mode=0o700)
            status = each.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(f"{each} is no folder")
            if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
                raise PermissionError(f"others may write to {each}")
        with tempfile.TemporaryFile(dir=path) as probe:  # whether there is room shows when it is taken
            probe.write(bytes(1 << 16))
    except (OSError, RuntimeError) as error:
        return error
    return path


@cache
def _announce() -> None:
    """Say what is to be waited for where nothing is compiled yet; one net's formulas more are not worth a word."""
    if not compiled():
        extras.announce(f"compiling kernels once, about {COMPILING} s")


def compiled() -> set[str]:
    """Which kernels the folder has machine code of."""
    return {path.name for path in folder().rglob("*.nbi")}


def is_temporary(path: Path) -> bool:
    """Whether it is gone with this process."""
    return path.parent in _private


def _leave() -> Path:
    """A temporary folder from now on, removed at the end; StorageError where there is none."""
    try:
        temporary = Path(tempfile.mkdtemp(prefix="fcnet-kernels-"))
    except OSError as error:
        raise files.storage_error(error.filename or "the folder for temporary files", error) from error
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    signals.undo(lambda: shutil.rmtree(temporary, ignore_errors=True))
    _private[:] = [temporary]
    return temporary


def _say(where: str, why: Exception) -> None:
    said = str(why) or type(why).__name__
    if isinstance(why, OSError) and why.errno is not None:
        said = f"{why.filename}: {files.reason(why)}" if why.filename else files.reason(why)
    extras.say("kernels", f"compiled kernels cannot be kept{where} ({said}); each run compiles them anew")


def _named(error: Exception, place: Path) -> Exception:
    """An error of the file system as one that names the place; any other as it is."""
    return files.storage_error(place, error) if isinstance(error, OSError) else error


@contextlib.contextmanager
def _numba_in(place: Path) -> Iterator[None]:
    """Have Numba keep what is declared meanwhile in this folder: left to itself it writes beside the program, into
    NUMBA_CACHE_DIR whoever owns that, or not at all where neither can be written.

    Meanwhile no garbage is collected: compiling leaves little, and looking for it is a sixth of the time.
    """
    from numba.core import config  # an extra

    before, collects = config.CACHE_DIR, gc.isenabled()
    config.CACHE_DIR = str(place)
    gc.disable()
    try:
        yield
    finally:
        config.CACHE_DIR = before
        if collects:
            gc.enable()
