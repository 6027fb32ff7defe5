"""Run folders: who may write to one, which is the newest, and how a new run takes an old one's place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fcnet import files
from fcnet.config.names import flaw
from fcnet.errors import CheckpointError, ConfigError, FcnetError, InUseError, StorageError
from fcnet.random import Array
from fcnet.runs import checkpoint

BEST, LAST, SUMMARY, ENVIRONMENT, LOG = "best.npz", "last.npz", "metrics.json", "environment.json", "log.txt"
RUNS = Path("runs")

SAVED = "saved"  # a key of environment.json
PREDICTIONS = "predictions.csv"
"""Of folds what is predicted of each row by nets that have not seen it."""
VALIDATED = "validated.npz"
"""The best net, where best.npz is one that was trained on validation rows too."""

_OURS = {BEST, LAST, VALIDATED, PREDICTIONS, SUMMARY, ENVIRONMENT, LOG, "metrics.csv", "config.yaml", "report.html"}
_OLDEST = datetime.min.replace(tzinfo=UTC)
_TICK = timedelta(microseconds=1)
READ = sorted(_OURS - {"report.html"})
"""Those that say what a run is; whatever is written about it must not replace them."""
_MOST_NOTES = 1 << 20  # bytes of an environment.json that are looked at


def check_name(name: str) -> None:
    """Raise ConfigError unless `name` can be the name of a run's folder on every system."""
    found = flaw(name)
    if found:
        raise ConfigError(f"{json.dumps(name[:80])} cannot name a run's folder on every system: {found}", key="name")


class RunFolder(contextlib.AbstractContextManager["RunFolder"]):
    """A run folder that this process has locked and writes to; closes with `with`.

    `path` is where the user finds it, `notices` is what is unusual about it. With `replaces` it stands aside under a
    hidden name until `settle` gives it the place of the old run, which is whole until then.
    """

    def __init__(self, folder: files.Folder, path: Path, replaces: files.Folder | None = None) -> None:
        self.folder = folder
        self.path = path
        self.notices = [] if folder.lock() else [f"{path} cannot be locked here: do not start this run twice"]
        self._replaces = replaces
        self._newest = _newest_time(path.parent)
        self._saved = False

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> str:
        """The time now as a timestamp, but later than all that is recorded in the runs beside and was given out here.

        So a clock that jumps back does not change which run is the newest.
        """
        self._newest = max(datetime.now(UTC), self._newest + _TICK)
        return checkpoint.timestamp(self._newest)

    def write(self, name: str, data: bytes) -> None:
        """Write the whole file `name`, durably; see `Folder.write`."""
        self.folder.write(name, [data], needed=len(data))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write `value` as strict JSON; numbers that are not finite become null."""
        self.write(name, files.json_text(value, indent=2).encode() + b"\n")

    def save(self, name: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Save the checkpoint `name` (best before last) and, once there is a `last.npz`, take the old run's place."""
        checkpoint.write(self.folder, name, {**header, "created": self.now()}, arrays)
        if name == LAST:
            self._note_saved()
            self.settle()

    def _note_saved(self) -> None:
        """Write down, once, that there is a last.npz: should it ever be missing, it was lost (see `resumable`)."""
        if not self._saved:
            notes = noted(self.folder.read(ENVIRONMENT))
            if not notes.get(SAVED):
                self.write_json(ENVIRONMENT, {**notes, SAVED: True})
            self._saved = True

    def settle(self) -> None:
        """Take the place of the run that this one replaces, and remove that one; nothing where there is none."""
        old = self._replaces
        if old is None:
            return
        if not self.folder.trade_places(old):
            old.rename(_aside(self.path))
            self.folder.rename(self.path)
        self._replaces = None
        old.close()
        files.remove_tree(old.path)

    def say(self, text: str) -> None:
        """Add one line to `log.txt`, with the time; control characters are escaped by whoever made the text."""
        line = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n"
        self.folder.append(LOG, line.encode("utf-8", "replace"))

    def close(self) -> None:
        """Give the folder free. A run that was to replace another and has not taken its place is removed."""
        self.folder.close()
        if self._replaces is not None:
            if self.folder.path != self.path:
                files.remove_tree(self.folder.path)
            self._replaces.close()
            self._replaces = None
            with contextlib.suppress(StorageError):  # if not now, the next start does it
                _restore(self.path.parent, self.path.name)


