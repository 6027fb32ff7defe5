"""How columns become inputs: types, statistics, categories, weights."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnet.data import Encoder, Tally, load, score
from fcnet.data.encodings.codes import Codes
from fcnet.data.encodings.none import Plain
from fcnet.data.encodings.one_hot import OneHot
from fcnet.data.options import Filled, Preprocess, Split
from fcnet.data.statistics import moments
from fcnet.errors import ConfigError, DataError, LimitError


def with_column(cells: list[str], name: str = "c") -> str:
    return f"{name},y\n" + "".join(f"{cell},{i}.5\n" for i, cell in enumerate(cells))


def test_numbers_are_standardised_and_missing_ones_are_the_median(folder):
    """(value − mean) / deviation of the training cells that are there; a missing cell counts as their median."""
    found = folder.load(with_column(["1", "2", "", "3", "10"]), dtype="float64")

    values = np.array([1, 2, 3, 10.0])
    want = (np.array([1, 2, 2.5, 3, 10]) - values.mean()) / values.std()
    assert np.allclose(found.x[:, 0], want, rtol=1e-14)


@pytest.mark.parametrize(
    ("missing", "fill"), [("median", 2.5), ("mean", 4.0), (Filled(0.0), 0.0), (Filled(-7.5), -7.5)], ids=str
)
def test_a_missing_number_is_what_is_asked_for(folder, missing, fill):
    """The median or the mean of the training cells that are there, or a number; it is encoded as if it stood there."""
    found = folder.load(with_column(["1", "2", "", "3", "10"]), dtype="float64", preprocess=Preprocess(missing=missing))

    values = np.array([1, 2, 3, 10.0])
    assert found.encoder.features[0].fill == fill
    assert found.x[2, 0] == pytest.approx((fill - values.mean()) / values.std(), rel=1e-14)


def test_the_mean_of_huge_numbers_is_finite(folder):
    """Their sum is beyond the largest float."""
    found = folder.load(
        with_column(["1.7e308", "1.6e308", ""] * 9), dtype="float64", preprocess=Preprocess(missing="mean")
    )

    assert found.encoder.features[0].fill == pytest.approx(1.65e308)


def test_a_number_that_does_not_fit_is_refused(folder):
    """What stands in for missing cells must be a number of the net too."""
    with pytest.raises(DataError, match=r'column "c": its values are too far apart for float32'):
        folder.load(with_column(["1", "2", ""]), preprocess=Preprocess(missing=Filled(1e300)))


HOLES = "a,k,b,y\n1,u,,0.5\n,v,2,1.5\n3,u,4,2.5\n4,v,5,3.5\n6,,7,4.5\n"


@pytest.mark.parametrize(
    ("wanted", "marked"), [(False, []), ("auto", ["a", "b"]), (True, ["a", "b", "c"])], ids=["false", "auto", "true"]
)
def test_missing_cells_may_be_inputs_of_their_own(folder, wanted, marked):
    """They are the last inputs, 1 where a cell is missing: of all columns of numbers, or of those with holes."""
    rows = [line.rsplit(",", 1) for line in HOLES.splitlines()[1:]]
    text = "a,k,b,c,y\n" + "".join(f"{cells},{i},{y}\n" for i, (cells, y) in enumerate(rows))

    found = folder.load(text, preprocess=Preprocess(indicators=wanted))

    assert found.encoder.inputs == ("a", "b", "c", "k=u", "k=v", "k=", *(f"{name}=" for name in marked))
    assert found.encoder.numbers == 3
    expected = {"a": [0, 1, 0, 0, 0], "b": [1, 0, 0, 0, 0], "c": [0, 0, 0, 0, 0]}
    assert found.x[:, 6:].T.tolist() == [expected[name] for name in marked]


def test_indicators_come_back_from_a_checkpoint_and_follow_their_columns(folder):
    """Header and arrays make the same encoder; which initial weights an input takes goes by the columns' names."""
    first = folder.load(HOLES, preprocess=Preprocess(indicators="auto")).encoder
    swapped = "\n".join(",".join(line.split(",")[i] for i in (2, 1, 0, 3)) for line in HOLES.splitlines())
    second = folder.load(swapped + "\n", preprocess=Preprocess(indicators="auto")).encoder

    assert Encoder.restore(json.loads(json.dumps(first.header())), first.arrays()) == first
    places = [dict(zip(each.inputs, each.ranks.tolist(), strict=True)) for each in (first, second)]
    assert places[0] == places[1]
    assert sorted(places[0].values()) == list(range(7))
    assert first.spans()["a"] == {"x": [0, 5]}
    assert first.spans()["k"] == {"x": [2, 3, 4]}


