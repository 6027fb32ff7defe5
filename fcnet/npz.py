"""The npz container: how a checkpoint is written as a stream, and how any npz is read without believing what it says.

`zipfile` and `np.load` trust what a file declares: they accept bytes between members, doubled names and a flipped bit
in an array, and allocate what a header of 200 bytes asks for. These readers believe nothing that the file's own size
does not bear out. Data may come from any program that writes such archives; of a checkpoint every byte is accounted
for. What is accepted is read by `np.load(path, allow_pickle=False)` alike.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcnet.files import Buffer
from fcnet.records import dataclass

Array = NDArray[Any]
Read = Callable[[int, int], bytes]
"""read(offset, n) gives n bytes of a file from there, fewer only where it ends."""

DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<i4", "<i8", "<u8", "|u1", "|b1")}
COMMENT = 64  # bytes of the comment that the caller adds after the last chunk

_ALIGNED = 64
_DATE = (1 << 5) | 1  # 1980-01-01, the zip format's zero: equal content gives equal bytes
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_WIDE_END = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_EXTRA = struct.Struct("<HHQQ")
_CENTRAL_EXTRA = struct.Struct("<HHQQQ")
_WIDE = 0xFFFFFFFF
_VERSION = 45  # the first version of the zip format with sizes of 64 bits
_UTF8 = 1 << 11
_MAGIC = b"\x93NUMPY"
_MOST_MEMBERS = 100_000
_MOST_DIRECTORY = 1 << 26
_MOST_HEADER = 65_536
_MOST_AXES = 8

_HEADER = re.compile(
    rb"\{\s*'descr':\s*(.{1,4000}?),\s*'fortran_order':\s*(True|False),\s*"
    rb"'shape':\s*\(((?:\d{1,18},\s*)*(?:\d{1,18}\s*)?)\),?\s*\}\s*"
)


class Malformed(Exception):
    """What is wrong with the container, in words."""


@dataclass(frozen=True)
class ArrayEntry:
    """Where an array lies in the file, and what it is."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    size: int

    def array(self, data: Buffer) -> Array:
        """The array as a view of the whole file's bytes."""
        return np.ndarray(self.shape, self.dtype, data, self.offset, order="F" if self.fortran else "C")


def chunks(arrays: Mapping[str, Array]) -> tuple[int, Iterator[Buffer]]:
    """The size in bytes and the chunks of the file that holds `arrays`, all but the comment of 64 bytes at its end.

    Arrays are C-contiguous with a dtype of `DTYPES`; each one's data start at a multiple of 64 bytes.
    """
    heads, position = [], 0
    for name, array in arrays.items():
        assert array.dtype.str in DTYPES, f"{name}: {array.dtype} cannot be stored"
        assert array.flags.c_contiguous, f"{name} is not contiguous"
        stored = f"{name}.npy".encode()
        start = position + _LOCAL.size + len(stored) + _LOCAL_EXTRA.size
        head = _npy_head(array, start)
        heads.append((stored, head, array, position))
        position = start + len(head) + array.nbytes
    central = sum(_CENTRAL.size + len(stored) + _CENTRAL_EXTRA.size for stored, *_ in heads)
    size = position + central + _WIDE_END.size + _LOCATOR.size + _END.size + COMMENT
    return size, _stream(heads, position, central)


