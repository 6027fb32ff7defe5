"""Finds out what each column holds: numbers, or categories; the whole file is looked at before anything is decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fcnet.data.delimited import Block
from fcnet.data.numbers import BLANKS, Grammar, other_spellings
from fcnet.data.problems import SHOWN, Problems
from fcnet.data.table import Column
from fcnet.records import dataclass

Array = NDArray[Any]
Kind = Literal["auto", "number", "text", "both"]

NEARLY_ALL = 0.95
"""With at least this share of numbers a column was meant to hold numbers, and the other cells are mistakes."""

MANY_LEVELS = 100_000
"""Beyond so many different texts a target is no class label, and its texts are not kept."""


@dataclass(frozen=True)
class Want:
    """How to read one column: `auto` finds its type, `both` keeps the texts beside the numbers; None skips it."""

    kind: Kind | None = None
    raw: bool = False
    """Whether the cells are also kept as they stand."""


Wants = Callable[[tuple[str, ...]], Mapping[str, Want]]
"""Told the names of all columns, says how to read those that are wanted; raises if it misses one."""


class Gatherer:
    """One column while its file is read."""

    def __init__(self, name: str, want: Want, grammar: Grammar, keep_text: bool = False) -> None:
        self.name = name
        self.raw: list[str] = []
        self._want = want
        self._grammar = grammar
        self._keep_text = keep_text or want.kind in ("text", "both")
        self._lean = want.kind == "both" and not keep_text
        self._n = 0
        self._numbers = 0
        self._bad: list[tuple[int, str]] = []
        self._bad_count = 0
        self._chunks: list[Array] = []
        self._codes: list[Array] = []
        self._levels: dict[str, int] = {}
        self._small: list[tuple[int, str]] = []
        self._small_count = 0

    def add(self, block: Block, j: int) -> None:
        """The cells of column j of the next block."""
        self._n += len(block.lines)
        cells: Sequence[str] | None = None
        coded: tuple[Array, list[str]] | None = None
        if self._want.raw:
            cells = block.cells(j)
            self.raw.extend(cells)
        kind = self._want.kind
        if kind in ("auto", "number", "both"):
            numbers = block.numbers(j)
            bad: list[int] = []
            if numbers is None and self.textual:
                coded = block.coded(j)
                numbers, bad = self._of_levels(*coded)
            elif numbers is None:
                cells = cells or block.cells(j)
                numbers, bad = self._grammar.parse(cells)
            if not numbers.all() and (cells is not None or getattr(getattr(block, "text", None), "small", False)):
                self._look_for_small(block, numbers, cells or block.cells(j))
            if bad:
                if not self._bad_count:  # until then nobody asks how many there are
                    self._numbers = sum(map(_present, self._chunks))
                cells = cells or block.cells(j)
                self._bad_count += len(bad)
                self._bad += [(int(block.lines[i]), cells[i]) for i in bad[: SHOWN - len(self._bad)]]
            if self._bad_count:
                self._numbers += _present(numbers)
            else:
                self._chunks.append(np.ascontiguousarray(numbers))
        if self.textual:
            levels = self._levels
            codes, texts = coded or block.coded(j)
            places = np.array([levels.setdefault(text, len(levels)) for text in texts], dtype=np.int32)
            self._codes.append(places[codes] if len(codes) else codes)
            if self._lean and not self._bad_count and len(levels) > MANY_LEVELS:
                self._keep_text, self._codes, self._levels = False, [], {}

    def _look_for_small(self, block: Block, numbers: Array, cells: Sequence[str]) -> None:
        """Note cells that are read as 0 and are not written so."""
        zeros = np.flatnonzero(numbers == 0).tolist()
        small = [i for i in zeros if any(c in "123456789" for c in cells[i].lower().partition("e")[0])]
        self._small_count += len(small)
        self._small += [(int(block.lines[i]), cells[i]) for i in small[: 1 - len(self._small)]]

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be said of how cells were read."""
        if not self._small or (self._bad_count and not self._meant_numbers):
            return ()
        (line, text), n = self._small[0], self._small_count
        where = f"{n:,} cells, the first in line {line:,}, are" if n > 1 else f"the cell in line {line:,} is"
        return (f'column "{self.name}": {where} too near to 0 for float64, and read as 0: "{text.strip(BLANKS)[:60]}"',)

    @property
    def textual(self) -> bool:
        """Whether the texts of the next cells are needed, and not only their numbers."""
        return self._keep_text or (self._want.kind == "auto" and self._bad_count > 0)

    def _of_levels(self, codes: Array, texts: list[str]) -> tuple[Array, list[int]]:
        """The numbers of cells by their texts, (n,) float64, and the positions of those that are none."""
        values, bad = self._grammar.parse(texts)
        wrong: list[int] = np.flatnonzero(np.isin(codes, bad)).tolist() if bad else []
        return values[codes], wrong

    @property
    def needs_text(self) -> bool:
        """Whether the column turned out to be text only after a part of its texts was gone."""
        return (
            self._want.kind in ("auto", "both")
            and self._bad_count > 0
            and not self._meant_numbers
            and sum(map(len, self._codes)) < self._n
        )

    @property
    def _meant_numbers(self) -> bool:
        return self._want.kind == "auto" and self._numbers >= NEARLY_ALL * (self._numbers + self._bad_count)

    def spellings(self) -> list[str]:
        """The config keys under which all cells would be numbers that are to be numbers and are none."""
        if not self._bad_count:
            return []
        if self._want.kind == "number" or self._meant_numbers:
            return other_spellings([text for _, text in self._bad], self._grammar)
        return other_spellings(
            [text for text in self._levels if text.strip(BLANKS) not in self._missing], self._grammar
        )

    @property
    def _missing(self) -> frozenset[str]:
        return self._grammar.missing | self._grammar.missing_text

    def column(self, problems: Problems, spelling: str | None = None) -> Column:
        """The column; where it cannot be typed, `problems` says why, and suggests `spelling` where that would do."""
        kind = self._want.kind
        if self._bad_count and (kind == "number" or self._meant_numbers):
            self._complain(problems, spelling)
            return Column(self.name, self._n, (np.full(self._n, np.nan),))
        codes: Array | None = None
        levels: tuple[str, ...] = ()
        if self._codes:
            codes, levels = self._categories()
        elif kind == "text":
            codes = np.zeros(0, dtype=np.int32)
        if self._bad_count:
            hint = _best(self.spellings(), spelling)
            if hint:
                line, text = self._bad[0]
                cure = (
                    f"mend the column, or train again with {hint}"
                    if self._grammar.settled
                    else f"set {hint} or list the column under data.categorical"
                )
                why = f'column "{self.name}": {self._grammar.why_not(text)}; {cure}'
                problems.add("columns of another spelling", line, why)
            self._chunks = []
        elif kind == "both" and levels and not any(map(_present, self._chunks)):
            self._chunks = []  # no number at all: classes that are called NA, None and the like
        elif not self._chunks and kind != "text":
            self._chunks = [np.zeros(self._n)]
        return Column(self.name, self._n, tuple(self._chunks), codes, levels)

    def _categories(self) -> tuple[Array, tuple[str, ...]]:
        """The codes with −1 for missing cells, and the levels, in the order of their first cells."""
        codes = np.concatenate(self._codes)
        kept = [text for text in self._levels if not self._grammar.is_missing(text)]
        position = {text: i for i, text in enumerate(kept)}
        renumber = np.array([position.get(text, -1) for text in self._levels], dtype=np.int32)
        return renumber[codes] if len(codes) else codes, tuple(kept)

    def _complain(self, problems: Problems, spelling: str | None) -> None:
        kind = f'cells of column "{self.name}" that are not numbers'
        missing = self._grammar.as_missing(text for _, text in self._bad)
        for line, text in self._bad:
            hint = _best(other_spellings([text], self._grammar), spelling)
            if self._grammar.settled:
                remedy = f"mend it, or train again with {hint or 'it under data.missing'}"
            else:
                remedy = f"set {hint}" if hint else f"set {missing} or mend the row"
            problems.add(kind, line, f'column "{self.name}": {self._grammar.why_not(text)}; {remedy}')
        if self._bad_count > len(self._bad):
            problems.count(kind, self._bad_count - len(self._bad))
            problems.advise(kind, "; or list the column under data.categorical" if self._want.kind == "auto" else "")


def common_spelling(gatherers: Iterable[Gatherer]) -> str | None:
    """The one that makes numbers of most columns: a file is written in one way. None where nothing need be changed."""
    counts = Counter(hint for gatherer in gatherers for hint in gatherer.spellings())
    return max(counts, key=lambda hint: counts[hint], default=None)


def _best(hints: Sequence[str], preferred: str | None) -> str | None:
    return preferred if preferred in hints else next(iter(hints), None)


def _present(numbers: Array) -> int:
    return int(np.count_nonzero(~np.isnan(numbers)))
