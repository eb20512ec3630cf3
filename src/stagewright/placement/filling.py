# SPDX-License-Identifier: Apache-2.0
"""What one device can hold within a period, the transfers that this causes included.

Let units have weights y >= 0, and let M(q, T) be the most weight of a set of units whose load on one device of kind q,
alone there and all others elsewhere, is at most T.  In an assignment within T each device holds such a set, so all
devices together hold at most the sum of M(q, T) over all of them; where that is less than all weight there is
no such assignment.  (Weights are dual prices of the program whose columns are the fillings of one device; Gilmore and
Gomory, A linear programming approach to the cutting-stock problem, 1961.)

M is known at its steps: the least load of a set that weighs more than M so far.  That set is found by branch and
bound: units in the order of work per weight, and once a set weighs enough, those that share a tensor with it,
which may cost less inside than outside.  Memory is left out, which can only let more sets pass.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from .devices import UNABLE
from .task import Task

__all__ = ["Purse", "filling_bound"]


@dataclass
class Purse:
    """The steps that searches for sets may still take, and until when."""

    steps: int
    deadline: float = float("inf")

    def spend(self) -> bool:
        """Take a step; False when there was none left."""
        self.steps -= 1
        if not self.steps & 255 and time.perf_counter() > self.deadline:
            self.steps = 0
        return self.steps >= 0


class _TooLongError(Exception):
    """The search for a set has spent its steps."""


_MOST_UNITS: Final = 300
"""More than these are not searched, whose depth is their number."""


def filling_bound(
    task: Task, weights: Sequence[int], most: Sequence[int], lower: int, upper: int, purse: Purse
) -> int:
    """Return picoseconds below which no assignment keeps all loads, between `lower` and `upper`.

    Parameters
    ----------
    weights
        Per unit, whole and >= 0.
    most
        Per kind no less than M(q, T) for any T < `lower`.
    lower, upper
        A lower bound that is known, and the period of some plan.
    purse
        When it is empty the bound is what was shown so far.
    """
    if task.size > _MOST_UNITS:
        return lower
    counts = [kind.count for kind in task.fleet.kinds]
    held, total = list(most), sum(weights)
    sets = [_Sets(task, q, weights, purse) for q in range(len(counts))]
    reached = lower
    events: list[tuple[int, int, int]] = []  # load, kind, weight
    waiting = list(range(len(counts)))
    try:
        while sum(n * m for n, m in zip(counts, held, strict=True)) < total:
            for q in waiting:
                found = sets[q].least_load(held[q] + 1, upper)
                if found is not None:
                    heapq.heappush(events, (found[0], q, found[1]))
            if not events:
                return upper
            load, q, held[q] = heapq.heappop(events)
            reached, waiting = max(reached, load), [q]
    except _TooLongError:
        pass
    return reached


class _Sets:
    """The sets of units that a device of one kind may hold."""

    def __init__(self, task: Task, kind: int, weights: Sequence[int], purse: Purse) -> None:
        self.work, self.overlap, self.purse = task.work[kind], task.fleet.overlap, purse
        self.weights = weights
        self.never = sum(1 << v for v, w in enumerate(self.work) if w == UNABLE)
        able = [v for v, w in enumerate(self.work) if w != UNABLE and weights[v] > 0]
        self.order = sorted(able, key=lambda v: (Fraction(self.work[v], weights[v]), v))
        # Per tensor: the bit of its producer, those of its readers, and the prices of its ends.
        self.tensors = [
            (1 << p, sum(1 << v for v in users), receive, send)
            for p, users, receive, send in zip(
                task.producer, task.consumers, task.receive[kind], task.send[kind], strict=True
            )
            if receive or send
        ]
        self.touching: list[list[int]] = [[] for _ in self.work]
        for t, (made, read, _, _) in enumerate(self.tensors):
            for v in range(task.size):
                if (made | read) >> v & 1:
                    self.touching[v].append(t)
        self.best: tuple[int, int] = 0, 0
        self.found = False

    def least_load(self, needed: int, below: int) -> tuple[int, int] | None:
        """Return the least load < `below` of a set that weighs at least `needed`, and its weight; None without any."""
        self.best, self.found = (below, 0), False
        self._walk(0, 0, self.never, (0, 0, 0), needed)
        return self.best if self.found else None

    def _walk(
        self, place: int, inside: int, outside: int, parts: tuple[int, int, int], needed: int
    ) -> None:
        """Decide about one more unit; `parts` is what the set so far computes, receives and sends."""
        if not self.purse.spend():
            raise _TooLongError
        more = self._more(place, needed)
        if more is None or self._load((parts[0] + more, *parts[1:])) >= self.best[0]:
            return
        if needed > 0:
            v = self.order[place]
            self._enter(v, place + 1, inside, outside, parts, needed)
            self._leave(v, place + 1, inside, outside, parts, needed)
            return
        open_units = self._beside(inside, outside)
        if not open_units:
            weight = sum(w for v, w in enumerate(self.weights) if inside >> v & 1)
            self.best, self.found = (self._load(parts), weight), True
            return
        v = (open_units & -open_units).bit_length() - 1
        self._leave(v, place, inside, outside, parts, needed)
        self._enter(v, place, inside, outside, parts, needed)

    def _enter(
        self, v: int, place: int, inside: int, outside: int, parts: tuple[int, int, int], need: int
    ) -> None:
        now = inside | 1 << v
        _, received, sent = self._changed(v, (inside, outside), (now, outside), parts)
        work = parts[0] + self.work[v]
        self._walk(place, now, outside, (work, received, sent), need - self.weights[v])

    def _leave(
        self, v: int, place: int, inside: int, outside: int, parts: tuple[int, int, int], need: int
    ) -> None:
        now = outside | 1 << v
        self._walk(
            place, inside, now, self._changed(v, (inside, outside), (inside, now), parts), need
        )

    def _changed(
        self, v: int, old: tuple[int, int], new: tuple[int, int], parts: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        """Return the parts once the tensors of a unit are paid by (inside, outside) as they are now."""
        work, received, sent = parts
        for t in self.touching[v]:
            made, read, receive, send = self.tensors[t]
            for (inside, outside), sign in ((old, -1), (new, 1)):
                if made & outside and read & inside:
                    received += sign * receive
                if made & inside and read & outside:
                    sent += sign * send
        return work, received, sent

    def _load(self, parts: tuple[int, int, int]) -> int:
        return max(parts) if self.overlap else sum(parts)

    def _more(self, place: int, needed: int) -> int | None:
        """Return the least work of what is still needed, units divided as one likes; None if there is not enough."""
        work = 0
        for v in self.order[place:] if needed > 0 else ():
            weight = self.weights[v]
            if weight >= needed:
                return work - (-self.work[v] * needed // weight)
            work, needed = work + self.work[v], needed - weight
        return None if needed > 0 else work

    def _beside(self, inside: int, outside: int) -> int:
        """Return undecided units that share a tensor with the set."""
        units = 0
        for made, read, _, _ in self.tensors:
            if (made | read) & inside:
                units |= made | read
        return units & ~inside & ~outside
