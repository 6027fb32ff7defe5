"""Which rows train, validate and test."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnet.data.options import Split
from fcnet.data.split import folds_at_random, folds_in_time, folds_of_groups, rows_hash
from fcnet.errors import ConfigError, DataError


def labelled(counts: dict[str, int]) -> str:
    labels = [label for label, n in counts.items() for _ in range(n)]
    return "a,y\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))


def shares(found, part: str) -> list[int]:
    return np.bincount(found.y[found.parts[part]], minlength=len(found.target.classes)).tolist()


def test_fractions_are_of_all_rows_and_parts_are_whole_and_disjoint(folder):
    """validation 0.15 and test 0.15 of 1,797 rows are 270 each; every row is in one part."""
    found = folder.load(labelled({str(i): 180 for i in range(9)} | {"9": 177}), validation=0.15, test=0.15)

    assert [len(found.parts[p]) for p in ("train", "validation", "test")] == [1257, 270, 270]
    assert sorted(np.concatenate(list(found.parts.values())).tolist()) == list(range(1797))


def test_classes_keep_their_shares_in_every_part(folder):
    """A stratified split gives each part each class by its share, within a row."""
    found = folder.load(labelled({"a": 700, "b": 200, "c": 100}), validation=0.2, test=0.1)

    assert shares(found, "validation") == [140, 40, 20]
    assert shares(found, "test") == [70, 20, 10]


def test_the_split_depends_on_its_own_seed_only(folder):
    """The same seed gives the same parts for any feature values; another seed gives others."""
    text = labelled({"a": 60, "b": 40})
    first = folder.load(text, validation=0.2)
    again = folder.load(text.replace("7,", "70000,"), validation=0.2)
    other = folder.load(text, validation=0.2, split=Split(seed=1))

    assert first.parts["validation"].tolist() == again.parts["validation"].tolist()
    assert first.part_hashes == again.part_hashes
    assert first.parts["validation"].tolist() != other.parts["validation"].tolist()


def test_the_split_is_the_one_of_the_first_release(folder):
    """The rows of a part never change from one version to the next."""
    found = folder.load("a,y\n" + "".join(f"{i},{i}.5\n" for i in range(20)), validation=0.25)

    assert found.parts["validation"].tolist() == FIRST_RELEASE


FIRST_RELEASE = [1, 5, 9, 15, 19]


def test_classes_with_fewer_rows_than_parts_go_to_training(folder):
    """With `auto` a notice says so; with `true` it is an error."""
    text = labelled({"a": 30, "b": 30, "rare": 2})

    found = folder.load(text, validation=0.2, test=0.2)

    assert shares(found, "train")[2] == 2
    assert any("fewer rows than the 3 parts" in notice and '"rare" (2)' in notice for notice in found.notices)
    with pytest.raises(DataError, match="rare"):
        folder.load(text, validation=0.2, test=0.2, split=Split(stratify=True))


def test_every_class_is_in_training(folder):
    """However small the classes, one row of each trains."""
    found = folder.load(labelled({f"c{i}": 3 for i in range(30)}), validation=0.3, test=0.3)

    assert min(shares(found, "train")) >= 1
    assert len(found.parts["validation"]) == 27


def test_without_stratification_a_label_may_be_unknown_and_is_named(folder):
    """A label that only validation has is an error that names it."""
    text = labelled({"a": 20, "b": 20, "lone": 1})
    seen = []
    for seed in range(30):
        try:
            folder.load(text, validation=0.5, split=Split(stratify=False, seed=seed))
        except DataError as error:
            seen.append(str(error))

    assert seen
    assert all('no training row has the label "lone"' in text for text in seen)


def test_stratification_needs_classes(folder, table):
    """`stratify: true` for a regression is a contradiction in the config."""
    with pytest.raises(ConfigError, match="stratify"):
        folder.load("\n".join(table), validation=0.2, split=Split(stratify=True))


def test_too_few_rows_for_the_parts(folder):
    """Two rows cannot make three parts; three can."""
    with pytest.raises(DataError, match="2 rows cannot be split"):
        folder.load("a,y\n1,2.5\n2,3.5\n", validation=0.2, test=0.2)

    found = folder.load("a,y\n1,2.5\n2,3.5\n3,1.5\n", validation=0.2, test=0.2)
    assert [len(part) for part in found.parts.values()] == [1, 1, 1]


def test_a_column_may_name_the_parts(folder):
    """`by: column` takes the parts from a column, which is then no feature."""
    parts = ["train", "train", "validation", "test", " train "]
    text = "a,part,y\n" + "".join(f"{i},{parts[i % 5]},{i}.5\n" for i in range(50))

    found = folder.load(text, validation=0.15, split=Split(by="column", column="part"))

    assert found.parts["validation"].tolist() == list(range(2, 50, 5))
    assert found.parts["test"].tolist() == list(range(3, 50, 5))
    assert found.encoder.columns == ("a",)


@pytest.mark.parametrize("cell", ["val", "", "Train"])
def test_other_names_of_parts_are_errors_with_lines(folder, cell):
    """Only train, validation and test name parts."""
    text = f"a,part,y\n1,train,1.5\n2,{cell},2.5\n3,test,3.5\n"

    with pytest.raises(DataError, match="write train, validation or test") as error:
        folder.load(text, split=Split(by="column", column="part"))

    assert error.value.problems[0].line == 3


def test_a_split_column_needs_its_name_and_training_rows(folder):
    """The column must be named, be there, and send some rows to training."""
    text = "a,part,y\n1,test,1.5\n2,test,2.5\n"

    with pytest.raises(ConfigError, match="needs the column's name"):
        folder.load(text, split=Split(by="column"))
    with pytest.raises(ConfigError, match=r'no column "prt"; did you mean "part"\?'):
        folder.load(text, split=Split(by="column", column="prt"))
    with pytest.raises(DataError, match="no rows are left for training"):
        folder.load(text, split=Split(by="column", column="part"))


def test_separate_files_are_parts(folder, table):
    """Validation and test files are whole parts; types and statistics come from training."""
    folder.write("y,b,a\n1.5,2,3\n2.5,,5\n", "v.csv")
    folder.write("a;b;y\n7;8;9\n", "s.csv")

    found = folder.load("\n".join(table), validation="v.csv", test="s.csv")

    assert [len(found.parts[p]) for p in ("train", "validation", "test")] == [40, 2, 1]
    scale = found.encoder.features[0].state["scale"][0]
    assert np.isclose(found.x[found.parts["validation"][1], 0], (5 - 19.5) / scale)
    assert [record.role for record in found.files] == ["train", "validation", "test"]


def test_a_file_for_one_part_and_a_fraction_for_the_other(folder, table):
    """A test file beside a validation fraction leaves the fraction one of the training file's rows."""
    folder.write("\n".join(table[:11]), "s.csv")

    found = folder.load("\n".join(table), validation=0.25, test="s.csv")

    assert [len(found.parts[p]) for p in ("train", "validation", "test")] == [30, 10, 10]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("a,y\n1,2\n", 'v.csv: no column "b"'),
        ("a,b\n1,2\n", 'v.csv: no target column "y"'),
        ("a,b,y\n1,x,2\n", 'v.csv:2: column "b": "x" is not a number'),
        ("a,b,y\n1,2,x\n", 'v.csv:2: column "y": "x" is not a number'),
        ("a,b,y\n1,2,\n", 'v.csv:2: the target "y" is missing'),
    ],
)
def test_other_files_must_be_like_training(folder, table, other, said):
    """Columns that lack and cells that do not fit are named with the file and line."""
    folder.write(other, "v.csv")

    with pytest.raises(DataError) as error:
        folder.load("\n".join(table), validation="v.csv")

    assert said in str(error.value)


