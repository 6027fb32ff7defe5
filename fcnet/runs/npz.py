"""The checkpoint's container: an uncompressed npz that is written as a stream and whose every byte is accounted for.

`zipfile` and `np.load` trust what a file declares: they accept bytes between members, doubled names and a flipped bit
in an array, and allocate what a header of 200 bytes asks for. This reader believes nothing that the file's own size
does not bear out, and the files it accepts are read by `np.load(path, allow_pickle=False)` alike.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fcnet.files import Buffer
from fcnet.random import Array

DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<i4", "<i8", "<u8", "|u1", "|b1")}
COMMENT = 64  # bytes of the comment that the caller adds after the last chunk

_ALIGNED = 64
_DATE = (1 << 5) | 1  # 1980-01-01, the zip format's zero: equal content gives equal bytes
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_WIDE_END = struct.Struct("<IQHHIIQQQQ")
_LOCATOR = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_EXTRA = struct.Struct("<HHQQ")
_CENTRAL_EXTRA = struct.Struct("<HHQQQ")
_WIDE = 0xFFFFFFFF
_VERSION = 45  # the first version of the zip format with sizes of 64 bits
_UTF8 = 1 << 11
_MAGIC = b"\x93NUMPY\x01\x00"
_MOST_MEMBERS = 100_000
_MOST_AXES = 8

_NPY_HEADER = re.compile(
    rb"\{'descr': '([<|][fiub][148])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)


class Malformed(Exception):
    """What is wrong with the container, in words."""


@dataclass(frozen=True)
class Member:
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
            _LOCAL.pack(0x04034B50, _VERSION, *common, _LOCAL_EXTRA.size)
            + stored
            + _LOCAL_EXTRA.pack(1, 16, size, size)
        )
        yield head
        yield data
        entries.append(
            _CENTRAL.pack(0x02014B50, _VERSION, _VERSION, *common, _CENTRAL_EXTRA.size, 0, 0, 0, 0, _WIDE)
            + stored
            + _CENTRAL_EXTRA.pack(1, 24, size, size, offset)
        )
    yield b"".join(entries)
    n = len(heads)
    yield _WIDE_END.pack(0x06064B50, _WIDE_END.size - 12, _VERSION, _VERSION, 0, 0, n, n, length, directory)
    yield _LOCATOR.pack(0x07064B50, 0, directory + length, 1)
    yield _END.pack(0x06054B50, 0, 0, min(n, 0xFFFF), min(n, 0xFFFF), _WIDE, _WIDE, COMMENT)


def _npy_head(array: Array, start: int) -> bytes:
    text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}".encode()
    fixed = len(_MAGIC) + 2
    blanks = -(start + fixed + len(text) + 1) % _ALIGNED
    return _MAGIC + struct.pack("<H", len(text) + blanks + 1) + text + b" " * blanks + b"\n"


@dataclass(frozen=True)
class _Entry:
    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


def index(read: Callable[[int, int], bytes], size: int) -> list[Member]:
    """The members of a file of `size` bytes in their order, or Malformed; read(offset, n) gives n of its bytes.

    Stored members only, of unique names, npy version 1 with a known dtype and exactly its data, side by side from the
    first byte to the directory, and a comment of 64 bytes at the end.
    """
    entries, directory = _directory(read, size)
    members, position = [], 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset != position:
            raise Malformed(f"there are bytes that belong to no member, or to two, at {min(entry.offset, position):,}")
        start = _local_end(read, entry, directory)
        position = start + entry.size
        if position > directory:
            raise Malformed(f"member {_shown(entry.name)} is longer than the file")
        members.append(_member(read, entry, start))
    if position != directory:
        raise Malformed(f"there are bytes that belong to no member at {position:,}")
    order = {entry.name: at for at, entry in enumerate(entries)}
    if len(order) != len(entries):
        raise Malformed("two members have the same name")
    return members


def _shown(name: bytes) -> str:
    return repr(name[:80].decode("utf-8", "replace"))


def _directory(read: Callable[[int, int], bytes], size: int) -> tuple[list[_Entry], int]:
    """The entries of the central directory, and the offset where it starts."""
    end_at = size - _END.size - COMMENT
    if end_at < 0:
        raise Malformed("it is too short")
    signature, disk, disk_2, here, n, length, start, comment = _END.unpack(read(end_at, _END.size))
    if signature != 0x06054B50 or comment != COMMENT:
        raise Malformed("it does not end with the comment of 64 digits that a checkpoint has")
    wide_at = end_at - _LOCATOR.size - _WIDE_END.size
    until = end_at
    if wide_at >= 0:
        locator = _LOCATOR.unpack(read(wide_at + _WIDE_END.size, _LOCATOR.size))
        if locator[0] == 0x07064B50:
            record = _WIDE_END.unpack(read(wide_at, _WIDE_END.size))
            if locator != (0x07064B50, 0, wide_at, 1) or record[:2] != (0x06064B50, _WIDE_END.size - 12):
                raise Malformed("the records at the end disagree")
            disk, disk_2, here, n, length, start = record[4:]
            until = wide_at
    if disk or disk_2 or here != n or start + length != until:
        raise Malformed("the records at the end disagree")
    if n > _MOST_MEMBERS or n * _CENTRAL.size > length:
        raise Malformed(f"it declares {n:,} members")
    data = read(start, length)
    entries, at = [], 0
    for _ in range(n):
        entry, at = _entry(data, at)
        entries.append(entry)
    if at != length:
        raise Malformed("there are bytes after the last entry of the directory")
    return entries, start


def _entry(data: bytes, at: int) -> tuple[_Entry, int]:
    if at + _CENTRAL.size > len(data):
        raise Malformed("the directory is cut off")
    (
        signature, _, version, flags, method, _, _, crc, packed, size, name_n, extra_n, comment_n, disk, _, _, offset,
    ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    at += _CENTRAL.size
    name, extra = data[at : at + name_n], data[at + name_n : at + name_n + extra_n]
    _check_plain(name, flags, method)
    if signature != 0x02014B50 or len(extra) != extra_n or comment_n or disk or version & 0xFF > _VERSION:
        raise Malformed("the directory is not one that numpy or fcnet writes")
    size, packed, offset = _wide(extra, [size, packed, offset])
    if packed != size:
        raise Malformed(f"member {_shown(name)} is compressed")
    return _Entry(name, flags, crc, size, offset), at + name_n + extra_n


def _check_plain(name: bytes, flags: int, method: int) -> None:
    if flags & 1:
        raise Malformed(f"member {_shown(name)} is encrypted")
    if method:
        raise Malformed(f"member {_shown(name)} is compressed; a checkpoint's members are stored as they are")
    if flags & ~_UTF8:
        raise Malformed(f"member {_shown(name)} has flags that neither numpy nor fcnet writes")


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """`values` with each one that reads 0xFFFFFFFF replaced from the extra field of 64-bit sizes.

    The field holds the values that are replaced, or, as Python before 3.11.4 writes it, all of them once more.
    """
    if not extra:
        return values
    at = [i for i, value in enumerate(values) if value == _WIDE]
    if len(extra) == 4 + 8 * len(values):
        at = list(range(len(values)))
    if len(extra) < 4 or struct.unpack_from("<HH", extra) != (1, len(extra) - 4) or len(extra) != 4 + 8 * len(at):
        raise Malformed("an extra field is not one that numpy or fcnet writes")
    found = dict(zip(at, struct.unpack_from(f"<{len(at)}Q", extra, 4), strict=True))
    if any(values[i] not in (_WIDE, number) for i, number in found.items()):
        raise Malformed("an extra field disagrees with the sizes beside it")
    return [found.get(i, value) for i, value in enumerate(values)]


def _local_end(read: Callable[[int, int], bytes], entry: _Entry, directory: int) -> int:
    """Where the member's data start; its local header must say what the directory says."""
    if entry.offset + _LOCAL.size > directory:
        raise Malformed(f"member {_shown(entry.name)} lies outside the file")
    fields = _LOCAL.unpack(read(entry.offset, _LOCAL.size))
    signature, _, flags, method, _, _, crc, packed, size, name_n, extra_n = fields
    start: int = entry.offset + _LOCAL.size + name_n + extra_n
    if start > directory:
        raise Malformed(f"member {_shown(entry.name)} lies outside the file")
    tail = read(entry.offset + _LOCAL.size, name_n + extra_n)
    size, packed = _wide(tail[name_n:], [size, packed])
    if (signature, tail[:name_n], flags, method) != (0x04034B50, entry.name, entry.flags, 0) or (
        (crc, size, packed) != (entry.crc, entry.size, entry.size)
    ):
        raise Malformed(f"the header of member {_shown(entry.name)} disagrees with the directory")
    return start


