# SPDX-License-Identifier: Apache-2.0
"""What a simulated run says: its period against the plan's, and where the time went."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import CheckError
from ..timeline import Trace
from ..units import seconds_from_ps, to_ps
from .pipeline import Settings, StageTimes, Timeline

__all__ = ["Simulation", "devices_of", "stage_times"]

_PARTS = ("receive", "work", "send", "input", "link", "queue")


def stage_times(document: Mapping[str, Any], item: str) -> list[StageTimes]:
    """Read what the stages of a plan file cost; overflow is received before the work begins.

    With overlap it is part of computing, as in the plan's cost.  The sum of gradients of replicas is sent.

    Raises
    ------
    CheckError
        If the document has no such stages.
    """
    try:
        rows = [
            {k: to_ps(stage[k], "s", item=f"{item}: stages[{i}].{k}") for k in ("work", "io_in", "io_out", "overflow")}
            for i, stage in enumerate(document["stages"])
        ]  # fmt: skip
    except (KeyError, TypeError) as fault:
        raise CheckError(
            f"{item}: stages", "the objects of docs/plan_file.md", repr(fault)
        ) from None
    syncs = [
        to_ps(stage.get("sync", 0), "s", item=f"{item}: stages[{i}].sync")
        for i, stage in enumerate(document["stages"])
    ]
    machine = document.get("machine")
    if isinstance(machine, Mapping) and machine.get("overlap"):
        return [
            StageTimes(r["io_in"], r["work"] + r["overflow"], max(r["io_out"], sync))
            for r, sync in zip(rows, syncs, strict=True)
        ]
    return [
        StageTimes(r["io_in"] + r["overflow"], r["work"], r["io_out"] + sync)
        for r, sync in zip(rows, syncs, strict=True)
    ]


def devices_of(document: Mapping[str, Any], item: str) -> list[int] | None:
    """Read the device of each stage of a plan file whose devices are shared; None where each has its own.

    Raises
    ------
    CheckError
        If a stage does not say.
    """
    machine = document.get("machine")
    if not isinstance(machine, Mapping) or not machine.get("shared"):
        return None
    numbers = [stage.get("number") for stage in document["stages"]]
    for i, number in enumerate(numbers):
        if not isinstance(number, int) or isinstance(number, bool):
            raise CheckError(f"{item}: stages[{i}].number", "the number of a device", repr(number))
    return numbers


@dataclass(frozen=True)
class Simulation:
    """A simulated run of a plan; `devices` has that of each stage, None for one of its own each.

    With `overlap` stages compute, receive and send at the same time.
    """

    stages: tuple[StageTimes, ...]
    settings: Settings
    timeline: Timeline
    devices: tuple[int, ...] | None = None
    overlap: bool = False

    @property
    def period(self) -> Fraction | None:
        """Mean time between items that leave, over the second half; picoseconds, None for one item.

        Shared devices have less to do once the last item has entered; what leaves after that does not count, if
        enough left before.
        """
        left = self.timeline.left
        if self.devices is not None:
            steady = bisect_right(left, self.timeline.entered[-1])
            left = left[:steady] if 2 * steady > len(left) else left
        start = (len(left) - 1) // 2
        count = len(left) - 1 - start
        return Fraction(left[-1] - left[start], count) if count else None

    @property
    def predicted(self) -> int:
        """The plan's bottleneck, picoseconds: that of the busiest device."""
        loads: dict[int, StageTimes] = {}
        for device, stage in zip(self.devices or range(len(self.stages)), self.stages, strict=True):
            so_far = loads.get(device, StageTimes(0, 0, 0))
            loads[device] = StageTimes(
                so_far.receive + stage.receive, so_far.work + stage.work, so_far.send + stage.send
            )
        return max(map(self.cost, loads.values()))

    def cost(self, stage: StageTimes) -> int:
        """Return what a stage or a device takes for an item, picoseconds."""
        return max(stage.receive, stage.work, stage.send) if self.overlap else stage.total

    @property
    def step(self) -> Fraction | None:
        """Mean time of the groups of microbatches that are complete, picoseconds; None without one."""
        group = self.settings.microbatches
        groups = 0 if group is None else len(self.timeline.left) // group
        if group is None or not groups:
            return None
        return Fraction(self.timeline.left[groups * group - 1], groups)

    def latencies(self) -> list[int]:
        """From when the first stage takes an item until it leaves the last one; sorted, picoseconds."""
        pairs = zip(self.timeline.entered, self.timeline.left, strict=True)
        return sorted(left - entered for entered, left in pairs)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the time of a stage can go into."""
        return _PARTS if self.devices is None else (*_PARTS, "device")

    def shares(self) -> list[dict[str, float]]:
        """For each stage: the part of its time, until it is done, that went into each thing."""
        totals = [dict.fromkeys(self.parts, 0) for _ in self.stages]
        for span in self.timeline.spans:
            totals[span.stage][span.what] += span.end - span.start
        return [
            {part: time / (sum(row.values()) or 1) for part, time in row.items()} for row in totals
        ]

    def trace(self, name: str) -> Trace:
        """Return the timeline to look at, of a plan of this name."""
        count = len(self.stages)
        names = [f"stage {number}" for number in range(count)]
        hops = [(number, number + 1) for number in range(count - 1)]
        return Trace(name, names, self.timeline.spans, hops)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; times in seconds."""
        period, settings, latencies = self.period, self.settings, self.latencies()
        seconds = None if period is None else float(period / 10**12)
        return {
            "period": seconds,
            "predicted_period": seconds_from_ps(self.predicted),
            "ratio": None
            if period is None or not self.predicted
            else float(period / self.predicted),
            "throughput": 1 / seconds if seconds else None,
            "makespan": seconds_from_ps(self.timeline.left[-1]),
            "latency": {
                "min": seconds_from_ps(latencies[0]),
                "median": seconds_from_ps(_rank(latencies, 50)),
                "p95": seconds_from_ps(_rank(latencies, 95)),
                "max": seconds_from_ps(latencies[-1]),
            },
            "stages": [
                {
                    "total": seconds_from_ps(self.cost(stage)),
                    "longest_queue": longest,
                    "shares": shares,
                }
                for stage, longest, shares in zip(
                    self.stages, self.timeline.longest, self.shares(), strict=True
                )
            ],
            "items": settings.items,
            "jitter": settings.jitter,
            "queue": settings.queue,
            "shared_link": settings.shared_link,
            "microbatches": settings.microbatches,
            **({} if self.step is None else {"step": float(self.step / 10**12)}),
            "seed": settings.seed,
        }


def _rank(ordered: Sequence[int], percent: int) -> int:
    """Return the smallest value that so many percent of the values do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
