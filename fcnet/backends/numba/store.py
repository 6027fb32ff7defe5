"""Where printed kernels lie: source files in a folder of the user's own, named by the hash of their text.

Numba keeps the machine code beside them, so a kernel is compiled once for all processes to come. Nothing but text that
fcnet printed in this very process is ever imported: a file that holds anything else is written anew.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from types import ModuleType

import fcnet
from fcnet import files

_loading = threading.RLock()  # of another thread's module there might be a half


def load(text: str) -> ModuleType:
    """The module of a printed kernel."""
    name = f"_fcnet_kernel_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    with _loading:
        if name not in sys.modules:
            path = folder() / f"{name}.py"
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                files.write_file(path, text.encode())
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        return sys.modules[name]


@cache
def name() -> str:
    """The folder's name: kernels have the functions that they call in them, and Numba does not see these change."""
    here = Path(__file__).parent
    called = b"".join((here / f"{module}.py").read_bytes() for module in ("functions", "pointers"))
    return f"kernels-{fcnet.__version__}-{hashlib.sha256(called).hexdigest()[:8]}"


@cache
def folder() -> Path:
    """The user's kernel folder, 0700 and owned by the user; a temporary one where there can be none."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "fcnet" / name()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.lstat()
        own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        if own and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022 and os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    temporary = Path(tempfile.mkdtemp(prefix="fcnet-kernels-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary
