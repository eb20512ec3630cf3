# SPDX-License-Identifier: Apache-2.0
"""A lower bound from counting: how many of the larger units fit on a device beside each other.

A function u from [0, 1] to [0, 1] is dual feasible if numbers that add up to at most 1 have images that do.  So are,
for k = 1, 2, ... (Fekete and Schepers, New classes of fast lower bounds for bin packing problems, 2001),

    u(x) = x  where (k + 1) x is whole,   floor((k + 1) x) / k  elsewhere.

Let no device take more than T, and let u be such a function.  On a kind q of device unit v counts u(w / T) with w its
work there, and a device counts at most 1 in all.  With a(v) the least count of v on any kind that can
run it within T, and r(q) the largest a(v) / count of v on q, a device of kind q holds at most r(q) of the a(v).
If all devices together hold less than all of them, there is no assignment within T.

The counts a(v) are weights for :mod:`.filling` then, which says what else a device pays for what it holds: the transfers.
For each k those just below the least T that this function leaves open are tried.
"""

from __future__ import annotations

import time
from fractions import Fraction

from ..bound.types import Bound
from .devices import UNABLE
from .filling import Purse, filling_bound
from .task import Task

__all__ = ["packing_bound"]

_MOST: int = 100
"""The largest k."""

_TRIED: int = 32
"""Values of T that are tried for each k in search of weights."""

_STEPS: int = 200_000
"""Of the searches for sets of units, for all weights together."""


def packing_bound(task: Task, lower: int, upper: int, *, deadline: float = float("inf")) -> Bound:
    """Return the best such bound above `lower` picoseconds; `lower` where there is none.

    Parameters
    ----------
    upper
        The period of some plan.
    deadline
        When to stop, on the clock of ``time.perf_counter``; counting without transfers is done in any case.
    """
    start = time.perf_counter()
    works = sorted({w for row in task.work for w in row if w > 0})
    ks = range(1, min(_MOST, task.size) + 1)
    best = lower
    for k in ks:
        candidates = _steps(works, k, best, upper)
        low, high = 0, len(candidates)
        while low < high:
            middle = (low + high) // 2
            if _refuted(task, candidates[middle], k):
                best = candidates[middle] + 1
                low = middle + 1
            else:
                high = middle
    rows = []
    for k in ks:
        if best >= upper or time.perf_counter() > deadline:
            break
        steps = _steps(works, k, upper // 2, upper)[-_TRIED:]
        limit = next((t for t in reversed(steps) if _refuted(task, t, k)), 0)
        if limit:
            rows.append((-limit, k))
    purse = Purse(_STEPS, deadline)
    for negative, k in sorted(rows):
        least, most = _counts(task, -negative, k)
        if least is not None and best < upper and purse.steps > 0:
            held = [int(m) for m in most]
            best = max(best, filling_bound(task, least, held, 1 - negative, upper, purse))
    return Bound("packing", best, time.perf_counter() - start, "recomputed")


def _steps(works: list[int], k: int, low: int, high: int) -> list[int]:
    """Return the T in low .. high just below which some count changes: (k + 1) w / T passes a whole number."""
    steps = {
        -(-(k + 1) * w // j) - 1
        for w in works
        for j in range(max(1, (k + 1) * w // high), (k + 1) * w // max(1, low) + 1)
    }
    return sorted(t for t in steps if low <= t < high)


def _refuted(task: Task, limit: int, k: int) -> bool:
    """Whether no assignment keeps every load within `limit` picoseconds, by the k-th function."""
    if limit <= 0:
        return False
    least, most = _counts(task, limit, k)
    if least is None:
        return True
    kinds = zip(task.fleet.kinds, most, strict=True)
    return bool(sum(least) > sum(kind.count * held for kind, held in kinds))


def _counts(task: Task, limit: int, k: int) -> tuple[list[int] | None, list[Fraction]]:
    """Return k (k + 1) times a(v) of each unit, None if one fits nowhere, and what a device of each kind holds of them."""
    rows = [[_count(w, limit, k) for w in row] for row in task.work]
    least = []
    for column in zip(*rows, strict=True):
        able = [count for count in column if count is not None]
        if not able:
            return None, []
        least.append(min(able))
    most = []
    for row in rows:
        shares = (Fraction(a, c) for a, c in set(zip(least, row, strict=True)) if c)
        most.append(k * (k + 1) * max(shares, default=Fraction(0)))
    return least, most


def _count(work: int, limit: int, k: int) -> int | None:
    """Return k (k + 1) u(work / limit); None where the work is too much, or cannot be done."""
    if work == UNABLE or work > limit:
        return None
    whole, rest = divmod((k + 1) * work, limit)
    return whole * (k + 1 if rest else k)
