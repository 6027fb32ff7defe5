"""Tables for prediction: matched by name, read in chunks, nothing refitted."""

from __future__ import annotations

import gzip
import io
import sys
import tracemalloc

import numpy as np
import pytest

from fcnet.data import Tally, delimited, score, stream
from fcnet.errors import DataError, UsageError

TRAIN = "id,a,c,y\n" + "".join(f"{i},{i % 10},{'uvw'[i % 3]},{i}.5\n" for i in range(60))


@pytest.fixture
def fitted(folder):
    return folder.load(TRAIN, exclude=["id"])


def chunks(source, fitted, tally=None, **options):
    return list(
        stream(source, fitted.resolved, fitted.encoder, fitted.target, Tally() if tally is None else tally, **options)
    )


def matrix(source, fitted, tally=None, **options):
    return np.concatenate([inputs.x for inputs, _ in chunks(source, fitted, tally, **options)])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a,c\n3,v\n", id="as-training"),
        pytest.param("c,a\nv,3\n", id="V49-other-order"),
        pytest.param("c;a\r\nv;3\r\n", id="other-delimiter"),
        pytest.param("extra,a,c,y\nx,3,v,9\n", id="V50-extra-and-target"),
        pytest.param("id,c,a\n7, v ,3.0\n", id="excluded-column-and-blanks"),
    ],
)
def test_columns_are_matched_by_name(folder, fitted, text):
    """Order, delimiter, extra columns and the presence of the target change nothing."""
    want = fitted.x[13]

    assert np.array_equal(matrix(folder.write(text, "p.csv"), fitted), want[None])


def test_notices_of_extra_columns_and_of_the_target(folder, fitted):
    """Extra columns and the target are said once; columns that training left out are known and are not extra."""
    tally = Tally()

    chunks(folder.write("q,a,c,y,id\n1,3,v,9,1\n", "p.csv"), fitted, tally)

    assert 'columns not used: "q"' in tally.notices()
    assert any('the target "y" is there, and not used' in notice for notice in tally.notices())
    with pytest.raises(DataError, match='"q"'):
        chunks(folder.write("q,a,c\n1,3,v\n", "p.csv"), fitted, Tally(strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", 'p.csv: no column "c", which the net was trained on; the file has "a", "b"'),
        ("b\n1\n", 'the file has "b"; are its fields separated as those of the training were?'),
        (
            "a,c\n1,u\nx,u\n",
            'p.csv:3: column "a": "x" is not a number; mend it, or train again with it under data.missing',
        ),
        (
            "a,c\n1e39,u\n",
            'p.csv:2: column "a": "1e39" is outside float32; mend it, or train again with dtype=float64',
        ),
        ("a,c\n1,u\n2\n", "p.csv:3: 1 field, the header has 2"),
        ("a,c\n", "no rows"),
        ("", "is empty"),
        ("1,2\n3,4\n", 'the first line looks like data ("1", …); put a line with the columns\' names above it'),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, fitted, text, said):
    """Missing columns, cells that are no numbers and ragged rows are named."""
    path = folder.write(text, "p.csv")

    with pytest.raises(DataError) as error:
        chunks(path, fitted, shown="p.csv")

    assert said in str(error.value)


def test_all_bad_rows_are_listed_though_they_lie_in_different_chunks(folder, fitted, monkeypatch):
    """The rest of the file is looked through before the error, and nothing is handed out after the first bad row."""
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 1000)
    lines = ["a,c", *["1,u"] * 2000]
    lines[500], lines[1500] = "x,u", "1"
    got = []
    pieces = stream(folder.write("\n".join(lines), "p.csv"), fitted.resolved, fitted.encoder, fitted.target, Tally())

    with pytest.raises(DataError) as error:
        got.extend(len(x) for x, _ in pieces)

    assert [p.line for p in error.value.problems] == [501, 1501]
    assert sum(got) < 500


