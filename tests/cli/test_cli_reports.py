"""The blocks of lines that people read: aligned, folded at the terminal's width, and safe to print."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnet.config import reference
from fcnet.config.reference import KeyRow
from fcnet.reports import evaluation, keys, summary
from fcnet.reports.text import cells, figures


def shown(head, scores, width):
    return [
        *summary.head(head, width),
        *summary.tail(scores, head.name, "runs/x/best.npz", "fcnet predict YOUR.csv", width),
    ]


def test_lines_fold_between_their_parts_on_a_narrow_terminal(head, scores):
    """At 80 columns no line is longer, and what does not fit continues below the first part."""
    lines = shown(head, scores, 80)

    assert max(map(cells, lines)) <= 80
    assert lines[:4] == [
        "digits   1,797 rows · 64 numbers → 10 classes (digit)",
        "         1,257 train, 270 validation, 270 test",
        "net      64 → 256 relu → 128 relu → 10 · 50,826 parameters · adam 1e-3",
        "         numpy, 2 threads",
    ]


def test_a_long_name_widens_the_labels_of_the_whole_block(head, scores):
    """All lines of a block start their content in the same column."""
    lines = shown(replace(head, name="breast_cancer"), scores, 80)

    assert lines[0].startswith("breast_cancer  1,797 rows")
    assert lines[-1] == "files          runs/x/best.npz …       next: fcnet predict YOUR.csv"
    assert all(line.startswith(" " * 15) or line[13:15] == "  " for line in lines)
    assert max(map(cells, lines)) <= 80


@pytest.mark.parametrize("name", ["x" * 300, "日本語の名前がここに長く続く", "a\x1b[31mb\n"])
def test_any_name_is_shortened_and_escaped(head, scores, name):
    """A name of any length or letters neither breaks the alignment nor reaches the terminal raw."""
    lines = shown(replace(head, name=name, targets=(name,)), scores, 80)

    assert max(map(cells, lines)) <= 80
    assert not any(c in line for line in lines for c in "\x1b\n")


def test_regression_is_compared_with_guessing_the_mean(head, scores):
    """For numbers the target is named, and the trivial predictor is the mean."""
    scores["validation"] = {
        "loss": 0.5,
        "rmse": {"value": 54.321, "trivial": 77.0},
        "r2": {"value": 0.45, "trivial": 0.0},
    }
    scores["test"] = {"loss": 0.5, "rmse": {"value": 55.0, "trivial": 77.12}, "r2": {"value": 0.44, "trivial": -0.01}}

    lines = shown(replace(head, task="regression", targets=("progression",), classes=0, categories=2), scores, None)

    assert (
        lines[0]
        == "digits   1,797 rows · 64 numbers, 2 categories → progression · 1,257 train, 270 validation, 270 test"
    )
    assert lines[2:5] == [
        "best     epoch 31 of 50          validation    test    guessing the mean",
        "         rmse                         54.32   55.00                77.12",
        "         r2                           0.450   0.440               -0.010",
    ]


@pytest.mark.parametrize(
    ("there", "header"),
    [
        (("train", "validation"), "best     epoch 31 of 50          validation    guessing the majority"),
        (("train", "test"), "best     epoch 31 of 50           test    guessing the majority"),
        (("train",), "best     epoch 31 of 50           train    guessing the majority"),
    ],
)
def test_parts_that_do_not_exist_have_no_column(head, scores, there, header):
    """Without validation or test the table is narrower; without both it shows the training rows."""
    scores = {key: value for key, value in scores.items() if key in (*there, "best_epoch", "epochs")}

    lines = summary.tail(scores, "digits", "runs/x/best.npz", "fcnet predict YOUR.csv", 80)

    assert lines[0] == header


def test_a_part_that_is_null_is_left_out(scores):
    """metrics.json may name a part that has no rows as null."""
    lines = summary.tail({**scores, "test": None}, "digits", "runs/x/best.npz", "fcnet predict YOUR.csv", 80)

    assert "test" not in lines[0]


@pytest.mark.parametrize(
    ("task", "targets", "classes", "said"),
    [
        ("binary", ("y",), 2, "2 classes (y)"),
        ("multilabel", ("a", "b"), 0, "2 labels (a, b)"),
        ("regression", ("a", "b", "c", "d", "e"), 0, "5 numbers (a, b, c, …)"),
        ("regression", ("price",), 0, "price"),
    ],
)
def test_what_is_predicted(task, targets, classes, said):
    """The outputs are named by what they are, long lists are cut."""
    assert summary.outputs(task, targets, classes) == said


def test_a_deep_net_is_abbreviated():
    """A chain of many layers keeps its ends."""
    chain = summary.net((4, *[8] * 40, 2), ("relu",) * 40)

    assert chain == "4 → 8 relu → 8 relu → 8 relu → (35 more) → 8 relu → 8 relu → 2"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.985, 0.1], ["0.985", "0.100"]),
        ([12.345, 1.0], ["12.345", "1.000"]),
        ([345.67, None], ["345.7", "–"]),
        ([19.98], ["19.98"]),
        ([52003.4265, 114479.296], ["52,003", "114,479"]),
        ([0.00821], ["0.00821"]),
        ([0.0123, 0.9], ["0.0123", "0.9000"]),
        ([1.5e-9, 0.5], ["1.50e-09", "0.500"]),
        ([float("nan"), float("inf")], ["–", "–"]),
        ([0.0], ["0.000"]),
        ([-0.0], ["0.000"]),
        ([3e12], ["3.00e+12"]),
    ],
)
def test_figures_of_a_row_share_their_decimals(values, texts):
    """Scores in one row have the same number of decimals, at least three digits of each."""
    assert figures(values) == texts


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-12), min_size=1, max_size=3), st.floats())
def test_three_digits_of_a_score_are_shown_whatever_it_is_compared_with(values, other):
    """No guess, however large or small, takes a digit from the model's own scores."""
    shown = figures(values, [other])

    for value, text in zip(values, shown, strict=False):
        assert float(text.replace(",", "")) == pytest.approx(value, rel=0.005)
    assert len({len(text.partition(".")[2]) for text in shown if "." in text and "e" not in text}) <= 1


