"""What holds for a run with any layer that is registered: both backends, ensembles, resuming, predicting."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_cases import PLACES, WIDTH, chain, codes, sample
from training_cases import PLAN, Setup, draw, epochs, run, whole

import fcnet
from fcnet.backends import choice
from fcnet.backends.ops import Array
from fcnet.errors import ConfigError
from fcnet.nn.activations import Identity, Prelu, Tanh
from fcnet.nn.layers import Dense
from fcnet.nn.losses import SquaredError
from fcnet.optim.rules import AdamW, Muon, Sgd
from fcnet.optim.schedules import CosineDecay, FlatCos, Linear, factors
from fcnet.training.loop import train
from fcnet.training.program import Forward

BACKENDS = [name for name in ("numpy", "numba") if choice.installed(name)]
ROWS = 37


def setup(case: str, **options: Any) -> Setup:
    """37 rows in batches of 12, the last of which has one row."""
    c = codes(ROWS) if "embedding" in case else None
    return Setup(net=chain(case, Prelu(), 3), c=c, x=draw(3, "x", ROWS, WIDTH), **options)


SHORT = replace(PLAN, batch_size=12)


def scores(program: Any, given: Setup) -> Array:
    """The outputs for all rows, outside training."""
    network, state = program.network, program.state
    return Forward(program.backend, network, state.scored, state.q, 16)(given.source().inputs)


@pytest.mark.parametrize("first", [[], ["batch_norm"], [{"name": "dropout", "rate": 0.1}]])
def test_a_residual_block_may_stand_before_all_layers_that_have_units(first: list[Any], tmp_path: Path) -> None:
    """It ends in as many units as there are columns, which only the data say; another number is refused then."""
    data = {"a": draw(1, "a", 40), "b": draw(1, "b", 40), "y": draw(1, "y", 40)}

    def trained(units: int) -> fcnet.Run:
        layers = [*first, {"name": "residual", "layers": [6, units]}, 4]
        given = {"data": {"target": "y"}, "network": {"layers": layers}, "training": {"epochs": 1}}
        return fcnet.train({**given, "name": "t", "output": str(tmp_path)}, data=data)

    assert np.isfinite(trained(2).model.predict(data)).all()
    with pytest.raises(ConfigError, match="a residual block with 2 inputs ends in 3 units; its last layer must have 2"):
        trained(3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", PLACES)
def test_both_backends_train_and_predict_the_same(case: str, dtype: Any) -> None:
    """Numba's kernels, in one thread and in three, end where NumPy ends, buffers included."""
    given = setup(case, dtype=dtype, members=(2,))
    reference = given.program()
    run(reference, given.source(), SHORT)
    tolerance = {"rtol": 2e-3, "atol": 2e-4} if dtype is np.float32 else {"rtol": 1e-9, "atol": 1e-11}

    for threads in (1, 3) if choice.installed("numba") else ():
        program = given.program(choice.make("numba", threads))
        run(program, given.source(), SHORT)
        for name, vector in program.state.arrays().items():
            np.testing.assert_allclose(vector, reference.state.arrays()[name], err_msg=name, **tolerance)
        np.testing.assert_allclose(scores(program, given), scores(reference, given), **tolerance)
    assert np.isfinite(scores(reference, given)).all()


