"""`fcnet compare`: runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, talk
from fcnet.errors import UsageError

EXAMPLE = """
fcnet compare runs/digits runs/digits-2
fcnet compare runs/digits* -o compared.html
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Show runs side by side.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN ...", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.html", help="Write one self-contained page as well.")
@as_json
@talk
def command(runs: tuple[Path, ...], output: Path | None, json_: bool, quiet: bool) -> None:
    """Show the keys in which the configs of complete runs differ, and their scores with intervals.

    Where the scores were computed on the same rows, each run is tested against the first: rows are drawn anew, alike
    for both, and the difference is looked at (paired bootstrap).
    """
    from fcnet import api
    from fcnet.reports import comparison

    if len(runs) < 2:
        raise UsageError("compare takes two runs or more: fcnet compare RUN RUN")
    if str(output) == "-":
        raise UsageError("what compare says goes to stdout; name a file for the page with -o")
    with signals.raising():
        found = api.compare(runs, output)
    if not quiet:
        streams.notices(found["notices"])
    if json_:
        streams.show_json(found)
        return
    streams.show("\n".join(comparison.lines(found, streams.width(sys.stdout))))
    if output is not None:
        streams.show(f"\nfiles    {streams.word(output)}")
