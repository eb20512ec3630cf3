# SPDX-License-Identifier: Apache-2.0
"""Plans corrected by what their pipelines measured (docs/running.md)."""

from __future__ import annotations

from .correction import Costs, Measurement, StageMeasurement, corrected
from .rounds import Round, Tuned, tune_plans
from .running import Tuning, tune

__all__ = [
    "Costs",
    "Measurement",
    "Round",
    "StageMeasurement",
    "Tuned",
    "Tuning",
    "corrected",
    "tune",
    "tune_plans",
]
