"""A trained net as a file for elsewhere: each format in a file of its own, all from the same recorded operations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fcnet import files
from fcnet.errors import UsageError
from fcnet.export.c import C
from fcnet.export.checking import coarse, difference, samples
from fcnet.export.format import Format, Wish
from fcnet.export.graph import record
from fcnet.export.onnx import Onnx
from fcnet.export.python import Python
from fcnet.records import dataclass
from fcnet.runs.model import Predictor

FORMATS: dict[str, Format] = {"onnx": Onnx(), "c": C(), "python": Python()}


@dataclass(frozen=True)
class Exported:
    """What was written; the rows that it was checked on, and the largest difference there."""

    files: tuple[Path, ...]
    rows: int
    of: str
    difference: float
    notices: tuple[str, ...]
    following: str


def export(
    model: Predictor, format_: str, output: Path | None = None, strings: Literal["in-graph", "codes"] = "in-graph"
) -> Exported:
    """Write a net in one of `FORMATS` to `output` (default: the run's name), once its predictions are found right.

    UsageError for what the format cannot express or take, and for an output that is the checkpoint or no plain file.
    """
    if model.encoder.each:
        why = "each of its folds encodes the columns in a way of its own, which no format can say yet"
        raise UsageError(f"{why}; train a single net, or an ensemble without cv", file=str(model.path))
    form = FORMATS[format_]
    if strings == "codes" and not form.codes:
        able = " or ".join(name for name, each in FORMATS.items() if each.codes)
        cure = f"leave it out, or write --format {able}"
        raise UsageError(f"--strings codes: {format_} takes categories as texts; {cure}")
    first = form.suffixes[0]
    path = Path(str(model.header["name"]) + first) if output is None else output
    if path.suffix.lower() != first:
        raise UsageError(f'-o "{path}": the format is {format_}; end the name in {first}')
    wish, graph, rows = Wish(path.stem, strings), record(model), samples(model)
    made = form.files(graph, wish, rows)
    off, wrong = difference(graph, rows.p, form.predicts(graph, wish, made, rows))
    if wrong is not None:
        column = coarse(model) if form.single else None
        why = f'column "{column}" needs more digits than float32 has; leave it out, or choose --format python'
        said = why if column else f"as {format_} the net does not predict what it should: {wrong}"
        raise UsageError(said, file=str(model.path))
    paths = {path if suffix == first else path.with_suffix(suffix): text for suffix, text in made.items()}
    notices = [said for each in paths for said in files.check_output(each, [model.path])]
    for each, text in paths.items():
        files.write_file(each, text, [model.path])
    return Exported(tuple(paths), len(rows), rows.of, off, tuple(notices), form.following(path))
