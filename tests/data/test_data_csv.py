"""What the reader of CSV and TSV takes, and what it says of the rest."""

from __future__ import annotations

import csv
import gzip
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest

from fcnet.data.bulk import FrameBlock, NumberBlock, plain_numbers
from fcnet.data.delimited import BLOCK, Delimited
from fcnet.data.numbers import Grammar
from fcnet.data.opened import Opened
from fcnet.data.problems import Problems
from fcnet.errors import ConfigError, DataError, FcnetError, StorageError


@pytest.fixture(autouse=True, params=["small-blocks", "polars"])
def _every_way_of_reading(request, monkeypatch):
    """All that is said here holds for blocks of any size, those that polars reads among them."""
    if request.param == "polars":
        pytest.importorskip("polars")
        monkeypatch.setattr("fcnet.data.bulk.LARGE", 0)


def text_of(lines: list[str], end: str = "\n") -> str:
    return end.join(lines) + end


def lines_of(error: FcnetError) -> list[int | None]:
    return [problem.line for problem in error.problems]


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [["1e-400"], ["-2.5E-330", "0.0e-9", "0"], ["1e-400", "1e-401", "x"]])
def test_what_is_nearer_to_0_than_any_number_is_said(folder, table, cells):
    """Cells that float64 has no number for are read as 0, with a notice; what is written as 0 needs none."""
    for i, cell in enumerate(cells):
        table[5 + i] = f"{cell},{table[5 + i].partition(',')[2]}"
    texts = "x" in cells

    found = folder.load(text_of(table), categorical=["a"] if texts else [])
    said = [text for text in found.notices if "near to 0" in text]

    expected = f'column "a": the cell in line 6 is too near to 0 for float64, and read as 0: "{cells[0]}"'
    assert said == ([] if texts else [expected])


def test_many_that_are_nearer_to_0_than_any_number_are_counted(folder, table):
    """One notice a column says how many there are and where the first stands, however long the table is."""
    lines = [
        table[0],
        *(f"{'1e-400' if i > 20_000 else i}{line[line.index(',') :]}" for i, line in enumerate(table[1:] * 600)),
    ]

    (said,) = [text for text in folder.load(text_of(lines)).notices if "near to 0" in text]

    assert said.startswith('column "a": 3,999 cells, the first in line 20,003, are too near to 0')


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: "\ufeff" + t, id="V1-byte-order-mark"),
        pytest.param(lambda t: t.replace("\n", "\r\n"), id="V6-crlf"),
        pytest.param(lambda t: t.replace("\n", "\r"), id="V6-cr"),
        pytest.param(lambda t: t.replace("\n", "\r\n", 5).replace("\n", "\r", 3), id="V6-mixed"),
        pytest.param(lambda t: t.replace("a,b", " a ,\tb"), id="V18-blanks-in-header"),
        pytest.param(lambda t: t.replace("a,b", '"a","b"'), id="V18-quotes-in-header"),
        pytest.param(lambda t: t.rstrip("\n"), id="V22-no-last-newline"),
        pytest.param(lambda t: t.replace("\n", "\n\n", 3), id="V21-blank-lines"),
        pytest.param(lambda t: t.replace(",", ";"), id="V24-semicolon"),
        pytest.param(lambda t: t.replace(",", "\t"), id="V24-tab"),
        pytest.param(lambda t: t.replace(",", "|"), id="V24-pipe"),
        pytest.param(lambda t: t.replace("\n3,", '\n"3",'), id="a-quoted-number"),
        pytest.param(lambda t: t.replace("\n3,6", "\n 3 , 6"), id="blanks-around-numbers"),
        pytest.param(lambda t: t.replace("\n3,6", "\n+3.0e0,.6e+1"), id="other-spellings"),
    ],
)
def test_spellings_of_one_table_give_one_table(folder, table, change):
    """Byte order mark, line ends, delimiters, quotes and blanks around cells change nothing in the arrays."""
    plain = folder.load(text_of(table))

    other = folder.load(change(text_of(table)))

    assert np.array_equal(other.x, plain.x)
    assert np.array_equal(other.y, plain.y)
    assert other.encoder.columns == ("a", "b")


