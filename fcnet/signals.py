"""Turns the signals that ask a process to stop into an exit code, without ever cutting a save in half.

While the program starts, and while a net trains, a signal only sets a flag, which the loops poll through `stop`. Where
there is nothing to save (reading tables, scoring, predicting) it raises `Interrupted`, so that even a read from a
silent pipe ends at once. A second signal always ends the process on the spot.

Python calls a handler only between two of its own steps: one long step (a sort, a product of large matrices, a kernel
that is compiled) would put it off. So a thread waits for the signals as well, and where nothing has to be saved it ends
the process itself when that has not happened within `PATIENCE`, and takes away what was begun.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import time

TYPE_CHECKING = False  # typing and dataclasses would be imported before the handlers stand
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import NoReturn

CODES = {"SIGINT": 130, "SIGTERM": 75, "SIGUSR1": 75, "SIGHUP": 75}
"""The exit code for each signal that is handled; a system need not have all of them."""

KEYBOARD = CODES["SIGINT"]

PATIENCE = 0.2
"""Seconds that a command outside of training has to end by itself."""


class Interrupted(BaseException):
    """A signal came where nothing has to be saved; not an Exception, so that no `except Exception` swallows it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _as_they_are(code: int, said: str) -> str:
    return said


class _Signals:
    def __init__(self) -> None:
        self.code: int | None = None
        self.raising = False
        self.saves = False
        self.hint = ""
        self.undoing: list[Callable[[], object]] = []
        self.words: Callable[[int, str], str] = _as_they_are
        self.watched = 0
        self.said = _thread.allocate_lock()


_state = _Signals()


def install() -> None:
    """Handle every signal of `CODES` that this system has; one that the parent ignored (nohup) stays ignored."""
    _state.code, _state.raising, _state.saves = None, False, False
    sys.unraisablehook = _unraisable
    for name in CODES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    atexit.unregister(_ignore)
    atexit.register(_ignore)


def watch() -> None:
    """From now on, a signal that comes outside of `polling` ends the process soon, whatever its main thread is doing.

    Called when the standard descriptors are there, as it opens two more.
    """
    _state.hint, _state.words, _state.said = "", _as_they_are, _thread.allocate_lock()
    if os.name != "posix" or _state.watched == os.getpid():
        return
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)  # a child's signals are not ours
    _state.watched = os.getpid()
    _thread.start_new_thread(_watch, (told,))


def _forget() -> None:
    signal.set_wakeup_fd(-1)


def _watch(told: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's, and wake its reads
    while True:
        code = _state.code if _state.code is not None and not _state.saves else _code(os.read(told, 1)[0])
        if code is None:
            continue
        time.sleep(PATIENCE)
        if not _state.saves:
            _leave(code, "".join(f"{line}\n" for line in parting(code)))


def _code(number: int) -> int | None:
    return CODES.get(signal.Signals(number).name)


def parting(code: int) -> list[str]:
    """The lines that a command which is stopped says at its end; none when they are said already."""
    if not _state.said.acquire(blocking=False):
        return []
    by = "by Ctrl-C" if code == KEYBOARD else "by a signal"
    return [f"fcnet: stopped {by}", *filter(None, [_state.hint])]


def hint(line: str) -> None:
    """Say this as well at the end, if a signal stops the command."""
    _state.hint = line


def last_words(words: Callable[[int, str], str]) -> None:
    """Where a signal ends the process on the spot, write to stderr what this makes of the exit code and the lines."""
    _state.words = words


def undo(action: Callable[[], object]) -> None:
    """Do this where a signal ends the process on the spot, which runs neither `finally` nor what atexit knows."""
    _state.undoing.append(action)


@contextlib.contextmanager
def undoing(action: Callable[[], object]) -> Iterator[None]:
    """`undo` for as long as the block takes."""
    undo(action)
    try:
        yield
    finally:
        _state.undoing.remove(action)


def _ignore() -> None:
    # The interpreter's last moments, in which it takes the handlers away: no signal changes the exit code any more.
    _state.saves = True
    for name in CODES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_IGN)


def stop() -> int | None:
    """The exit code that a signal asked for, or None while nothing asks to stop."""
    return _state.code


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Inside, a signal raises `Interrupted` at once; so does one that came before."""
    before, _state.raising = _state.raising, True
    try:
        if _state.code is not None:
            raise Interrupted(_state.code)
        yield
    finally:
        _state.raising = before


@contextlib.contextmanager
def polling() -> Iterator[None]:
    """Inside, a signal only sets the flag that `stop` reads, and is given all the time that saving takes."""
    before, _state.raising, _state.saves = (_state.raising, _state.saves), False, True
    try:
        yield
    finally:
        _state.raising, _state.saves = before


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.code is not None:
        _leave(_state.code)
    _state.code = CODES[signal.Signals(number).name]
    if _state.raising:
        raise Interrupted(_state.code)


def _unraisable(problem: sys.UnraisableHookArgs) -> None:
    # Raised inside a destructor or a callback, Interrupted would be printed and forgotten.
    if isinstance(problem.exc_value, Interrupted):
        _leave(problem.exc_value.exit_code)
    sys.__unraisablehook__(problem)


def _leave(code: int, said: str = "\n") -> NoReturn:
    for action in reversed(_state.undoing):
        with contextlib.suppress(Exception):
            action()
    with contextlib.suppress(OSError):
        # the line end: a bar may have left the cursor inside its line
        os.write(2, _state.words(code, said).encode("utf-8", "replace"))
    os._exit(code)