def claim(output: Path, name: str) -> RunFolder:
    """A new folder for a run: `name`, or `name-2`, `name-3` … where that is taken, by whomever and however recently.

    The folder holds from its first moment what tells its time and what is said. Raises ConfigError for a name that
    cannot be one, StorageError.
    """
    check_name(name)
    _restore(output, name)
    for path in _names(output, name):
        try:
            return _new(path, path, name)
        except (FileExistsError, InUseError):  # InUseError: it was resumed or replaced before it was ours
            continue
    raise AssertionError("the names do not end")


def overwrite(output: Path, name: str) -> RunFolder:
    """A run that will replace the run `name`, as soon as it has its first checkpoint; `claim` where there is none.

    Raises InUseError when that run is in progress, or when the folder holds no run.
    """
    check_name(name)
    path = output / name
    _restore(output, name)
    if not files.is_there(path):
        return claim(output, name)
    if path.is_symlink() or not files.is_folder(path):
        raise InUseError("it is no folder, so --overwrite does not replace it; choose another name", file=str(path))
    old = files.Folder(path)
    try:
        names = set(old.names())
        if names - {files.LOCK} and not names & _OURS:
            raise InUseError("it holds no run, so --overwrite does not replace it; choose another name", file=str(path))
        old.lock()
        _sweep(output, name)
        hidden = output / f"{_hidden(name)}{secrets.token_hex(8)}"
        return _new(hidden, path, name, replaces=old)
    except BaseException:
        old.close()
        raise


def reopen(path: Path) -> RunFolder:
    """The existing run `path`, locked, to go on with it; temporary files that a killed save left are removed.

    Raises InUseError when another process works on it, CheckpointError when there is no such folder.
    """
    if not files.is_folder(path):
        raise CheckpointError("there is no such run folder", file=str(path))
    run = _locked(path, path)
    try:
        run.folder.sweep()
        _sweep(path.parent, path.name)
        if LOG not in run.folder.names():
            run.write(LOG, b"")
        run.notices += _strangers(run)
    except BaseException:
        run.close()
        raise
    return run


def _strangers(run: RunFolder) -> list[str]:
    status = run.folder.status()
    found = []
    if run.path.is_symlink():
        found.append(f"{run.path} is a link; the run goes on where it leads")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        found.append(f"{run.path} belongs to another user")
    if os.name == "posix" and status.st_mode & 0o002:
        found.append(f"{run.path} can be written by every user of this machine")
    return found


def resumable(path: Path) -> Path | None:
    """The checkpoint from which the run `path` goes on; None when it has none yet and starts from the beginning.

    Raises CheckpointError when training has got further than what is left says: a run never silently starts again.
    """
    if files.is_there(path / LAST):
        return path / LAST
    with files.Folder(path) as held:
        text = held.read(ENVIRONMENT)
    best = files.is_there(path / BEST)
    # without the note it was killed before its first checkpoint was whole
    lost = best if text is None else noted(text).get(SAVED)
    if not lost:
        return None
    serves = f"; {BEST} still serves eval and predict, and" if best else ";"
    raise CheckpointError(
        f"{LAST} is missing, so the run cannot be continued{serves} --overwrite starts the run anew", file=str(path)
    )


def noted(text: bytes | None) -> dict[str, Any]:
    """What environment.json says; nothing where it is missing or garbled."""
    try:
        notes = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def read_last(path: Path) -> checkpoint.Checkpoint:
    """The checkpoint `path` (a run's last.npz); when it is damaged, the message says what still serves."""
    try:
        return checkpoint.read(path)
    except CheckpointError as error:
        best = path.with_name(BEST)
        try:
            checkpoint.read(best)
        except FcnetError:
            raise error from None
        problem = error.problems[0]
        raise CheckpointError(
            f"{problem.text}; {best} is whole and still serves eval and predict, and --overwrite starts the run anew",
            file=problem.file,
        ) from None


def is_complete(path: Path) -> bool:
    """Whether the run has ended: its summary is there."""
    return files.is_there(path / SUMMARY)


def complete(output: Path = RUNS) -> list[Path]:
    """The complete runs under `output`, the newest first, by the time recorded in their best.npz."""
    return [
        path
        for _, path in _timed(path for path in _folders(output) if is_complete(path) and files.is_there(path / BEST))
    ]


def every(output: Path) -> list[Path]:
    """All runs under `output` whose time is known, complete or not, the newest first."""
    return [path for _, path in _timed(_folders(output), LAST)]


