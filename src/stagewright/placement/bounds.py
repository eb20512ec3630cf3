# SPDX-License-Identifier: Apache-2.0
"""What every plan for devices of several kinds costs at least, and at most."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..bound.types import Bound
from ..errors import InfeasibleError
from .devices import UNABLE
from .task import Task, most_held

__all__ = ["ceiling", "require_seats", "simple_bound"]


def simple_bound(task: Task) -> Bound:
    """Return the least T at which all devices together could take all work, and each class fits somewhere.

    Let least(v) be the least work of class v on any seat and r(q) the largest least(v) / work(v) on kind q.
    A stage of kind q that takes at most T holds at most T r(q) of least work, so T must be such that the
    sum of floor(T r(q)) over all devices reaches the least work of all classes.  A stage on p replicas takes
    p devices; the largest r / p over all numbers of replicas counts then, and floors are those of kinds.
    """
    start = time.perf_counter()
    least = task.least_work()
    busy = any(least)
    shares: dict[int, tuple[int, int]] = {}  # per kind, as a fraction
    for seat, row in zip(task.fleet.seats, task.work, strict=True):
        share = _largest_share(least, row) if busy else (1, 1)
        share = share[0], share[1] * seat.replicas
        other = shares.get(seat.kind, (0, 1))
        shares[seat.kind] = share if share[0] * other[1] > other[0] * share[1] else other
    devices = [(kind.count, *shares[q]) for q, kind in enumerate(task.fleet.kinds)]
    if any(seat.replicas > 1 for seat in task.fleet.seats):
        devices = [(1, count * num, den) for count, num, den in devices]
    whole = sum(least)
    low, high = max(least), max(1, whole)
    while low < high:
        middle = (low + high) // 2
        if sum([count * (middle * num // den) for count, num, den in devices]) >= whole:
            high = middle
        else:
            low = middle + 1
    return Bound("simple", low, time.perf_counter() - start, "recomputed")


def _largest_share(least: Sequence[int], row: Sequence[int]) -> tuple[int, int]:
    """Return the largest least(v) / work(v), as a fraction; 0 where nothing takes time on the kind."""
    num, den = 0, 1
    for a, w in zip(least, row, strict=True):
        if w > 0 and a * den > num * w:
            num, den = a, w
    return num, den


def ceiling(task: Task) -> int:
    """Return picoseconds that no stage of any plan exceeds."""
    kept = sum(task.kept_bytes) + sum(task.fed_bytes)
    # A class has the largest working set of its nodes; what it holds at once may be that of them all.
    peak = sum(w * len(nodes) for w, nodes in zip(task.working_set, task.members, strict=True))
    everything = most_held(task.fleet, peak + kept, sum(task.param_bytes))
    worst = 0
    for s, seat in enumerate(task.fleet.seats):
        work = sum(w for w in task.work[s] if w != UNABLE)
        spill = task.fleet.kinds[seat.kind].spill_time(everything)
        sync = task.fleet.sync_time(seat, sum(task.param_bytes))
        worst = max(worst, work + sum(task.receive[s]) + sum(task.send[s]) + spill + sync)
    return worst


def require_seats(task: Task, names: Sequence[str]) -> None:
    """Refuse what no device can run or hold, by name.

    Raises
    ------
    InfeasibleError
        If there is such a class of nodes.
    """
    factor = 1 if task.fleet.schedule is None else task.fleet.schedule.state_factor
    holds_nothing = not any(task.params_of) and not any(task.working_set)
    if holds_nothing and not any(UNABLE in row for row in task.work):
        return
    for v, nodes in enumerate(task.members):
        held = factor * sum(task.param_bytes[p] for p in task.params_of[v]) + task.working_set[v]
        able = [s for s in range(len(task.work)) if task.work[s][v] != UNABLE]
        who = f"node '{names[nodes[0]]}'"
        if len(nodes) > 1:
            who += f" and the {len(nodes) - 1} that share its stage"
        if not able:
            raise InfeasibleError(f"no kind of device can run {who}")
        kinds = [task.fleet.kinds[task.fleet.seats[s].kind] for s in able]
        if not any(kind.fits(held) for kind in kinds):
            raise InfeasibleError(
                f"{who} hold {held} bytes, more than any device that can run them"
            )
