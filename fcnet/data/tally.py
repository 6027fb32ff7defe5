"""Counts what is remarkable about cells (missing, unseen, out of range), so that a notice tells it once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from fcnet.data.problems import SHOWN
from fcnet.data.table import Table
from fcnet.errors import DataError, Problem, more

Array = NDArray[Any]


class Tally:
    """Counts over one table, or over the chunks of one that streams by.

    `strict`: unseen categories and values out of range are errors, raised by `raise_any`. `ranges`: whether values
    outside the training range are counted.
    """

    def __init__(self, strict: bool = False, ranges: bool = True) -> None:
        self.strict = strict
        self.ranges = ranges
        self._missing: Counter[str] = Counter()
        self._unseen: dict[str, Counter[str | None]] = {}
        self._outside: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._more = 0
        self._other: list[str] = []
        self._usual: list[str] = []

    def say(self, notice: str, *, usual: bool = False) -> None:
        """One more notice, as it is; a `usual` one is nothing to be warned of."""
        (self._usual if usual else self._other).append(notice)

    def missing(self, column: str, n: int) -> None:
        """`n` missing cells."""
        self._missing[column] += n

    def unseen(self, table: Table, column: str, rows: Array, texts: Sequence[str]) -> None:
        """Cells of categories that training has not seen."""
        counter = self._unseen.setdefault(column, Counter())
        for text in texts:  # a column of names must not fill the memory: None counts what is beyond so many
            counter[text if text in counter or len(counter) < 1000 else None] += 1
        self._complain(
            table, rows, [f'column "{column}": no training row has the category "{t}"' for t in texts[:SHOWN]]
        )

    def outside(self, table: Table, column: str, rows: Array, values: Array) -> None:
        """Values below or above all of training."""
        self._outside[column] += len(rows)
        texts = [f'column "{column}": {value!r} is outside the training range' for value in values[:SHOWN].tolist()]
        self._complain(table, rows, texts)

    def _complain(self, table: Table, rows: Array, texts: Sequence[str]) -> None:
        if not self.strict:
            return
        for row, text in zip(rows.tolist(), texts, strict=False):
            if len(self._problems) < SHOWN:
                self._problems.append(table.problem(row, text))
        self._more += len(rows)

    def raise_any(self) -> None:
        """DataError if `strict` and anything was unseen or out of range."""
        if self._problems:
            problems = sorted(self._problems, key=lambda problem: problem.line or 0)
            left = self._more - len(problems)
            if left:
                problems.append(Problem(more(left, "such cells"), file=problems[0].file))
            raise DataError(problems)

    def notices(self, *, usual: bool = True) -> list[str]:
        """A sentence for each kind of thing that was counted; without the `usual` ones if so asked."""
        result = [*self._other, *(self._usual if usual else ())]
        if self._missing:
            result.append(f"missing cells: {_counted(self._missing)}")
        for column, counter in self._unseen.items():
            named = [f'"{text}" {n:,}' for text, n in counter.most_common(4) if text is not None]
            values = ", ".join(named[:3])
            rest = f" and {'at least ' if None in counter else ''}{len(counter) - 3:,} more" if len(counter) > 3 else ""
            one = counter.total() == 1
            cells = "1 cell holds a category" if one else f"{counter.total():,} cells hold categories"
            result.append(
                f'column "{column}": {cells} that training has not seen ({values}{rest}); '
                f"{'it counts' if one else 'they count'} as unknown"
            )
        if self._outside:
            result.append(f"values outside the training range: {_counted(self._outside)}")
        return result


def _counted(counter: Counter[str], most: int = 10) -> str:
    rest = f" {more(len(counter) - most, 'columns')}" if len(counter) > most else ""
    return ", ".join(f'"{column}" {n:,}' for column, n in list(counter.items())[:most]) + rest
