# SPDX-License-Identifier: Apache-2.0
"""Why a measured period is not the predicted one: the measured stages, simulated.

The way from the plan's bottleneck to the measured period goes over two periods in between: that of
the slowest stage with its measured median time, and that of a simulation which replays what every
item took in every stage, through queues as long as those of the run.  What is left then is nobody's
computing or copying: handing over between processes, and the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ..errors import InputError
from ..runtime.history import RunHistory
from ..runtime.report import RunReport
from ..runtime.stats import steady_intervals
from ..units import PS_PER_SECOND
from .pipeline import Settings, StageTimes, simulate

__all__ = ["Explanation", "explain", "replayed_period"]


@dataclass(frozen=True)
class Explanation:
    """Periods on the way from the predicted to the measured one; seconds.

    Attributes
    ----------
    predicted
        The plan's bottleneck.
    slowest
        The stage with the longest measured median time.
    stages
        That time: computing and sending.
    replayed
        The simulated period, with the measured time of every item and bounded queues.
    measured
        The run's.
    """

    predicted: float
    slowest: int
    stages: float
    replayed: float
    measured: float

    @property
    def steps(self) -> tuple[tuple[str, float], ...]:
        """What each cause adds to the predicted period; they add up to the measured one."""
        return (
            ("stages took other times than planned", self.stages - self.predicted),
            ("items differed, and queues are bounded", self.replayed - self.stages),
            ("handing over and the caller", self.measured - self.replayed),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        causes: Mapping[str, float] = dict(self.steps)
        return {**vars(self), "causes": causes}


def explain(report: RunReport) -> Explanation:
    """Explain a run's period.

    Raises
    ------
    InputError
        If the run has no prediction, or too few items to have a period.
    """
    history = report.history
    if report.predicted_period is None:
        raise InputError("explanation", "a predicted period", "none", "Split with a plan file.")
    if report.period is None or history is None or not history.items:
        raise InputError("explanation", "a measured period", "too few items", "Run more.")
    times = [median(_busy(rows).tolist()) for rows in history.rows]
    slowest = max(range(len(times)), key=times.__getitem__)
    replayed = replayed_period(history, report.depth)
    if replayed is None:
        raise InputError("explanation", "a steady stretch", f"{history.items} items", "Run more.")
    return Explanation(report.predicted_period, slowest, times[slowest], replayed, report.period)


def _busy(rows: Any) -> Any:
    """Return the seconds of computing and sending of each item."""
    return rows[:, 2] - rows[:, 1] + rows[:, 4] - rows[:, 3]


def replayed_period(history: RunHistory, depth: int) -> float | None:
    """Return the median time between items that leave a simulation of what was measured, seconds.

    None for too few items.
    """
    replay = [
        [
            StageTimes(0, work, send)
            for work, send in zip(
                _ps(rows[:, 2] - rows[:, 1]), _ps(rows[:, 4] - rows[:, 3]), strict=True
            )
        ]
        for rows in history.rows
    ]
    settings = Settings(items=history.items, queue=depth, held=True)
    timeline = simulate([rows[0] for rows in replay], settings, hops=history.hops, replay=replay)
    left = [ps / PS_PER_SECOND for ps in timeline.left]
    intervals = steady_intervals(left, len(replay))
    return float(np.median(intervals)) if len(intervals) else None


def _ps(seconds: Any) -> list[int]:
    return [int(ps) for ps in np.rint(np.maximum(seconds, 0) * PS_PER_SECOND).tolist()]
