"""The metrics log holds every epoch of its own run once, in whole lines, through kills and resumes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs_faults import FaultyOs, every_call, faults

from fcnet.errors import CheckpointError, StorageError
from fcnet.files import Folder
from fcnet.runs.log import MetricsLog

COLUMNS = ("epoch", "step", "lr", "train_loss", "val_loss")


def row(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "step": 10 * epoch, "lr": 0.1 / epoch, "train_loss": 1.0, "val_loss": 1 / 3 * epoch}


@pytest.fixture
def log(tmp_path: Path):
    with Folder(tmp_path) as folder:
        found = MetricsLog(folder, COLUMNS)
        found.start()
        yield found


def text(log: MetricsLog) -> str:
    return (log.folder.path / "metrics.csv").read_text()


def filled(log: MetricsLog, epochs: int) -> str:
    for epoch in range(1, epochs + 1):
        log.append(row(epoch))
    return text(log)


def test_log_is_a_header_and_a_row_an_epoch(log: MetricsLog) -> None:
    """The log is a CSV of one header and one row an epoch; whole numbers stay whole, an absent value is empty."""
    log.append(row(1))
    log.append({**row(2), "step": np.int64(20), "val_loss": None, "train_loss": np.float32(0.1)})
    log.sync()

    assert text(log) == (
        "epoch,step,lr,train_loss,val_loss\n"
        "1,10,0.1,1.0,0.3333333333333333\n"
        "2,20,0.05,0.10000000149011612,\n"
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=False))
def test_numbers_read_back_equal(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    """A number in the log is the number that was measured, to the last bit."""
    with Folder(tmp_path_factory.mktemp("log")) as folder:
        log = MetricsLog(folder, ("epoch", "train_loss"))
        log.start()
        log.append({"epoch": 1, "train_loss": value})
        with open(folder.path / "metrics.csv", newline="") as file:
            read = float(next(csv.DictReader(file))["train_loss"])

    assert read == value


@pytest.mark.parametrize("epoch", [0, 1, 3, 5, 9])
def test_cut_keeps_the_rows_up_to_the_checkpoint(log: MetricsLog, epoch: int) -> None:
    """On resume the rows after the checkpoint's epoch go and the others stay, byte for byte."""
    whole = filled(log, 5)

    last = log.cut(epoch)

    assert last == min(epoch, 5)
    assert text(log) == "".join(whole.splitlines(keepends=True)[: last + 1])


def test_f22_cut_at_any_torn_byte_and_going_on_gives_the_same_log(log: MetricsLog) -> None:
    """A log torn at any byte of its rows, cut and continued, equals the one that was never torn."""
    whole = filled(log, 4)
    header = len(",".join(COLUMNS)) + 1
    for size in range(header, len(whole)):
        (log.folder.path / "metrics.csv").write_text(whole[:size])

        last = log.cut(4)
        for epoch in range(last + 1, 5):
            log.append(row(epoch))

        assert text(log) == whole


@pytest.mark.parametrize(
    "broken",
    ["2,20,0.1,1.0\n", "2,20,0.1,1.0,1.0,1.0\n", "x,20,0.1,1.0,1.0\n", "1,20,0.1,1.0,1.0\n", "\n", "\0\0\0\0\n"],
    ids=["short", "long", "no-epoch", "epoch-twice", "blank", "zeros"],
)
def test_cut_drops_what_is_no_row(log: MetricsLog, broken: str) -> None:
    """A row that is no row of this log, and what follows it, go."""
    log.append(row(1))
    good = text(log)
    (log.folder.path / "metrics.csv").write_text(good + broken + "3,30,0.1,1.0,1.0\n")

    assert log.cut(9) == 1
    assert text(log) == good


@pytest.mark.parametrize("content", [None, "", "epoch,step\n1,10\n", "epoch,step,lr,train_loss,val_lo"])
def test_log_of_another_run_is_refused(log: MetricsLog, content: str | None) -> None:
    """A log that is missing, or whose header is another run's, is exit 5 and left as it is."""
    path = log.folder.path / "metrics.csv"
    path.unlink() if content is None else path.write_text(content)

    with pytest.raises(CheckpointError, match="cannot be continued"):
        log.cut(3)
    assert content is None or path.read_text() == content


def test_f24_new_run_has_no_rows_of_an_older_one(log: MetricsLog) -> None:
    """Starting a log anew leaves nothing of what stood there."""
    filled(log, 3)
    log.start()

    assert text(log) == ",".join(COLUMNS) + "\n"


def test_log_killed_at_any_call_can_be_cut_and_continued(log: MetricsLog) -> None:
    """A log whose writer or whose resume is killed at any call ends, after the next resume, as if nothing had been."""
    whole = filled(log, 4)

    def act(faulty: FaultyOs) -> None:
        (log.folder.path / "metrics.csv").write_text(whole[:-3])
        with faults(faulty):
            for epoch in range(log.cut(3) + 1, 5):
                log.append(row(epoch))

    for _ in every_call(act, FaultyOs):
        for epoch in range(log.cut(4) + 1, 5):
            log.append(row(epoch))
        assert text(log) == whole


def test_f3_full_disk_leaves_whole_rows(log: MetricsLog) -> None:
    """A row that does not fit on the disk is exit 6, and the log ends with the row before it."""
    before = filled(log, 2)

    with faults(FaultyOs(3, 28)), pytest.raises(StorageError, match=r"metrics\.csv: the disk is full"):
        log.append(row(3))
    assert text(log) == before
