"""Turns the signals that ask a process to stop into an exit code, without ever cutting a save in half.

While the program starts, and while a net trains, a signal only sets a flag, which the loops poll through `stop`. Where
there is nothing to save (reading tables, scoring, predicting) it raises `Interrupted`, so that even a read from a
silent pipe ends at once. A second signal always ends the process on the spot.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys

TYPE_CHECKING = False  # typing and dataclasses would be imported before the handlers stand
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

CODES = {"SIGINT": 130, "SIGTERM": 75, "SIGUSR1": 75, "SIGHUP": 75}
"""The exit code for each signal that is handled; a system need not have all of them."""


class Interrupted(BaseException):
    """A signal came where nothing has to be saved; not an Exception, so that no `except Exception` swallows it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _State:
    def __init__(self) -> None:
        self.code: int | None = None
        self.raising = False


_state = _State()


def install() -> None:
    """Handle every signal of `CODES` that this system has; one that the parent ignored (nohup) stays ignored."""
    _state.code, _state.raising = None, False
    sys.unraisablehook = _unraisable
    for name in CODES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    atexit.unregister(_ignore)
    atexit.register(_ignore)


def _ignore() -> None:
    # The interpreter's last moments, in which it takes the handlers away: no signal changes the exit code any more.
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
    """Inside, a signal only sets the flag that `stop` reads."""
    before, _state.raising = _state.raising, False
    try:
        yield
    finally:
        _state.raising = before


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Inside, a signal waits; where it would raise outside, it does so at the end."""
    with polling():
        yield
    if _state.raising and _state.code is not None:
        raise Interrupted(_state.code)


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


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"\n")  # a bar may have left the cursor inside its line
    os._exit(code)