def test_labels_that_training_lacks_are_named(folder):
    """A label of the validation file that training has not seen is an error with its line."""
    folder.write("a,y\n1,a\n2,c\n", "v.csv")

    with pytest.raises(DataError, match=r'v.csv:3: column "y": no training row has the label "c", only "a", "b"'):
        folder.load(labelled({"a": 5, "b": 5}), validation="v.csv")


def test_v53_only_training_rows_shape_the_preprocessing(folder):
    """Validation values times 1,000 change no statistic and no training input."""
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(100, 2))
    parts = np.where(np.arange(100) % 4 == 0, "validation", "train")

    def text(factor: float) -> str:
        rows = (
            f"{a * (factor if p != 'train' else 1)},{p},{y * (factor if p != 'train' else 1)}\n"
            for (a, y), p in zip(cells.tolist(), parts, strict=True)
        )
        return "a,part,y\n" + "".join(rows)

    one, thousand = (folder.load(text(f), split=Split(by="column", column="part")) for f in (1.0, 1000.0))
    train = one.parts["train"]

    assert np.array_equal(one.x[train], thousand.x[train])
    assert np.array_equal(one.y[train], thousand.y[train])
    assert all(
        np.array_equal(a, b)
        for a, b in zip(one.encoder.arrays().values(), thousand.encoder.arrays().values(), strict=True)
    )


