"""What was measured on, in a line, and where in a document a table belongs."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def describe(versions: Sequence[str]) -> str:
    """Processor, cores, system, versions and date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [
        processor(),
        f"{cores} cores",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        *versions,
        f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    return ", ".join(part for part in parts if part) + "."


def processor() -> str:
    """The name that the system has for it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def into(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks `name: begin` and `name: end` of a Markdown file."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path}: the marks {begin} and {end} are missing; put them where the table belongs")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