def test_what_came_from_stdin_may_be_packed(folder, table):
    """A pipe has no name that could promise gzip: a table that is packed is unpacked, whatever the command."""
    text = text_of(table)

    packed, plain = (folder.load(content, "stdin.csv") for content in (gzip.compress(text.encode()), text))

    assert np.array_equal(packed.x, plain.x)


def test_gzip_and_tsv_give_the_same_table(folder, table):
    """A .csv.gz and a .tsv.gz hold the same table as the .csv."""
    plain = folder.load(text_of(table))

    packed = folder.load(gzip.compress(text_of(table).encode()), "t.csv.gz")
    tabs = folder.load(gzip.compress(text_of(table).replace(",", "\t").encode()), "t.tsv.gz")

    assert np.array_equal(packed.x, plain.x)
    assert np.array_equal(tabs.x, plain.x)
    assert tabs.resolved.delimiter == "\t"


def test_the_delimiter_found_is_recorded_and_one_column_needs_none(folder, table):
    """`delimiter: auto` is resolved to what was found; decimal commas inside quotes do not mislead it."""
    found = folder.load(text_of(table).replace(",", ";"))
    quoted = folder.load("a;b;y\n" + "".join(f'"1,{i}";{i};"{i},5"\n' for i in range(30)), decimal=",")

    assert found.resolved.delimiter == ";"
    assert quoted.resolved.delimiter == ";"
    assert quoted.encoder.features[0].high == 1.9


def test_v7_a_newline_inside_quotes_is_part_of_the_cell(folder):
    """A quoted field may span lines; errors still name the physical line."""
    text = 'a,c,y\n1,"two\nlines",3\n' + "".join(f"{i},x{i % 2},{i}.5\n" for i in range(40)) + "oops,x1,1\n"

    with pytest.raises(DataError) as error:
        folder.load(text)

    assert lines_of(error.value) == [44]
    good = folder.load(text.replace("oops", "7"))
    assert "two\nlines" in good.encoder.features[1].levels


def test_blank_lines_are_skipped_and_counted(folder, table):
    """Blank lines are no rows, and a notice counts them."""
    found = folder.load(text_of(table).replace("\n", "\n\n", 3))

    assert "skipped 3 blank lines" in found.notices


def test_missing_cells_are_counted_by_column(folder, table):
    """In number columns the usual marks mean missing; the notice has a count for each column."""
    marks = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", ".", "-", " ? "]
    lines = [
        table[0],
        *[line.replace(f"{i},", f"{mark},", 1) for i, (mark, line) in enumerate(zip(marks, table[1:], strict=False))],
    ]

    found = folder.load(text_of(lines + table[len(lines) :]))

    assert found.encoder.features[0].kind == "number"
    assert f'missing cells: "a" {len(marks)}' in found.notices


def test_listed_missing_texts_hold_for_all_columns(folder):
    """`missing: [...]` replaces the usual marks, in columns of text too; empty cells stay missing."""
    text = "a,c,y\n" + "".join(f"{'-999' if i == 3 else i},{'unknown' if i == 4 else 'u'},{i}.5\n" for i in range(40))

    found = folder.load(text, missing=["-999", "unknown"])

    assert 'missing cells: "a" 1, "c" 1' in found.notices
    assert found.encoder.features[0].low == 0
    assert found.encoder.features[1].levels == ("u",)


def test_v32_labels_named_like_missing_marks_are_labels(folder):
    """A class called NA, None, nan, null or True stays a class, since its column is text."""
    labels = ["NA", "None", "nan", "null", "True", "x"]

    found = folder.load("a,y\n" + "".join(f"{i},{labels[i % 6]}\n" for i in range(60)))

    assert found.target.classes == ("NA", "None", "True", "nan", "null", "x")


