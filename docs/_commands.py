"""Writes the reference of the commands from what `--help` says: python docs/_commands.py > docs/commands.md."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import click

from fcnet.cli.command import Command
from fcnet.cli.group import COMMANDS

HEAD = """# The commands

Written from the commands themselves by `python docs/_commands.py > docs/commands.md`; `fcnet COMMAND --help` says the
same. [The files of a run, and exit codes](run-folder.md) are those of all of them.
"""


def reference() -> str:
    """docs/commands.md."""
    return "\n".join([HEAD, *(_part(name, command) for name, command in COMMANDS.items())])


def _part(name: str, command: click.Command) -> str:
    assert isinstance(command, Command)
    words = [_word(param) for param in command.params if isinstance(param, click.Argument)]
    usage = " ".join(["fcnet", name, "[OPTIONS]", *words])
    rows = [_row(param) for param in command.params if isinstance(param, click.Option)]
    table = ["| option | meaning |", "|---|---|", *rows]
    lines = [f"## fcnet {name}", "", "```", usage, "", command.example.strip(), "```", ""]
    return "\n".join([*lines, inspect.cleandoc(command.help or ""), "", *table, ""])


def _word(argument: click.Argument) -> str:
    assert argument.name is not None
    return argument.metavar or (argument.name.upper() if argument.required else f"[{argument.name.upper()}]")


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option)}"
    names = ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in option.opts)
    default = f" (default: {option.default})" if option.show_default else ""
    return f"| {names.replace('|', chr(92) + '|')} | {option.help}{default} |"


def _kind(option: click.Option) -> str:
    choices = getattr(option.type, "choices", None)
    return "|".join(map(str, choices)) if choices else option.type.name.upper()


if __name__ == "__main__":
    sys.stdout.write(reference())
