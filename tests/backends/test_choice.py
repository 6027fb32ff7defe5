"""`backend: auto`: by arithmetic on the work and by what was compiled before, so that it is the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fcnet import config as configs
from fcnet.backends import choice
from fcnet.backends.choice import LOADING, WORTH, Work
from fcnet.backends.ops import Apply, ref
from fcnet.formulas import Formula, Sym, maximum
from fcnet.training.prepare import prepare
from fcnet.training.program import Program

NET = {"parameters": 50_000, "results": 270_000, "batch_size": 128}


def work(saved: float) -> Work:
    """So much work that the arithmetic promises to save so many seconds."""
    one = Work(**NET, steps=1)
    return Work(**NET, steps=round(saved / (one.seconds("numpy") - one.seconds("numba"))))


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

    assert choice.choose(work(saved=WORTH / 2))[0] == name


@pytest.mark.parametrize(("ready", "worth"), [(False, WORTH), (True, LOADING)])
def test_what_is_close_goes_by_the_same_line_as_all_else(monkeypatch, ready, worth):
    """A hundredth of the work on either side of what kernels must save decides."""
    compiled(monkeypatch, ready=ready)

    assert choice.choose(work(saved=0.99 * worth)) == ("numpy", None)
    assert choice.choose(work(saved=1.01 * worth)) == ("numba", None)


def test_nothing_is_tried_to_decide(monkeypatch):
    """Not a step is made, however close the arithmetic is: a clock would say one thing today and another tomorrow."""
    table = {"x": np.arange(64.0), "y": ["a", "b"] * 32}
    mapping = {"recipe": "plain", "data": {"train": "-", "target": "y"}}
    prepared = prepare(configs.from_mapping(mapping), 1, data=table)
    some = prepared.work()
    monkeypatch.setattr(choice, "WORTH", 0.99 * (some.seconds("numpy") - some.seconds("numba")))
    monkeypatch.setattr(Program, "run", None)

    assert prepared.choose() == ("numba", None)


def test_numbers_of_twice_as_many_bytes_take_twice_as_long():
    """Of a large net's step in double precision, where calls do not count, kernels save twice as much."""
    large = {"parameters": 1_000_000, "results": 1_000_000, "batch_size": 128, "steps": 1000}

    assert Work(**large, itemsize=8).seconds("numpy") == pytest.approx(2 * Work(**large).seconds("numpy"), rel=0.01)


@pytest.mark.parametrize(
    ("ready", "left", "name"),
    [(False, 10.0, "numpy"), (False, 600.0, "numba"), (True, 5.0, "numpy"), (True, 15.0, "numba")],
)
def test_nothing_is_compiled_where_there_is_no_time_for_it(monkeypatch, ready, left, name):
    """A budget of seconds is not spent on kernels, however much the whole run would save by them."""
    compiled(monkeypatch, ready=ready)

    assert choice.choose(work(saved=100 * WORTH), left)[0] == name


def test_a_formula_s_operations_are_counted():
    """Two operations on 4 rows of 3 units make 24 numbers, whatever is only read."""
    x, unit, z = (ref(name, shape, np.float32) for name, shape in (("x", (4, 3)), ("b", (3,)), ("z", (4, 3))))

    assert Apply(Formula({"z": maximum(Sym("x") + Sym("b"), 0.0)}), {"x": x, "b": unit}, {"z": z}).results == 24
