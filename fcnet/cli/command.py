"""What all commands share: help that opens with an example, and the options -q and -v."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


KEYS = "fcnet.keys"
"""Where a context keeps the KEY=VALUE that options said."""
MAX_SEED = 100  # digits, far more than the config allows, which says so


class _FolderPath(click.Path):
    """A path for which the shell offers folders."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Leave it to the shell, which knows the folders."""
        return [CompletionItem(incomplete, type="dir")]


CONFIGS = (".yaml", ".yml")
"""How the names of configs end; every other file is data."""

# What is wrong with a file is said by what opens it, with its exit code; these types only tell the shell what to offer.
FILE = click.Path(path_type=Path, readable=False)
FILE_NAME = click.Path(path_type=str, readable=False)
FOLDER_NAME = _FolderPath(path_type=str, readable=False)


class Command(click.Command):
    """A command whose help opens with `example`, and whose options with an optional value take it after `=` alone.

    click would read the next argument as the value: `--resume config.yaml` would resume a run named config.yaml.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", SETTINGS)
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help, with the example first."""
        write_example(self.example, formatter)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`, and keep them as they are under `arguments` in `ctx.meta`."""
        ctx.meta["arguments"] = list(args)
        optional = {
            name for option in self.params if getattr(option, "_flag_needs_value", False) for name in option.opts
        }
        end = args.index("--") if "--" in args else len(args)
        args[:end] = [arg + "=" if arg in optional else arg for arg in args[:end]]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from fcnet.cli import settings  # the tables of names are for those who need them

            said = settings.cure(error, ctx, ctx.meta["arguments"])
            if said is None:
                raise
            raise click.UsageError(said, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what options of keys say comes behind what is said as KEY=VALUE."""
        if said := ctx.meta.get(KEYS):
            taking = "overrides" if "overrides" in ctx.params else "arguments"
            ctx.params[taking] = (*ctx.params[taking], *said)
        return super().invoke(ctx)


def _minutes(value: str) -> str:
    """A time span such as 90s, 30m, 1h30m or 2d, in minutes."""
    from fcnet.config.places import shortened
    from fcnet.config.spans import seconds

    found = seconds(value)
    if found is None:
        raise click.BadParameter(f'"{shortened(value)}" is not a time; write 90s, 30m, 2h or 1h30m')
    return repr(found / 60)


def _span(value: str) -> str:
    """A time span, as it is written."""
    _minutes(value)
    return value


def _seed(value: str) -> str:
    """A whole number from 0 on."""
    if not (value.isascii() and value.isdecimal()):
        raise click.BadParameter(f'"{value}" is not a whole number from 0')
    return str(int(value[:MAX_SEED]))


def _set(key: str, read: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta.setdefault(KEYS, []).append(f"{key}={read(value)}")

    return callback


def keys(command: F) -> F:
    """Options that set a key of the config each."""
    options = (
        ("--quality", "fast|default|best", "quality", str, "How good against how fast: quality=…"),
        ("--seed", "N", "seed", _seed, "The seed of weights, shuffling and dropout: seed=N."),
        (
            "--budget",
            "TIME",
            "training.budget",
            _span,
            "Plan the run to be done within this time (60s, 10m): training.budget=TIME.",
        ),
        (
            "--max-time",
            "TIME",
            "training.max_minutes",
            _minutes,
            "Stop after this time (90s, 30m, 2h) with a checkpoint, exit 75: training.max_minutes.",
        ),
    )
    for name, value, key, read, said in reversed(options):
        command = click.option(name, metavar=value, callback=_set(key, read), expose_value=False, help=said)(command)
    return command


def write_example(example: str, formatter: click.HelpFormatter) -> None:
    """The block that opens every help."""
    formatter.write("Example:\n" + "".join(f"  {line}\n" for line in example.strip().splitlines()) + "\n")


def talk(command: F) -> F:
    """The options -q and -v, at most one of which makes sense; a command takes those by which it does anything else."""
    taken = inspect.signature(command).parameters
    every = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    said = {"quiet": ("-q", "No progress and no notices."), "verbose": ("-v", "Say more.")}
    for name, (short, what) in reversed(said.items()):
        option = click.option(short, f"--{name}", is_flag=True, expose_value=every or name in taken, help=what)
        command = option(command)
    return command


def as_json(command: F) -> F:
    """The option --json."""
    return click.option("--json", "json_", is_flag=True, help="Print one JSON object on stdout.")(command)


def strict(command: F) -> F:
    """The option --strict."""
    return click.option("--strict", is_flag=True, help="Turn notices about the data into errors (exit 4).")(command)
