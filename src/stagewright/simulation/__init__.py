# SPDX-License-Identifier: Apache-2.0
"""A discrete-event simulation of the pipeline that a plan describes (docs/simulation.md)."""

from __future__ import annotations

from .pipeline import Settings, StageTimes, Timeline, simulate
from .report import Simulation, stage_times

__all__ = [
    "Settings",
    "Simulation",
    "StageTimes",
    "Timeline",
    "simulate",
    "stage_times",
]
