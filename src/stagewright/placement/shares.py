# SPDX-License-Identifier: Apache-2.0
"""A lower bound where kinds differ in what they are good at: all work shared out, in fractions.

Let w(q, v) be the work of class v on a device of kind q, counted over all replicas of its stage, m(v) the bytes of
parameters that it alone uses, and M(q) what a device holds.  Below T the n(q)
devices of kind q take at most n(q) T of work and n(q) M(q) bytes.  At any prices a(q), b(q) >= 0 of time and
bytes, class v costs at least min over q of a(q) w(q, v) + b(q) m(v) wherever it runs, and all that can be sold
below T is the sum of n(q) (a(q) T + b(q) M(q)).  So

    T >= (sum over v of min over q of a(q) w(q, v) + b(q) m(v)  -  sum of n(q) b(q) M(q)) / sum of n(q) a(q).

Where more than M(q) is not refused but streamed, each byte of it takes 1 / bandwidth, and the same holds for
b(q) <= a(q) / bandwidth.  With the best prices this is the program that shares classes out in fractions (its dual).
They are found by raising the price of what there is too little of; the bound is exact for whichever prices come of
it, which the plan file states.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..bound.types import Bound
from ..units import PS_PER_SECOND
from .devices import UNABLE
from .task import Task

__all__ = ["share_bound"]

_ROUNDS: Final = 150
"""Of the search for prices, per variable."""

_RADIUS: Final = 2.0
_GRAIN: Final = 10**9
"""Prices are whole numbers up to this: of a device's hour, and of all its bytes."""


