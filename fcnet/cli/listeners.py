"""Who follows a run beside a person: a program that reads a JSON object a line, and TensorBoard by its event files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol, Self

from fcnet import extras, files, signals
from fcnet.cli import streams
from fcnet.errors import InUseError, Stopped, UsageError
from fcnet.training.events import Epoch, Event, Finished, FoldBegun, Notice, Progress, Saving, Started

OPENING = b'{"event": '


class Listener(Protocol):
    """Hears every event of one run, as a context that ends as the run does."""

    def hear(self, event: Event) -> None:
        """Something happened."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None: ...


def listeners(asked: Iterable[tuple[str, str]], keep: bool) -> list[Listener]:
    """Those that `--progress` asks for, by kind and place; `keep`: what their files hold already stays."""
    made: list[Listener] = []
    for kind, where in asked:
        if kind == "jsonl":
            made.append(Journal(Path(where) if where else None, keep))
        elif kind == "tensorboard":
            made.append(Board(where))
    return made


class Journal(contextlib.AbstractContextManager["Journal"]):
    """A JSON object a line on stderr, or in the file: `begin`, `epoch`, `checkpoint`, and at last `end`.

    On stderr it speaks alone: what a person would be told stands in its lines. Raises InUseError for a file that holds
    something else, StorageError where it cannot be opened; when it fails later, the run goes on without it.
    """

    def __init__(self, path: Path | None, keep: bool) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        if path is not None:
            with contextlib.suppress(OSError), files.open_plain(path) as there:
                if there.read(len(OPENING)) not in (OPENING, b""):
                    raise InUseError("it holds no progress of a run, and is not replaced; name another", file=str(path))
            self._file = files.followed(path, keep)
        self._notices: list[str] = []
        self._saving: Path | None = None
        self._epoch = self._step = 0
        self._fold: dict[str, int] = {}
        self._began = time.monotonic()
        self._start: tuple[float, float] | None = None  # when this process was at which place, in epochs
        self._done: dict[str, Any] = {}
        self._ended = False
        streams.ENDINGS.append(self.end)
        signals.last_words(self.cut_short)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Stopped) and error.saved:
            self._saved()

    def hear(self, event: Event) -> None:
        """Its line, where it has one; a checkpoint has its own when the next thing happens, as it is written then."""
        self._saved()
        match event:
            case Notice():
                self._notices.append(event.text)
            case Started():
                self._began = time.monotonic()
                self._say("begin", run=str(event.run), **asdict(event.glance), notices=self._told())
            case FoldBegun():
                self._fold = asdict(event)
                self._began, self._start = time.monotonic(), None
            case Progress():
                self._epoch, self._step = event.epoch - 1, event.step
                self._start = self._start or (time.monotonic(), event.epoch - 1 + event.row / event.rows)
            case Epoch():
                self._epoch, self._step = event.epoch, event.step
                self._start = self._start or (self._began, event.epoch - 1)
                self._say("epoch", **self._about(event))
            case Saving():
                self._saving = event.path
            case Finished():
                self._done = {"run": str(event.run), "why": event.why, **event.summary}

    def end(self, code: int, said: Sequence[str]) -> bool:
        """The last line: the exit code and, where the run failed, why; whether this was all that stderr is told."""
        if self._ended:
            return False
        self._ended = True
        about = self._done
        if code:
            following = [line for line in said if line.startswith("next: ")]
            reason = "\n".join(line.removeprefix("fcnet: ") for line in said if line not in following)
            about = {"reason": reason, **({"next": following[0].removeprefix("next: ")} if following else {})}
        self._say("end", exit=code, **about, notices=self._told())
        if self._file is not None:
            self._file.close()
        return self._path is None

    def cut_short(self, code: int, said: str) -> str:
        """`end` where a signal leaves no time for anything else; what is still to be written to stderr."""
        with contextlib.suppress(Exception):
            if self.end(code, said.strip("\n").splitlines() or [f"fcnet: stopped at once, exit {code}"]):
                return ""
        return said

    def _about(self, now: Epoch) -> dict[str, Any]:
        """The columns of metrics.csv and what can be said of the rest of the run."""
        about: dict[str, Any] = {**self._fold, "epoch": now.epoch, "epochs": now.epochs, "step": now.step, "lr": now.lr}
        about |= {"train_loss": now.train_loss, **{f"val_{name}": value for name, value in now.val.items()}}
        about |= {"best": now.best, "seconds": now.seconds, "elapsed": now.elapsed}
        if now.members:
            about["members"] = [asdict(member) for member in now.members]
        return {**about, "progress": now.epoch / now.epochs, "seconds_left": self._left(now)}

    def _left(self, now: Epoch) -> float:
        """Seconds for the rest of the epochs, of a fold its own, at the pace since the start."""
        assert self._start is not None
        then, place = self._start if self._start[1] < now.epoch else (self._began, now.epoch - 1.0)
        return (time.monotonic() - then) / (now.epoch - place) * (now.epochs - now.epoch)

    def _told(self) -> list[str]:
        """The notices since the last line that had some."""
        told, self._notices = self._notices, []
        return told

    def _saved(self) -> None:
        if self._saving is not None:
            self._say("checkpoint", path=str(self._saving), epoch=self._epoch, step=self._step)
            self._saving = None

    def _say(self, event: str, **about: Any) -> None:
        line = files.json_text({"event": event, **about}, only_ascii=True)
        if self._path is None:
            streams.say(line)
        elif self._file is not None:
            try:
                self._file.write(line.encode() + b"\n")
            except OSError as error:
                self._file.close()
                self._file = None
                streams.say(f"notice: {self._path}: {files.reason(error)}; the run goes on without it")


class Board(contextlib.AbstractContextManager["Board"]):
    """TensorBoard's event files in a folder: a scalar an epoch for each loss and metric, by part; UsageError."""

    def __init__(self, folder: str) -> None:
        found = extras.fault("tensorboardX", _tensorboard)
        if found is not None:
            raise UsageError(f"--progress tensorboard: tensorboardX {found.what}; {found.cure}")
        try:
            self._writer = _tensorboard().SummaryWriter(folder)
            self._fold = ""
        except OSError as error:
            raise files.storage_error(folder, error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._writer.close()

    def hear(self, event: Event) -> None:
        """An epoch's scores; at the end those of every part, at the best epoch."""
        if isinstance(event, FoldBegun):
            self._fold = f"/fold_{event.fold}"
        elif isinstance(event, Epoch):
            self._add(event.epoch, f"lr{self._fold}", event.lr)
            self._add(event.epoch, f"loss/train{self._fold}", event.train_loss)
            for name, value in event.val.items():
                self._add(event.epoch, f"{name}/validation{self._fold}", value)
            self._writer.flush()
        elif isinstance(event, Finished) and event.why != "already complete":
            for part in ("train", "validation", "test"):
                scores = event.summary.get(part) or {}
                for name, value in scores.items():
                    shown = value["value"] if isinstance(value, dict) else value
                    if isinstance(shown, int | float):
                        self._add(event.summary["best_epoch"], f"best_{name}/{part}", shown)

    def _add(self, epoch: int, tag: str, value: float) -> None:
        self._writer.add_scalar(tag, value, epoch)


def _tensorboard() -> ModuleType:
    import tensorboardX

    module: ModuleType = tensorboardX
    return module
