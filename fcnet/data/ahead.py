"""Runs an iterator in a thread of its own, a few items ahead of whoever needs them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class _End:
    """What the thread puts after the last item; `error` ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """The same items; at most `depth` of them wait. What the iterator raises is raised here, after its last item.

    When this generator is closed, the thread stops at its next item, and that is waited for: so `items` must not
    wait for something that may never come.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    begun, stopped, done = threading.Lock(), threading.Event(), threading.Event()
    thread = threading.Thread(target=_run, args=(iter(items), waiting, begun, stopped, done), daemon=True)
    try:
        thread.start()  # a signal may end it when the thread is there
        while not isinstance(item := waiting.get(), _End):
            yield item
            del item  # it may be large, and the next is waited for
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        while not begun.acquire(blocking=False) and not done.is_set():  # a thread that has not begun never will
            with contextlib.suppress(queue.Empty):
                waiting.get(timeout=0.01)


def _run(
    items: Iterator[T],
    waiting: queue.Queue[T | _End],
    begun: threading.Lock,
    stopped: threading.Event,
    done: threading.Event,
) -> None:
    if not begun.acquire(blocking=False):
        return
    end = _End()
    try:
        for item in items:
            waiting.put(item)
            del item
            if stopped.is_set():
                break
    except BaseException as error:  # noqa: BLE001  raised again where the items are taken
        end = _End(error)
    waiting.put(end)
    done.set()
