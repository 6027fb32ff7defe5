"""Where a checkpoint's data were: paths that mean something elsewhere too, and finding the file again by its hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from fcnet import config as configs
from fcnet.data.opened import FileRecord
from fcnet.errors import CheckpointError, DataError, FcnetError
from fcnet.records import dataclass

_CONFIG = "config.yaml"
_ROLES = ("train", "validation", "test")


@dataclass(frozen=True)
class Origin:
    """One data file as the checkpoint remembers it: what it was used for, the paths to try, its SHA-256."""

    role: str
    paths: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Part:
    """How many rows a part had, and the SHA-256 of their numbers."""

    rows: int
    sha256: str


def record(files: Iterable[FileRecord], run: Path) -> list[dict[str, Any]]:
    """What the checkpoint says about each data file: role, paths to try, rows, SHA-256.

    The paths are relative to the run folder, relative to the working directory, and the bare name; one that leads above
    both folders is left out, so that nothing of the machine is told.
    """
    return [
        {"role": file.role, "paths": _paths(file.path, run), "rows": file.rows, "sha256": file.sha256} for file in files
    ]


def _paths(file: Path, run: Path) -> list[str]:
    ways, places = [], (run.resolve(), Path.cwd())
    for place in places:
        with contextlib.suppress(ValueError):  # on another drive
            turn = Path(os.path.commonpath([os.path.abspath(file), place]))
            if any(turn.is_relative_to(each) for each in places):
                ways.append(os.path.relpath(file, place))
    return list(dict.fromkeys(way.replace(os.sep, "/") for way in [*ways, file.name]))


def origins(header: Mapping[str, Any], path: Path) -> tuple[Origin, ...]:
    """The data files that a header, which was checked, records; CheckpointError where it names an absolute path."""
    found = tuple(Origin(entry["role"], tuple(entry["paths"]), entry["sha256"]) for entry in header["data"])
    named = [value for value in map(header["config"]["data"].get, _ROLES) if isinstance(value, str)]
    for name in [*named, *(p for origin in found for p in origin.paths)]:
        if os.path.isabs(name) or PureWindowsPath(name).drive or name.startswith(("~", "\\")):
            raise CheckpointError(f'it names the absolute path "{name}"; only relative ones are read', file=str(path))
    return found


def parts(header: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that a header, which was checked, records."""
    return {name: Part(header["parts"][name]["rows"], header["parts"][name]["sha256"]) for name in _ROLES}


def find(wanted: Iterable[Origin], path: Path) -> dict[str, Path]:
    """The data files by role, each the first place that holds exactly the recorded bytes.

    The recorded paths are tried from the folder of the checkpoint `path` and from here; then the file that the
    config.yaml beside the checkpoint names. Raises DataError when none is the file.
    """
    found: dict[str, Path] = {}
    beside = _beside(path)
    for origin in wanted:
        places = [folder / p for p in origin.paths for folder in (path.resolve().parent, Path())]
        places += [beside[origin.role]] if origin.role in beside else []
        match = next((place for place in places if _hash(place) == origin.sha256), None)
        if match is None:
            there = any(place.is_file() for place in places)
            what = "have changed since" if there else "are not to be found from here"
            raise DataError(
                f"the data that the net was trained on {what}; name a file with --data", file=origin.paths[-1]
            )
        found[origin.role] = match
    return found


def _beside(path: Path) -> dict[str, Path]:
    """The data files that the config.yaml beside a checkpoint names; none where there is no such config."""
    try:
        data = configs.load(path.parent / _CONFIG, needs_data=False).data
    except FcnetError:
        return {}
    named = {role: getattr(data, role) for role in _ROLES}
    return {role: Path(value) for role, value in named.items() if isinstance(value, str) and value}


def _hash(path: Path) -> str | None:
    """The SHA-256 of a plain file; None for anything else, and for what cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
