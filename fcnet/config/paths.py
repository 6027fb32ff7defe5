"""What a path in a config means: relative to the config's own folder, `~` is the home, and nothing else is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath

from fcnet.config.places import COMMAND_LINE, Finding, Path, Tree, shortened
from fcnet.config.scalars import decimal_point, is_number
from fcnet.config.schema import Config
from fcnet.data.options import Data

DATA_FILES = ("train", "validation", "test", "teacher")
MAX_PATH = 4096  # what Linux takes in one call


def tables(data: Data) -> list[FilePath]:
    """The files that a config's data are in."""
    named = (getattr(data, key) for key in DATA_FILES)
    return [FilePath(value).expanduser() for value in named if isinstance(value, str)]


def resolved(config: Config, tree: Tree, base: FilePath) -> Config:
    """The config with paths that are right from the working directory.

    Paths in the file are relative to `base`, the config's folder; those of the command line are as they are. `output`
    is relative to the working directory wherever it is written.
    """

    def fixed(key: str, value: str) -> str:
        here = tree.place(("data", key)).file == COMMAND_LINE
        return _resolved(value, FilePath() if here else base)

    return replace(config, data=_with(config.data, fixed), output=str(FilePath(config.output).expanduser()))


def seen_from(config: Config, folder: str | os.PathLike[str]) -> Config:
    """The config with data paths that are right in a config file in `folder`."""

    def fixed(_: str, value: str) -> str:
        path = FilePath(value)
        # `..` in a path leads from the folder behind a link, so the way between the two is counted without links.
        way = os.path.relpath(path.parent.resolve() / path.name, FilePath(folder).resolve())
        return value if path.is_absolute() else FilePath(way).as_posix()

    return replace(config, data=_with(config.data, fixed))


def _with(data: Data, fixed: Callable[[str, str], str]) -> Data:
    """The data with `fixed(key, path)` for each path in it."""
    train = fixed("train", data.train) if data.train else ""
    validation = fixed("validation", data.validation) if isinstance(data.validation, str) else data.validation
    test = fixed("test", data.test) if isinstance(data.test, str) else data.test
    teacher = fixed("teacher", data.teacher) if isinstance(data.teacher, str) else data.teacher
    return replace(data, train=train, validation=validation, test=test, teacher=teacher)


def problems(config: Config, tree: Tree) -> list[Finding]:
    """The paths of the config that cannot be meant."""
    values: dict[Path, object] = {("data", key): getattr(config.data, key) for key in DATA_FILES}
    values["output",] = config.output
    return [
        Finding("wrong paths", path, text, tree.place(path))
        for path, value in values.items()
        if tree.has(path) and not tree.known(path) and isinstance(value, str) and (text := _problem(value, path))
    ]


def _problem(value: str, path: Path) -> str:
    if path[-1] in ("validation", "test"):
        if is_number(value):
            return f'a quoted string "{value}", expected a fraction or a file; remove the quotes'
        if point := decimal_point(value):
            return f'the text "{value}", expected a fraction or a file; write {point}, with a point'
        if value.endswith("%") and is_number(value[:-1].strip()):
            return f'the text "{value}", expected a fraction or a file; write {float(value[:-1]) / 100:g}'
    if not value:
        return "an empty path; write the path of a file" if path[0] == "data" else "an empty path; write a folder"
    if len(value) > MAX_PATH:
        return f"a path of {len(value):,} characters; at most {MAX_PATH:,} are possible"
    if any(not c.isprintable() for c in value):
        return f'"{shortened(value)}": a path with a line break or another control character'
    if value.startswith("~"):
        try:
            FilePath(value).expanduser()
        except RuntimeError:
            return f'"{shortened(value)}": there is no such home; write the path out'
    if value.startswith("$"):
        return f'"{shortened(value)}": variables are not replaced in paths (only ~ is); write the path out'
    if path[0] == "data" and value.endswith(("/", os.sep)):
        return f'"{shortened(value)}": a folder; write the path of a file'
    return ""


def _resolved(value: str, base: FilePath) -> str:
    path = str(base / FilePath(value).expanduser())
    tidy = os.path.normpath(path)
    # `link/..` is not the folder that holds the link, so `..` is removed only where that leads to the same file.
    return tidy if os.path.realpath(tidy) == os.path.realpath(path) else path
