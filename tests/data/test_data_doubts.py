"""What is hardly meant is said once: a target among the features, names that look alike, numbers that vanish."""

from __future__ import annotations

import numpy as np
import pytest

import fcnet.data.doubts as doubts
from fcnet.data import load
from fcnet.data.encodings.none import Plain
from fcnet.data.options import Data, Preprocess

N = 60
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)
LABELS = np.array(["no", "yes", "perhaps"], dtype=object)
CODES = RNG.integers(0, 3, N)


def said(target, preprocess=None, dtype="float32", **columns):
    """The notices of a table of these columns beside noise, but for those that every table has."""
    options = Data(train="", target="y", validation=0)
    found = load(options, preprocess or Preprocess(), data={"a": NOISE, **columns, "y": target}, dtype=dtype)
    return [text for text in found.notices if not text.startswith(("target", "column values"))]


def told(name, how):
    cure = "list it under data.exclude if it is not known where the target is not"
    return [f'column "{name}" {how} the target "y" in every row; {cure}']


@pytest.mark.parametrize("glance", [1000, 30])
@pytest.mark.parametrize(
    ("target", "column", "how"),
    [
        pytest.param(NOISE**3, NOISE**3, "equals", id="numbers"),
        pytest.param(CODES, CODES.astype(float), "equals", id="classes"),
        pytest.param(LABELS[CODES], LABELS[CODES].copy(), "equals", id="texts"),
        pytest.param(LABELS[CODES], CODES * 10 + 3, "says the same as", id="numbers-for-labels"),
        pytest.param(LABELS[CODES], np.array(["u", "v", "w"])[CODES], "says the same as", id="other-texts"),
        pytest.param(CODES, LABELS[CODES], "says the same as", id="labels-for-numbers"),
        pytest.param(CODES == 1, np.where(CODES == 1, 0.5, -2.5), "says the same as", id="booleans"),
        pytest.param(np.arange(N) // 6 * 1.5, np.arange(N) // 6 * -3, "says the same as", id="numbers-in-other-units"),
    ],
)
def test_a_feature_that_is_the_target_is_named(monkeypatch, glance, target, column, how):
    """Equal cells, and one value for each of the target's, are said, whether or not the first rows hold all rows."""
    monkeypatch.setattr(doubts, "GLANCE", glance)

    assert said(target, leak=column) == told("leak", how)


@pytest.mark.parametrize(
    ("target", "column"),
    [
        pytest.param(NOISE**3, np.append(NOISE[:-1] ** 3, 9.0), id="all-but-the-last"),
        pytest.param(LABELS[CODES], np.append(CODES[:-1], 7), id="a-code-in-the-last-row"),
        pytest.param(CODES == 1, CODES, id="finer-than-the-target"),
        pytest.param(CODES, CODES == 1, id="coarser-than-the-target"),
        pytest.param(NOISE**3, np.sort(NOISE) * 2.5, id="each-value-once"),
        pytest.param(CODES, np.ones(N) * 0.5, id="constant"),
    ],
)
def test_a_feature_that_differs_in_one_row_is_none(target, column):
    """All rows must agree, both ways; where each value comes once, any column would have one of its own for it."""
    assert not any("leak" in text and "target" in text for text in said(target, leak=column))


@pytest.mark.parametrize(
    ("column", "notices"),
    [
        pytest.param(np.arange(20) % 2, 0, id="two-values-on-20-rows"),
        pytest.param(np.arange(60) % 2, 1, id="two-values-on-60-rows"),
        pytest.param(np.append(np.zeros(2000), 1), 0, id="one-row-that-differs"),
        pytest.param(np.append(np.zeros(2000), [1, 1, 1, 1]), 1, id="four-rows-that-differ"),
        pytest.param(np.sin(np.arange(12)), 0, id="numbers-on-12-rows"),
        pytest.param(np.sin(np.arange(13)), 1, id="numbers-on-13-rows"),
    ],
)
def test_what_may_be_chance_is_not_said(column, notices):
    """2³⁰ tables must be searched for another in which columns of such values agree by chance in every row."""
    options = Data(train="", target="y", validation=0)

    found = load(options, Preprocess(), data={"b": column, "a": np.cos(np.arange(len(column))), "y": column})

    assert sum('column "b" equals' in text for text in found.notices) == notices


@pytest.mark.parametrize("name", ["A", " a", "a ", "ａ", "A\N{NO-BREAK SPACE}"])
def test_names_that_look_alike_are_said(name):
    """Case, blanks and Unicode's ways of writing one character do not make two names for people."""
    assert said(NOISE**2, **{name: NOISE[::-1]}) == [
        f'columns whose names differ only by case, blanks or the form of their characters: "a", "{name}"'
    ]


def test_composed_and_decomposed_names_look_alike():
    """é as one character and as two is one name; a and b, x1 and x2 are two."""
    names = ["caf\u00e9", "cafe\u0301", "b", "x1", "x2"]
    text = "\n".join(said(NOISE**2, **dict.fromkeys(names, NOISE[::-1])))

    assert text.count("columns whose names differ only") == 1
    assert '"caf\u00e9", "cafe\u0301"' in text
    assert '"b"' not in text


def test_many_names_that_look_alike_are_a_few_and_a_count(folder):
    """The first five groups are named, and how many more there are."""
    columns = [f"{name}{i}" for i in range(9) for name in "vV"]
    lines = [",".join([*columns, "y"]), *(",".join(["1.5"] * 18 + [f"{i}"]) for i in range(30))]

    (notice,) = [text for text in folder.load("\n".join(lines) + "\n").notices if "differ only by case" in text]

    assert notice.endswith('"v4", "V4", and 4 more')


SMALL = np.where(np.arange(N) % 3 == 0, 1e-42, NOISE + 10)


def test_numbers_that_vanish_in_the_dtype_are_counted():
    """Cells that are no zeros and become zeros, or lose their digits, are counted where nothing scales them."""
    plain, standard = Preprocess(numeric=Plain()), Preprocess()
    notice = (
        'numbers too small for float32, which count as 0: "b" 20; set preprocess.numeric: standard, or give them in a '
        "smaller unit"
    )

    assert said(NOISE**2, plain, b=SMALL) == [notice]
    assert said(NOISE**2, standard, b=SMALL) == []
    assert said(NOISE**2, standard, b=NOISE * 1e-60) == []
    assert said(NOISE**2, plain, "float64", b=SMALL) == []
    assert said(NOISE**2, plain, b=np.where(np.arange(N) % 3 == 0, 0.0, NOISE)) == []


def test_targets_that_vanish_in_the_dtype_are_counted():
    """A target of tiny numbers, not standardised, is pointed out; standardised it is learned as any other."""
    for how, notices in (("none", 1), ("standard", 0)):
        options = Data(train="", target="y", validation=0)
        found = load(options, Preprocess(target=how), data={"a": NOISE, "y": (NOISE + 3) * 1e-40})

        assert sum('target "y": 60 numbers are too small for float32' in text for text in found.notices) == notices
