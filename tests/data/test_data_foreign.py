"""Files that hold their tables in another format: what they are, and that the command shown makes a table of them."""

from __future__ import annotations

import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest

from fcnet.data.cures import without_line
from fcnet.data.foreign import foreign
from fcnet.errors import DataError

N = 30
ROWS = [(i * 7 % 10 + 0.5, "uvw"[i % 3], "yes" if i % 2 else "no") for i in range(N)]
ARFF = (
    "% a comment, with commas\n\n@RELATION shop\n@attribute 'the height' numeric\n@attribute colour {u,v,w}\n"
    '@attribute "y" {yes,no}\n@data\n% another\n' + "".join(f"{a}, '{c}', {y}\n" for a, c, y in ROWS)
)
JSON = "[" + ",\n".join(f'{{"the height":{a},"colour":"{c}","y":"{y}"}}' for a, c, y in ROWS) + "]"
LINES = "".join(f'{{"the height":{a},"colour":"{c}","y":"{y}"}}\n' for a, c, y in ROWS)
HTML = (
    "<!DOCTYPE html>\n<table><tr><th>the height</th><th>colour</th><th>y</th></tr>"
    + "".join(f"<tr><td>{a}</td><td>{c}</td><td>{y}</td></tr>" for a, c, y in ROWS)
    + "</table>"
)
XML = (
    '<?xml version="1.0"?>\n<rows>'
    + "".join(f"<row><a>{a}</a><c>{c}</c><y>{y}</y></row>" for a, c, y in ROWS)
    + "</rows>"
)


def refused(folder, name: str, content: str | bytes | None = None) -> str:
    with pytest.raises(DataError) as error:
        folder.load(content, name)

    (problem,) = error.value.problems
    return problem.text


def converted(folder, said: str) -> str:
    """Run the command that a message ends with; the name of what it wrote."""
    words = shlex.split(said.partition("convert it: ")[2])
    before = set(folder.path.iterdir())
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=folder.path, check=True)
    (made,) = set(folder.path.iterdir()) - before
    return made.name


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        pytest.param("shop.arff", ARFF, "ARFF", id="arff"),
        pytest.param("it's.csv", ARFF, "ARFF", id="arff-by-content"),
        pytest.param("shop.json", JSON, "JSON", id="json"),
        pytest.param("data.csv", "\ufeff" + JSON, "JSON", id="json-by-content"),
        pytest.param("shop.jsonl", LINES, "JSON lines", id="json-lines"),
        pytest.param("shop.html", HTML, "HTML", id="html"),
        pytest.param("shop.xml", XML, "XML", id="xml"),
    ],
)
def test_texts_of_another_format_are_named_with_a_command_that_works(folder, name, content, what):
    """The content decides; the command writes a table beside, and never over the file itself."""
    said = refused(folder, name, content)

    assert said.startswith(f"looks like {what}; convert it: python -c ")
    if what != "ARFF":
        pytest.importorskip("pandas")
    if what in ("HTML", "XML"):
        pytest.importorskip("lxml")
    found = folder.load(None, converted(folder, said))
    assert found.encoder.columns[1] in ("colour", "c")
    assert len(found.x) == N
    assert list(found.target.classes) == ["no", "yes"]


def test_svmlight_becomes_arrays(folder):
    """Pairs of index and value behind a label become an NPZ, by scikit-learn."""
    text = "".join(f"{'+1' if i % 2 else '-1'} 1:{i % 5}.5 3:{i % 3 + 1} # row {i}\n" for i in range(N))

    said = refused(folder, "a.txt", text)

    assert said.startswith("looks like svmlight (libsvm); convert it: python -c ")
    pytest.importorskip("sklearn")
    found = folder.load(None, converted(folder, said), target=None)
    assert found.x.shape == (N, 3)


