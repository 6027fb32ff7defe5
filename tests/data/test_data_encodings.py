"""Every encoding of columns: what it makes of numbers and categories, and that it comes back from a checkpoint."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from fcnet.data import Encoder, Tally, load, score, stream
from fcnet.data.dataset import Partition, encode, fit, partition
from fcnet.data.encodings import CATEGORICAL, NUMERIC
from fcnet.data.encodings.codes import Codes
from fcnet.data.encodings.quantile import Quantile, inverse
from fcnet.data.encodings.robust import Robust
from fcnet.data.encodings.signs import Signs
from fcnet.data.options import Data, Preprocess, Split
from fcnet.data.reading import read

RNG = np.random.default_rng(5)


def column(values) -> str:
    """A table with this column, and a category beside it."""
    cells = ("" if math.isnan(v) else repr(float(v)) for v in values)
    return "a,c,y\n" + "".join(f"{cell},{'uvw'[i % 3]},{i}.5\n" for i, cell in enumerate(cells))


def inputs(folder, values, encoding, **options):
    """What the encoding makes of these numbers, all of them training rows."""
    found = folder.load(column(values), preprocess=Preprocess(numeric=encoding), dtype="float64", **options)
    return found.x[:, 0]


@pytest.mark.parametrize("categorical", CATEGORICAL)
@pytest.mark.parametrize("numeric", NUMERIC)
def test_an_encoding_comes_back_from_a_checkpoint(folder, numeric, categorical):
    """Header and arrays restore an encoder that encodes another table to the same bits, in any pieces."""
    values = np.where(np.arange(90) % 7 == 3, np.nan, RNG.normal(size=90) ** 3)
    how = Preprocess(numeric=NUMERIC[numeric](), categorical=CATEGORICAL[categorical]())
    found = folder.load(column(values), preprocess=how)
    other = folder.write(
        "c,a\n" + "".join(f"{'uvwz'[i % 4]},{'' if i == 5 else i / 7 - 3}\n" for i in range(50)), "o.csv"
    )

    again = Encoder.restore(json.loads(json.dumps(found.encoder.header())), found.encoder.arrays())
    (whole,), pieces = (
        [rows for rows, _ in stream(other, found.resolved, encoder, found.target, Tally(), outputs=outputs)]
        for encoder, outputs in ((found.encoder, 1), (again, 1 << 17))
    )

    assert again == found.encoder
    assert len(pieces) == 25
    for name, array in whole.arrays.items():
        assert np.isfinite(array).all()
        assert np.array_equal(np.concatenate([rows.arrays[name] for rows in pieces]), array)


@pytest.mark.parametrize("numeric", NUMERIC)
@pytest.mark.parametrize(
    "values", [[1e308, -1e308, 9e307], [3.0] * 9, [5e-324, 0.0, 1e-310]], ids=["huge", "one", "tiny"]
)
def test_an_encoding_of_numbers_keeps_their_order_and_is_finite(folder, numeric, values):
    """Whatever the numbers are, the inputs are finite and in their order."""
    found = inputs(folder, values, NUMERIC[numeric]())

    assert np.isfinite(found).all()
    ordered = found[np.argsort(values, kind="stable")]
    assert (ordered[:-1] <= ordered[1:]).all()


@pytest.mark.parametrize("numeric", NUMERIC)
def test_a_missing_number_is_encoded_as_the_median_is(folder, numeric):
    """The median stands in for a missing number, whatever the encoding."""
    values = [2.0, np.nan, 5.0, 1.0, 9.0, 5.0]

    found = inputs(folder, values, NUMERIC[numeric]())

    assert found[1] == found[2]


@pytest.mark.parametrize(
    ("values", "spread"),
    [([1, 2, 4, 8, 100], 6.0), ([7, 7, 7, 7, 7, 7, 7, 7, 17], 5.0), ([4, 4, 4], math.inf)],
    ids=["quartiles", "half-the-range", "constant"],
)
def test_robust_goes_by_quartiles_and_clips_smoothly(folder, values, spread):
    """u / √(1 + (u/3)²), u = (x − median) / spread: quartiles apart, else half the range, else nothing."""
    found = inputs(folder, values, Robust())

    u = [(v - sorted(values)[len(values) // 2]) / spread for v in values]
    assert found.tolist() == pytest.approx([x / math.sqrt(1 + (x / 3) ** 2) for x in u], rel=1e-14)


def test_robust_takes_the_largest_numbers_to_three(folder):
    """A number far outside the training range is clipped to ±3, however far."""
    how = Preprocess(numeric=Robust())
    found = folder.load(column([1.0, 2.0, 3.0, 4.0]), preprocess=how, dtype="float64")
    other = folder.write("a,c,y\n1e300,u,1\n-1e300,u,1\n", "o.csv")

    assert score(other, found.resolved, found.encoder, found.target).x[:, 0].tolist() == [3.0, -3.0]


def test_the_inverse_of_the_normal_distribution_is_that_of_the_standard_library():
    """Φ⁻¹ agrees with statistics.NormalDist to the last digits, in the middle and in both tails."""
    p = np.concatenate([10.0 ** -np.linspace(1, 9.5, 200), np.linspace(0.01, 0.99, 197)])
    p = np.concatenate([p, 1 - p])

    expected = [NormalDist().inv_cdf(each) for each in p.tolist()]

    assert inverse(p) == pytest.approx(expected, rel=1e-13, abs=1e-15)


def test_quantiles_of_different_numbers_are_those_of_their_ranks(folder):
    """With a quantile for each training row, the i-th of n numbers becomes Φ⁻¹((i − 1) / (n − 1))."""
    values = RNG.permutation(np.exp(np.linspace(-3, 4, 41)))

    found = inputs(folder, values, Quantile(quantiles=41))

    ranks = values.argsort().argsort() / 40
    expected = [NormalDist().inv_cdf(min(max(rank, 1e-7), 1 - 1e-7)) for rank in ranks.tolist()]
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_quantiles_are_those_of_scikit_learn(folder):
    """With repeated numbers, and for numbers between and beyond them, as QuantileTransformer does."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = np.concatenate([np.repeat([1.0, 2.0, 2.5, 4.0], [30, 5, 40, 9]), RNG.normal(3, 2, 216)])
    reference = preprocessing.QuantileTransformer(n_quantiles=10, output_distribution="normal", subsample=None)
    reference.fit(values[:, None])
    found = folder.load(column(values), preprocess=Preprocess(numeric=Quantile()), dtype="float64")
    others = np.linspace(-6, 12, 77)
    other = folder.write(column(others), "o.csv")

    scored = score(other, found.resolved, found.encoder, found.target)

    assert found.x[:, 0] == pytest.approx(reference.transform(values[:, None])[:, 0], rel=1e-6, abs=1e-9)
    assert scored.x[:, 0] == pytest.approx(reference.transform(others[:, None])[:, 0], rel=1e-6, abs=1e-9)


