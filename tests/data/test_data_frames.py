"""Tables that a Python caller hands over: arrays, mappings, frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fcnet.data import Tally, load, score, stream
from fcnet.data.encodings.none import Plain
from fcnet.data.options import Data, Preprocess
from fcnet.errors import ConfigError, DataError


class Series:
    """As much of a pandas or polars column as is needed."""

    def __init__(self, values: Any, name: str | None = None) -> None:
        self._values = values
        self.name = name

    def to_numpy(self) -> Any:
        return self._values


class Frame:
    """As much of a pandas or polars frame as is needed; `named` has columns whose names are no identifiers."""

    def __init__(self, named: Any = None, **columns: Any) -> None:
        self._columns = named or columns
        self.columns = list(self._columns)

    def __getitem__(self, name: str) -> Series:
        return Series(self._columns[name], name)

    def to_numpy(self) -> Any:
        return np.column_stack(list(self._columns.values()))


def loaded(data: Any, **options: Any) -> Any:
    options = {"target": "y", "validation": 0, **options}
    return load(Data(train="", **options), Preprocess(numeric=Plain()), data=data, dtype="float64")


def test_a_frame_is_read_by_its_columns():
    """Numbers, texts, booleans and missing cells of a frame are what they would be in a file."""
    frame = Frame(
        a=np.array([1, 2, 3, 4]),
        b=np.array([1.5, np.nan, 2.5, 3.5]),
        c=np.array(["u", None, "v", "u"], dtype=object),
        d=np.array([True, False, True, True]),
        e=np.array([1, None, 2, 3], dtype=object),
        y=np.array([0.5, 1.5, 2.5, 4.5]),
    )

    found = loaded(frame)

    assert found.encoder.inputs == ("a", "b", "e", "c=u", "c=v", "c=", "d=False", "d=True")
    assert found.x[1].tolist() == [2, 2.5, 2, 0, 0, 1, 1, 0]
    assert found.files == ()
    assert 'missing cells: "b" 1, "c" 1, "e" 1' in found.notices


@pytest.mark.parametrize("y", [np.arange(20) % 2, Series(np.arange(20) % 2, "label"), list(np.arange(20) % 2)])
@pytest.mark.parametrize("x", [np.arange(40.0).reshape(20, 2), Frame(a=np.arange(20), b=np.arange(20.0))])
def test_features_and_targets_may_come_as_a_pair(x, y):
    """(X, y) takes arrays, frames and lists; the target is called y, or as its series is."""
    found = loaded((x, y), target=None)

    assert found.x.shape == (20, 2)
    assert found.y.tolist() == (np.arange(20) % 2).tolist()
    assert found.target.classes == (0, 1)


def test_a_mapping_holds_columns_or_the_two_arrays():
    """A mapping of columns is a table; one with the array x is features and targets, as in an NPZ file."""
    columns = loaded({"a": np.arange(20), "y": np.arange(20) / 4})
    arrays = loaded({"x": np.arange(40).reshape(20, 2), "y": np.arange(20) / 4}, target=None)

    assert columns.encoder.columns == ("a",)
    assert arrays.encoder.columns == ("x0", "x1")


def test_boolean_labels_stay_booleans():
    """True and False come back as themselves, in that type."""
    found = loaded(Frame(a=np.arange(10), y=np.arange(10) % 2 == 0))

    assert found.target.classes == (False, True)
    assert found.task == "binary"
    assert found.target.decide(np.eye(2)[found.y])[0] is True


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param((np.zeros((3, 2)), np.zeros(4)), "as many rows", id="lengths"),
        pytest.param((1, 2, 3), "tuple of 3", id="three"),
        pytest.param(42, "give a pandas or polars frame", id="number"),
        pytest.param({"a": np.zeros(3), "y": np.zeros(4)}, "of one length", id="columns"),
        pytest.param({"a": np.array([1.0, np.inf]), "y": np.array([0, 1])}, "row index 1", id="infinite"),
        pytest.param({"a": np.array([[1], [2, 3]], dtype=object), "y": np.zeros(2)}, "Python objects", id="lists"),
        pytest.param({"a": np.array([2**60, 1]), "y": np.array([0, 1])}, "2**53", id="large"),
        pytest.param({"a": np.zeros(2, complex), "y": np.array([0, 1])}, "complex128", id="complex"),
        pytest.param(Frame(), "no rows", id="empty"),
        pytest.param(([[1, 2], [3]], [0, 1]), "different lengths", id="ragged"),
        pytest.param({"c\udce9": np.zeros(2), "y": np.array([0, 1])}, "name of a column: ", id="half-a-name"),
        pytest.param({"c": ["a\udce9", "b"], "y": [0, 1]}, 'column "c": "a\\udce9" holds half', id="half-a-category"),
        pytest.param({"c": [1.5, 2], "y": ["a\udce9", "b"]}, 'column "y": "a\\udce9" holds half', id="half-a-label"),
    ],
)
def test_data_that_is_no_table_is_refused(data, said):
    """What does not fit together is an error that says what was found."""
    with pytest.raises((DataError, ConfigError)) as error:
        loaded(data)

    assert said in str(error.value) or (said == "no rows" and "target" in str(error.value))


def test_a_frame_without_the_target_is_a_config_error():
    """The target must be among the columns, which are listed."""
    with pytest.raises(ConfigError, match='the columns are "a"'):
        loaded(Frame(a=np.arange(10)))


@pytest.mark.parametrize("data", [Frame(a=np.arange(10), y=np.arange(10)), {"a": np.arange(10)}, np.zeros((10, 2))])
def test_a_target_must_be_named_among_the_columns_of_a_frame(data):
    """Columns without data.target are told to name one; no column is looked for that nobody named."""
    with pytest.raises(ConfigError, match=r"^data\.target: is missing: name the column to predict; the columns are "):
        load(Data(train="", target=None), Preprocess(), data=data)


def again(found: Any, data: Any) -> Any:
    """The same data, scored by what was fitted on them."""
    return score(data, found.resolved, found.encoder, found.target)


OTHER = np.arange(40.0)[::-1] / 8
FEATURES = {"close": np.arange(40.0) / 4, "y": np.arange(40) % 7}


@pytest.mark.parametrize(
    ("y", "names"),
    [
        pytest.param(Series(OTHER, "close"), ("close (target)",), id="series"),
        pytest.param(Series(OTHER), ("y (target)",), id="without-a-name"),
        pytest.param(Series(OTHER, ""), ("y (target)",), id="polars-without-a-name"),
        pytest.param(OTHER, ("y (target)",), id="array"),
        pytest.param(OTHER.tolist(), ("y (target)",), id="list"),
        pytest.param(OTHER.reshape(-1, 1), ("y (target)",), id="column"),
        pytest.param(np.column_stack([OTHER, -OTHER]), ("y0", "y1"), id="two-columns"),
        pytest.param(Frame(close=OTHER), ("close (target)",), id="frame"),
        pytest.param(Frame(price=OTHER), ("price",), id="frame-of-another-name"),
        pytest.param(Frame(close=OTHER, y=-OTHER), ("close (target)", "y (target)"), id="frame-of-two"),
        pytest.param({"close": OTHER}, ("close (target)",), id="mapping"),
    ],
)
def test_a_target_called_like_a_feature_leaves_the_feature_in_place(y, names):
    """Whatever y calls itself, (X, y) is every column of X, and the values of y; scoring takes it likewise."""
    data = (Frame(**FEATURES), y)

    found = loaded(data, target=None)

    assert found.encoder.columns == ("close", "y")
    assert np.array_equal(found.x, np.column_stack(list(FEATURES.values())))
    assert found.target.names == names
    assert np.allclose(found.target.truths(found.y)[:, 0], OTHER)
    renamed = [name for name in names if name.endswith(" (target)")]
    assert [f'y is called "{name}"' in "; ".join(found.notices) for name in renamed] == [True] * len(renamed)
    assert np.array_equal(again(found, data).x, found.x)
    assert np.array_equal(again(found, data).y, found.y)
    (rows, _), *_ = stream(data, found.resolved, found.encoder, found.target, Tally())
    assert np.array_equal(rows.x, found.x)


@pytest.mark.parametrize("target", [None, "close"])
def test_a_target_that_x_still_holds_is_no_feature(target):
    """Where X has the very column y, the target was left in X: it is said, and nothing is predicted from it."""
    found = loaded((Frame(**FEATURES), Series(FEATURES["close"].copy(), "close")), target=target)

    assert found.encoder.columns == ("y",)
    assert found.target.names == ("close",)
    assert 'X holds the target "close" too; nothing is predicted from it' in found.notices


def test_columns_that_differ_in_missing_cells_alone_are_one():
    """NaN and None are equal to themselves when the column of X and y are compared, numbers and texts alike."""
    texts = np.array(["u", None, "v"] * 8, dtype=object)
    numbers = np.array([0.5, np.nan, 1.5] * 8)

    for column in (texts, numbers):
        found = loaded(
            (Frame(a=np.arange(24.0), t=column), Series(column.copy(), "t")), target=None, missing_target="drop"
        )

        assert found.encoder.columns == ("a",)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_masked_cells_are_missing(dtype):
    """What an array of NumPy masks is no number that anything is learnt from, in columns and in a matrix."""
    cells = np.ma.masked_equal(np.array([7, 1, 2, 3] * 6, dtype=dtype), 7)
    y = np.arange(24) % 2
    gaps = np.where(cells.mask, np.nan, cells.data.astype(float))
    expected = loaded({"a": gaps, "b": np.arange(24.0), "y": y})

    column = loaded({"a": cells, "b": np.arange(24.0), "y": y})
    matrix = loaded({"x": np.ma.stack([cells, np.ma.arange(24)], axis=1), "y": y})

    assert np.array_equal(column.x, expected.x)
    assert np.array_equal(matrix.x, expected.x)
    assert 'missing cells: "a" 6' in column.notices


def test_a_column_and_a_target_of_huge_numbers_are_compared():
    """Whole numbers that no float holds are refused as such where X has a column called like y too."""
    huge = np.array([10**400] * 24, dtype=object)

    with pytest.raises(DataError, match=r'column "t": a value of more than 40 digits'):
        loaded((Frame(a=np.arange(24.0), t=huge), Series(huge.copy(), "t")), target=None)


def test_a_lazy_frame_is_refused():
    """What polars has not read yet is no table; the message says what makes one of it."""
    pl = pytest.importorskip("polars")
    lazy = pl.LazyFrame({"a": [1.5, 2], "y": [0, 1]})

    for data in (lazy, (lazy, [0, 1])):
        with pytest.raises(DataError, match=r"what its collect\(\) returns"):
            loaded(data)


def test_a_target_named_by_the_config_must_not_be_another_feature():
    """data.target decides the name; where a feature has it, with other values, nobody can tell which is meant."""
    data = (Frame(**FEATURES), Series(OTHER, "close"))

    with pytest.raises(DataError, match='"close" names a column of X and the target, with different values'):
        loaded(data, target="close")
    assert loaded(data, target="tomorrow").encoder.columns == ("close", "y")


def test_targets_of_a_frame_are_matched_by_name():
    """Where data.target names columns of y they are taken by name, in the config's order; other names go by place."""
    y = Frame(p=OTHER, q=-OTHER)

    turned = loaded((Frame(**FEATURES), y), target=["q", "p"])

    assert np.allclose(turned.target.truths(turned.y), np.column_stack([-OTHER, OTHER]))
    assert loaded((Frame(**FEATURES), y), target=["r", "s"]).target.names == ("r", "s")
    assert loaded((Frame(**FEATURES), y), target="q").target.names == ("q",)
    with pytest.raises(DataError, match=r"y has 2 columns, and data\.target names 1; list a name for each"):
        loaded((Frame(**FEATURES), y), target="r")