@pytest.mark.parametrize(
    ("name", "write", "needs", "what"),
    [
        ("shop.xlsx", "to_excel", "openpyxl", "an Excel workbook"),
        ("renamed.csv", "to_excel", "openpyxl", "an Excel workbook"),
        ("shop.feather", "to_feather", "pyarrow", "an Arrow file"),
        ("shop.dta", "to_stata", "pandas", "a Stata table"),
        ("shop.pkl", "to_pickle", "pandas", "a Python pickle, which runs what is in it (so only if you trust it)"),
    ],
)
def test_binary_tables_are_named_with_a_command_that_works(folder, name, write, needs, what):
    """Workbooks, Arrow, Stata and pickles are known by content and name."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip(needs)
    frame = pandas.DataFrame(ROWS, columns=["height", "colour", "y"])
    kept = folder.path / ("kept.xlsx" if write == "to_excel" else name)
    getattr(frame, write)(
        kept,
        **(
            {}
            if write in ("to_feather", "to_pickle")
            else {"index": False}
            if write == "to_excel"
            else {"write_index": False}
        ),
    )
    kept.rename(folder.path / name)

    said = refused(folder, name)

    assert said.startswith(f"looks like {what}; convert it: python -c ")
    if name != "renamed.csv":  # pandas goes by the name
        assert len(folder.load(None, converted(folder, said)).x) == N


@pytest.mark.parametrize(
    ("start", "name", "what"),
    [
        (b"\x89HDF\r\n\x1a\n", "t.h5", "an HDF5 file"),
        (b"$FL2@(#) SPSS DATA FILE", "t.sav", "an SPSS file"),
        (b"\0" * 12 + b"\xc2\xea\x81\x60" + b"\0" * 40, "t.sas7bdat", "a SAS table"),
        (b"HEADER RECORD*******LIBRARY HEADER RECORD", "t.xpt", "a SAS transport file"),
        (b"ORC\n\x03\x00\x00", "t.orc", "an ORC file"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 40, "t.xls", "an Excel workbook"),
        (b"BZh91AY", "t.csv.bz2", "a bzip2 file"),
        (b"\xfd7zXZ\x00", "t.csv.xz", "an xz file"),
        (pickle.dumps({"a": 1}), "t.csv", "a Python pickle"),
    ],
)
def test_other_formats_are_known_by_their_first_bytes(start, name, what):
    """What pandas or a command reads is named with it."""
    said = foreign(start, name)

    assert said is not None
    assert said.startswith(f"looks like {what}")
    assert f'"{name}"' in said or f" {name} " in said


@pytest.mark.parametrize(
    "text",
    [
        "[a],[b],y\n1,2,3\n",
        "{a},b\n1,2\n",
        "<5,>5,y\n1,2,3\n",
        "1 12:30\n2 12:45\n",
        "ORCHARD,y\n1,2\n",
        "@a,b\n1,2\n",
        "% x\na,b\n",
    ],
)
def test_tables_are_not_taken_for_another_format(text):
    """Brackets, signs and times in a table make no other format of it."""
    assert foreign(text.encode(), "t.csv") is None


def test_a_stream_is_told_to_be_converted(folder):
    """Standard input has no name that a command could read."""
    assert foreign(JSON.encode(), "stdin") == "looks like JSON; convert it to CSV"


def test_many_blank_lines_are_looked_through_quickly():
    """The look at the first bytes takes time in proportion to them."""
    assert foreign(b"\n" * (1 << 16) + b"%" * (1 << 10), "t.csv") is None
    assert foreign(b"[" * (1 << 16), "t.csv") is not None
    assert foreign(b"1 1:" * (1 << 14), "t.csv") is None


def test_npy_becomes_a_table(folder):
    """The command for an array of NumPy writes a CSV without a header."""
    np.save(folder.path / "a.npy", np.arange(90.0).reshape(30, 3) % 7)

    said = refused(folder, "a.npy")

    assert folder.load(None, converted(folder, said), header=False, target=-1).x.shape == (30, 2)


def test_thousands_of_digits_are_no_index():
    """A line is taken for svmlight only where its indices are such as columns have."""
    assert foreign(f"1 {'1' * 18}:2 {'2' * 18}:3\n".encode(), "t.csv") is not None
    assert foreign(f"1 {'1' * 5000}:2 {'2' * 5001}:3\n".encode(), "t.csv") is None


@pytest.mark.parametrize("name", ["stdin", "/tmp/kept/stdin.csv"])
def test_what_came_from_stdin_is_no_file_for_a_command(name):
    """No command is shown that would read a file called stdin."""
    said = foreign(b'{"a": 1}\n{"a": 2}\n', name)

    assert said == "looks like JSON lines; convert it to CSV"
    assert without_line(12, name) == "delete it"
    assert "t.clean.csv" in without_line(12, "t.csv")
