"""`fcnet init`: a look at a table, and a config for it."""

from __future__ import annotations

from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, FILE_NAME, Command, talk
from fcnet.errors import InUseError

EXAMPLE = """
fcnet init people.csv --target income
fcnet init people.csv --target income -o configs/income.yaml
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Write a first config for a table.")
@click.argument("source", metavar="DATA", type=FILE)
@click.option("--target", multiple=True, metavar="COLUMN", help="The column to predict; several: repeat.")
@click.option(
    "-o",
    "--output",
    type=FILE_NAME,
    default="config.yaml",
    show_default=True,
    metavar="FILE",
    help="The config; - is stdout.",
)
@click.option("--overwrite", is_flag=True, help="Replace a config that is there.")
@talk
def command(source: Path, target: tuple[str, ...], output: str, overwrite: bool, quiet: bool, verbose: bool) -> None:
    """Look at a table and write a commented config that trains well as it stands."""
    if output != "-" and not overwrite and Path(output).exists():
        raise InUseError("it is there already; --overwrite replaces it, -o FILE writes another", file=output)
    from fcnet import files
    from fcnet.reports.init import initial_config

    with signals.raising():
        folder = Path() if output == "-" else Path(output).parent
        text, notices = initial_config(source, target, folder)
        if output != "-":
            files.write_file(Path(output), text.encode(), inputs=[source])
    if not quiet:
        streams.notices(notices)
    if output == "-":
        streams.show(text.rstrip("\n"))
        return
    streams.show(f"files    {streams.word(output)}        next: fcnet train {streams.word(output)}")
