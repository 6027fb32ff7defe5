"""Config keys and commands as a user types them, so that what a message advises works as it stands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|[^A-Za-z0-9~]| +")
_WORDS = frozenset(["true", "false", "null"])
MOST = 400
"""A list that takes more characters is not spelled out."""


def typed(key: str, value: str | bool | int | Sequence[str]) -> str:
    """`KEY=VALUE` for the command line, in quotes where a shell would read it otherwise.

    >>> print(typed("data.thousands", ","), typed("data.missing", ["Not Available"]), typed("data.thousands", "'"))
    data.thousands=, 'data.missing=["Not Available"]' data.thousands="'"
    """
    if value == "\t":
        value = "\\t"
    elif not isinstance(value, str) or not _PLAIN.fullmatch(value) or value.lower() in _WORDS:
        value = json.dumps(value, ensure_ascii=False)
    return f'{key}="{value}"' if value == "'" else shlex.quote(f"{key}={value}")


def without_line(line: int, file: str) -> str:
    """What to do about a line that is no row, with the command that leaves it out where there is a file to name."""
    if file.lower().endswith(".gz") or from_stdin(file):
        return "delete it"
    return f"delete it: {shlex.join(['sed', f'{line}d', file])} > {shlex.quote(beside(file, '.clean.csv'))}"


def beside(file: str, suffix: str) -> str:
    """A name in the working directory for what is made of a file.

    >>> beside("data/shop.arff", ".csv")
    'shop.csv'
    """
    name = _last(file)
    return (name.rpartition(".")[0] or name) + suffix


def from_stdin(file: str) -> bool:
    """Whether what stdin gave is called so, or kept under that name: no command can read it again."""
    return _last(file) in ("stdin", "stdin.csv")


def _last(file: str) -> str:
    return re.split(r"[/\\\\]", file)[-1]


def quoted(text: str) -> str:
    """A text for Python within a command for a shell, where single quotes stand around the whole."""
    return '"' + "".join(c if c.isprintable() and c not in "\"'\\" else f"\\U{ord(c):08x}" for c in text) + '"'
