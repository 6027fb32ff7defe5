"""The one typed error: what is wrong, where, what is allowed, what to do, and the exit code it ends with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from fcnet.records import dataclass


def escape(text: str) -> str:
    """`text` with every control, format and surrogate character written as an escape.

    Names and values come from files that strangers wrote; printed raw, they could move the cursor, retitle the
    terminal or hide text. Ordinary letters of any script stay as they are.

    >>> escape("a\\x1b]0;b\\x07")
    'a\\\\x1b]0;b\\\\x07'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c == " " or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else _escaped(c)
        for c in text
    )


def more(n: int, kind: str) -> str:
    """How many of a kind, which is a plural, are not spelled out.

    >>> more(2_000, "rows without a target"), more(1, 'cells of column "ages" that are not numbers')
    ('and 2,000 more rows without a target', 'and 1 more cell of column "ages" that is not a number')
    """
    if n == 1:
        kind = re.sub(r"s\b", "", kind, count=1).replace("are not numbers", "is not a number")
        kind = kind.replace("that are", "that is").replace("that occur", "that occurs")
    return f"and {n:,} more {kind}"


def _escaped(c: str) -> str:
    return c.encode("unicode_escape", "surrogatepass").decode("ascii")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a sentence that says what was found, what is allowed and what to do, and its place.

    `file` is the path as the user wrote it (or "command line"), `line` and `column` count from 1 and are those of the
    physical file, `key` is a dotted config key.
    """

    text: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if place and self.line is not None:
            place += f":{self.line}" + (f":{self.column}" if self.column is not None else "")
        return escape(": ".join(part for part in (place, self.key, self.text) if part))


class FcnetError(Exception):
    """Every error that is the user's to mend, with all problems of one file at once, in the order of the file."""

    exit_code = 1

    def __init__(self, problem: Problem | str | Iterable[Problem], /, **place: object) -> None:
        if isinstance(problem, str):
            problem = Problem(problem, **place)  # type: ignore[arg-type]  # the fields of Problem, by name
        self.problems: tuple[Problem, ...] = (problem,) if isinstance(problem, Problem) else tuple(problem)
        assert self.problems, "an error without a problem"
        super().__init__("\n".join(map(str, self.problems)))


class UsageError(FcnetError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(FcnetError):
    """The config is wrong."""

    exit_code = 3


class DataError(FcnetError):
    """The data are wrong."""

    exit_code = 4


class CheckpointError(FcnetError):
    """The checkpoint is wrong."""

    exit_code = 5


class StorageError(FcnetError):
    """The file system failed: full, read-only, no permission, an I/O error."""

    exit_code = 6


class InUseError(FcnetError):
    """The run folder is in use, or the file must not be replaced."""

    exit_code = 7


class DivergedError(FcnetError):
    """Training met a number that is not finite."""

    exit_code = 8


class LimitError(FcnetError):
    """It would not fit: memory, disk, a limit."""

    exit_code = 9


class Stopped(FcnetError):
    """Stopped from outside: exit 130 for Ctrl-C, 75 for the other signals and the time limit.

    `saved`: whether there is a checkpoint to go on from; before the first step there is none.
    """

    def __init__(self, problem: Problem | str, exit_code: int, *, saved: bool = True) -> None:
        super().__init__(problem)
        self.exit_code = exit_code
        self.saved = saved


class FcnetWarning(UserWarning):
    """What a command would say as a notice, where Python calls: the result is there, and the rows deserve a look."""