def test_unseen_categories_missing_cells_and_ranges_are_counted(folder, fitted):
    """Each is a notice by column; with `strict` unseen categories are an error with line and value."""
    path = folder.write("a,c\n1,zebra\n,u\n99,\n", "p.csv")
    tally = Tally()

    x = matrix(path, fitted, tally)

    assert x[0, 1:].tolist() == [0, 0, 0]
    assert x[2, 1:].tolist() == [0, 0, 0]
    assert [n for n in tally.notices() if "zebra" in n]
    assert 'missing cells: "a" 1, "c" 1' in tally.notices()
    assert 'values outside the training range: "a" 1' in tally.notices()
    with pytest.raises(DataError, match=r'p.csv:2: column "c": no training row has the category "zebra"'):
        chunks(path, fitted, Tally(strict=True), shown="p.csv")


def test_kept_columns_come_as_they_stand(folder, fitted):
    """Kept columns hold the cells of the file, features or not, missing or not."""
    path = folder.write('name,a,c\n"x, ""y""",3.00,v\n,NA, u \n', "p.csv")

    ((_, kept),) = chunks(path, fitted, keep=["name", "a", "c"])

    assert kept == {"name": ['x, "y"', ""], "a": ["3.00", "NA"], "c": ["v", " u "]}
    with pytest.raises(UsageError, match='no column "nam"'):
        chunks(path, fitted, keep=["nam"])


def test_standard_input_may_be_text_or_gzip(fitted):
    """A stream without a name is read as CSV, packed or not."""
    content = b"a,c\n3,v\n4,w\n"

    plain = matrix(io.BytesIO(content), fitted, shown="stdin")
    packed = matrix(io.BytesIO(gzip.compress(content)), fitted, shown="stdin")

    assert np.array_equal(plain, packed)
    assert len(plain) == 2


def test_r14_memory_does_not_grow_with_the_table(folder, fitted, monkeypatch):
    """Ten times the rows need no more memory at a time."""
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 1 << 14)

    def peak(n: int) -> int:
        path = folder.write("a,c\n" + "3,v\n4,w\n" * n, "p.csv")
        tracemalloc.start()
        rows = 0
        for x, _ in stream(path, fitted.resolved, fitted.encoder, fitted.target, Tally()):
            rows += len(x)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == 2 * n
        return result

    peak(1000)
    assert peak(40_000) < 1.5 * peak(10_000)


def test_files_without_header_go_by_position(folder):
    """A net trained without header predicts files without header, with or without the target column."""
    lines = [f"{i % 2},{i},{i * i % 17}" for i in range(40)]
    fitted = folder.load("\n".join(lines), header=False, target=0, validation=0)

    whole = matrix(folder.write("\n".join(lines), "p.csv"), fitted)
    bare = matrix(folder.write("\n".join(line.split(",", 1)[1] for line in lines), "p.csv"), fitted)

    assert np.array_equal(whole, bare)
    with pytest.raises(
        DataError, match=r"p\.csv:1: the first line looks like a header .*; delete it: the net was trained"
    ):
        chunks(folder.write("y,a,b\n" + "\n".join(lines), "p.csv"), fitted, shown="p.csv")
    with pytest.raises(DataError, match="4 columns; the net was trained on 3, 2 without the target"):
        chunks(folder.write("1,2,3,4\n", "p.csv"), fitted)


def test_npz_and_frames_predict_like_csv(folder, fitted):
    """Arrays and mappings go through the same encoder."""
    want = matrix(folder.write("a,c\n3,v\n4,w\n", "p.csv"), fitted)

    mapping = matrix({"c": np.array(["v", "w"]), "a": np.array([3, 4])}, fitted)

    assert np.array_equal(want, mapping)


