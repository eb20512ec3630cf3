# SPDX-License-Identifier: Apache-2.0
"""Why a measured period is not the predicted one: the measured stages, simulated.

The way from the plan's bottleneck to the measured period goes over two periods in between: that of
the slowest stage with its measured median time, and that of a simulation which replays what every
item took in every stage, through queues as long as those of the run.  What is left then is nobody's
computing or copying: handing over between processes, and the caller.

Stages of one worker run on the same cores.  While several of them are busy each has a part of the worker's time, so
of such a while each counts an equal share; a worker's stages together count as long as it was busy.  Its time is
the median over the items of what all its stages took, and in the simulation they take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        The stage with the longest measured median time; where workers run several stages, such a worker.
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
    shared: bool = False

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
    workers = _workers(report)
    busy: dict[int, Any] = {}
    for stage, rows in enumerate(_parts(history, workers)):
        worker = stage if workers is None else workers[stage]
        busy[worker] = busy.get(worker, 0.0) + rows.sum(axis=1)
    times = {worker: median(sums.tolist()) for worker, sums in busy.items()}
    slowest = max(times, key=times.__getitem__)
    replayed = replayed_period(history, report.depth, workers)
    if replayed is None:
        raise InputError("explanation", "a steady stretch", f"{history.items} items", "Run more.")
    return Explanation(
        report.predicted_period,
        slowest,
        times[slowest],
        replayed,
        report.period,
        workers is not None,
    )


def _workers(report: RunReport) -> list[int] | None:
    """Return the worker of each stage, where workers run several; None where each stage has its own."""
    workers = [stage.worker for stage in report.stages]
    known = [worker for worker in workers if worker is not None]
    return known if len(known) == len(workers) and len(set(known)) < len(known) else None


def _parts(history: RunHistory, workers: Sequence[int] | None) -> list[Any]:
    """Return the seconds of computing and of sending of each item, float64[items, 2] per stage."""
    parts = [np.stack([r[:, 2] - r[:, 1], r[:, 4] - r[:, 3]], axis=1) for r in history.rows]
    for worker in set(workers or ()):
        stages = [stage for stage, own in enumerate(workers or ()) if own == worker]
        spans = [history.rows[stage][:, [1, 2, 3, 4]] for stage in stages]
        clock = _fair_clock(np.concatenate([span.reshape(-1, 2) for span in spans]))
        for stage, span in zip(stages, spans, strict=True):
            fair = clock(span)
            parts[stage] = np.stack([fair[:, 1] - fair[:, 0], fair[:, 3] - fair[:, 2]], axis=1)
    return parts


def _fair_clock(spans: Any) -> Callable[[Any], Any]:
    """Return a clock that goes the n-th part as fast while n of the spans last, and stands still while none does."""
    times = np.unique(spans)
    begun = np.searchsorted(np.sort(spans[:, 0]), times, side="right")
    ended = np.searchsorted(np.sort(spans[:, 1]), times, side="right")
    busy = (begun - ended)[:-1]
    steps = np.where(busy > 0, np.diff(times) / np.maximum(busy, 1), 0.0)
    shown = np.concatenate([[0.0], np.cumsum(steps)])
    return lambda asked: shown[np.searchsorted(times, asked)]


def replayed_period(
    history: RunHistory, depth: int, workers: Sequence[int] | None = None
) -> float | None:
    """Return the median time between items that leave a simulation of what was measured, seconds.

    None for too few items.  `workers` has the worker of each stage, where workers run several.
    """
    replay = [
        [StageTimes(0, work, send) for work, send in zip(_ps(p[:, 0]), _ps(p[:, 1]), strict=True)]
        for p in _parts(history, workers)
    ]
    settings = Settings(items=history.items, queue=depth, held=True)
    timeline = simulate(
        [rows[0] for rows in replay], settings, hops=history.hops, replay=replay, devices=workers
    )
    left = [ps / PS_PER_SECOND for ps in timeline.left]
    intervals = steady_intervals(left, len(replay))
    return float(np.median(intervals)) if len(intervals) else None


def _ps(seconds: Any) -> list[int]:
    return [int(ps) for ps in np.rint(np.maximum(seconds, 0) * PS_PER_SECOND).tolist()]
