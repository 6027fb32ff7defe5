"""A budget: the run is planned so that it ends in time, with its schedule, and what is planned stays."""

from __future__ import annotations

import json

import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

from fcnet import config
from fcnet.errors import ConfigError
from fcnet.runs import checkpoint, session
from fcnet.training import budget, loop
from fcnet.training.events import Notice
from fcnet.training.program import Program

WANTED = {"epochs": 200, "budget": "1h", "early_stopping": None, "checkpoint": {"epochs": 1000}}


@pytest.fixture
def clock(monkeypatch):
    """A machine on which a row takes so many seconds, and a prediction less; time itself passes while both are measured
    alone."""

    def set_to(row, measuring=0.0):
        now = [0.0]

        def measured(prepared, backend):
            now[0] += measuring
            return budget.Costs(row, 0.4 * row)

        monkeypatch.setattr(session, "monotonic", lambda: now[0])
        monkeypatch.setattr(budget, "measured", measured)
        return now

    return set_to


@pytest.fixture
def passing(clock, monkeypatch):
    """Trains on a machine on which each batch of 7 rows takes so many seconds, by its number, and not those planned."""

    def train(seconds):
        now, make = clock(1.0), Program.run

        def run(program, *given):
            make(program, *given)
            now[0] += seconds(program.state.step)

        monkeypatch.setattr(loop, "perf_counter", lambda: now[0])
        monkeypatch.setattr(Program, "run", run)
        return go(settings(training=WANTED))[-1], now[0]

    return train


def _planned(run):
    return config.load(run / "config.yaml").training.epochs


@pytest.mark.parametrize(("row", "least", "most"), [(10.0, 5, 9), (1.0, 60, 90), (1e-5, 200, 200), (1e4, 1, 1)])
def test_as_many_epochs_are_planned_as_fit(place, clock, row, least, most):
    """36 training rows and 12 of validation an epoch, in an hour; never more epochs than asked for, never none."""
    clock(row)
    mapping = settings(training=WANTED, schedule="cosine")

    events = go(mapping)

    run = events[-1].run
    assert least <= _planned(run) <= most
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + _planned(run)
    lr = float((run / "metrics.csv").read_text().splitlines()[-1].split(",")[2])
    assert lr < 1e-3 / 2 or _planned(run) == 1
    assert config.load(run / "config.yaml").training.budget == "1h"


def test_what_is_planned_is_said(place, clock):
    """A notice says how many of the epochs there will be, and where not even one fits, how long that takes."""
    said = []
    for row in (10.0, 1e4, 1e-6):
        clock(row)
        said.append(
            [event.text for event in go(settings(training=WANTED | {"epochs": 20})) if isinstance(event, Notice)]
        )

    assert [any("of 20 epochs are planned for a budget of 1h" in text for text in each) for each in said] == [1, 0, 0]
    assert [any("an epoch takes about" in text for text in each) for each in said] == [0, 1, 0]
    assert not any("e+" in text for each in said for text in each)


@pytest.mark.parametrize(("row", "nets", "least", "most"), [(2.0, 3, 20, 20), (5.0, 2, 20, 20), (25.0, 1, 5, 19)])
def test_nets_go_before_epochs(place, clock, row, nets, least, most):
    """Of an ensemble, where not all of it fits, as many nets are left as can have all epochs; one has what it can."""
    clock(row)

    run = go(settings(training=WANTED | {"epochs": 20}, ensemble=3))[-1].run

    planned = config.load(run / "config.yaml")
    assert planned.ensemble == nets
    assert least <= planned.training.epochs <= most


def test_a_run_with_a_budget_resumes_bit_for_bit(place, clock):
    """What goes on keeps the epochs that were planned when it began, however fast the machine is by then."""
    mapping = settings(training=WANTED | {"epochs": 4, "checkpoint": {"steps": 2}}, schedule="cosine", ensemble=3)
    clock(22.0)
    whole = go({**mapping, "name": "whole"})[-1].run
    for poll in (5, 9):
        with pytest.raises(Crash):
            go(mapping, stop=crash_at(poll), resume=True)
        clock(1e-6)

    resumed = go(mapping, resume=True)[-1].run

    assert [config.load(run / "config.yaml").ensemble for run in (whole, resumed)] == [2, 2]
    assert differing(outcome(resumed), outcome(whole)) == []
    before = (resumed / "metrics.json").read_bytes()
    assert go(mapping, resume=True)[-1].why == "already complete"
    assert (resumed / "metrics.json").read_bytes() == before


def test_what_is_gone_before_the_first_epoch_is_not_planned_with(place, clock):
    """Half an hour in which kernels are compiled, or in which the command is already under way, costs half."""
    planned = []
    for measuring, began in ((0.0, None), (1800.0, None), (0.0, -1800.0)):
        clock(1.0, measuring)
        planned.append(_planned(go(settings(training=WANTED), began=began, overwrite=True)[-1].run))

    assert 60 <= planned[0] <= 90
    assert planned[1] == planned[2] == pytest.approx(planned[0] / 2, abs=1)


