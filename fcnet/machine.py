"""What this process may use of the machine: cores and memory, by affinity and control group, not by what is built in."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The processors that this process may use: its affinity, and the quota of its control group, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        n = min(n, max(1, -(-int(quota) // int(period))))
    return max(1, n)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return ""
