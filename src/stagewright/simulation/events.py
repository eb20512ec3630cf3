# SPDX-License-Identifier: Apache-2.0
"""A discrete-event simulation in a page: processes that hold time and wait for semaphores.

A process is a generator.  It yields a number of picoseconds to let pass, or a semaphore to take.  What
happens at one time happens in the order in which it was scheduled, and who waits first is served first:
two runs are the same.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator

__all__ = ["Clock", "Process", "Semaphore"]


class Semaphore:
    """So many units of something; None for as many as anyone wants."""

    def __init__(self, count: int | None) -> None:
        self.count = count
        self.waiting: deque[Process] = deque()


Process = Generator["int | Semaphore", None, None]


class Clock:
    """The time, in picoseconds, and what is to happen."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Process]] = []
        self._number = 0

    def start(self, process: Process, after: int = 0) -> None:
        """Let a process go on at a later time."""
        heapq.heappush(self._events, (self.now + after, self._number, process))
        self._number += 1

    def release(self, semaphore: Semaphore, count: int = 1) -> None:
        """Give units back; those who wait go on now."""
        for _ in range(count):
            if semaphore.waiting:
                self.start(semaphore.waiting.popleft())
            elif semaphore.count is not None:
                semaphore.count += 1

    def run(self) -> None:
        """Let everything happen until nothing more does."""
        while self._events:
            self.now, _, process = heapq.heappop(self._events)
            self._go_on(process)

    def _go_on(self, process: Process) -> None:
        for wanted in process:
            if isinstance(wanted, int):
                if wanted:
                    self.start(process, wanted)
                    return
            elif wanted.count is None:
                continue
            elif wanted.count:
                wanted.count -= 1
            else:
                wanted.waiting.append(process)
                return
