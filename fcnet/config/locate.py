"""Finds the lines of a config that an error is about which only the data brought to light."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fcnet.config.load import MAPPING
from fcnet.config.overrides import override
from fcnet.config.places import COMMAND_LINE, Place, Tree, position
from fcnet.errors import ConfigError, FcnetError, Problem


@contextlib.contextmanager
def locating(path: str | os.PathLike[str] | None, overrides: Iterable[str] = ()) -> Iterator[None]:
    """Give every ConfigError that comes out the places of its keys, in the file at `path` and in `overrides`.

    A config knows nothing of the text that it was made of, so that text is read again, for the error's sake alone. With
    no `path` only the overrides are looked at.
    """
    try:
        yield
    except ConfigError as error:
        raise located(error, path, overrides) from None


def located(error: ConfigError, path: str | os.PathLike[str] | None, overrides: Iterable[str]) -> ConfigError:
    """The error with file, line and column for each key that is written somewhere, in the order of the file.

    Problems that have a line, or no key, stay as they are; so does the whole error if the file cannot be read any more.
    """
    from fcnet.config.text import read_file  # PyYAML is needed for YAML alone

    try:
        tree = Tree({}, MAPPING) if path is None else read_file(path)
        for turn, text in enumerate(overrides, 1):
            override(tree, text, turn)
    except FcnetError:
        return error
    placed = sorted(
        (_placed(problem, tree) for problem in error.problems),
        key=lambda found: (found[0].key is None, position(found[1])),
    )
    again = ConfigError(problem for problem, _ in placed)
    for note in getattr(error, "__notes__", ()):
        again.add_note(note)
    return again


def _placed(problem: Problem, tree: Tree) -> tuple[Problem, Place]:
    if problem.key is None or problem.line is not None or problem.file == COMMAND_LINE:
        return problem, Place(problem.file or tree.file, problem.line, problem.column)
    place = tree.place(tree.path(problem.key))
    if place.file == MAPPING:
        return problem, place
    return replace(problem, file=place.file, line=place.line, column=place.column), place