@pytest.mark.parametrize("labels", [("None", "null"), ("NA", "None"), ("nan", "-", "?")])
def test_v32_classes_may_all_be_named_like_missing_marks(folder, labels):
    """Where no cell of the target is a number, NA and None are its classes; an empty cell is still missing."""
    rows = [f"{i},{labels[i % len(labels)]}\n" for i in range(60)]

    found = folder.load("a,y\n" + "".join(rows))

    assert set(found.target.classes) == set(labels)
    with pytest.raises(DataError, match=r't\.csv:62: the target "y" is missing'):
        folder.load("a,y\n" + "".join(rows) + "60,\n")


def test_a_cell_that_makes_classes_of_a_number_target_is_named(folder):
    """One mistyped number makes every value a class; the notice says which line it is in."""
    rows = [f"{i},{'1.O' if i == 70 else i % 5}\n" for i in range(100)]

    found = folder.load("a,y\n" + "".join(rows))

    said = (
        'column "y": 99 of 100 cells are numbers, the others "1.O" (1), the first in line 72; read as classes; '
        "if numbers are meant, mend it or set 'data.missing=[\"1.O\"]'"
    )
    assert said in found.notices


def test_without_header_columns_have_numbers_and_the_target_may_be_one(folder, table):
    """`header: false` names the columns x0, x1, …; target −1 is the last one."""
    found = folder.load(text_of(table[1:]), header=False, target=-1)

    assert found.encoder.columns == ("x0", "x1")
    assert found.resolved.target == "x2"
    assert len(found.x) == 40


@pytest.mark.parametrize("target", ["--1", "²", "-", "9" * 5000])
def test_a_target_that_is_nearly_a_number_is_a_name_that_there_is_not(folder, table, target):
    """Without a header what is no number of a column is looked for by name."""
    with pytest.raises(ConfigError, match='no column "'):
        folder.load(text_of(table[1:]), header=False, target=target)


def test_thousands_and_decimal_marks_are_read_where_they_are_named(folder):
    """`decimal: ","` and `thousands: "."` read 1.234,5 as 1234.5."""
    text = "a;y\n" + "".join(f"{i}.234,5;{i},5\n" for i in range(1, 40))

    found = folder.load(text, decimal=",", thousands=".")

    assert found.encoder.features[0].low == 1234.5
    assert found.encoder.features[0].high == 39234.5


