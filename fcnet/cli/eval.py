"""`fcnet eval`: the scores of a checkpoint on a part of its data, or on another table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, FILE_NAME, Command, as_json, strict, talk
from fcnet.errors import UsageError

EXAMPLE = """
fcnet eval runs/digits
fcnet eval runs/digits/last.npz --data new.csv
fcnet eval runs/digits --importance
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Score a checkpoint.")
@click.argument("checkpoints", nargs=-1, metavar="[CHECKPOINT]", type=FILE)
@click.option("-c", "--checkpoint", type=FILE, help="The same as CHECKPOINT, as predict has it.")
@click.option("--data", type=FILE_NAME, metavar="FILE", help="Score on this table instead; it has the target column.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Score on this part; default: test.")
@click.option(
    "--importance", is_flag=True, help="Also what the score loses when a column is shuffled, for every column."
)
@strict
@as_json
@talk
def command(
    checkpoints: tuple[Path, ...],
    checkpoint: Path | None,
    data: str | None,
    split: str | None,
    importance: bool,
    strict: bool,
    json_: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Score a checkpoint on the test part of its data (else validation).

    CHECKPOINT is a file or a run folder, which stands for its best.npz; without it, the newest complete run under
    runs/ is taken.
    """
    from fcnet import api
    from fcnet.cli.spool import NAME, spooled
    from fcnet.reports import evaluation

    named = [*checkpoints, *([] if checkpoint is None else [checkpoint])]
    if len(named) > 1:
        raise UsageError("eval takes one checkpoint, and another table behind --data: fcnet eval RUN --data TABLE")
    checkpoint = named[0] if named else None
    with signals.raising(), spooled(None if data is None else Path(data)) as table:
        scored = api.evaluate(checkpoint, data=table, split=split, strict=strict, importance=importance)
    if data == "-":
        scored["data"] = NAME
    if not quiet:
        streams.notices(scored["notices"])
    if json_:
        streams.show_json(scored)
    else:
        following = f"fcnet predict YOUR.csv -c {streams.word(scored['checkpoint'])}"
        streams.show("\n".join(evaluation.lines(scored, following, streams.width(sys.stdout), verbose)))
