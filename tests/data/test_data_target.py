"""What is predicted: tasks found, labels kept, targets scaled."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fcnet.data import Target
from fcnet.data.options import Preprocess
from fcnet.data.problems import Problems
from fcnet.errors import ConfigError, DataError


def target_of(cells: list[str]) -> str:
    return "a,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        pytest.param(["0", "1"] * 5, "binary", id="two-numbers"),
        pytest.param(["0.5", "1.5"] * 5, "binary", id="two-fractions"),
        pytest.param(["-7", "1000"], "binary", id="two-numbers-once"),
        pytest.param(["no", "yes"] * 5, "binary", id="two-texts"),
        pytest.param(["True", "False"] * 5, "binary", id="booleans"),
        pytest.param(["a", "b", "c"] * 2, "multiclass", id="three-texts"),
        pytest.param(["1", "2", "x"] * 5, "multiclass", id="numbers-and-a-text"),
        pytest.param(["0", "1", "2"] * 5, "multiclass", id="few-whole-numbers"),
        pytest.param(["1.0", "2.0", "3.0"] * 5, "multiclass", id="whole-numbers-with-a-point"),
        pytest.param([str(i) for i in range(20)] * 5, "multiclass", id="twenty-numbers"),
        pytest.param([str(i) for i in range(21)] * 5, "regression", id="twenty-one-numbers"),
        pytest.param(["0", "1", "2"] * 4, "regression", id="on-four-rows-each"),
        pytest.param(["0", "1", "2.5"] * 5, "regression", id="a-fraction"),
    ],
)
def test_the_task_is_found_and_said(folder, cells, task):
    """`task: auto` follows the documented rule, says so in a notice, and records what it found."""
    found = folder.load(target_of(cells))

    assert found.task == task
    assert found.resolved.task == task
    assert any('target "y"' in notice and "data.task" in notice for notice in found.notices)


def test_several_targets_are_labels_or_numbers(folder):
    """Several columns of 0 and 1 are several labels, others several numbers."""
    text = "a,u,v\n" + "".join(f"{i},{i % 2},{i % 3 % 2}\n" for i in range(20))

    labels = folder.load(text, target=["u", "v"])
    numbers = folder.load(text.replace(",0,", ",0.25,"), target=["u", "v"])

    assert labels.task == "multilabel"
    assert labels.y.shape == (20, 2)
    assert set(np.unique(labels.y)) == {0, 1}
    assert numbers.task == "regression"
    assert numbers.y.shape == (20, 2)
    assert not any("target" in notice for notice in folder.load(text, target=["u", "v"], task="multilabel").notices)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        pytest.param(["10", "9", "1", "2", "0"] * 5, (0, 1, 2, 9, 10), id="V45-numbers-by-value"),
        pytest.param(["b", "B", "a", "10", "9"], ("10", "9", "B", "a", "b"), id="V45-texts-as-texts"),
        pytest.param(["1.0", "2.0", "10.0"] * 5, ("1.0", "2.0", "10.0"), id="as-written"),
        pytest.param(["01", "2", "010"] * 5, ("01", "2", "010"), id="zeros-in-front"),
        pytest.param(["08", "09", "10", "11"] * 5, ("08", "09", "10", "11"), id="months"),
        pytest.param(["+1", "-1"] * 5, ("-1", "+1"), id="signs"),
        pytest.param(["+1", "1", "-1"] * 5, ("-1", "+1", "1"), id="two-signs-of-one-number"),
        pytest.param(["1e2", "5"] * 5, ("5", "1e2"), id="an-exponent"),
        pytest.param(["1", "2.5"] * 5, (1, 2.5), id="plain-numbers"),
        pytest.param(["TRUE", "FALSE"] * 5, ("FALSE", "TRUE"), id="booleans-of-a-spreadsheet"),
        pytest.param(["1", "1.0", "2"] * 5, (1, 2), id="two-spellings-of-one-number"),
        pytest.param(["-1", "1"] * 5, (-1, 1), id="negative"),
        pytest.param(["12345678901234567890", "12345678901234567891"] * 5, None, id="longer-than-a-float"),
    ],
)
def test_labels_are_sorted_by_what_they_are_and_come_back_as_written(folder, cells, classes):
    """Numbers sort by value and texts as texts; a sure prediction is the label that the file has."""
    found = folder.load(target_of(cells))
    classes = classes or tuple(int(cell) for cell in cells[:2])

    assert found.target.classes == classes
    assert [type(c) for c in found.target.classes] == [type(c) for c in classes]
    decoded = [str(label) for label in found.target.decide(np.eye(len(classes))[found.y])]
    assert decoded == ["1" if cell == "1.0" and "1" in cells else cell for cell in cells]


def test_target_comes_back_from_header_and_arrays(folder):
    """What goes into a checkpoint restores the target."""
    for cells in (["a", "b"] * 5, ["0", "1", "7"] * 5, [f"{i}.5" for i in range(30)]):
        found = folder.load(target_of(cells), class_weight="balanced" if cells[0] == "a" else "none").target
        header = json.loads(json.dumps(found.header()))

        again = Target.restore(header, found.arrays())

        assert again.header() == found.header()
        assert all(np.array_equal(again.arrays()[k], v) for k, v in found.arrays().items())


def test_regression_targets_are_standardised_over_training_and_come_back(folder):
    """y has mean 0 and deviation 1; decode gives the original numbers; `target: none` leaves them alone."""
    cells = [f"{1000 + i * i}.25" for i in range(50)]

    found = folder.load(target_of(cells), dtype="float64")
    plain = folder.load(target_of(cells), dtype="float64", preprocess=Preprocess(target="none"))

    assert abs(found.y.mean()) < 1e-12
    assert abs(found.y.std() - 1) < 1e-12
    assert np.allclose(found.target.truths(found.y)[:, 0], [float(c) for c in cells], rtol=1e-14)
    assert plain.y[:, 0].tolist() == [float(c) for c in cells]


@pytest.mark.parametrize(
    ("cells", "options", "said"),
    [
        pytest.param(["a"] * 9, {}, 'only the label "a" in training', id="V44-one-label"),
        pytest.param(["1"] * 9, {}, 'only the label "1" in training', id="V44-one-number"),
        pytest.param(["a", "b", "c"] * 3, {"task": "binary"}, "3 labels", id="three-labels-for-binary"),
        pytest.param(["a", "1", "2"] * 9, {"task": "regression"}, 't.csv:2: column "y": "a"', id="text-for-regression"),
        pytest.param(["0", "2", "1"] * 9, {"task": "multilabel"}, "2 is neither 0 nor 1", id="no-label"),
        pytest.param(
            [f"{i}.5" for i in range(100)], {"task": "multiclass"}, "did you mean data.task=regression", id="V48"
        ),
        pytest.param([f"name {i}" for i in range(100)], {}, "100 distinct labels", id="names"),
    ],
)
def test_targets_that_do_not_fit_their_task(folder, cells, options, said):
    """A target that cannot be what the task says is an error with exit 4."""
    with pytest.raises(DataError) as error:
        folder.load(target_of(cells), **options)

    assert said in str(error.value)


@pytest.mark.parametrize("validation", [0, 0.15, 0.5])
def test_v48_a_number_for_each_row_is_no_class_whatever_the_split(folder, validation):
    """Ten thousand labels on as many rows are said to be that, and not that none has a row to spare."""
    with pytest.raises(DataError, match=r"10,000 distinct labels on 10,000 rows; did you mean data\.task=regression\?"):
        folder.load(target_of([f"{i}.5" for i in range(10_000)]), task="multiclass", validation=validation)


@pytest.mark.parametrize("weight", ["balanced", {"u": 2}])
def test_a_loss_weighted_by_class_is_said_to_be(folder, weight):
    """With class weights a notice says what is weighted by them and what is not; without, there is nothing to say."""
    text = target_of(["u", "v", "u"] * 5)

    weighted, plain = folder.load(text, class_weight=weight), folder.load(text)

    assert [n for n in weighted.notices if n not in plain.notices] == [
        "data.class_weight weighs the loss (val_loss too), and no metric"
    ]


def test_several_targets_cannot_be_one_class(folder, table):
    """Several target columns with task binary is a contradiction in the config."""
    with pytest.raises(ConfigError, match="2 target columns"):
        folder.load("\n".join(table), target=["y", "b"], task="binary")


def test_missing_targets_are_errors_or_are_dropped(folder):
    """V32: rows without a target are listed with the key; `missing_target: drop` leaves them out and says how many."""
    text = target_of([("" if i % 5 == 0 else f"{i}.5") for i in range(40)])

    with pytest.raises(DataError) as error:
        folder.load(text)
    found = folder.load(text, missing_target="drop")

    assert [p.line for p in error.value.problems] == [2, 7, 12, 17, 22, None]
    assert "data.missing_target=drop" in str(error.value)
    assert len(found.x) == 32
    assert any("left out 8 rows" in notice for notice in found.notices)


def test_nothing_left_after_dropping(folder):
    """V56: a table whose targets are all missing is an error even when they may be dropped."""
    with pytest.raises(DataError, match="no row has the target"):
        folder.load("a,y\n1,\n2,\n", missing_target="drop")


def test_a_missing_number_label_is_missing_and_a_text_label_named_so_is_a_label(folder):
    """NA among numbers is missing; NA among texts is a class."""
    with pytest.raises(DataError, match="is missing"):
        folder.load(target_of(["0", "1", "NA"] * 5))

    assert folder.load(target_of(["a", "b", "NA"] * 5)).target.classes == ("NA", "a", "b")


def test_permuting_the_names_of_labels_permutes_the_classes(folder):
    """M26: renaming labels changes nothing but their order."""
    cells = ["a", "b", "c", "a"] * 10
    rename = {"a": "z", "b": "x", "c": "y"}
    found = folder.load(target_of(cells))
    other = folder.load(target_of([rename[c] for c in cells]))

    back = {new: old for old, new in rename.items()}
    before, after = (each.target.decide(np.eye(3)[each.y]) for each in (found, other))
    assert [back[label] for label in after] == before


def test_a_target_too_far_from_those_of_training_is_told(folder):
    """A number that the dtype cannot hold in the units that are learnt is an error of its row, and no warning."""
    folder.write(target_of(["0.0001", "3e38", "0.0002"]), "v.csv")
    cells = target_of([f"{i * 1e-5:.5f}" for i in range(30)])

    with pytest.raises(DataError, match=r'^v\.csv:3: column "y": 3e\+38 is too far from .* training rows for float32$'):
        folder.load(cells, validation="v.csv")

    assert np.isfinite(folder.load(cells, validation="v.csv", dtype="float64").y).all()


def test_a_target_of_many_numbers_keeps_no_texts(folder, monkeypatch):
    """A target of very many numbers is read without keeping each text, and is the same."""
    cells = [f"{i}.5" for i in range(300)]
    whole = folder.load(target_of(cells))

    monkeypatch.setattr("fcnet.data.columns.MANY_LEVELS", 10)
    lean = folder.load(target_of(cells))
    text = folder.load(target_of([*["a", "b"] * 40, *[str(i % 15) for i in range(40)]]))

    assert np.array_equal(lean.y, whole.y)
    assert len(text.target.classes) == 17


def test_a_text_below_many_numbers_is_found_in_two_passes(folder, monkeypatch):
    """A target whose many numbers were read without their texts is read once more for one text, and that is said."""
    monkeypatch.setattr("fcnet.data.columns.MANY_LEVELS", 10)
    monkeypatch.setattr("fcnet.data.delimited.BLOCK", 64)
    monkeypatch.setattr("fcnet.data.delimited.SAMPLE", 5)
    passes = iter(range(2))
    monkeypatch.setattr("fcnet.data.readers.Problems", lambda file: [next(passes), Problems(file)][1])

    with pytest.raises(DataError, match=r'30 of 31 cells are numbers, the others "none" \(1\), the first in line 32'):
        folder.load(target_of([*[f"{i}.5" for i in range(30)], "none"]))

    assert list(passes) == []