def test_v36_a_column_that_turns_to_text_late_is_read_whole(folder, monkeypatch):
    """The type is found from all rows: text after many blocks of numbers makes categories, spelled as written."""
    import fcnet.data.delimited as module

    monkeypatch.setattr(module, "BLOCK", 1 << 12)
    n = 40_000
    lines = [f"0{i % 3}.0,{i % 7}" if i < n // 2 else f"t{i % 2},{i % 7}" for i in range(n)]

    found = folder.load("c,y\n" + "\n".join(lines) + "\n")

    assert found.encoder.features[0].levels == ("00.0", "01.0", "02.0", "t0", "t1")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("a,y\n1,2\n".encode("utf-16"), "UTF-16", id="V3-utf16-with-mark"),
        pytest.param("a,y\n1,2\n".encode("utf-16-le"), "UTF-16", id="V3-utf16-without-mark"),
        pytest.param("a,y\n1,2\nx\xe9,2\n".encode("latin-1"), ":3: byte 2 of the line is 0xe9", id="V4-latin1"),
        pytest.param(b"a,y\n1,2\n1\0,2\n", ":3: a NUL", id="V10-nul"),
        pytest.param(b'a,y\n1,"2\n3,4\n5,6\n', ":2: quote opened on line 2 never closed", id="V8-open-quote"),
        pytest.param(b'a,y\n1,"2"x\n', ":2: column 2: text after a closing quote", id="text-after-quote"),
        pytest.param(b"a,y\n1," + b"z" * 140_000 + b"\n", ":2: column 2: a field of more than", id="V11-long-field"),
        pytest.param(b'a,y\n1,"' + b"z\n" * 140_000, "quote opened on line 2 never closed", id="V11-long-quote"),
        pytest.param(b"a,,,,y\n1,2,3,4,5\n", ":1: column 2 has no name", id="V15-empty-names"),
        pytest.param(b"a,b,a,y\n1,2,3,4\n", 'columns 1 and 3 are both named "a"', id="V16-duplicate"),
        pytest.param(b"a, a,y\n1,2,3\n", 'columns 1 and 2 are both named "a"', id="V18-duplicate-by-blanks"),
        pytest.param(b"5.1,3.5,0\n4.9,3.0,0\n", "looks like data", id="V19-no-header"),
        pytest.param(b"5.1,3.5,1.4,setosa\n4.9,3.0,1.3,setosa\n", "data.header=false", id="V19-no-header-text"),
        pytest.param(b"", "is empty", id="V20-empty"),
        pytest.param(b"\xef\xbb\xbf", "is empty", id="V20-only-mark"),
        pytest.param(b"a,y\n", "no rows", id="V20-header-only"),
        pytest.param(b"\n\r\n\n", "only blank lines", id="V20-blank-lines"),
        pytest.param(b"PK\x03\x04abcdef", "a zip archive", id="V54-zip"),
        pytest.param(b"PAR1abcdef", "a Parquet file", id="V54-parquet"),
        pytest.param(gzip.compress(b"a,y\n1,2\n"), "gzip", id="V54-gzip"),
        pytest.param(b"%PDF-1.4 ", "a PDF", id="V54-pdf"),
    ],
)
def test_files_that_are_no_tables_are_refused_with_the_place(folder, content, said):
    """Wrong encodings, broken quotes, bad headers and other kinds of files end with the line and what to do."""
    with pytest.raises(DataError) as error:
        folder.load(content)

    assert said in str(error.value)
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        pytest.param({5: "1,2"}, [5], id="V13-short"),
        pytest.param({5: "1,2,3,4", 9: "1"}, [5, 9], id="V13-long"),
        pytest.param(dict.fromkeys(range(22, 42), "1,2,3,"), [22, 23, 24, 25, 26, None], id="V14-trailing-comma"),
        pytest.param({7: "   "}, [7], id="V21-blanks-only"),
    ],
)
def test_ragged_rows_are_listed(folder, table, change, lines):
    """Rows of a wrong width are errors by line: the first five, then how many more."""
    text = text_of([change.get(i, line) for i, line in enumerate(table, start=1)])

    with pytest.raises(DataError) as error:
        folder.load(text)

    assert lines_of(error.value) == lines
    assert "the header has 3" in error.value.problems[0].text
    if lines[-1] is None:
        assert str(error.value.problems[-1]).endswith("and 15 more rows of a wrong width")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        pytest.param("n/a!", '"n/a!" is not a number', id="V31-other-text"),
        pytest.param('"1,5"', "set data.decimal=,", id="V25-decimal-comma"),
        pytest.param('"1,000"', "set data.thousands=,", id="V26-thousands-comma"),
        pytest.param("1 000", "set 'data.thousands= '", id="V26-thousands-blank"),
        pytest.param("1'000", "data.thousands", id="V26-thousands-quote"),
        pytest.param("1_000", '"1_000" is not a number', id="underscore"),
        pytest.param("inf", '"inf" is not a number', id="V28-inf"),
        pytest.param("-infinity", "is not a number", id="V28-infinity"),
        pytest.param("1e39", '"1e39" is outside float32', id="V30-float32"),
        pytest.param("$5", "U+0024", id="V33-dollar"),
        pytest.param("5%", "U+0025", id="V33-percent"),
        pytest.param("(5)", "U+0028", id="V33-parenthesis"),
        pytest.param("1/2", "U+002F", id="V33-slash"),
        pytest.param("−5", "U+2212", id="V33-minus"),
        pytest.param("٣", "U+0663", id="other-digits"),
        pytest.param("0x10", "is not a number", id="V34-hexadecimal"),
        pytest.param("1d3", "is not a number", id="V34-fortran"),
        pytest.param("1e", "is not a number", id="half-an-exponent"),
    ],
)
def test_a_cell_that_is_no_number_in_a_column_of_numbers_is_an_error(folder, table, cell, said):
    """At least 95 % numbers make a column of numbers; any other cell is named with line, column, value and remedy."""
    lines = [*table[:20], f"{cell},1,1.5", *table[20:]]

    with pytest.raises(DataError) as error:
        folder.load(text_of(lines))

    assert lines_of(error.value) == [21]
    assert error.value.problems[0].text.startswith('column "a": ')
    assert said in error.value.problems[0].text


