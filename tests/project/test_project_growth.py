"""Nothing is quadratic in what a user or a file can set: the work is counted, and twice the size is twice the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fcnet import config as configs
from fcnet.config.names import stem
from fcnet.data.arrays import table_of_columns
from fcnet.data.columns import Want
from fcnet.data.encode import Encoder
from fcnet.data.encodings import NumberColumn
from fcnet.data.encodings.standard import Standard
from fcnet.data.numbers import Grammar
from fcnet.data.options import Data
from fcnet.data.roles import extra_columns, find_roles, fitted_plan, scoring_plan, training_plan
from fcnet.data.split import random_split
from fcnet.data.target import Numbers, Target
from fcnet.errors import FcnetError, escape
from fcnet.reports.text import fold, hang, shorten, table
from fcnet.runs.predictions import Form, text_cell


class Counted(str):
    """A text that counts how often it is compared; as a subclass it has no shortcut."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def work(call: Callable[[], object]) -> int:
    """Calls of functions (of C's too), resumed generators and comparisons of `Counted` texts while `call` runs."""
    events = [0]

    def count(frame: Any, event: str, argument: object) -> None:
        events[0] += event in ("call", "c_call")

    before = Counted.compared
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return events[0] + Counted.compared - before


def texts(n: int, letter: str = "c") -> tuple[str, ...]:
    return tuple(Counted(f"{letter}{i}") for i in range(n))


def copies(names: tuple[str, ...]) -> list[str]:
    """Equal texts that are other objects, as those of a config are."""
    return [Counted(str(name)) for name in names]


def encoder(n: int) -> Encoder:
    names = texts(n)
    return Encoder(tuple(NumberColumn(name, Standard()) for name in names), (*names, Counted("y")), "float32")


def numbers(n: int) -> Target:
    names = texts(n, "y")
    return Numbers(names, mean=np.zeros(n), scale=np.ones(n))


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(FcnetError):
        call()


def levels(n: int) -> None:
    plan = lambda names: {name: Want("text") for name in names}  # noqa: E731
    table_of_columns({"a": np.array(texts(n), dtype=object)}, Grammar(), plan, "t")


def overrides(n: int) -> None:
    refused(lambda: configs.from_mapping({"data": {"train": "t.csv", "target": "y"}}, [f"a{i}=1" for i in range(n)]))


LISTS = {
    "features": lambda n: find_roles(Data("t", target=Counted("y"), features=copies(texts(n))), (*texts(n), "y")),
    "all columns": lambda n: find_roles(Data("t", target=Counted("y")), (*texts(n), "y")),
    "exclude": lambda n: find_roles(Data("t", target="y", exclude=copies(texts(n))), (*texts(n), "a", "y")),
    "targets": lambda n: find_roles(Data("t", target=copies(texts(n))), (*texts(n), "a")),
    "categorical": lambda n: training_plan(Data("t", target="y", categorical=copies(texts(n))), (*texts(n), "y")),
    "lacking": lambda n: refused(lambda: find_roles(Data("t", target="y", features=copies(texts(n, "d"))), texts(n))),
    "fitted": lambda n: fitted_plan(encoder(n), copies(texts(n)), "t"),
    "scoring": lambda n: scoring_plan(encoder(n), numbers(n), Data("t"), copies((*texts(n), *texts(n, "y"))), "t"),
    "extra": lambda n: extra_columns(encoder(n), copies(texts(n, "e")), copies((*texts(n), *texts(n, "f")))),
    "classes": lambda n: Form("multiclass", ("y",), texts(n)),
    "kept": lambda n: Form("multiclass", ("y",), texts(3), texts(n, "k")),
    "levels": levels,
    "overrides": overrides,
    "overrides of one key": lambda n: configs.from_mapping(
        {"data": {"train": "t.csv", "target": "y"}}, [f"seed={i}" for i in range(n)]
    ),
}

LENGTHS = {
    "shorten": lambda n: shorten("n" * n, 30),
    "shorten wide": lambda n: shorten("\u65e5" * n, 30),
    "shorten marks": lambda n: shorten("e\u0301" * n, 30),
    "escape": lambda n: escape("\x1b\u200b" * n),
    "hang": lambda n: hang("a", "word " * n, 80),
    "fold": lambda n: fold("a", ["part"] * n, 80),
    "table": lambda n: table("a", "b", ["c"], [("n" * n, ["1"])], width=80),
    "cell": lambda n: text_cell(" \t" * n + "=1"),
    "stem": lambda n: stem("a." * n + "csv"),
    "misspelt": lambda n: refused(lambda: find_roles(Data("t", target="ab" * n), ["ba" * n, "x"])),
    "near misses": lambda n: refused(lambda: configs.from_mapping({"trainin" * n: 1})),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_looked_through_once(name: str) -> None:
    """Columns, targets, classes and levels: twice as many are less than three times the comparisons and calls."""
    small, large = (work(lambda n=n: LISTS[name](n)) for n in (500, 1000))  # type: ignore[misc]

    assert large < 3 * small


@pytest.mark.parametrize("name", LENGTHS)
def test_texts_are_looked_through_once(name: str) -> None:
    """Names and values: twice the length is less than three times the calls."""
    LENGTHS[name](1)
    small, large = (work(lambda n=n: LENGTHS[name](n)) for n in (500, 1000))  # type: ignore[misc]

    assert large < 3 * small


def test_a_stratified_split_looks_at_each_row_once() -> None:
    """With twice the classes and rows, the rows compared with a class are twice as many, not four times."""
    compared = []

    class Rows(np.ndarray[Any, Any]):
        def __eq__(self, other: object) -> Any:
            compared.append(self.size)
            return super().__eq__(other)

        __hash__ = None  # type: ignore[assignment]

    n = 300
    classes = (np.arange(4 * n) % n).view(Rows)

    parts, _ = random_split(4 * n, (0.25, 0.25), 0, classes, [f"c{i}" for i in range(n)], strict=True, file="t")

    assert sum(compared) <= 10 * 4 * n
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(4 * n))