def test_noise_keeps_repeated_numbers_apart_and_is_always_the_same(folder):
    """With noise a number on half of the rows fills half of the quantiles; the words belong to the column."""
    values = np.repeat([0.0, 1.0, 2.0], 60)
    noisy = Preprocess(numeric=Quantile(quantiles=30, noise=1e-3))

    found, again = (folder.load(column(values), preprocess=noisy, dtype="float64") for _ in range(2))
    (quantiles,) = found.encoder.arrays()["preprocess/quantiles"]

    assert len(np.unique(quantiles)) == 30
    assert np.abs(quantiles - np.round(quantiles)).max() < 0.01
    assert np.array_equal(found.x, again.x)
    assert not inputs(folder, [3.0] * 40, Quantile(noise=1e-3)).any()


def levels(n: int, missing: bool = False) -> str:
    """A table with a category of so many levels, and one of two."""
    rows = [("" if missing and i == 4 else f"k{i % n}", "pq"[i % 2]) for i in range(6 * n)]
    return "c,d,a,y\n" + "".join(f"{c},{d},{i % 7},{i}.5\n" for i, (c, d) in enumerate(rows))


def test_codes_are_places_among_the_levels(folder):
    """Codes count the sorted levels from 0; missing and unknown cells are −1, and nothing is left among the numbers."""
    text = "c,a,part,y\n" + "".join(f"{c},{i % 3},train,{i}.5\n" for i, c in enumerate("baccab"))
    text += "z,1,test,1.5\n,2,test,2.5\na,2,test,2.5\n"

    found = folder.load(text, preprocess=Preprocess(categorical=Codes()), split=Split(by="column", column="part"))

    assert found.inputs.c.dtype == np.int32
    assert found.inputs.c[:, 0].tolist() == [1, 0, 2, 2, 0, 1, -1, -1, 0]
    assert (found.encoder.inputs, found.encoder.levels) == (("a",), (3,))
    assert any('"z" 1' in notice and "unknown" in notice for notice in found.notices)