def test_the_message_for_a_bad_cell_has_place_value_and_remedy(folder, table):
    """The line of the error reads as documented."""
    with pytest.raises(DataError) as error:
        folder.load(text_of([*table, "n/a!,1,1.5"]), name="people.csv")

    assert str(error.value) == (
        'people.csv:42: column "a": "n/a!" is not a number; set \'data.missing=["n/a!"]\' or mend the row'
    )


def test_the_remedies_named_work(folder, table):
    """Listing the text under data.missing, or the column under data.categorical, makes the table load."""
    text = text_of([*table, "n/a!,1,1.5"])

    assert folder.load(text, missing=["n/a!"]).encoder.features[0].kind == "number"
    assert folder.load(text, categorical=["a"]).encoder.in_file[0].kind == "category"


def test_all_problems_come_at_once_in_the_order_of_the_file(folder, table):
    """Ragged rows and bad cells of several columns are reported together, by line."""
    lines = list(table)
    lines[30] = "1,x!,2.5"
    lines[10] = "1,2"
    lines[20] = "z,4,2.5"

    with pytest.raises(DataError) as error:
        folder.load(text_of(lines))

    assert lines_of(error.value) == [11, 21, 31]


def test_more_than_five_bad_cells_are_counted(folder):
    """After the first five of a kind comes how many more."""
    text = "a,y\n" + "".join(f"{'bad' if i % 25 == 0 else i},{i}.5\n" for i in range(200))

    with pytest.raises(DataError) as error:
        folder.load(text)

    assert lines_of(error.value) == [2, 27, 52, 77, 102, None]
    assert 'and 3 more cells of column "a" that are not numbers; or list the column under data.cat' in str(error.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [f"{'bad' if i % 25 == 0 else i},{i}.5" for i in range(150)],
            '1 more cell of column "a" that is not a number;',
        ),
        ([f"{i},{'' if i % 25 == 0 else i}" for i in range(150)], "1 more row without a target"),
        ([f"{i},{i},{i}" if i % 25 == 0 else f"{i},{i}" for i in range(150)], "1 more row of a wrong width"),
    ],
)
def test_the_sixth_alone_is_one(folder, lines, said):
    """Where one problem is left that is not spelled out, the sentence that counts it is in the singular."""
    with pytest.raises(DataError) as error:
        folder.load("\n".join(["a,y", *lines]))

    assert f"and {said}" in f"{error.value};"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        pytest.param([f"{i},5" for i in range(40)], "set data.decimal=, or", id="V25-whole-column"),
        pytest.param([f"1,{i:03}" for i in range(40)], "set data.thousands=, or", id="V26-whole-column"),
        pytest.param([f"{i % 9 + 1} 000" for i in range(40)], "set 'data.thousands= ' or", id="V26-blanks"),
        pytest.param([f"1.{i:03},5" for i in range(40)], "set data.decimal=, data.thousands=. or", id="both-marks"),
    ],
)
def test_a_column_in_another_spelling_names_the_key_that_reads_it(folder, cells, said):
    """A whole column of decimal commas or thousands marks does not silently become categories."""
    text = "a,y\n" + "".join(f'"{cell}",{i}.5\n' for i, cell in enumerate(cells))

    with pytest.raises(DataError) as error:
        folder.load(text)

    assert said in str(error.value)
    assert lines_of(error.value) == [2]


def test_a_file_is_written_in_one_way(folder):
    """Where one column could be thousands and another only decimals, both messages name the decimal mark."""
    text = "a,b,c,y\n" + "".join(f'"1,{i:03}","0,{i:03}","{i},5",{i}.5\n' for i in range(40))

    with pytest.raises(DataError) as error:
        folder.load(text)

    assert len(error.value.problems) == 3
    assert all("set data.decimal=, or" in problem.text for problem in error.value.problems)


