"""The predictions file: its columns, its cells, where it goes, and that it is whole or not there."""

import csv
import io
import math
import threading
import unicodedata
from itertools import starmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnet.data.target import Numbers
from fcnet.errors import StorageError, UsageError
from fcnet.extras import PackageFault
from fcnet.runs.parquet import appending
from fcnet.runs.predictions import MANY, Form, destination, number_cells, text_cell, writing


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_classes_have_a_label_and_a_probability_each():
    """One `prediction` with the original label and one `p(label)` for each class, in the stored order."""
    form = Form("multiclass", ("digit",), ("no", "yes, a lot", "2"))

    text = form.rows([], ["2", "no"], np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]))

    assert form.header() == ["prediction", "p(no)", "p(yes, a lot)", "p(2)"]
    assert text == "2,0.1,0.2,0.7\nno,0.5,0.25,0.25\n"


def test_two_classes_have_two_probabilities():
    """Binary predictions have a column for each of the two classes, and number labels stay numbers."""
    form = Form("binary", ("survived",), (0, 1))

    assert form.header() == ["prediction", "p(0)", "p(1)"]
    assert form.rows([], [1], np.array([[0.25, 0.75]])) == "1,0.25,0.75\n"


def test_regression_has_one_column_a_target():
    """One target is called `prediction`, several are `prediction(target)`."""
    one, two = Form("regression", ("y",), None), Form("regression", ("y", "z"), None)

    assert (one.header(), one.rows([], np.array([1.5, -2.0]), None)) == (["prediction"], "1.5\n-2.0\n")
    assert two.header() == ["prediction(y)", "prediction(z)"]
    assert two.rows([], np.array([[1.5, 2.5]]), None) == "1.5,2.5\n"


def test_several_labels_have_two_columns_each():
    """Multilabel predictions have `prediction(target)` as 0 or 1 and `p(target)` for each target."""
    form = Form("multilabel", ("sad", "calm"), None)

    assert form.header() == ["prediction(sad)", "p(sad)", "prediction(calm)", "p(calm)"]
    assert form.rows([], np.array([[1.0, 0.0]]), np.array([[0.75, 0.25]])) == "1,0.75,0,0.25\n"


def test_kept_columns_come_first():
    """--keep carries columns over in front of the predictions, each cell as it was."""
    form = Form("regression", ("y",), None, keep=("id", "a, b"))

    assert form.header() == ["id", "a, b", "prediction"]
    assert form.rows([["007", ""], ['"', "x\ny"]], np.array([1.0, 2.0]), None) == '007,"""",1.0\n,"x\ny",2.0\n'


@pytest.mark.parametrize("keep", [("prediction",), ("p(1)",), ("id", "id")])
def test_a_kept_column_must_not_hide_another(keep):
    """Two columns of one name are refused before anything is read."""
    with pytest.raises(UsageError, match="have a column of that name"):
        Form("binary", ("y",), (0, 1), keep)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_read_back_equal(values):
    """Every number in the file reads back as the number that was predicted, in float64 and in float32."""
    double = np.array(values)
    with np.errstate(over="ignore"):
        single = double.astype(np.float32)
    single = single[np.isfinite(single)]

    assert [float(cell) for cell in number_cells(double)] == values
    assert np.array_equal(np.array([float(cell) for cell in number_cells(single)], dtype=np.float32), single)


def test_a_net_of_float32_writes_no_more_digits_than_it_has():
    """Probabilities have the fewest digits that read back to the same float32, in files of every length."""
    form = Form("binary", ("y",), (0, 1), dtypes=("float32",))
    p = np.array([[0.1, 0.9], [1 / 3, 2 / 3]], np.float32).astype(np.float64)

    few = form.rows([], [1, 1], p)

    assert few == "1,0.1,0.9\n1,0.33333334,0.6666667\n"
    assert form.rows([], [1, 1] * MANY, np.tile(p, (MANY, 1))) == few * MANY


@pytest.mark.parametrize(
    ("mean", "scale", "dtype", "said"),
    [
        (152.0, 77.0, "float32", "152.12346"),
        (152.0, 77.0, "float64", "152.123456789012"),
        (1e9, 1.0, "float32", "152.123456789012"),
        (0.0, 1e36, "float32", "152.123456789012"),
    ],
)
def test_numbers_far_from_zero_keep_the_digits_in_which_they_differ(mean, scale, dtype, said):
    """A prediction is written in the net's type, unless that has no digits left for how the targets differ."""
    target = Numbers(("y",), mean=np.array([mean]), scale=np.array([scale]))
    form = Form("regression", ("y",), None, dtypes=target.digits(dtype))

    assert form.rows([], np.array([152.123456789012]), None) == f"{said}\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=4))
