"""Reads a table for prediction chunk by chunk, in memory that does not grow, with the types that training found."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from fcnet.data.columns import Want
from fcnet.data.encode import Encoder, listed
from fcnet.data.given import given
from fcnet.data.numbers import grammar
from fcnet.data.options import Data
from fcnet.data.readers import Request, reader
from fcnet.data.roles import extra_columns, fitted_plan
from fcnet.data.table import Table
from fcnet.data.tally import Tally
from fcnet.data.target import Target
from fcnet.errors import DataError, UsageError
from fcnet.nn.rows import Rows

INPUTS, OUTPUTS = 1 << 20, 1 << 18
"""At most so many inputs are made at a time, and so few rows that they become no more outputs."""


def rows_at_once(n_in: int, outputs: int) -> int:
    """How many rows with so many inputs and outputs each are handed on at a time: a power of two, 1 at the least."""
    most = min(INPUTS // max(n_in, 1), OUTPUTS // max(outputs, 1))
    return 1 << (max(most, 1).bit_length() - 1)


def stream(
    source: Path | BinaryIO | object,
    options: Data,
    encoder: Encoder,
    target: Target,
    tally: Tally,
    *,
    keep: Sequence[str] = (),
    outputs: int = 1,
    shown: str | None = None,
) -> Generator[tuple[Rows, Mapping[str, Sequence[str]]]]:
    """Chunks of (B rows, kept columns by name, B cells each as they stand in the file), in the order of the rows.

    `source`: a file, a binary stream such as stdin, or a frame or arrays. `options`: the resolved section of the
    training. `outputs`: how many cells a row becomes, kept ones among them: they and the inputs bound the rows of a
    chunk, since the bytes of a file say nothing of what is made of them. What is missing, unseen or out of range is
    counted in `tally`, which says the notices at the end.
    Columns are matched by name; DataError names those that are missing, and every cell that is no number.
    """
    spelling = replace(grammar(options, encoder.dtype), settled=True)
    file = shown or (str(source) if isinstance(source, Path) else "data")
    told: list[bool] = []

    def plan(names: tuple[str, ...]) -> Mapping[str, Want]:
        wants = fitted_plan(encoder, names, file)
        there, kept = set(names), set(keep)
        for name in keep:
            if name not in there:
                raise UsageError(f'--keep: no column "{name}"; the file has {listed(names, 30)}')
            wants[name] = replace(wants.get(name, Want()), raw=True)
        extra = extra_columns(encoder, keep, names)
        if extra and tally.strict:
            raise DataError(f"columns that training did not have: {listed(extra)}", file=file)
        if not told:
            told.append(True)
            if extra:
                tally.say(f"columns not used: {listed(extra)}")
            given = [name for name in target.names if name in there and name not in kept]
            if given:
                what = f"target {listed(given)} is" if len(given) == 1 else f"targets {listed(given)} are"
                tally.say(f"the {what} there, and not used", usual=True)
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
            complete=True,
            prefer=prefer,
            headless=headless,
        )
        chunks = reader(request.path).stream(request)
    else:
        chunks = iter([given(source, options).table(spelling, plan)])
    most = rows_at_once(encoder.n_in, outputs)
    for i, table in enumerate(chunks):
        if tally.strict:
            table.refuse_left_out()
        for notice in (*(table.left_out if i == 0 else ()), *table.notices):
            tally.say(notice)
        pieces = table.pieces(most)
        del table  # nothing is held while others work on the rows
        for piece in pieces:
            raw = piece.raw
            inputs = encoder.encode(piece, tally, consume=True)
            del piece
            yield inputs, raw
            del inputs, raw
