"""The group of all commands; each lives in a file of its own, which loads what it works with only when it runs."""

from __future__ import annotations

import click

from fcnet import __version__
from fcnet.cli import (
    bench,
    check,
    compare,
    doctor,
    explain,
    export,
    init,
    inspect,
    predict,
    report,
    runs,
    schema,
    serve,
    train,
    warmup,
)
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
            raise click.UsageError(f'there is no command "{args[0]}"{_meant(args[0])}', ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help, with an example first."""
        write_example(EXAMPLE, formatter)
        super().format_help(ctx, formatter)


def _meant(name: str) -> str:
    """What someone wants who types a command that there is not."""
    word = name.lower().strip("-")
    said = ELSEWHERE.get(word)
    if said is not None:
        return f"; did you mean {said}?" if said in COMMANDS else f"; {said}"
    from difflib import get_close_matches  # only those who mistype wait for it

    near = get_close_matches(word, COMMANDS, n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
    "runs": runs.command,
    "compare": compare.command,
    "report": report.command,
    "export": export.command,
    "explain": explain.command,
    "bench": bench.command,
    "schema": schema.command,
    "serve": serve.command,
    "warmup": warmup.command,
    "doctor": doctor.command,
}

_SEARCH = "there is no search: fcnet train CONFIG.yaml optimizer.lr=0.01 makes a run of its own for each value"
_BOARD = "fcnet train CONFIG.yaml --progress tensorboard=FOLDER writes the files that TensorBoard shows"

# What other programs call a command, or have one for: ours, or how it is done here.
ELSEWHERE = {
    **dict.fromkeys(("fit", "learn", "run", "start", "training"), "train"),
    **dict.fromkeys(("test", "evaluate", "evaluation", "score", "metrics"), "eval"),
    **dict.fromkeys(("infer", "inference", "apply", "forecast", "prediction", "transform"), "predict"),
    **dict.fromkeys(("create", "new", "setup", "generate", "init_config"), "init"),
    **dict.fromkeys(("validate", "verify", "lint", "dry-run"), "check"),
    **dict.fromkeys(("show", "info", "describe", "summary", "view", "cat"), "inspect"),
    **dict.fromkeys(("benchmark", "profile", "time"), "bench"),
    **dict.fromkeys(("derive", "gradients", "trace"), "explain"),
    **dict.fromkeys(("ls", "list", "history", "leaderboard"), "runs"),
    **dict.fromkeys(("diff", "versus", "vs"), "compare"),
    **dict.fromkeys(("tune", "sweep", "search", "optimize", "hpo", "grid", "cv"), _SEARCH),
    **dict.fromkeys(("plot", "curves", "visualize", "html", "page"), "report"),
    **dict.fromkeys(("convert", "save", "deploy", "onnx"), "export"),
    **dict.fromkeys(("resume", "continue"), "fcnet train with --resume goes on with a run"),
    **dict.fromkeys(("config", "options", "keys"), "fcnet schema --table lists the keys of a config"),
    "tensorboard": _BOARD,
    **dict.fromkeys(("diagnose", "selftest", "env", "status"), "doctor"),
    **dict.fromkeys(("compile", "precompile"), "warmup"),
    **dict.fromkeys(("server", "api", "http", "rest"), "serve"),
    "help": "fcnet --help lists the commands",
    "version": "fcnet --version prints it",
}
