"""The reader of NPZ data: what a file declares is checked against its bytes before anything is allocated.

Data may be deflated, of any plain type and in either byte order, where a checkpoint is not; the container is that of
`fcnet.npz`. numpy.load compares no checksum when bytes trail behind an array, so the bytes are unpacked here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcnet import npz
from fcnet.backends.base import aligned
from fcnet.data.arrays import table_of_arrays
from fcnet.data.columns import Wants
from fcnet.data.foreign import looks_like
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.options import Data
from fcnet.data.table import Table
from fcnet.errors import DataError, LimitError, StorageError

Array = NDArray[Any]

PIECE = 1 << 22
COLUMNS = 1 << 25
"""So many bytes of columns are turned into rows at a time."""
FREE_INFLATION = 1 << 24
LARGEST_INFLATION = 100
"""A packed file may unpack to 16 MiB, and beyond that to a hundred times its size."""
LONGEST_NAME = 255

_PLAIN_TYPE = re.compile(r"'([<>|=][?biufcSUOmMV][0-9]*(?:\[[0-9a-zA-Z]+\])?)'")


def read_npz(opened: Opened, options: Data, grammar: Grammar, plan: Wants, poll: Callable[[], object]) -> Table:
    """The table of an NPZ file: features from the array `options.x`, targets from `options.y` where it is there.

    DataError for everything that is no npz of plain arrays or does not fit together; LimitError for one that would
    unpack to far more than its size.
    """
    file, shown = opened.file, opened.shown
    try:
        members = _directory(file, opened.size, shown)
        arrays: dict[str, Array] = {}
        if options.x not in members:
            found = ", ".join(f'"{name}"' for name in members)
            raise DataError(f'no array "{options.x}"; the file holds {found}; name yours with data.x', file=shown)
        for name in (options.x, options.y, "columns"):
            if name in members and name not in arrays:
                poll()
                arrays[name] = _array(file, name, members[name], shown)
        file.seek(0)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}", file=shown) from None
    except npz.Malformed as error:
        raise DataError(f"{error}; write it again with numpy.savez", file=shown) from None
    extra = [name for name in members if name not in arrays]
    notices = (f"arrays not used: {', '.join(extra)}",) if extra else ()
    x = arrays[options.x]
    table = table_of_arrays(
        x,
        arrays.get(options.y),
        arrays.get("columns"),
        options,
        grammar,
        plan,
        shown,
        notices,
    )
    return replace(table, matrix=x if x.ndim == 2 else None)


def _directory(file: BinaryIO, size: int, shown: str) -> dict[str, npz.Entry]:
    """The members by name without .npy."""

    def read(at: int, n: int) -> bytes:
        file.seek(at)
        return file.read(n)

    start = read(0, 8)
    if not start.startswith(b"PK"):
        what = looks_like(start)
        raise DataError(f"is not an npz file{f' but looks like {what}' if what else ''}", file=shown)
    members: dict[str, npz.Entry] = {}
    for entry in npz.entries(read, size, exact=False):
        name = _name(entry.name)
        if name in members:
            raise npz.Malformed(f'two arrays are named "{name}"')
        members[name] = entry
    if not members:
        raise npz.Malformed("the npz file holds no arrays")
    total = sum(member.size for member in members.values())
    if total > FREE_INFLATION + LARGEST_INFLATION * size:
        raise LimitError(
            f"would unpack from {size:,} to {total:,} bytes, more than {LARGEST_INFLATION} times its size; "
            "if that is meant, write it unpacked, with numpy.savez",
            file=shown,
        )
    return members


def _name(name: bytes) -> str:
    """The name of an array, from that of its member; nothing is ever written under it."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("cp437")
    parts = text.split("/")
    if len(name) > LONGEST_NAME:
        raise npz.Malformed(f"a name in the npz file is longer than {LONGEST_NAME} bytes")
    if not text.isprintable() or "\\" in text or ".." in parts or "" in parts:
        raise npz.Malformed(f'"{text}" is no name for an array')
    if not text.endswith(".npy"):
        raise npz.Malformed(f'"{text}" is no array (its name does not end with .npy)')
    return text.removesuffix(".npy")


