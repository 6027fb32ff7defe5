"""Packs: nets trained side by side over the same batches, each of which ends as it would alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from training_cases import PLAN, Setup, draw, epochs, layers

from fcnet.backends import choice
from fcnet.backends.base import Backend
from fcnet.backends.ops import Array
from fcnet.config import from_mapping
from fcnet.nn.layers import Layer
from fcnet.nn.network import Network
from fcnet.nn.rows import Rows
from fcnet.optim.rules import Adam, AdamW, Muon, Optimizer, RmsProp, Sgd
from fcnet.optim.schedules import Constant, CosLog, FlatCos
from fcnet.optim.update import Updater
from fcnet.training.events import Epoch, MemberEpoch
from fcnet.training.loop import Plan, train
from fcnet.training.members import Own, pack, single
from fcnet.training.pack import Pack
from fcnet.training.prepare import prepare
from fcnet.training.program import Forward, Program
from fcnet.training.state import State

LEARNING_RATES = np.geomspace(3e-3, 0.3, 8).tolist()
DECAYS = [0.0, 1e-3, 0.3, 0.0, 0.1, 0.02, 0.5, 1e-2]
DROPOUTS = [0.2, 0.0, 0.5, 0.1, 0.35, 0.0, 0.05, 0.6]
LONG = Plan(12, 8, Constant(), monitor="loss", patience=2)
NUMBA = [("numba", threads) for threads in (1, 2, 3)] if choice.installed("numba") else []
BACKENDS = [("numpy", 1), *NUMBA]


def rule_of(kind: str, lr: float, decay: float) -> Optimizer:
    """One rule for all of θ, or several in groups."""
    match kind:
        case "groups":
            own = [RmsProp(match="b*", lr=lr / 3), Muon(match="W2", lr=lr, weight_decay=decay)]
            return AdamW(lr=lr, weight_decay=decay, groups=[*own])
        case "sgd":
            return Sgd(lr=lr, momentum=0.9, nesterov=True, weight_decay=decay)
    return (Adam if kind == "adam" else AdamW)(lr=lr, weight_decay=decay)


def members(kind: str = "adamw", dtype: Any = np.float32, n: int = 8, least: float = 0.0, **more: Any) -> list[Setup]:
    """Setups that differ in lr, decay, which is `least` at least, and dropout."""
    each = zip(LEARNING_RATES[:n], np.maximum(DECAYS, least).tolist(), DROPOUTS, strict=False)
    return [
        Setup(
            net=layers(6, 5, outputs=3, dropout=dropout or 5e-324), rule=rule_of(kind, lr, decay), dtype=dtype, **more
        )
        for lr, decay, dropout in each
    ]


def alone(setups: Sequence[Setup], i: int, backend: Backend | None = None) -> Program:
    """Member i as a net alone: its rates, and the words of its number."""
    setup = setups[i]
    net: Sequence[Layer] = [layer for layer in setup.net if getattr(layer, "rate", 1.0) > 5e-324]
    return begun([replace(setup, net=net)], (i,), backend, single=True)


def begun(
    setups: Sequence[Setup], who: Sequence[int], backend: Backend | None = None, *, single: bool = False
) -> Program:
    """The program of a pack of these, or of one net, before its first step."""
    source, first = setups[0].source(), setups[0]
    nets = [Network(s.net, 4, (), s.driven, who=(i,)) for s, i in zip(setups, who, strict=True)]
    network = nets[0] if single else Network.pack(nets)
    rules = [setup.rule for setup in setups]
    update = Updater(first.rule, network.layout, first.clip_norm, first.average, rules)
    state = State.new(network, update.names, first.dtype)
    about: dict[str, Any] = {"weighted": first.w is not None, "seed": first.seed}
    program = Program(backend or choice.make("numpy", 1), network, first.loss, update, state, **about)
    network.initialise(state.θ, state.q, first.seed, source.inputs[source.order(0, 0, source.n)])
    state.scored[...] = state.θ
    return program


def validation(program: Program, setup: Setup) -> Callable[[], dict[str, float | Array]]:
    """The mean squared distance of the outputs to something that no net can learn for long: it goes up and down."""
    x, wanted = draw(9, "x", 20, 4).astype(setup.dtype), 3 * draw(9, "y", 20, 3)

    def validate() -> dict[str, float | Array]:
        state, net = program.state, program.network
        nets = [net.one(i) for i in range(len(net.who))] if net.members else [net]
        rows = zip(nets, state.scored.reshape(len(nets), -1), state.q.reshape(len(nets), -1), strict=True)
        a = [Forward(program.backend, one, θ, q, 64)(Rows(x)) for one, θ, q in rows]
        loss = np.array([float(((each - wanted) ** 2).mean()) for each in a])
        return {"loss": loss if net.members else float(loss[0])}

    return validate


def trained(program: Program, setup: Setup, plan: Plan = LONG) -> tuple[dict[int, list[MemberEpoch]], dict[int, State]]:
    """What the epochs have brought each member, and the state of each after its last."""
    told: dict[int, list[MemberEpoch]] = {}
    last: dict[int, State] = {}
    for event in train(program, setup.source(), plan, validation(program, setup)):
        if isinstance(event, Epoch):
            for i, member in enumerate(event.members):
                told.setdefault(member.number, []).append(member)
                last[member.number] = program.state.copy()
                last[member.number].keep([i])
    return told, last


def run_alone(setups: Sequence[Setup], i: int, backend: Backend, plan: Plan = LONG) -> tuple[list[Epoch], State]:
    """The same of a net alone."""
    program = alone(setups, i, backend)
    events = epochs(list(train(program, setups[i].source(), plan, validation(program, setups[i]))))
    return events, program.state


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped and averaged": {"kind": "adam", "clip_norm": 0.3, "average": 0.9},
    "weighted": {"kind": "sgd", "w": np.abs(draw(0, "w", 37))},
    "all": {"kind": "groups", "clip_norm": 0.3, "average": 0.8, "dtype": np.float64, "driven": ("dropout",)},
}


@pytest.mark.parametrize(
    ("more", "backend", "threads"),
    [(case, *each) for case in CASES for each in (BACKENDS if case == "all" else [*BACKENDS[:1], *NUMBA[1:2]])],
)
def test_a_pack_of_eight_is_eight_single_runs(more: str, backend: str, threads: int) -> None:
    """Each with lr, decay and dropout of its own stops when it would stop alone, with the same bits in all it has.

    On Numba as long as all decay, or none: a formula without decay is rounded elsewhere.
    """
    setups, own = members(**CASES[more], least=1e-3 if backend == "numba" else 0.0), choice.make(backend, threads)
    dropout = FlatCos() if "driven" in CASES[more] else Constant()
    plan = replace(LONG, schedule=CosLog(), decay=FlatCos(), dropout=dropout)

    told, last = trained(begun(setups, range(8), own), setups[0], plan)

    lengths = [len(told[i]) for i in range(8)]
    assert len(set(lengths)) > 2, "they stop at different times"
    for i in range(8):
        events, state = run_alone(setups, i, own, plan)
        found = [(m.lr, m.train_loss, dict(m.val), m.best) for m in told[i]]
        assert found == [(e.lr, e.train_loss, dict(e.val), e.best) for e in events]
        for name, array in state.arrays().items():
            np.testing.assert_array_equal(last[i].arrays()[name][0], array, err_msg=f"{i}: {name}")
        assert [each.tolist() for each in last[i].judged] == [[each.tolist()] for each in state.judged]


@pytest.mark.parametrize(("backend", "threads"), NUMBA[1:2])
@pytest.mark.parametrize("kind", ["adamw", "groups"])
def test_members_with_and_without_decay(kind: str, backend: str, threads: int) -> None:
    """Side by side they are as near to single runs as rounding is."""
    setups, own = members(kind, n=4), choice.make(backend, threads)
    program = begun(setups, range(4), own)
    list(train(program, setups[0].source(), PLAN, None))

    for i in range(4):
        one = alone(setups, i, own)
        list(train(one, setups[0].source(), PLAN, None))
        np.testing.assert_allclose(program.state.θ[i], one.state.θ, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_members_that_leave_change_nothing_for_the_others(backend: str, threads: int) -> None:
    """Whichever are kept after whichever step, they go on as if nothing had happened."""
    setups, own = members(n=5), choice.make(backend, threads)
    plan = replace(PLAN, pause_every=1)
    whole = begun(setups, range(5), own)
    list(train(whole, setups[0].source(), plan, None))

    for after, which in ((3, [0, 2, 4]), (7, [3]), (9, [1, 2, 3, 4])):
        program = begun(setups, range(5), own)
        events = train(program, setups[0].source(), plan, None)
        for _ in range(after):
            next(events)
        program.keep(which)
        list(train(program, setups[0].source(), plan, None))

        assert program.state.who.tolist() == which
        for name, array in program.state.arrays().items():
            np.testing.assert_array_equal(array, whole.state.arrays()[name][which], err_msg=f"{which}: {name}")


def test_a_pack_goes_on_bit_for_bit() -> None:
    """From numbers and vectors alone, wherever it stopped, also when some members have left before."""
    setups = members()
    straight = begun(setups, range(8))
    _, last = trained(straight, setups[0])

    first = begun(setups, range(8))
    events = train(first, setups[0].source(), replace(LONG, pause_every=2), validation(first, setups[0]))
    for before, stop in itertools.pairwise((0, 1, 4, 9, 17, 23, 31)):
        for _ in range(before, stop):
            next(events)
        numbers, arrays = first.state.numbers(), {n: a.copy() for n, a in first.state.arrays().items()}

        second = begun(setups, range(8))
        if len(numbers["who"]) < 8:
            second.keep(numbers["who"])
        for name, array in second.state.arrays().items():
            array[...] = arrays[name]
        second.state.restore(numbers)
        _, found = trained(second, setups[0])

        assert found, stop
        for i, state in found.items():
            np.testing.assert_array_equal(state.θ, last[i].θ)
            assert state.numbers() | {"seconds": 0, "elapsed": 0} == last[i].numbers() | {"seconds": 0, "elapsed": 0}


def test_a_member_that_diverges_leaves_the_others() -> None:
    """It is named, with the epoch and the step, and the rest ends as without it; it is gone when it is named."""
    setups = members("sgd", n=3)
    wild = [setups[0], replace(setups[1], rule=rule_of("sgd", 1e30, 0.0)), setups[2]]
    program, calm = begun(wild, range(3)), begun([setups[0], setups[2]], (0, 2))

    events, whole = [], []
    for event in train(program, setups[0].source(), replace(PLAN, pause_every=1), None):
        events.append(event)
        whole.append(bool(program.state.finite().all()))
    list(train(calm, setups[0].source(), PLAN, None))

    notices = [event.text for event in events if hasattr(event, "text")]
    assert all(whole)
    assert len(notices) == 1
    assert notices[0].startswith("training diverged in epoch 1, step ")
    assert notices[0].endswith("without member 1")
    assert program.state.who.tolist() == [0, 2]
    np.testing.assert_array_equal(program.state.θ, calm.state.θ)


def table() -> dict[str, list[Any]]:
    """Three numbers, a category, and a class that follows from two of them, for most rows."""
    x = draw(5, "x", 90, 3)
    return {
        **{name: column.tolist() for name, column in zip("abc", x.T, strict=True)},
        "kind": [["red", "green", "blue"][i % 3] for i in range(90)],
        "y": [["no", "yes"][int(total > 0.3 * noise)] for total, noise in zip(x[:, :2].sum(1), x[:, 2], strict=True)],
    }


SETTINGS = {
    "data": {"target": "y"},
    "network": {"layers": [6, {"name": "residual", "layers": [6]}, {"name": "batch_norm"}], "dropout": 0.1},
    "optimizer": {"name": "adamw", "lr": 0.02},
    "average": {"decay": 0.9},
    "schedule": "coslog",
    "seed": 3,
}
RATES = [Own(), Own(1, lr=0.1), Own(2, weight_decay=0.5, dropout=0.0), Own(5, lr=0.003, dropout=0.4)]
JUDGED = Plan(20, 16, CosLog(), monitor="accuracy", greater=True, patience=3, pause_every=2)


MUON = {"name": "adamw", "lr": 0.02, "groups": [{"match": "W*", "name": "muon", "lr": 0.02}]}
OTHERS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {"optimizer": MUON},
    "schedule free": {"optimizer": {"name": "schedule_free", "lr": 0.02, "warmup_steps": 4}, "average": None},
    "fan_out": {"network": {"layers": [{"name": "fan_out", "members": 2}, 6], "dropout": 0.1}, "optimizer": MUON},
    "depths": {
        "network": {"layers": [{"name": "cosine", "size": 3}, {"name": "batch_norm"}, 6], "dropout": 0.1},
        "optimizer": MUON,
    },
    "depths, clipped": {"network": {"layers": [6], "dropout": 0.2}, "training": {"clip_norm": 0.1}},
}


def rates(more: str) -> list[Own]:
    """What each member has of its own; of several depths two in the middle have the same."""
    return [replace(own, depth=n) for own, n in zip(RATES, (1, 2, 2, 3), strict=True)] if "depths" in more else RATES


ABOUT = choice.make("numpy", 1), np.array([0.5, 0.5])


def under_way(which: Sequence[Own], more: str = "adamw", backend: Backend | None = None) -> Pack:
    """A pack over the table."""
    dtype = {} if backend is None else {"dtype": "float64"}  # in which rounding stays small
    prepared = prepare(from_mapping({**SETTINGS, **OTHERS[more], **dtype}, needs_data=False), 1, data=table())
    return Pack(pack(prepared, which), backend or ABOUT[0], ABOUT[1])


def arrays_of(pack: Pack) -> dict[str, Array]:
    """All that changes in a run: what the members that are left have, and the best of all."""
    return {**pack.state.arrays(), **{f"best/{name}": array for name, array in vars(pack.best).items()}}


@pytest.mark.parametrize("more", OTHERS)
def test_a_pack_of_a_config_is_the_runs_of_its_members(more: str) -> None:
    """With rates of their own and a best epoch each, by any rule; the first, with none, is the config's own run."""
    prepared = prepare(from_mapping({**SETTINGS, **OTHERS[more]}, needs_data=False), 1, data=table())
    together = under_way(rates(more), more)
    told: dict[int, list[MemberEpoch]] = {}
    for event in together.train(JUDGED):
        for member in event.members if isinstance(event, Epoch) else ():
            told.setdefault(member.number, []).append(member)

    for place, own in enumerate(rates(more)):
        alone = prepared if own == Own() else single(prepared, own)
        one = Pack(alone, together.backend, together.guess)
        seen = [(e.lr, e.train_loss, dict(e.val), e.best) for e in one.train(JUDGED) if isinstance(e, Epoch)]
        assert [(m.lr, m.train_loss, dict(m.val), m.best) for m in told[own.number]] == seen
        np.testing.assert_array_equal(together.best.θ[place, : one.best.θ.size], one.best.θ)
        np.testing.assert_array_equal(together.best.q[place, : one.best.q.size], one.best.q)
        assert together.best.epoch[place] == one.best.epoch
    assert len({len(each) for each in told.values()}) > 1


