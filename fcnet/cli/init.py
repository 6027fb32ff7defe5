"""`fcnet init`: a look at a table, and a config for it."""

from __future__ import annotations

from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import CONFIGS, FILE, FILE_NAME, Command, keys, talk
from fcnet.errors import InUseError, UsageError

EXAMPLE = """
fcnet init people.csv --target income
fcnet init people.csv --target income optimizer.lr=0.01 -o configs/income.yaml
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Write a first config for a table.")
@click.argument("source", metavar="DATA", type=FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
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
@keys
@talk
def command(
    source: Path,
    overrides: tuple[str, ...],
    target: tuple[str, ...],
    output: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Look at a table and write a commented config that trains well as it stands.

    KEY=VALUE sets any key of the config, as for `fcnet train`, and is written into it.
    """
    from fcnet import config as configs
    from fcnet import files
    from fcnet.reports.init import initial_config

    if str(source) == "-":
        raise UsageError("a config names its table, so init needs a file; fcnet train - --target COLUMN takes stdin")
    file = None if output == "-" else Path(output)
    with signals.raising(), configs.locating(None, overrides):
        if file is not None:
            files.check_output(file, [source])
            if file.suffix.lower() not in CONFIGS:
                what = "it takes any other file for data"
                raise UsageError(f'-o "{output}": end the name in .yaml or .yml, by which train knows a config; {what}')
        text, notices = initial_config(source, target, Path() if file is None else file.parent, overrides)
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
