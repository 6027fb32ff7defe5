"""The group of all commands; each lives in a file of its own, which loads what it works with only when it runs."""

from __future__ import annotations

import difflib

import click

from fcnet import __version__
from fcnet.cli import bench, check, explain, init, inspect, predict, schema, train
from fcnet.cli import eval as eval_
from fcnet.cli.command import SETTINGS, write_example

EXAMPLE = """
fcnet train config.yaml          train a net; the run folder is runs/NAME
fcnet eval runs/NAME             score it on the test part of its data
fcnet predict people.csv         predict with the newest run
"""


class Group(click.Group):
    """Lists commands in the order in which people need them, and suggests the near miss."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        return COMMANDS.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; a usage error suggests the near miss."""
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise click.UsageError(
                f'there is no command "{args[0]}"' + (f"; did you mean {near[0]}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help, with an example first."""
        write_example(EXAMPLE, formatter)
        super().format_help(ctx, formatter)


COMPLETION = (
    "Completion of commands, options and files: "
    'eval "$(_FCNET_COMPLETE=bash_source fcnet)"; also zsh_source, fish_source.'
)


@click.group(cls=Group, context_settings=SETTINGS, epilog=COMPLETION)
@click.version_option(__version__, prog_name="fcnet", message="%(prog)s %(version)s")
def fcnet() -> None:
    """Train fully-connected neural networks on tables."""


COMMANDS: dict[str, click.Command] = {
    "train": train.command,
    "eval": eval_.command,
    "predict": predict.command,
    "init": init.command,
    "check": check.command,
    "inspect": inspect.command,
    "explain": explain.command,
    "bench": bench.command,
    "schema": schema.command,
}
