"""What this process may use of the machine: cores and memory, by affinity and control group, not by what is built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fcnet import files

_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self")


@dataclass(frozen=True)
class Limit:
    """A bound on memory, in bytes: what it allows in all, what of that this process does not use yet, who sets it."""

    total: int
    free: int
    setter: str


def cores() -> int:
    """The processors that this process may use: its affinity, and the quota of its control group, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        n = min(n, max(1, -(-int(quota) // int(period))))
    return max(1, n)


def blas(threads: int) -> AbstractContextManager[object]:
    """Give BLAS so many threads from now on; as a context, until its end."""
    import threadpoolctl  # type: ignore[import-untyped]  # it ships no types

    limits: AbstractContextManager[object] = threadpoolctl.threadpool_limits(threads, user_api="blas")
    return limits


def memory() -> list[Limit]:
    """Every bound on this process's memory that the system tells, the tightest first.

    The machine's own memory, the control group's limit (version 1 and 2, with those of the groups above it), and the
    limit on the address space (ulimit -v). What other processes use is not taken off: it may be gone in a moment.
    """
    resident, mapped = _used()
    limits = [Limit(total, max(0, total - resident), "this machine") for total in _physical()]
    limits += [Limit(total, max(0, total - resident), "the control group's limit") for total in _groups()]
    space = files.address_space()
    if space is not None:
        limits.append(Limit(space, max(0, space - mapped), "the limit on the address space (ulimit -v)"))
    return sorted(limits, key=lambda limit: limit.free)


def _physical() -> Iterator[int]:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups() -> Iterator[int]:
    """The limits of this process's control groups. An unlimited one says "max", or a number beyond any memory."""
    for line in _text(_SELF / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers not in ("", "memory"):
            continue
        root, file = (_CGROUP / "memory", "memory.limit_in_bytes") if controllers else (_CGROUP, "memory.max")
        place = root / group.strip("/")
        # In a container the group's own path may lie above what is mounted: then the root is the group.
        for folder in (place, *place.parents):
            limit = _first_line(folder / file).strip()
            if limit.isdigit() and int(limit) < 1 << 60:
                yield int(limit)
            if folder == root:
                break


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


def _first_line(path: Path) -> str:
    return next(iter(_text(path).splitlines()), "")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
