"""The metrics against scikit-learn's figures, against counting by hand, and at their edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from fcnet.data.target import TASKS, Binary, Classes, Labels, Numbers
from fcnet.errors import ConfigError
from fcnet.metrics import METRICS, Array, Decided, Metric, chosen, score
from fcnet.random import key, uniform

# printed by scikit-learn 1.9.1 (accuracy_score, balanced_accuracy_score, log_loss, f1_score, roc_auc_score,
# root_mean_squared_error, mean_absolute_error, r2_score) for the tables that `table` draws; ece by pandas 3.0 (cut and
# groupby), and without weights by torchmetrics 1.9.0 (multiclass_calibration_error, binary_calibration_error of each
# label) to the seven digits that it has
SKLEARN = {
    ("binary", "equal"): {
        "accuracy": 0.525,
        "balanced_accuracy": 0.5214192773496147,
        "log_loss": 0.8249820210067165,
        "f1_macro": 0.5161824246899748,
        "f1": 0.4508670520231214,
        "ece": 0.1784541143948071,
        "roc_auc": 0.5072064858372535,
    },
    ("binary", "weighted"): {
        "accuracy": 0.5378642176551889,
        "balanced_accuracy": 0.5387119317820633,
        "log_loss": 0.8104652735289419,
        "f1_macro": 0.5348468360680863,
        "f1": 0.4973829255403435,
        "ece": 0.17804267607383675,
        "roc_auc": 0.5209890013605329,
    },
    ("multiclass", "equal"): {
        "accuracy": 0.2,
        "balanced_accuracy": 0.1931217677184481,
        "log_loss": 1.762300624088632,
        "f1_macro": 0.2003464770523594,
        "ece": 0.13170548305205854,
        "roc_auc": 0.5184789287682607,
    },
    ("multiclass", "weighted"): {
        "accuracy": 0.1952523298616712,
        "balanced_accuracy": 0.18817897386769983,
        "log_loss": 1.7617843592951394,
        "f1_macro": 0.1971161301882553,
        "ece": 0.138003227573951,
        "roc_auc": 0.5155210830932372,
    },
    ("multilabel", "equal"): {
        "accuracy": 0.4916666666666667,
        "log_loss": 0.9147111650989611,
        "f1_macro": 0.43793877572404544,
        "ece": 0.2845,
        "roc_auc": 0.4885359387140637,
    },
    ("multilabel", "weighted"): {
        "accuracy": 0.48779999143934666,
        "log_loss": 0.9357113712307296,
        "f1_macro": 0.4336079660554553,
        "ece": 0.28721756043545926,
        "roc_auc": 0.4789742760793712,
    },
    ("regression", "equal"): {
        "rmse": 6.056414102387298,
        "mae": 5.218066193015566,
        "r2": -7.080497956344335,
    },
    ("regression", "weighted"): {
        "rmse": 6.04176026149102,
        "mae": 5.174676039068117,
        "r2": -6.834612159297818,
    },
}


def draw(what: str, *shape: int) -> Array:
    """Numbers in [0, 1) that are the same on every machine."""
    return uniform(int(np.prod(shape)), key(7, what)).reshape(shape)


def numbers(n: int) -> Numbers:
    """A target of n numbers as they are."""
    return Numbers(tuple(f"y{j}" for j in range(n)), mean=np.zeros(n), scale=np.ones(n))


def table(task: str) -> tuple[Array, Array, Array]:
    """200 rows of targets, predictions with many ties, and weights."""
    w = draw(f"{task} w", 200)
    if task == "regression":
        y = 10 * draw("regression y", 200, 2)
        return y, y + draw("regression p", 200, 2) * [1, 20], w
    if task == "multilabel":
        y = (draw("multilabel y", 200, 3) < [0.2, 0.5, 0.7]).astype(np.int64)
        return y, np.round(draw("multilabel p", 200, 3), 1) * 0.9 + 0.04, w
    k = {"binary": 2, "multiclass": 5}[task]
    p = np.round(draw(f"{task} p", 200, k), 1) + 0.05
    return (draw(f"{task} y", 200) * k).astype(np.int64), p / p.sum(axis=1, keepdims=True), w


@pytest.mark.parametrize(("task", "weights", "name"), [(*case, name) for case, of in SKLEARN.items() for name in of])
def test_values_are_scikit_learns(task: str, weights: str, name: str) -> None:
    """Every metric of every task, with and without row weights, is the number that scikit-learn prints."""
    y, p, w = table(task)

    value = METRICS[name].value(y, p, w if weights == "weighted" else None)

    assert value == pytest.approx(SKLEARN[task, weights][name], rel=1e-12)


def test_the_table_of_figures_covers_every_metric_and_task() -> None:
    """A metric that is registered for a task has a figure to be compared with."""
    assert {(task, m.name) for m in METRICS.values() for task in m.tasks} == {
        (task, name) for (task, _), figures in SKLEARN.items() for name in figures
    }


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=12))
def test_roc_auc_counts_pairs(rows: list[tuple[bool, int, int]]) -> None:
    """ROC AUC is the share of (positive, negative) pairs in the right order, a tie one half, each with its weight."""
    y = np.array([int(positive) for positive, _, _ in rows])
    p = np.array([[1 - s / 4, s / 4] for _, s, _ in rows])
    w = np.array([float(weight) for _, _, weight in rows])
    pairs = [
        (Fraction(wa * wb), Fraction(1 if a > b else 0) + Fraction(a == b, 2))
        for positive, a, wa in rows
        for negative, b, wb in rows
        if positive and not negative
    ]
    total = sum(weight for weight, _ in pairs)

    value = METRICS["roc_auc"].value(y, p, w)

    if total:
        assert value == pytest.approx(
            float(sum(weight * order for weight, order in pairs) / total), rel=1e-12, abs=1e-15
        )
    else:
        assert math.isnan(value)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12))
def test_class_metrics_count_rows(rows: list[tuple[int, int, int]]) -> None:
    """Accuracy, balanced accuracy and F1 are what one gets by counting rows with pencil and paper."""
    y = np.array([actual for actual, _, _ in rows])
    p = np.eye(3)[[predicted for _, predicted, _ in rows]]
    w = np.array([float(weight) for _, _, weight in rows])
    total = sum(weight for _, _, weight in rows)
    hit = [sum(n for a, b, n in rows if a == b == k) for k in range(3)]
    actual = [sum(n for a, _, n in rows if a == k) for k in range(3)]
    predicted = [sum(n for _, b, n in rows if b == k) for k in range(3)]
    recalls = [Fraction(h, a) for h, a in zip(hit, actual, strict=True) if a]
    f1 = [Fraction(2 * h, a + b) for h, a, b in zip(hit, actual, predicted, strict=True) if a + b]

    values = {name: METRICS[name].value(y, p, w) for name in ("accuracy", "balanced_accuracy", "f1_macro")}

    if total:
        assert values == pytest.approx(
            {
                "accuracy": float(Fraction(sum(hit), total)),
                "balanced_accuracy": float(sum(recalls) / len(recalls)),
                "f1_macro": float(sum(f1) / len(f1)),
            }
        )
    else:
        assert all(map(math.isnan, values.values()))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_weights_stand_for_repeated_rows(metric: Metric) -> None:
    """A row of weight 3 counts like three equal rows, a row of weight 0 like none, in every metric."""
    for task in metric.tasks:
        y, p, _ = table(task)
        n = np.arange(200) % 4

        weighted = metric.value(y, p, n.astype(np.float64))

        assert weighted == pytest.approx(metric.value(np.repeat(y, n, axis=0), np.repeat(p, n, axis=0)), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_metrics_do_not_depend_on_the_order_of_rows_or_the_scale_of_weights(metric: Metric) -> None:
    """Shuffled rows and weights in other units give the same figure."""
    for task in metric.tasks:
        y, p, w = table(task)
        order = np.argsort(draw("order", 200))

        assert metric.value(y[order], p[order], 10 * w[order]) == pytest.approx(metric.value(y, p, w), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_perfect_prediction_is_at_least_as_good_as_any_other(metric: Metric) -> None:
    """The direction that a metric declares is the direction in which predictions get better."""
    for task in metric.tasks:
        y, p, w = table(task)
        perfect = np.eye(p.shape[1])[y] if y.ndim == 1 else y.astype(np.float64)

        assert metric.better(metric.value(y, perfect, w), metric.value(y, p, w))
        assert not metric.better(metric.value(y, p, w), metric.value(y, perfect, w))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_undefined_figures_are_nan(metric: Metric) -> None:
    """Without rows, without weight, or with a prediction that is not finite there is no figure, and no warning."""
    for task in metric.tasks:
        y, p, w = table(task)
        broken = p.copy()
        broken[3, 0] = np.nan

        assert math.isnan(metric.value(y[:0], p[:0]))
        assert math.isnan(metric.value(y, p, 0 * w))
        assert math.isnan(metric.value(y, broken, w))


def test_nan_is_never_better() -> None:
    """A NaN never counts as an improvement, and every number improves on it."""
    for metric in METRICS.values():
        assert not metric.better(math.nan, 1.0)
        assert not metric.better(math.nan, math.nan)
        assert metric.better(1.0, math.nan)
        assert not metric.better(1.0, 1.0)


def test_one_class_has_no_roc_curve_and_a_constant_target_no_r2() -> None:
    """Where a figure needs two classes or a spread and the part has none, it is NaN; the other columns still count."""
    half = np.full((4, 2), 0.5)

    assert math.isnan(METRICS["roc_auc"].value(np.ones(4, np.int64), half))
    assert math.isnan(METRICS["r2"].value(np.full((4, 1), 0.1), half[:, :1]))
    y = np.array([[0.1, 1.0], [0.1, 2.0]])
    assert METRICS["r2"].value(y, y) == 1.0


def test_a_target_that_varies_only_in_rows_of_no_weight_has_no_r2() -> None:
    """What a row without weight says is not looked at, and what rounding leaves over of equal numbers is no spread."""
    y = np.array([[0.1]] * 6 + [[7.0]])
    w = np.array([0.3, 0.7, 1.1, 0.2, 0.9, 1.3, 0.0])

    assert math.isnan(METRICS["r2"].value(y, y + 0.3, w))


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_errors_whose_squares_are_no_numbers_count_too(size: float) -> None:
    """In other units the root of the mean squared error is as many times as large, and R² is the same."""
    y, p, w = table("regression")

    assert METRICS["rmse"].value(size * y, size * p, w) == pytest.approx(size * METRICS["rmse"].value(y, p, w))
    assert METRICS["r2"].value(size * y, size * p, w) == pytest.approx(METRICS["r2"].value(y, p, w))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_figure_has_the_same_bits_on_any_number_of_threads(metric: Metric) -> None:
    """No sum is left to BLAS, which cuts it at other places where it has more threads."""
    n = 200_001
    for task in metric.tasks:
        y, p, w = (np.resize(each, (n, *each.shape[1:])) for each in table(task))
        found = []
        for threads in (1, 2):
            with threadpool_limits(threads):
                found.append(metric.value(y, p, w))

        assert found[0] == found[1]


def test_classes_that_a_part_lacks_do_not_count() -> None:
    """A class without rows and without predictions changes neither balanced accuracy, F1 nor ROC AUC."""
    y, p, w = table("multiclass")
    wider = np.hstack([p, np.zeros((200, 2))])

    for name in ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc"):
        assert METRICS[name].value(y, wider, w) == METRICS[name].value(y, p, w)


def test_a_probability_of_zero_costs_a_bounded_amount() -> None:
    """A class called impossible costs −ln of the machine epsilon, so that one row cannot make log loss infinite."""
    y = np.array([0])

    assert METRICS["log_loss"].value(y, np.array([[0, 1]], np.float32)) == pytest.approx(23 * math.log(2))
    assert METRICS["log_loss"].value(y, np.array([[0.0, 1.0]])) == pytest.approx(52 * math.log(2))
    assert METRICS["log_loss"].value(np.array([[0]]), np.array([[1.0]])) == pytest.approx(52 * math.log(2))


def test_sums_run_in_float64() -> None:
    """A million rows of float32 are summed without loss: the mean of a million times 0.1 is 0.1."""
    y = np.full((1_000_000, 1), 0.1, np.float32)

    assert METRICS["mae"].value(y, np.zeros_like(y)) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_the_trivial_predictor_guesses_shares_and_means() -> None:
    """It gives every row the training classes' shares, hence the majority, or the training mean."""
    two, three = Binary(("y",), ("a", "b")), Classes(("y",), ("a", "b", "c"))
    one = Numbers(("y",), mean=np.array([1.0]), scale=np.array([3.0]))

    assert three.guess(np.array([0, 1, 1, 1])).tolist() == [0.25, 0.75, 0.0]
    assert two.guess(np.array([0, 1, 1, 1]), np.array([3.0, 1.0, 0.0, 0.0])).tolist() == [0.75, 0.25]
    assert Labels(("y", "z")).guess(np.array([[0, 1], [1, 1]])).tolist() == [0.5, 1.0]
    assert one.guess(np.array([[0.0], [1.0]]), np.array([2.0, 1.0])).tolist() == [2.0]


