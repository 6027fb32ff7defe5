"""The predictions file: which columns it has, how a cell is written, and where it may go."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fcnet import files
from fcnet.data.bulk import at_hand, fault
from fcnet.data.options import Task
from fcnet.data.target import TASKS
from fcnet.errors import UsageError
from fcnet.nn.losses import Said
from fcnet.records import dataclass
from fcnet.runs.parquet import appending
from fcnet.training.head import Head

Covering = Sequence[tuple[Any, int | None]]
"""Columns of sets or intervals, with the number of their target as `Target.filled` has it; none where not asked for."""

PARQUET = ".parquet"
MANY = 2_000
"""So many rows at a time are worth the import of polars."""
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
_MINUS = "\u2212"


def is_formula(text: str) -> bool:
    """Whether a spreadsheet might run a cell of this text.

    It starts with =, +, -, @ in any of their forms (of full width, small, raised, or the minus sign), whatever blanks,
    line ends and invisible characters stand in front, and is neither a number nor that one sign. So is what starts with
    a tab or a line end, which some programs take for the beginning of the next cell.
    """
    if not text or text[0].isalnum():
        return False
    start = next((i for i, c in enumerate(text) if not _skipped(c)), len(text))
    sign = "-" if text[start : start + 1] == _MINUS else unicodedata.normalize("NFKC", text[start : start + 1])
    rest = text[start + 1 :].rstrip()
    if sign and sign in "=+-@":
        return bool(rest) and not _NUMBER.fullmatch(sign + rest)
    return text[0] in "\t\r\n" and len(text) > 1 and not _NUMBER.fullmatch(sign + rest)


def _skipped(c: str) -> bool:
    return c.isspace() or unicodedata.category(c) in ("Cc", "Cf")


def text_cell(text: str) -> str:
    """A cell of text as CSV writes it (RFC 4180), safe to open in a spreadsheet.

    Spreadsheets run a cell that starts with `=`, `+`, `-` or `@` as a formula. Such a cell gets an apostrophe in front;
    see `is_formula`.

    >>> text_cell("=1+1"), text_cell("-1.5"), text_cell("-"), text_cell('say "a, b"')
    ("'=1+1", '-1.5', '-', '"say ""a, b\"""')
    """
    if is_formula(text):
        text = "'" + text
    if any(c in text for c in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def number_cells(values: Any) -> list[str]:
    """Numbers of shape (n,), each with the fewest digits that read back to the same number of their own type.

    >>> number_cells(np.array([0.1, 1e10, 1e-5], np.float32)), number_cells(np.array([0.1, 2.0]))
    (['0.1', '10000000000.0', '1e-05'], ['0.1', '2.0'])
    """
    array = np.asarray(values)
    if array.dtype == np.float32:
        return [repr(float(str(value))) for value in array]
    return list(map(repr, array.tolist()))


def label_cell(label: str | float) -> str:
    """A class label: text by the rule for text, a number as it is."""
    return text_cell(label) if isinstance(label, str) else repr(label)


@dataclass(frozen=True)
class Form:
    """What the file's columns are: `keep` of the input first, then the predictions.

    `task`, `targets` and `classes` (None where there are none) are those of the checkpoint; `dtypes` are what
    `digits` gives for each target, none for numbers as they are; `said` is what the loss says of each number;
    `covering`: whether sets or intervals come last.
    """

    task: Task
    targets: tuple[str, ...]
    classes: tuple[str | float, ...] | None
    keep: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    said: tuple[Said, ...] = (Said(),)
    covering: bool = False

    @staticmethod
    def of(head: Head, keep: tuple[str, ...], dtype: str, *, covering: bool = False) -> Form:
        """The form of a net's predictions."""
        target = head.target
        return Form(target.task, target.names, target.classes, keep, target.digits(dtype), head.loss.said, covering)

    def __post_init__(self) -> None:
        twice = sorted(name for name, n in Counter(self.header()).items() if n > 1)
        if twice:
            raise UsageError(f'--keep "{twice[0]}": the predictions have a column of that name, or it is given twice')

    def header(self) -> list[str]:
        """The names of the columns."""
        kind = TASKS[self.task]
        more = kind.covered(self.targets) if self.covering else []
        return [*self.keep, *kind.heading(self.targets, self.classes or (), self.said), *more]

    def columns(self, prediction: Any, p: Any, covering: Covering = ()) -> list[Any]:
        """What stands below the header after the kept columns: arrays (n,) of numbers, and labels as a list (n,).

        `prediction` is (n,) labels for classes, (n, L) zeros and ones for several labels, (n,) or (n, n_out) numbers in
        the target's units for regression; `p` is (n, K) or (n, L), and for regression needed where more is said;
        `covering` what `Head.covering` gives.
        """
        filled = [*TASKS[self.task].filled(prediction, p), *covering]
        return [column if target is None else self._typed(column, target) for column, target in filled]

    def _typed(self, column: Any, target: int) -> Any:
        with np.errstate(over="ignore"):  # what an absurd input gives is infinite
            return column.astype(self.dtypes[target]) if self.dtypes else column

    def formulas(self, kept: Sequence[Sequence[str]], prediction: Any, covering: Covering = ()) -> Counter[str]:
        """How many cells of text get an apostrophe in CSV, by their column."""
        found = Counter({name: sum(map(is_formula, cells)) for name, cells in zip(self.keep, kept, strict=True)})
        odd = {label for label in self.classes or () if isinstance(label, str) and is_formula(label)}
        if odd:
            found["prediction"] += sum(label in odd for label in prediction)
            found["set"] += sum(is_formula(labels) for column, _ in covering for labels in column)
        return +found

    def rows(self, kept: Sequence[Sequence[str]], prediction: Any, p: Any, covering: Covering = ()) -> str:
        """Whole lines for n rows of the input, in order: `kept` has n texts for each kept column, then `columns`."""
        columns: list[Any] = [[text_cell(cell) for cell in column] for column in kept]
        for column in self.columns(prediction, p, covering):
            if isinstance(column, list):
                cell = {label: label_cell(label) for label in set(column)}
                columns.append(list(map(cell.__getitem__, column)))
            else:
                columns.append(column)
        n = len(columns[0])
        if n >= MANY and at_hand():
            return _joined(columns)
        texts = [column if isinstance(column, list) else number_cells(column) for column in columns]
        return "".join(",".join(row) + "\n" for row in zip(*texts, strict=True))


