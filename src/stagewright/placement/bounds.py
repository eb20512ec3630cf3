# SPDX-License-Identifier: Apache-2.0
"""What every plan for devices of several kinds costs at least, and at most."""

from __future__ import annotations

import time
from fractions import Fraction

from ..bound.types import Bound
from .devices import UNABLE
from .task import Task

__all__ = ["ceiling", "simple_bound"]


def simple_bound(task: Task) -> Bound:
    """Return the least T at which all devices together could take all work, and each class fits somewhere.

    Let least(v) be the least work of class v on any seat and r(q) the largest least(v) / work(v) on kind q.
    A stage of kind q that takes at most T holds at most T r(q) of least work, so T must be such that the
    sum of floor(T r(q)) over all devices reaches the least work of all classes.
    """
    start = time.perf_counter()
    least = task.least_work()
    shares: dict[int, Fraction] = {}
    for seat, row in zip(task.fleet.seats, task.work, strict=True):
        ratios = [Fraction(a, w) for a, w in zip(least, row, strict=True) if w > 0 and a > 0]
        share = max(ratios, default=Fraction(0 if any(least) else 1))
        shares[seat.kind] = max(share, shares.get(seat.kind, Fraction(0)))
    devices = [(kind.count, shares[q]) for q, kind in enumerate(task.fleet.kinds)]
    low, high = max(least), max(1, sum(least))
    while low < high:
        middle = (low + high) // 2
        if sum(count * int(middle * share) for count, share in devices) >= sum(least):
            high = middle
        else:
            low = middle + 1
    return Bound("simple", low, time.perf_counter() - start, "recomputed")


def ceiling(task: Task) -> int:
    """Return picoseconds that no stage of any plan exceeds."""
    everything = sum(task.param_bytes) + sum(task.working_set)
    worst = 0
    for s, seat in enumerate(task.fleet.seats):
        work = sum(w for w in task.work[s] if w != UNABLE)
        spill = task.fleet.kinds[seat.kind].spill_time(everything)
        worst = max(worst, work + sum(task.receive[s]) + sum(task.send[s]) + spill)
    return worst
