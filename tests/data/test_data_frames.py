"""Tables that a Python caller hands over: arrays, mappings, frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fcnet.data import load
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
    """As much of a pandas or polars frame as is needed."""

    def __init__(self, **columns: Any) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Series:
        return Series(self._columns[name], name)

    def to_numpy(self) -> Any:
        return np.column_stack(list(self._columns.values()))


def loaded(data: Any, **options: Any) -> Any:
    options = {"target": "y", "validation": 0, **options}
    return load(Data(train="", **options), Preprocess(numeric="none"), data=data)


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

    assert found.encoder.inputs == ("a", "b", "c=u", "c=v", "c=", "d=False", "d=True", "e")
    assert found.x[1].tolist() == [2, 2.5, 0, 0, 1, 1, 0, 2]
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
    assert found.target.decode(found.y)[0] is True


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
