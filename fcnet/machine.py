"""What this process may use of the machine: cores and memory, by affinity and control group, not by what is built."""

from __future__ import annotations

import os
import platform
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

from fcnet import files
from fcnet.records import dataclass

_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank or a backslash in a line of mountinfo


@dataclass(frozen=True)
class Limit:
    """A bound on memory, in bytes: what it allows in all, what of that this process does not use yet, who sets it."""

    total: int
    free: int
    setter: str

    def __str__(self) -> str:
        used = "" if self.free == self.total else f", of which {size(self.total - self.free)} are in use"
        return f"{self.setter} allows {size(self.total)}{used}"


def cores() -> int:
    """The processors that this process may use: its affinity, and the least quota of its control groups, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([n, *_quotas()]))


def _quotas() -> Iterator[int]:
    """The processors that each control group of this process may keep busy. No quota is "max", or -1."""
    for folder, unified in _groups("cpu"):
        if unified:
            quota, _, period = _first_line(folder / "cpu.max").strip().partition(" ")
        else:
            quota, period = (_first_line(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if _whole(quota) and _whole(period) and int(period) > 0:
            yield max(1, -(-int(quota) // int(period)))


class blas(AbstractContextManager["blas"]):
    """Gives BLAS so many threads from now on; as a context, until its end.

    BLAS has one number of threads for the whole process, and Python's threads may want different ones at a time: the
    last one counts, and when all contexts have ended, in whatever order, BLAS has what it had before the first.
    """

    _lock = threading.Lock()
    _wanted: ClassVar[list[blas]] = []
    _before: ClassVar[list[int]] = []

    def __init__(self, threads: int) -> None:
        self.threads, self._owner = threads, threading.get_ident()
        with self._lock:
            if not self._wanted:
                self._before[:] = [library.get_num_threads() for library in _libraries()]
            self._wanted.append(self)
            _set(repeat(threads))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            at = self._wanted.index(self)  # after it, its own thread may have set other numbers for good
            self._wanted[at:] = [later for later in self._wanted[at + 1 :] if later._owner != self._owner]
            _set(repeat(self._wanted[-1].threads) if self._wanted else self._before)


@cache
def _libraries() -> Sequence[Any]:
    """The process's BLAS libraries, as threadpoolctl controls them."""
    import threadpoolctl  # type: ignore[import-untyped]  # it ships no types

    found: Sequence[Any] = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    return found


def _set(numbers: Iterable[int]) -> None:
    """Give each library its number of threads, whichever of Python's threads this is.

    Of threadpoolctl from 3.7 on only the first thread that sets a number of OpenBLAS may set another one; what all
    others set does nothing, without a word.
    """
    for library, number in zip(_libraries(), numbers, strict=False):
        free = getattr(library, "clear_controlling_thread", lambda force: None)
        free(force=True)
        library.set_num_threads(number)
        free(force=True)


@cache
def cpu() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.machine()


def vector_bits() -> int:
    """The width of a vector register, by what NumPy finds; 128 where it finds nothing that is known."""
    import numpy as np

    shown: Any = np.show_config(mode="dicts")
    found = shown.get("SIMD Extensions", {})
    there = {*found.get("baseline", ()), *found.get("found", ())}  # there is a "not found", too
    wide = any(name.startswith("AVX512") or name == "X86_V4" for name in there)
    return 512 if wide else 256 if there & {"AVX2", "X86_V3"} else 128


def blas_name() -> str:
    """Name, version and kernel of the BLAS: the last decides about bits."""
    found = [
        " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key))
        for pool in (library.info() for library in _libraries())
        if pool.get("user_api") == "blas"
    ]
    return ", ".join(sorted(set(found))) or "unknown"


