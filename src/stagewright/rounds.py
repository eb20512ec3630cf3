# SPDX-License-Identifier: Apache-2.0
"""Tasks side by side, in rounds: the same outcome at any number of threads.

The tasks of a round start from the same knowledge and have their own amounts of work.  What they
find is taken into account when the round is over, in the order of their ranks.  A task can end the
round early in two ways that change no outcome:

- It proves that nothing is better than what the round started from.  What the others find is ignored.
- It finds what cannot be beaten.  Tasks of higher rank (lower number) might find the same by another
  way, so they are waited for; those of lower rank are cancelled and ignored.

With one thread, and where all are brief, the same tasks run one after the other.  Ctrl-C cancels
what runs and is remembered, wherever it comes, so that nothing found is lost.  A deadline ends the tasks
from inside.
"""

from __future__ import annotations

import enum
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from ._native import Cancel
from .effort import Effort

__all__ = ["Ends", "Rounds", "Task"]

T = TypeVar("T")

_PATIENCE = 1.0  # seconds after which Ctrl-C is taken for a second one, which ends the program


class Ends(enum.Enum):
    """What an outcome means for the other tasks of the round."""

    NOTHING = enum.auto()
    LOWER_RANKS = enum.auto()
    ALL = enum.auto()


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """Something to do in a round.

    Attributes
    ----------
    name
        What it is, for people.
    run
        Does it within an effort; must not change anything that other tasks read.
    work
        Units of work it may spend.
    rank
        Whose outcome counts first where it matters; each rank once in a round.
    """

    name: str
    run: Callable[[Effort], T]
    work: int
    rank: int


class Rounds:
    """Runs rounds on a few threads until a deadline; a context manager.

    Attributes
    ----------
    interrupted
        Ctrl-C came; no further round should start.
    """

    def __init__(self, threads: int, deadline: float) -> None:
        self.deadline = deadline
        self.interrupted = False
        self._interrupted_at = 0.0
        self._cancels: Sequence[Cancel] = ()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stagewright")
        self._restore: Any = None

    def __enter__(self) -> Self:
        # An exception could be raised between any two steps of the caller; a flag cannot.  Whoever has a
        # handler of his own keeps it.
        mine = threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._restore = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._restore is not None:
            signal.signal(signal.SIGINT, self._restore)

    def _interrupt(self, *_: object) -> None:
        now = time.perf_counter()
        if self.interrupted and now > self._interrupted_at + _PATIENCE:
            raise KeyboardInterrupt
        if not self.interrupted:
            self.interrupted, self._interrupted_at = True, now
        self._interrupt_all()

    def _interrupt_all(self) -> None:
        for cancel in self._cancels:
            cancel.set()

    def over(self) -> bool:
        """Whether no further round should start: time is up, or Ctrl-C came."""
        return self.interrupted or time.perf_counter() >= self.deadline

    def alone(self, run: Callable[[Effort], T]) -> T:
        """Run one thing to its end; Ctrl-C cancels its effort and is remembered."""
        return self.run([Task("", run, 2**62, 0)], lambda _: Ends.NOTHING, brief=True)[0]

    def run(
        self, tasks: Sequence[Task[T]], ends: Callable[[T], Ends], *, brief: bool = False
    ) -> list[T]:
        """Run the tasks, started in the given order; return the outcomes that count, by rank.

        Brief ones run here, one after the other: to hand them to threads would take longer.
        """
        self._cancels = cancels = [Cancel() for _ in tasks]
        if self.interrupted:
            self._interrupt_all()
        efforts = [
            Effort(self.deadline, task.work, cancel)
            for task, cancel in zip(tasks, cancels, strict=True)
        ]
        if (brief or self._threads == 1) and self._takes_interrupts_as_flags():
            outcomes, counting = self._in_turn(tasks, efforts, ends)
        else:
            outcomes, counting = self._side_by_side(tasks, efforts, ends)
        ranked = sorted(counting & outcomes.keys(), key=lambda i: tasks[i].rank)
        return [outcomes[i] for i in ranked]

    def _takes_interrupts_as_flags(self) -> bool:
        return self._restore is not None or (
            threading.current_thread() is not threading.main_thread()
        )

    def _in_turn(
        self, tasks: Sequence[Task[T]], efforts: Sequence[Effort], ends: Callable[[T], Ends]
    ) -> tuple[dict[int, T], set[int]]:
        outcomes: dict[int, T] = {}
        verdicts: dict[int, Ends] = {}
        counting = set(range(len(tasks)))
        for i, (task, effort) in enumerate(zip(tasks, efforts, strict=True)):
            if i in counting:
                outcomes[i] = task.run(effort)
                verdicts[i] = Ends.NOTHING if self.interrupted else ends(outcomes[i])
                counting = _counting([task.rank for task in tasks], verdicts)
        return outcomes, counting

    def _side_by_side(
        self, tasks: Sequence[Task[T]], efforts: Sequence[Effort], ends: Callable[[T], Ends]
    ) -> tuple[dict[int, T], set[int]]:
        cancels = self._cancels
        futures: dict[Future[T], int] = {}
        for i, (task, effort) in enumerate(zip(tasks, efforts, strict=True)):
            futures[self._pool.submit(task.run, effort)] = i
        outcomes: dict[int, T] = {}
        verdicts: dict[int, Ends] = {}
        counting = set(range(len(tasks)))
        pending = set(futures)
        while pending:
            try:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                if self._restore is not None:  # the second one
                    raise
                self.interrupted = True
                self._interrupt_all()
                continue
            for future in done:
                if not future.cancelled():
                    i = futures[future]
                    outcomes[i] = future.result()
                    verdicts[i] = Ends.NOTHING if self.interrupted else ends(outcomes[i])
            counting = _counting([task.rank for task in tasks], verdicts)
            for future, i in futures.items():
                if i not in counting:
                    cancels[i].set()
                    future.cancel()
            pending = {future for future in pending if not future.cancelled()}
        return outcomes, counting


def _counting(ranks: Sequence[int], verdicts: Mapping[int, Ends]) -> set[int]:
    """Return the places of the tasks whose outcomes count, by what is known of them so far."""
    final = [i for i, end in verdicts.items() if end is Ends.ALL]
    if final:
        return {min(final, key=ranks.__getitem__)}
    last = min((ranks[i] for i, end in verdicts.items() if end is Ends.LOWER_RANKS), default=None)
    return {i for i, rank in enumerate(ranks) if last is None or rank <= last}
