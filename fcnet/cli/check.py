"""`fcnet check`: everything short of training."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, keys, talk

EXAMPLE = """
fcnet check config.yaml
fcnet check config.yaml network.layers=[64,64] training.batch_size=128
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Look at config, data, net and gradient before training.")
@click.argument("config", type=FILE, metavar="CONFIG.yaml")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@keys
@as_json
@talk
def command(config: Path, overrides: tuple[str, ...], json_: bool, quiet: bool, verbose: bool) -> None:
    """Do everything short of training, and write nothing.

    Shows the data (columns, task, parts), the config with every `auto` settled, the layers with their shapes and
    numbers of parameters, what the run will need of memory and disk, and whether the gradient of this very net and loss
    agrees with finite differences in float64. A gradient that does not is exit 1.
    """
    from fcnet import config as configs
    from fcnet.reports import check

    with signals.raising(), configs.locating(config, overrides):
        found = check.examine(configs.load(config, overrides))
    if not quiet:
        streams.notices(found.notices)
    if json_:
        streams.show_json(check.mapping(found))
    else:
        following = streams.line("train", config, *overrides)
        streams.show("\n".join(check.lines(found, following, streams.columns(sys.stdout), verbose)))
    error = found.error()
    if error is not None:
        raise error