def test_numbers_stand_before_categories(folder):
    """The inputs are all numbers, then all categories, each in the order of the file."""
    found = folder.load("c,a,d,b,y\n" + "".join(f"{'uv'[i % 2]},{i},{'pq'[i % 2]},{-i},{i}.5\n" for i in range(9)))

    assert found.encoder.inputs == ("a", "b", "c=u", "c=v", "d=p", "d=q")
    assert found.encoder.numbers == 2
    assert found.x[0, 2:].tolist() == [1, 0, 1, 0]


def test_numbers_may_stay_as_they_are(folder):
    """`numeric: none` leaves the numbers alone."""
    found = folder.load(with_column(["1", "2", "30"]), preprocess=Preprocess(numeric=Plain()))

    assert found.x[:, 0].tolist() == [1, 2, 30]
    assert found.x.dtype == np.float32


@pytest.mark.parametrize("offset", [0, 10**8, -(10**12)], ids=["plain", "V40-large-offset", "larger"])
def test_statistics_are_exact_for_large_offsets(folder, offset):
    """Mean and deviation agree with exact fractions to 1e-6, however large the offset."""
    rng = np.random.default_rng(0)
    cells = [repr(offset + float(v)) for v in rng.normal(size=1000)]

    found = folder.load(with_column(cells), dtype="float64")

    exact = [Fraction(float(cell)) for cell in cells]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    feature = found.encoder.features[0]
    assert abs(Fraction(feature.state["mean"][0]) - mean) <= abs(mean) * Fraction(1, 10**15) + Fraction(1, 10**12)
    assert abs(feature.state["scale"][0] / float(variance) ** 0.5 - 1) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_v39_a_constant_column_has_scale_one(folder, dtype):
    """V39: a column of 0.1 becomes 0, a notice names it, and an unseen 0.2 stays near."""
    found = folder.load(with_column(["0.1"] * 1000), dtype=dtype)

    assert not found.x.any()
    assert found.encoder.features[0].state["scale"] == (1.0,)
    assert any("constant in training" in notice and '"c"' in notice for notice in found.notices)


def test_huge_values_do_not_overflow_the_statistics(folder):
    """Values near the largest float64 are standardised without infinities."""
    found = folder.load(with_column(["1e308", "-1e308", "9e307"]), dtype="float64")

    assert np.isfinite(found.x).all()


def test_text_is_one_hot_with_nothing_for_the_unknown(folder):
    """Each level is an input, in the order of the texts; what training has not seen is all zeros."""
    found = folder.load(with_column(["b", "a", "c", "a"]))

    assert found.encoder.inputs == ("c=a", "c=b", "c=c")
    assert found.x.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_v42_levels_that_only_validation_has_are_unknown_and_said(folder):
    """V42: unseen categories are counted by column and value; with `strict` they are errors with line and value."""
    text = "c,part,y\n" + "".join(f"{'ab'[i % 2]},train,{i}.5\n" for i in range(10))
    text += "zebra,validation,1.5\nzebra,validation,2.5\n"
    split = Split(by="column", column="part")

    found = folder.load(text, split=split)

    assert found.x[10:].tolist() == [[0, 0], [0, 0]]
    assert any('"zebra" 2' in notice and "unknown" in notice for notice in found.notices)
    with pytest.raises(DataError, match=r't.csv:12: column "c": no training row has the category "zebra"'):
        folder.load(text, split=split, strict=True)


def test_missing_categories_have_a_level_if_training_has_some(folder):
    """Missing is a level where training has missing cells, and unknown where it has none."""
    with_missing = folder.load(with_column(["a", "", "b"]))
    without = folder.load(with_column(["a", "c", "b"]))

    assert with_missing.x.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert not without.encoder.features[0].missing_level