def _stream(heads: list[tuple[bytes, bytes, Array, int]], directory: int, length: int) -> Iterator[Buffer]:
    entries = []
    for stored, head, array, offset in heads:
        data = array.reshape(-1).data.cast("B") if array.size else b""
        size, crc = len(head) + array.nbytes, zlib.crc32(data, zlib.crc32(head))
        flags = 0 if stored.isascii() else _UTF8
        common = (flags, 0, 0, _DATE, crc, _WIDE, _WIDE, len(stored))
        yield (
            _LOCAL.pack(b"PK\x03\x04", _VERSION, *common, _LOCAL_EXTRA.size)
            + stored
            + _LOCAL_EXTRA.pack(1, 16, size, size)
        )
        yield head
        yield data
        entries.append(
            _CENTRAL.pack(b"PK\x01\x02", _VERSION, _VERSION, *common, _CENTRAL_EXTRA.size, 0, 0, 0, 0, _WIDE)
            + stored
            + _CENTRAL_EXTRA.pack(1, 24, size, size, offset)
        )
    yield b"".join(entries)
    n = len(heads)
    yield _WIDE_END.pack(b"PK\x06\x06", _WIDE_END.size - 12, _VERSION, _VERSION, 0, 0, n, n, length, directory)
    yield _LOCATOR.pack(b"PK\x06\x07", 0, directory + length, 1)
    yield _END.pack(b"PK\x05\x06", 0, 0, min(n, 0xFFFF), min(n, 0xFFFF), _WIDE, _WIDE, COMMENT)


def _npy_head(array: Array, start: int) -> bytes:
    text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}".encode()
    fixed = len(_MAGIC) + 4
    blanks = -(start + fixed + len(text) + 1) % _ALIGNED
    return _MAGIC + struct.pack("<BBH", 1, 0, len(text) + blanks + 1) + text + b" " * blanks + b"\n"


@dataclass(frozen=True)
class Entry:
    """A member of an archive as the directory has it: the place of its header and, once that is read, of its bytes."""

    name: bytes
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    at: int
    start: int = 0

    def __str__(self) -> str:
        return f'"{self.name[:80].decode("utf-8", "replace").removesuffix(".npy")}"'


def entries(read: Read, size: int, exact: bool) -> list[Entry]:
    """The members of an archive of `size` bytes, in the order of their bytes; Malformed.

    Stored or deflated ones, none inside another, all of them before the directory. `exact`: nothing but what numpy and
    fcnet write of stored members, side by side from the first byte to the directory.
    """
    found, directory = _directory(read, size, exact)
    position, done = 0, []
    for entry in sorted(found, key=lambda entry: entry.at):
        if entry.at < position or (exact and entry.at > position):
            raise _nobodys(min(entry.at, position))
        start = _start(read, entry, directory, exact)
        position = start + entry.packed
        if position > directory:
            raise Malformed(f"the size of {entry} does not fit: it is longer than the file")
        done.append(replace(entry, start=start))
    if exact and position != directory:
        raise _nobodys(position)
    return done


def _nobodys(at: int) -> Malformed:
    what = f"there are bytes that belong to no member, or to two, at {at:,}"
    return Malformed(f"its content does not fit its directory: {what}")


def _part(read: Read, at: int, n: int) -> bytes:
    data = read(at, n)
    if len(data) != n:
        raise Malformed("it is cut off")
    return data


def _directory(read: Read, size: int, exact: bool) -> tuple[list[Entry], int]:
    """The entries of the central directory, and the offset where it starts."""
    reach = min(size, _END.size + 0xFFFF)
    tail = _part(read, size - reach, reach)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or reach - at < _END.size:
        raise Malformed("it is incomplete: its directory, which stands at the end, is missing")
    until = size - reach + at
    _, disk, disk_2, here, n, length, start, comment = _END.unpack_from(tail, at)
    if until + _END.size + comment != size:
        raise Malformed("it is incomplete, or bytes follow its end")
    disagree = Malformed("its directory is damaged: the records at the end disagree")
    wide_at = until - _LOCATOR.size - _WIDE_END.size
    locator = read(until - _LOCATOR.size, _LOCATOR.size) if wide_at >= 0 else b""
    if locator.startswith(b"PK\x06\x07"):
        record = _WIDE_END.unpack(_part(read, wide_at, _WIDE_END.size))
        if locator != _LOCATOR.pack(b"PK\x06\x07", 0, wide_at, 1) or record[:2] != (b"PK\x06\x06", _WIDE_END.size - 12):
            raise disagree
        disk, disk_2, here, n, length, start = record[4:]
        until = wide_at
    if disk or disk_2 or here != n or start + length != until:
        raise disagree
    if n > _MOST_MEMBERS or n * _CENTRAL.size > length or length > _MOST_DIRECTORY:
        raise Malformed(f"its directory is damaged: it declares {n:,} members in {length:,} bytes")
    data = _part(read, start, length)
    found, at = [], 0
    for _ in range(n):
        entry, at = _entry(data, at, exact)
        found.append(entry)
    if at != length:
        raise Malformed("its directory is damaged: bytes follow its last entry")
    return found, start