def test_a_zero_before_a_comma_is_no_thousand(folder):
    """A column of 0,000 to 0,999 can only be decimals."""
    with pytest.raises(DataError, match=r"set data\.decimal=, or"):
        folder.load("a,y\n" + "".join(f'"0,{i:03}",{i}.5\n' for i in range(40)))


@pytest.mark.parametrize("n", [40, 8])
def test_a_header_where_none_is_expected_is_called_one(folder, table, n):
    """With `header: false` a first line of names is said to look like a header, and nothing else is said of it."""
    lines = [*table[: n + 1]]
    lines[5:6] = ["x!,1,2.5"] if n == 40 else [lines[5]]

    try:
        said = folder.load(text_of(lines), header=False, target=2).notices
    except DataError as error:
        said = tuple(map(str, error.problems))

    start = 'the first line looks like a header ("a", …)'
    if n == 40:
        cure = 'set \'data.missing=["a", "x!"]\' or mend the row'
        assert said == (
            f"t.csv:1: {start}; set data.header=true",
            f't.csv:6: column "x0": "x!" is not a number; {cure}',
        )
    else:
        assert f"{start}, and is read as data; set data.header=true if it is one" in said


def test_a_first_row_of_categories_is_no_header(folder):
    """Texts over texts, and numbers over numbers, are rows like the others."""
    found = folder.load("".join(f"{'uv'[i % 2]},{i},{'mn'[i % 2]}\n" for i in range(20)), header=False, target=2)

    assert len(found.x) == 20
    assert not any("header" in notice for notice in found.notices)


def test_a_column_that_is_left_out_is_not_said_to_be_read(folder):
    """Tickets, mostly numbers and some text, get one notice and not two that contradict each other."""
    text = "a,ticket,y\n" + "".join(f"{i},{i if i % 3 else f'PC {i}'},{i}.5\n" for i in range(60))

    left_out = folder.load(text).notices
    kept = folder.load(text, categorical=["ticket"]).notices
    few = folder.load("a,ticket,y\n" + "".join(f"{i},{i % 3 or 'B'},{i}.5\n" for i in range(60))).notices

    assert [notice[:62] for notice in left_out if "ticket" in notice] == [
        'column "ticket" is left out: 40 of 60 cells are numbers, the o'
    ]
    assert not any("ticket" in notice for notice in kept)
    assert any('the others "B" (20), the first in line 2; read as categories; if numbers' in notice for notice in few)


def test_a_wrong_delimiter_gets_a_hint(folder, table):
    """One column under the delimiter given, several under another: the message names the other."""
    with pytest.raises(DataError, match=r"one column found; did you mean 'data.delimiter=;'"):
        folder.load(text_of(table).replace(",", ";"), delimiter=",")
    with pytest.raises(ConfigError, match="cannot separate fields"):
        folder.load(text_of(table), delimiter=",,")


def test_v5_a_bad_byte_far_down_is_found_before_anything_else(folder):
    """The whole file is looked at: an invalid byte or a text in the last row is an error with its line."""
    n = 200_000
    body = "a,y\n" + "1,2.5\n" * n

    with pytest.raises(DataError) as bytes_error:
        folder.load(body.encode() + b"\xff,1\n")
    with pytest.raises(DataError) as text_error:
        folder.load(body + "late,1\n")

    assert lines_of(bytes_error.value) == [n + 2]
    assert lines_of(text_error.value) == [n + 2]


def test_v58_names_and_values_are_escaped(folder, table):
    """Escape codes in headers and cells never reach the terminal as they are."""
    lines = [table[0].replace("a", "a\x1b]0;pwned\x07"), *table[1:], "\x1b[2J,1,1.5"]

    with pytest.raises(DataError) as error:
        folder.load(text_of(lines))

    assert "\x1b" not in str(error.value)
    assert "\\x1b]0;pwned\\x07" in str(error.value)


