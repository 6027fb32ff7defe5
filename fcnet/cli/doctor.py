"""`fcnet doctor`: whether fcnet can do its work here."""

from __future__ import annotations

import sys

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import Command, as_json, talk

EXAMPLE = """
fcnet doctor
fcnet doctor --json
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Look whether all is well on this machine.")
@as_json
@talk
def command(json_: bool, quiet: bool) -> None:
    """Look at versions, processor, BLAS, packages, kernels and folders, and train a net for a second.

    Lines that begin with - are of what can be done without, with what it would give; those with ! are wrong: the exit
    code is the first one's then.
    """
    from fcnet import extras
    from fcnet.reports import doctor

    with signals.raising(), extras.announcing(lambda text: None if quiet else streams.notices([text])):
        found = list(doctor.examine())
    if json_:
        streams.show_json(doctor.mapping(found))
    else:
        streams.show("\n".join(doctor.lines(found, streams.columns(sys.stdout))))
    error = doctor.error(found)
    if error is not None:
        raise error