def test_texts_read_back_but_for_the_apostrophe(texts):
    """Every text reads back as it was, or with an apostrophe in front where a spreadsheet would run it."""
    found = read(",".join(map(text_cell, texts)) + "\n")

    assert [
        cell.removeprefix("'") if cell != text else cell for cell, text in zip(found[0], texts, strict=True)
    ] == texts


SIGNS = (
    "=",
    "+",
    "-",
    "@",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    "\ufe66",
    "\ufe62",
    "\ufe63",
    "\ufe6b",
    "\u2212",
    "\u207a",
)
IN_FRONT = ("", " ", "   ", "\t", "\r", "\n", "\r\n", " \n ", "\x0b", "\xa0", "\u3000", "\ufeff", "\u200b", "\0")


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_no_text_is_a_formula(sign):
    """Text that a spreadsheet would run starts with an apostrophe: every form of a sign, whatever blanks are before."""
    for front in IN_FRONT:
        for rest in ("1+1", "SUM(1;2)", " 1 + 1", "x", "1\n+1", "-1"):
            text = front + sign + rest
            assert read(text_cell(text) + "\n") == [["'" + text]]


@pytest.mark.parametrize("text", ["\tx", "\rx", "\nx", "-1,5x", "--1", "+cmd|' /C calc'!A0"])
def test_text_behind_a_tab_or_a_line_end_is_no_cell_of_its_own(text):
    """What starts with a tab or a line end gets the apostrophe whatever follows; so does a number with more to it."""
    assert read(text_cell(text) + "\n") == [["'" + text]]


@pytest.mark.parametrize("front", IN_FRONT, ids=ascii)
def test_numbers_and_other_texts_are_untouched(front):
    """Numbers with a sign, single signs and ordinary texts stay what they are."""
    signed = [sign + "1.5e-3" for sign in SIGNS if unicodedata.normalize("NFKC", sign) in "+-\u2212"]
    for text in ["-1.5", "+3", "-1,5", "-.5e-3", "-1.5 ", *signed, *SIGNS]:
        assert read(text_cell(front + text) + "\n") == [[front + text]]
    for text in ["a=b", "<=50K", "007", "\u00e9t\u00e9", "\u65e5\u672c", "(-1)", "'=1", "\u2013 x", "#1", "_"]:
        assert read(text_cell(text) + "\n") == [[text]]


def test_labels_follow_the_rule_for_text_and_number_labels_do_not():
    """A text label that looks like a formula gets the apostrophe; the number -1 is a number."""
    assert Form("binary", ("y",), ("=a", "b")).rows([], ["=a"], np.array([[1.0, 0.0]])) == "'=a,1.0,0.0\n"
    assert Form("binary", ("y",), (-1, 1)).rows([], [-1], np.array([[1.0, 0.0]])) == "-1,1.0,0.0\n"


@pytest.mark.parametrize(
    ("source", "output", "path"),
    [
        ("data/people.csv", None, "people.predictions.csv"),
        ("people.csv.gz", None, "people.predictions.csv"),
        ("people.tsv", None, "people.predictions.csv"),
        ("a.b.csv", None, "a.b.predictions.csv"),
        ("people.csv", "out/p.csv", "out/p.csv"),
        ("-", "p.csv", "p.csv"),
        ("-", None, None),
        ("people.csv", "-", None),
    ],
)
def test_where_predictions_go(source, output, path):
    """The input's stem in the working directory, the file named, or stdout."""
    assert destination(source, output) == (None if path is None else Path(path))


@pytest.mark.parametrize("output", ["p.xlsx", "p.npz"])
def test_another_format_is_refused(output):
    """A name that promises another format than CSV or Parquet is wrong usage."""
    with pytest.raises(UsageError, match=r"end the name in \.csv or \.parquet"):
        destination("people.csv", output)


def test_parquet_without_polars_says_what_to_install(monkeypatch):
    """Where polars is missing, a .parquet name is refused before anything is computed, with the command that helps."""
    monkeypatch.setattr(
        "fcnet.runs.predictions.fault", lambda: PackageFault("", "pip install 'fcnet[fast]'", missing=True)
    )

    with pytest.raises(UsageError, match=r"pip install 'fcnet\[fast\]'"):
        destination("people.csv", "p.parquet")


def test_parquet_holds_the_same_columns_with_their_types(tmp_path):
    """Numbers are numbers, text labels and kept cells are texts as they stand, without the spreadsheet's apostrophe."""
    polars = pytest.importorskip("polars")
    path = tmp_path / "p.parquet"

    with writing(path, Form("binary", ("y",), ("=a", "b"), ("id",))) as write:
        write([["007", ""]], ["b", "=a"], np.array([[0.1, 0.9], [1.0, 0.0]]))
        write([["x"]], ["b"], np.array([[0.25, 0.75]]))

    assert polars.read_parquet(path).to_dict(as_series=False) == {
        "id": ["007", "", "x"],
        "prediction": ["b", "=a", "b"],
        "p(=a)": [0.1, 1.0, 0.25],
        "p(b)": [0.9, 0.0, 0.75],
    }


