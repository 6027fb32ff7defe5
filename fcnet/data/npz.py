"""The strict reader of NPZ data: what a file declares is checked against its bytes before anything is allocated.

numpy.load trusts the headers, compares no checksum when bytes trail behind an array, and answers damage with a dozen
kinds of exceptions; so the zip directory and the npy headers are read here.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcnet.backends.base import aligned
from fcnet.data.arrays import table_of_arrays
from fcnet.data.columns import Plan
from fcnet.data.foreign import looks_like
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.options import Data
from fcnet.data.table import Table
from fcnet.errors import DataError, FcnetError, LimitError, StorageError

Array = NDArray[Any]

PIECE = 1 << 22
COLUMNS = 1 << 25
"""So many bytes of columns are turned into rows at a time."""
FREE_INFLATION = 1 << 24
LARGEST_INFLATION = 100
"""A packed file may unpack to 16 MiB, and beyond that to a hundred times its size."""
LONGEST_NAME = 255
LONGEST_HEADER = 65_536
MOST_MEMBERS = 10_000

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([^'\\]{1,40})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([0-9, ]{0,200})\),?\s*\}\s*"
)
_PLAIN_TYPE = re.compile(r"[<>|=][?biufcSUOmMV][0-9]*(?:\[[0-9a-zA-Z]+\])?")


@dataclass(frozen=True)
class _Member:
    """One array of the archive: where its bytes lie, packed how, and what it holds."""

    name: str
    start: int
    packed: int
    size: int
    deflated: bool
    crc: int


def read_npz(opened: Opened, options: Data, grammar: Grammar, plan: Plan, poll: Callable[[], object]) -> Table:
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
                arrays[name] = _array(file, members[name], shown)
        file.seek(0)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}", file=shown) from None
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


def _directory(file: BinaryIO, size: int, shown: str) -> dict[str, _Member]:
    """The members by name without .npy, from a central directory that accounts for the file."""

    def wrong(text: str) -> FcnetError:
        return DataError(f"{text}; write it again with numpy.savez", file=shown)

    file.seek(0)
    start = file.read(8)
    if not start.startswith(b"PK\x03\x04"):
        what = looks_like(start) if not start.startswith(b"PK") else None
        if start.startswith(b"PK\x05\x06"):
            raise wrong("the npz file holds no arrays")
        raise DataError(f"is not an npz file{f' but looks like {what}' if what else ''}", file=shown)
    tail_size = min(size, _END.size + 65_535)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise wrong("the npz file is incomplete: its directory, which stands at the end, is missing")
    end_at = size - tail_size + at
    _, disk, disk2, here, count, length, offset, comment = _END.unpack_from(tail, at)
    if end_at + _END.size + comment != size:
        raise wrong("the npz file is incomplete, or bytes follow its end")
    limit = end_at
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, offset):
        count, length, offset, limit = _end64(file, end_at, wrong)
        here = count
    if disk or disk2 or here != count or offset + length != limit:
        raise wrong("the npz file's directory is damaged")
    if not count:
        raise wrong("the npz file holds no arrays")
    if count > MOST_MEMBERS or length > MOST_MEMBERS * (LONGEST_NAME + 200):
        raise wrong(f"the npz file declares {count:,} arrays, more than {MOST_MEMBERS:,}")
    file.seek(offset)
    directory = file.read(length)
    members: dict[str, _Member] = {}
    spans: list[tuple[int, int]] = []
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise wrong("the npz file's directory is damaged")
        (magic, _, _, flags, method, _, _, crc, packed, unpacked, n_name, n_extra, n_comment, _, _, _, where) = (
            _CENTRAL.unpack_from(directory, at)
        )
        name_bytes = directory[at + _CENTRAL.size : at + _CENTRAL.size + n_name]
        extra = directory[at + _CENTRAL.size + n_name : at + _CENTRAL.size + n_name + n_extra]
        at += _CENTRAL.size + n_name + n_extra + n_comment
        if magic != b"PK\x01\x02" or at > len(directory):
            raise wrong("the npz file's directory is damaged")
        name = _name(name_bytes, wrong)
        if flags & 0x1:
            raise wrong(f'"{name}" is encrypted')
        if method not in (0, 8):
            raise wrong(f'"{name}" is packed by method {method}; only stored and deflated arrays are read')
        unpacked, packed, where = _extra64(extra, unpacked, packed, where)
        if name in members:
            raise wrong(f'two arrays are named "{name}"')
        data = _data_start(file, where, name_bytes, method, offset, wrong)
        if data + packed > offset or (method == 0 and packed != unpacked):
            raise wrong(f'the size of "{name}" does not fit the file')
        members[name] = _Member(name, data, packed, unpacked, method == 8, crc)
        spans.append((where, data + packed))
    if at != len(directory):
        raise wrong("the npz file's directory is damaged")
    spans.sort()
    if any(stop > following for (_, stop), (following, _) in pairwise(spans)):
        raise wrong("arrays of the npz file overlap")
    total = sum(member.size for member in members.values())
    if total > FREE_INFLATION + LARGEST_INFLATION * size:
        raise LimitError(
            f"would unpack from {size:,} to {total:,} bytes, more than {LARGEST_INFLATION} times its size; "
            "if that is meant, write it unpacked, with numpy.savez",
            file=shown,
        )
    return members


def _end64(file: BinaryIO, end_at: int, wrong: Callable[[str], FcnetError]) -> tuple[int, int, int, int]:
    """(count, length, offset, where the directory must end) of a zip64 archive."""
    at = end_at - _LOCATOR64.size
    if at >= 0:
        file.seek(at)
        magic, _, where, _ = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
        if magic == b"PK\x06\x07" and where + _END64.size <= at:
            file.seek(where)
            magic, _, _, _, _, _, here, count, length, offset = _END64.unpack(file.read(_END64.size))
            if magic == b"PK\x06\x06" and here == count:
                return count, length, offset, where
    raise wrong("the npz file's directory is damaged")


def _extra64(extra: bytes, *fields: int) -> tuple[int, int, int]:
    """Unpacked size, packed size and offset, those that are full taken from the zip64 extra field."""
    values = list(fields)
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF and len(wide) >= 8:
                    values[i] = struct.unpack_from("<Q", wide)[0]
                    wide = wide[8:]
        at += 4 + length
    return values[0], values[1], values[2]


def _name(name: bytes, wrong: Callable[[str], FcnetError]) -> str:
    """The name of an array, from that of its member; nothing is ever written under it."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("cp437")
    parts = text.split("/")
    if len(name) > LONGEST_NAME:
        raise wrong(f"a name in the npz file is longer than {LONGEST_NAME} bytes")
    if not text.isprintable() or "\\" in text or ".." in parts or "" in parts:
        raise wrong(f'"{text}" is no name for an array')
    if not text.endswith(".npy"):
        raise wrong(f'"{text}" is no array (its name does not end with .npy)')
    return text.removesuffix(".npy")


