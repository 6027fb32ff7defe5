"""The predictions file: which columns it has, how a cell is written, and where it may go."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import files
from fcnet.errors import UsageError

_NUMBER = re.compile(r" *[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)? *")


def text_cell(text: str) -> str:
    """A cell of text as CSV writes it (RFC 4180), safe to open in a spreadsheet.

    Spreadsheets run a cell that starts with `=`, `+`, `-`, `@`, a tab or a carriage return as a formula. Such a cell
    gets an apostrophe in front, unless it is a number or that one character alone.

    >>> text_cell("=1+1"), text_cell("-1.5"), text_cell("-"), text_cell('say "a, b"')
    ("'=1+1", '-1.5', '-', '"say ""a, b\"""')
    """
    if len(text) > 1 and text[0] in "=+-@\t\r" and not _NUMBER.fullmatch(text):
        text = "'" + text
    if any(c in text for c in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def number_cells(values: Any) -> list[str]:
    """Numbers of shape (n,), each with the fewest digits that read back to the same float64."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    return list(map(repr, array.tolist()))


def label_cell(label: str | float) -> str:
    """A class label: text by the rule for text, a number as it is."""
    return text_cell(label) if isinstance(label, str) else repr(label)


@dataclass(frozen=True)
class Form:
    """What the file's columns are: `keep` of the input first, then the predictions.

    `task`, `targets` and `classes` (None where there are none) are those of the checkpoint.
    """

    task: str
    targets: tuple[str, ...]
    classes: tuple[str | float, ...] | None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.header()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f'--keep "{twice[0]}": the predictions have a column of that name, or it is given twice')

    def header(self) -> list[str]:
        """The names of the columns."""
        if self.task in ("binary", "multiclass"):
            assert self.classes is not None
            return [*self.keep, "prediction", *(f"p({label})" for label in self.classes)]
        if self.task == "multilabel":
            return [*self.keep, *(f"{what}({name})" for name in self.targets for what in ("prediction", "p"))]
        if len(self.targets) == 1:
            return [*self.keep, "prediction"]
        return [*self.keep, *(f"prediction({name})" for name in self.targets)]

    def rows(self, kept: Sequence[Sequence[str]], prediction: Any, p: Any) -> str:
        """Whole lines for n rows of the input, in order.

        `kept` has one sequence of n texts for each kept column. `prediction` is (n,) labels for classes, (n, L) zeros
        and ones for several labels, (n,) or (n, n_out) numbers in the target's units for regression; `p` is (n, K) or
        (n, L), and not looked at for regression.
        """
        columns: list[Sequence[str]] = [[text_cell(cell) for cell in column] for column in kept]
        if self.task in ("binary", "multiclass"):
            assert self.classes is not None
            cell = {label: label_cell(label) for label in self.classes}
            columns.append([cell[label] for label in np.asarray(prediction).tolist()])
            columns += [number_cells(column) for column in np.asarray(p).T]
        elif self.task == "multilabel":
            for yes, share in zip(np.asarray(prediction).T, np.asarray(p).T, strict=True):
                columns += [number_cells(yes.astype(np.int64)), number_cells(share)]
        else:
            array = np.asarray(prediction)
            columns += [number_cells(column) for column in array.reshape(len(array), len(self.targets)).T]
        return "".join(",".join(row) + "\n" for row in zip(*columns, strict=True))


def destination(source: str, output: str | None) -> Path | None:
    """The file to write for the input `source`: `output`, or the input's stem in the working directory; None: stdout.

    Raises UsageError for a suffix that says another format.
    """
    if output == "-" or (output is None and source == "-"):
        return None
    if output is None:
        name = Path(source).name
        if name.lower().endswith(".gz"):
            name = name[:-3]
        return Path(Path(name).stem + ".predictions.csv")
    path = Path(output)
    if path.suffix.lower() not in ("", ".csv", ".txt"):
        raise UsageError(f'-o "{output}": predictions are written as CSV; give a name that ends in .csv')
    return path


@contextmanager
def writing(path: Path | None, form: Form, inputs: Iterable[Path] = ()) -> Iterator[Callable[[str], None]]:
    """A function that appends lines to the file, whose header is written; None is stdout.

    The file appears under its name when the block ends well, and not at all otherwise. Raises UsageError where it is
    one of the `inputs` or no plain file, StorageError where the file system fails.
    """
    head = ",".join(map(text_cell, form.header())) + "\n"
    if path is None:
        out = sys.stdout.buffer
        out.write(head.encode())
        yield lambda lines: _to(out.write, lines)
        out.flush()
        return
    with files.replacing(path, inputs) as file:
        file.write(head.encode())
        yield lambda lines: _to(file.write, lines)


def _to(write: Callable[[bytes], object], lines: str) -> None:
    write(lines.encode("utf-8", "surrogateescape"))
