"""`fcnet export`: a trained net as a file for elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fcnet import signals
from fcnet.cli import streams
from fcnet.cli.command import FILE, Command, as_json, talk
from fcnet.errors import UsageError
from fcnet.reports.text import count

EXAMPLE = """
fcnet export --format onnx
fcnet export runs/digits --format python
fcnet export runs/digits --format c -o net.c
"""

FORMATS = ["onnx", "c", "python"]


@click.command(cls=Command, example=EXAMPLE, short_help="Write a net for elsewhere: ONNX, C, Python.")
@click.argument("checkpoint", required=False, type=FILE)
@click.option("--format", "format_", type=click.Choice(FORMATS), help="What to write.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The file to write; default: the run's name.")
@click.option(
    "--strings",
    type=click.Choice(["in-graph", "codes"]),
    default="in-graph",
    help="ONNX alone: take categories as texts, or as numbers of the vocabulary in the metadata.",
)
@as_json
@talk
def command(
    checkpoint: Path | None,
    format_: str | None,
    output: Path | None,
    strings: Literal["in-graph", "codes"],
    json_: bool,
    quiet: bool,
) -> None:
    """Write a net with all its preprocessing: raw columns in, labels and probabilities out.

    CHECKPOINT is a file or a run folder, which stands for its best.npz; without it, the newest complete run under
    runs/ is taken. What is written is checked against the predictions of the checkpoint first.
    """
    if format_ is None:
        raise UsageError(f"--format is missing: write --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    from fcnet.export import export
    from fcnet.runs import folder
    from fcnet.runs.model import Predictor

    with signals.raising():
        model = Predictor.read(folder.resolve(checkpoint))
        done = export(model, format_, output, strings)
    newest = [] if checkpoint is not None else [f"the newest complete run is {model.path.parent}"]
    if not quiet:
        streams.notices([*newest, *done.notices])
    paths = [str(path) for path in done.files]
    if json_:
        about = {"checkpoint": str(model.path), "format": format_, "files": paths}
        checked = {"rows": done.rows, "difference": done.difference}
        streams.show_json({**about, "checked": checked, "notices": [*newest, *done.notices]})
        return
    streams.show(
        f"files    {', '.join(map(streams.word, paths))} · {count(done.rows, 'row')} as predicted, "
        f"within {done.difference:.0e}        next: {done.following}"
    )
