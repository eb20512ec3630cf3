# SPDX-License-Identifier: Apache-2.0
"""A discrete-event simulation of the pipeline that a plan describes (docs/simulation.md)."""

from __future__ import annotations

from .pipeline import Settings, Span, StageTimes, Timeline, simulate
from .report import Simulation, stage_times
from .trace import trace_text

__all__ = [
    "Settings",
    "Simulation",
    "Span",
    "StageTimes",
    "Timeline",
    "simulate",
    "stage_times",
    "trace_text",
]
