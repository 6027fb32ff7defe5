"""What the reader of NPZ data takes, and how it refuses the rest."""

from __future__ import annotations

import io
import pickle
import re
import resource
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcnet.data.encodings.none import Plain
from fcnet.errors import DataError, FcnetError, LimitError

X = np.arange(60.0).reshape(20, 3)
Y = np.arange(20) % 2


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def packed(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=True)
    return out.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    """An npy with a header of our own."""
    raw = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body


def shaped(shape: str, descr: str = "'<f8'", body: bytes = b"\0" * 160) -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", body)


def refused(folder: Any, content: bytes, kind: type[FcnetError] = DataError, **options: Any) -> str:
    with pytest.raises(kind) as error:
        folder.load(content, "t.npz", target=None, **options)
    assert error.value.exit_code == (9 if kind is LimitError else 4)
    assert "t.npz" in str(error.value)
    assert "allow_pickle" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(npz(x=X, y=Y), id="stored"),
        pytest.param(packed(x=X, y=Y), id="deflated"),
        pytest.param(npz(x=np.asfortranarray(X), y=Y), id="N21-fortran-order"),
        pytest.param(npz(x=X.astype(">f8"), y=Y.astype(">i2")), id="N20-big-endian"),
        pytest.param(npz(x=X.astype("f2"), y=Y.astype(bool).astype("u1")), id="N20-float16"),
        pytest.param(npz(x=X.astype("f4"), y=Y.astype("f4")), id="N20-float32"),
        pytest.param(npz(x=X.astype("i8"), y=Y.astype("u8")), id="N20-integers"),
        pytest.param(npz(x=X.astype("u1"), y=Y.reshape(-1, 1)), id="one-column-of-y"),
        pytest.param(npz(x=X, y=Y, notes=np.array(["extra"])), id="N24-extra-array"),
    ],
)
def test_arrays_of_every_plain_type_give_the_same_rows(folder, content):
    """Types, byte order, memory order and packing of the arrays change nothing."""
    found = folder.load(content, "t.npz", target=None, preprocess=_plain(), dtype="float64")

    assert np.array_equal(found.x, X)
    assert found.y.tolist() == Y.tolist()
    assert found.encoder.columns == ("x0", "x1", "x2")
    assert found.resolved.target == "y"


def test_columns_stored_one_after_another_become_rows_a_few_at_a_time(folder, monkeypatch):
    """However few columns are held at a time, in whichever byte order, the matrix is the one that was saved."""
    for size in (1, X.shape[0] * 16, 1 << 25):
        monkeypatch.setattr("fcnet.data.npz.COLUMNS", size)
        for dtype in ("<f8", ">f8"):
            content = packed(x=np.asfortranarray(X.astype(dtype)), y=Y)

            found = folder.load(content, "t.npz", target=None, preprocess=_plain(), dtype="float64")

            assert np.array_equal(found.x, X)


def _plain() -> Any:
    from fcnet.data.options import Preprocess

    return Preprocess(numeric=Plain())


def test_names_labels_and_other_array_names(folder):
    """`columns` names the features, text labels work, and data.x and data.y name the arrays."""
    names = np.array(["a", "b", "c"])
    labels = np.array(["no", "yes"])[Y]

    found = folder.load(npz(data=X, labels=labels, columns=names), "t.npz", target=None, x="data", y="labels")

    assert found.encoder.columns == ("a", "b", "c")
    assert found.target.classes == ("no", "yes")
    assert found.target.names == ("labels",)


def test_several_targets_have_a_name_each(folder):
    """A y of two columns is two targets where the config names two, and an error otherwise."""
    y = np.column_stack([np.linspace(0, 1, 20), np.linspace(5, 9, 20)])

    found = folder.load(npz(x=X, y=y), "t.npz", target=["u", "v"])

    assert found.y.shape == (20, 2)
    assert "(20, 2)" in refused(folder, npz(x=X, y=y))


