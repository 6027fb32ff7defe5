"""A net that is trained once more, as long as was best, on rows of training and validation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from session_runs import Crash, crash_at, differing, go, outcome, settings

from fcnet import api, config
from fcnet.backends import choice
from fcnet.cli import main
from fcnet.data import together
from fcnet.errors import CheckpointError, ConfigError, DataError
from fcnet.files import Folder
from fcnet.runs import checkpoint
from fcnet.training.events import Epoch, Notice
from fcnet.training.loop import Plan, train
from fcnet.training.prepare import prepare

STOPPED = {
    "training": {"epochs": 25, "early_stopping": {"metric": "val_loss", "patience": 2}},
    "optimizer": {"lr": 0.03},
}


def test_the_net_is_trained_as_long_as_was_best_on_more_rows(place):
    """From the same first weights; the figures of before stay, and the test part's of now stand beside them."""
    plain = go(settings(**STOPPED, name="plain"))[-1]
    events = go(settings(**STOPPED, refit=True))
    run, done = events[-1].run, events[-1].summary

    best = done["best_epoch"]
    assert {key: done[key] for key in done if key not in ("refit", "seconds")} == {
        key: value for key, value in plain.summary.items() if key != "seconds"
    }
    for name, array in checkpoint.read(plain.run / "best.npz").arrays.items():
        np.testing.assert_array_equal(checkpoint.read(run / "validated.npz").arrays[name], array)
    expected = by_hand(best)
    held = checkpoint.read(run / "best.npz")
    for name, array in expected.items():
        np.testing.assert_array_equal(held.arrays[name], array)
    assert done["refit"]["rows"] == held.header["parts"]["train"]["rows"] == 48
    assert held.header["parts"]["validation"]["rows"] == 0
    assert done["refit"]["test"] == {k: v for k, v in api.evaluate(run).items() if k in done["refit"]["test"]}
    assert done["refit"]["train"]["loss"] == api.evaluate(run, split="train")["loss"]
    assert done["refit"]["test"]["loss"] != done["test"]["loss"]


def by_hand(epochs):
    """The parameters after so many epochs on both parts, at the rates of a run of 25."""
    prepared = prepare(config.from_mapping(settings(**STOPPED)), 1)
    prepared = replace(prepared, data=together(prepared.data))
    program, source = prepared.begin(choice.make("numpy", 1))
    assert source.n == 48
    for event in train(program, source, Plan(25, 7, prepared.settings.schedule), None):
        if isinstance(event, Epoch) and event.epoch == epochs:
            return {**prepared.network.layout.views(program.state.θ), **prepared.network.buffers.views(program.state.q)}
    raise AssertionError("it ended before")


def test_rows_that_were_learnt_are_no_validation(place):
    """Nobody is scored by accident on what the net has seen; the net that was judged is there for that."""
    run = go(settings(**STOPPED, refit="auto"))[-1].run

    with pytest.raises(DataError, match="had no validation part"):
        api.evaluate(run, split="validation")
    assert api.evaluate(run / "validated.npz", split="validation")["rows"] == 12


def test_weights_have_mean_1_over_all_rows_that_are_learnt(place):
    """As in every training."""
    data = together(prepare(config.from_mapping(settings()), 1).data)

    assert data.w[data.parts["train"]].mean() == pytest.approx(1)
    assert sorted({*data.parts["train"]} | {*data.parts["test"]}) == list(range(60))


@pytest.mark.parametrize("ensemble", [1, 3])
def test_a_run_with_a_refit_resumes(place, ensemble):
    """Wherever it was interrupted, and when it is given more epochs: it goes on from the net that was judged."""
    mapping = settings(**STOPPED, refit=True, ensemble=ensemble)
    done = go({**mapping, "name": "whole"})[-1]
    whole = outcome(done.run)
    polls = count(mapping)

    for poll in (polls // 3, polls // 2, polls // 3):
        with pytest.raises(Crash):
            go(mapping, stop=crash_at(poll), resume=True)
    assert differing(outcome(go(mapping, resume=True)[-1].run), whole) == []

    for epochs in (3, done.summary["best_epoch"] + 1):  # nothing better comes after
        short = {**mapping, "name": f"short{epochs}", "training": {**mapping["training"], "epochs": epochs}}
        go(short)
        longer = {**short, "training": mapping["training"]}
        assert differing(outcome(go(longer, resume=True)[-1].run), whole) == []


@pytest.mark.parametrize("harm", ["damaged", "of another run"])
def test_a_net_that_was_judged_and_is_not_there_any_more_costs_nothing_else(place, harm):
    """A run that would go on from it is refused, complete, and with its best.npz, as it was."""
    mapping = settings(training={"epochs": 2, "early_stopping": None}, refit=True)
    run, longer = go(mapping)[-1].run, settings(training={"epochs": 4, "early_stopping": None}, refit=True)
    other = b"damaged" if harm == "damaged" else (go(mapping)[-1].run / "validated.npz").read_bytes()
    (run / "validated.npz").write_bytes(other)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "log.txt"}

    with pytest.raises(CheckpointError, match=r"validated\.npz"):
        go(longer, resume=run)

    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != "log.txt"} == before


def test_a_kill_while_the_judged_net_is_put_back_leaves_a_run_that_agrees(place, monkeypatch):
    """metrics.json, of the net that was refitted, goes before best.npz does."""
    mapping = settings(training={"epochs": 2, "early_stopping": None}, refit=True)
    run = go(mapping)[-1].run
    longer = {**mapping, "training": {**mapping["training"], "epochs": 4}}
    real = Folder.remove

    def remove(self, name):
        if name == "validated.npz":
            raise Crash
        real(self, name)

    with monkeypatch.context() as killing:
        killing.setattr(Folder, "remove", remove)
        with pytest.raises(Crash):
            go(longer, resume=True)

    assert "refit" not in checkpoint.read(run / "best.npz").header
    assert not (run / "metrics.json").exists()
    assert go(longer, resume=True)[-1].summary["epochs"] == 4


def count(mapping):
    """How often such a run asks whether it is to stop."""
    polls = [0]

    def stop():
        polls[0] += 1

    go({**mapping, "name": "counted"}, stop=stop)
    return polls[0]


def test_auto_does_not_where_validation_rows_are_others(place):
    """It says why; `true` does, and without validation rows it is refused."""
    (place / "more.csv").write_bytes((place / "people.csv").read_bytes())
    events = go(settings(**STOPPED, refit="auto", data={"validation": "more.csv"}))

    said = [event.text for event in events if isinstance(event, Notice)]
    assert "no refit: the validation rows were not drawn from those of training" in said
    assert "refit" not in events[-1].summary
    assert not (events[-1].run / "validated.npz").exists()
    with pytest.raises(ConfigError, match="refit: is fitted on a validation part"):
        config.from_mapping(settings(refit=True, data={"validation": 0}, training={"early_stopping": None}))


def test_the_refitted_net_is_shown(place, capsys):
    """Its test score stands in a column of its own, and inspect says what it is."""
    mapping = settings(**STOPPED, refit=True)
    (place / "c.yaml").write_text(json.dumps(mapping))

    assert main(["train", "c.yaml"]) == 0
    trained = capsys.readouterr().out
    assert main(["inspect", "runs/people"]) == 0
    said = capsys.readouterr().out

    assert "test, refitted" in trained
    assert "refitted on validation rows too" in " ".join(said.split())
    assert "48 train, 12 test" in said