def _data_start(
    file: BinaryIO, where: int, name: bytes, method: int, limit: int, wrong: Callable[[str], FcnetError]
) -> int:
    """Where a member's bytes begin, from its local header, which must say what the directory says."""
    if where + _LOCAL.size > limit:
        raise wrong("the npz file's directory is damaged")
    file.seek(where)
    magic, _, _, method2, _, _, _, _, _, n_name, n_extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != b"PK\x03\x04" or method2 != method or file.read(min(n_name, len(name) + 1)) != name:
        raise wrong("the npz file's directory does not fit its content")
    return where + _LOCAL.size + int(n_name) + int(n_extra)


class _Bytes:
    """The unpacked bytes of one member, never more than declared, with their checksum."""

    def __init__(self, file: BinaryIO, member: _Member, wrong: Callable[[str], FcnetError]) -> None:
        self._file = file
        self._left = member.packed
        self._due = member.size
        self._member = member
        self._wrong = wrong
        self._crc = 0
        self._inflate = zlib.decompressobj(-15) if member.deflated else None
        file.seek(member.start)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        out = bytearray()
        while len(out) < size:
            piece = self._piece(size - len(out))
            if not piece:
                raise self._wrong(f'"{self._member.name}" is incomplete')
            out += piece
        return bytes(out)

    def fill(self, array: Array) -> None:
        """As many bytes as the array (C order) has, into it."""
        raw = array.reshape(-1).view(np.uint8)
        at = 0
        while at < raw.size:
            piece = self.read(min(PIECE, raw.size - at))
            raw[at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            at += len(piece)

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
                    raise self._wrong(f'"{self._member.name}" is damaged') from None
        self._crc = zlib.crc32(piece, self._crc)
        self._due -= len(piece)
        return piece

    def finish(self) -> None:
        """All bytes must have been read, and must be those that were written."""
        more = self._due or self._left or (self._inflate is not None and self._piece(1))
        if more or self._crc != self._member.crc:
            raise self._wrong(f'"{self._member.name}" is damaged: its checksum or its length is wrong')


def _array(file: BinaryIO, member: _Member, shown: str) -> Array:
    """The array of one member, of a plain type, in C order and native byte order."""
    name = member.name

    def wrong(text: str) -> FcnetError:
        return DataError(f"{text}; write it again with numpy.savez", file=shown)

    source = _Bytes(file, member, wrong)
    if member.size < 10 or not (start := source.read(10)).startswith(b"\x93NUMPY"):
        raise wrong(f'"{name}" is no npy array')
    if start[6] == 1:
        length, taken = struct.unpack_from("<H", start, 8)[0], 10
    elif start[6] in (2, 3) and member.size >= 12:
        length, taken = struct.unpack("<L", start[8:10] + source.read(2))[0], 12
    else:
        raise wrong(f'"{name}" has an npy version that does not exist')
    if length > min(LONGEST_HEADER, member.size - taken):
        raise wrong(f'the header of "{name}" is longer than its bytes')
    header = source.read(length).decode("latin-1")
    match = _HEADER.fullmatch(header)
    if not match or not _PLAIN_TYPE.fullmatch(match[1]):
        if "O'" in header:
            raise _objects(name, shown)
        raise wrong(f'"{name}" is of a type or shape that is not read; save numbers or texts')
    shape = _shape(match[3])
    dtype = _dtype(match[1], name, shown)
    if shape is None or len(shape) > 2:
        raise wrong(f'"{name}" has the shape ({match[3].strip()}); one or two axes are read')
    count = math.prod(shape)
    if count * dtype.itemsize != member.size - taken - length:
        raise wrong(f'"{name}" declares the shape {shape} of {dtype}, which does not fit its bytes')
    array = aligned(shape, dtype.newbyteorder("="))
    native = array.dtype == dtype
    if match[2] == "True" and len(shape) == 2:
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
    if dtype.kind == "U" and count and int(array.reshape(-1).view(np.uint32).max()) > 0x10FFFF:
        raise wrong(f'"{name}" holds characters that do not exist')
    return array


def _shape(text: str) -> tuple[int, ...] | None:
    parts = [part.strip() for part in text.split(",")]
    if parts and not parts[-1]:
        parts.pop()
    if not all(part.isdigit() and len(part) < 19 for part in parts):
        return None
    return tuple(map(int, parts))


def _dtype(text: str, name: str, shown: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError):
        raise DataError(
            f'"{name}" is of the type {text}, which is not read; save numbers or texts', file=shown
        ) from None
    if dtype.kind == "O":
        raise _objects(name, shown)
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


def _objects(name: str, shown: str) -> DataError:
    """The error of an array that is a pickle, as NumPy writes texts of StringDType too."""
    cure = f'save {name}.astype(object).astype(str) for texts, {name}.astype("float64") for numbers'
    return DataError(f'"{name}" holds Python objects, which are never read; {cure}', file=shown)
