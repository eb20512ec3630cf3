# SPDX-License-Identifier: Apache-2.0
"""Running a folder of stage files as a pipeline on this machine, and measuring it."""

from __future__ import annotations

from .history import RunHistory
from .measure import measure, run_directory
from .pipeline import Pipeline
from .report import RunReport, StageReport

__all__ = ["Pipeline", "RunHistory", "RunReport", "StageReport", "measure", "run_directory"]
