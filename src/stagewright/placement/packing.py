# SPDX-License-Identifier: Apache-2.0
"""A lower bound from counting: how many of the larger units fit on a device beside each other.

A function u from [0, 1] to [0, 1] is dual feasible if numbers that add up to at most 1 have images that do.  So are,
for k = 1, 2, ... (Fekete and Schepers, New classes of fast lower bounds for bin packing problems, 2001),

    u(x) = x  where (k + 1) x is whole,   floor((k + 1) x) / k  elsewhere.

Let no device take more than T, and let u be such a function.  On a kind q of device unit v counts u(w / T) with w its
work there, and a device counts at most 1 in all.  With a(v) the least count of v on any kind that can
run it within T, and r(q) the largest a(v) / count of v on q, a device of kind q holds at most r(q) of the a(v).
If all devices together hold less than all of them, there is no assignment within T.
"""

from __future__ import annotations

import time
from fractions import Fraction

from ..bound.types import Bound
from .devices import UNABLE
from .task import Task

__all__ = ["packing_bound"]

_MOST: int = 100
"""The largest k."""


def packing_bound(task: Task, lower: int, upper: int) -> Bound:
    """Return the best such bound above `lower` picoseconds; `lower` where there is none.

    Parameters
    ----------
    upper
        The period of some plan.
    """
    start = time.perf_counter()
    works = sorted({w for row in task.work for w in row if w > 0})
    best = lower
    for k in range(1, min(_MOST, task.size) + 1):
        # Counts change where (k + 1) w / T passes a whole number j: just below are the candidates.
        steps = {
            -(-(k + 1) * w // j) - 1
            for w in works
            for j in range(max(1, (k + 1) * w // upper), (k + 1) * w // max(1, best) + 1)
        }
        candidates = sorted(t for t in steps if best <= t < upper)
        low, high = 0, len(candidates)
        while low < high:
            middle = (low + high) // 2
            if _refuted(task, candidates[middle], k):
                best = candidates[middle] + 1
                low = middle + 1
            else:
                high = middle
    return Bound("packing", best, time.perf_counter() - start, "recomputed")


def _refuted(task: Task, limit: int, k: int) -> bool:
    """Whether no assignment keeps every load within `limit` picoseconds, by the k-th function."""
    if limit <= 0:
        return False
    rows = [[_count(w, limit, k) for w in row] for row in task.work]
    least = []
    for column in zip(*rows, strict=True):
        able = [count for count in column if count is not None]
        if not able:
            return True
        least.append(min(able))
    held = Fraction(0)
    for kind, row in zip(task.fleet.kinds, rows, strict=True):
        shares = [Fraction(a, c) for a, c in zip(least, row, strict=True) if c]
        held += kind.count * k * (k + 1) * max(shares, default=Fraction(0))
    return bool(sum(least) > held)


def _count(work: int, limit: int, k: int) -> int | None:
    """Return k (k + 1) u(work / limit); None where the work is too much, or cannot be done."""
    if work == UNABLE or work > limit:
        return None
    whole, rest = divmod((k + 1) * work, limit)
    return whole * (k + 1 if rest else k)
