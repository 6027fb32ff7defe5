"""`fcnet explain`: the derivation with the user's own net and one real batch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import files, signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, FILE_NAME, Command, keys, talk
from fcnet.errors import FcnetError

EXAMPLE = """
fcnet explain config.yaml
fcnet explain config.yaml -o explained.html
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Show the derivation with your own net and one batch.")
@click.argument("config", type=FILE, metavar="CONFIG.yaml")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@click.option(
    "-o",
    "--output",
    type=FILE_NAME,
    metavar="FILE.html",
    help="Write one self-contained page instead; - is stdout.",
)
@keys
@talk
def command(config: Path, overrides: tuple[str, ...], output: str | None, quiet: bool, verbose: bool) -> None:
    """Take one training step of this very net apart: forward, loss, backward, update.

    Every equation of the derivation is shown with the shapes and lengths of its arrays, the function that computes it,
    and a check: by finite differences in float64, or by a second computation. Of a deep net the first and last layers
    are shown; -v shows all. A check that fails is exit 1.
    """
    from fcnet import config as configs
    from fcnet.config import paths
    from fcnet.reports import explain, explain_page, explain_text

    with signals.raising(), configs.locating(config, overrides):
        settings = configs.load(config, overrides)
        inputs = [config, *paths.tables(settings.data)]
        file = None if output in (None, "-") else Path(str(output))
        replaced = files.check_output(file, inputs) if file else []
        found = explain.explanation(settings, verbose)
        if file:
            files.write_file(file, explain_page.page(found).encode(), inputs)
    if not quiet:
        streams.notices(replaced)
    following = streams.line("train", config, *overrides)
    if file:
        streams.show(f"files    {streams.word(file)}        next: {following}")
    elif output == "-":
        streams.show(explain_page.page(found).rstrip("\n"))
    else:
        streams.show("\n".join([*explain_text.lines(found, streams.width(sys.stdout)), "", f"next: {following}"]))
    first, *others = [check.name for check in found.checks if not check.passed] or [""]
    if first:
        more = f", nor those that follow from it ({', '.join(others)})" if others else ""
        raise FcnetError(f"the equation of {first} does not hold{more}: its function has a mistake")
