# SPDX-License-Identifier: Apache-2.0
"""A plan file in simulated time: stages that overlap what they do, and pipelines that train.

**Overlap.**  Where a machine computes, receives and sends at the same time, each of the three is a step of its own
with an engine of its own on the device, one item after another; the period is that of the longest.

**Training.**  What a stage does with a microbatch, forward and backward, is one visit here.  With a flush after m
microbatches a step takes the sum of all visits and m - 1 times the longest: the time of GPipe and 1F1B where no
stage waits within a microbatch, and of (m + k - 1) periods at most, which the plan states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from .pipeline import Settings, StageTimes, Timeline, simulate
from .report import Simulation, devices_of, stage_times

__all__ = ["simulate_plan"]

_ENGINES: Final = 3


def simulate_plan(
    document: Mapping[str, Any],
    item: str,
    settings: Settings,
    measured: Sequence[StageTimes] | None = None,
) -> Simulation:
    """Run a plan document in simulated time.

    Parameters
    ----------
    item
        Names the document in messages.
    measured
        Times to take instead of the plan's; they are of computing and sending one after the other.

    Raises
    ------
    CheckError
        If the document lacks what is needed.
    InputError
        If there are too many events to keep.
    """
    stages = list(measured) if measured is not None else stage_times(document, item)
    devices = devices_of(document, item)
    machine = document.get("machine")
    overlap = measured is None and isinstance(machine, Mapping) and bool(machine.get("overlap"))
    if overlap:
        timeline = _overlapped(stages, settings, devices)
    else:
        timeline = simulate(stages, settings, devices=devices)
    shared = None if devices is None else tuple(devices)
    return Simulation(tuple(stages), settings, timeline, shared, overlap)


def _overlapped(
    stages: Sequence[StageTimes], settings: Settings, devices: Sequence[int] | None
) -> Timeline:
    """Simulate with an engine each for receiving, computing and sending, and return what stages did."""
    steps, engines = [], []
    for number, stage in enumerate(stages):
        device = number if devices is None else devices[number]
        steps += [
            StageTimes(stage.receive, 0, 0),
            StageTimes(0, stage.work, 0),
            StageTimes(0, 0, stage.send),
        ]
        engines += [_ENGINES * device + engine for engine in range(_ENGINES)]
    found = simulate(steps, settings, devices=engines)
    spans = tuple(replace(span, stage=span.stage // _ENGINES) for span in found.spans)
    # An engine with nothing to do takes all items at once: an item enters when something is done with it.
    entered = list(found.entered)
    for span in reversed(found.spans):
        if span.stage < _ENGINES and span.what in ("receive", "work", "send"):
            entered[span.item] = span.start
    return replace(found, spans=spans, entered=tuple(entered), longest=found.longest[::_ENGINES])
