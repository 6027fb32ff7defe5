"""What validation rows say of a trained net's predictions: temperature, threshold, and how far off they are."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcnet.backends.numpy import NumpyBackend
from fcnet.config.schema import Threshold
from fcnet.data.target import Binary, Labels, Numbers, Target
from fcnet.data.target import Classes as Multiclass
from fcnet.errors import UsageError
from fcnet.nn.losses import BinaryCrossEntropy, CrossEntropy, Gaussian, Loss, Pinball, SquaredError
from fcnet.training.calibration import GAIN, SCORES, Calibrator, best_scale, best_threshold, fit, nats, saved
from fcnet.training.head import Head

RNG = np.random.default_rng


def asked(calibration: str = "none", threshold: Any = 0.5) -> Any:
    """The keys of a config that are looked at."""
    return SimpleNamespace(calibration=calibration, threshold=threshold)


def drawn(task: str, n: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs that are `scale` times as sure as they should be, and what came of them."""
    rng = RNG(seed)
    if task == "multiclass":
        a = 2 * rng.normal(size=(n, 4))
        p = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
        return scale * a, (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    a = 2 * rng.normal(size=(n, 1 if task == "binary" else 3))
    y = (rng.random(a.shape) < 1 / (1 + np.exp(-a))).astype(np.int64)
    return scale * a, y[:, 0] if task == "binary" else y


def cost(a: np.ndarray, y: np.ndarray) -> float:
    """The mean nats of outputs, written out."""
    if y.ndim == 2 or a.shape[1] == 1:
        p = 1 / (1 + np.exp(-a))
        return float(-np.log(np.where(y.reshape(a.shape) == 1, p, 1 - p)).mean())
    p = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(y)), y]).mean())


