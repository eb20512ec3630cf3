# SPDX-License-Identifier: Apache-2.0
"""A pipeline in simulated time.

Each stage takes one item at a time and never does two things at once, as the plan's cost says: it
receives (and streams what does not fit its memory), works, and sends.  Between two stages is a queue.  A
stage that wants to send waits for a place in it; the place is free again when the next stage takes
the item out.  Items keep their order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import InputError
from ..timeline import Span
from .events import Clock, Process, Semaphore

__all__ = ["Settings", "StageTimes", "Timeline", "simulate"]

_MOST_SPANS: Final = 5_000_000


@dataclass(frozen=True)
class StageTimes:
    """What an item costs a stage, picoseconds."""

    receive: int
    work: int
    send: int

    @property
    def total(self) -> int:
        """The stage's f(S)."""
        return self.receive + self.work + self.send


@dataclass(frozen=True)
class Settings:
    """How the pipeline is run.

    Attributes
    ----------
    items
        Inferences, or microbatches.
    jitter
        Standard deviation of each work time as a fraction of it; log-normal, with the plan's time as mean.
    queue
        Items that fit between two stages, at least 1; None for any number.
    shared_link
        Whether all stages send and receive through one link that serves one of them at a time.
    microbatches
        Items after which the pipeline runs empty before the next ones enter; None for never.
    seed
        Of the jitter.
    """

    items: int = 100
    jitter: float = 0.0
    queue: int | None = None
    shared_link: bool = False
    microbatches: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("items", "queue", "microbatches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(name, "a whole number >= 1", str(value))
        if not 0 <= self.jitter <= 10:
            raise InputError("jitter", "a fraction from 0 to 10 (0 % to 1000 %)", str(self.jitter))


@dataclass(frozen=True)
class Timeline:
    """What happened.

    Attributes
    ----------
    spans
        ``receive``, ``work`` and ``send``, and what was waited for: ``input``, ``link``, ``queue``; only those
        that took time, in the order of their ends.
    entered, left
        When each item was taken by the first stage, and left the last one.
    longest
        Most items at once in the queue before each stage; 0 for the first, which has none.
    """

    spans: tuple[Span, ...]
    entered: tuple[int, ...]
    left: tuple[int, ...]
    longest: tuple[int, ...]


def simulate(stages: Sequence[StageTimes], settings: Settings) -> Timeline:
    """Run items through a pipeline.

    Raises
    ------
    InputError
        If there are no stages, or too many events to keep.
    """
    if not stages:
        raise InputError("stages", "at least one", "none")
    if 6 * settings.items * len(stages) > _MOST_SPANS:
        most = _MOST_SPANS // (6 * len(stages))
        raise InputError("items", f"at most {most} for {len(stages)} stages", str(settings.items))
    run = _Run(stages, settings)
    for number in range(len(stages)):
        run.clock.start(run.stage(number))
    run.clock.run()
    return Timeline(tuple(run.spans), tuple(run.entered), tuple(run.left), tuple(run.longest))


class _Run:
    def __init__(self, stages: Sequence[StageTimes], settings: Settings) -> None:
        count = len(stages)
        self.stages, self.settings, self.clock = stages, settings, Clock()
        self.link = Semaphore(1 if settings.shared_link else None)
        first = settings.items if settings.microbatches is None else settings.microbatches
        self.ready = [Semaphore(first if s == 0 else 0) for s in range(count)]
        self.room = [Semaphore(settings.queue) for _ in range(count)]
        self.waiting, self.longest = [0] * count, [0] * count
        self.spans: list[Span] = []
        self.entered: list[int] = []
        self.left: list[int] = []

    def stage(self, number: int) -> Process:
        """One stage, all items."""
        times, last = self.stages[number], number == len(self.stages) - 1
        draw = random.Random(f"{self.settings.seed} {number}")
        for item in range(self.settings.items):
            yield from self._wait(self.ready[number], number, item, "input")
            if number:
                self.waiting[number] -= 1
                self.clock.release(self.room[number])
            else:
                self.entered.append(self.clock.now)
            yield from self._transfer(times.receive, number, item, "receive")
            yield from self._hold(
                _jittered(times.work, self.settings.jitter, draw), number, item, "work"
            )
            if not last:
                yield from self._wait(self.room[number + 1], number, item, "queue")
            yield from self._transfer(times.send, number, item, "send")
            if not last:
                self.waiting[number + 1] += 1
                self.longest[number + 1] = max(self.longest[number + 1], self.waiting[number + 1])
                self.clock.release(self.ready[number + 1])
                continue
            self.left.append(self.clock.now)
            group = self.settings.microbatches
            if group is not None and len(self.left) % group == 0:
                self.clock.release(self.ready[0], group)

    def _hold(self, time: int, stage: int, item: int, what: str) -> Process:
        if time:
            start = self.clock.now
            yield time
            self.spans.append(Span(stage, item, what, start, self.clock.now))

    def _wait(self, semaphore: Semaphore, stage: int, item: int, what: str) -> Process:
        start = self.clock.now
        yield semaphore
        if self.clock.now > start:
            self.spans.append(Span(stage, item, what, start, self.clock.now))

    def _transfer(self, time: int, stage: int, item: int, what: str) -> Process:
        if time:
            yield from self._wait(self.link, stage, item, "link")
            yield from self._hold(time, stage, item, what)
            self.clock.release(self.link)


def _jittered(time: int, jitter: float, draw: random.Random) -> int:
    """Return a time drawn from the log-normal distribution of this mean and relative deviation."""
    if not jitter:
        return time
    variance = math.log1p(jitter * jitter)
    return round(time * math.exp(math.sqrt(variance) * draw.gauss(0, 1) - variance / 2))
