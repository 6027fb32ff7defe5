"""Checkpoints read back what was saved, by `np.load` alike, and nothing that was damaged or made up is believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcnet import npz
from fcnet.errors import CheckpointError, DivergedError, LimitError, StorageError
from fcnet.files import Folder
from fcnet.runs import checkpoint

PATH = Path("runs/x/best.npz")
CANARY = "canary_of_the_checkpoint_tests"


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "W1": rng.normal(size=(12, 8)).astype(np.float32),
        "b1": np.zeros(12, np.float32),
        "optimizer/m": rng.normal(size=108),
        "preprocess/mean": np.arange(8.0),
        "rows": np.arange(5),
    }


def saved(folder: Path, header: dict[str, Any] | None = None, stored: dict[str, Any] | None = None) -> bytes:
    with Folder(folder) as place:
        checkpoint.write(place, "a.npz", header or {}, arrays() if stored is None else stored)
    return (folder / "a.npz").read_bytes()


def sealed(body: bytes) -> bytes:
    """A file with the right SHA-256 as its comment, whatever it holds."""
    return body + sha256(body).hexdigest().encode()


def header_of(stored: dict[str, np.ndarray], **changes: Any) -> dict[str, Any]:
    members = [{"name": name, "shape": list(a.shape), "dtype": a.dtype.name} for name, a in stored.items()]
    return {"format": [1, 0], "created": "2025-01-01T00:00:00.000000Z", "members": members, **changes}


def crafted(
    header: Any, members: dict[str, Any], change: Callable[[bytearray], None] | None = None, **how: Any
) -> bytes:
    """A sealed npz made by Python's zipfile: `header` as JSON, bytes or array; members as arrays or as their bytes."""
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    if isinstance(header, bytes):
        header = np.frombuffer(header, np.uint8)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **how) as archive:
        for name, content in {**({} if header is None else {"header.npy": header}), **members}.items():
            data = content
            if isinstance(content, np.ndarray):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, content, allow_pickle=True)
                data = buffer.getvalue()
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=how.get("compression", 0))
        archive.comment = b"0" * 64
    body = bytearray(file.getvalue()[:-64])
    if change:
        change(body)
    return sealed(bytes(body))


def npy(descr: str, shape: str, data: bytes = b"", fortran: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npy_of(array: np.ndarray) -> bytes:
    return npy(repr(array.dtype.str), repr(array.shape), array.tobytes())


W = np.ones((2, 3), np.float32)
ONE = {"W1": W}


def test_what_was_saved_reads_back(tmp_path: Path) -> None:
    """Arrays and header read back equal; format, time and members are there; what is not finite in a header is null."""
    saved(tmp_path, {"step": 7, "metrics": {"val_loss": float("nan")}, "classes": ["ä", 1, 2.5]})

    found = checkpoint.read(tmp_path / "a.npz")

    assert found.header["format"] == [1, 0]
    assert found.header["step"] == 7
    assert found.header["metrics"] == {"val_loss": None}
    assert found.header["classes"] == ["ä", 1, 2.5]
    assert list(found.arrays) == list(arrays())
    for name, array in arrays().items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)
    assert checkpoint.peek(tmp_path / "a.npz") == found.header


