# SPDX-License-Identifier: Apache-2.0
"""Telling a stage that has stalled from one that waits for others.

A stage is stalled when for its time limit it could have moved and did not: it computes; or it waits
while all who feed it have handed over the next item; or it hands on while all whom it feeds have room.
So whoever waits behind a stalled stage is not blamed, nor is anyone when the caller is slow.  Only counts
are looked at, which each stage keeps in shared memory; the clock is the watcher's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

from .channels import Receiver, Sender
from .stage_loop import Times
from .wiring import OUTSIDE, Route

__all__ = ["Watch", "Watched"]

_LOOKS: Final = 5
_LONGEST_INTERVAL: Final = 0.5


class Watched(Protocol):
    """What is looked at: an engine."""

    @property
    def times(self) -> Sequence[Times]:
        """The times of each stage, with its counts."""

    @property
    def feeds(self) -> Sequence[Sender]:
        """The channels into the stages."""

    @property
    def results(self) -> Sequence[Receiver]:
        """The channels out of the stages."""


class Watch:
    """Looks at the stages of an engine.

    Parameters
    ----------
    limits
        Seconds, per stage.
    routes
        Who sends to whom.
    engine
        The stages' counts and the caller's ends.
    """

    def __init__(self, limits: Sequence[float], routes: Sequence[Route], engine: Watched) -> None:
        self._limits, self._engine = limits, engine
        self._into = [[r for r in routes if r.target == i] for i in range(len(limits))]
        self._out_of = [[r for r in routes if r.source == i] for i in range(len(limits))]
        self.interval = min(_LONGEST_INTERVAL, min(limits) / _LOOKS)
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self._seen: list[tuple[tuple[int, int, int], float]] = [((-1, -1, -1), 0.0)] * len(
            self._limits
        )

    def stalled(self) -> list[tuple[int, str]]:
        """Return the stages that have stalled, each with what it did not do for how long."""
        now = time.monotonic()
        found = []
        for number, limit in enumerate(self._limits):
            counts = self._engine.times[number].counts
            doing = self._could(number, counts)
            if counts != self._seen[number][0] or not doing:
                self._seen[number] = counts, now
            elif now - self._seen[number][1] > limit:
                found.append((number, f"{doing} for more than {limit:g} s"))
                self._seen[number] = counts, now
        return found

    def _could(self, number: int, counts: tuple[int, int, int]) -> str:
        """Return what the stage is at if nobody keeps it from moving, else nothing."""
        taken, computed, sent = counts
        if taken > computed:
            return "an item computed"
        if computed > sent:
            room = all(sent - self._released(r.target) < r.slots for r in self._out_of[number])
            return "an item was not handed on" if room else ""
        due = all(self._sent(r.source, number) > taken for r in self._into[number])
        return "an item was not taken" if due else ""

    def _sent(self, source: int, target: int) -> int:
        if source != OUTSIDE:
            return self._engine.times[source].counts[2]
        return next((s.sent for s in self._engine.feeds if s.route.target == target), 0)

    def _released(self, target: int) -> int:
        if target != OUTSIDE:
            return self._engine.times[target].counts[1]
        # All that the caller takes belongs to one item at a time.
        return min((r.released for r in self._engine.results), default=0)