@dataclass(frozen=True)
class Shop:
    """What there is to buy, and who needs what.

    Attributes
    ----------
    counts, room
        Devices of each kind, and the bytes that one holds; None for no limit.
    work, held
        Picoseconds per kind and class, `UNABLE` where it cannot run, and bytes per class.
    bandwidth
        Per kind the bytes per second at which more is streamed; None where it is refused.
    """

    counts: list[int]
    room: list[int | None]
    work: list[list[int]]
    held: list[int]
    bandwidth: list[int | None]

    @classmethod
    def of(cls, task: Task) -> Shop:
        """Return the shop of a task."""
        kinds = task.fleet.kinds
        work: list[list[int]] = [[UNABLE] * task.size for _ in kinds]
        for seat, works in zip(task.fleet.seats, task.work, strict=True):
            row = work[seat.kind]
            for v, one in enumerate(works):
                if one != UNABLE:
                    own = one * seat.replicas
                    row[v] = own if row[v] == UNABLE else min(row[v], own)
        factor = 1 if task.fleet.schedule is None else task.fleet.schedule.state_factor
        users = Counter(r for params in task.params_of for r in params)
        held = [
            factor * sum(task.param_bytes[r] for r in params if users[r] == 1)
            for params in task.params_of
        ]
        refused = [kind.memory_limit is not None for kind in kinds]
        limits = [k.memory_limit if no else k.memory for k, no in zip(kinds, refused, strict=True)]
        rates = [None if no else k.link.bandwidth for k, no in zip(kinds, refused, strict=True)]
        several = any(seat.replicas > 1 for seat in task.fleet.seats)
        room = [None if several and rate else m for m, rate in zip(limits, rates, strict=True)]
        return cls([kind.count for kind in kinds], room, work, held, rates)

    def bound(self, hours: list[int], sizes: list[int]) -> int:
        """Return the bound, rounded up, for prices per picosecond and byte; 0 where that is no bound."""
        kinds = range(len(self.counts))
        for q in kinds:
            rate = self.bandwidth[q]
            if sizes[q] and (
                self.room[q] is None or (rate and sizes[q] * rate > hours[q] * PS_PER_SECOND)
            ):
                return 0
        sold = sum(self.counts[q] * hours[q] for q in kinds)
        if not sold:
            return 0
        cost = -sum(self.counts[q] * sizes[q] * (self.room[q] or 0) for q in kinds)
        for column, held in zip(zip(*self.work, strict=True), self.held, strict=True):
            prices = [hours[q] * w + sizes[q] * held for q, w in enumerate(column) if w != UNABLE]
            cost += min(prices, default=0)
        return max(0, -(-cost // sold))


def share_bound(task: Task, deadline: float = math.inf) -> Bound:
    """Return the bound with its prices as witness; 0 without one where all devices are alike.

    The search for prices ends at `deadline`, on the clock of ``time.perf_counter``.
    """
    start = time.perf_counter()
    shop = Shop.of(task)
    value, witness = 0, None
    if len(shop.counts) > 1 and any(map(any, shop.work)):
        hours, sizes = _prices(shop, deadline)
        value = shop.bound(hours, sizes)
        witness = {"hours": hours, "sizes": sizes} if value else None
    return Bound("shares", value, time.perf_counter() - start, "recomputed", witness)


def _prices(shop: Shop, deadline: float) -> tuple[list[int], list[int]]:
    """Return good prices per picosecond and byte: a concave function of few variables, by the ellipsoid method.

    Variables are the part of the whole price that each kind's hours have (the last one is what is left), and for
    kinds with room for so many bytes the price of all of these.
    """
    kinds, many = len(shop.counts), np.array(shop.counts, np.float64)
    work = np.array(shop.work, np.float64)
    able = (work != UNABLE).any(axis=0)
    work, held = work[:, able], np.array(shop.held, np.float64)[able]
    unable = work == UNABLE
    work /= many[:, None]
    scale = np.where(unable, np.inf, work).min(axis=0).sum() / kinds or 1.0
    work /= scale  # from here on times are about 1
    limited = [q for q, m in enumerate(shop.room) if m and held.any()]
    room = np.array([shop.room[q] or 1 for q in limited], np.float64) * many[limited]
    stored = held / room[:, None]
    # With streaming a device's bytes cost no more than so many times its hours.
    most = [
        np.inf if rate is None else room[i] / many[q] * PS_PER_SECOND / rate / scale
        for i, q in enumerate(limited)
        for rate in [shop.bandwidth[q]]
    ]
    columns, size = np.arange(work.shape[1]), kinds - 1 + len(limited)
    centre = np.array([1 / kinds] * (kinds - 1) + [0.1] * len(limited))
    shape = np.eye(size) * size * _RADIUS**2
    best, found = 0.0, (np.full(kinds, 1 / kinds), np.zeros(len(limited)))
    for _ in range(_ROUNDS * size):
        if time.perf_counter() > deadline:
            break
        hours = np.append(centre[: kinds - 1], 1 - centre[: kinds - 1].sum())
        bytes_ = centre[kinds - 1 :]
        cut = _outside(hours, bytes_, limited, most)
        if cut is None:
            costs = hours[:, None] * work
            costs[limited] += bytes_[:, None] * stored
            costs[unable] = np.inf
            chosen = costs.argmin(axis=0)
            value = float(costs[chosen, columns].sum() - bytes_.sum())
            if value > best:
                best, found = value, (hours, bytes_)
            spent = np.bincount(chosen, work[chosen, columns], kinds)
            kept = np.array([stored[i][chosen == q].sum() for i, q in enumerate(limited)])
            cut = np.append(spent[:-1] - spent[-1], kept - 1)
        reach = float(cut @ shape @ cut)
        if reach <= 1e-24:
            break
        step = shape @ cut / reach**0.5
        centre = centre + step / (size + 1)
        if size == 1:
            shape = shape / 4
        else:
            shape = shape - 2 / (size + 1) * np.outer(step, step)
            shape *= size**2 / (size**2 - 1)
    parts = zip(found[0], shop.counts, strict=True)
    whole = [int(part / n * _GRAIN) << 40 for part, n in parts]
    sizes = [0] * kinds
    for i, q in enumerate(limited):
        rate = shop.bandwidth[q]
        own = int(found[1][i] / room[i] * scale * _GRAIN * 2.0**40)
        sizes[q] = own if rate is None else min(own, whole[q] * PS_PER_SECOND // rate)
    return whole, sizes


def _outside(
    hours: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    limited: list[int],
    most: list[float],
) -> npt.NDArray[np.float64] | None:
    """Return a direction that leads back to prices that are allowed; None if they are."""
    kinds, cut = len(hours), np.zeros(len(hours) - 1 + len(sizes))

    def more_hours(q: int, weight: float) -> None:
        if q < kinds - 1:
            cut[q] += weight
        else:
            cut[: kinds - 1] -= weight

    if hours.min() < 0:
        more_hours(int(hours.argmin()), 1.0)
        return cut
    for i, (q, limit) in enumerate(zip(limited, most, strict=True)):
        if sizes[i] < 0:
            cut[kinds - 1 + i] = 1.0
            return cut
        if sizes[i] > limit * hours[q]:
            cut[kinds - 1 + i] = -1.0
            more_hours(q, limit)
            return cut
    return None
