"""Writes a Parquet file row group by row group, so that memory does not grow with the number of rows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    import polars as pl

ROWS, CELLS = 1 << 16, 1 << 21
"""A row group, which is held until it is written, has so many rows, and fewer where they would be more cells."""


@contextmanager
def appending(file: BinaryIO) -> Iterator[Callable[[pl.DataFrame], None]]:
    """A function that appends frames, all with the columns of the first, to a Parquet file; raises what `file` raises.

    The file is complete when the block ends well.
    """
    sinks: list[_Sink] = []

    def append(frame: pl.DataFrame) -> None:
        if not sinks:
            sinks.append(_Sink(file, frame.schema))
        sinks[0].put(frame)

    try:
        yield append
    except BaseException:
        for sink in sinks:
            sink.end()
        raise
    for sink in sinks:
        sink.end()
        sink.raise_any()


class _Sink:
    """A thread in which polars writes what is put here: polars has no writer to hand frames to, it asks for them."""

    def __init__(self, file: BinaryIO, schema: pl.Schema) -> None:
        self._file = file
        self._schema = schema
        self._waiting: queue.Queue[pl.DataFrame | None] = queue.Queue(1)
        self._ended = False
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, frame: pl.DataFrame) -> None:
        """Append a frame; raises what writing those before has met."""
        self.raise_any()
        self._waiting.put(frame)

    def end(self) -> None:
        """Write what is left, and the end of the file."""
        self._waiting.put(None)
        self._thread.join()

    def raise_any(self) -> None:
        """Raise the first error of the thread."""
        if self._errors:
            raise self._errors[0]

    def write(self, data: bytes) -> int:
        """What polars calls; it would tell an error of the file in words of its own, so that is kept."""
        try:
            return self._file.write(data)
        except BaseException as error:
            self._errors.append(error)
            raise

    def flush(self) -> None:
        """What polars calls at the end; the file is flushed by whoever opened it."""

    def _frames(self, *_: object) -> Iterator[pl.DataFrame]:
        while (frame := self._waiting.get()) is not None:
            yield frame
        self._ended = True

    def _run(self) -> None:
        from polars.io.plugins import register_io_source

        try:
            frames = register_io_source(self._frames, schema=self._schema)
            rows = max(min(ROWS, CELLS // len(self._schema)), 1)
            frames.sink_parquet(cast("BinaryIO", self), row_group_size=rows)
        except BaseException as error:  # noqa: BLE001  raised again where the frames come from
            self._errors.append(error)
        while not self._ended:  # after an error: nobody must wait for ever for a place in the queue
            self._ended = self._waiting.get() is None