def _entry(data: bytes, at: int, exact: bool) -> tuple[Entry, int]:
    """The entry at `at` of the directory, and where the next one starts."""
    if at + _CENTRAL.size > len(data):
        raise Malformed("its directory is damaged: it is cut off")
    (
        magic, _, version, flags, method, _, _, crc, packed, size, name_n, extra_n, comment_n, disk, _, _, where,
    ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    at += _CENTRAL.size
    extra = data[at + name_n : at + name_n + extra_n]
    entry = Entry(data[at : at + name_n], method, flags, crc, packed, size, where)
    at += name_n + extra_n + comment_n
    if magic != b"PK\x01\x02" or at > len(data):
        raise Malformed("its directory is damaged")
    if flags & 1:
        raise Malformed(f"{entry} is encrypted")
    if method not in ((0,) if exact else (0, 8)):
        raise Malformed(
            f"{entry} is compressed by method {method}; only stored {'' if exact else 'and deflated '}arrays are read"
        )
    if exact and (flags & ~_UTF8 or comment_n or disk or version & 0xFF > _VERSION):
        raise Malformed(f"its entry for {entry} is not one that numpy or fcnet writes")
    size, packed, where = _wide(extra, [size, packed, where], exact)
    if not method and packed != size:
        raise Malformed(f"the size of {entry} does not fit")
    return replace(entry, size=size, packed=packed, at=where), at


def _wide(extra: bytes, values: list[int], exact: bool) -> list[int]:
    """`values` with each one that reads 0xFFFFFFFF replaced from the extra field of 64-bit sizes.

    The field holds the values that are replaced, or, as Python before 3.11.4 writes it, all of them once more.
    """
    wide, at = b"", 0
    while at + 4 <= len(extra):
        kind, n = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + n]
        at += 4 + n
    places = [i for i, value in enumerate(values) if value == _WIDE]
    if len(wide) == 8 * len(values):
        places = list(range(len(values)))
    known = extra in (b"", struct.pack("<HH", 1, 8 * len(places)) + wide)
    if len(wide) < 8 * len(places) or (exact and not known):
        raise Malformed("an extra field is not one that numpy or fcnet writes")
    found = dict(zip(places, struct.unpack_from(f"<{len(places)}Q", wide), strict=True))
    if any(values[i] not in (_WIDE, number) for i, number in found.items()):
        raise Malformed("an extra field disagrees with the sizes beside it")
    return [found.get(i, value) for i, value in enumerate(values)]


