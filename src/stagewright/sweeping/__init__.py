# SPDX-License-Identifier: Apache-2.0
"""Plans for many numbers of stages and several machines at once, with shared work."""

from __future__ import annotations

from .driver import PointProgress, SweepRun, sweep_machines
from .points import Answer, Point, devices_for, pareto

__all__ = [
    "Answer",
    "Point",
    "PointProgress",
    "SweepRun",
    "devices_for",
    "pareto",
    "sweep_machines",
]