def test_a_file_that_is_not_there_and_one_that_is_no_file(folder):
    """Missing files, folders, pipes and devices are refused at once, without being opened."""
    (folder.path / "sub.csv").mkdir()
    os.mkfifo(folder.path / "pipe.csv")

    with pytest.raises(DataError, match=r"no-such.csv: no such file"):
        folder.load(name="no-such.csv")
    with pytest.raises(DataError, match="a folder of tables is not read: name one file"):
        folder.load(name="sub.csv")
    with pytest.raises(DataError, match="is no plain file"):
        folder.load(name="pipe.csv")
    with pytest.raises(FcnetError):
        folder.load(name="x" * 300 + ".csv")


def test_an_error_of_the_disk_is_no_error_of_the_data(folder, table, monkeypatch):
    """An I/O error while reading ends with the exit code of the file system."""
    folder.write(text_of(table))

    def fail(self: Opened, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")

    class Failing(io.BytesIO):
        read = fail  # type: ignore[assignment]

    with pytest.raises(StorageError, match="Input/output error"):
        Opened(Failing(), "t.csv").read(1)


def test_v55_a_file_that_changes_while_it_is_read_is_refused(folder, table):
    """Size, time and identity of the file are compared before and after reading."""
    path = folder.write(text_of(table))

    def meddle() -> None:
        folder.write(text_of(table) + "1,2,3\n")
        os.utime(path, ns=(1, 1))

    with pytest.raises(DataError, match="changed while reading"):
        folder.load(poll=meddle)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"a,y\n" + b"1,2\n" * 1000)[:-10], "incomplete"),
        (b"a,y\n1,2\n", "is not a gzip file"),
        (b"\x1f\x8b\x08garbage garbage garbage", "damaged|incomplete"),
        (gzip.compress(b"a,y\n1,2\n") + b"trailing", "damaged"),
    ],
    ids=["cut-off", "text", "garbage", "trailing"],  # what is packed says when: processes that share tests would differ
)
def test_damaged_gzip_files_are_refused(folder, content, said):
    """A gzip file that is cut, no gzip, or garbage is named as such."""
    with pytest.raises(DataError, match=said):
        folder.load(content, "t.csv.gz")


def test_v23_the_hash_recorded_is_that_of_the_file(folder, table):
    """The record of a file has the SHA-256 of its bytes, packed or not, and its number of rows."""
    import hashlib

    packed = gzip.compress(text_of(table).encode())

    found = folder.load(packed, "t.csv.gz")

    assert found.files[0].sha256 == hashlib.sha256(packed).hexdigest()
    assert found.files[0].rows == 40
    assert found.files[0].path == (folder.path / "t.csv.gz").resolve()


# --- the fast path ---------------------------------------------------------------------------------------------------


def exactly(path: Path, delimiter: str = ",") -> tuple[list[list[str]], list[int]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        return [record for record in reader if record], []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["digits", "decimals", "gaps", "long"])
def test_blocks_of_plain_numbers_are_those_of_the_exact_reader(folder, kind, end, monkeypatch):
    """The bulk conversion gives bit for bit what float() gives for every cell, and the same texts and lines."""
    import fcnet.data.delimited as module

    monkeypatch.setattr(module, "BLOCK", 1 << 12)
    rng = np.random.default_rng(0)
    spell = {
        "digits": lambda: str(rng.integers(0, 10 ** int(rng.integers(1, 15)))),
        "decimals": lambda: repr(float(rng.normal() * 10.0 ** int(rng.integers(-30, 30)))),
        "gaps": lambda: rng.choice(["", "1", "-2.5", "+.5", "5.", "1E+5"]),
        "long": lambda: "".join(rng.choice(list("0123456789"), 30)),
    }[kind]
    cells = [[str(spell()) for _ in range(6)] for _ in range(1000)]
    path = folder.write(end.join(["a,b,c,d,e,f", *(",".join(row) for row in cells)]))
    bulk = 0

    with Opened(path, "t.csv") as opened:
        source = Delimited(opened, Grammar(), Problems("t.csv"))
        blocks = list(source.blocks())
    at = 0
    for block in blocks:
        n = len(block.lines)
        assert block.lines.tolist() == list(range(at + 2, at + 2 + n))
        for j in range(6):
            assert list(block.cells(j)) == [row[j] for row in cells[at : at + n]]
            numbers = block.numbers(j)
            if numbers is not None:
                want = [float(row[j]) if row[j] else np.nan for row in cells[at : at + n]]
                assert np.array_equal(numbers, want, equal_nan=True)
        bulk += isinstance(block, NumberBlock | FrameBlock)
        at += n

    assert at == 1000
    assert bulk >= len(blocks) - 2


