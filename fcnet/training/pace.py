"""On how many threads steps are made: all, or one where that is faster, as is found out while they are made.

Where another program wants the cores, threads that wait for one another lose far more than they gain.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter, process_time

from fcnet.backends.base import Backend, Paced

CROWDED = 0.85
"""Of the processors' time for all threads, below which part another program has the rest."""

FIRST, LATER, MOST = 0.3, 3.0, 60.0
"""Seconds before the other number of threads is tried, in a crowd and else; a trial in vain doubles them, to MOST."""

TRIED = 0.01
"""Seconds of a trial's chunk, by the other number's pace."""

SETTLED = 0.2
"""Seconds that a trial may take: nearly so long threads of OpenBLAS that are not wanted any more still spin."""

GAIN, LOSS = 1.15, 1.3
"""How many times as fast the other number has to be, and how many times as slow ends a trial at once."""


class Pace:
    """The number of threads of a run whose largest product has so many multiplications. No bit depends on it."""

    def __init__(self, backend: Backend, largest: int) -> None:
        self._backend = backend if isinstance(backend, Paced) else None
        self.most = backend.most(largest) if isinstance(backend, Paced) else 1
        self.threads = self.most
        self._recent: deque[float] = deque(maxlen=3)
        self._mark = perf_counter(), process_time()
        self._spent = self._crowded = self._trial = 0.0
        self._vain = 0
        self._trying = False

    def steps(self, k: int) -> int:
        """How many of k steps the next chunk is to have."""
        return min(k, max(1, int(TRIED / self._usual()))) if self._trying else k

    def begin(self) -> None:
        """A chunk begins."""
        self._mark = perf_counter(), process_time()

    def end(self, steps: int) -> str | None:
        """A chunk of so many steps has ended; what to tell the user, if there is anything."""
        if self.most == 1:
            return None
        wall, used = perf_counter() - self._mark[0], process_time() - self._mark[1]
        if self._trying:
            return self._judge(wall, wall / steps)
        self._recent.append(wall / steps)
        self._spent += wall
        self._crowded += wall * (self.threads > 1 and used < CROWDED * wall * self.threads)
        patience = (FIRST if self._crowded > self._spent / 2 else LATER) * 2**self._vain
        if self._spent >= min(patience, MOST):
            self._trying, self._trial = True, 0.0
            self._use(1 if self.threads > 1 else self.most)
        return None

    def _judge(self, wall: float, other: float) -> str | None:
        """Go on with the other number, try it for longer, or go back."""
        own = self._usual()
        self._trial += wall
        if other * GAIN < own:
            self._vain, before = 0, self.threads
            self._reset(1 if self.threads > 1 else self.most)
            said = f"{own / other:.1f} × as fast as {before} here and now: another program has the cores, too"
            return f"one thread is {said}; training goes on with it" if before > 1 else None
        if other > own * LOSS or self._trial > SETTLED:
            self._vain = min(self._vain + 1, 8)
            self._use(self.threads)
            self._reset(self.threads)
        return None

    def _usual(self) -> float:
        """Seconds of a step: the middle one of the last three chunks'."""
        return sorted(self._recent)[len(self._recent) // 2]

    def _reset(self, threads: int) -> None:
        self.threads, self._trying = threads, False
        self._spent = self._crowded = 0.0
        self._recent.clear()

    def _use(self, threads: int) -> None:
        assert self._backend is not None
        self._backend.use(threads)
