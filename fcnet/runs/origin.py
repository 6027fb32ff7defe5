"""Where a checkpoint's data were: paths that mean something elsewhere too, and finding the same file again by its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from fcnet.data.opened import FileRecord
from fcnet.errors import CheckpointError, DataError


def record(files: Iterable[FileRecord], run: Path) -> list[dict[str, Any]]:
    """What the checkpoint says about each data file: role, paths to try, rows, SHA-256.

    The paths are relative to the run folder, relative to the working directory, and the bare name; a path that leads
    above both folders is left out, so that nothing of the machine is told.
    """
    records = []
    for file in files:
        from_run, from_here = os.path.relpath(file.path, run.resolve()), os.path.relpath(file.path)
        above = all(path.split(os.sep)[0] == os.pardir for path in (from_run, from_here))
        paths = [file.path.name] if above else [from_run, from_here, file.path.name]
        records.append(
            {
                "role": file.role,
                "paths": [path.replace(os.sep, "/") for path in dict.fromkeys(paths)],
                "rows": file.rows,
                "sha256": file.sha256,
            }
        )
    return records


def find(records: Sequence[Mapping[str, Any]], checkpoint: Path) -> dict[str, Path]:
    """The data files by role: the first path, from the checkpoint's folder or from here, whose bytes are the recorded.

    Raises CheckpointError for a path that is absolute, DataError when no path leads to the file.
    """
    found: dict[str, Path] = {}
    for entry in records:
        paths = [str(path) for path in entry["paths"]]
        for path in paths:
            if os.path.isabs(path) or PureWindowsPath(path).is_absolute() or path.startswith("~"):
                raise CheckpointError(f'it names the absolute path "{path}"; only relative ones are read', file=str(checkpoint))
        places = [folder / path for path in paths for folder in (checkpoint.resolve().parent, Path())]
        match = next((place for place in places if place.is_file() and _hash(place) == entry["sha256"]), None)
        if match is None:
            there = any(place.is_file() for place in places)
            what = "is there but has changed since" if there else "is not to be found from here"
            raise DataError(f"the data that the net was trained on {what}; name a file with --data", file=paths[-1])
        found[str(entry["role"])] = match
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