TASKS = ["binary", "multiclass", "multilabel"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_a_net_too_sure(task: str, scale: float) -> None:
    """Outputs that are k times too large, or too small, get the temperature k, to what so many rows can tell."""
    a, y = drawn(task, 20_000, scale)

    assert 1 / best_scale(a, y) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("n", [30, 300])
def test_the_temperature_is_the_best_one(task: str, n: int) -> None:
    """No temperature beside it costs fewer nats, with those that it costs to leave 1."""
    a, y = drawn(task, n, 2.5)

    s = best_scale(a, y)

    def total(s: float) -> float:
        return n * cost(s * a, y) + 4 * (s - math.log(s) - 1)

    assert total(s) < min(total(1.001 * s), total(s / 1.001))
    assert saved(a, y, s) == pytest.approx(n * (cost(a, y) - cost(s * a, y)))


@pytest.mark.parametrize("task", TASKS)
def test_nats_and_their_slopes_belong_together(task: str) -> None:
    """The cost is that of the probabilities, its derivatives those of finite differences."""
    a, y = drawn(task, 50, 1.5)
    h = 1e-4

    ℓ, slope, bend = nats(a, y, 0.7)

    before, after = nats(a, y, 0.7 - h)[0], nats(a, y, 0.7 + h)[0]
    assert float(ℓ.mean()) == pytest.approx(cost(0.7 * a, y), rel=1e-12)
    np.testing.assert_allclose(slope, (after - before) / (2 * h), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(bend, (after - 2 * ℓ + before) / h**2, rtol=1e-4, atol=1e-5)


def test_a_net_that_is_always_right_is_not_made_sure_without_limit() -> None:
    """Rows without a single error leave it about as sure as their number warrants: of a hundred rows none was wrong."""
    a = np.where(RNG(0).random((100, 1)) < 0.5, 4.0, -4.0)
    y = (a[:, 0] > 0).astype(np.int64)

    s = best_scale(a, y)

    assert 0.001 < 1 / (1 + math.exp(4 * s)) < 0.01


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_auto_asks_for_less_where_labels_were_smoothed(smoothing: float) -> None:
    """What leaves a doubt of another net is enough for one that was taught to be unsure."""
    a, y = drawn("multiclass", 80, 0.7)
    head = Head(CrossEntropy(label_smoothing=smoothing), Multiclass(("y",), ("a", "b", "c", "d")))

    found = fit(NumpyBackend(), head, asked("auto"), a, y, None)

    assert 0 < saved(a, y, best_scale(a, y)) < GAIN
    assert found.temperature == (pytest.approx(1 / best_scale(a, y)) if smoothing else 1)


def test_auto_leaves_a_net_alone_whose_probabilities_are_right() -> None:
    """Of nets that are as sure as they should be none of 40 saves as much as `auto` asks for; of others all do."""

    def gains(scale: float) -> list[float]:
        cases = [drawn("multiclass", 200, scale, seed) for seed in range(40)]
        return [saved(a, y, best_scale(a, y)) for a, y in cases]

    assert max(gains(1.0)) < GAIN < min(gains(2.5))


HEADS: dict[str, tuple[Loss, Target]] = {
    "one output": (BinaryCrossEntropy(), Binary(("y",), ("no", "yes"))),
    "two outputs": (CrossEntropy(), Binary(("y",), ("no", "yes"))),
    "classes": (CrossEntropy(), Multiclass(("y",), ("a", "b", "c", "d"))),
    "labels": (BinaryCrossEntropy(), Labels(("a", "b", "c"))),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_temperature_is_a_power_of_probabilities(name: str) -> None:
    """Predictions are p^(1/T), scaled to sum 1 over the classes, and the same class is the most probable."""
    head = Head(*HEADS[name])
    a = RNG(1).normal(size=(40, head.n_out))

    before = head.predictions(NumpyBackend(), a.copy())
    after = Calibrator(2.5).applied(head).predictions(NumpyBackend(), a.copy())

    power = before**0.4
    rest = (1 - before) ** 0.4 + power if name == "labels" else power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after, power / rest, rtol=1e-12)
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_rows_without_weight_say_nothing() -> None:
    """What is found is found from the rows that count."""
    a, y = drawn("binary", 400, 3.0)
    w = (np.arange(400) % 2).astype(float)
    head = Head(*HEADS["one output"])

    some = fit(NumpyBackend(), head, asked("temperature"), a, y, w)
    half = fit(NumpyBackend(), head, asked("temperature"), a[1::2], y[1::2], None)

    assert (some.temperature, some.rows) == (pytest.approx(half.temperature), 200)
    np.testing.assert_allclose(some.scores, half.scores)


def test_the_threshold_is_the_best_of_all() -> None:
    """No other threshold gives a better F₁ on the rows it was chosen on, and ties go to the nearest to one half."""
    rng = RNG(2)
    y = (rng.random(200) < 0.2).astype(np.int64)
    share = np.clip(0.25 * rng.random(200) + 0.2 * y, 0, 1)
    p = np.column_stack([1 - share, share])

    t = best_threshold("f1", y, p, None)

    def f1(t: float) -> Fraction:
        yes = share > t
        return Fraction(int(2 * (yes & (y == 1)).sum()), int(yes.sum() + y.sum()))

    assert f1(t) == max(f1(x) for x in share)
    assert best_threshold("accuracy", np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]]), None) == 0.5


def test_two_classes_are_decided_by_the_threshold() -> None:
    """The second label is predicted above it, and not at it."""
    target = Calibrator(threshold=0.25).applied(Head(*HEADS["one output"])).target

    assert target.decide(np.array([[0.8, 0.2], [0.75, 0.25], [0.7, 0.3]])) == ["no", "no", "yes"]


def test_a_checkpoint_keeps_what_was_found() -> None:
    """The header's part and the arrays give it back."""
    a, y = drawn("binary", 5000, 2.0)
    head = Head(*HEADS["one output"])
    found = fit(NumpyBackend(), head, asked("auto", Threshold("f1")), a, y, None)

    again = Calibrator.restore(found.header(), head)

    assert (again.temperature, again.threshold, again.rows) == (found.temperature, found.threshold, 5000)
    assert again.scores is not None
    assert again.scores.shape == (1, SCORES)