def test_the_hash_of_a_part_is_that_of_its_row_numbers(folder, table):
    """The hash is over sorted little-endian int64 numbers of the rows in the file, dropped rows counted."""
    lines = [*table[:3], "7,8,", *table[3:]]
    found = folder.load("\n".join(lines), missing_target="drop")

    rows = np.array([0, 1, *range(3, 41)], dtype="<i8")
    assert found.part_hashes["train"] == hashlib.sha256(rows.tobytes()).hexdigest()
    assert rows_hash(rows[::-1]) == rows_hash(rows)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 200),
    validation=st.floats(0, 0.6),
    test=st.floats(0, 0.39),
    k=st.integers(1, 8),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_split_is_a_partition_near_its_fractions(n, validation, test, k, seed):
    """Whatever the numbers, every row is in one part, and each part has its share where rows allow."""
    from fcnet.data.split import random_split

    classes = np.arange(n) % k
    labels = [str(i) for i in range(k)]

    parts, _ = random_split(n, (validation, test), seed, None, [], False, "t.csv")
    try:
        stratified, _ = random_split(n, (validation, test), seed, classes, labels, False, "t.csv")
    except DataError:  # some class has too few rows for three parts, all of which train
        assert n < 3 * k
        stratified = parts

    for split in (parts, stratified):
        assert sorted(np.concatenate(list(split.values())).tolist()) == list(range(n))
        assert len(split["train"])
    assert abs(len(parts["validation"]) - n * validation) <= 1.5
    assert (len(parts["test"]) > 0) == (test > 0)


@pytest.mark.parametrize(("n", "folds", "repeats"), [(20, 5, 1), (23, 4, 2), (2, 2, 1), (101, 10, 1)])
def test_each_row_is_held_out_once_in_each_repeat(n: int, folds: int, repeats: int) -> None:
    """Folds differ by one row at most; another repeat, and another seed, deals them out otherwise."""
    held, alone = folds_at_random(n, folds, repeats, 0, None)

    assert len(held) == folds * repeats
    assert not len(alone)
    for repeat in range(repeats):
        own = held[repeat * folds : (repeat + 1) * folds]
        assert sorted(np.concatenate(own).tolist()) == [*range(n)]
        assert max(map(len, own)) - min(map(len, own)) <= 1
    if n > 20:
        others = folds_at_random(n, folds, 1, 1, None)[0]
        assert [rows.tolist() for rows in others] != [rows.tolist() for rows in held[:folds]]
    if repeats > 1:
        assert held[0].tolist() != held[folds].tolist()


def test_folds_have_their_share_of_each_class() -> None:
    """As near as whole rows allow; a class of one row stays with all that learn."""
    classes = np.repeat([0, 1, 2, 3], [47, 12, 3, 1])

    held, alone = folds_at_random(63, 5, 1, 7, classes)

    assert alone.tolist() == [62]
    assert sorted(np.concatenate(held).tolist()) == [*range(62)]
    for label in range(4):
        counts = [int((classes[rows] == label).sum()) for rows in held]
        assert max(counts) - min(counts) <= 1


def test_groups_are_not_separated() -> None:
    """And the folds are as even as whole groups allow."""
    groups = np.array([0] * 9 + [1] * 5 + [2] * 5 + [3] * 4 + [4] * 4 + [5] * 3)

    held = folds_of_groups(groups, 3, 1, 0)

    assert sorted(np.concatenate(held).tolist()) == [*range(30)]
    assert sorted(map(len, held)) == [9, 9, 12]
    assert sum(len(set(groups[rows].tolist())) for rows in held) == 6, "each group is in one fold"


def test_folds_in_time_are_judged_on_later_rows() -> None:
    """Blocks of one size in the order of time, whatever the order of the rows; equal times stay together."""
    times = np.array([5.0, 1, 4, 2, 3, 6, 7, 8])

    found = folds_in_time(times, 3)
    tied = folds_in_time(np.array([1.0, 1, 1, 2, 2, 2, 2, 3]), 2)

    assert found is not None
    assert [[times[rows].tolist() for rows in pair] for pair in found] == [
        [[1, 2], [4, 3]],
        [[1, 4, 2, 3], [5, 6]],
        [[5, 1, 4, 2, 3, 6], [7, 8]],
    ]
    assert tied is None, "the second of three blocks would begin and end with the same time"
    assert folds_in_time(np.ones(9), 2) is None