def test_v35_free_text_is_left_out_and_may_be_forced_in(folder):
    """V35: more than 20 texts, more than half of them different, leave a column out, with a notice and a record."""
    text = "c,b,y\n" + "".join(f"name {i},{i},{i}.5\n" for i in range(30))

    found = folder.load(text)
    forced = folder.load(text, categorical=["c"])

    assert found.encoder.columns == ("b",)
    assert found.resolved.exclude == ["c"]
    assert any('column "c" is left out' in notice and "data.categorical" in notice for notice in found.notices)
    assert forced.encoder.n_in == 31
    with pytest.raises(DataError, match='column "c" is left out'):
        folder.load(text, strict=True)


@pytest.mark.parametrize(("distinct", "n", "stays"), [(20, 30, True), (21, 42, True), (22, 43, False)])
def test_the_limits_of_free_text(folder, distinct, n, stays):
    """20 texts stay, half of the cells different stay; beyond both the column is left out."""
    found = folder.load("c,b,y\n" + "".join(f"t{i % distinct},{i},{i}.5\n" for i in range(n)))

    assert ("c" in found.encoder.columns) == stays


def test_v41_a_column_without_values_is_left_out(folder):
    """V41: a column of missing cells is left out with a notice; alone, it is an error."""
    found = folder.load("c,b,y\n" + "".join(f",{i},{i}.5\n" for i in range(10)))

    assert found.encoder.columns == ("b",)
    assert any('column "c" is left out: it has no value' in notice for notice in found.notices)
    with pytest.raises(DataError, match="no column is left"):
        folder.load("c,y\n" + "".join(f"NA,{i}.5\n" for i in range(10)))


@pytest.mark.parametrize(("texts", "error"), [(2, True), (3, False)])
def test_the_limit_between_mistakes_and_categories(folder, texts, error):
    """With 95 % numbers the texts are errors; below, the column is text, and a notice says how many numbers."""
    cells = ["x"] * texts + [str(i % 5) for i in range(40 - texts)]

    if error:
        with pytest.raises(DataError, match="is not a number"):
            folder.load(with_column(cells))
    else:
        found = folder.load(with_column(cells))
        assert found.encoder.features[0].levels == ("0", "1", "2", "3", "4", "x")
        assert any("37 of 40 cells are numbers" in notice for notice in found.notices)


def test_numbers_forced_to_categories_keep_their_spelling(folder):
    """`categorical` takes the texts as they are written."""
    found = folder.load(with_column(["1", "01", "1.0", "1"]), categorical=["c"])

    assert found.encoder.features[0].levels == ("01", "1", "1.0")


def test_texts_that_differ_only_by_blanks_are_errors(folder):
    """Two levels, or two labels, that look alike are named with the line."""
    with pytest.raises(DataError, match=r't.csv:4: column "c": "a " and "a" differ only by blanks'):
        folder.load(with_column(["a", "b", "a "]))
    with pytest.raises(DataError, match="differ only by blanks"):
        folder.load("a,y\n1,u\n2, u\n3,v\n")


def test_v38_identifiers_are_pointed_out(folder):
    """V38: whole numbers of 17 digits or more, which float64 blurs, are said to look like identifiers."""
    found = folder.load(with_column([f"1234567890123456{i:04}" for i in range(30)]))

    assert any("looks like an identifier" in notice for notice in found.notices)