def test_a_second_training_is_planned_with(place, clock):
    """Half the epochs, where the run is to train once more on training and validation rows."""
    planned = []
    for refit in (False, True):
        clock(1.0)
        planned.append(_planned(go(settings(training=WANTED, refit=refit), overwrite=True)[-1].run))

    assert planned[1] == pytest.approx(planned[0] * 41 / (41 + 48), abs=2)


def test_a_late_run_trains_no_second_time(place, clock, monkeypatch):
    """Where less is left than that takes, a notice says so, and the net that was validated stays."""
    clock(1e-6)
    monkeypatch.setattr(session._Watch, "left", lambda self: -1.0 if self.stepped else 3600.0)

    events = go(settings(training=WANTED, refit=True))

    assert "no refit: the budget of 1h is spent" in [each.text for each in events if isinstance(each, Notice)]
    assert "refit" not in events[-1].summary


def test_a_run_ends_while_there_is_time_for_its_end(place, clock, monkeypatch):
    """No epoch is begun that would leave less than scoring all rows is going to take."""
    clock(1.0)
    monkeypatch.setattr(session._Watch, "left", lambda self: 25.0 if self.stepped else 3600.0)

    end = go(settings(training=WANTED))[-1]

    assert end.why == "the budget of 1h is spent"
    assert json.loads((end.run / "metrics.json").read_text())["epochs"] == 1


def test_a_run_that_is_late_ends_with_the_best_so_far(place, clock, monkeypatch):
    """Where the time runs out all the same, the run is complete after the epoch that it is in, and says why."""
    clock(1e-6)
    monkeypatch.setattr(session._Watch, "left", lambda self: -1.0 if self.stepped else 3600.0)

    end = go(settings(training=WANTED))[-1]

    assert end.why == "the budget of 1h is spent"
    summary = json.loads((end.run / "metrics.json").read_text())
    assert (summary["epochs"], summary["best_epoch"]) == (1, 1)
    assert (end.run / "best.npz").is_file()
    assert go(settings(training=WANTED), resume=True)[-1].why == "already complete"


def test_the_first_epoch_is_cut_short_where_it_takes_too_long(place, passing):
    """A machine that makes three of the six batches in the hour: the net of these is scored, saved and complete."""
    end, spent = passing(lambda step: 1180.0)

    assert 3500 <= spent <= 3600
    assert end.why == "the budget of 1h is spent"
    assert (end.summary["epochs"], end.summary["best_epoch"], end.summary["step"]) == (1, 1, 3)
    assert checkpoint.read(end.run / "best.npz").header["step"] == 3
    assert go(settings(training=WANTED), resume=True)[-1].why == "already complete"


def test_of_a_later_epoch_that_takes_too_long_nothing_counts(place, passing):
    """A machine that becomes slower ends the run in the middle of the second epoch, with the net of the first, and
    keeps back more for the end than was planned."""
    end, spent = passing(lambda step: 100.0 if step <= 6 else 980.0)

    assert 3500 <= spent <= 3600
    assert end.why == "the budget of 1h is spent"
    assert (end.summary["epochs"], end.summary["best_epoch"]) == (1, 1)
    assert len((end.run / "metrics.csv").read_text().splitlines()) == 2
    assert checkpoint.read(end.run / "best.npz").header["step"] == 6


def test_a_run_that_was_cut_short_and_crashed_is_completed(place, passing, monkeypatch):
    """What is saved of an epoch that was cut short is taken up again, to be scored."""
    left, score = [Crash], session._Session._score

    def crash_once(run):
        if left:
            raise left.pop()
        return score(run)

    monkeypatch.setattr(session._Session, "_score", crash_once)
    with pytest.raises(Crash):
        passing(lambda step: 1180.0)

    end = go(settings(training=WANTED), resume=True)[-1]

    assert end.why == "the budget of 1h is spent"
    assert (end.summary["epochs"], end.summary["step"]) == (1, 3)


def test_a_second_training_that_takes_too_long_is_given_up(place, clock, monkeypatch):
    """Where the time runs out in it, the net that was validated stays in best.npz, and the run is complete."""
    clock(1e-6)
    late, refit = [], session.refit
    monkeypatch.setattr(session, "refit", lambda *given: (late.append(step) or step for step in refit(*given)))
    monkeypatch.setattr(session._Watch, "left", lambda self: -1.0 if late else 3600.0)

    events = go(settings(training=WANTED | {"epochs": 2}, refit=True))

    said = "no refit: the budget of 1h is spent; best.npz is the net that was validated"
    assert said in [each.text for each in events if isinstance(each, Notice)]
    assert "refit" not in events[-1].summary
    assert "refit" not in checkpoint.read(events[-1].run / "best.npz").header


@pytest.mark.parametrize("text", ["soon", "0s", "-5s", "10", "1m30", "60 s", "", "5s5m", "1e3s"])
def test_what_is_no_time_is_refused(text):
    """A budget is a time as people write it, and nothing else."""
    with pytest.raises(ConfigError, match=r"training\.budget.*a time such as 90s, 10m or 1h30m"):
        config.from_mapping({"data": {"train": "a.csv", "target": "y"}, "training": {"budget": text}})