# masks are each member's own: no single run has those of another member
@pytest.mark.parametrize("case", [case for case in PLACES if "dropout" not in case])
def test_an_ensemble_of_any_layer_is_its_members(case: str) -> None:
    """Three nets as one batched product end where three single runs from the same beginnings end."""
    given = setup(case, members=(3,))
    together = given.program()
    starts = together.state.copy()
    run(together, given.source(), SHORT)

    for member in range(3):
        alone = replace(given, members=()).program()
        pairs = [(alone.network.layout, "θ"), (alone.network.buffers, "q")]
        for layout, vector in pairs:
            all_of = {"θ": together.network.layout, "q": together.network.buffers}[vector]
            for name, view in layout.views(getattr(alone.state, vector)).items():
                view[...] = all_of.views(getattr(starts, vector))[name][member]
        run(alone, given.source(), SHORT)
        for layout, vector in pairs:
            all_of = {"θ": together.network.layout, "q": together.network.buffers}[vector]
            for name, view in layout.views(getattr(alone.state, vector)).items():
                found = all_of.views(getattr(together.state, vector))[name][member]
                np.testing.assert_allclose(found, view, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", PLACES)
def test_any_layer_resumes_bit_for_bit(case: str, backend: str) -> None:
    """Stopped in the middle of an epoch or between two, and carried on, the run ends in the same bits."""
    given, plan = setup(case, dtype=np.float32, average=0.9), replace(SHORT, pause_every=1)
    straight = given.program(choice.make(backend, 2))
    expected = epochs(run(straight, given.source(), plan))

    first = given.program(choice.make(backend, 2))
    events, seen = train(first, given.source(), plan, None), []
    for before, stop in itertools.pairwise((0, 2, 5, 7)):
        seen += [next(events) for _ in range(before, stop)]
        second = given.program(choice.make(backend, 2))
        second.state.take(first.state)
        later = run(second, given.source(), plan)
        assert epochs([*seen, *later]) == expected
        assert whole(second.state) == whole(straight.state)
        np.testing.assert_array_equal(scores(second, given), scores(straight, given))


@pytest.mark.parametrize("case", PLACES)
def test_a_prediction_is_a_rows_own(case: str) -> None:
    """Outside training a row's outputs do not depend on the others, nor on how often it is asked, nor on the mode."""
    given = setup(case)
    program = given.program()
    run(program, given.source(), SHORT)
    q, both = program.state.q.copy(), scores(program, given)
    forward = Forward(program.backend, program.network, program.state.θ, program.state.q, 1)

    for i in (0, 17, 36):
        np.testing.assert_allclose(forward(given.source().inputs[i : i + 1])[0], both[i], rtol=1e-12)
    np.testing.assert_array_equal(scores(program, given), both)
    np.testing.assert_array_equal(program.state.q, q)


def test_batch_norm_follows_its_batches() -> None:
    """Its averages are those of a slow reference over all steps, that of a batch of one row too; predictions use them.

    A batch's variance is divided by its rows.
    """
    x = draw(5, "x", ROWS, 2)
    net: Any = [sample("batch_norm", Tanh()), Dense(3, Identity(), sample("dense", Tanh()).init)]
    given = Setup(net=net, x=x, rule=Sgd(lr=0.1))
    program, source = given.program(), given.source()
    beginning = program.state.q.copy()
    run(program, source, SHORT)

    mean, var = x.mean(axis=0), x.var(axis=0)
    kept = program.network.buffers.views(beginning)
    np.testing.assert_allclose([kept["mean1"], kept["var1"]], [mean, var], rtol=1e-12)
    for epoch in range(3):
        for at in range(0, ROWS, 12):
            rows = x[source.order(epoch, at, min(at + 12, ROWS))]
            mean, var = 0.9 * mean + 0.1 * rows.mean(axis=0), 0.9 * var + 0.1 * rows.var(axis=0)
    found, p = program.network.buffers.views(program.state.q), program.network.layout.views(program.state.θ)
    np.testing.assert_allclose([found["mean1"], found["var1"]], [mean, var], rtol=1e-12)
    unit = p["γ1"] * (x - mean) / np.sqrt(var + 1e-5) + p["β1"]
    np.testing.assert_allclose(scores(program, given), unit @ p["W2"].T + p["b2"], rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_driven_dropout_and_decay_are_those_of_a_slow_reference(backend: str) -> None:
    """At every step the share that is dropped, the factor on what is kept and the decay follow their schedules."""
    x, y, rate = np.abs(draw(6, "x", 4000, 1)) + 1, np.zeros((4000, 1)), 0.6
    net: Any = [sample("dropout", Tanh()), sample("scale", Tanh()), Dense(1, Identity(), sample("dense", Tanh()).init)]
    net[0] = replace(net[0], rate=rate)
    rule = AdamW(lr=0.01, weight_decay=0.5)
    given = Setup(net=net, loss=SquaredError(), rule=rule, x=x, y=y, driven=("dropout",))
    plan = replace(PLAN, epochs=2, batch_size=1000, decay=CosineDecay(), dropout=FlatCos(), pause_every=1)
    program, source = given.program(choice.make(backend, 2)), given.source()
    events, steps = train(program, source, plan, None), np.arange(8)
    dropped, decay = (factors(schedule, steps, 8, 2) for schedule in (FlatCos(), CosineDecay()))

    for k in range(8):
        before = program.network.layout.views(program.state.θ)["W2"].copy()
        m = {name: program.state.vectors[name].copy() for name in ("m", "v")}
        while program.state.step == k:
            next(events)
        r = program.recorded(1000)
        z = program.step(1000).fetch(r.spaces[0]["z_out"])
        inputs = program.step(1000).fetch(r.batch.x)
        share = np.round(rate * dropped[k] * 2**16) / 2**16
        assert abs((z == 0).mean() - share) <= 4.5 * np.sqrt(max(share * (1 - share), 1e-9) / 1000)
        np.testing.assert_allclose(z[z != 0], inputs[z != 0] / (1 - share), rtol=1e-12)
        g = program.network.layout.views(program.gradient)["W2"]
        at = program.network.layout.views(m["m"])["W2"], program.network.layout.views(m["v"])["W2"]
        t, moment, square = k + 1, 0.9 * at[0] + 0.1 * g, 0.999 * at[1] + 0.001 * g**2
        step = 0.01 * moment / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        expected = before * (1 - 0.01 * 0.5 * decay[k]) - step
        np.testing.assert_allclose(program.network.layout.views(program.state.θ)["W2"], expected, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_that_is_driven_resumes_bit_for_bit(backend: str) -> None:
    """Schedules of dropout and decay, an average, groups and clipping: a run that goes on ends in the same bits."""
    rule = AdamW(lr=0.01, groups=[Muon(match="W*", weight_decay=0.1), Sgd(match="α*", lr=0.1)])
    given = setup("dropout, nested", rule=rule, average=0.9, clip_norm=0.5, driven=("dropout",), dtype=np.float32)
    plan = replace(SHORT, decay=Linear(), dropout=FlatCos(warmup=0.2), schedule=CosineDecay(), pause_every=1)
    straight = given.program(choice.make(backend, 2))
    run(straight, given.source(), plan)
    unmoved = given.program(choice.make(backend, 2))
    run(unmoved, given.source(), replace(plan, dropout=Linear()))
    assert not np.array_equal(unmoved.state.θ, straight.state.θ)

    first = given.program(choice.make(backend, 2))
    events = train(first, given.source(), plan, None)
    for before, stop in itertools.pairwise((0, 1, 5, 8, 11)):
        for _ in range(before, stop):
            next(events)
        second = given.program(choice.make(backend, 2))
        second.state.take(first.state)
        run(second, given.source(), plan)
        assert whole(second.state) == whole(straight.state)
        assert not np.array_equal(second.state.scored, second.state.θ)
