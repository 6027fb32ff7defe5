"""What a run is called: the name that its file gives it, and which names a folder can have on every system."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from fcnet.data.readers import READERS

CONFIGS = (".yaml", ".yml", ".txt")
LONGEST = 200  # bytes: a file system takes 255, and a folder may get a number after its name, or be hidden for a while

_BYTE = re.compile("[\ud800-\udfff]")  # what stands for a byte of a file name that is not UTF-8
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def stem(file: str | os.PathLike[str]) -> str:
    """The name of a config or a table less what says its kind; `run` where nothing is left.

    >>> [stem(file) for file in ("sales.2023.csv", "data/a.TSV.gz", "exp.v2.yaml", ".csv")]
    ['sales.2023', 'a', 'exp.v2', 'run']
    """
    name = Path(file).name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    end = next((suffix for suffix in (*CONFIGS, *READERS) if name.lower().endswith(suffix)), "")
    return _BYTE.sub("_", name[: len(name) - len(end)].lstrip(".")) or "run"


def flaw(name: str) -> str:
    """Why `name` cannot name a run's folder on every system; empty if it can."""
    if name in ("", ".", "..") or name != name.strip():
        return "it is empty, a dot, or has blanks around it"
    if name.startswith("."):
        return "it starts with a dot, and such folders are hidden"
    if any(c in '/\\:*?"<>|' for c in name):
        return 'it holds one of / \\ : * ? " < > |'
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return "it holds a control character"
    if len(name.encode()) > LONGEST:
        return f"it has {len(name.encode())} bytes, and at most {LONGEST} are allowed"
    if name.endswith(".") or _WINDOWS.fullmatch(name):
        return "Windows does not allow it"
    return ""
