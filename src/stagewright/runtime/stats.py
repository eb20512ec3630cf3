# SPDX-License-Identifier: Apache-2.0
"""Summaries of measured times; all in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Lately",
    "PipelineStats",
    "StageTimes",
    "enough_items",
    "lately",
    "steady_intervals",
    "summary",
]

_PERCENTILES = (50, 90, 99)
_LEAST_INTERVALS = 4


@dataclass(frozen=True)
class StageTimes:
    """Medians of one stage: computing, waiting for inputs, handing outputs on, waiting for room."""

    compute: float | None
    wait: float | None
    send: float | None
    blocked: float | None

    @classmethod
    def of(cls, rows: npt.NDArray[np.float64]) -> StageTimes:
        """Summarise rows of (ready, received, computed, cleared, sent)."""
        if not len(rows):
            return cls(None, None, None, None)
        wait, compute, blocked, send = np.median(np.diff(rows, axis=1), axis=0).tolist()
        return cls(compute, wait, send, blocked)


@dataclass(frozen=True)
class PipelineStats:
    """A pipeline's times.

    `period` is the median time between completed items once the pipeline is full, `throughput`
    the items per second over that time; None with too few items.  `latency` maps percentiles to
    the time from entering to leaving.
    """

    stages: tuple[StageTimes, ...]
    items: int
    period: float | None
    throughput: float | None
    latency: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "stages": [vars(s) for s in self.stages],
            "items": self.items,
            "period": self.period,
            "throughput": self.throughput,
            "latency": self.latency,
        }


@dataclass(frozen=True)
class Lately:
    """What the last items of a stream show, while it runs.

    Attributes
    ----------
    latency
        Median of the seconds from entering to leaving; None before the first.
    busy
        Per stage the share of the time in which it computed; None before it has done two items.
    """

    latency: float | None
    busy: tuple[float | None, ...]

    @property
    def slowest(self) -> int | None:
        """The stage that computes most of the time; None where that is not known."""
        known = [(share, -i) for i, share in enumerate(self.busy) if share is not None]
        return -max(known)[1] if known else None


def lately(rows: Sequence[npt.NDArray[np.float64]], last: Sequence[tuple[float, float]]) -> Lately:
    """Summarise the last rows of each stage and the (entered, left) of the last items."""
    waits = [left - entered for entered, left in last]
    return Lately(float(np.median(waits)) if waits else None, tuple(_busy(r) for r in rows))


def _busy(rows: npt.NDArray[np.float64]) -> float | None:
    """Return the share of computing, from rows of (ready, received, computed, cleared, sent)."""
    lasted = float(rows[-1, 4] - rows[0, 4]) if len(rows) > 1 else 0.0
    if lasted <= 0:
        return None
    return min(1.0, float((rows[1:, 2] - rows[1:, 1]).sum()) / lasted)


def steady_intervals(completed: Sequence[float], stages: int) -> npt.NDArray[np.float64]:
    """Return the times between completions, without the start and the end of the stream.

    None if too few remain: what has piled up while the pipeline filled would count for its pace.
    """
    if len(completed) < enough_items(stages):
        return np.zeros(0)
    middle = completed[stages + 1 : len(completed) - stages]
    return np.diff(np.asarray(middle, np.float64))


def enough_items(stages: int) -> int:
    """Return the fewest items of a stream that is steady for a while."""
    return 2 * stages + 2 + _LEAST_INTERVALS


def summary(
    rows: Sequence[npt.NDArray[np.float64]], done: Sequence[tuple[float, float]]
) -> PipelineStats:
    """Summarise the stages' rows and the items' (entered, left) times."""
    intervals = steady_intervals([left for _, left in done], len(rows))
    waits = [left - entered for entered, left in done]
    latency = {f"p{p}": float(np.percentile(waits, p)) for p in _PERCENTILES} if waits else {}
    total = float(intervals.sum())
    return PipelineStats(
        stages=tuple(StageTimes.of(r) for r in rows),
        items=len(done),
        period=float(np.median(intervals)) if len(intervals) else None,
        throughput=len(intervals) / total if total > 0 else None,
        latency=latency,
    )
