# SPDX-License-Identifier: Apache-2.0
"""A discrete-event simulation of the pipeline that a plan describes (docs/simulation.md)."""

from __future__ import annotations

from .explain import Explanation, explain, replayed_period
from .of_plan import simulate_plan
from .pipeline import Settings, StageTimes, Timeline, simulate
from .report import Simulation, devices_of, stage_times

__all__ = [
    "Explanation",
    "Settings",
    "Simulation",
    "StageTimes",
    "Timeline",
    "devices_of",
    "explain",
    "replayed_period",
    "simulate",
    "simulate_plan",
    "stage_times",
]
