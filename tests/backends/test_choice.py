"""Which backend a run takes, and how many threads of it pay."""

from __future__ import annotations

import pytest

from fcnet import machine
from fcnet.backends import choice


@pytest.mark.parametrize(
    ("threads", "cores", "largest", "pay"),
    [(8, 2, 2**30, 2), (2, 16, 2**30, 2), (64, 64, 2**24, 16), (64, 64, 2**19, 2), (8, 1, 2**30, 1), (1, 8, 2**30, 1)],
)
def test_a_team_has_the_threads_that_pay(
    threads: int, cores: int, largest: int, pay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than are asked for, than there are processors, and than have a share of a product worth the wait."""
    monkeypatch.setattr(machine, "cores", lambda: cores)

    assert choice.team(threads, largest) == pay


def test_eight_threads_on_two_processors_are_a_team_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without a processor of its own would only hold up the others, whose bits are the same without it."""
    pytest.importorskip("numba")
    monkeypatch.setattr(machine, "cores", lambda: 2)

    assert choice.make("numba", 8, 2**30).threads == 2  # type: ignore[attr-defined]  # of this backend alone