def test_extra_arrays_are_said_and_nan_is_missing(folder):
    """Arrays that are not used are named in a notice; NaN among features is a missing cell."""
    x = X.copy()
    x[3, 1] = np.nan

    found = folder.load(npz(x=x, y=Y, more=Y), "t.npz", target=None)

    assert "arrays not used: more" in found.notices
    assert 'missing cells: "x1" 1' in found.notices


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        pytest.param({"x": X, "y": Y[:-1]}, '(20, 3) and "y" (19,)', id="N22-lengths"),
        pytest.param({"x": X.reshape(20, 3, 1), "y": Y}, "(20, 3, 1)", id="N21-three-axes"),
        pytest.param({"x": np.float64(3), "y": Y}, "shape ()", id="N21-no-axis"),
        pytest.param({"a": X, "y": Y}, 'no array "x"; the file holds "a", "y"', id="N24-missing-array"),
        pytest.param({"x": np.array([[1.0], [np.inf], [2.0]]), "y": [0, 1, 0]}, "row index 1", id="N23-infinite-x"),
        pytest.param({"x": X, "y": np.where(Y, Y, np.nan)}, "row index 0", id="N23-nan-in-y"),
        pytest.param({"x": X, "y": np.where(Y, np.inf, 0.0)}, "row index 1", id="N23-infinite-y"),
        pytest.param({"x": X * 1e38, "y": Y}, "outside float32", id="outside-the-dtype"),
        pytest.param({"x": X.astype(complex), "y": Y}, "complex128", id="N20-complex"),
        pytest.param({"x": X.astype("datetime64[s]"), "y": Y}, "datetime64", id="N20-datetime"),
        pytest.param({"x": X.astype(np.longdouble), "y": Y}, "f16|longdouble|float128", id="N20-long-double"),
        pytest.param({"x": np.full((20, 1), 2**53 + 1, "u8"), "y": Y}, "2**53", id="N20-large-integers"),
        pytest.param({"x": np.full((20, 1), b"a"), "y": Y}, "type", id="byte-strings"),
        pytest.param({"x": X, "y": Y, "columns": np.array(["a", "b"])}, "3 different names", id="too-few-names"),
        pytest.param({"x": X, "y": Y, "columns": np.array(["a", "b", "y"])}, "feature and the target", id="name-twice"),
        pytest.param({"x": X[:0], "y": Y[:0]}, "no rows", id="no-rows"),
    ],
)
def test_arrays_that_do_not_fit_are_named(folder, arrays, said):
    """Shapes, types and values that do not fit are errors that say what was found."""
    message = refused(folder, npz(**arrays))

    assert any(part in message for part in said.split("|"))


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("structured", [False, True], ids=["N1-objects", "N2-structured"])
def test_python_objects_are_never_unpickled(folder, structured):
    """Arrays of objects are refused, and nothing in them runs."""
    canary = folder.path / "canary"
    if structured:
        y = np.zeros(2, dtype=[("a", "f8"), ("b", "O")])
        y["b"] = Canary(canary)
    else:
        y = np.array([Canary(canary)] * 2, dtype=object)

    message = refused(folder, zipped({"x.npy": npy(X[:2]), "y.npy": npy(y)}))

    assert "holds Python objects" in message
    assert not canary.exists()


def flipped(content: bytes, at: int) -> bytes:
    out = bytearray(content)
    out[at] ^= 1
    return bytes(out)


def trailing() -> bytes:
    """A flipped bit in an array with bytes behind it in its member: numpy never compares the checksum."""
    content = bytearray(zipped({"x.npy": npy(X) + b"\0" * 100_000, "y.npy": npy(Y)}))
    content[content.index(b"\x93NUMPY") + 200] ^= 1
    return bytes(content)


def duplicate() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", npy(X))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy(X))
        archive.writestr("y.npy", npy(Y))
    return out.getvalue()


def overlapped() -> bytes:
    """Two directory entries for the same bytes."""
    content = bytearray(zipped({"x.npy": npy(X), "y.npy": npy(X)}))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    return bytes(content)


def with_method(method: int) -> bytes:
    content = bytearray(zipped({"x.npy": npy(X), "y.npy": npy(Y)}))
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.index(magic)
        content[start + at : start + at + 2] = struct.pack("<H", method)
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(zipped({"x.npy": npy(X), "y.npy": npy(Y)}))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + at] |= 1
    return bytes(content)