def test_an_evaluation_names_what_met_what(scores):
    """`eval` shows checkpoint, epoch, data and rows above the scores, and what to do next."""
    scored = {
        "name": "digits",
        "checkpoint": "runs/digits/best.npz",
        "epoch": 31,
        "part": "test",
        "rows": 270,
        "data": "data/digits.csv",
        **scores["test"],
    }

    assert evaluation.lines(scored, "fcnet predict YOUR.csv", None) == [
        "digits   runs/digits/best.npz · epoch 31 · data/digits.csv",
        "scores   270 rows                 test    guessing the majority",
        "         accuracy                0.978                    0.101",
        "         log_loss               0.0741                   2.3021",
        "next     fcnet predict YOUR.csv",
    ]


def test_a_table_of_keys_folds_in_straight_columns():
    """Columns are as wide as their longest cell up to a limit, and long texts go on below."""
    rows = [
        KeyRow("seed", "int", "0", "≥ 0", "the seed of all"),
        KeyRow("data.train", "text", "", "", "a table of rows, CSV"),
    ]

    assert keys.lines(rows, 60) == [
        "key         type  default  limits  meaning",
        "seed        int   0        ≥ 0     the seed of all",
        "data.train  text                   a table of rows, CSV",
    ]
    assert keys.lines([KeyRow("a", "t " * 20, "", "", "m")], 80)[1:] == [
        "a    t t t t t t t t t t t t t t                    m",
        "     t t t t t t",
    ]


def test_a_table_of_keys_has_paragraphs_on_a_narrow_terminal():
    """Where columns would leave no room for the meanings, each key has lines of its own, and all of them fit."""
    assert keys.lines([KeyRow("data.test", "number or text", "0", "≥ 0 and < 1", "A fraction of all rows.")], 44) == [
        "data.test",
        "    number or text · ≥ 0 and < 1 · default 0",
        "    A fraction of all rows.",
    ]
    assert max(map(cells, keys.lines(reference.table(), 80))) <= 80