def test_npz_of_another_width_is_refused(folder):
    """N22: a net trained on three features refuses an array of two."""
    x = np.random.default_rng(0).normal(size=(30, 3))
    np.savez(folder.path / "t.npz", x=x, y=np.arange(30) % 2)
    fitted = folder.load(None, "t.npz", target=None)
    np.savez(folder.path / "p.npz", x=x[:, :2])
    np.savez(folder.path / "q.npz", x=x)

    with pytest.raises(DataError, match='no column "x2"'):
        chunks(folder.path / "p.npz", fitted)
    assert np.array_equal(matrix(folder.path / "q.npz", fitted), fitted.x)


def test_another_file_is_scored_with_what_was_fitted(folder, fitted):
    """A scored file has one part, its targets encoded as in training."""
    other = folder.write("c,a,y,id\nv,3,7.5,1\nw,4,8.5,2\n", "o.csv")

    found = score(other, fitted.resolved, fitted.encoder, fitted.target)

    assert found.parts["test"].tolist() == [0, 1]
    assert np.allclose(found.target.truths(found.y)[:, 0], [7.5, 8.5])
    with pytest.raises(DataError, match="no target column"):
        score(folder.write("c,a\nv,3\n", "o.csv"), fitted.resolved, fitted.encoder, fitted.target)


def test_labels_of_a_scored_file_are_matched_as_training_wrote_them(folder):
    """Number labels match by value, and a label that training lacks is an error."""
    fitted = folder.load("a,y\n" + "".join(f"{i},{i % 3}\n" for i in range(30)))
    other = folder.write("a,y\n1,2.0\n2,0\n", "o.csv")

    assert score(other, fitted.resolved, fitted.encoder, fitted.target).y.tolist() == [2, 0]
    with pytest.raises(DataError, match='no training row has the label "5"'):
        score(folder.write("a,y\n1,5\n", "o.csv"), fitted.resolved, fitted.encoder, fitted.target)
    with pytest.raises(DataError, match='no training row has the label "x"'):
        score(folder.write("a,y\n1,x\n", "o.csv"), fitted.resolved, fitted.encoder, fitted.target)


def test_missing_and_unknown_labels_of_a_scored_file_come_together(folder):
    """What is wrong with the target is said at once, by line, and without advice for a config that is not there."""
    fitted = folder.load("a,y\n" + "".join(f"{i},{'uvw'[i % 3]}\n" for i in range(30)))
    other = folder.write("a,y\n1,u\n2,x\n3,\n4,z\n", "o.csv")

    with pytest.raises(DataError) as error:
        score(other, fitted.resolved, fitted.encoder, fitted.target)

    assert [(problem.line, problem.text.split("; ")[-1]) for problem in error.value.problems] == [
        (3, 'column "y": no training row has the label "x", only "u", "v", "w"'),
        (4, "fill it in, or leave the row out"),
        (5, 'column "y": no training row has the label "z", only "u", "v", "w"'),
    ]


def test_one_cell_is_one_cell(folder, fitted):
    """A notice about a single cell speaks of it in the singular."""
    tally = Tally()

    matrix(folder.write("a,c\n1,zebra\n", "p.csv"), fitted, tally)

    said = 'column "c": 1 cell holds a category that training has not seen ("zebra" 1); it counts as unknown'
    assert said in tally.notices()


def test_categories_beyond_those_that_are_kept_are_counted_without_a_name(folder, fitted):
    """Of very many unseen categories the most frequent are named; the others are no category called `…`."""
    cells = [*["zebra"] * 3, *[f"q{i}" for i in range(1200)]]
    tally = Tally()

    matrix(folder.write("a,c\n" + "".join(f"1,{cell}\n" for cell in cells), "p.csv"), fitted, tally)

    (said,) = [notice for notice in tally.notices() if "1,203 cells" in notice]
    assert '("zebra" 3, "q0" 1, "q1" 1 and at least 998 more)' in said


