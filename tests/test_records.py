"""Frozen dataclasses made in a shorter time do all that the standard ones do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field
from typing import Any

import numpy as np
import pytest

from fcnet import records


def made(dataclass: Any) -> Any:
    """A class with every kind of field that there is, and one that extends it, by this `dataclass`."""

    @dataclass(frozen=True)
    class Base:
        a: int
        b: float = 1.5
        c: list[int] = field(default_factory=list)
        d: str = field(default="d", compare=False, repr=False)

    @dataclass(frozen=True)
    class More(Base):
        e: int = field(kw_only=True)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.a + self.e)

        def __repr__(self) -> str:
            return "more"

    return Base, More


OURS, STANDARD = made(records.dataclass), made(dataclasses.dataclass)


def about(classes: Any) -> list[Any]:
    """What can be seen of these classes and of objects of theirs."""
    base, more = classes
    one, two = base(1), base(1, d="x")
    extended = more(1, 2.0, e=4)
    return [
        repr(one).rpartition(".")[2],
        repr(extended),
        one == two,
        one == base(2),
        one == extended,
        hash(base(1, 2.0, ())) == hash((1, 2.0, ())),
        extended.total,
        dataclasses.replace(extended, a=5).total,
        dataclasses.asdict(extended),
        one.c is not two.c,
        list(inspect.signature(more).parameters),
        more.__match_args__,
        copy.deepcopy(extended) == extended,
        base(np.nan) == base(np.nan),
    ]


def test_frozen_classes_do_what_the_standard_ones_do() -> None:
    """Equality, hash, text, defaults, inheritance, keywords and copies are those of `dataclasses.dataclass`."""
    assert about(OURS) == about(STANDARD)


@pytest.mark.parametrize("classes", [OURS, STANDARD])
def test_frozen_objects_refuse_changes(classes: Any) -> None:
    """Neither a field nor anything else can be set or deleted."""
    one = classes[0](1)

    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'a'"):
        one.a = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'a'"):
        del one.a


@pytest.mark.parametrize("classes", [OURS, STANDARD])
def test_wrong_arguments_are_named(classes: Any) -> None:
    """What is missing and what is too much is said as for any function."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        classes[0]()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        classes[0](1, z=1)


def test_a_standard_dataclass_may_extend_one_of_ours() -> None:
    """As guests from elsewhere do."""

    @dataclasses.dataclass(frozen=True)
    class Guest(OURS[0]):
        f: int = 7

    assert (Guest(1).a, Guest(1).f, Guest(1) == Guest(1)) == (1, 7, True)
    with pytest.raises(FrozenInstanceError):
        Guest(1).a = 2


def test_objects_can_be_pickled() -> None:
    """As those of the standard class can."""
    from fcnet.nn.layers import Dense

    assert pickle.loads(pickle.dumps(Dense(3))) == Dense(3)
