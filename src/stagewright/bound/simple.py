# SPDX-License-Identifier: Apache-2.0
"""The simple bound: the average stage and the heaviest node."""

from __future__ import annotations

import time

from ..problem import Problem
from .types import Bound

__all__ = ["simple_bound"]


def simple_bound(problem: Problem) -> Bound:
    """Return max(ceil(W / k), heaviest node); groups and pins count as one node.

    Valid with memory, since overflow is never negative.  Source: Archer et al. 2024, section 4.
    """
    start = time.perf_counter()
    average = -(-problem.total_work // problem.machine.stages)
    value = max(average, *problem.work)
    return Bound("simple", value, time.perf_counter() - start, "recomputed")
