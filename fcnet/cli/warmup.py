"""`fcnet warmup`: compiles kernels before a run needs them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, keys, talk

EXAMPLE = """
fcnet warmup
fcnet warmup config.yaml network.layers=[512,512]
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Compile kernels before a run needs them.")
@click.argument("config", required=False, type=FILE, metavar="[CONFIG.yaml]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@keys
@as_json
@talk
def command(config: Path | None, overrides: tuple[str, ...], json_: bool, quiet: bool) -> None:
    """Compile the kernels of compiled steps (fcnet[fast]) and keep them for all runs to come.

    Without a config: those of the nets that tables get by default. With one: those of its net, and the trial that
    decides who makes its matrix products. Runs do the same when they need it; an image for many machines is better
    built with them.
    """
    from fcnet import config as configs
    from fcnet import extras
    from fcnet.reports import warmup

    said = contextlib.nullcontext() if quiet else extras.announcing(lambda text: streams.notices([text]))
    with signals.raising(), configs.locating(config, overrides), said:
        done = warmup.done(None if config is None else configs.load(config, overrides), None if quiet else streams.say)
    if json_:
        streams.show_json(done)
    else:
        streams.show("\n".join(warmup.lines(done)))
