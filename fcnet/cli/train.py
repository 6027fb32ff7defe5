"""`fcnet train`: a config or a table in, a run folder out."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from fcnet import signals
from fcnet.cli.command import CONFIGS, FILE_NAME, FOLDER_NAME, Command, as_json, keys, strict, talk
from fcnet.errors import CheckpointError, Stopped, UsageError, escape

if TYPE_CHECKING:
    from fcnet.config import Config
    from fcnet.training.events import Event

EXAMPLE = """
fcnet train config.yaml
fcnet train config.yaml optimizer.lr=0.01 network.layers=[64,64] --seed 1
fcnet train people.csv --target income --quality best
fcnet train config.yaml --progress jsonl=run.jsonl
zcat people.csv.gz | fcnet train - --target income
"""

WAYS = "auto, none, jsonl, jsonl=FILE or tensorboard=FOLDER"


def _ways(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """(kind, place) of each way to follow a run."""
    found = [(kind, where) for kind, _, where in (value.partition("=") for value in values)]
    for value, (kind, where) in zip(values, found, strict=True):
        named = {"auto": False, "none": False, "jsonl": "=" in value, "tensorboard": True}.get(kind)
        if named is None or where == "-" or named != bool(where) or ("=" in value) != named:
            raise click.BadParameter(f'"{value}" is no way to follow a run; write {WAYS}', ctx, param)
    return found


@click.command(cls=Command, example=EXAMPLE, short_help="Train a net, leave a run folder.")
@click.argument("arguments", nargs=-1, type=FILE_NAME, metavar="[CONFIG.yaml | DATA.csv] [KEY=VALUE ...]")
@click.option("--target", multiple=True, metavar="COLUMN", help="With a table: the column to predict; several: repeat.")
@click.option("-o", "--output", type=FOLDER_NAME, metavar="DIR", help="The folder that holds the runs; default: runs.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    type=FILE_NAME,  # not folders alone: what follows `--resume` without `=` may be a config
    metavar="[=RUN]",
    help="Go on with the newest run of that name, or with the run folder given after '='; start it if there is none.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run of that name once the new one has a checkpoint.")
@click.option(
    "--progress",
    multiple=True,
    metavar="HOW",
    callback=_ways,
    help=f"How the run is followed: {WAYS}; several: repeat.",
)
@keys
@strict
@as_json
@talk
@click.pass_context
def command(
    ctx: click.Context, /, arguments: tuple[str, ...], resume: str | None, overwrite: bool, **options: Any
) -> None:
    """Train a net and leave a run folder.

    CONFIG.yaml says everything; with a table instead, the config is the one that `fcnet init` would write. KEY=VALUE
    sets any key of the config, dotted.
    """
    signals.hint(escape(f"next: {_again(ctx.meta['arguments'], saved=False)}"))
    try:
        asked = None if resume is None else Path(resume) if resume else True
        _train(arguments, asked, overwrite, ctx.meta.get("began"), **options)
    except Stopped as end:
        end.add_note(f"next: {_again(ctx.meta['arguments'], saved=getattr(end, 'saved', False))}")
        raise


def _train(
    arguments: tuple[str, ...],
    resume: bool | Path | None,
    overwrite: bool,
    began: float | None,
    progress: list[tuple[str, str]],
    target: tuple[str, ...],
    output: str | None,
    strict: bool,
    json_: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from fcnet.cli.listeners import listeners

    heard = listeners(progress, keep=resume is not None)
    if resume is not None and overwrite:
        raise UsageError("--resume goes on with a run and --overwrite replaces it; give one of them")
    source, overrides = _split(arguments)
    if output is not None:
        overrides.append(f"output={json.dumps(output)}")
    from fcnet import api, extras
    from fcnet import config as configs
    from fcnet.cli.following import Follower
    from fcnet.cli.spool import spooled
    from fcnet.training.events import Notice

    with signals.raising(), contextlib.ExitStack() as phases:
        for listener in heard:
            phases.enter_context(listener)
        source = phases.enter_context(spooled(source))
        config, written, overrides = _config(source, target, overrides, resume)
        phases.enter_context(configs.locating(written, overrides))
        quiet, shown = quiet or ("jsonl", "") in progress, ("none", "") not in progress
        follower = phases.enter_context(Follower(quiet, verbose, json_, shown))

        def hear(event: Event) -> bool:
            for listener in heard:
                listener.hear(event)
            return follower.hear(event)

        phases.enter_context(extras.announcing(lambda text: hear(Notice(text))))
        stop = signals.stop
        events = api.training(config, overwrite=overwrite, resume=resume, strict=strict, stop=stop, began=began)
        # However this ends, the run folder is given free now, and not when the last traceback is collected.
        phases.enter_context(contextlib.closing(cast("Generator[Event]", events)))
        for event in events:
            if hear(event):
                phases.enter_context(signals.polling())


def _split(arguments: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    first, rest = arguments[:1], list(arguments[1:])
    if first and "=" in first[0] and not Path(first[0]).exists():
        return None, [*first, *rest]
    return (Path(first[0]) if first else None), rest


def _config(
    source: Path | None, target: tuple[str, ...], overrides: list[str], resume: bool | Path | None
) -> tuple[Config, Path | None, list[str]]:
    """The config, the file that it was read from, and all that the command line says of it."""
    from fcnet import config
    from fcnet.config.places import COMMAND_LINE
    from fcnet.reports.init import initial_mapping, require_target

    if source is None:
        if not isinstance(resume, Path):
            raise UsageError(
                "give a config (fcnet train config.yaml) or a table (fcnet train data.csv --target COLUMN)"
            )
        recorded = resume / "config.yaml"
        if not recorded.is_file():
            raise CheckpointError("there is no run to go on with: no config.yaml is there", file=str(resume))
        return config.load(recorded, overrides), recorded, overrides
    if source.is_dir():
        what = "a folder of tables is not read: name one file; to go on with a run write"
        raise UsageError(f"{source} is a folder; {what} --resume={shlex.quote(str(source))}")
    told = [f"data.target={json.dumps(target[0] if len(target) == 1 else target)}"] if target else []
    if source.suffix.lower() in CONFIGS:
        overrides = [*overrides, *told]
        return config.load(source, overrides), source, overrides
    if not target and not any(text.startswith("data.target=") for text in overrides):
        if len(overrides) == 1 and "=" not in overrides[0]:
            raise UsageError(f'"{overrides[0]}": did you mean --target {shlex.quote(overrides[0])}?')
        require_target(source)
    mapping = initial_mapping(source, target)
    return config.from_mapping(mapping, overrides, file=COMMAND_LINE), None, [*told, *overrides]


def _again(arguments: list[str], *, saved: bool) -> str:
    """The command that goes on; a run that was to replace another and has nothing yet is begun again as it was."""
    if "--overwrite" in arguments and not saved:
        return shlex.join(["fcnet", "train", *arguments])
    kept = [a for a in arguments if a != "--overwrite"]
    if not any(a.startswith("--resume") for a in kept):
        kept.insert(kept.index("--") if "--" in kept else len(kept), "--resume")
    return shlex.join(["fcnet", "train", *kept])
