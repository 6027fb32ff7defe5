"""Follows a training run on the terminal: the head when it starts, the bar while it runs, the scores when it ends."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from fcnet import files
from fcnet.cli import streams
from fcnet.cli.progress import Bar
from fcnet.errors import escape
from fcnet.reports import summary
from fcnet.training.events import Epoch, Event, Finished, FoldBegun, Glance, Notice, Progress, Saving, Started


class Follower(contextlib.AbstractContextManager["Follower"]):
    """Hears every event of one run. Results go to stdout, the rest to stderr; `quiet`, `as_json` and `progress` say
    what of it.

    Where a person sees both streams on one terminal, the head appears at the start and the bar below it makes room for
    the rest; otherwise stdout gets one block at the end.
    """

    def __init__(self, quiet: bool, verbose: bool, as_json: bool, progress: bool = True) -> None:
        self._quiet, self._shown = quiet, progress and not quiet
        self._json = as_json
        self._live = not as_json and streams.STDERR.terminal() and sys.stdout.isatty()
        self._verbose = verbose
        self._bar = Bar(verbose)
        self._glance: Glance | None = None

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def hear(self, event: Event) -> bool:
        """Say what there is to say; whether the run has just started."""
        self._bar.saved()
        match event:
            case Notice():
                if not self._quiet:
                    self._bar.say(f"notice: {escape(event.text)}")
            case Started():
                self._start(event)
                return True
            case FoldBegun():
                if self._shown:
                    self._bar.say(str(event))
            case Progress():
                if self._shown:
                    self._bar.progress(event)
            case Epoch():
                if self._shown:
                    self._bar.epoch(event)
            case Saving():
                if self._shown:
                    self._bar.saving(event.path)
            case Finished():
                self._bar.close()
                self._finish(event)
        return False

    def _start(self, event: Started) -> None:
        self._glance = event.glance
        if self._live:
            streams.show("\n".join(summary.head(event.glance, streams.width(sys.stdout))))
        elif not self._quiet:
            streams.say("\n".join(summary.head(event.glance, streams.width(streams.STDERR))))

    def _finish(self, event: Finished) -> None:
        if not self._quiet and self._glance and (self._verbose or not self._live):
            streams.say(escape(event.why))
        if self._json:
            streams.show_json({"run": str(event.run), **event.summary})
            return
        width = streams.width(sys.stdout)
        head = summary.head(self._glance, width) if self._glance and not self._live else []
        name = self._glance.name if self._glance else event.run.name
        run = files.near(event.run)
        newest = self._glance is not None and run.parent == Path("runs")
        following = "fcnet predict YOUR.csv" + ("" if newest else f" -c {streams.word(run)}")
        tail = summary.tail(event.summary, name, escape(str(run / "best.npz")), following, width)
        streams.show("\n".join([*head, *tail]))