def test_strict_scoring_refuses_extra_columns_and_not_dropped_rows(folder):
    """With `strict` an unknown column is an error; rows dropped as the config says are a notice all the same."""
    fitted = folder.load("a,y\n" + "".join(f"{i},{i}.5\n" for i in range(30)), missing_target="drop")
    other = folder.write("a,y\n1,2.5\n2,\n", "o.csv")

    found = score(other, fitted.resolved, fitted.encoder, fitted.target, strict=True)

    assert any("left out 1 row " in notice for notice in found.notices)
    with pytest.raises(DataError, match='training did not have: "q"'):
        score(folder.write("a,q,y\n1,2,3\n", "o.csv"), fitted.resolved, fitted.encoder, fitted.target, strict=True)


@pytest.mark.parametrize("outputs", [1, 1000, 1 << 19, 1 << 21])
@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet", "frame", "stdin"])
def test_rows_times_outputs_bound_a_chunk(folder, fitted, outputs, suffix):
    """However short the rows, so few come at a time that they make no more than a million cells; none is lost."""
    n = 5 if outputs > 1 << 18 else 70_000 if outputs == 1 else 3_000
    a, c = np.arange(n) % 7 + 1.0, np.array(["u", "v", "w"], dtype=object)[np.arange(n) % 3]
    lines = "a,c\n" + "".join(f"{x:.0f},{y}\n" for x, y in zip(a, c, strict=True))
    if suffix == "npz":
        np.savez(folder.path / "p.npz", x=np.stack([a.astype(int).astype(str), c.astype(str)], 1), columns=["a", "c"])
        source = folder.path / "p.npz"
    elif suffix == "parquet":
        source = folder.path / "p.parquet"
        pytest.importorskip("polars").DataFrame({"a": a, "c": c.astype(str)}).write_parquet(source)
    else:
        source = folder.write(lines, "p.csv")
        source = io.BytesIO(lines.encode()) if suffix == "stdin" else {"a": a, "c": c} if suffix == "frame" else source
    whole, tally = matrix(folder.write(lines, "q.csv"), fitted), Tally()

    got = chunks(source, fitted, tally, keep=["c"], outputs=outputs)

    assert max(len(x) for x, _ in got) * outputs <= max(1 << 20, outputs)
    assert np.array_equal(np.concatenate([inputs.x for inputs, _ in got]), whole)
    assert [cell for _, kept in got for cell in kept["c"]] == c.tolist()


def test_pieces_of_a_table_know_their_rows(folder, fitted, monkeypatch):
    """What is wrong or remarkable in a later piece has its own line, and levels are looked up once a row at most."""
    monkeypatch.setattr(sys.modules["fcnet.data.stream"], "OUTPUTS", 8)
    path = folder.write("a,c\n" + "".join(f"1,x{i}\n" for i in range(20)) + "1,\n1,u\n", "p.csv")
    tally = Tally()

    got = chunks(path, fitted, tally)

    assert [len(x) for x, _ in got] == [8, 8, 6]
    assert got[-1][0].x[-1, 1:].tolist() == [1, 0, 0]
    assert 'missing cells: "c" 1' in tally.notices()
    assert any("20 cells hold categories" in notice for notice in tally.notices())
    with pytest.raises(DataError) as error:
        chunks(path, fitted, Tally(strict=True), shown="p.csv")
    assert [p.line for p in error.value.problems][:5] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_short_lines_make_small_blocks(folder, fitted, monkeypatch, end):
    """A block has a bounded number of lines, whatever ends them, and all rows come, each once and with its line."""
    monkeypatch.setattr("fcnet.data.delimited.LINES", 100)
    text = "a,c" + end + "".join(f"{i},v{end}" for i in range(1050)) + f"x,v{end}"
    path, seen = folder.write(text, "p.csv"), []
    real = delimited.Delimited._converted

    def converted(self, text, numbers):
        seen.append(text.count(end.encode()))
        return real(self, text, numbers)

    monkeypatch.setattr(delimited.Delimited, "_converted", converted)
    with pytest.raises(DataError, match=r"p\.csv:1052"):
        chunks(path, fitted, shown="p.csv")

    assert len(seen) > 10
    assert max(seen) <= 100
