# SPDX-License-Identifier: Apache-2.0
"""Tasks over processes, where a process that dies or hangs costs its own task only."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

__all__ = ["Done", "over_processes"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Done(Generic[Task, Answer]):
    """A task and its answer, or why it has none."""

    task: Task
    answer: Answer | None
    reason: str = ""


def over_processes(
    function: Callable[[Task], Answer],
    tasks: Sequence[Task],
    processes: int,
    limit: Callable[[Task], float],
) -> Iterator[Done[Task, Answer]]:
    """Call a function with each task in one of some processes; yield what is done as it comes.

    Parameters
    ----------
    function, tasks
        Both are sent, so they are picklable.
    processes
        How many run at once; each takes one task after the other.
    limit
        Seconds after which the process of a task is killed.
    """
    waiting = iter(tasks)
    crew = [_Worker(function) for _ in range(max(1, min(processes, len(tasks))))]
    try:
        for worker in crew:
            worker.take(next(waiting, None), limit)
        while busy := [worker for worker in crew if worker.busy]:
            left = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.mine for worker in busy], timeout=max(0.0, left))
            for worker in busy:
                if worker.mine in ready or time.monotonic() >= worker.deadline:
                    yield worker.done(worker.mine in ready)
                    worker.take(next(waiting, None), limit)
    finally:
        for worker in crew:
            worker.stop()


@dataclass(eq=False)
class _Worker:
    """A process, started when it is needed."""

    function: Callable[[Any], Any]
    task: Any = None
    busy: bool = False
    deadline: float = 0.0
    allowed: float = 0.0
    process: Any = None
    mine: Any = field(default=None, repr=False)

    def take(self, task: Any, limit: Callable[[Any], float]) -> None:
        self.task, self.busy = task, task is not None
        if not self.busy:
            return self.stop()
        if self.process is None:
            # A fresh interpreter: a forked one would inherit threads' locks and the parent's memory.
            context = multiprocessing.get_context("spawn")
            self.mine, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(self.function, theirs))
            self.process.start()
            theirs.close()
        self.mine.send(task)
        self.allowed = limit(task)
        self.deadline = time.monotonic() + self.allowed
        return None

    def done(self, ready: bool) -> Done[Any, Any]:
        if not ready:
            self.stop()
            return Done(self.task, None, f"no answer within {self.allowed:g} s")
        try:
            answer, reason = self.mine.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            self.stop()
            return Done(self.task, None, f"the process died with exit code {code}")
        return Done(self.task, answer, reason)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.mine.close()
            self.process = None


def _serve(function: Callable[[Any], Any], theirs: Connection) -> None:
    # Ctrl-C reaches the whole group; whoever started this ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            task = theirs.recv()
        except EOFError:
            return
        try:
            theirs.send((function(task), ""))
        except Exception as error:  # noqa: BLE001 - a fault of one task must not end the others
            theirs.send((None, f"{type(error).__name__}: {error}"))