class _Turns:
    """Lets those work side by side who want equally many threads of BLAS, and others after them, first come first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._working = self._threads = 0

    @contextmanager
    def __call__(self, threads: int) -> Iterator[None]:
        """A context in which BLAS has so many threads, unless a training in the same process has set another number."""
        me = object()
        with self._changed:
            self._queue.append(me)
            try:
                self._changed.wait_for(lambda: self._queue[0] is me and (not self._working or self._threads == threads))
                self._working, self._threads = self._working + 1, threads
            finally:
                self._queue.remove(me)
                self._changed.notify_all()
        try:
            with blas(threads):
                yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()


agreed = _Turns()
"""Those of this process: products may round differently with another number of threads."""


def memory() -> list[Limit]:
    """Every bound on this process's memory that the system tells, the tightest first.

    The machine's own memory, the control group's limit (version 1 and 2, with those of the groups above it), and the
    limit on the address space (ulimit -v). What other processes use is not taken off: it may be gone in a moment.
    """
    resident, mapped = _used()
    limits = [Limit(total, max(0, total - resident), "this machine") for total in _physical()]
    limits += [Limit(total, max(0, total - resident), "the control group's limit") for total in _allowances()]
    space = files.address_space()
    if space is not None:
        limits.append(Limit(space, max(0, space - mapped), "the limit on the address space (ulimit -v)"))
    return sorted(limits, key=lambda limit: limit.free)


def _physical() -> Iterator[int]:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _allowances() -> Iterator[int]:
    """The limits of this process's control groups. An unlimited one says "max", or a number beyond any memory."""
    for folder, unified in _groups("memory"):
        limit = _first_line(folder / ("memory.max" if unified else "memory.limit_in_bytes")).strip()
        if _whole(limit) and int(limit) < 1 << 60:
            yield int(limit)


def _groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """The folders of this process's control groups, each with those above it, and whether they are of version 2.

    Where they are mounted is what mountinfo says, else where they usually are. In a container a group's own path may
    lie above what is mounted: then the mounted folder is the group.
    """
    mounts = [*_mounts(controller)] or [(_CGROUP, "/", True), (_CGROUP / controller, "/", False)]
    for line in _text(_SELF / "cgroup").splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        for mount, root, unified in mounts:
            if unified == bool(controllers):
                continue
            inside = group.startswith(root.rstrip("/") + "/") and ".." not in group.split("/")
            place = mount / group[len(root.rstrip("/")) :].strip("/") if inside else mount
            yield from ((folder, unified) for folder in (place, *place.parents) if folder.is_relative_to(mount))


def _mounts(controller: str) -> Iterator[tuple[Path, str, bool]]:
    """Where a controller's groups are mounted: the folder, which group that is, whether of version 2."""
    for line in _text(_SELF / "mountinfo").splitlines():
        about, _, kind = line.partition(" - ")
        fields, kinds = about.split(" "), kind.split(" ")
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and controller in kinds[2].split(",")):
            root, mount = (_ESCAPED.sub(lambda code: chr(int(code[1], 8)), field) for field in fields[3:5])
            yield Path(mount), root, kinds[0] == "cgroup2"


def _used() -> tuple[int, int]:
    """(resident, mapped) bytes of this process; zeros where the system does not tell."""
    pages = _first_line(_SELF / "statm").split()
    if len(pages) < 2 or not all(word.isdigit() for word in pages[:2]):
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(pages[1]) * page, int(pages[0]) * page


def size(n: int) -> str:
    """A number of bytes for people.

    >>> size(512), size(204800), size(3_200_000), size(4_000_004_000_000)
    ('512 bytes', '205 kB', '3.2 MB', '4.0 TB')
    """
    if n < 1000:
        return "1 byte" if n == 1 else f"{n} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("PB", 1e15)):
        if n < 999.5 * factor or unit == "PB":
            return f"{n / factor:.1f} {unit}" if n < 9.95 * factor else f"{n / factor:,.0f} {unit}"
    raise AssertionError(n)


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _first_line(path: Path) -> str:
    return next(iter(_text(path).splitlines()), "")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):  # ValueError: not UTF-8, or a name that cannot be one
        return ""
