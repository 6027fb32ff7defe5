"""The metrics log of a run: one header, one whole line an epoch, cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from fcnet.errors import CheckpointError
from fcnet.files import Folder
from fcnet.records import dataclass

NAME = "metrics.csv"

Value = float | None

_WHOLE = re.compile(rb"\d{1,18}")


@dataclass(frozen=True)
class MetricsLog:
    """`metrics.csv` in `folder`, with these columns; the first is `epoch`, or the second behind `fold`.

    Whole numbers are written as they are, all others so that they read back equal, None as an empty cell.
    """

    folder: Folder
    columns: tuple[str, ...]

    def start(self) -> None:
        """Begin a new file that holds the header alone, whatever stood there."""
        self.folder.write(NAME, [_line(self.columns)])

    def append(self, row: Mapping[str, Value]) -> None:
        """Add the row of one epoch, whole or not at all."""
        self.folder.append(NAME, _line([_cell(row[column]) for column in self.columns]))

    def sync(self) -> None:
        """Flush the rows so far to the disk, so that no checkpoint is ahead of its log."""
        self.folder.append(NAME, b"", sync=True)

    def cut(self, *place: int) -> int:
        """Drop the rows after this epoch, or fold and epoch, and whatever is no whole row of this log; the last epoch
        that is left, of that fold, or 0.

        Raises CheckpointError when the file is missing or not the log of such a run: a log that is not this run's is
        neither mended nor continued.
        """
        data = self.folder.read(NAME)
        head = _line(self.columns)
        path = str(self.folder.path / NAME)
        if data is None:
            raise CheckpointError(
                "it is missing, so the run cannot be continued; start it anew with --overwrite", file=path
            )
        if not data.startswith(head):
            raise CheckpointError(
                f"its header is not the one of this run ({','.join(self.columns)}), so the run cannot be continued",
                file=path,
                line=1,
            )
        size, last = len(head), (0,) * len(place)
        for line in data[len(head) :].splitlines(keepends=True):
            found = _place(line, len(self.columns), len(place))
            if found is None or not last < found <= place:
                break
            size, last = size + len(line), found
        if size < len(data):
            self.folder.truncate(NAME, size)
        return last[-1] if last[:-1] == place[:-1] else 0


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return str(int(value)) if hasattr(value, "__index__") else repr(float(value))


def _place(line: bytes, columns: int, numbers: int) -> tuple[int, ...] | None:
    """The first numbers of a whole row; None for a torn one."""
    cells = line.split(b",")
    if not line.endswith(b"\n") or len(cells) != columns or not all(map(_WHOLE.fullmatch, cells[:numbers])):
        return None
    return tuple(map(int, cells[:numbers]))
