"""A process that forks `fcnet` command lines on request, so that hundreds of runs cost no hundred imports.

Requests on stdin, a JSON object a line. `{"wait": pid}` answers with the wait status, of any fork for 0. Anything
else forks a command and answers with its process id: `arguments`, `folder` to work in, `output` for what it says
(default: nothing), `at` the time (monotonic) when it begins, `hold` a file without which it makes no step, `signal` and
`phase` to send itself that signal in that phase, `times` how often, after `skip` calls, `break` the name of a
deliberate fault.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from fcnet import cli, config, files, signals
from fcnet.cli import eval, following, predict, run, train  # noqa: A004, F401  # so that no fork has to
from fcnet.config import text
from fcnet.data import readers
from fcnet.runs import checkpoint, model, saver, session
from fcnet.training import program, scoring, state


def before(owner: Any, name: str, act: Callable[[], None]) -> None:
    """Call `act` before each call of owner.name."""
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


PHASES: dict[str, tuple[Any, str]] = {
    "loading": (readers, "_open"),
    "batches": (program.Program, "run"),
    "validation": (scoring.Scorer, "__call__"),
    "saving": (checkpoint.npz, "chunks"),
    "prediction": (model.Predictor, "probabilities"),
    "evaluation": (scoring.Scorer, "__call__"),
}


def interrupt(phase: str, number: int, times: int, skip: int) -> None:
    """Send this process a signal, `times` times over, at the call of the phase after the first `skip`."""
    owner, name = PHASES[phase]
    left = [skip]

    def act() -> None:
        left[0] -= 1
        if left[0] == -1:
            for _ in range(times):
                os.kill(os.getpid(), number)

    before(owner, name, act)


def wait_for(path: str) -> None:
    """Wait until the file is there."""
    while not os.path.exists(path):
        time.sleep(0.005)


def save_in_place() -> None:
    """Write files over the old ones, as people do."""

    def write(self: files.Folder, name: str, chunks: Any, needed: int | None = None, seal: bool = False) -> str:
        import hashlib

        with open(self.path / name, "wb", buffering=0) as file:
            digest = hashlib.sha256()
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                time.sleep(0.002)  # a disk that takes its time
            if seal:
                file.write(digest.hexdigest().encode())
        return ""

    files.Folder.write = write  # type: ignore[method-assign]


def forget_row() -> None:
    """Resume at the start of the epoch in progress instead of in its middle."""
    real = state.State.restore

    def restore(self: state.State, numbers: dict[str, Any]) -> None:
        real(self, numbers)
        if self.row:
            steps = -(-self.row // 7)
            self.step -= steps
            self.row = 0

    state.State.restore = restore  # type: ignore[method-assign]


def forget_log() -> None:
    """Leave the log's rows after the checkpoint where they are."""
    saver.MetricsLog.cut = lambda self, epoch: epoch  # type: ignore[method-assign]


def forget_lock() -> None:
    """Work in a folder that another process works in."""
    files.Folder.lock = lambda self: True  # type: ignore[method-assign]


def take_first_name() -> None:
    """Look for a free name first, and make the folder afterwards, whoever has made it in between."""

    def make(path: Any) -> None:
        if path.exists():
            raise FileExistsError
        time.sleep(0.05)
        path.mkdir(parents=True, exist_ok=True)

    files.make_folder = make
    files.Folder.lock = lambda self: True  # type: ignore[method-assign]


def never_poll() -> None:
    """Pay no attention to signals while training."""
    session._Watch.poll = lambda self: None  # type: ignore[method-assign]


BREAKS = {
    "save in place": save_in_place,
    "forget row": forget_row,
    "forget log": forget_log,
    "forget lock": forget_lock,
    "take first name": take_first_name,
    "never poll": never_poll,
}


def child(request: dict[str, Any]) -> None:
    os.chdir(request["folder"])
    out = os.open(request.get("output", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for fd in (1, 2):
        os.dup2(out, fd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    saver.SAVE_SECONDS = 0.0
    os.fsync = lambda fd: None  # what was written outlives a killed process in any case
    if "break" in request:
        BREAKS[request["break"]]()
    signals.install()
    if "signal" in request:
        interrupt(request["phase"], request["signal"], request.get("times", 1), request.get("skip", 0))
    if "hold" in request:
        before(program.Program, "run", lambda: wait_for(request["hold"]))
    while time.monotonic() < request.get("at", 0):
        time.sleep(0.0002)
    code = 1
    try:
        code = cli.main(request["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitpid(request["wait"] or -1, 0)[1]
        else:
            answer = os.fork()
            if not answer:
                child(request)
        print(answer, flush=True)


if __name__ == "__main__":
    # Built here once, so that no fork has to.
    config.from_mapping({"data": {"train": "a.csv", "target": "y"}})
    text.parse("a: 1", "a.yaml")
    main()
