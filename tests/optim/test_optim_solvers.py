"""L-BFGS is a quasi-Newton method, its line search keeps to Wolfe's conditions, and a run by it is like any other."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import fcnet
from fcnet import config
from fcnet.errors import ConfigError, DivergedError, Stopped
from fcnet.optim.solvers import Lbfgs, direction, strong_wolfe
from fcnet.runs import session
from fcnet.training import solving
from fcnet.training.events import Epoch, Notice
from fcnet.training.prepare import prepare
from fcnet.training.solving import Whole

WHOLE = {"epochs": 12, "early_stopping": None}


def rosenbrock(θ):
    """(1 − a)² + 100 (b − a²)², a narrow curved valley whose only minimum is at (1, 1)."""
    a, b = np.asarray(θ, dtype=np.float64)
    slope = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
    return float((1 - a) ** 2 + 100 * (b - a * a) ** 2), slope


def minimised(objective, θ, rule, most=60):
    """(θ, iterations, why) of a solver alone."""
    state = {name: np.zeros_like(θ) for name in rule.vectors()}
    for k in range(most):
        done = rule.iterate(objective, θ, state, k)
        θ = done.θ
        if done.finished:
            return θ, k + 1, done.finished
    return θ, most, None


def test_it_finds_the_end_of_a_curved_valley():
    """Rosenbrock's function is minimised from its usual start, in as many iterations as books report, about 35."""
    θ, iterations, why = minimised(rosenbrock, np.array([-1.2, 1.0]), Lbfgs())

    np.testing.assert_allclose(θ, [1, 1], atol=1e-5)
    assert iterations < 50
    assert "converged" in why


def test_the_direction_is_that_of_the_matrix_which_bfgs_updates():
    """The two loops give −H g, H made of s·y / y·y times the unit matrix by one BFGS update for each pair."""
    rng = np.random.default_rng(5)
    A = rng.normal(size=(6, 6))
    A = A @ A.T + np.eye(6)
    steps = [rng.normal(size=6) for _ in range(4)]
    pairs = [(s, A @ s) for s in steps]
    g = rng.normal(size=6)
    s, y = pairs[-1]
    H = np.eye(6) * (s @ y) / (y @ y)
    for s, y in pairs:
        V = np.eye(6) - np.outer(s, y) / (s @ y)
        H = V @ H @ V.T + np.outer(s, s) / (s @ y)

    found = direction(g, pairs[::-1])

    np.testing.assert_allclose(found, -H @ g, rtol=1e-10)