def test_parquet_is_written_while_rows_come():
    """Row groups are written before the last rows are known, and what is read back is everything, in order."""
    pl = pytest.importorskip("polars")
    times, n = 300, 10_000
    values = np.random.default_rng(0).random((times, n))
    file = io.BytesIO()

    with appending(file) as append:
        for chunk in values:
            append(pl.DataFrame({"a": chunk}))
        early = file.tell()

    assert early > values.nbytes // 4
    file.seek(0)
    assert np.array_equal(pl.read_parquet(file)["a"].to_numpy(), values.reshape(-1))


class Full(io.BytesIO):
    """A file on a full disk."""

    def write(self, data):
        raise StorageError("the disk is full")


@pytest.mark.parametrize("times", [1, 500])
def test_a_parquet_file_that_cannot_be_written_says_why(times):
    """The file system's error comes through polars in our words, at the next rows or at the end, and nothing hangs."""
    pl = pytest.importorskip("polars")

    def write():
        with appending(Full()) as append:
            for _ in range(times):
                append(pl.DataFrame({"a": np.random.default_rng(0).random(10_000)}))

    with pytest.raises(StorageError, match="the disk is full"):
        write()


def test_an_interrupted_parquet_file_does_not_appear(tmp_path):
    """When rows stop coming, no file and no thread is left."""
    pytest.importorskip("polars")
    before = threading.active_count()

    def rows():
        yield [], np.ones(1_000_000), None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "p.parquet", Form("regression", ("y",), None)) as write:
        list(starmap(write, rows()))

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=50))
def test_many_rows_are_spelled_as_few_are(dtype, values):
    """The fast way of writing many rows gives the same bytes as the plain one, whatever the numbers."""
    pytest.importorskip("polars")
    n = len(values)
    cells = [f'{i},"' for i in range(n)]
    labels = ["=a" if i % 2 else "é" for i in range(n)]
    form = Form("binary", ("y",), ("=a", "é"), ("k",), (dtype,))
    with np.errstate(over="ignore"):
        p = np.array([values, [1.0] * n]).T.astype(dtype)
    many = -(-MANY // n)

    plain = form.rows([cells], labels, p)
    fast = form.rows([cells * many], labels * many, np.tile(p, (many, 1)))

    assert fast == plain * many


def test_the_file_appears_when_it_is_whole(tmp_path):
    """While rows are written, nothing stands under the name; then everything does."""
    path = tmp_path / "p.csv"

    with writing(path, Form("regression", ("y",), None)) as write:
        write([], np.array([1.0]), None)
        before = path.exists()
        write([], np.array([2.0]), None)

    assert not before
    assert path.read_bytes() == b"prediction\n1.0\n2.0\n"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


def test_an_interrupted_file_does_not_appear(tmp_path):
    """When rows stop coming, what stood there stays and no temporary file is left."""
    path = tmp_path / "p.csv"
    path.write_text("old")

    def rows():
        yield [], np.ones(1_000_000), None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writing(path, Form("regression", ("y",), None)) as write:
        list(starmap(write, rows()))

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


def test_an_input_is_not_overwritten(tmp_path):
    """The output must not be one of the inputs, whatever it is called, nor a folder."""
    source = tmp_path / "p.csv"
    source.write_text("a\n1\n")
    link = tmp_path / "link.csv"
    link.symlink_to(source)

    for path in (source, link, tmp_path):
        with pytest.raises(UsageError), writing(path, Form("regression", ("y",), None), [source]):
            pass
    assert source.read_text() == "a\n1\n"


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    """Where the file cannot be written the file system is to blame, not the user's data."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError), writing(tmp_path / "file/p.csv", Form("regression", ("y",), None)):
        pass


def test_predictions_go_to_stdout_as_utf_8(capfdbinary):
    """On stdout the same bytes appear, whatever the terminal's encoding."""
    with writing(None, Form("binary", ("y",), ("é", "n"))) as write:
        write([], ["é"], np.array([[1.0, 0.0]]))

    assert capfdbinary.readouterr().out == "prediction,p(é),p(n)\né,1.0,0.0\n".encode()


def test_classes_of_several_types_from_an_earlier_release_are_said_as_they_are():
    """Checkpoints of before hold numbers and texts side by side; a text is no number, and a number no text."""
    form = Form("multiclass", ("month",), ("08", 11))

    assert form.rows([], ["08", 11], np.array([[0.75, 0.25], [0.25, 0.75]])) == "08,0.75,0.25\n11,0.25,0.75\n"


def test_labels_read_back_from_any_class_list():
    """Classes given as Python numbers appear with all their digits."""
    form = Form("binary", ("y",), (0.1, 1 / 3))

    cell = read(form.rows([], [1 / 3], np.array([[0.0, 1.0]])))[0][0]

    assert math.isclose(float(cell), 1 / 3, rel_tol=0)
