"""Labels and categories in CSV: what is one, what is said of those that nearly are, what finds them again."""

from __future__ import annotations

import pytest

from fcnet.data import score
from fcnet.errors import ConfigError

ALIKE = "write them alike if they mean the same"


def target_of(cells: list[str]) -> str:
    return "a,y\n" + "".join(f"{i % 7},{cell}\n" for i, cell in enumerate(cells))


def said(found) -> list[str]:
    """The notices but for the one that says the task."""
    return [notice for notice in found.notices if not notice.startswith("target")]


@pytest.mark.parametrize(
    ("cells", "classes", "notice"),
    [
        pytest.param(["1", "1.0", "2"], (1, 2), '"1" and "1.0" are one label', id="whole-numbers"),
        pytest.param(["True", "TRUE", "no"], ("True", "no"), '"True" and "TRUE" are one label', id="booleans"),
        pytest.param(
            ["2020-01-01", "2020-01-01 00:00:00", "never"],
            ("2020-01-01", "never"),
            '"2020-01-01" and "2020-01-01 00:00:00" are one label',
            id="times",
        ),
        pytest.param(
            ["yes", "YES", "no", "Yes"],
            ("YES", "Yes", "no", "yes"),
            '"yes", "YES" and "Yes" differ only by case or blanks, and are different labels; write them alike if they '
            "mean the same",
            id="case",
        ),
        pytest.param(
            ["New York", "NewYork", "b"],
            ("New York", "NewYork", "b"),
            '"New York" and "NewYork" differ only by case or blanks, and are different labels; write them alike if '
            "they mean the same",
            id="blanks-inside",
        ),
        pytest.param(
            ["1.1", "1.10", "2"],
            ("1.1", "1.10", "2"),
            '"1.1" and "1.10" are one number, and are different labels; write them alike if they mean the same',
            id="versions",
        ),
        pytest.param(
            ["a", "NA", "b"],
            ("NA", "a", "b"),
            '8 cells say "NA", which is read as a label; if it means missing, set \'data.missing=["NA"]\'',
            id="NA",
        ),
        pytest.param(["a", "b", "c"], ("a", "b", "c"), None, id="control"),
    ],
)
def test_labels_that_are_nearly_one_are_said_to_be(folder, cells, classes, notice):
    """Spellings of one label are one, with a notice; those that only look so, or look like missing, get one too."""
    found = folder.load(target_of(cells * 8), task="multiclass" if len(classes) > 2 else "auto")

    assert found.target.classes == classes
    assert said(found) == ([] if notice is None else [f'column "y": {notice}'])


def test_categories_that_are_nearly_one_are_said_to_be(folder):
    """The same goes for a column of categories, whose levels have one spelling for what means the same."""
    text = "c,y\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(["TRUE", "true", "False", "?", "A", "a"] * 6))

    found = folder.load(text)

    assert found.encoder.features[0].levels == ("?", "A", "False", "True", "a")
    assert said(found) == [
        'column "c": "TRUE" and "true" are one category',
        'column "c": "A" and "a" differ only by case or blanks, and are different categories; ' + ALIKE,
        'column "c": 6 cells say "?", which is read as a category; if it means missing, set \'data.missing=["?"]\'',
    ]
    assert '"?"' not in folder.load(text, missing=["?"]).encoder.features[0].levels


@pytest.mark.parametrize("truths", ["True False", "TRUE FALSE", "true false"])
def test_several_columns_of_booleans_are_several_labels(folder, truths):
    """One-hot targets that are written as booleans are what 0 and 1 are."""
    yes, no = truths.split()
    rows = [(i, (no, yes)[i % 2], (no, yes)[i % 3 == 0]) for i in range(24)]
    text = "a,u,v\n" + "".join(f"{a},{u},{v}\n" for a, u, v in rows)

    found = folder.load(text, target=["u", "v"])
    numbers = folder.load(text.replace(yes, "1").replace(no, "0"), target=["u", "v"])

    assert found.task == "multilabel"
    assert found.y.tolist() == numbers.y.tolist()


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (["1", "2"], ["1.0", "2.0"]),
        (["1.0", "2.0"], ["1", "2"]),
        (["08", "11"], ["8", "11"]),
        (["+1", "-1"], ["1", "-1"]),
        (["2.50", "3"], ["2.5", "3.0"]),
        (["1", "2"], ["+1", "02"]),
        (["True", "False"], ["TRUE", "FALSE"]),
        (["true", "false"], ["1", "0"]),
        (["0", "1"], ["False", "True"]),
        (["2020-01-01", "2020-01-02"], ["2020-01-01 00:00:00", "2020-01-02T00:00:00.000000"]),
    ],
)
def test_a_label_is_found_in_other_spellings(folder, trained, given):
    """A net is scored on a file whose labels another program has written."""
    found = folder.load(target_of(trained * 8))
    other = folder.write(target_of(given * 8), "other.csv")

    scored = score(other, found.resolved, found.encoder, found.target)

    assert scored.y.tolist() == found.y.tolist()


@pytest.mark.parametrize("label", ["True", "TRUE", "true"])
@pytest.mark.parametrize("cells", [["True", "False"], ["TRUE", "FALSE"]])
def test_class_weights_name_a_label_in_any_spelling(folder, label, cells):
    """The keys of class_weight find their labels as the cells of another file do."""
    found = folder.load(target_of(cells * 8), class_weight={label: 3.0})

    assert dict(zip(found.target.classes, found.target.class_weights, strict=True))[cells[0]] == 3
    with pytest.raises(ConfigError, match=f'no class "maybe"; the classes are "{cells[1]}", "{cells[0]}"'):
        folder.load(target_of(cells * 8), class_weight={"maybe": 1.0})
