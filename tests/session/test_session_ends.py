"""What a run says at its end, and when it is made longer than it was to be."""

import shlex

import numpy as np
import pytest
from session_runs import go, settings

import fcnet
from fcnet.cli import main
from fcnet.errors import Stopped
from fcnet.training.events import Notice

X = np.random.default_rng(2).normal(size=(80, 2))
Y = X[:, 0] + X[:, 1] * 2


def said(events):
    return [event.text for event in events if isinstance(event, Notice)]


def long(**more):
    """A run of four epochs that learns slowly and is never stopped early."""
    training = {"epochs": 4, "early_stopping": None, "checkpoint": {"epochs": 1}}
    return settings(optimizer={"name": "adam", "lr": 0.003}, training=training, **more)


def test_a_run_that_was_still_getting_better_says_how_to_go_on(place, capsys, monkeypatch):
    """Where the best epoch is the last, the key is named in a command that works as it is shown."""
    monkeypatch.setattr("fcnet.signals.install", lambda: None)
    (text,) = [text for text in said(go(long())) if "when the epochs ran out" in text]

    assert text == (
        "val_loss was still falling when the epochs ran out; "
        "to go on: fcnet train --resume=runs/people training.epochs=8"
    )
    assert text in (place / "runs/people/log.txt").read_text()
    assert main(shlex.split(text.partition("to go on: ")[2])[1:]) == 0
    assert "of 8 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("quality", "more", "how"),
    [
        ("fast", {}, "quality=default is longer"),
        ("default", {}, "quality=best is longer"),
        ("best", {}, "a new run with training.epochs=8 may be better"),
        ("best", {"budget": "1h"}, "for more give it a longer training.budget"),
    ],
)
def test_a_run_of_a_quality_is_not_told_to_go_on(place, quality, more, how):
    """Where the length was a quality's or a budget's, what is named is the next of these, and no resume."""
    mapping = long(quality=quality, schedule="constant", ensemble=1)
    mapping["training"] |= more

    (text,) = [text for text in said(go(mapping)) if "when the epochs ran out" in text]

    assert text == f"val_loss was still falling when the epochs ran out; {how}"


def test_what_is_so_of_every_fold_is_said_once(place):
    """A run of folds that all could have gone on says so for all of them."""
    texts = [text for text in said(go(long(cv=3, data={"validation": 0.2}))) if "when the epochs ran out" in text]

    assert texts == [
        "val_loss was still falling when the epochs ran out; a new run with training.epochs=8 may be better"
    ]


def test_a_score_that_rises_is_said_to_rise(place):
    """The direction is the metric's own; rows from memory are not there for another process."""
    config = {
        "name": "up",
        "data": {},
        "network": {"layers": []},
        "optimizer": {"name": "adam", "lr": 0.02},
        "training": {"epochs": 6, "early_stopping": {"metric": "val_r2"}},
        "threads": 1,
    }

    run = fcnet.train(config, (X, Y))

    text = "val_r2 was still rising when the epochs ran out; resume it with training.epochs=12 to go on"
    assert text in run.notices
    longer = fcnet.train({**config, "training": {**config["training"], "epochs": 12}}, (X, Y), resume=True)
    assert longer.metrics["epochs"] == 12


@pytest.mark.parametrize(
    "training",
    [
        {"epochs": 4, "early_stopping": {"metric": "val_loss", "patience": 1}},
        {"epochs": 60, "early_stopping": None},
    ],
    ids=["stopped", "settled"],
)
def test_a_run_that_had_settled_says_nothing(place, training):
    """Neither a run that was stopped early nor one whose best epoch is long ago is told to go on."""
    events = go(settings(optimizer={"name": "adam", "lr": 0.3}, training={**training, "checkpoint": {"epochs": 100}}))

    assert not [text for text in said(events) if "ran out" in text]


@pytest.mark.parametrize(("name", "rises"), [("cosine", True), ("linear", True), ("constant", False), ("step", False)])
def test_a_schedule_that_is_made_longer_says_that_the_rate_rises(place, name, rises):
    """What had come down to nothing starts again half way up; a schedule by epochs does not care."""
    schedule = {"name": name, **({"every": 2} if name == "step" else {})}
    go(long(schedule=schedule))

    longer = long(schedule=schedule)
    longer["training"]["epochs"] = 8
    found = [text for text in said(go(longer, resume=True)) if "learning rate" in text]

    start = f"the {name} schedule ends after 8 epochs now, not 4, so the learning rate rises again, from "
    assert [text.startswith(start) for text in found] == [True] * rises


def test_a_schedule_of_the_same_length_says_nothing(place):
    """A run that merely goes on has the rate that it would have had."""
    config = long(schedule="cosine")
    config["training"]["checkpoint"] = {"steps": 2}
    stop = iter([None] * 12)
    with pytest.raises(Stopped, match="step"):
        go(config, stop=lambda: next(stop, 75))

    events = said(go(config, resume=True))

    assert any("goes on after epoch" in text for text in events)
    assert not [text for text in events if "learning rate" in text]