def test_features_and_exclude_choose_columns(folder):
    """`features` lists, `exclude` removes; columns that are not used are not looked at."""
    text = "a,b,c,y\n" + "".join(f"{i},{'bad' if i == 3 else i},{i},{i}.5\n" for i in range(40))

    assert folder.load(text, features=["c", "a"]).encoder.columns == ("a", "c")
    assert folder.load(text, exclude=["b"]).encoder.columns == ("a", "c")


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        pytest.param(
            {"target": "yy"}, "data.target", 'did you mean "y"? the columns are "a", "b", "y"', id="V47-target"
        ),
        pytest.param({"target": None}, "data.target", "is missing", id="no-target"),
        pytest.param({"target": []}, "data.target", "empty", id="empty-target"),
        pytest.param({"target": ["y", "y"]}, "data.target", "twice", id="target-twice"),
        pytest.param({"features": ["a", "y"]}, "data.features", "is the target", id="V47-target-among-features"),
        pytest.param({"features": ["q"]}, "data.features.0", 'no column "q"', id="features"),
        pytest.param({"exclude": ["q"]}, "data.exclude.0", 'no column "q"', id="exclude"),
        pytest.param({"categorical": ["q"]}, "data.categorical.0", 'no column "q"', id="categorical"),
        pytest.param({"weight": "q"}, "data.weight", 'no column "q"', id="weight"),
        pytest.param({"weight": "y"}, "data.weight", "is the target", id="weight-is-target"),
        pytest.param({"exclude": ["a", "b"]}, "data.features", "no column is left", id="nothing-left"),
        pytest.param({"class_weight": "balanced"}, "data.class_weight", "need classes", id="class-weights"),
    ],
)
def test_names_that_are_no_columns_are_config_errors(folder, table, options, key, said):
    """A column that the config names and the table lacks ends with exit 3, the key, and the columns there are."""
    with pytest.raises(ConfigError) as error:
        folder.load("\n".join(table), **options)

    assert error.value.exit_code == 3
    assert error.value.problems[0].key == key
    assert said in str(error.value)


def test_v47_many_names_that_are_no_columns_are_five_lines_and_a_count(folder, table):
    """Each of the first five is named, the rest counted, and the columns that there are listed once."""
    with pytest.raises(ConfigError) as error:
        folder.load("\n".join(table), categorical=[f"k{i}" for i in range(7)], target="yy")

    said = [(problem.key, problem.text) for problem in error.value.problems]
    assert said == [
        ("data.target", 'no column "yy"; did you mean "y"?'),
        *((f"data.categorical.{i}", f'no column "k{i}"') for i in range(4)),
        (None, 'and 3 more columns that are not there; the columns are "a", "b", "y"'),
    ]


@pytest.mark.parametrize("mark", [":", "/"])
def test_a_table_of_one_column_that_should_be_several_names_the_delimiter(folder, mark):
    """Where the wanted name is a part of the only one there is, what separates them is what to set."""
    text = "a,b,y\n1,2,3.5\n2,3,4.5\n".replace(",", mark)

    with pytest.raises(ConfigError, match=f'no column "y"; did you mean data.delimiter={mark}'):
        folder.load(text)
    assert folder.load(text, delimiter=mark).encoder.columns == ("a", "b")


def test_row_weights_have_mean_one_over_training(folder):
    """Weights are scaled once, over the training rows; the weight column is no feature."""
    text = "a,w,part,y\n" + "".join(f"{i},{i % 4},{'train' if i < 8 else 'test'},{i}.5\n" for i in range(12))

    found = folder.load(text, weight="w", split=Split(by="column", column="part"))

    assert found.encoder.columns == ("a",)
    assert np.isclose(found.w[:8].mean(), 1, rtol=1e-14)
    assert np.allclose(found.w, np.arange(12) % 4 / 1.5)


@pytest.mark.parametrize(
    ("cell", "said"), [("-1", "is -1; it must be 0 or more"), ("", "is missing"), ("x", "is not a number")]
)
def test_weights_that_are_none_are_errors(folder, cell, said):
    """Negative, missing and other weights are named with their line."""
    text = "a,w,y\n" + "".join(f"{i},{cell if i == 5 else 1},{i}.5\n" for i in range(30))

    with pytest.raises(DataError) as error:
        folder.load(text, weight="w")

    assert said in str(error.value)
    assert error.value.problems[0].line == 7


def test_several_targets_in_one_text_are_named_as_a_list(folder):
    """Names with a comma between them are no column, and the list is there to be typed, or the option twice."""
    found = r"no column \"y,w\"; did you mean 'data.target=\[\"y\", \"w\"\]'\?"
    with pytest.raises(ConfigError, match=found + " as options that is --target y --target w; the columns are"):
        folder.load("a,w,y\n" + "1,0,2.5\n" * 9, target="y,w")