def test_numpy_reads_a_checkpoint_alone(tmp_path: Path) -> None:
    """`np.load(path, allow_pickle=False)` reads every array, and the header as JSON; zipfile finds nothing amiss."""
    saved(tmp_path, {"name": "größe"}, {**arrays(), "größe": W})

    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        header = json.loads(bytes(stored["header"]).decode("utf-8"))
        assert header["name"] == "größe"
        assert {"header", *(entry["name"] for entry in header["members"])} == set(stored)
        for name, array in {**arrays(), "größe": W}.items():
            np.testing.assert_array_equal(stored[name], array, strict=True)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_comment_is_the_hash_of_all_bytes_before_it(tmp_path: Path) -> None:
    """The zip's comment is the SHA-256, in lower-case digits, of all before it, the comment's length included."""
    data = saved(tmp_path)

    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.comment == data[-64:] == sha256(data[:-64]).hexdigest().encode()
    assert data[-66:-64] == b"\x40\x00"


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """The same header and arrays give the same file, whenever they are saved."""
    same = {"created": "2025-01-01T00:00:00.000000Z"}

    assert saved(tmp_path, same) == saved(tmp_path, same)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
            lambda name: name != "header"
        ),
        st.sampled_from(["float32", "float64", "int32", "int64", "uint64", "uint8", "bool"]).flatmap(
            lambda dtype: hnp.arrays(
                dtype,
                hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
                elements={"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else None,
            )
        ),
        max_size=4,
    )
)
def test_any_arrays_read_back(stored: dict[str, np.ndarray]) -> None:
    """Arrays of every dtype and shape that a checkpoint takes read back equal, by fcnet and by NumPy."""
    body, size = b"", 0
    members = {"header": np.frombuffer(json.dumps(header_of(stored)).encode(), np.uint8), **stored}
    size, chunks = npz.chunks({name: np.asarray(array, order="C") for name, array in members.items()})
    body = b"".join(bytes(chunk) for chunk in chunks)
    data = sealed(body)

    found = checkpoint.parse(data, PATH).arrays

    assert size == len(data)
    assert found.keys() == stored.keys()
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        for name, array in stored.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
            np.testing.assert_array_equal(loaded[name], array, strict=True)


def test_data_of_every_member_start_on_64_bytes(tmp_path: Path) -> None:
    """Each array's data start at a multiple of 64 bytes of the file, where a memory map of them is aligned."""
    data = saved(tmp_path)

    members = npz.index(lambda offset, n: data[offset : offset + n], len(data))

    assert [member.offset % 64 for member in members] == [0] * 6


