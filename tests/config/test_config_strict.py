"""Objects are made of plain values strictly, by what their classes say, and all that is wrong is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from fcnet.config import from_mapping
from fcnet.config.kinds import Section, words
from fcnet.config.strict import Fault, made
from fcnet.errors import ConfigError
from fcnet.registry import Ge, Gt, Le, Len, Lt, Named, OneOf, Such


@dataclass(frozen=True)
class Square:
    """A shape that is told by its name."""

    side: Annotated[float, Gt(0)]
    name: Literal["square"] = "square"


@dataclass(frozen=True)
class Inner:
    """A section."""

    least: Annotated[int, Ge(-1), Le(3)] = 0
    share: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True)
class Outer:
    """One key of each kind."""

    whole: int = 0
    number: float = 0.0
    flag: bool = False
    text: str = ""
    one: Literal["a", "b"] = "a"
    of: Annotated[str, OneOf(lambda: ["c", "d"])] = "c"
    either: Literal["auto"] | Annotated[int, Ge(1)] = "auto"
    label: str | bool | int | float = 0
    none: Inner | None = None
    items: Annotated[list[int], Len(1, 3)] = field(default_factory=lambda: [1])
    unlike: Annotated[list[str], Such(lambda texts: len(set(texts)) == len(texts), "no two alike")] = field(
        default_factory=list
    )
    even: Annotated[str, Such(lambda text: len(text) % 2 == 0, "of even length")] = ""
    pairs: dict[str, float] = field(default_factory=dict)
    shape: Annotated[Any, Named({"square": Square})] = None
    whatever: Any = None


RIGHT = [
    ("whole", -3, -3),
    ("number", 2, 2.0),
    ("number", 2.5, 2.5),
    ("flag", True, True),
    ("text", "7", "7"),
    ("one", "b", "b"),
    ("of", "d", "d"),
    ("either", "auto", "auto"),
    ("either", 1, 1),
    ("label", True, True),
    ("label", 1, 1),
    ("label", 1.0, 1.0),
    ("none", None, None),
    ("none", {"least": 3, "share": 0}, Inner(3, 0.0)),
    ("items", [1, 2, 3], [1, 2, 3]),
    ("unlike", ["a", "b"], ["a", "b"]),
    ("even", "ab", "ab"),
    ("pairs", {"a": 1, "b": 0.5}, {"a": 1.0, "b": 0.5}),
    ("shape", {"name": "square", "side": 2}, Square(2.0)),
    ("whatever", [{"a": None}], [{"a": None}]),
]


@pytest.mark.parametrize(("key", "value", "expected"), RIGHT)
def test_what_is_right_becomes_the_value_of_its_class(key: str, value: Any, expected: Any) -> None:
    """Numbers take their key's type, mappings become objects, and all else stays as it is."""
    faults: list[Fault] = []

    outer = made((Section(Outer),), {key: value}, faults)

    assert faults == []
    assert outer == Outer(**{key: expected})
    assert type(getattr(outer, key)) is type(expected)


WRONG = [
    ("whole", value, ("value", ()), "a whole number") for value in (True, 1.0, "1", None, [], {})
] + [
    ("number", value, ("value", ()), "a number") for value in (False, "1", float("inf"), float("nan"), 10**400)
] + [
    ("flag", 1, ("value", ()), "true or false"),
    ("text", 7, ("value", ()), "text"),
    ("one", "c", ("value", ()), "a or b"),
    ("of", "a", ("value", ()), "c or d"),
    ("either", 0, ("value", ()), "auto or a whole number ≥ 1"),
    ("label", None, ("value", ()), "text, true or false, a whole number or a number"),
    ("none", {"least": 4}, ("value", ("least",)), "a whole number from -1 to 3"),
    ("none", {"least": -2}, ("value", ("least",)), "a whole number from -1 to 3"),
    ("none", {"share": 1}, ("value", ("share",)), "a number ≥ 0 and < 1"),
    ("none", {"shares": 0}, ("unknown", ("shares",)), ""),
    ("items", [], ("value", ()), "a list (at most 3, each a whole number)"),
    ("items", [1] * 4, ("value", ()), "a list (at most 3, each a whole number)"),
    ("items", [1, "2"], ("value", (1,)), "a whole number"),
    ("unlike", ["a", "a"], ("value", ()), "a list (each text, no two alike)"),
    ("unlike", [[]], ("value", (0,)), "text"),
    ("even", "abc", ("value", ()), "text (of even length)"),
    ("pairs", {"a": "b"}, ("value", ("a",)), "a number"),
    ("shape", {"side": 1}, ("missing", ("name",)), "square"),
    ("shape", {"name": "round"}, ("name", ()), "one of square (or a mapping with name)"),
    ("shape", {"name": ["square"]}, ("name", ()), "one of square (or a mapping with name)"),
    ("shape", {"name": "square"}, ("missing", ("side",)), "a number > 0"),
    ("shape", {"name": "square", "side": 0}, ("value", ("side",)), "a number > 0"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "fault", "expected"), WRONG)
def test_what_is_wrong_is_told_with_its_path_and_what_may_stand_there(
    key: str, value: Any, fault: tuple[str, tuple[str, ...]], expected: str
) -> None:
    """Nothing is taken for what it is not, and of several alternatives the one that was meant is told."""
    faults: list[Fault] = []

    made((Section(Outer),), {key: value}, faults)

    assert [(found.kind, found.path) for found in faults] == [(fault[0], (key, *fault[1]))]
    assert words(faults[0].expected) == expected if expected else not faults[0].expected


def test_all_that_is_wrong_is_told_at_once() -> None:
    """One wrong value hides no other, however deep."""
    faults: list[Fault] = []

    made((Section(Outer),), {"whole": "x", "none": {"least": 9, "zzz": 1}, "items": ["a", 1, "b"], "yyy": 0}, faults)

    assert [(found.kind, found.path) for found in faults] == [
        ("value", ("whole",)),
        ("value", ("none", "least")),
        ("unknown", ("none", "zzz")),
        ("value", ("items", 0)),
        ("value", ("items", 2)),
        ("unknown", ("yyy",)),
    ]


def test_other_keys_are_passed_over_where_that_is_asked_for() -> None:
    """A reader of files that later versions may extend takes what it knows."""
    faults: list[Fault] = []

    outer = made((Section(Outer),), {"whole": 1, "later": 2, "none": {"later": 3}}, faults, others=True)

    assert (outer, faults) == (Outer(whole=1, none=Inner()), [])


def test_a_number_that_no_float_holds_is_refused() -> None:
    """A whole number with 351 digits is not taken for infinity."""
    with pytest.raises(ConfigError, match="expected a number > 0; it is too large; numbers must be finite"):
        from_mapping({"data": {"train": "a.csv", "target": "y"}, "optimizer": {"lr": 10**350}})


def test_a_block_with_nothing_in_it_is_refused() -> None:
    """Lists have a least length too."""
    with pytest.raises(ConfigError, match=r"network\.layers\.0\.layers: a list of 0, expected a list"):
        from_mapping(
            {"data": {"train": "a.csv", "target": "y"}, "network": {"layers": [{"name": "residual", "layers": []}]}}
        )


def test_a_mark_of_another_library_is_no_limit() -> None:
    """A limit that nobody would check is a mistake of the class, not one that is passed over."""

    @dataclass(frozen=True)
    class Foreign:
        number: Annotated[int, slice(0, 3)] = 0

    with pytest.raises(AssertionError, match="the config does not know slice"):
        made((Section(Foreign),), {"number": 9}, [])