def test_m28_every_figure_stands_beside_the_trivial_predictors() -> None:
    """Guessing the majority class: its share as accuracy, the entropy as log loss, one half as ROC AUC."""
    y = np.array([0, 0, 0, 1])
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])

    scores = score(chosen("auto", "binary"), y, p, None, Binary(("y",), ("a", "b")).guess(y))

    assert scores["accuracy"] == {"value": 0.75, "trivial": 0.75}
    assert scores["log_loss"]["trivial"] == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert scores["roc_auc"] == {"value": 1.0, "trivial": 0.5}
    assert scores["balanced_accuracy"]["trivial"] == 0.5


def test_guessing_the_mean_explains_nothing() -> None:
    """R² of the mean on the rows that it was taken from is 0, and its RMSE their standard deviation."""
    y, p, _ = table("regression")

    scores = score(chosen("auto", "regression"), y, p, None, numbers(2).guess(y))

    assert scores["r2"]["trivial"] == pytest.approx(0, abs=1e-12)
    assert scores["rmse"]["trivial"] == pytest.approx(y.std(axis=0).mean())


def test_auto_names_metrics_of_the_task() -> None:
    """What `metrics: auto` stands for is registered, and meant for the task."""
    for task, kind in TASKS.items():
        assert tuple(m.name for m in chosen("auto", task)) == kind.metrics


