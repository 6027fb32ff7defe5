"""Collects what is wrong in one file, so that the user hears of everything at once, in the order of the file."""

from __future__ import annotations

from math import inf

from fcnet.errors import DataError, Problem, more

SHOWN = 5
"""Of each kind this many problems are spelled out; the rest are counted."""


class Problems:
    """The problems of one file so far, by kind."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[str, list[tuple[int, str]]] = {}
        self._counts: dict[str, int] = {}
        self._advice: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def at(self, line: int) -> bool:
        """Whether any of the problems that are spelled out is at that line."""
        return any(where == line for found in self._found.values() for where, _ in found)

    def add(self, kind: str, line: int, text: str) -> None:
        """One more problem; `kind` is a plural that completes "and 7 more …"."""
        self.count(kind, 1)
        found = self._found[kind]
        if len(found) < SHOWN:
            found.append((line, text))

    def count(self, kind: str, more: int) -> None:
        """`more` problems of a kind, not spelled out."""
        self._counts[kind] = self._counts.get(kind, 0) + more
        self._found.setdefault(kind, [])

    def instead(self, line: int, kind: str, text: str) -> None:
        """One problem in place of all that were found at that line, which follow from it."""
        for other, found in self._found.items():
            left = [(at, what) for at, what in found if at != line]
            self._counts[other] -= len(found) - len(left)
            self._found[other] = left
        self._counts = {other: n for other, n in self._counts.items() if n}
        self._found = {other: self._found[other] for other in self._counts}
        self.add(kind, line, text)

    def advise(self, kind: str, text: str) -> None:
        """What to say after the number of the rest of a kind."""
        self._advice[kind] = text

    def error(self) -> DataError:
        """All of it as one error, by line; after the last of a kind that is shown, how many more there are."""
        rows: list[tuple[int, int, Problem]] = []
        for kind, found in self._found.items():
            for line, text in found:
                rows.append((line, 0, Problem(text, file=self.file, line=line or None)))
            left = self._counts[kind] - len(found)
            if left:
                last = found[-1][0] if found else 0
                rows.append((last, 1, Problem(f"{more(left, kind)}{self._advice.get(kind, '')}", file=self.file)))
        rows.sort(key=lambda row: row[:2])
        return DataError(problem for _, _, problem in rows)

    def raise_any(self) -> None:
        """Raise the error if there is any problem."""
        if self:
            raise self.error()


def together(*errors: DataError) -> DataError:
    """Errors of one file as one, in the order of its lines; what has no line, such as a count, comes last."""
    problems = [problem for error in errors for problem in error.problems]
    return DataError(sorted(problems, key=lambda problem: problem.line or inf))