def test_weights_of_zero_only_are_an_error(folder):
    """With all weights 0 there is nothing to train on."""
    with pytest.raises(DataError, match="all 0"):
        folder.load("a,w,y\n" + "1,0,2.5\n" * 9, weight="w")


def test_class_weights(folder):
    """`balanced` gives each class the same total, a mapping its factors; both have mean 1 over training."""
    text = "a,y\n" + "".join(f"{i},{'x' if i < 30 else 'z'}\n" for i in range(40))

    balanced = folder.load(text, class_weight="balanced")
    given = folder.load(text, class_weight={"z": 3.0})

    assert np.isclose(balanced.w[:30].sum(), balanced.w[30:].sum())
    assert np.isclose(balanced.w.mean(), 1)
    assert np.isclose(given.w[39] / given.w[0], 3)
    assert np.isclose(given.w.mean(), 1)
    with pytest.raises(ConfigError, match='no class "q"; the classes are "x", "z"'):
        folder.load(text, class_weight={"q": 2.0})


def test_row_and_class_weights_multiply(folder):
    """The weight of a row is its own times that of its class; number labels are matched as numbers."""
    text = "a,w,y\n" + "".join(f"{i},{1 + i % 2},{i // 20}\n" for i in range(40))

    found = folder.load(text, weight="w", class_weight={"1.0": 5.0})

    assert np.allclose(found.w, found.w[0] * (1 + np.arange(40) % 2) * np.where(np.arange(40) < 20, 1, 5))
    assert np.allclose(found.row_weights, found.row_weights[0] * (1 + np.arange(40) % 2))


def test_the_encoder_comes_back_from_header_and_arrays(folder):
    """What goes into a checkpoint restores an encoder that encodes alike."""
    text = "a,c,d,y\n" + "".join(
        f"{i if i % 7 else ''},{'uvw'[i % 3]},{'' if i == 2 else 'q'},{i}.5\n" for i in range(40)
    )
    found = folder.load(text)
    header = json.loads(json.dumps(found.encoder.header()))

    again = Encoder.restore(header, found.encoder.arrays())

    assert again == found.encoder
    assert all(array.dtype == np.float64 for array in found.encoder.arrays().values())


def test_values_outside_the_training_range_are_counted(folder):
    """A transform counts them by column, and with `strict` refuses them with their line."""
    found = folder.load(with_column([str(i) for i in range(10)]))
    other = folder.write(with_column(["3", "11", "-1"]), "o.csv")

    scored = score(other, found.resolved, found.encoder, found.target)

    assert 'values outside the training range: "c" 2' in scored.notices
    with pytest.raises(DataError, match=r"o.csv:3.*11.0 is outside the training range"):
        score(other, found.resolved, found.encoder, found.target, strict=True)


@pytest.mark.parametrize("value", [-999.0, 999.0])
def test_what_stands_in_for_a_missing_cell_is_not_outside_the_range(folder, value):
    """The number that the config gives is the user's own, and no value of the table."""
    text = with_column([str(i) if i % 3 else "" for i in range(10)])
    found = folder.load(text, preprocess=Preprocess(missing=Filled(value)))

    scored = score(folder.path / "t.csv", found.resolved, found.encoder, found.target, strict=True)

    assert 'missing cells: "c" 4' in scored.notices
    assert not any("outside" in notice for notice in scored.notices)


def test_what_each_net_makes_of_a_column_is_found(folder):
    """Where one net looks codes of it up and another has inputs of 0 and 1, both are of that column and of no other."""
    text = "a,k,y\n1,u,0.5\n2,v,1.5\n3,u,2.5\n"
    codes, ones = (folder.load(text, preprocess=Preprocess(categorical=each())).encoder for each in (Codes, OneHot))

    found = replace(codes, each=(codes, ones)).spans()

    assert found == {"a": {"x": [0, 1]}, "k": {"c": [0], "x": [2, 3]}}


def test_a_fitted_encoder_gives_the_same_data_set_again(folder):
    """Loading with what was fitted before gives the same rows, parts and hashes."""
    text = "a,c,y\n" + "".join(f"{i},{'uvw'[i % 3]},{'pq'[i % 2]}\n" for i in range(60))
    found = folder.load(text, validation=0.2, test=0.2)

    again = folder.load(None, validation=0.2, test=0.2, fitted=(found.encoder, found.target))

    assert np.array_equal(again.x, found.x)
    assert again.part_hashes == found.part_hashes
    assert again.y.tolist() == found.y.tolist()