def saved_by_numpy(stored: dict[str, Any], size: Callable[[int], int]) -> bytes:
    """A checkpoint by `np.savez`, with `size` of a member's true size in its local header."""
    file = io.BytesIO()
    header = header_of({name: np.asarray(a) for name, a in stored.items()}, later="unknown keys are ignored")
    np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **stored)
    body = bytearray(file.getvalue()[:-2] + b"\x40\x00")
    for member in zipfile.ZipFile(file).infolist():
        struct.pack_into("<II", body, member.header_offset + 18, *[size(member.file_size)] * 2)
    return sealed(bytes(body))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(lambda size: 0xFFFFFFFF, id="in-the-extra-field"),
        pytest.param(lambda size: size, id="in-both-as-python-3.11.3"),
    ],
)
def test_a_checkpoint_that_numpy_wrote_is_read(size: Callable[[int], int]) -> None:
    """A checkpoint put together by `np.savez`, header and hash as documented, is read, arrays in Fortran order too."""
    stored = {"W1": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b1": np.float32(2.0)}

    found = checkpoint.parse(saved_by_numpy(stored, size), PATH)

    np.testing.assert_array_equal(found.arrays["W1"], stored["W1"], strict=True)
    assert found.arrays["b1"] == 2


def test_sizes_that_stand_twice_have_to_agree() -> None:
    """A member whose local header gives one size in its own field and another in the extra field is refused."""
    with pytest.raises(CheckpointError, match="disagrees with the sizes beside it"):
        checkpoint.parse(saved_by_numpy({"W1": W}, lambda size: size + 1), PATH)


def test_minor_versions_are_read_and_unknown_keys_ignored() -> None:
    """A later minor version is read, and keys that this version does not know are left alone."""
    found = checkpoint.parse(crafted(header_of(ONE, format=[1, 7], new={"a": 1}), {"W1.npy": W}), PATH)

    assert found.header["new"] == {"a": 1}


@pytest.mark.parametrize(
    ("version", "words"),
    [([2, 0], "written by fcnet 2.x"), ([0, 9], "written by fcnet 0.x"), ([99, 1], "a newer fcnet")],
)
def test_other_major_versions_are_named(version: list[int], words: str) -> None:
    """A checkpoint of another major version is refused with that version and what to use instead."""
    with pytest.raises(CheckpointError, match=words):
        checkpoint.parse(crafted(header_of(ONE, format=version), {"W1.npy": W}), PATH)


def test_k2_every_truncation_is_refused(tmp_path: Path) -> None:
    """A checkpoint cut at any length is refused, also through a file; none is accepted."""
    data = saved(tmp_path)
    accepted = 0
    for size in range(len(data)):
        try:
            checkpoint.parse(data[:size], PATH)
            accepted += 1
        except CheckpointError:
            pass
    for size in (0, 1, 63, 64, 65, len(data) // 2, len(data) - 65, len(data) - 64, len(data) - 1):
        (tmp_path / "cut.npz").write_bytes(data[:size])
        for read in (checkpoint.read, checkpoint.peek):
            with pytest.raises(CheckpointError):
                read(tmp_path / "cut.npz")

    assert accepted == 0


WHAT_NUMPY_RAISES = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
)


def flips_accepted(data: bytes, read: Callable[[bytearray], Any], step: int = 1) -> int:
    """How many of the single-bit flips of `data` the reader accepts, every `step`-th tried."""
    changed = bytearray(data)
    accepted = 0
    for bit in range(0, 8 * len(data), step):
        changed[bit // 8] ^= 1 << bit % 8
        try:
            read(changed)
            accepted += 1
        except (CheckpointError, *WHAT_NUMPY_RAISES):
            pass
        changed[bit // 8] ^= 1 << bit % 8
    return accepted


def test_k3_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    """A checkpoint of about 10 KB with any single bit flipped is refused: 80,000 flips, none accepted."""
    data = saved(tmp_path, stored={**arrays(), "W2": np.ones((32, 48), np.float32)})

    assert 9_000 < len(data) < 12_000
    assert flips_accepted(data, lambda changed: checkpoint.parse(changed, PATH)) == 0


def test_the_damage_harness_sees_a_reader_that_trusts_the_crc_fail(tmp_path: Path) -> None:
    """The harness of flipped bits finds that a reader which relies on the zip's checksums accepts some."""

    def trusting(data: bytearray) -> None:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            for name in arrays():
                stored[name]

    assert flips_accepted(saved(tmp_path), trusting, step=11) > 0


def repeated(entry: bytes, times: int) -> Callable[[bytearray], None]:
    def change(body: bytearray) -> None:
        at = body.index(entry)
        body[at : at + len(entry)] = entry * times

    return change


def swapped(old: bytes, new: bytes, count: int = -1) -> Callable[[bytearray], None]:
    def change(body: bytearray) -> None:
        assert old in body
        body[:] = bytes(body).replace(old, new, count)

    return change


def gap(body: bytearray) -> None:
    """Ten bytes between the last member and the directory, with the end record corrected."""
    start = struct.unpack_from("<I", body, len(body) - 6)[0]
    body[start:start] = b"\0" * 10
    struct.pack_into("<I", body, len(body) - 6, start + 10)


def prefix(body: bytearray) -> None:
    body[:0] = b"#!/bin/sh\n"


def overlapping(body: bytearray) -> None:
    """The directory's second entry points to the first member."""
    second = bytes(body).rindex(b"PK\x01\x02")
    struct.pack_into("<I", body, second + 42, 0)


def huge_size(body: bytearray) -> None:
    """The directory declares 4 GB less one byte for the second member."""
    second = bytes(body).rindex(b"PK\x01\x02")
    struct.pack_into("<II", body, second + 20, 0xFFFFFFFE, 0xFFFFFFFE)


def local_name(body: bytearray) -> None:
    """The name in the member's own header is not the one in the directory."""
    at = bytes(body).index(b"W1.npy")
    body[at : at + 2] = b"X9"


def many_members(body: bytearray) -> None:
    struct.pack_into("<HH", body, len(body) - 14, 0xFFFE, 0xFFFE)


def encrypted(body: bytearray) -> None:
    at = bytes(body).rindex(b"PK\x01\x02")
    body[at + 8] |= 1


def method_99(body: bytearray) -> None:
    at = bytes(body).rindex(b"PK\x01\x02")
    struct.pack_into("<H", body, at + 10, 99)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (CANARY,)


OBJECTS = np.array([Payload()], dtype=object)
NAN, INFINITE = W.copy(), W.copy()
NAN[1, 2], INFINITE[0, 0] = np.nan, -np.inf
DEEP = "[" * 100 + "]" * 100
VERY_DEEP = "[" * 100_000 + "]" * 100_000


def with_text(text: str) -> str:
    """A good header with the key `extra` as raw text."""
    return json.dumps(header_of(ONE))[:-1] + f', "extra": {text}}}'


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "K4-nan": (lambda: crafted(header_of(ONE), {"W1.npy": NAN}), "W1 holds numbers that are not finite"),
    "K4-infinite": (lambda: crafted(header_of(ONE), {"W1.npy": INFINITE}), "W1 holds numbers that are not finite"),
    "K5-shape": (
        lambda: crafted(header_of(ONE), {"W1.npy": W.T.copy()}),
        r"\(3, 2\), where its header says .* \(2, 3\)",
    ),
    "K5-dtype": (lambda: crafted(header_of(ONE), {"W1.npy": W.astype(float)}), "W1 is float64 .* says float32"),
    "K6-missing": (lambda: crafted(header_of({"W1": W, "b1": W}), {"W1.npy": W}), "missing: b1"),
    "K6-extra": (lambda: crafted(header_of(ONE), {"W1.npy": W, "b1.npy": W}), "not expected: b1"),
    "K6-no-header": (lambda: crafted(None, {"W1.npy": W}), "no header"),
    "K6-list-missing": (
        lambda: crafted({**header_of(ONE), "members": None}, {"W1.npy": W}),
        "does not list its members",
    ),
    "K6-list-wrong": (
        lambda: crafted(header_of(ONE, members=[{"name": 1}]), {"W1.npy": W}),
        "does not list its members",
    ),
    "K6-list-twice": (lambda: crafted(header_of(ONE, members=header_of(ONE)["members"] * 2), {"W1.npy": W}), "twice"),
    "K6-lists-header": (lambda: crafted(header_of({"header": W}), {}), "twice"),
    "K7-no-format": (lambda: crafted(header_of(ONE, format=None), {"W1.npy": W}), "does not say its format"),
    "K7-bad-format": (lambda: crafted(header_of(ONE, format=[True, 0]), {"W1.npy": W}), "does not say its format"),
    "K7-no-time": (lambda: crafted(header_of(ONE, created="soon"), {"W1.npy": W}), "when it was created"),
    "K7-end-of-time": (lambda: crafted(header_of(ONE, created="9999-12-31T23:59:59Z"), {"W1.npy": W}), "when it was"),
    "K9-nested": (lambda: crafted(with_text(DEEP), {"W1.npy": W}), "nested deeper than 32"),
    "K9-nested-100000": (lambda: crafted(with_text(VERY_DEEP), {"W1.npy": W}), "nested deeper than 32"),
    "K9-duplicate-key": (lambda: crafted(with_text('{"a": 1, "a": 2}'), {"W1.npy": W}), "the key 'a' stands twice"),
    "K9-nan": (lambda: crafted(with_text("NaN"), {"W1.npy": W}), "NaN is no JSON number"),
    "K9-infinity": (lambda: crafted(with_text("-Infinity"), {"W1.npy": W}), "-Infinity is no JSON number"),
    "K9-overflow": (lambda: crafted(with_text("1e999"), {"W1.npy": W}), "too large a number"),
    "K9-long-integer": (lambda: crafted(with_text("1" * 10_000), {"W1.npy": W}), "its header cannot be read"),
    "K9-surrogate": (lambda: crafted(with_text('"\\ud800"'), {"W1.npy": W}), "its header cannot be read"),
    "K9-not-utf8": (lambda: crafted(b'{"a": "\xff"}', {"W1.npy": W}), "its header cannot be read"),
    "K9-not-json": (lambda: crafted(b"{", {"W1.npy": W}), "its header cannot be read"),
    "K9-not-an-object": (lambda: crafted(b"[]", {"W1.npy": W}), "not an object"),
    "K9-empty": (lambda: crafted(b"", {"W1.npy": W}), "its header cannot be read"),
    "K9-floats": (lambda: crafted(np.ones(3), {"W1.npy": W}), "its header is no text"),
    "K9-matrix": (lambda: crafted(np.ones((2, 2), np.uint8), {"W1.npy": W}), "its header is no text"),
    "K9-large": (lambda: crafted(b" " * (17 << 20), {"W1.npy": W}), "its header has 17,825,"),
    "K9-many-values": (
        lambda: crafted(b"[" + b"[]," * 1_000_000 + b"[]]", {"W1.npy": W}),
        "more than 1,000,000 values",
    ),
    "K15-objects": (lambda: crafted(header_of({"W1": OBJECTS}), {"W1.npy": OBJECTS}), "no plain numbers"),
    "K15-pickle": (lambda: crafted(header_of(ONE), {"W1.npy": pickle.dumps(Payload())}), "no array of the npy format"),
    "K15-pickled-header": (lambda: crafted(OBJECTS, {"W1.npy": W}), "no plain numbers"),
    "structured": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy("[('a', '|O')]", "(1,)", b"x" * 8)}),
        "no plain numbers",
    ),
    "big-endian": (lambda: crafted(header_of(ONE), {"W1.npy": W.astype(">f4")}), "no plain numbers"),
    "float16": (lambda: crafted(header_of(ONE), {"W1.npy": W.astype(np.float16)}), "no plain numbers"),
    "int8": (lambda: crafted(header_of(ONE), {"W1.npy": W.astype(np.int8)}), "the dtype |i1"),
    "bad-boolean": (
        lambda: crafted(header_of({"m": np.ones(2, bool)}), {"m.npy": npy("'|b1'", "(2,)", b"\x01\x02")}),
        "m holds numbers that are not finite",
    ),
    "shape-bomb": (lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f4'", "(40000000,)")}), "but holds 0 bytes"),
    "shape-of-512-GiB": (lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f8'", f"({2**36},)")}), "but holds 0 bytes"),
    "shape-overflow": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f8'", f"({2**32}, {2**32})", b"")}),
        "but holds 0 bytes",
    ),
    "shape-negative": (lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f4'", "(-1,)", b"1234")}), "no plain numbers"),
    "shape-boolean": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f4'", "(True,)", b"1234")}),
        "no plain numbers",
    ),
    "shape-of-65-axes": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy("'<f4'", "(" + "1, " * 65 + ")", b"1234")}),
        "65 axes",
    ),
    "npy-version-2": (
        lambda: crafted(header_of(ONE), {"W1.npy": b"\x93NUMPY\x02\x00" + npy_of(W)[8:]}),
        "npy format, version 1.0",
    ),
    "npy-header-beyond": (
        lambda: crafted(header_of(ONE), {"W1.npy": b"\x93NUMPY\x01\x00\xff\xff{"}),
        "is cut off",
    ),
    "npy-empty": (lambda: crafted(header_of(ONE), {"W1.npy": b""}), "no array of the npy format"),
    "npy-code": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy(f"__import__('os').mkdir('{CANARY}')", "(1,)", b"1234")}),
        "no plain numbers",
    ),
    "bytes-after-the-array": (
        lambda: crafted(header_of(ONE), {"W1.npy": npy_of(W) + b"x" * 100}),
        "but holds 124 bytes",
    ),
    "not-an-array": (lambda: crafted(header_of(ONE), {"W1.npy": W, "notes.txt": b"hello"}), "is no array"),
    "folder-entry": (lambda: crafted(header_of(ONE), {"W1.npy": W, "sub/": b""}), "is no array"),
    "outside-name": (lambda: crafted(header_of(ONE), {"W1.npy": W, "../../x.npy": W}), "not expected: ../../x"),
    "deflated": (
        lambda: crafted(header_of(ONE), {"W1.npy": W}, compression=zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "lzma": (lambda: crafted(header_of(ONE), {"W1.npy": W}, compression=zipfile.ZIP_LZMA), "compressed"),
    "method-99": (lambda: crafted(header_of(ONE), {"W1.npy": W}, method_99), "compressed"),
    "encrypted": (lambda: crafted(header_of(ONE), {"W1.npy": W}, encrypted), "encrypted"),
    "gap": (lambda: crafted(header_of(ONE), {"W1.npy": W}, gap), "belong to no member"),
    "prefix": (lambda: crafted(header_of(ONE), {"W1.npy": W}, prefix), "disagree"),
    "overlap": (lambda: crafted(header_of(ONE), {"W1.npy": W}, overlapping), "belong to no member, or to two"),
    "huge-size": (lambda: crafted(header_of(ONE), {"W1.npy": W}, huge_size), "disagrees|longer"),
    "many-members": (lambda: crafted(header_of(ONE), {"W1.npy": W}, many_members), "declares 65,534 members"),
    "two-names": (lambda: crafted(header_of(ONE), {"W1.npy": W}, local_name), "disagrees with the directory"),
    "same-name-twice": (
        lambda: crafted(header_of({"W1": W, "W2": W}), {"W1.npy": W, "W2.npy": W}, swapped(b"W2.npy", b"W1.npy")),
        "the same name",
    ),
    "bytes-after": (
        lambda: sealed(crafted(header_of(ONE), {"W1.npy": W})[:-64] + b"junk"),
        "does not end with the comment",
    ),
    "only-a-seal": (lambda: sealed(b""), "too short"),
    "text": (lambda: sealed(b"hello, this is no zip file at all, just text"), "does not end with the comment"),
    "name-not-utf8": (
        lambda: crafted(header_of(ONE), {"W1.npy": W, "x1.npy": W}, swapped(b"x1.npy", b"\xff1.npy")),
        "not UTF-8",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_made_up_checkpoint_is_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint with a right hash but hostile content is exit 5 with its reason, runs nothing, allocates little."""
    monkeypatch.chdir(tmp_path)
    make, reason = HOSTILE[case]
    data = make()

    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=reason) as caught:
            checkpoint.parse(data, PATH)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert str(caught.value).startswith(f"{PATH}: ")
    assert len(str(caught.value)) < 400
    assert peak < 3 * len(data) + 2_000_000
    assert os.listdir(tmp_path) == []


def test_the_control_of_the_made_up_checkpoints_is_read() -> None:
    """What the made-up checkpoints were made from is accepted: they fail for what was done to them."""
    assert checkpoint.parse(crafted(header_of(ONE), {"W1.npy": W}), PATH).arrays.keys() == {"W1"}


@pytest.mark.long
def test_x10_richest_header_stays_in_bounds() -> None:
    """The header that costs most within the bounds is parsed with less than 200 MB."""
    text = b"[" + b'{"a":1},' * 490_000 + b"0]"
    data = crafted(with_text(text.decode()), {"W1.npy": W})

    tracemalloc.start()
    try:
        checkpoint.parse(data, PATH)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 200 << 20


@pytest.mark.parametrize(
    "kind", ["empty", "one-byte", "folder", "pipe", "device", "dangling", "loop", "missing", "below-a-file"]
)
def test_k1_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    """Empty files, folders, pipes, devices and links that lead nowhere are exit 5 and never waited for."""
    path = tmp_path / "x.npz"
    match kind:
        case "empty":
            path.touch()
        case "one-byte":
            path.write_bytes(b"P")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling":
            path.symlink_to(tmp_path / "nowhere")
        case "loop":
            path.symlink_to(path)
        case "below-a-file":
            (tmp_path / "file").touch()
            path = tmp_path / "file" / "x.npz"

    for read in (checkpoint.read, checkpoint.peek):
        with pytest.raises(CheckpointError, match=r"x\.npz: "):
            read(path)


@pytest.mark.parametrize(
    "content", [b"hello\n" * 100, pickle.dumps([1] * 100), b"\x89PNG" * 50, b"PK\x03\x04" + b"\0" * 500]
)
def test_k15_other_files_are_not_checkpoints(tmp_path: Path, content: bytes) -> None:
    """A file of another kind under the name of a checkpoint is exit 5, and the message suggests nothing unsafe."""
    (tmp_path / "x.npz").write_bytes(content)

    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(tmp_path / "x.npz")
    assert "pickle" not in str(caught.value)


def test_plain_npz_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    """An npz of data, without the digits of a checkpoint, is refused as such."""
    np.savez(tmp_path / "x.npz", a=np.ones(3))

    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.read(tmp_path / "x.npz")


def test_k9_file_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A file larger than the machine's memory that ends like a checkpoint is exit 9, at once."""
    with open(tmp_path / "x.npz", "wb") as file:
        file.seek(1 << 43)
        file.write(b"0" * 64)

    with pytest.raises(LimitError, match="memory"):
        checkpoint.read(tmp_path / "x.npz")


def test_checkpoint_that_shrinks_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes shorter between the look at its size and the reading is exit 5."""
    saved(tmp_path)
    real = checkpoint._size
    monkeypatch.setattr(checkpoint, "_size", lambda path, file: real(path, file) + 100)

    with pytest.raises(CheckpointError, match="shorter"):
        checkpoint.read(tmp_path / "a.npz")


def test_failing_disk_while_reading_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails while a checkpoint is read is exit 6, not a wrong checkpoint."""
    saved(tmp_path)

    class Failing(io.FileIO):
        def readinto(self, buffer: Any, /) -> int:
            raise OSError(5, "no")

    monkeypatch.setattr(checkpoint, "_open", Failing)
    with pytest.raises(StorageError, match="disk failed"):
        checkpoint.read(tmp_path / "a.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_m6_numbers_that_are_not_finite_never_reach_a_checkpoint(tmp_path: Path, value: float) -> None:
    """Saving an array with a number that is not finite is exit 8, names it, and leaves the old checkpoint."""
    before = saved(tmp_path)
    bad = arrays()
    bad["optimizer/m"][107] = value

    with pytest.raises(DivergedError, match="optimizer/m"):
        saved(tmp_path, stored=bad)
    assert (tmp_path / "a.npz").read_bytes() == before


def test_header_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    """A header beyond the reader's bounds is exit 9 when it is saved, not exit 5 when it is needed."""
    with pytest.raises(LimitError, match=r"data\.exclude"):
        saved(tmp_path, {"classes": ["x" * 1000] * 20_000})
    assert not os.listdir(tmp_path)


def test_times_of_two_checkpoints_sort_like_their_texts(tmp_path: Path) -> None:
    """`created` is ISO 8601 in UTC with microseconds."""
    saved(tmp_path)
    first = checkpoint.peek(tmp_path / "a.npz")
    time.sleep(0.001)
    saved(tmp_path)
    second = checkpoint.peek(tmp_path / "a.npz")

    assert first["created"] < second["created"]
    assert checkpoint.created(first) < checkpoint.created(second)
    assert first["created"].endswith("Z")
    assert len(first["created"]) == 27


def mutated(data: bytes, seed: int) -> bytes:
    """A checkpoint with a few bytes changed, cut, doubled or moved, and its hash mended to reach the inner checks."""
    rng = random.Random(seed)
    body = bytearray(data[:-64])
    for _ in range(rng.randint(1, 4)):
        at, n = rng.randrange(len(body)), rng.randint(1, 40)
        match rng.randrange(6):
            case 0:
                body[at] ^= 1 << rng.randrange(8)
            case 1:
                body[at : at + n] = rng.randbytes(n)
            case 2:
                del body[at : at + n]
            case 3:
                body[at:at] = body[at : at + n]
            case 4:
                body[at : at + 4] = struct.pack(
                    "<I", rng.choice([0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, zlib.crc32(b"")])
                )
            case 5:
                other = rng.randrange(len(body))
                body[at : at + n] = body[other : other + n]
    return sealed(bytes(body))


def fuzz(data: bytes, seeds: range) -> int:
    """How many mutants of `data` are accepted; anything but a typed error ends the test."""
    accepted = 0
    for seed in seeds:
        try:
            checkpoint.parse(mutated(data, seed), PATH)
            accepted += 1
        except CheckpointError:
            pass
    return accepted


def test_mutants_with_the_right_hash_give_typed_errors(tmp_path: Path) -> None:
    """Mutated checkpoints whose hash was mended are exit 5 or readable, and never anything else."""
    accepted = fuzz(saved(tmp_path), range(3_000))

    assert 0 < accepted < 2_000, "some mutants must reach the innermost checks"


@pytest.mark.long
def test_twenty_thousand_mutants_give_typed_errors(tmp_path: Path) -> None:
    """The same with 20,000 mutants."""
    assert fuzz(saved(tmp_path), range(20_000)) < 15_000


@pytest.mark.long
@settings(max_examples=20_000, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_give_typed_errors(body: bytes) -> None:
    """Random bytes with a right hash are exit 5."""
    with pytest.raises(CheckpointError):
        checkpoint.parse(sealed(body), PATH)