def newest_of(output: Path, name: str) -> Path | None:
    """The newest run `name`, `name-2` …, complete or not; a run without any recorded time counts as the oldest.

    One that is called `name-2` itself, and says so, is another.
    """
    _restore(output, name)
    pattern = re.compile(re.escape(name) + r"(-([2-9]|[1-9]\d+))?")
    found = [(*_recorded(path, LAST), path) for path in _folders(output) if pattern.fullmatch(path.name)]
    own = [(time or _OLDEST, path) for time, recorded, path in found if recorded in (None, name)]
    return max(own)[1] if own else None


def resolve(argument: Path | None, output: Path = RUNS) -> Path:
    """The checkpoint that a command means: the file given, a run folder's best.npz, or the newest complete run's."""
    if argument is None:
        runs = complete(output)
        if not runs:
            raise CheckpointError(
                "there is no complete run here; train one with `fcnet train`, or name a checkpoint", file=str(output)
            )
        return runs[0] / BEST
    if not files.is_folder(argument):
        return argument
    if not files.is_there(argument / BEST):
        which = f"; {LAST} is there, name it if you mean it" if files.is_there(argument / LAST) else ""
        raise CheckpointError(f"the folder holds no {BEST}{which}", file=str(argument))
    return argument / BEST


def _names(output: Path, name: str) -> Iterator[Path]:
    yield output / name
    number = 2
    while True:
        yield output / f"{name}-{number}"
        number += 1


def _new(at: Path, path: Path, name: str, replaces: files.Folder | None = None) -> RunFolder:
    files.make_folder(at)
    run = _locked(at, path, replaces)
    try:
        run.write_json(ENVIRONMENT, {"started": run.now(), "name": name})
        run.write(LOG, b"")
    except BaseException:
        run.folder.close()
        files.remove_tree(at)
        raise
    return run


def _locked(at: Path, path: Path, replaces: files.Folder | None = None) -> RunFolder:
    folder = files.Folder(at)
    try:
        return RunFolder(folder, path, replaces)
    except BaseException:
        folder.close()
        raise


def _hidden(name: str) -> str:
    return f".fcnet-{name}-"


def _aside(path: Path) -> Path:
    """Where the old run stands for the moment of a change in two steps."""
    return path.with_name(f"{_hidden(path.name)}old")


def _restore(output: Path, name: str) -> None:
    """Give an old run its name back, where a change in two steps was killed between them."""
    aside = _aside(output / name)
    if not files.is_folder(aside) or files.is_there(output / name):
        return
    with contextlib.suppress(InUseError), files.Folder(aside) as folder:
        folder.lock()  # whoever is in the middle of it has the lock
        folder.rename(output / name)


def _sweep(output: Path, name: str) -> None:
    """Remove what killed replacements of the run `name` left beside it. Only for the holder of that run's lock."""
    pattern = re.compile(re.escape(_hidden(name)) + r"(old|[0-9a-f]{16})")
    for entry in os.scandir(output):
        if pattern.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            files.remove_tree(Path(entry.path))


def _folders(output: Path) -> list[Path]:
    if not files.is_folder(output):
        return []
    with files.Folder(output) as folder:
        names = folder.names()
    return [output / name for name in names if not name.startswith(".") and files.is_folder(output / name)]


def _timed(paths: Any, *first: str) -> list[tuple[datetime, Path]]:
    """The runs whose time is known, the newest first."""
    found = [(time, path) for path in paths if (time := _recorded(path, *first)[0]) is not None]
    return sorted(found, reverse=True)


def _recorded(path: Path, *first: str) -> tuple[datetime | None, Any]:
    """The time of a run and what it is called: as its checkpoint says, or, where that cannot be read, what was noted at
    its start."""
    for name in (*first, BEST):
        with contextlib.suppress(FcnetError):
            header = checkpoint.peek(path / name)
            return checkpoint.created(header), header.get("name")
    with contextlib.suppress(OSError, ValueError, OverflowError):
        with files.open_plain(path / ENVIRONMENT) as file:
            notes = noted(file.read(_MOST_NOTES))
        return checkpoint.created({"created": notes.get("started")}), notes.get("name")
    return None, None


def _newest_time(output: Path) -> datetime:
    times = _timed(_folders(output), LAST)
    return times[0][0] if times else _OLDEST
