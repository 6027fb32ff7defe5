"""`fcnet inspect`: what is in a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, talk

EXAMPLE = """
fcnet inspect runs/digits
fcnet inspect runs/digits/last.npz --json
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Show what is in a checkpoint.")
@click.argument("checkpoint", required=False, type=FILE)
@as_json
@talk
def command(checkpoint: Path | None, json_: bool, quiet: bool, verbose: bool) -> None:
    """Show what is in a checkpoint: net, columns, classes, scores, arrays; with --json its whole header.

    CHECKPOINT is a file or a run folder, which stands for its best.npz; without it, the newest complete run under
    runs/ is taken.
    """
    from fcnet.reports import inspection
    from fcnet.runs import folder
    from fcnet.runs.checkpoint import read
    from fcnet.runs.model import understand

    with signals.raising():
        found = read(folder.resolve(checkpoint))
        understand(found)
    if checkpoint is None and not quiet:
        streams.notices([f"the newest complete run is {found.path.parent}"])
    if json_:
        streams.show_json(found.header)
        return
    following = f"fcnet eval {streams.word(found.path)}"
    streams.show("\n".join(inspection.lines(found, following, streams.columns(sys.stdout), verbose)))