GOOD = npz(x=X, y=Y)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(pickle.dumps({"x": 1}), "not an npz", id="N3-pickle"),
        pytest.param(b"a,y\n1,2\n", "not an npz", id="N3-text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "PNG", id="N3-png"),
        pytest.param(b"", "not an npz", id="empty-file"),
        pytest.param(GOOD[:-1], "incomplete", id="N4-one-byte-less"),
        pytest.param(GOOD[: len(GOOD) // 2], "incomplete", id="N4-half"),
        pytest.param(GOOD + b"x", "bytes follow|incomplete", id="bytes-behind"),
        pytest.param(flipped(GOOD, GOOD.index(b"\x93NUMPY") + 200), "damaged", id="N5-bit"),
        pytest.param(trailing(), "does not fit", id="N6-bit-with-trailing-bytes"),
        pytest.param(zipped({"x.npy": b"hello", "y.npy": npy(Y)}), "no npy array", id="N9-no-npy"),
        pytest.param(zipped({"x.txt": b"hello"}), "no array", id="N9-other-name"),
        pytest.param(zipped({"folder/": b"", "x.npy": npy(X)}), "no name for an array", id="N9-folder"),
        pytest.param(zipped({}), "no arrays", id="N9-empty-zip"),
        pytest.param(zipped({"../../x.npy": npy(X)}), "no name", id="N10-upwards"),
        pytest.param(zipped({"/etc/x.npy": npy(X)}), "no name", id="N10-absolute"),
        pytest.param(zipped({"a\x1b.npy": npy(X)}), "no name", id="N10-escape"),
        pytest.param(zipped({"a" * 60_000 + ".npy": npy(X)}), "longer than 255", id="N10-long"),
        pytest.param(zipped({"x.npy": shaped("(20000000,)", body=b"\0" * 8)}), "does not fit", id="N12-shape-bomb"),
        pytest.param(overlapped(), "does not fit|overlap", id="N15-overlap"),
        pytest.param(encrypted(), "encrypted", id="N16-encrypted"),
        pytest.param(with_method(99), "method 99", id="N16-method-99"),
        pytest.param(with_method(14), "method 14", id="N16-lzma"),
        pytest.param(with_method(12), "method 12", id="N16-bzip2"),
        pytest.param(zipped({"x.npy": shaped("(-1, 3)")}), "type or shape", id="N17-negative"),
        pytest.param(zipped({"x.npy": shaped("(" + "9" * 30 + ",)")}), "shape", id="N17-huge"),
        pytest.param(zipped({"x.npy": shaped("(True, 20)")}), "type or shape", id="N17-bool"),
        pytest.param(zipped({"x.npy": shaped("(" + "1," * 65 + ")")}), "shape", id="N17-65-axes"),
        pytest.param(zipped({"x.npy": shaped("(20,)", "'<f8'") + b"x"}), "does not fit", id="byte-too-many"),
        pytest.param(zipped({"x.npy": shaped("(20,)", "__import__('os')")}), "type or shape", id="code"),
        pytest.param(zipped({"x.npy": shaped("(20,)", "'<q99'")}), "type", id="no-type"),
        pytest.param(zipped({"x.npy": header("(" * 5000)}), "type or shape", id="nested"),
        pytest.param(zipped({"x.npy": b"\x93NUMPY\x09\x00" + b"\0" * 40}), "version", id="npy-version"),
        pytest.param(zipped({"x.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"\0" * 40}), "header", id="long-header"),
        pytest.param(duplicate(), "two arrays are named", id="duplicate"),
    ],
)
def test_damaged_and_hostile_files_are_refused(folder, content, said):
    """Whatever is no whole archive of plain arrays is refused with what is wrong."""
    message = refused(folder, content)

    assert any(part in message for part in said.split("|"))


def test_n11_a_bomb_is_refused_before_it_is_unpacked(folder):
    """A small file that declares far more content ends with exit 9, and no memory is used for it."""
    content = zipped({"x.npy": npy(np.zeros((6_000_000, 1))), "y.npy": npy(Y)}, zipfile.ZIP_DEFLATED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    message = refused(folder, content, LimitError)

    assert "would unpack" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_member_that_lies_about_its_size_is_refused(folder):
    """A deflated member that unpacks to more than it declares is damaged, and is not unpacked further."""
    body = zlib.compress(npy(X) + b"\0" * 10_000_000)[2:-4]
    content = bytearray(zipped({"x.npy": npy(X), "y.npy": npy(Y)}, zipfile.ZIP_DEFLATED))
    end = content.index(b"PK\x03\x04", 4)
    start = content.index(b"x.npy") + 5
    tail = content[end:]
    grown = content[:start] + body + tail
    central = grown.index(b"PK\x01\x02")
    shift = len(grown) - len(content)
    grown[central + 20 : central + 24] = struct.pack("<L", len(body))
    second = grown.index(b"PK\x01\x02", central + 4)
    where = struct.unpack_from("<L", grown, second + 42)[0]
    grown[second + 42 : second + 46] = struct.pack("<L", where + shift)
    eocd = grown.index(b"PK\x05\x06")
    grown[eocd + 16 : eocd + 20] = struct.pack("<L", central)

    assert "damaged" in refused(folder, bytes(grown))


def test_every_truncation_and_bit_flip_of_the_arrays_is_refused_or_harmless(folder):
    """No cut is accepted, and no flipped bit changes a value that is read."""
    small = npz(x=X[:2], y=np.array([0.5, 1.25]))
    good = folder.load(small, "t.npz", target=None)
    wrong = 0

    for cut in range(0, len(small), 7):
        refused(folder, small[:cut])
    for at in range(0, len(small), 5):
        try:
            found = folder.load(flipped(small, at), "t.npz", target=None)
        except FcnetError:
            continue
        wrong += not (np.array_equal(found.x, good.x) and np.array_equal(found.y, good.y))

    assert wrong == 0


def test_an_array_of_the_nets_dtype_is_encoded_where_it_lies(folder, monkeypatch):
    """No second matrix is made for float32 numbers, and the inputs are those of the same numbers in float64."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 20)).astype(np.float32)
    x[5, 3] = np.nan
    y = rng.normal(size=3000)
    np.savez(folder.path / "wide.npz", x=x.astype(np.float64), y=y)
    np.savez(folder.path / "t.npz", x=x, y=y)
    want = folder.load(None, "wide.npz", target=None, validation=0.1)
    monkeypatch.delattr("fcnet.data.encode.aligned")

    found = folder.load(None, "t.npz", target=None, validation=0.1)

    assert np.array_equal(found.x, want.x)
    assert found.x.ctypes.data % 64 == 0
    assert found.notices == want.notices


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.full((20, 2), 0.5).astype("f4").view("u4").astype("u2").view("V2"), id="bfloat16"),
        pytest.param(np.array(["a", "b"] * 10, dtype=np.dtypes.StringDType()), id="StringDType"),
        pytest.param(np.array(["a", "b"] * 10, dtype=object), id="objects"),
        pytest.param(np.array([b"a", b"b"] * 10), id="bytes"),
        pytest.param(np.arange(20).astype("M8[D]"), id="N20-datetime"),
        pytest.param(np.arange(20).astype("m8[h]"), id="durations"),
        pytest.param(np.arange(20.0).astype(np.longdouble), id="N20-long-double"),
        pytest.param(np.arange(20) * 1j, id="N20-complex"),
    ],
)
@pytest.mark.filterwarnings("ignore:Custom dtypes are saved as python objects")
def test_arrays_of_other_types_are_read_once_they_are_cured_as_the_message_says(folder, x):
    """The message names what to save instead, and what it names is read."""
    np.savez(folder.path / "t.npz", x=x, y=np.arange(20) % 2)

    with pytest.raises(DataError) as error:
        folder.load(None, "t.npz", target=None)
    cure = re.search(
        r"save (x\.astype\([^)]*\)(?:\.astype\(str\))?|x\.real|x / numpy\.timedelta64\([^)]*\))", str(error.value)
    )[1]
    if x.dtype == "V2":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        x = x.view(ml_dtypes.bfloat16)
    np.savez(folder.path / "t.npz", x=eval(cure, {"x": x, "numpy": np}), y=np.arange(20) % 2)

    assert folder.load(None, "t.npz", target=None).encoder.columns[0] == "x0"
