# SPDX-License-Identifier: Apache-2.0
"""How far a measured run is: written by the run as it goes, read by whoever watches, in any thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from .stats import Lately

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["RunNow", "RunWatch"]

Item = TypeVar("Item")

_NOTHING: Final = Lately(None, ())
_LATELY: Final = 64  # items


@dataclass(frozen=True)
class RunNow:
    """One look at a run; times in seconds.

    Attributes
    ----------
    phase
        What is being run.
    done, items
        Items that came out of the pipeline, of those that are to be measured.
    rate
        Items per second lately; while the unsplit model runs, at the end of the last round.  None with too few.
    lately
        What the stages show of the same items.
    predicted
        Items per second that the plan promises; None where it says nothing.
    left
        Seconds until the end, if what comes is as fast as what went; None where nothing is known yet.
    """

    phase: str
    done: int
    items: int
    rate: float | None
    lately: Lately
    predicted: float | None
    left: float | None


@dataclass
class _Part:
    """The pipeline, or the unsplit model in one session: items done of those to do, and how long they took."""

    name: str
    items: int
    done: int = 0
    seconds: float = 0.0


class RunWatch:
    """What a measured run writes down; asking for it reads what the stages note of themselves anyway."""

    def __init__(self) -> None:
        self._phase = "starting the stages"
        self._pipeline: Pipeline | None = None
        self._parts: list[_Part] = []
        self._current: tuple[_Part, float] | None = None
        self._came: deque[float] = deque(maxlen=_LATELY)

    def start(self, pipeline: Pipeline, items: int, sessions: Sequence[int]) -> None:
        """Note what will be run in turns: so many items each, the unsplit model by threads of its sessions."""
        self._parts = [_Part("the pipeline", items)] + [
            _Part(f"the unsplit model, {n} thread{'s' if n > 1 else ''}", items) for n in sessions
        ]
        self._pipeline = pipeline
        self._phase = "warming up"

    def drop_sessions(self) -> None:
        """Note that the unsplit model will not run after all."""
        del self._parts[1:]

    def pipeline_items(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass on what comes out of the pipeline in one round."""
        self._came.clear()
        for item in self._part(self._parts[0], items):
            self._came.append(perf_counter())
            yield item

    def session_items(self, number: int, items: Iterable[Item]) -> Iterator[Item]:
        """Pass on what one session of the unsplit model takes in one round."""
        return self._part(self._parts[1 + number], items)

    def _part(self, part: _Part, items: Iterable[Item]) -> Iterator[Item]:
        start = perf_counter()
        self._phase, self._current = part.name, (part, start)
        try:
            for item in items:
                yield item
                part.done += 1
        finally:
            self._current = None
            part.seconds += perf_counter() - start

    def now(self) -> RunNow:
        """Return what is known at this moment."""
        pipeline, came = self._pipeline, list(self._came)
        if pipeline is None or not self._parts:
            return RunNow(self._phase, 0, 0, None, _NOTHING, None, None)
        period = pipeline.manifest.predicted_period
        lasted = came[-1] - came[0] if came else 0.0
        first = self._parts[0]
        return RunNow(
            phase=self._phase,
            done=min(first.done, first.items),
            items=first.items,
            rate=(len(came) - 1) / lasted if lasted > 0 else None,
            lately=pipeline.lately(),
            predicted=1 / period if period else None,
            left=self._left(),
        )

    def _left(self) -> float | None:
        current = self._current
        left, pace = 0.0, None
        for part in self._parts:
            items, seconds = part.done, part.seconds
            if current is not None and current[0] is part:
                seconds += perf_counter() - current[1]
            # What has not run yet is taken to be as slow as what comes before it.
            pace = seconds / items if items and seconds > 0 else pace
            if pace is None:
                return None
            left += pace * max(0, part.items - items)
        return left
