"""Columns that number the rows: an index, identifiers. They are left out unless they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from fcnet.data import Tally, load, stream
from fcnet.data.options import Data, Preprocess
from fcnet.errors import DataError

N = 60
ORDER = np.random.default_rng(0).permutation(N)
REAL = (np.arange(N) * 37 % 11).astype(np.float64)


def loaded(strict=False, **columns):
    options = columns.pop("options", {})
    table = {"real": REAL, **columns, "y": REAL % 5 / 4}
    return load(Data(train="", target="y", validation=0, **options), Preprocess(), data=table, strict=strict)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(np.arange(N), "only rise from row to row", id="from-0"),
        pytest.param(np.arange(N) + 1.0, "only rise from row to row", id="from-1-as-floats"),
        pytest.param(np.arange(N) * 10 + 5000, "only rise from row to row", id="step-10"),
        pytest.param(np.cumsum(1 + np.arange(N) % 7), "only rise from row to row", id="with-gaps"),
        pytest.param(-np.arange(N), "only fall from row to row", id="falling"),
        pytest.param(ORDER + 1, "every whole number from 1 to 60 once", id="shuffled"),
        pytest.param((ORDER - 30).astype(np.float32), "every whole number from -30 to 29 once", id="shuffled-floats"),
    ],
)
def test_columns_that_number_the_rows_are_left_out(values, said):
    """Whole numbers of which each row has the next, or one of its own, are no feature; the notice names the cure."""
    found = loaded(id=values)

    assert found.encoder.columns == ("real",)
    assert found.resolved.exclude == ["id"]
    (notice,) = [text for text in found.notices if "left out" in text]
    assert notice.startswith('column "id" is left out: it')
    assert said in notice
    assert notice.endswith("to keep it, list all features under data.features, it among them")
    with pytest.raises(DataError, match='column "id" is left out'):
        loaded(id=values, strict=True)
    assert loaded(id=values, options={"features": ["real", "id"]}, strict=True).encoder.columns == ("real", "id")
    assert loaded(id=values, options={"categorical": ["id"]}).encoder.columns == ("real", "id")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(N) / 10, id="fractions"),
        pytest.param(np.sort(np.arange(N) * 7 // 8), id="sorted-with-ties"),
        pytest.param(1950 + np.arange(N) // 4, id="years"),
        pytest.param(np.where(np.arange(N) == 30, np.nan, np.arange(N)), id="missing"),
        pytest.param(np.where(np.arange(N) == 59, 0, np.arange(N)), id="not-in-order-at-the-end"),
        pytest.param(ORDER * 3, id="shuffled-with-gaps"),
        pytest.param(np.append(np.arange(N - 1), N - 2), id="tie-at-the-end"),
        pytest.param(np.zeros(N), id="constant"),
        pytest.param(np.array([f"{i % 7}" for i in range(N)]), id="texts"),
    ],
)
def test_columns_that_do_not_number_the_rows_stay(values):
    """Ties, gaps out of order, fractions and missing cells tell a feature from a number of the row."""
    assert "id" in loaded(id=values).encoder.columns


def test_rows_are_numbered_after_many_cells_that_looked_like_it():
    """All cells are looked at, however long the numbers rise."""
    n = 5000
    rising, late = np.arange(n), np.where(np.arange(n) == n - 1, 7, np.arange(n))
    options = Data(train="", target="y", validation=0)

    found = load(options, Preprocess(), data={"id": rising, "late": late, "y": late % 3 / 2})

    assert found.encoder.columns == ("late",)


def test_a_table_of_nothing_else_keeps_what_numbers_its_rows():
    """x = 1 … n and y is a function of x; with two such columns nobody can tell which of them is meant."""
    options = Data(train="", target="y", validation=0)
    x = np.arange(N)

    one = load(options, Preprocess(), data={"x": x, "y": np.sin(x)})
    two = load(options, Preprocess(), data={"x": x, "z": x * 2, "y": np.sin(x)})

    assert one.encoder.columns == ("x",)
    assert two.encoder.columns == ("x", "z")
    assert one.resolved.exclude == two.resolved.exclude == []


def test_small_tables_keep_what_may_be_chance():
    """Below 20 rows a column of whole numbers may rise by chance; from there on it is taken for a number of the row."""
    options = Data(train="", target="y", validation=0)

    kept = [
        load(options, Preprocess(), data={"id": np.arange(n), "a": REAL[:n], "y": REAL[:n] / 4}).encoder.columns
        for n in (19, 20)
    ]

    assert kept == [("id", "a"), ("a",)]


def test_target_weight_and_part_are_no_features_to_leave_out():
    """What a column is used for by name is used, whatever it holds."""
    options = Data(train="", target="n", validation=0, weight="w")

    found = load(options, Preprocess(), data={"n": np.arange(N), "w": np.arange(N) + 1, "a": REAL})

    assert found.target.names == ("n",)
    assert found.w is not None
    assert found.resolved.exclude == []


def test_the_index_that_pandas_wrote_is_no_feature(folder):
    """Parquet files of pandas hold the index of a sample or a filter as a column; prediction does not ask for it."""
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"real": REAL, "who": ORDER * 3, "__index_level_0__": ORDER * 5, "y": REAL % 5 / 4})
    table.write_parquet(folder.path / "t.parquet")
    table.drop("__index_level_0__").write_parquet(folder.path / "new.parquet")

    found = folder.load(None, "t.parquet")

    assert found.encoder.columns == ("real", "who")
    assert found.resolved.exclude == ["__index_level_0__"]
    assert any("the index that pandas wrote" in notice for notice in found.notices)
    for name in ("t.parquet", "new.parquet"):
        ((rows, _),) = stream(folder.path / name, found.resolved, found.encoder, found.target, Tally(strict=True))
        assert np.array_equal(rows.x, found.x)
    listed = folder.load(None, "t.parquet", features=["real", "__index_level_0__"])
    assert listed.encoder.columns == ("real", "__index_level_0__")


@pytest.mark.parametrize(
    ("name", "values", "stays"),
    [
        pytest.param("Unnamed: 0", ORDER * 3, False, id="of-a-sample"),
        pytest.param("Unnamed: 0.1", ORDER * 3, False, id="written-twice"),
        pytest.param("Unnamed: 0", ORDER // 2, True, id="with-ties"),
        pytest.param("Unnamed: 3", ORDER * 3, True, id="another-column-without-a-name"),
    ],
)
def test_the_index_that_pandas_read_back_is_no_feature(name, values, stays):
    """The first column of a CSV that pandas wrote with its index is the index, if all its numbers are different."""
    assert (name in loaded(**{name: values}).encoder.columns) == stays


def test_an_index_that_has_a_name_is_a_column(folder):
    """An index that the user named is a column as any other; pandas itself writes the file."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("polars")
    frame = pandas.DataFrame({"real": REAL, "y": REAL % 5 / 4}, index=pandas.Index(ORDER % 9, name="shop"))
    frame.to_parquet(folder.path / "named.parquet")
    frame.reset_index(drop=True).sample(frac=1, random_state=0).to_parquet(folder.path / "unnamed.parquet")

    named, unnamed = folder.load(None, "named.parquet"), folder.load(None, "unnamed.parquet")

    assert named.encoder.columns == ("real", "shop")
    assert unnamed.encoder.columns == ("real",)