@pytest.mark.parametrize("more", ["depths", "depths, clipped"])
@pytest.mark.parametrize(("backend", "threads"), NUMBA[::2])
def test_members_of_several_depths_are_those_of_numpy(backend: str, threads: int, more: str) -> None:
    """Each thread makes the steps of whole members, and those of other depths are no others."""
    plan, ends = replace(JUDGED, epochs=2, patience=None), []
    for own in (choice.make("numpy", 1), choice.make(backend, threads)):
        together = under_way(rates(more), more, own)
        for _ in together.train(plan):
            pass
        ends.append(together.state)

    for name, array in ends[1].arrays().items():
        np.testing.assert_allclose(array, ends[0].arrays()[name], rtol=1e-6, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("more", OTHERS)
def test_a_pack_of_a_config_resumes(more: str) -> None:
    """From its numbers, by way of JSON, and its arrays, into the same bits, the best of those who have left too."""
    straight = under_way(rates(more), more)
    whole = sum(1 for _ in straight.train(JUDGED))

    first = under_way(rates(more), more)
    events = first.train(JUDGED)
    for before, stop in itertools.pairwise((0, *range(3, whole, 7 if more == "adamw" else 17))):
        for _ in range(before, stop):
            next(events)
        second = under_way(rates(more), more)
        kept = {name: array.copy() for name, array in arrays_of(first).items()}
        numbers = json.loads(json.dumps(first.state.numbers()))
        second.take_up([second.numbers.index(number) for number in numbers["who"]])
        for name, array in arrays_of(second).items():
            array[...] = kept[name]
        second.state.restore(numbers)
        second.recall(JUDGED)
        for _ in second.train(JUDGED):
            pass

        for name, array in arrays_of(straight).items():
            np.testing.assert_array_equal(arrays_of(second)[name], array, err_msg=f"{stop}: {name}")


@pytest.mark.parametrize(("monitor", "counts"), [(None, [0, 2]), ("loss", [0, 1, 2])])
def test_a_net_that_has_diverged_counts_where_its_best_epoch_was_judged(monitor: str | None, counts: list[int]) -> None:
    """Without validation it does not: it was on its way already in the last epoch that it has finished."""
    together = under_way([Own(), Own(1), Own(2)])
    for event in together.train(replace(JUDGED, monitor=monitor, greater=False, patience=None, epochs=4)):
        if isinstance(event, Epoch) and event.epoch == 2:
            together.state.θ[1] = np.nan

    assert together.left == [0, 2]
    assert together.best.epoch[1] == 2
    assert [net.place for net in together.chosen()] == counts


def raising(after: int) -> Callable[[], None]:
    """A poll that asks to stop after so many that did not."""
    left = iter(range(after))

    def poll() -> None:
        if next(left, None) is None:
            raise InterruptedError

    return poll


@pytest.mark.parametrize("select", [None, 4])
def test_a_pack_is_stopped_before_an_epoch_is_done_or_after_it_was_told(select: int | None) -> None:
    """Wherever the poll raises, the state counts the epochs that were told, and the best nets are those of one."""
    settings = {**SETTINGS, "ensemble": 3, "members": {"select": select}, "network": {"layers": [6]}}
    prepared = prepare(from_mapping(settings, needs_data=False), 1, data=table())
    plan, polls = Plan(2, 64, Constant(), monitor="loss"), itertools.count()
    whole = sum(isinstance(event, Epoch) for event in Pack(prepared, *ABOUT, polls.__next__).train(plan))
    assert whole == 2

    for at in range(next(polls)):
        stopped, told = Pack(prepared, *ABOUT, raising(at)), list[Epoch]()
        with pytest.raises(InterruptedError):
            told.extend(event for event in stopped.train(plan) if isinstance(event, Epoch))
        assert (stopped.state.epoch, stopped.best.epoch.max()) == (len(told), len(told))


def test_the_estimate_counts_members() -> None:
    """Four members need four times what one needs of vectors and of a batch's buffers; the rows are there once."""
    prepared = prepare(from_mapping(SETTINGS, needs_data=False), 1, data=table())
    four, one = pack(prepared, RATES).estimate(), pack(prepared, RATES[:1]).estimate()

    sizes = [{part.name: part.bytes for part in (*each.loaded, *each.memory)} for each in (four, one)]
    for name in ("weights", "gradient", "optimizer", "best epoch", "last good step"):
        assert sizes[0][name] == 4 * sizes[1][name]
    assert 3 * sizes[1]["batch"] < sizes[0]["batch"] < 4 * sizes[1]["batch"]
    assert sizes[0]["data"] == sizes[1]["data"]
