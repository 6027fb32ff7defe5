"""`fcnet bench`: how long a training step takes, and where its time goes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, keys, talk

EXAMPLE = """
fcnet bench config.yaml
fcnet bench config.yaml training.batch_size=512 backend=numba threads=1
fcnet bench config.yaml --json
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Time a training step, layer by layer.")
@click.argument("config", type=FILE, metavar="CONFIG.yaml")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@keys
@as_json
@talk
def command(config: Path, overrides: tuple[str, ...], json_: bool, quiet: bool) -> None:
    """Time the steps that `fcnet train` would make with this config, on every backend that is installed.

    Gather, forward, backward and update by layer, GFLOP/s, and the ratio of the step to its own matrix products, timed
    at their shapes in the same run. Medians of seven repetitions. Nothing is written.
    """
    from fcnet import config as configs
    from fcnet import extras, machine
    from fcnet.reports import bench
    from fcnet.training.prepare import prepare
    from fcnet.training.timing import measure

    with signals.raising(), configs.locating(config, overrides):
        found = configs.load(config, overrides)
        threads = machine.cores() if found.threads == "auto" else found.threads
        with machine.blas(threads):
            prepared = prepare(found, threads)
            profiles = measure(prepared)
    if not quiet:
        streams.notices([*prepared.data.notices, *extras.notices()])
    if json_:
        streams.show_json(bench.mapping(prepared, profiles))
        return
    again = streams.line("train", config, *overrides)
    streams.show("\n".join(bench.lines(prepared, profiles, again, streams.columns(sys.stdout))))
