"""Results go to stdout, whose failures count; all else goes to stderr, whose failures do not."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

import click

from fcnet import files
from fcnet.errors import escape

UNKNOWN = 80
"""Columns of a terminal that does not say how many it has, and of a file."""


class Stderr:
    """stderr for notices and bars: a reader that went away or a full disk behind it must not stop the work."""

    @property
    def encoding(self) -> str:
        """The encoding of the stream behind it, which decides whether a bar has blocks or plain signs."""
        return sys.stderr.encoding

    def write(self, text: str) -> int:
        """Write `text`, or lose it."""
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def terminal(self) -> bool:
        """Whether a person looks at it."""
        try:
            return sys.stderr.isatty()
        except (OSError, ValueError):
            return False

    def isatty(self) -> bool:
        """Whether a person with a cursor looks at it: a terminal that can go back to the start of a line."""
        return self.terminal() and os.environ.get("TERM") != "dumb"

    def fileno(self) -> int:
        """The descriptor, for the width of the terminal."""
        return sys.stderr.fileno()


STDERR = Stderr()

ENDINGS: list[Callable[[int, Sequence[str]], bool]] = []
"""Told the exit code and the last lines for stderr; one that says True has said them in its own way."""


def part(code: int, lines: Sequence[str]) -> None:
    """The last lines on stderr, unless somebody says them otherwise."""
    said = [end(code, lines) for end in ENDINGS]
    for line in () if any(said) else lines:
        say(line)


def tolerate() -> None:
    """Let no stream fail over a letter that its encoding lacks: such letters are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon(stream: TextIO, fd: int) -> None:
    """Point a stream that failed at nothing, so that the interpreter's own last flush stays quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()


def say(text: str) -> None:
    """One line on stderr."""
    STDERR.write(text + "\n")
    STDERR.flush()


def show(text: str) -> None:
    """A result on stdout, written out at once, so that a failure is seen here."""
    click.echo(text)


def show_json(value: Mapping[str, Any]) -> None:
    """One strict JSON object on stdout; a number that is not finite becomes null."""
    click.echo(files.json_text(value, indent=2))


def width(stream: TextIO | Stderr) -> int | None:
    """The columns of the terminal behind `stream`; of COLUMNS where that is set; None where neither says."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def columns(stream: TextIO | Stderr) -> int:
    """The width to keep to: what `width` says, and 80 where nobody says."""
    return width(stream) or UNKNOWN


def word(text: object) -> str:
    """One argument of a command that the user may paste."""
    return shlex.quote(escape(str(text)))


def line(*words: object) -> str:
    """A command of ours that the user may paste."""
    return " ".join(["fcnet", *map(word, words)])


def notices(texts: Iterable[str]) -> None:
    """Things that the user should know, each a line on stderr."""
    for text in texts:
        say(f"notice: {escape(text)}")
