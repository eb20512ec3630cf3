# SPDX-License-Identifier: Apache-2.0
"""How a plan bears costs that are not quite what was assumed (docs/robustness.md)."""

from .spread import Spread
from .studies import Candidate, Factor, Interval, Robustness, study

__all__ = ["Candidate", "Factor", "Interval", "Robustness", "Spread", "study"]
