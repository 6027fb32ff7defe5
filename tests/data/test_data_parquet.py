"""Parquet: the same table as CSV, with the types that the file declares."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from fcnet.data import Tally, score, stream
from fcnet.errors import DataError
from fcnet.extras import PackageFault

pl = pytest.importorskip("polars")


def frame(n: int = 60):
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.integers(0, 9, n),
            "c": [("u", "v", "w")[i % 3] for i in range(n)],
            "d": rng.random(n).astype(np.float32),
            "y": rng.normal(size=n),
        }
    )


def write(folder, table, name="t.parquet", **more):
    table.write_parquet(folder.path / name, **more)
    return folder.path / name


def test_parquet_is_the_same_table_as_csv(folder):
    """Numbers and texts of a Parquet file give the arrays that the same table gives as CSV."""
    table = frame().drop("d")
    write(folder, table)

    found = folder.load(None, "t.parquet")

    assert np.array_equal(found.x, folder.load(table.write_csv(), "t.csv").x)
    assert found.encoder.columns == ("a", "b", "c")
    assert len(found.files[0].sha256) == 64


def test_missing_cells_of_every_type_are_counted(folder):
    """Nulls and NaN in numbers, nulls and empty texts in text, are missing."""
    table = frame().with_columns(
        a=pl.Series([None, float("nan"), *[1.0 * i for i in range(58)]]),
        b=pl.Series([None, *range(59)]),
        c=pl.Series([None, "", *["u", "v"] * 29]),
    )
    write(folder, table)

    found = folder.load(None, "t.parquet")

    assert 'missing cells: "a" 2, "b" 1, "c" 2' in found.notices


def test_booleans_decimals_dates_and_categories_are_read(folder):
    """Booleans and decimals are numbers; dates and declared categories are texts."""
    days = [dt.date(2020, 1, 1 + i % 3) for i in range(60)]
    table = frame().with_columns(
        a=pl.Series([i % 2 == 0 for i in range(60)]),
        b=pl.col("b").cast(pl.Decimal(10, 2)),
        c=pl.col("c").cast(pl.Categorical),
        d=pl.Series(days),
    )
    write(folder, table)

    found = folder.load(None, "t.parquet")

    kinds = {feature.name: feature for feature in found.encoder.features}
    assert kinds["b"].kind == "number"
    assert kinds["c"].levels == ("u", "v", "w")
    assert kinds["d"].levels == ("2020-01-01", "2020-01-02", "2020-01-03")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        pytest.param([1.0, float("inf")] * 30, 'row index 1: column "a": inf is infinite', id="infinity"),
        pytest.param([2**53 + 1, None] * 30, "2**53", id="large-integer"),
        pytest.param([[1, 2]] * 60, "data.exclude", id="nested"),
        pytest.param([b"x"] * 60, "data.exclude", id="binary"),
    ],
)
def test_values_that_are_no_cells_are_refused(folder, column, said):
    """Infinite numbers, integers beyond float64, nested and binary columns are errors with the column."""
    write(folder, frame().with_columns(a=pl.Series(column)))

    with pytest.raises(DataError) as error:
        folder.load(None, "t.parquet")

    assert said in str(error.value)
    assert '"a"' in str(error.value)
    assert folder.load(None, "t.parquet", exclude=["a"]).encoder.columns == ("b", "c", "d")


@pytest.mark.parametrize(
    ("values", "kind"),
    [([dt.timedelta(hours=i) for i in range(60)], None), ([[i] for i in range(60)], pl.List(pl.Int64))],
)
def test_types_that_are_neither_numbers_nor_text_are_refused(folder, values, kind):
    """A column of a type that cannot be read is named with its type, where it is needed; left out, it does no harm."""
    table = frame().with_columns(pl.Series("e", values, dtype=kind))
    write(folder, table)

    with pytest.raises(
        DataError, match=r'column "e" is of the type \w+.*which is not read; list it under data.exclude'
    ):
        folder.load(None, "t.parquet")
    assert "e" not in folder.load(None, "t.parquet", exclude=["e"]).encoder.columns


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        pytest.param(pl.Date, 2**31 - 1, id="date"),
        pytest.param(pl.Datetime("ms"), -(2**56), id="ms"),
        pytest.param(pl.Datetime("us", "Europe/Berlin"), 2**63 - 1, id="us-zone"),
    ],
)
def test_infinite_times_are_refused(folder, kind, moment):
    """What databases write for an infinite time, which no calendar has, is an error, kept cells among them."""
    fitted = folder.load("a,y\n" + "".join(f"{i},{i}.5\n" for i in range(60)))
    days = pl.Series([None, *range(58), moment]).cast(kind)
    path = write(folder, frame().with_columns(d=days))

    with pytest.raises(DataError, match=r'column "d" is of the type Date.* with times that no calendar has'):
        folder.load(None, "t.parquet")
    with pytest.raises(DataError, match=r'column "d" is of the type Date.* with times that no calendar has'):
        list(stream(path, fitted.resolved, fitted.encoder, fitted.target, Tally(), keep=["d"]))
    write(folder, frame().with_columns(d=pl.Series([2**63 - 1] * 60).cast(pl.Datetime("ns"))))
    assert len(folder.load(None, "t.parquet").x) == 60


@pytest.mark.parametrize("name", ["*", "^a$", "^.*$"])
def test_a_column_is_found_by_its_name_alone(folder, name):
    """Names that polars takes for patterns are names, whether the columns that they would match are used or not."""
    table = frame().rename({"d": name})
    write(folder, table)

    for exclude, columns in (([], ("a", "b", "c", name)), (["a", "b"], ("c", name))):
        found = folder.load(None, "t.parquet", exclude=exclude)

        assert found.encoder.columns == columns
        assert np.allclose(found.x, folder.load(table.write_csv(), "t.csv", exclude=exclude).x, atol=1e-6)


def test_files_that_are_no_parquet_are_refused(folder):
    """Other content under the name, a cut file and a file without rows are errors without a traceback."""
    good = write(folder, frame()).read_bytes()

    for content, said in [
        (b"PK\x03\x04....", "looks like a zip archive"),
        (b"a,y\n1,2\n", "not a Parquet file"),
        (good[: len(good) // 2], "damaged"),
        (b"PAR1", "damaged"),
        (write(folder, frame().head(0), "e.parquet").read_bytes(), "no rows"),
    ]:
        with pytest.raises(DataError, match=said):
            folder.load(content, "t.parquet")


def test_without_polars_the_message_says_what_to_install(folder, monkeypatch):
    """Parquet needs an extra, which the message names with the command."""
    write(folder, frame())
    monkeypatch.setattr("fcnet.data.parquet.fault", lambda: PackageFault("", "pip install 'fcnet[fast]'", missing=True))

    with pytest.raises(DataError, match=r"pip install 'fcnet\[fast\]'"):
        folder.load(None, "t.parquet")


def test_a_parquet_file_is_predicted_in_slices(folder, monkeypatch):
    """Slices give the rows of the whole, in order, and the kept cells; a bad row is named by its index in the file."""
    table = frame(500)
    path = write(folder, table, row_group_size=70)
    fitted = folder.load(None, "t.parquet")
    monkeypatch.setattr("fcnet.data.parquet.CELLS", 400)

    pieces = list(stream(path, fitted.resolved, fitted.encoder, fitted.target, Tally(), keep=["b"]))

    assert len(pieces) > 4
    assert np.array_equal(np.concatenate([inputs.x for inputs, _ in pieces]), fitted.x)
    assert [cell for _, kept in pieces for cell in kept["b"]] == list(map(str, table["b"].to_list()))
    assert np.array_equal(score(path, fitted.resolved, fitted.encoder, fitted.target).x, fitted.x)
    broken = table.with_columns(a=pl.Series([0.0] * 450 + [float("inf")] * 50))
    with pytest.raises(DataError, match="row index 450: "):
        list(stream(write(folder, broken, "b.parquet"), fitted.resolved, fitted.encoder, fitted.target, Tally()))


@pytest.mark.parametrize("categories", [[3, 1, 2], [True, False, True], ["u", "v", "w"]])
def test_categories_that_pandas_declared_stay_categories(folder, categories):
    """pandas notes in the file which columns are categories, also of numbers; what is no such note does no harm."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    cells = [categories[i % 3] for i in range(60)]
    table = pd.DataFrame({"c": pd.Series(cells).astype("category"), "z": np.sin(range(60)), "y": [0.5, 1.5, 4.5] * 20})
    table.to_parquet(folder.path / "t.parquet")

    found = folder.load(None, "t.parquet")

    assert [(feature.name, feature.kind) for feature in found.encoder.features] == [("z", "number"), ("c", "category")]
    labels = folder.load(None, "t.parquet", target="c")
    assert labels.target.classes == tuple(sorted(set(categories)))
    for note in ("", "[]", '{"columns": 3}', '{"columns": [[]]}', '{"columns": [{"field_name": {}}]}', "[" * 9999):
        frame().write_parquet(folder.path / "n.parquet", metadata={"pandas": note})
        assert folder.load(None, "n.parquet").encoder.columns == ("a", "b", "c", "d")
