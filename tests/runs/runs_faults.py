"""A stand-in for the `os` that `fcnet.files` calls: it fails, kills or cuts the power at the k-th call."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fcnet import files

CALLS = {
    "open", "close", "read", "write", "lseek", "fsync", "replace", "rename", "unlink", "ftruncate",
    "stat", "fstat", "mkdir", "makedirs", "listdir",
}  # fmt: skip


class Killed(BaseException):
    """The process is no more: nothing that comes after does anything."""


class FaultyOs:
    """`os`, but the `at`-th of the watched calls raises OSError(`error`), or, without one, is where the process dies.

    `lasting`: so does every watched call after it. `power`: on death, data never flushed are lost, and with
    "reverted" also renames after which the folder was not flushed. `flushes=False` is a program that forgot fsync.
    """

    def __init__(
        self, at: int, error: int | None = None, lasting: bool = False, power: str = "", flushes: bool = True
    ) -> None:
        self.at, self.error, self.lasting, self.power, self.flushes = at, error, lasting, power, flushes
        self.count = 0
        self.dead = False
        self.fds: set[int] = set()
        self.unflushed: set[int] = set()
        self.renames: list[tuple[int, str, bytes | None]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name == "fdopen":
            return self._fdopen
        return functools.partial(self._call, name, found) if name in CALLS else found

    def _fdopen(self, fd: int, *args: Any, **kwargs: Any) -> Any:
        self.fds.discard(fd)  # the file object closes it
        return os.fdopen(fd, *args, **kwargs)

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.dead:
            raise Killed
        self.count += 1
        if self.count == self.at or (self.lasting and self.count > self.at):
            if self.error is None:
                self.dead = True
                raise Killed
            if name == "close":
                self.fds.discard(args[0])
                os.close(args[0])
            raise OSError(self.error, os.strerror(self.error))
        if name == "fsync" and not self.flushes:
            return None
        self._note(name, args, kwargs)
        # flushing the disk of the machine that runs the tests would prove nothing and take most of the time
        result = None if name == "fsync" else function(*args, **kwargs)
        if name == "open":
            self.fds.add(result)
        return result

    def _note(self, name: str, args: Any, kwargs: Any) -> None:
        if name == "close":
            self.fds.discard(args[0])
        elif name == "write":
            self.unflushed.add(os.fstat(args[0]).st_ino)
        elif name == "fsync":
            status = os.fstat(args[0])
            self.unflushed.discard(status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                self.renames.clear()
        elif name == "replace":
            folder, target = os.dup(kwargs["dst_dir_fd"]), args[1]
            self.fds.add(folder)
            try:
                fd = os.open(target, os.O_RDONLY, dir_fd=folder)
            except FileNotFoundError:
                old = None
            else:
                with os.fdopen(fd, "rb") as file:
                    old = file.read()
            self.renames.append((folder, target, old))

    def bury(self) -> None:
        """What the system does when a process has died: close its files; and when the power was cut, lose data."""
        if self.power:
            for folder, target, old in self.renames if self.power == "reverted" else []:
                os.unlink(target, dir_fd=folder)
                if old is not None:
                    fd = os.open(target, os.O_CREAT | os.O_WRONLY, dir_fd=folder)
                    os.write(fd, old)
                    os.close(fd)
            for folder in {folder for folder, _, _ in self.renames} | self._folders():
                for entry in os.listdir(folder):
                    status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
                    if status.st_ino in self.unflushed and stat.S_ISREG(status.st_mode):
                        fd = os.open(entry, os.O_WRONLY | os.O_TRUNC, dir_fd=folder)
                        os.close(fd)
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def _folders(self) -> set[int]:
        return {fd for fd in self.fds if stat.S_ISDIR(os.fstat(fd).st_mode)}


@contextmanager
def faults(faulty: FaultyOs) -> Iterator[FaultyOs]:
    """Let `fcnet.files` work with `faulty` inside the block; a death ends the block quietly."""
    remove_tree = files.remove_tree

    def remove(path: Any) -> None:
        if faulty.dead:
            raise Killed
        remove_tree(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", faulty)
        patch.setattr(files, "remove_tree", remove)
        try:
            yield faulty
        except Killed:
            assert faulty.dead
        finally:
            faulty.bury()


def every_call(act: Callable[[FaultyOs], None], make: Callable[[int], FaultyOs]) -> Iterator[FaultyOs]:
    """Run act(faulty) with the fault at its first, second, … call until it runs through, pausing after each run."""
    at = 1
    while True:
        faulty = make(at)
        act(faulty)
        yield faulty
        if faulty.count < at:
            return
        at += 1