def test_a_series_with_a_name_is_a_table_of_one_column():
    """X may be one column; it keeps its name, so that a frame predicts from it."""
    found = loaded((Series(OTHER, "close"), OTHER), target=None)

    assert found.encoder.columns == ("close",)


def test_names_that_are_no_texts_are_read_as_texts():
    """Columns called 0, 1 or by a tuple are called by what they print; two that print alike are an error."""
    found = loaded((Frame({0: OTHER, ("a", 1): OTHER}), Series(-OTHER, 0)), target=None)

    assert found.encoder.columns == ("0", "('a', 1)")
    assert found.target.names == ("0 (target)",)
    with pytest.raises(DataError, match='two columns are named "1"'):
        loaded((Frame({1: OTHER, "1": OTHER}), OTHER), target=None)


class Index(list[Any]):
    """As much of a pandas index as is needed."""

    def equals(self, other: Any) -> bool:
        return bool(self == other)

    def tolist(self) -> list[Any]:
        return list(self)


@pytest.mark.parametrize(
    ("labels", "cure"),
    [
        pytest.param([3, 1, 2, 0], r"row index 0: 0 and 3\); give y.loc\[X.index\], or y.to_numpy\(\)", id="shuffled"),
        pytest.param([0, 1, 2, 9], r"row index 3: 3 and 9\); give y.to_numpy\(\)", id="others"),
    ],
)
def test_x_and_y_with_different_indexes_are_not_joined(labels, cure):
    """Rows that pandas labels differently are not put side by side unasked; equal indexes are."""
    x, y = Frame(a=np.arange(4.0)), Series(np.arange(4) % 2, "t")
    x.index, y.index = Index(range(4)), Index(labels)

    with pytest.raises(DataError, match=cure):
        loaded((x, y), target=None)
    y.index = Index(range(4))
    assert loaded((x, y), target=None).y.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("rows", [3, 5])