def _member(read: Callable[[int, int], bytes], entry: _Entry, start: int) -> Member:
    shown = _shown(entry.name)
    try:
        name = entry.name.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"the name {shown} is not UTF-8") from None
    if not name.endswith(".npy"):
        raise Malformed(f"member {shown} is no array")
    head = read(start, min(10, entry.size))
    if len(head) < 10 or not head.startswith(_MAGIC):
        raise Malformed(f"member {shown} is no array of the npy format, version 1.0")
    length = int.from_bytes(head[8:], "little")
    if 10 + length > entry.size:
        raise Malformed(f"member {shown} is cut off")
    match = _NPY_HEADER.fullmatch(read(start + 10, length))
    if match is None:
        raise Malformed(f"member {shown} holds no plain numbers (its npy header is not one for them)")
    descr, fortran, axes = match[1].decode(), match[2] == b"True", match[3].replace(b" ", b"")
    dtype = DTYPES.get(descr)
    if dtype is None:
        raise Malformed(f"member {shown} has the dtype {descr}; allowed are {', '.join(DTYPES)}")
    shape = tuple(int(axis) for axis in axes.split(b",") if axis)
    if len(shape) > _MOST_AXES:
        raise Malformed(f"member {shown} has {len(shape)} axes; at most {_MOST_AXES} are allowed")
    size = entry.size - 10 - length
    if math.prod(shape) * dtype.itemsize != size:
        raise Malformed(f"member {shown} declares the shape {shape} of {descr}, but holds {size:,} bytes")
    return Member(name.removesuffix(".npy"), dtype, shape, fortran, start + 10 + length, size)