@pytest.mark.parametrize(
    ("above", "missing", "coded"), [(5, False, ()), (4, False, (5,)), (5, True, (5,)), (1, False, (5, 2))]
)
def test_few_levels_stay_one_hot(folder, above, missing, coded):
    """Columns with no more than `above` levels are one-hot, missing cells counting as one; codes stand last."""
    found = folder.load(levels(5, missing), preprocess=Preprocess(categorical=Codes(above)))

    assert found.encoder.levels == coded
    assert found.encoder.inputs[0] == "a"
    assert len(found.encoder.inputs) == 1 + (0 if 5 in coded else 5) + (0 if 2 in coded else 2)
    assert found.inputs.c is None or found.inputs.c.shape == (30, len(coded))


def test_two_categories_are_one_input_of_signs(folder):
    """The first level is −1, the second 1, missing and unknown cells are 0; columns of other levels are one-hot."""
    text = "a,b,part,y\nm,u,train,1\nf,v,train,2\nm,w,train,3\n,u,train,5\nz,v,test,1\n,w,test,2\nf,u,test,4\n"
    split = Split(by="column", column="part")

    found, coded = (
        folder.load(text, preprocess=Preprocess(categorical=how), split=split, features=["a", "b"])
        for how in (Signs(), Codes(above=2, few="signs"))
    )

    assert found.encoder.inputs == ("a=m", "b=u", "b=v", "b=w")
    assert found.x[:, 0].tolist() == [1, -1, 1, 0, 0, 0, -1]
    assert found.x[:, 1:].sum(axis=1).tolist() == [1] * 7
    assert (coded.encoder.inputs, coded.encoder.levels) == (("a=m",), (3,))
    assert coded.x[:, 0].tolist() == found.x[:, 0].tolist()


def test_one_table_is_partitioned_fitted_and_encoded_three_times(folder):
    """Folds of a table that was read once are what reading it anew for each would give; nothing of it is used up."""
    path = folder.write(column(RNG.normal(size=60)))
    table = read(Data(path.name, target="y", validation=0.3), base=path.parent)
    folds = np.array_split(np.arange(60), 3)
    how = Preprocess(numeric=Robust(), categorical=Codes())

    for i, held in enumerate(folds):
        rest = np.concatenate([fold for j, fold in enumerate(folds) if j != i])
        parts = Partition({"train": rest, "validation": held})
        found = encode({"train": table}, parts, fit(table, parts, how))
        names = np.full(60, "train", dtype=object)
        names[held] = "validation"
        cells = {name: table.table.columns[name].numbers() for name in "ay"}
        alone = load(
            Data("", target="y", split=Split(by="column", column="part")),
            how,
            data={"a": cells["a"], "c": np.array(["u", "v", "w"] * 20), "part": names, "y": cells["y"]},
        )
        assert np.array_equal(found.x, alone.x)
        assert np.array_equal(found.inputs.c, alone.inputs.c)
        assert np.array_equal(found.y, alone.y)
        assert found.part_hashes == alone.part_hashes
    assert partition(table).rows["validation"].shape == (18,)
