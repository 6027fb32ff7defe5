"""`backend: auto`: by arithmetic where that is clear, by a short look at the clock where it is close."""

from __future__ import annotations

import pytest

from fcnet.backends import choice
from fcnet.backends.choice import CLOSE, WORTH, Work

LAYERS = {"parameters": 50_000, "units": 400, "layers": 3, "batch_size": 128}


def work(saved: float) -> Work:
    """So much work that the arithmetic promises to save so many seconds."""
    one = Work(**LAYERS, steps=1)
    return Work(**LAYERS, steps=round(saved / (one.seconds("numpy") - one.seconds("numba"))))


def no_clock() -> float:
    raise AssertionError("nothing is close here")


@pytest.fixture(autouse=True)
def both(monkeypatch):
    """Whatever is installed here, both backends can be used."""
    monkeypatch.setattr(choice, "usable", lambda name: name)
    monkeypatch.setattr(choice, "installed", lambda name: True)


@pytest.mark.parametrize(("saved", "name"), [(WORTH / (2 * CLOSE), "numpy"), (2 * WORTH * CLOSE, "numba")])
def test_what_is_clear_is_not_measured(saved, name):
    """Far from the line no step is made to decide."""
    assert choice.choose(work(saved), no_clock) == (name, None)


@pytest.mark.parametrize("saved", [WORTH / 2, 2 * WORTH])
def test_what_is_close_goes_by_the_machine(saved):
    """Where a step on NumPy takes three times what was reckoned compiled ones are taken, where a third they are not."""
    some = work(saved)
    step = some.seconds("numpy") / some.steps

    assert choice.choose(some, lambda: 3 * step)[0] == "numba"
    assert choice.choose(some, lambda: step / 3)[0] == "numpy"