def test_the_resolved_section_gives_the_same_data_set(folder):
    """Training again from what was resolved changes nothing: types, exclusions, delimiter, task."""
    text = "name;a;y\n" + "".join(f"name {i};{i};{i % 2}\n" for i in range(60))
    found = folder.load(text, validation=0.2)

    again = load(replace(found.resolved), Preprocess(), base=folder.path)

    assert np.array_equal(again.x, found.x)
    assert again.resolved == found.resolved
    assert again.part_hashes == found.part_hashes


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=50))
def test_moments_are_those_of_exact_arithmetic(values):
    """Mean and deviation agree with exact fractions for any values."""
    array = np.array(values)
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    unit = max(map(abs, exact)) or Fraction(1)  # so that no square is too small for a float
    spread = float(sum(((v - mean) / unit) ** 2 for v in exact) / len(exact)) ** 0.5 * float(unit)

    found_mean, found_scale = moments(array)

    assert abs(found_mean - float(mean)) <= 1e-12 * np.abs(array).max()
    if array.min() != array.max() and spread > 1e-9 * np.abs(array).max():
        assert abs(found_scale / spread - 1) < 1e-6


@pytest.mark.parametrize("values", [[1.7e308] * 3 + [-1.7e308], [1.7e308, 0.0, -1e308], [1.5e308, 1.6e308] * 9])
def test_moments_of_numbers_whose_differences_are_no_floats(values):
    """Mean and deviation of the largest numbers are those of numbers a thousand times smaller."""
    mean, scale = moments(np.array(values) / 1024)

    assert moments(np.array(values)) == pytest.approx((1024 * mean, 1024 * scale), rel=1e-14)


def test_tally_counts_over_chunks(folder):
    """Counts of several chunks are told once for each column."""
    found = folder.load(with_column(["a", "b"] * 5))
    tally = Tally()
    from fcnet.data import stream

    path = folder.write("c\n" + "a\nq\n" * 10, "p.csv")
    chunks = list(stream(path, found.resolved, found.encoder, found.target, tally))

    assert sum(len(x) for x, _ in chunks) == 20
    assert any("10 cells" in notice and '"q" 10' in notice for notice in tally.notices())


def many_names(n: int, levels: int) -> str:
    return "name,a,y\n" + "".join(f"n{i % levels},{i % 7},{i % 5}.5\n" for i in range(n))


def test_a_column_that_makes_most_of_the_inputs_is_named(folder):
    """Of a column of many categories it is said how many of the inputs they are; up to a hundred are usual."""
    few, many = folder.load(many_names(1000, 100)), folder.load(many_names(1000, 101))

    assert not any("inputs" in notice for notice in few.notices)
    assert [notice for notice in many.notices if "inputs" in notice] == [
        '101 of 102 inputs are categories of "name"; list under data.exclude what is of no use'
    ]
    assert folder.load(None, exclude=["name"]).encoder.columns == ("a",)


def test_inputs_that_cannot_fit_are_refused_before_they_are_made(folder, monkeypatch):
    """The one-hot matrix is reckoned up, and the column named that makes it large; no memory is asked for."""
    import fcnet.data.encode as module

    text = many_names(6000, 2999)
    monkeypatch.setattr(module.machine, "memory", lambda: [module.machine.Limit(10**9, 10**7, "this machine")])
    made = []
    monkeypatch.setattr(module, "aligned", lambda shape, dtype: made.append(shape) or np.zeros(shape, dtype))

    with pytest.raises(LimitError) as error:
        folder.load(text)

    assert str(error.value) == (
        'data.exclude: 3,000 inputs, 2,999 of them the categories of "name", take 72 MB of memory for 6,000 rows, and '
        "this machine allows 1.0 GB, of which 990 MB are in use; use fewer rows, or leave the column out"
    )
    assert error.value.exit_code == 9
    assert made == []
    assert folder.load(None, exclude=["name"]).x.shape == (6000, 1)
