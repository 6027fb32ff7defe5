"""`fcnet report`: a run's page."""

from __future__ import annotations

from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, talk
from fcnet.errors import UsageError

EXAMPLE = """
fcnet report runs/digits
fcnet report runs/digits -o digits.html
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Write a run's page.")
@click.argument("run", required=False, type=FILE)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.html",
    help="The file to write, or - for stdout; default: RUN/report.html.",
)
@as_json
@talk
def command(run: Path | None, output: Path | None, json_: bool, quiet: bool) -> None:
    """Write one page of a run, which needs nothing else: scores, data, curves, what it is wrong about, weights, config.

    RUN is a run folder; without it, the newest complete run under runs/ is taken. `report: true` in a config does the
    same at the end of training.
    """
    from fcnet import api

    if str(output) == "-" and json_:
        raise UsageError("--json and the page both go to stdout; name a file with -o")
    with signals.raising():
        text, done = api.page(run) if str(output) == "-" else ("", api.report(run, output))
    if not quiet:
        streams.notices(done["notices"])
    if text:
        streams.show(text.rstrip("\n"))
        return
    if json_:
        streams.show_json(done)
    else:
        streams.show(f"files    {streams.word(done['report'])}")
