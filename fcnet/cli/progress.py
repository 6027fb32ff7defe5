"""The progress of a training run on stderr: a bar where a person watches, a line now and then where a file listens."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

from fcnet.cli import streams
from fcnet.errors import escape
from fcnet.reports.text import cells, count, duration, figures
from fcnet.training.events import Epoch, Progress

NARROWEST = 40
"""Below this many columns a bar says nothing that a line does not say better."""

PAUSE = 2.0
"""Seconds between two lines."""

PATIENCE = 1.0
"""Seconds that a checkpoint may take before the progress says so."""


class Bar:
    """One bar for the whole run; `close` takes it off the screen.

    `verbose` prints every epoch's line, with the bar below them or without any.
    """

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._width = streams.width(streams.STDERR)
        self._wanted = streams.STDERR.isatty() and streams.columns(streams.STDERR) >= NARROWEST
        self._bar: Any = None
        self._said = time.monotonic()
        self._score = ""
        self._saving: threading.Timer | None = None

    def progress(self, now: Progress) -> None:
        """Move on inside an epoch."""
        if self._wanted:
            self._move(now.epoch, now.epochs, now.row, now.rows, now.train_loss, now.rows_per_second)
        elif time.monotonic() - self._said > PAUSE:
            speed = f"{now.rows_per_second:,.0f} rows/s"
            done = f"{now.row:,} of {count(now.rows, 'row')}"
            self._line(f"{_place(now.epoch, now.epochs)}  {done}  loss {figures([now.train_loss])[0]}  {speed}")

    def epoch(self, now: Epoch) -> None:
        """Finish an epoch."""
        if self._wanted:
            self._score = next((f"val {k} {figures([v])[0]}" for k, v in now.val.items() if k != "loss"), "")
        now_and_then = now.epoch in (1, now.epochs) or time.monotonic() - self._said > PAUSE
        if self._verbose or (not self._wanted and now_and_then):
            self._line(_told(now, streams.columns(streams.STDERR)))

    def saving(self, path: Path) -> None:
        """A checkpoint is being written: say so if it takes long."""
        self._saving = threading.Timer(PATIENCE, self._say_saving, [path])
        self._saving.daemon = True
        with contextlib.suppress(RuntimeError):  # no room for a thread: the save matters more than the word
            self._saving.start()

    def saved(self) -> None:
        """Whatever was being written is."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None

    def _say_saving(self, path: Path) -> None:
        text = f"saving {escape(str(path))}, the disk is slow"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            self._line(text)

    def close(self) -> None:
        """Take the bar off the screen."""
        self.saved()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, line: str) -> None:
        """One line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=streams.STDERR)
        else:
            streams.say(line)

    def _line(self, line: str) -> None:
        self.say(line)
        self._said = time.monotonic()

    def _move(self, epoch: int, epochs: int, row: int, rows: int, loss: float, speed: float) -> None:
        at = (epoch - 1) * rows + row
        if self._bar is None:
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # its thread would only wake a bar that is fed anyway
            self._bar = tqdm(
                total=epochs * rows,
                initial=at,
                disable=None,
                file=streams.STDERR,
                leave=False,
                dynamic_ncols=self._width is not None,
                ncols=streams.columns(streams.STDERR),
                bar_format="{desc} |{bar}|{percentage:3.0f}%{postfix}, {remaining} left",
            )
        self._bar.set_description_str(_place(epoch, epochs), refresh=False)
        said = [f"loss {figures([loss])[0]}", *([self._score] if self._score else []), f"{speed:,.0f} rows/s"]
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.update(at - self._bar.n)


def _place(epoch: int, epochs: int) -> str:
    return f"epoch {epoch:{len(str(epochs))}}/{epochs}"


def _told(now: Epoch, width: int) -> str:
    """One line, with so many scores as it has room for; metrics.csv has all of them."""
    scores = {"loss": now.train_loss} | {f"val_{name}": value for name, value in now.val.items()}
    said = [f"{name} {figures([value])[0]}" for name, value in scores.items()]
    end = [duration(now.seconds), *(["best"] if now.best else [])]
    for kept in range(len(said), 0, -1):
        more = ["…"] if kept < len(said) else []
        line = "  ".join([_place(now.epoch, now.epochs), *said[:kept], *more, *end])
        if cells(line) <= width:
            break
    return line
