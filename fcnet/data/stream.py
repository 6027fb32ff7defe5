"""Reads a table for prediction chunk by chunk, in memory that does not grow, with the types that training found."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from fcnet.data.columns import Want
from fcnet.data.encode import Encoder, listed
from fcnet.data.given import given
from fcnet.data.numbers import grammar
from fcnet.data.options import Data
from fcnet.data.readers import Request, quietly, reader
from fcnet.data.roles import extra_columns, fitted_plan
from fcnet.data.table import Table
from fcnet.data.tally import Tally
from fcnet.data.target import Target
from fcnet.errors import DataError, UsageError

Array = NDArray[Any]


def stream(
    source: Path | BinaryIO | object,
    options: Data,
    encoder: Encoder,
    target: Target,
    tally: Tally,
    *,
    keep: Sequence[str] = (),
    shown: str | None = None,
    poll: Callable[[], object] = quietly,
) -> Generator[tuple[Array, Mapping[str, Sequence[str]]]]:
    """Chunks of (x (B, n_in), kept columns by name, B cells each as they stand in the file), in the order of the rows.

    `source`: a file, a binary stream such as stdin, or a frame or arrays. `options`: the resolved section of the
    training. What is missing, unseen or out of range is counted in `tally`, which says the notices at the end.
    Columns are matched by name; DataError names those that are missing, and every cell that is no number.
    """
    spelling = replace(grammar(options, encoder.dtype), settled=True)
    file = shown or (str(source) if isinstance(source, Path) else "data")
    told: list[bool] = []

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        wants = fitted_plan(encoder, names, file)
        for name in keep:
            if name not in names:
                raise UsageError(f'--keep: no column "{name}"; the file has {listed(names, 30)}')
            wants[name] = replace(wants.get(name, Want()), raw=True)
        extra = extra_columns(encoder, keep, names)
        if extra and tally.strict:
            raise DataError(f"columns that training did not have: {listed(extra)}", file=file)
        if not told:
            told.append(True)
            if extra:
                tally.say(f"columns not used: {listed(extra)}")
            given = [name for name in target.names if name in names and name not in keep]
            if given:
                tally.say(f"the target {listed(given)} is there, and not used")
        return wants

    def headless(width: int) -> Sequence[str]:
        without = [name for name in encoder.names if name not in target.names]
        for names in (encoder.names, without):
            if len(names) == width:
                return names
        raise DataError(
            f"{width} columns; the net was trained on {len(encoder.names)}, {len(without)} without the target",
            file=file,
        )

    chunks: Iterator[Table]
    if isinstance(source, Path) or hasattr(source, "read"):
        prefer = None if options.delimiter == "auto" else options.delimiter
        named = replace(options, target=list(target.names))
        request = Request(
            source,  # type: ignore[arg-type]  # a path, or something that reads
            file,
            named,
            spelling,
            plan,
            expected=encoder.columns,
            prefer=prefer,
            headless=headless,
            poll=poll,
        )
        chunks = reader(request.path).stream(request)
    else:
        chunks = iter([given(source, options).table(spelling, plan)])
    for table in chunks:
        for notice in table.notices:
            tally.say(notice)
        if table.n:
            raw = table.raw
            x = encoder.encode(table, tally, consume=True)
            del table  # nothing is held while others work on the rows
            yield x, raw
            del x, raw
