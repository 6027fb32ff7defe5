"""Intervals beside the scores: what resampling the rows says of how far a figure may be off by chance."""

import json
from pathlib import Path

import numpy as np
import pytest

import fcnet
from fcnet.bootstrap import Resamples, middle
from fcnet.data.target import Classes, Labels, Numbers
from fcnet.metrics import METRICS, Decided, Metric, Resampled, chosen, score


def part(kind, n=60, seed=0):
    """Targets and predictions of one kind, a figure of which is good but not perfect."""
    rng = np.random.default_rng(seed)
    if issubclass(kind, Numbers):
        y = rng.normal(size=(n, 2))
        return y, y + 0.5 * rng.normal(size=(n, 2))
    if issubclass(kind, Labels):
        y = rng.integers(0, 2, (n, 3))
        return y, np.clip(0.6 * y + 0.5 * rng.random((n, 3)), 0, 1)
    y = rng.integers(0, 3, n)
    p = rng.random((n, 3)) + 0.8 * np.eye(3)[y]
    return y, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, metric in METRICS.items() for kind in metric.kinds])
def test_many_sets_of_weights_have_the_value_of_each(name, kind):
    """A metric of resamples, all at once, is the metric of each of them alone."""
    y, p = part(kind)
    w = np.random.default_rng(1).integers(0, 3, (7, len(y))).astype(float)
    w[3] = 0

    found = METRICS[name].values(y, p, w)

    assert found == pytest.approx([METRICS[name].value(y, p, each) for each in w], rel=1e-12, nan_ok=True)
    assert np.isnan(found[3])


@pytest.mark.parametrize("n", [1, 40, 4000, 100_000])
def test_weights_of_resamples_vary_like_counts_of_draws(n):
    """A row counts 1 in the mean, with the variance 1 − 1/b that b draws from b rows have, b/n of it of n rows."""
    drawn = Resamples.of(n)
    b = len(drawn.rows)

    assert drawn.weights.mean() == pytest.approx(1, abs=1e-9)
    assert drawn.weights.var() == pytest.approx((1 - 1 / b) * b / n, rel=0.02)
    assert (b == n) == (n <= 2000)
    assert len(np.unique(drawn.rows)) == b
    assert (Resamples.of(n).weights == drawn.weights).all()


@pytest.mark.parametrize("n", [400, 50_000])
def test_the_interval_of_a_share_is_that_of_the_textbook(n):
    """Of n rows of which 80 % are right, accuracy lies within 1.96 √(0.8 · 0.2 / n) of 0.8, of few rows and of many."""
    y = np.zeros(n, np.int64)
    right = np.random.default_rng(3).permutation(n) < 0.8 * n
    p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])

    found = score(chosen(["accuracy"], "binary"), y, p, None, np.array([1.0, 0.0]), intervals=True)["accuracy"]

    half = 1.96 * np.sqrt(0.8 * 0.2 / n)
    assert found["value"] == 0.8
    assert found["low"] == pytest.approx(0.8 - half, abs=0.2 * half)
    assert found["high"] == pytest.approx(0.8 + half, abs=0.2 * half)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, metric in METRICS.items() for kind in metric.kinds])
@pytest.mark.parametrize("n", [1, 3, 5000])
def test_an_interval_holds_the_value(name, kind, n):
    """low ≤ value ≤ high wherever the value is one, and never beyond what right answers get."""
    y, p = part(kind, n)
    metric = METRICS[name]
    value = metric.value(y, p)

    low, high = Resampled(y, p, None, None).interval(metric, value)

    assert np.isnan([low, high]).all() if np.isnan(value) else low <= value <= high
    assert not (high > 1 + 1e-12 if metric.greater_is_better else low < 0)


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if m.by_decision or m.in_nats])
def test_decided_classes_have_the_interval_of_their_probabilities(name):
    """Of more rows than are kept, the decisions, and what each row costs, give the same ends as all probabilities."""
    y, p = part(Classes, 3000)
    nats = -np.log(p[np.arange(len(y)), y])
    decided = Decided(p.argmax(axis=1), p.shape, finite=True)
    metric = METRICS[name]
    value = metric.value(y, p, None, nats)

    found = [Resampled(y, each, None, nats).interval(metric, value) for each in (p, decided)]

    assert found[0] == found[1]
    assert found[0][0] < value < found[0][1]


def test_rows_without_weight_do_not_count():
    """An interval is that of the rows that weigh something."""
    y, p = part(Numbers)
    heavy = np.r_[np.ones(20), np.zeros(40)]
    p[20:] += 100

    low, high = Resampled(y, p, heavy, None).interval(METRICS["rmse"], METRICS["rmse"].value(y, p, heavy))

    assert 0.3 < low < high < 0.7


def test_resamples_of_one_number_have_no_r2():
    """Of five rows of which four are alike, a third of the resamples has no spread: the others make the interval."""
    y = np.array([[1.1]] * 4 + [[2.3]])
    p = y + np.array([[0.1], [-0.05], [0.02], [-0.1], [0.07]])

    low, high = Resampled(y, p, None, None).interval(METRICS["r2"], METRICS["r2"].value(y, p))

    assert 0.9 < low < high < 1


def test_a_figure_that_most_resamples_do_not_have_has_no_interval():
    """Where more than half of the resamples leave a metric undefined, so is its interval."""
    assert np.isnan(middle(np.array([np.nan, np.nan, 1.0]))).all()
    assert middle(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_a_metric_of_one_set_of_weights_has_an_interval_too(monkeypatch):
    """A registered formula that knows (n,) weights alone is resampled one by one."""
    worst = Metric("worst", (Numbers,), False, lambda y, p, w: float(np.abs(y - p)[w > 0].max()))
    monkeypatch.setitem(METRICS, "worst", worst)
    y = np.zeros((4, 1))

    found = score((worst,), y, np.array([[1.0], [2.0], [3.0], [4.0]]), None, np.zeros(1), intervals=True)["worst"]

    assert (found["value"], found["low"], found["high"]) == (4.0, 2.0, 4.0)


def test_validation_and_test_have_intervals_and_training_rows_none(tmp_path, monkeypatch):
    """metrics.json gives every score of rows that were not learnt a low and a high, and eval gives the same ones."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(80, 2))
    lines = [f"{a:.3f},{b:.3f},{'up' if a + b > 0 else 'down'}" for a, b in rows]
    Path("t.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    run = fcnet.train(
        {
            "name": "t",
            "data": {"train": "t.csv", "target": "y", "validation": 0.25, "test": 0.25},
            "network": {"layers": [4]},
            "training": {"epochs": 3},
        }
    )

    scores = json.loads((run.path / "metrics.json").read_text())

    assert set(scores["train"]["accuracy"]) == {"value", "trivial"}
    for name in ("validation", "test"):
        for metric in ("accuracy", "log_loss", "balanced_accuracy", "roc_auc"):
            each = scores[name][metric]
            assert each["low"] < each["value"] < each["high"]
            assert run.model.evaluate(split=name)[metric] == each