def test_x_and_y_of_different_lengths_are_refused(rows):
    """A y that is shorter or longer than X is an error with both numbers of rows."""
    for y in (np.arange(rows), Series(np.arange(rows), "t"), Frame(t=np.arange(rows))):
        with pytest.raises(DataError, match=f"X has 4 rows and y {rows}; both must have as many rows"):
            loaded((Frame(a=np.arange(4.0)), y), target=None)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_real_frames_and_series_are_taken_as_they_are_meant(library):
    """The next value of a column, under that column's name, is predicted from the column, in each library."""
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({"close": OTHER, "n": np.arange(40) % 5})
    y = frames.Series(data=np.arange(40.0), name="close") if library == "pandas" else frames.Series("close", range(40))

    found = loaded((frame, y), target=None)

    assert found.encoder.columns == ("close", "n")
    assert np.allclose(found.target.truths(found.y)[:, 0], np.arange(40))


def test_a_shuffled_pandas_frame_is_not_joined_by_place():
    """pandas' own index is looked at: a shuffled X and y as it was are an error whose cure works."""
    pandas = pytest.importorskip("pandas")
    x, y = pandas.DataFrame({"a": np.arange(20.0)}), pandas.Series(np.arange(20) % 2, name="t")
    x = x.sample(frac=1, random_state=0)

    with pytest.raises(DataError, match=r"y.loc\[X.index\]"):
        loaded((x, y), target=None)
    assert loaded((x, y.loc[x.index]), target=None).y.tolist() == (x["a"] % 2).tolist()
