"""No bytes whatever make the readers do anything but read or refuse."""

from __future__ import annotations

import csv
import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcnet.data.delimited import Delimited
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.problems import Problems
from fcnet.errors import FcnetError

CELLS = st.one_of(
    st.integers(-99, 99).map(str),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["", "NA", "x", '"q""q"', '"a\nb"', " 1 ", "1_0", "1e999", '"', "é", "\x1b[2J", "1,5", "−1", "\0"]),
)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=12).map(
    lambda rows: "\n".join(",".join(row) for row in rows)
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = settings(QUICK, max_examples=20_000)


def attempt(folder, content: bytes, name: str = "t.csv", **options):
    try:
        return folder.load(content, name, **options), None
    except FcnetError as error:
        return None, error


def any_table(folder, content: bytes) -> None:
    found, error = attempt(folder, content)

    if error is not None:
        assert error.exit_code in (3, 4, 9)
        assert all(c.isprintable() or c == "\n" for c in str(error))
    else:
        assert np.isfinite(found.x).all()
        assert len(found.y) == len(found.x)


@QUICK
@given(st.one_of(st.binary(max_size=200), TABLES.map(lambda t: ("a,b,y\n" + t).encode())))
def test_any_bytes_are_a_table_or_an_error(folder, content):
    """Random bytes and random cells end as a data set or as a typed error without control characters."""
    any_table(folder, content)


@pytest.mark.long
@LONG
@given(st.one_of(st.binary(max_size=200), TABLES.map(lambda t: ("a,b,y\n" + t).encode())))
def test_any_bytes_are_a_table_or_an_error_at_length(folder, content):
    """As above, with many more examples."""
    any_table(folder, content)


def npz_of(content: bytes, at: int, value: int, cut: int, deflate: bool) -> bytes:
    """An npz whose array x has changed bytes under a correct checksum."""
    array = io.BytesIO()
    np.save(array, np.arange(12.0).reshape(6, 2))
    raw = bytearray(array.getvalue())
    raw[at % len(raw)] = value
    raw[10:10] = content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        archive.writestr("x.npy", bytes(raw[: max(len(raw) - cut, 0)]))
        archive.writestr("y.npy", array.getvalue())
    return out.getvalue()


def any_npz(folder, content: bytes) -> None:
    _, error = attempt(folder, content, "t.npz", target=None)

    assert error is None or error.exit_code in (3, 4, 9)


MUTATED = st.builds(
    npz_of,
    st.binary(max_size=3),
    st.integers(0, 300),
    st.integers(0, 255),
    st.sampled_from([0, 0, 1, 50]),
    st.booleans(),
)


def flipped(content: bytes, places: list[tuple[int, int]]) -> bytes:
    out = bytearray(content)
    for at, value in places:
        out[at % len(out)] = value
    return bytes(out)


BROKEN = st.builds(flipped, MUTATED, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4))


@QUICK
@given(st.one_of(MUTATED, BROKEN))
def test_any_npz_is_read_or_refused(folder, content):
    """Archives with changed headers, sizes and checksums end as a data set or as a typed error."""
    any_npz(folder, content)


@pytest.mark.long
@LONG
@given(st.one_of(MUTATED, BROKEN))
def test_any_npz_is_read_or_refused_at_length(folder, content):
    """As above, with many more examples."""
    any_npz(folder, content)


@QUICK
@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(5, 60),
)
def test_what_the_csv_module_writes_is_read_back(folder, records, end, size):
    """Any cells written with quotes come back as they were, wherever the blocks are cut."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(records)
    path = folder.write(out.getvalue())
    problems = Problems("t.csv")

    import fcnet.data.delimited as module

    before, module.BLOCK = module.BLOCK, size
    try:
        with Opened(path, "t.csv") as opened:
            blocks = list(Delimited(opened, Grammar(), problems).blocks())
    finally:
        module.BLOCK = before

    got = [list(row) for block in blocks for row in zip(*(block.cells(j) for j in range(3)), strict=True)]
    assert got == records
    assert not problems


@QUICK
@given(st.text(st.sampled_from("0123456789.eE+-_ \tinfaxd,'−٣"), max_size=12))
def test_the_grammar_takes_what_float_takes_of_plain_decimal_numbers(text):
    """A text that is a number means what float() reads; of plain characters all that float() takes are numbers."""
    got = Grammar().number(text)
    plain = text.strip(" \t").isascii() and not set(text) & set("_infaxd',")

    try:
        want: float | None = float(text)
    except ValueError:
        want = None
    if got is not None:
        assert got == want
    elif plain and want is not None:
        assert np.isinf(want)
    values, bad = Grammar().parse([text, "1"])
    assert (got is None and text.strip(" \t") not in Grammar().missing) == (bad == [0])
    assert got is None or values[0] == got
