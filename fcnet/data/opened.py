"""Opens the user's data files: plain files only, hashed while they are read, and refused if they change meanwhile."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from fcnet.data.foreign import foreign, looks_like
from fcnet.errors import DataError, StorageError
from fcnet.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class FileRecord:
    """One data file as it was read: absolute path, SHA-256 of its bytes, number of data rows, what it was used for."""

    path: Path
    sha256: str
    rows: int
    role: str


class Opened(contextlib.AbstractContextManager["Opened"]):
    """A data file, or a stream without a path (stdin), open for one pass from its start to its end; `hashed` where
    somebody keeps what `finish` says."""

    def __init__(self, path: Path | BinaryIO, shown: str, *, hashed: bool = True) -> None:
        self.shown, self._hashed = shown, hashed
        self._hash = hashlib.sha256()
        self._path: Path | None = None
        self._closing: list[Generator[Any]] = []
        if not isinstance(path, Path):
            self._file = path
            return
        self._path = path
        try:
            # Asked before opening: to open a pipe without a writer would wait for ever.
            _plain(os.stat(path), shown)
            self._file = open(path, "rb")  # noqa: SIM115  closed by __exit__
        except OSError as error:
            raise _reason(error, shown) from None
        except ValueError:
            raise DataError("a path cannot hold a NUL character", file=shown) from None
        self._before = os.fstat(self._file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._closing:
            reader.close()
        if self._path is not None:
            self._file.close()

    def close_first(self, reader: Generator[T]) -> Generator[T]:
        """A generator that reads this file, to be closed before the file is."""
        self._closing.append(reader)
        return reader

    @property
    def stream(self) -> bool:
        """Whether it is a stream without a path."""
        return self._path is None

    @property
    def size(self) -> int:
        """The size of the file in bytes when it was opened."""
        assert self._path is not None
        return self._before.st_size

    @property
    def file(self) -> BinaryIO:
        """The open file itself, for readers that seek; what they read is not hashed."""
        return self._file

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; b"" at the end."""
        try:
            piece = self._file.read(size)
        except OSError as error:
            raise _reason(error, self.shown) from None
        if self._hashed:
            self._hash.update(piece)
        return piece

    def finish(self) -> str:
        """The SHA-256 of the whole file, after reading what is left, or nothing where that is not wanted; DataError if
        it changed since it was opened."""
        while self._hashed and self.read(1 << 20):
            pass
        if self._path is not None and identity(self._path) != _identity(self._before):
            raise DataError("the file changed while reading; run again when nothing writes to it", file=self.shown)
        return self._hash.hexdigest() if self._hashed else ""


def pieces(opened: Opened, size: int, gz: bool | None) -> Iterator[bytes]:
    """The content piece by piece, unpacked if it is gzip; `gz`: whether the name promises gzip, None if it cannot."""
    start = opened.read(min(size, 1 << 16))
    packed = start.startswith(b"\x1f\x8b")
    if packed and gz is False:
        other = foreign(start, opened.shown) if opened.shown.lower().endswith(".rds") else None
        raise DataError(other or "looks like a gzip file; name it with .gz at the end", file=opened.shown)
    if gz and not packed:
        raise DataError(f"is not a gzip file{_but(start)}; name it without .gz, or pack it", file=opened.shown)
    if not packed:
        while start:
            yield start
            start = opened.read(size)
        return
    try:
        with gzip.GzipFile(fileobj=_Replay(start, opened), mode="rb") as file:  # type: ignore[call-overload]  # only read() is used
            while piece := file.read(size):
                yield piece
    except EOFError:
        raise DataError("the gzip file is incomplete: it ends in the middle", file=opened.shown) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"the gzip file is damaged ({error})", file=opened.shown) from None


class _Replay:
    """The bytes that were already read, then the rest."""

    def __init__(self, start: bytes, rest: Opened) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if self._start:
            piece, self._start = (self._start, b"") if size < 0 else (self._start[:size], self._start[size:])
            return piece
        return self._rest.read(size)


def _but(start: bytes) -> str:
    what = looks_like(start)
    return f" but looks like {what}" if what else ""


def identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced: size, time and place; None where it is gone."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _plain(status: os.stat_result, shown: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise DataError("is a folder; a folder of tables is not read: name one file", file=shown)
    raise DataError("is no plain file; give a CSV, TSV, Parquet or NPZ file", file=shown)


def _reason(error: OSError, shown: str) -> DataError | StorageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError("no such file", file=shown)
    if error.strerror == "File name too long":
        return DataError("the name is too long for a file", file=shown)
    return StorageError(f"cannot be read: {error.strerror or error}", file=shown)