def test_a_metric_for_another_task_is_refused_by_name() -> None:
    """Every metric that does not fit the task is named, with those that do."""
    allowed = "choose from accuracy, balanced_accuracy, log_loss, f1_macro, roc_auc, ece"

    with pytest.raises(ConfigError) as caught:
        chosen(["accuracy", "rmse", "acuracy"], "multiclass")

    assert str(caught.value).splitlines() == [
        f'metrics: "rmse" is no metric for a multiclass target; {allowed}',
        f'metrics: "acuracy" is no metric for a multiclass target; {allowed}',
    ]


def test_a_metric_joins_by_being_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry in the registry is all that a new metric needs to be chosen and scored."""

    def largest_error(y: Array, p: Array, w: Array) -> float:
        return float(np.abs(y - p)[w > 0].max())

    monkeypatch.setitem(METRICS, "largest_error", Metric("largest_error", (Numbers,), False, largest_error))
    y = np.array([[1.0], [2.0]])

    scores = score(chosen(["largest_error"], "regression"), y, y + [[0.0], [3.0]], None, numbers(1).guess(y))

    assert scores == {"largest_error": {"value": 3.0, "trivial": 0.5}}


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.by_decision])
def test_decisions_are_enough_where_a_metric_says_so(name: str) -> None:
    """Of more rows and classes than are kept, the most probable classes give the same figure to the last bit."""
    rng = np.random.default_rng(0)
    y, p, w = rng.integers(0, 4, 50), rng.random((50, 4)), rng.random(50)
    decided = Decided(p.argmax(axis=1), (50, 4), finite=True)

    assert METRICS[name].value(y, decided, w) == METRICS[name].value(y, p, w)
    assert math.isnan(METRICS[name].value(y, Decided(decided.classes, (50, 4), finite=False), w))
