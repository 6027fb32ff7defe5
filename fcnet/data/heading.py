"""Looks at no more of a table than its columns' names, for a config that is refused before its table is read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from fcnet.data.columns import Want
from fcnet.data.numbers import grammar
from fcnet.data.options import Data
from fcnet.data.readers import Request, reader
from fcnet.data.roles import expected_names, lacking
from fcnet.errors import FcnetError, Problem


class _Seen(Exception):
    """The names are known; there is no need to read on."""


def lacking_in_file(options: Data) -> list[Problem]:
    """What `lacking` says of the file `options.train`; nothing where its names cannot be read, or are made up."""
    path = Path(options.train).expanduser()
    names: list[str] = []

    def plan(found: tuple[str, ...]) -> Mapping[str, Want]:
        names.extend(found)
        raise _Seen

    if not options.train or path.suffix.lower() == ".npz":
        return []
    with contextlib.suppress(_Seen, FcnetError):
        spelling, expected = grammar(options, "float64"), expected_names(options)
        next(reader(path).stream(Request(path, options.train, options, spelling, plan, expected)), None)
    return lacking(options, names) if names else []