@pytest.mark.parametrize("first", [1e-4, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("start", [-3.0, 0.5, 4.0])
def test_the_step_meets_the_strong_wolfe_conditions(start, first):
    """Whatever length is tried first, the loss falls by enough and the slope flattens by enough, on a wavy function."""

    def wavy(θ):
        (x,) = θ
        return float(x**4 / 40 + np.sin(3 * x)), np.array([x**3 / 10 + 3 * np.cos(3 * x)])

    θ = np.array([start])
    f, g = wavy(θ)
    p = -g

    new, after, slope = strong_wolfe(wavy, θ, p, f, g, first)

    α = (new - θ)[0] / p[0]
    assert α > 0
    assert after <= f + 1e-4 * α * (g @ p)
    assert abs(slope @ p) <= 0.9 * abs(g @ p)


def test_what_is_not_finite_is_too_far():
    """A logarithm is minimised from next to the end of what it is defined for, though the first step is beyond it."""

    def barrier(θ):
        (x,) = θ
        with np.errstate(all="ignore"):
            return float(x - np.log(x)), np.array([1 - 1 / x])

    θ, _, why = minimised(barrier, np.array([5.0]), Lbfgs())

    assert why is not None
    np.testing.assert_allclose(θ, [1], atol=1e-4)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a table of 90 flowers of three kinds, some heavier than others."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    lines = ["length,width,place,weight,kind"]
    for i in range(90):
        length, width = rng.normal(i % 3, 0.7), rng.normal((i % 3) ** 2, 0.9)
        lines.append(f"{length:.3f},{width:.3f},{'abc'[rng.integers(3)]},{1 + i % 2},{'pqr'[i % 3]}")
    (tmp_path / "flowers.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def settings(**more):
    data = {"train": "flowers.csv", "target": "kind", "weight": "weight"}
    network = {"layers": [6], "activation": "tanh", **more.pop("network", {})}
    mapping = {"name": "flowers", "data": data, "network": network, "optimizer": "lbfgs", "training": WHOLE}
    return {**mapping, "backend": "numpy", "threads": 1, **more}


def trained(mapping, **how):
    *_, last = session.training(config.from_mapping(mapping), **how)
    return last.run


def outcome(run):
    """Weights, the solver's pairs and the log of a run, without its times."""
    rows = [line.rsplit(",", 2)[0] for line in (run / "metrics.csv").read_text().splitlines()]
    with np.load(run / "last.npz") as held:
        arrays = {name: held[name].tobytes() for name in held.files if name != "header"}
    return rows, {name: array for name, array in arrays.items() if not name.startswith("header")}


def test_the_objective_is_the_weighted_mean_over_all_training_rows(place, monkeypatch):
    """L and ∇L are those of one large batch, whatever blocks they are added up from, with ½ decay ‖W‖²."""
    prepared = prepare(
        config.from_mapping(settings(dtype="float64", optimizer={"name": "lbfgs", "weight_decay": 0.3})), 1
    )
    program, source = prepared.begin(prepared.backend("numpy"))
    θ = program.state.θ.copy()
    W = [view for name, view in program.network.layout.views(θ).items() if name.startswith("W")]

    loss, g = Whole(program, source, lambda: None)(θ)
    monkeypatch.setattr(solving, "ROWS", 7)
    in_blocks = Whole(program, source, lambda: None)(θ)
    program.run(source, program.scalars(np.ones(1), np.ones(1)), source.n)

    decay = 0.5 * 0.3 * sum(float((each**2).sum()) for each in W)
    assert loss == pytest.approx(float(program.state.loss) / source.n + decay, rel=1e-12)
    np.testing.assert_allclose(g, program.gradient + program.update.decays() * θ, rtol=1e-9, atol=1e-12)
    assert in_blocks[0] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(in_blocks[1], g, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stops", [[3], [9, 14, 3]])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(place, stops):
    """Asked to stop between evaluations of an iteration, a run saves the last whole one and ends as one not asked."""
    whole = outcome(trained(settings(name="whole")))

    for stop in stops:
        polls = iter(range(10_000))
        with pytest.raises(Stopped):
            trained(
                settings(), resume=True, stop=lambda polls=polls, stop=stop: 130 if next(polls) > 4 + stop else None
            )
    resumed = outcome(trained(settings(), resume=True))

    assert resumed == whole


def test_more_epochs_go_on_where_the_run_ended(place):
    """A run of twelve iterations is one of five that was given seven more."""
    whole = outcome(trained(settings(name="whole")))

    trained(settings(training={**WHOLE, "epochs": 5}))
    resumed = outcome(trained(settings(), resume=True))

    assert resumed == whole


def test_a_solver_learns_a_small_table_in_a_few_iterations(place):
    """After twelve iterations the loss on the training rows is below that of adam after as many epochs, by half."""
    last = {}
    for name in ("lbfgs", "adam"):
        run = trained(settings(name=name, optimizer=name))
        last[name] = float((run / "metrics.csv").read_text().splitlines()[-1].split(",")[3])

    assert last["lbfgs"] < last["adam"] / 2


def test_the_log_has_the_loss_without_what_decay_adds(place):
    """train_loss is the mean over the training rows, as with every optimizer; the penalty is in the objective alone."""
    run = trained(settings(optimizer={"name": "lbfgs", "weight_decay": 0.3}))

    logged = float((run / "metrics.csv").read_text().splitlines()[-1].split(",")[3])
    assert logged == pytest.approx(fcnet.load(run / "last.npz").evaluate(split="train")["loss"], rel=1e-5)


def test_a_refit_that_converges_earlier_is_one(place):
    """On more rows the solver may be done in fewer iterations than were best before; that is no divergence."""
    rng = np.random.default_rng(4)
    rows = "".join(f"{x:.3f},{z:.3f},{y:.3f}\n" for x, z, y in rng.normal(size=(40, 3)).tolist())
    (place / "noise.csv").write_text(f"x,z,y\n{rows}")
    data = {"train": "noise.csv", "target": "y", "validation": 0.3}
    mapping = settings(data=data, optimizer={"name": "lbfgs", "tolerance": 0.05}, refit=True, seed=4)

    events = [*session.training(config.from_mapping({**mapping, "training": {"epochs": 60}}))]

    assert "refit" in events[-1].summary, [event.text for event in events if isinstance(event, Notice)]


def test_it_ends_where_nothing_is_left_to_gain(place):
    """With a coarse tolerance the run is complete before its epochs are over, and says why."""
    mapping = settings(optimizer={"name": "lbfgs", "tolerance": 0.05})

    events = [*session.training(config.from_mapping(mapping))]

    assert sum(isinstance(event, Epoch) for event in events) < 12
    assert re.match("converged: no slope is larger than 0.05", events[-1].why)
    assert json.loads((events[-1].run / "metrics.json").read_text())["epochs"] < 12


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"training": {"batch_size": 16}}, "training.batch_size"),
        ({"training": {"clip_norm": 1.0}}, "training.clip_norm"),
        ({"schedule": "cosine"}, "schedule"),
        ({"schedules": {"weight_decay": "cosine"}}, "schedules"),
        ({"average": {"decay": 0.9}}, "average"),
        ({"network": {"dropout": 0.1}}, "network.dropout"),
        ({"network": {"input_dropout": 0.1}}, "network.input_dropout"),
        ({"network": {"layers": [4, {"name": "dropout", "rate": 0.1}]}}, "optimizer"),
        ({"network": {"layers": [4, {"name": "residual", "layers": [{"name": "batch_norm"}, 4]}]}}, "optimizer"),
        ({"optimizer": {"name": "adam", "groups": [{"name": "lbfgs"}]}}, "optimizer.groups.0"),
    ],
)
def test_what_is_about_steps_does_not_go_with_it(place, more, key):
    """Batches, rates that change, averages over steps, noise and groups are refused, by the key that is in the way."""
    with pytest.raises(ConfigError) as error:
        prepare(config.from_mapping(settings(**more)), 1)

    assert error.value.problems[0].key == key


def test_a_loss_that_is_not_finite_is_said(place):
    """Where the objective is no number before the first step, the run ends with what to look at."""
    (place / "flowers.csv").write_text("x,y\n" + "".join(f"{i},{i}e30\n" for i in range(1, 40)))
    mapping = settings(data={"train": "flowers.csv", "target": "y"}, preprocess={"target": "none"})

    with pytest.raises(DivergedError, match="not finite at the initial weights"):
        trained(mapping)