@pytest.mark.parametrize(
    "text",
    [
        b"1,2\n3\n4,5,6\n",
        b"1,2\n3,4,\n",
        b"1,x\n",
        b'"1",2\n',
        b"1,2\n\n3,4\n",
        b"1e400,2\n",
        b"1-2,3\n",
        b"1 2,3\n",
        b"e5,3\n",
        b".,3\n",
        b"-,3\n",
        b"nan,3\n",
        b"1_0,3\n",
        b"1,2\r3,4\r",
        b"1e5e1,2\n",
        b"--1,2\n",
    ],
)
def test_the_bulk_conversion_leaves_everything_else_to_the_exact_reader(text):
    """Whatever is not certainly a block of plain numbers is not converted in bulk."""
    assert plain_numbers(text, ",", 2, Grammar()) is None


def test_the_two_ways_of_reading_give_one_data_set(folder, monkeypatch):
    """With the bulk conversion switched off, every array is the same, bit for bit."""
    rng = np.random.default_rng(1)
    text = "a,b,y\n" + "".join(f"{rng.normal()},{i % 7},{rng.normal()}\n" for i in range(5000))
    fast = folder.load(text, validation=0.2, dtype="float64")

    monkeypatch.setattr("fcnet.data.delimited.convert", lambda *_: None)
    slow = folder.load(text, validation=0.2, dtype="float64")

    assert np.array_equal(fast.x, slow.x)
    assert np.array_equal(fast.y, slow.y)


def test_records_across_block_borders_stay_whole(folder, monkeypatch):
    """Quoted newlines and CRLF at the border between two blocks change nothing."""
    import fcnet.data.delimited as module

    text = "a,c,y\r\n" + "".join(f'{i % 1999},"line\r\n{i % 3} ""q""",{i}.5\r\n' for i in range(2000))
    whole = folder.load(text)
    for size in (3, 64, 1000):
        monkeypatch.setattr(module, "BLOCK", size if size > 3 else 101)
        pieces = folder.load(text)
        assert np.array_equal(pieces.x, whole.x)

    assert whole.encoder.features[1].levels == tuple(f'line\r\n{i} "q"' for i in range(3))


def test_x11_the_number_grammar_is_linear(folder):
    """A cell of hostile length is refused in a time that grows with its length only."""
    grammar = Grammar(thousands=",")

    def seconds(n: int) -> float:
        start = time.perf_counter()
        for text in ("1e" * n, "1," * n, "9" * n + "x", "1." + "0" * n + "x", "1,234" * n):
            grammar.number(text)
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(200_000) < 1000 * max(seconds(2000), 1e-3)


def test_block_size_is_a_few_megabytes():
    """Blocks are small against memory, so that prediction needs the same memory for any table."""
    assert 1 << 20 <= BLOCK <= 1 << 24


def test_a_reader_that_is_registered_is_used(folder, monkeypatch, table):
    """A new kind of file needs an entry in the registry and nothing else."""
    from dataclasses import replace

    from fcnet.data.readers import READERS, Reader, Reading, read_delimited, stream_delimited

    def read(request) -> Reading:
        path = request.path.with_suffix(".csv")
        path.write_bytes(request.path.read_bytes()[::-1])
        return read_delimited(replace(request, path=path))

    monkeypatch.setitem(READERS, ".backwards", Reader(read, stream_delimited))
    plain = folder.load(text_of(table))

    assert np.array_equal(folder.load(text_of(table)[::-1], "u.backwards").x, plain.x)