def _start(read: Read, entry: Entry, directory: int, exact: bool) -> int:
    """Where the member's data start; its local header must say what the directory says."""
    if entry.at + _LOCAL.size > directory:
        raise Malformed(f"{entry} lies outside the file")
    fields = _LOCAL.unpack(_part(read, entry.at, _LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size, name_n, extra_n = fields
    start: int = entry.at + _LOCAL.size + name_n + extra_n
    if start > directory:
        raise Malformed(f"{entry} lies outside the file")
    tail = _part(read, entry.at + _LOCAL.size, name_n + extra_n)
    same = (magic, tail[:name_n], method) == (b"PK\x03\x04", entry.name, entry.method)
    if same and exact:
        size, packed = _wide(tail[name_n:], [size, packed], exact)
        same = (flags, crc, size, packed) == (entry.flags, entry.crc, entry.size, entry.size)
    if not same:
        raise Malformed(f"the header of {entry} disagrees with the directory")
    return start


@dataclass(frozen=True)
class Npy:
    """What the header of an npy array says: dtype, memory order and shape; the data follow after `taken` bytes."""

    descr: str
    fortran: bool
    shape: tuple[int, ...]
    taken: int


def npy(read: Callable[[int], bytes], entry: Entry, versions: tuple[int, ...]) -> Npy:
    """The header of the array that a member holds, of which `read` gives the next so many bytes; Malformed."""
    head = read(min(entry.size, 10))
    version = head[6] if head.startswith(_MAGIC) and len(head) == 10 else 0
    if version not in versions or (version > 1 and entry.size < 12):
        one = ", ".join(f"{v}.0" for v in versions)
        raise Malformed(f"{entry} is no npy array: no array of the npy format, version {one}, begins like that")
    raw = head[8:] if version == 1 else head[8:] + read(2)
    length, taken = int.from_bytes(raw, "little"), 8 + len(raw)
    if length > min(_MOST_HEADER, entry.size - taken):
        raise Malformed(f"{entry} is cut off: its npy header is longer than its bytes")
    match = _HEADER.fullmatch(read(length))
    if match is None:
        raise Malformed(f"{entry} holds no plain numbers: its npy header is of a type or shape that is not read")
    shape = tuple(int(axis) for axis in match[3].split(b",") if axis.strip())
    return Npy(match[1].decode("latin-1"), match[2] == b"True", shape, taken + length)


def fit(entry: Entry, npy: Npy, dtype: np.dtype[Any]) -> None:
    """Malformed unless the member holds exactly the array that its header declares, of this dtype."""
    size = entry.size - npy.taken
    if math.prod(npy.shape) * dtype.itemsize != size:
        what = f"the shape {npy.shape} of {dtype}, but holds {size:,} bytes"
        raise Malformed(f"{entry} declares {what}, which does not fit")


def index(read: Read, size: int) -> list[ArrayEntry]:
    """The members of a checkpoint of `size` bytes in their order; Malformed.

    Every byte is accounted for: see `entries`. npy version 1 with a known dtype and exactly its data, unique names, and
    a comment of 64 bytes at the end.
    """
    if size < _END.size + COMMENT:
        raise Malformed("it is too short")
    end = _part(read, size - _END.size - COMMENT, _END.size)
    if not end.startswith(b"PK\x05\x06") or int.from_bytes(end[-2:], "little") != COMMENT:
        raise Malformed("it does not end with the comment of 64 digits that a checkpoint has")
    members = [_member(read, entry) for entry in entries(read, size, exact=True)]
    if len({member.name for member in members}) != len(members):
        raise Malformed("two members have the same name")
    return members


def _member(read: Read, entry: Entry) -> ArrayEntry:
    try:
        name = entry.name.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"the name {entry} is not UTF-8") from None
    if not name.endswith(".npy"):
        raise Malformed(f"{entry} is no array")
    at = entry.start

    def following(n: int) -> bytes:
        nonlocal at
        data = _part(read, at, n)
        at += n
        return data

    head = npy(following, entry, (1,))
    dtype = DTYPES.get(head.descr.strip("'"))
    if dtype is None:
        raise Malformed(
            f"{entry} holds no plain numbers: it has the dtype {head.descr[1:80]}; allowed are {', '.join(DTYPES)}"
        )
    if len(head.shape) > _MOST_AXES:
        raise Malformed(f"{entry} has {len(head.shape)} axes; at most {_MOST_AXES} are allowed")
    fit(entry, head, dtype)
    return ArrayEntry(name.removesuffix(".npy"), dtype, head.shape, head.fortran, at, entry.size - head.taken)
