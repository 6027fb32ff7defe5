"""`fcnet predict`: a table in, a table of predictions out, row by row."""

from __future__ import annotations

from pathlib import Path

import click

from fcnet import files, signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, FILE_NAME, Command, as_json, strict, talk
from fcnet.errors import UsageError
from fcnet.reports.text import count

EXAMPLE = """
fcnet predict people.csv
fcnet predict people.csv -c runs/income -o out.csv --keep id
fcnet predict people.csv --coverage 0.9
zcat people.csv.gz | fcnet predict - > out.csv
"""


@click.command(cls=Command, example=EXAMPLE, short_help="Predict for every row of a table.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT", type=FILE_NAME)
@click.option("-c", "--checkpoint", type=FILE, help="A file or a run folder; default: the newest run.")
@click.option(
    "-o",
    "--output",
    type=FILE_NAME,
    metavar="FILE",
    help="The file to write, or - for stdout; default: INPUT.predictions.csv.",
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="Carry this column of the input over; several: repeat.")
@click.option(
    "--coverage",
    type=float,
    metavar="SHARE",
    help="Add the labels, or low and high, that hold the truth for this share of rows, such as 0.9.",
)
@strict
@as_json
@talk
def command(
    inputs: tuple[str, ...],
    checkpoint: Path | None,
    output: str | None,
    keep: tuple[str, ...],
    coverage: float | None,
    strict: bool,
    json_: bool,
    quiet: bool,
) -> None:
    """Predict for every row of INPUT, in order, with a checkpoint or with the newest complete run under runs/.

    The predictions of people.csv go to people.predictions.csv in the working directory; those of - (stdin) to stdout.
    Columns are matched by name. Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    from fcnet import api
    from fcnet.runs.predictions import destination

    input_, checkpoint = _table(inputs, checkpoint)
    target = destination(input_, output)
    if json_ and target is None:
        raise UsageError("--json and the predictions both go to stdout; name a file with -o")
    with signals.raising():
        replaced = files.check_output(target) if target else []
        done = api.predict(input_, target, checkpoint=checkpoint, keep=keep, coverage=coverage, strict=strict)
    done["notices"] = [*replaced, *done["notices"]]
    if not quiet:
        streams.notices(done["notices"])
    if json_:
        streams.show_json({**done, "output": str(target)})
        return
    following = f"next: fcnet eval {streams.word(done['checkpoint'])}"
    rows = count(done["rows"], "row")
    if target:
        streams.show(f"files    {streams.word(target)} · {rows}        {following}")
    elif not quiet:
        streams.say(f"{rows} predicted; {following}")


def _table(inputs: tuple[str, ...], checkpoint: Path | None) -> tuple[str, Path | None]:
    """The table and the checkpoint, which may stand beside it where there is no doubt which of the two it is."""
    if len(inputs) == 1:
        return inputs[0], checkpoint
    nets = [name for name in inputs if Path(name).is_dir()] or [name for name in inputs if name.endswith(".npz")]
    if len(inputs) != 2 or len(nets) != 1 or checkpoint is not None:
        raise UsageError("predict takes one table, and the checkpoint behind -c: fcnet predict TABLE -c RUN")
    table = next(name for name in inputs if name != nets[0])
    return table, Path(nets[0])
