# SPDX-License-Identifier: Apache-2.0
"""A pipeline in simulated time.

Each stage takes one item at a time and never does two things at once, as the plan's cost says: it
receives (and streams what does not fit its memory), works, and sends.  Between two stages is a queue.  A
stage that wants to send waits for a place in it; the place is free again when the next stage takes
the item out, or has worked on it.  Items keep their order.  Where tensors skip stages, an item may be in
several stages at once.

Stages may share devices.  Then a stage waits for its item, for places in the queues behind it, and for its device,
and keeps the device from receiving to sending, once for each item: stages that wait for a device take turns, and
none waits for another one with the device in its hands.
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
    held
        Whether an item keeps its place in a queue until the next stage has worked on it, for it is read there.
    """

    items: int = 100
    jitter: float = 0.0
    queue: int | None = None
    shared_link: bool = False
    microbatches: int | None = None
    seed: int = 0
    held: bool = False

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
        ``receive``, ``work`` and ``send``, and what was waited for: ``input``, ``link``, ``queue``, ``device``; only
        those that took time, in the order of their ends.
    entered, left
        When each item was taken by the first stage, and left the last one.
    longest
        Most items at once in the queue before each stage; 0 for the first, which has none.
    """

    spans: tuple[Span, ...]
    entered: tuple[int, ...]
    left: tuple[int, ...]
    longest: tuple[int, ...]


def simulate(
    stages: Sequence[StageTimes],
    settings: Settings,
    *,
    hops: Sequence[tuple[int, int]] | None = None,
    replay: Sequence[Sequence[StageTimes]] | None = None,
    devices: Sequence[int] | None = None,
) -> Timeline:
    """Run items through a pipeline.

    Parameters
    ----------
    stages
        What an item costs each stage.
    settings
        How it is run.
    hops
        Pairs of an earlier and a later stage, of which the first hands tensors to the second; every stage to the
        next one by default.  A hop over several steps of the pipeline has so many times the places.
    replay
        For each stage what each item costs it, instead of `stages` and jitter; a stage's last row goes on.
    devices
        The device of each stage; None for one of its own each.

    Raises
    ------
    InputError
        If there are no stages, a hop leads backward, or there are too many events to keep.
    """
    if not stages:
        raise InputError("stages", "at least one", "none")
    if 6 * settings.items * len(stages) > _MOST_SPANS:
        most = _MOST_SPANS // (6 * len(stages))
        raise InputError("items", f"at most {most} for {len(stages)} stages", str(settings.items))
    chain = [(number, number + 1) for number in range(len(stages) - 1)]
    ways = chain if hops is None else sorted(set(hops))
    for source, target in ways:
        if not 0 <= source < target < len(stages):
            raise InputError("hops", "an earlier and a later stage", f"{source} and {target}")
    if devices is not None and len(devices) != len(stages):
        raise InputError("devices", f"one per stage, {len(stages)}", str(len(devices)))
    run = _Run(stages, settings, ways, replay, devices)
    for number in range(len(stages)):
        run.clock.start(run.stage(number))
    run.clock.run()
    return Timeline(tuple(run.spans), tuple(run.entered), tuple(run.left), tuple(run.longest))


@dataclass
class _Hop:
    """A queue between two stages: items in it, and places in it."""

    source: int
    target: int
    ready: Semaphore
    room: Semaphore


class _Run:
    def __init__(
        self,
        stages: Sequence[StageTimes],
        settings: Settings,
        ways: Sequence[tuple[int, int]],
        replay: Sequence[Sequence[StageTimes]] | None,
        devices: Sequence[int] | None,
    ) -> None:
        count, queue = len(stages), settings.queue
        self.stages, self.settings, self.clock = stages, settings, Clock()
        self.replay = replay
        self.link = Semaphore(1 if settings.shared_link else None)
        taken = {device: Semaphore(1) for device in devices or ()}
        self.device = [taken[d] for d in devices] if devices is not None else None
        first = settings.items if settings.microbatches is None else settings.microbatches
        hops = [
            _Hop(s, t, Semaphore(0), Semaphore(None if queue is None else queue * (t - s)))
            for s, t in ways
        ]
        self.into = [[h for h in hops if h.target == s] for s in range(count)]
        self.out = [[h for h in hops if h.source == s] for s in range(count)]
        # Stages that read the model's inputs alone begin as soon as the items are there.
        self.entry = {s: Semaphore(first) for s in range(count) if not self.into[s]}
        self.exits = sum(not out for out in self.out)
        self.done = [0] * settings.items
        self.waiting, self.longest = [0] * count, [0] * count
        self.spans: list[Span] = []
        self.entered: list[int] = []
        self.left: list[int] = []

    def stage(self, number: int) -> Process:
        """One stage, all items."""
        draw = random.Random(f"{self.settings.seed} {number}")
        for item in range(self.settings.items):
            times = self._times(number, item)
            yield from self._take(number, item)
            if self.device is not None:
                yield from self._wait_for_room(number, item)
                yield from self._wait(self.device[number], number, item, "device")
            if not self.settings.held:
                self._make_room(number)
            yield from self._transfer(times.receive, number, item, "receive")
            jitter = 0.0 if self.replay else self.settings.jitter
            yield from self._hold(_jittered(times.work, jitter, draw), number, item, "work")
            if self.settings.held:
                self._make_room(number)
            if self.device is None:
                yield from self._wait_for_room(number, item)
            yield from self._transfer(times.send, number, item, "send")
            if self.device is not None:
                self.clock.release(self.device[number])
            for hop in self.out[number]:
                self.waiting[hop.target] += 1
                self.longest[hop.target] = max(self.longest[hop.target], self.waiting[hop.target])
                self.clock.release(hop.ready)
            if not self.out[number]:
                self._leave(item)

    def _times(self, number: int, item: int) -> StageTimes:
        if self.replay is None:
            return self.stages[number]
        rows = self.replay[number]
        return rows[min(item, len(rows) - 1)]

    def _take(self, number: int, item: int) -> Process:
        """Wait for the item on every hop; the first stage to have it all lets it enter."""
        if number in self.entry:
            yield from self._wait(self.entry[number], number, item, "input")
            if item == len(self.entered):
                self.entered.append(self.clock.now)
        for hop in self.into[number]:
            yield from self._wait(hop.ready, number, item, "input")
            self.waiting[number] -= 1

    def _wait_for_room(self, number: int, item: int) -> Process:
        for hop in self.out[number]:
            yield from self._wait(hop.room, number, item, "queue")

    def _make_room(self, number: int) -> None:
        for hop in self.into[number]:
            self.clock.release(hop.room)

    def _leave(self, item: int) -> None:
        """Count an item that a last stage is done with; it has left when all of them are."""
        self.done[item] += 1
        if self.done[item] < self.exits:
            return
        self.left.append(self.clock.now)
        group = self.settings.microbatches
        if group is not None and len(self.left) % group == 0:
            for semaphore in self.entry.values():
                self.clock.release(semaphore, group)

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
