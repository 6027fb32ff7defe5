"""`backend: auto`: by arithmetic where that is clear, by a short look at the clock where it is close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fcnet.backends import choice
from fcnet.backends.choice import CLOSE, WORTH, Work
from fcnet.backends.ops import Apply, ref
from fcnet.formulas import Formula, Sym, maximum

LAYERS = {"parameters": 50_000, "results": 270_000, "layers": 3, "batch_size": 128}


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
    compiled(monkeypatch, ready=False)


def compiled(monkeypatch, *, ready):
    """Whatever was compiled here, the kernels are there or not."""
    offer = replace(choice.BACKENDS["numba"], ready=lambda: ready)
    monkeypatch.setitem(choice.BACKENDS, "numba", offer)


@pytest.mark.parametrize(("ready", "name"), [(False, "numpy"), (True, "numba")])
def test_kernels_that_were_compiled_before_are_taken_for_a_short_run(monkeypatch, ready, name):
    """What saves a second or two is worth loading kernels, and not compiling them."""
    compiled(monkeypatch, ready=ready)
    some = work(saved=WORTH / 2)

    assert choice.choose(some, lambda: some.seconds("numpy") / some.steps)[0] == name


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


@pytest.mark.parametrize(
    ("ready", "left", "name"),
    [(False, 10.0, "numpy"), (False, 600.0, "numba"), (True, 5.0, "numpy"), (True, 15.0, "numba")],
)
def test_nothing_is_compiled_where_there_is_no_time_for_it(monkeypatch, ready, left, name):
    """A budget of seconds is not spent on kernels, however much the whole run would save by them."""
    compiled(monkeypatch, ready=ready)

    assert choice.choose(work(saved=100 * WORTH), no_clock, left)[0] == name


def test_a_formula_s_operations_are_counted():
    """Two operations on 4 rows of 3 units make 24 numbers, whatever is only read."""
    x, unit, z = (ref(name, shape, np.float32) for name, shape in (("x", (4, 3)), ("b", (3,)), ("z", (4, 3))))

    assert Apply(Formula({"z": maximum(Sym("x") + Sym("b"), 0.0)}), {"x": x, "b": unit}, {"z": z}).results == 24