class _Bytes:
    """The unpacked bytes of one member, never more than declared, with their checksum."""

    def __init__(self, file: BinaryIO, member: npz.Entry) -> None:
        self._file = file
        self._left = member.packed
        self._due = member.size
        self._member = member
        self._crc = 0
        self._inflate = zlib.decompressobj(-15) if member.method else None
        file.seek(member.start)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        out = bytearray()
        while len(out) < size:
            piece = self._piece(size - len(out))
            if not piece:
                raise npz.Malformed(f"{self._member} is incomplete")
            out += piece
        return bytes(out)

    def fill(self, array: Array) -> None:
        """As many bytes as the array (C order) has, into it."""
        raw = array.reshape(-1).view(np.uint8)
        at = 0
        while at < raw.size:
            if self._inflate is None:
                at += self._straight(raw[at : at + min(PIECE, self._left)].data)
                continue
            piece = self.read(min(PIECE, raw.size - at))
            raw[at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            at += len(piece)

    def _straight(self, room: memoryview) -> int:
        """Fill the room, or its start, with what is not packed: how many bytes."""
        n: int = self._file.readinto(room)  # type: ignore[attr-defined]  # every binary file has it
        if not n:
            raise npz.Malformed(f"{self._member} is incomplete")
        self._count(room[:n])
        self._left -= n
        return n

    def _count(self, piece: bytes | memoryview) -> None:
        self._crc = zlib.crc32(piece, self._crc)
        self._due -= len(piece)

    def _piece(self, size: int) -> bytes:
        if self._inflate is None:
            piece = self._file.read(min(size, self._left, PIECE))
            self._left -= len(piece)
        else:
            piece = b""
            while not piece and not self._inflate.eof:
                packed = self._inflate.unconsumed_tail
                if not packed:
                    packed = self._file.read(min(self._left, PIECE))
                    self._left -= len(packed)
                    if not packed:
                        break
                try:
                    piece = self._inflate.decompress(packed, min(size, PIECE))
                except zlib.error:
                    raise npz.Malformed(f"{self._member} is damaged") from None
        self._count(piece)
        return piece

    def finish(self) -> None:
        """All bytes must have been read, and must be those that were written."""
        more = self._due or self._left or (self._inflate is not None and self._piece(1))
        if more or self._crc != self._member.crc:
            raise npz.Malformed(f"{self._member} is damaged: its checksum or its length is wrong")


def _array(file: BinaryIO, name: str, member: npz.Entry, shown: str) -> Array:
    """The array of one member, of a plain type, in C order and native byte order."""
    source = _Bytes(file, member)
    head = npz.npy(source.read, member, (1, 2, 3))
    shape, dtype = head.shape, _dtype(head.descr, name, shown)
    if len(shape) > 2:
        raise npz.Malformed(f"{member} has the shape {shape}; one or two axes are read")
    npz.fit(member, head, dtype)
    array = aligned(shape, dtype.newbyteorder("="))
    native = array.dtype == dtype
    if head.fortran and len(shape) == 2:
        # A few columns at a time: the whole would be there twice.
        step = max(COLUMNS // max(shape[0] * dtype.itemsize, 1), 1)
        for j in range(0, shape[1], step):
            some = aligned((min(step, shape[1] - j), shape[0]), dtype)
            source.fill(some)
            array[:, j : j + step] = some.T
    elif native:
        source.fill(array)
    else:
        other = aligned(shape, dtype)
        source.fill(other)
        array[...] = other
    source.finish()
    if dtype.kind == "U" and array.size and int(array.reshape(-1).view(np.uint32).max()) > 0x10FFFF:
        raise npz.Malformed(f"{member} holds characters that do not exist")
    return array


def _dtype(descr: str, name: str, shown: str) -> np.dtype[Any]:
    match = _PLAIN_TYPE.fullmatch(descr)
    if not match and "O'" not in descr:
        raise npz.Malformed(f'"{name}" is of a type or shape that is not read; save numbers or texts')
    try:
        dtype = np.dtype(match[1] if match else object)
    except (TypeError, ValueError):
        raise DataError(
            f'"{name}" is of the type {descr}, which is not read; save numbers or texts', file=shown
        ) from None
    if dtype.kind == "O":  # a pickle, as NumPy writes texts of StringDType too
        cure = f'save {name}.astype(object).astype(str) for texts, {name}.astype("float64") for numbers'
        raise DataError(f'"{name}" holds Python objects, which are never read; {cure}', file=shown)
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return dtype
    if dtype.kind == "U" and 0 < dtype.itemsize <= 1 << 16:
        return dtype
    cure = {
        "c": f"{name}.real or abs({name})",
        "f": f'{name}.astype("float64")',
        "m": f'{name} / numpy.timedelta64(1, "s")',
        "V": f'{name}.astype("float32")',
    }.get(dtype.kind, f"{name}.astype(str)")
    foreign = ", as bfloat16 and other types of add-on packages are written" if dtype.kind == "V" else ""
    raise DataError(
        f'"{name}" is of the type {dtype}{foreign}; booleans, integers, floats up to 64 bits and texts are read: '
        f"save {cure} instead",
        file=shown,
    )
