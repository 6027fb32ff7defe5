"""A checkpoint: a JSON header and arrays in one npz, written whole, sealed with its SHA-256, read with suspicion."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fcnet import npz
from fcnet.errors import CheckpointError, DivergedError, LimitError
from fcnet.files import Buffer, Folder, json_text, open_plain, reason, storage_error
from fcnet.random import Array
from fcnet.records import dataclass

FORMAT = (1, 0)
"""Major and minor version of the format. A reader takes every minor version of its major one."""

Header = dict[str, Any]

_MOST_HEADER = 16 << 20  # bytes; with the bound on values it keeps the parsed header under 200 MB
_MOST_VALUES = 1_000_000
_MOST_DEPTH = 32
_BLOCK = 1 << 20
_FAILURES = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. The arrays are read-only views of the file's bytes; `path` is where it was read."""

    header: Header
    arrays: dict[str, Array]
    path: Path


def write(folder: Folder, name: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Save a checkpoint as the file `name` of `folder`: whole, durable, verified, or not at all.

    `format` and `members` are added to the header, and `created` (the time now) where it lacks one. Raises
    DivergedError for an array that is not finite, LimitError for a header beyond what a reader takes, StorageError.
    """
    size, chunks = _packed(header, arrays, str(folder.path / name))
    folder.write(name, chunks, needed=size, seal=True)


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The same as bytes in memory; raises as `write` does."""
    data = b"".join(_packed(header, arrays, "checkpoint")[1])
    return data + hashlib.sha256(data).hexdigest().encode()


def _packed(header: Mapping[str, Any], arrays: Mapping[str, Array], file: str) -> tuple[int, Iterable[Buffer]]:
    """The size in bytes and the contents of a checkpoint, all but its seal."""
    stored = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    for key, array in stored.items():
        if not _finite(array):
            raise DivergedError(f"{key} holds numbers that are not finite; nothing is saved", file=file)
    whole = {
        "format": list(FORMAT),
        "created": timestamp(datetime.now(UTC)),
        **header,
        "members": [{"name": key, "shape": list(a.shape), "dtype": a.dtype.name} for key, a in stored.items()],
    }
    text = json_text(whole).encode()
    if len(text) > _MOST_HEADER or _values(text) > _MOST_VALUES:
        raise LimitError(
            f"the header would have {len(text):,} bytes, more than a checkpoint takes; are there columns with very "
            "many categories that data.exclude could leave out?",
            file=file,
        )
    return npz.chunks({"header": np.frombuffer(text, dtype=np.uint8), **stored})


def read(path: Path) -> Checkpoint:
    """Read and check a checkpoint; CheckpointError says what is wrong with it.

    In this order: a regular file that ends like a checkpoint; the SHA-256 of all its bytes; the container; the header;
    the members that the header lists, with shape and dtype, and no others; finite numbers. Never more memory than the
    file's own size is asked for, but for the header.
    """
    with _open(path) as file:
        size = _size(path, file)
        try:
            data = np.empty(size, dtype=np.uint8)
        except (MemoryError, ValueError):
            raise _too_large(path, size) from None
        view = data.data
        done = 0
        while done < size:
            try:
                n = file.readinto(view[done : done + _BLOCK])  # type: ignore[attr-defined]  # a raw file has it
            except OSError as error:
                raise storage_error(path, error) from error
            if not n:
                raise CheckpointError("it became shorter while it was read", file=str(path))
            done += n
    data.flags.writeable = False
    return parse(data.data, path)


def parse(data: Buffer, path: Path) -> Checkpoint:
    """The checkpoint in `data`, all bytes of the file `path`, with every check that `read` names."""
    data = memoryview(data)
    if len(data) < npz.COMMENT:
        raise CheckpointError("it is empty or too short for a checkpoint; it is incomplete", file=str(path))
    body, seal = data[: -npz.COMMENT], bytes(data[-npz.COMMENT :])
    if not _is_seal(seal):
        raise _unsealed(path, bytes(data[:8]))
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise CheckpointError(
            "it is damaged: its bytes do not have the SHA-256 that stands at its end; use another copy", file=str(path)
        )
    try:
        members = npz.index(lambda offset, n: bytes(data[offset : offset + n]), len(data))
    except npz.Malformed as error:
        raise CheckpointError(str(error), file=str(path)) from None
    by_name = {member.name: member for member in members}
    header = _header(by_name, lambda m: bytes(data[m.offset : m.offset + m.size]), path)
    listed = _listed(header, path)
    _compare(listed, by_name, path)
    arrays = {name: by_name[name].array(data) for name in listed}
    for name, array in arrays.items():
        if not _finite(array):
            raise CheckpointError(f"{name} holds numbers that are not finite", file=str(path))
    return Checkpoint(header, arrays, path)


def peek(path: Path) -> Header:
    """The header alone, for looking through many runs; nothing vouches for it until `read` has checked the file."""
    with _open(path) as file:
        size = _size(path, file)

        def part(offset: int, n: int) -> bytes:
            file.seek(offset)
            return file.read(n)

        try:
            members = {member.name: member for member in npz.index(part, size)}
            return _header(members, lambda member: part(member.offset, member.size), path)
        except npz.Malformed as error:
            raise CheckpointError(str(error), file=str(path)) from None
        except OSError as error:
            raise storage_error(path, error) from error


def created(header: Header) -> datetime:
    """When the checkpoint was written, as it says itself. ValueError where it says nothing sensible."""
    moment = datetime.fromisoformat(str(header.get("created"))).astimezone(UTC)
    if moment.year >= 9000:
        raise ValueError("no time is left after it")
    return moment


def timestamp(moment: datetime) -> str:
    """An instant as ISO 8601 in UTC with microseconds, so that the texts of two checkpoints sort like their times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _open(path: Path) -> BinaryIO:
    try:
        return open_plain(path)
    except FileNotFoundError:
        text = "it is a link that leads nowhere" if path.is_symlink() else "there is no such checkpoint"
        raise CheckpointError(text, file=str(path)) from None
    except PermissionError as error:
        raise storage_error(path, error) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.errno in _FAILURES:
            raise storage_error(path, error) from error
        raise CheckpointError(reason(error) if isinstance(error, OSError) else str(error), file=str(path)) from None


def _size(path: Path, file: BinaryIO) -> int:
    """The size of a file that ends like a checkpoint: a look at its end spares reading what is none."""
    try:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        file.seek(max(0, size - npz.COMMENT))
        last = file.read(npz.COMMENT)
        file.seek(0)
    except OSError as error:
        raise storage_error(path, error) from error
    if size < npz.COMMENT:
        raise CheckpointError(f"it has {size} bytes: it is empty or incomplete", file=str(path))
    if not _is_seal(last):
        raise _unsealed(path, first)
    if hasattr(os, "sysconf") and size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise _too_large(path, size)
    return size


def _too_large(path: Path, size: int) -> LimitError:
    return LimitError(f"it has {size:,} bytes, more than the memory there is", file=str(path))


def _is_seal(text: bytes) -> bool:
    return len(text) == npz.COMMENT and not text.translate(None, b"0123456789abcdef")


def _unsealed(path: Path, first: bytes) -> CheckpointError:
    if first.startswith(b"PK\x03\x04"):
        text = (
            "it is incomplete, or an npz that is no checkpoint: it lacks the 64 digits at the end of every checkpoint"
        )
    else:
        text = "it is not a checkpoint (a checkpoint is an .npz file that fcnet train wrote)"
    return CheckpointError(text, file=str(path))


def _header(members: Mapping[str, npz.ArrayEntry], bytes_of: Any, path: Path) -> Header:
    member = members.get("header")
    if member is None:
        raise CheckpointError("it has no header: it is an npz, but no checkpoint", file=str(path))
    if member.dtype != np.uint8 or len(member.shape) != 1:
        raise CheckpointError("its header is no text", file=str(path))
    if member.size > _MOST_HEADER:
        raise CheckpointError(
            f"its header has {member.size:,} bytes; at most {_MOST_HEADER:,} are read", file=str(path)
        )
    try:
        header = _strict_json(bytes_of(member))
    except RecursionError:
        raise CheckpointError(f"its header is nested deeper than {_MOST_DEPTH}", file=str(path)) from None
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"its header cannot be read: {error}", file=str(path)) from None
    version = header.get("format")
    if not (isinstance(version, list) and len(version) == 2 and all(type(v) is int and v >= 0 for v in version)):
        raise CheckpointError("its header does not say its format as [major, minor]", file=str(path))
    if version[0] != FORMAT[0]:
        which = "a newer fcnet" if version[0] > FORMAT[0] else "the fcnet that wrote it"
        raise CheckpointError(
            f"written by fcnet {version[0]}.x (format {version[0]}.{version[1]}); this fcnet reads format "
            f"{FORMAT[0]}.x: use {which}",
            file=str(path),
        )
    try:
        created(header)
    except (ValueError, OverflowError):
        raise CheckpointError("its header does not say when it was created", file=str(path)) from None
    return header


def _values(text: bytes) -> int:
    """About how many values the JSON `text` holds: what parsing it costs in memory."""
    return sum(map(text.count, (b",", b"[", b"{")))


def _strict_json(text: bytes) -> Header:
    """A JSON object of finite numbers, well-formed texts and unique keys, not nested deeper than allowed."""
    if _values(text) > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES:,} values")
    value = json.loads(
        text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite_float
    )
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    level: list[Any] = [value]
    depth = 0
    while level:  # breadth first, so that no nesting can exhaust the stack
        depth += 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {_MOST_DEPTH}")
        level = [item for node in level for item in _children(node)]
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate is an error here, not when it is printed
    return value


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _listed(header: Header, path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The members that the header lists: name → (dtype, shape)."""
    listed = {}
    members = header.get("members")
    for entry in members if isinstance(members, list) else [None]:
        match entry:
            case {"name": str(name), "dtype": str(dtype), "shape": list(shape)} if all(type(n) is int for n in shape):
                listed[name] = (dtype, tuple(shape))
            case _:
                raise CheckpointError("its header does not list its members with shape and dtype", file=str(path))
    if len(listed) != len(members or ()) or "header" in listed:
        raise CheckpointError("its header lists a member twice", file=str(path))
    return listed


def _compare(
    listed: Mapping[str, tuple[str, tuple[int, ...]]], members: Mapping[str, npz.ArrayEntry], path: Path
) -> None:
    missing = [name for name in listed if name not in members]
    extra = [name for name in members if name not in listed and name != "header"]
    if missing or extra:
        parts = [f"{what}: {_some(names)}" for what, names in (("missing", missing), ("not expected", extra)) if names]
        raise CheckpointError(f"its members are not those that its header lists; {'; '.join(parts)}", file=str(path))
    for name, (dtype, shape) in listed.items():
        member = members[name]
        if (member.dtype.name, member.shape) != (dtype, shape):
            raise CheckpointError(
                f"{name} is {member.dtype.name} {member.shape}, where its header says {dtype} {shape}", file=str(path)
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _finite(array: Array) -> bool:
    """Whether all floats are finite and all booleans 0 or 1, looked at by blocks so that no second array is made."""
    flat = array.reshape(-1, order="A")
    if array.dtype.kind == "b":
        return bool((flat.view(np.uint8) <= 1).all())
    if array.dtype.kind != "f":
        return True
    return all(bool(np.isfinite(flat[at : at + _BLOCK]).all()) for at in range(0, flat.size, _BLOCK))
