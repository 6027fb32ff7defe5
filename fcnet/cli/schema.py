"""`fcnet schema`: every key of the config, for editors and for people."""

from __future__ import annotations

import sys

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import Command, talk

EXAMPLE = """
fcnet schema > fcnet.schema.json
fcnet schema --table
"""

WIDE = 140
"""Columns of the table where no terminal says how many there are."""


@click.command(cls=Command, example=EXAMPLE, short_help="Print every key of the config.")
@click.option("--table", is_flag=True, help="A table for people: key, type, default, limits, meaning.")
@talk
def command(table: bool) -> None:
    """Print the JSON Schema of the config, or with --table the same for people."""
    from fcnet.config import reference

    with signals.raising():
        if table:
            from fcnet.reports import keys

            streams.show("\n".join(keys.lines(reference.table(), streams.width(sys.stdout) or WIDE)))
        else:
            streams.show_json(reference.jsonschema())