@pytest.mark.parametrize("n", [10, 100, SCORES, 3 * SCORES + 17])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_limits_are_the_right_order_statistics(n: int, coverage: float) -> None:
    """Of n scores the ⌈(n + 1) c⌉-th, or the next one kept, at most a 2,000th of the rows further."""
    scores = np.arange(1.0, n + 1)
    m = min(n, SCORES)
    kept = np.array([[scores[-(-i * n // m) - 1] for i in range(1, m + 1)]])
    rank = math.ceil((n + 1) * Fraction(str(coverage)))

    limit = float(Calibrator(scores=kept, rows=n).limits(coverage, "a.npz")[0])

    assert rank <= limit < rank + max(n / SCORES, 1)


def test_more_coverage_than_rows_can_stand_for_is_refused() -> None:
    """Nine rows say nothing of 95 %, and a checkpoint without scores nothing at all."""
    nine = Calibrator(scores=np.arange(9.0)[None], rows=9)

    assert nine.limits(0.9, "a.npz") == [8.0]
    with pytest.raises(UsageError, match=r"9 validation rows stand for at most 0\.9;"):
        nine.limits(0.95, "a.npz")
    with pytest.raises(UsageError, match="does not say how far off"):
        Calibrator().limits(0.9, "a.npz")


def _covered(name: str, head: Head, columns: list[Any], y: np.ndarray) -> np.ndarray:
    """Whether the truth lies in what is said, (n, targets)."""
    if isinstance(head.target, Numbers):
        return np.array([(columns[2 * j] <= y[:, j]) & (y[:, j] <= columns[2 * j + 1]) for j in range(y.shape[1])]).T
    labels = ("0", "1") if name == "labels" else head.target.classes
    assert labels is not None
    truths = y.reshape(len(y), -1).T
    pairs = [zip(of, said, strict=True) for of, said in zip(truths, columns, strict=True)]
    return np.array([[labels[truth] in said.split("|") for truth, said in each] for each in pairs]).T


NUMBERS: dict[str, Loss] = {"squared error": SquaredError(), "quantile": Pinball(), "gaussian": Gaussian()}


@pytest.mark.parametrize("name", [*HEADS, *NUMBERS])
@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_as_many_rows_are_covered_as_were_asked_for(name: str, coverage: float) -> None:
    """Over many draws of validation rows and of rows to come the truth is covered as often as asked, within three
    standard errors and what a finite number of rows allows: whatever the net says, for every task."""
    numbers = name in NUMBERS
    target = Numbers(("u", "v"), mean=np.array([5.0, 0]), scale=np.array([2.0, 1])) if numbers else HEADS[name][1]
    head = Head(NUMBERS[name] if numbers else HEADS[name][0], target)
    n, new, shares = 99, 200, []
    for seed in range(60):
        rng = RNG(seed)
        a = rng.normal(size=(n + new, head.n_out))
        if numbers:
            y = a[:, :2] + np.exp(a[:, -2:]) * rng.normal(size=(n + new, 2))
        elif name == "labels":
            y = (rng.random(a.shape) < 1 / (1 + np.exp(-2 * a))).astype(np.int64)
        elif name == "one output":
            y = (rng.random(n + new) < 1 / (1 + np.exp(-2 * a[:, 0]))).astype(np.int64)
        else:
            y = (a + rng.gumbel(size=a.shape)).argmax(axis=1)
        found = fit(NumpyBackend(), head, asked(), a[:n].copy(), y[:n], None)

        p = head.predictions(NumpyBackend(), a[n:].copy())
        columns = [column for column, _ in head.covering(p, found.limits(coverage, "a.npz"))]
        shares.append(_covered(name, head, columns, head.target.truths(y[n:])).mean())

    error = np.std(shares) / math.sqrt(len(shares))
    assert coverage - 3 * error <= np.mean(shares) <= coverage + 1 / (n + 1) + 3 * error


def test_intervals_follow_what_the_net_says_of_its_spread() -> None:
    """Of a net that says deviations, an interval is as many times wider as its deviation is."""
    head = Head(Gaussian(), Numbers(("y",), mean=np.zeros(1), scale=np.ones(1)))
    p = np.array([[1.0, 0.5], [2.0, 2.0]])

    (low, _), (high, _) = head.covering(p, np.array([1.5]))

    assert (low.tolist(), high.tolist()) == ([0.25, -1.0], [1.75, 5.0])


def test_amounts_are_never_below_nothing() -> None:
    """The lower end of what cannot be negative is 0 at the least, and no interval is inside out."""
    amounts = Numbers(("y",), mean=np.zeros(1), scale=np.ones(1), amounts=True)
    likely = np.array([[[1.0]], [[1.0]], [[1.0]]])

    assert [column.tolist() for column, _ in amounts.covering(likely, np.array([3.0]))] == [[0.0], [4.0]]
    plain = Numbers(("y",), mean=np.zeros(1), scale=np.ones(1))
    (low, _), (high, _) = plain.covering(likely, np.array([-0.5]))
    assert low[0] <= high[0]