def _joined(columns: Sequence[Any]) -> str:
    """The same lines by polars, which spells numbers as repr does from 1e-4 to 1e12, and forty times as fast."""
    import polars as pl

    series = [
        pl.Series(str(i), column, dtype=pl.String)
        if isinstance(column, list)
        else pl.Series(str(i), np.ascontiguousarray(column))
        for i, column in enumerate(columns)
    ]
    frame = pl.DataFrame(series).select(pl.all().cast(pl.String))  # all at once: it has threads of its own
    for i, column in enumerate(columns):
        if not isinstance(column, list):
            size = np.abs(column)
            odd = np.flatnonzero(~(((size >= 1e-4) & (size < 1e12)) | (size == 0)))
            if len(odd):
                frame.replace_column(i, frame[:, i].scatter(odd, number_cells(column[odd])))
    lines: str = frame.write_csv(include_header=False, quote_style="never", line_terminator="\n")
    return lines


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
    if path.suffix.lower() not in ("", ".csv", ".txt", PARQUET):
        raise UsageError(f'-o "{output}": predictions are written as CSV or Parquet; end the name in .csv or .parquet')
    found = fault() if path.suffix.lower() == PARQUET else None
    if found is not None:
        why = "" if found.missing else f", which {found.what}"
        raise UsageError(f'-o "{output}": writing Parquet needs polars{why}: {found.cure}, or end in .csv')
    return path


Write = Callable[[Sequence[Sequence[str]], Any, Any, Covering], None]
"""Appends rows, of which it is told what `Form.rows` is told."""


@contextmanager
def writing(path: Path | None, form: Form, inputs: Iterable[Path] = ()) -> Iterator[Write]:
    """A function that appends rows to the file, CSV or Parquet by its suffix, with its header; None is stdout.

    The file appears under its name when the block ends well, and not at all otherwise. Raises UsageError where it is
    one of the `inputs` or no plain file, StorageError where the file system fails.
    """
    if path is not None and path.suffix.lower() == PARQUET:
        with files.replacing(path, inputs) as file, appending(file) as append:
            yield lambda *rows: append(_frame(form, *rows))
        return
    head = ",".join(map(text_cell, form.header())) + "\n"
    if path is None:
        out, waiting = sys.stdout.buffer, [head.encode()]

        def write(lines: bytes) -> None:
            while waiting:  # nothing is said before the first rows are known to be right
                out.write(waiting.pop())
            out.write(lines)

        yield lambda *rows: _to(write, form.rows(*rows))
        write(b"")
        out.flush()
        return
    with files.replacing(path, inputs) as file:
        file.write(head.encode())
        yield lambda *rows: _to(file.write, form.rows(*rows))


def _to(write: Callable[[bytes], object], lines: str) -> None:
    write(lines.encode("utf-8", "surrogateescape"))


def _frame(form: Form, kept: Sequence[Sequence[str]], prediction: Any, p: Any, covering: Covering = ()) -> Any:
    """The rows as a polars frame: kept columns and text labels as texts, everything else as numbers."""
    import polars as pl

    columns = [*(list(column) for column in kept), *form.columns(prediction, p, covering)]
    kinds = {type(label) for label in form.classes or ()}
    one = (str if str in kinds else float) if len(kinds) > 1 else None  # a column has one type
    series = []
    for name, column in zip(form.header(), columns, strict=True):
        values = column if isinstance(column, list) else np.ascontiguousarray(column)
        if one and name == "prediction":
            values = list(map(one, values))
        series.append(pl.Series(name, values))
    return pl.DataFrame(series)
