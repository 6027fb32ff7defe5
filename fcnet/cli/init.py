"""`fcnet init`: a look at a table, and a config for it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import CONFIGS, FILE, FILE_NAME, Command, talk
from fcnet.errors import DataError, InUseError, UsageError, escape

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
    from fcnet import files
    from fcnet.reports.init import initial_config

    if str(source) == "-":
        raise UsageError("a config names its table, so init needs a file; fcnet train - --target COLUMN takes stdin")
    file = None if output == "-" else Path(output)
    with signals.raising():
        if file is not None:
            files.check_output(file, [source])
            if file.suffix.lower() not in CONFIGS:
                what = "it takes any other file for data"
                raise UsageError(f'-o "{output}": end the name in .yaml or .yml, by which train knows a config; {what}')
        try:
            text, notices = initial_config(source, target, Path() if file is None else file.parent)
        except DataError as error:
            if re.search(r"(?:set|under|mean) '?(?:data\.|dtype=)", str(error)):
                chosen = [part for name in target for part in ("--target", name)] or ["--target", "COLUMN"]
                key = "data.header=false" if "data.header=false" in str(error) else "KEY=VALUE"
                again = shlex.join(["fcnet", "train", escape(str(source)), *map(escape, chosen), key])
                error.add_note(f"init takes no settings, and train does: {again}")
            raise
        if file is not None and not overwrite and file.exists():
            raise InUseError("it is there already; --overwrite replaces it, -o FILE writes another", file=output)
        if file is not None:
            files.write_file(file, text.encode(), inputs=[source])
    if not quiet:
        streams.notices(notices)
    if file is None:
        streams.show(text.rstrip("\n"))
        return
    streams.show(f"files    {streams.word(file)}        next: fcnet train {streams.word(file)}")
