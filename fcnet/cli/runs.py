"""`fcnet runs`: the runs of a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet.cli import streams
from fcnet.cli.command import FILE_NAME, Command, as_json, talk
from fcnet.errors import CheckpointError

SHOWN = 10
"""So many folders are named."""

EXAMPLE = """
fcnet runs
fcnet runs --sort accuracy optimizer.lr=0.01
"""


@click.command(cls=Command, example=EXAMPLE, short_help="List runs.")
@click.argument("arguments", nargs=-1, metavar="[FOLDER] [KEY=VALUE ...]", type=FILE_NAME)
@click.option(
    "--sort",
    metavar="KEY",
    help="By a metric (the best first), a key of the config, or run, created, seconds, epochs; -KEY turns it round.",
)
@as_json
@talk
def command(arguments: tuple[str, ...], sort: str | None, json_: bool, quiet: bool) -> None:
    """List the runs of FOLDER (default: runs), the newest first, with their scores on test, else validation.

    KEY=VALUE keeps those of which it is true: a key of the config, dotted, or task, target, name, complete.
    """
    from fcnet.reports import listing

    named = arguments[:1] if arguments and ("=" not in arguments[0] or Path(arguments[0]).is_dir()) else ()
    wanted = arguments[len(named) :]
    folder = Path(named[0]) if named else Path("runs")
    if not folder.is_dir():
        raise CheckpointError("there is no such folder of runs", file=str(folder))
    found, unread = listing.entries(folder)
    if unread and not quiet:
        names = ", ".join(map(streams.word, unread[:SHOWN])) + (", …" if len(unread) > SHOWN else "")
        streams.notices([f"not listed, as there is no checkpoint in it that can be read: {names}"])
    kept = listing.selected(found, wanted)
    if sort is not None:
        kept = listing.ordered(kept, sort)
    if json_:
        streams.show_json({"runs": kept})
        return
    if not kept and not quiet:
        streams.say(f"no run in {streams.word(folder)}" + (" is like that" if found else ""))
    if kept:
        keys = [text.partition("=")[0] for text in wanted] + ([] if sort is None else [sort.removeprefix("-")])
        streams.show("\n".join(listing.lines(kept, streams.width(sys.stdout), keys)))
