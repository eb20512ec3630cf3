# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: what shared devices can hold, by counting (docs/certificate.md).

Standard library only, and nothing of this package: check_shared.py runs this file, which lies beside it,
by its path.

Each device holds a set of units whose load is within the limit.  If all devices together cannot hold all weight,
whatever the weights of the units are, there is no assignment.  Weights are the counts of dual feasible functions; what
a device can hold of them is first what the functions say, which leave transfers out, and then what the
heaviest set of units with its transfers weighs.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from time import monotonic
from typing import Any

MOST_COUNTED = 100
TRIED = 50
STEPS = 500_000
Work = list[list[int | None]]


class TooLongError(Exception):
    """The search for a set of units needs more than it may spend."""


def counted(work: Work, limit: int, k: int) -> tuple[list[int] | None, list[Fraction]]:
    """Return what each unit counts by the k-th function, None if one fits nowhere, and what devices of each kind hold.

    Work w counts floor((k + 1) w / limit) times k + 1, or times k where that is whole, of k (k + 1) in all.
    """
    counts: Work = []
    for row in work:
        counts.append([])
        for w in row:
            if w is None or w > limit:
                counts[-1].append(None)
            else:
                whole, rest = divmod((k + 1) * w, limit)
                counts[-1].append(whole * (k + 1 if rest else k))
    least = []
    for column in zip(*counts, strict=True):
        able = [c for c in column if c is not None]
        if not able:
            return None, []
        least.append(min(able))
    rooms = []
    for own in counts:
        pairs = set(zip(least, own, strict=True))
        rooms.append(
            k * (k + 1) * max((Fraction(a, c) for a, c in pairs if c), default=Fraction(0))
        )
    return least, rooms


def refuted(work: Work, many: list[int], limit: int, k: int) -> bool:
    """Return whether counting by the k-th function shows that no assignment keeps all loads within `limit`."""
    least, rooms = counted(work, limit, k)
    return least is None or sum(least) > sum(n * r for n, r in zip(many, rooms, strict=True))


def judge_counting(
    work: Work, tensors: list[Any], fleet: Any, value: int, allowed: float | None
) -> tuple[bool | None, str]:
    """Return whether counting shows that some load is `value` or more in every assignment, and how; None if open.

    `tensors` has the unit that makes each one, the units that read it, and per kind the prices of its ends.
    """
    many, limit = [kind.count for kind in fleet.kinds], value - 1
    ks = range(1, min(MOST_COUNTED, len(work[0])) + 1)
    if limit < 1:
        return value <= 0, "recomputed"
    for k in ks:
        if refuted(work, many, limit, k):
            return True, f"recomputed: counted with k = {k}"
    works = sorted({w for row in work for w in row if w})
    rows = [(t, k) for k in ks if (t := weights_at(work, works, many, limit, k))]
    steps = STEPS if allowed is None else 10**12
    deadline = monotonic() + (60.0 if allowed is None else allowed)
    for t, k in sorted(rows, key=lambda row: (-row[0], row[1])):
        least, rooms = counted(work, t, k)
        if least is None:
            continue
        fills = [Fill(work[q], tensors, q, least, fleet.overlap) for q in range(len(many))]
        needed, held = sum(least), [int(room) for room in rooms]
        try:
            for q, fill in enumerate(fills):
                fill.spare, fill.deadline = steps, deadline
                while sum(n * m for n, m in zip(many, held, strict=True)) < needed:
                    heavier = fill.heavier(held[q], value)
                    if heavier is None:
                        break
                    held[q] = heavier
                steps = fill.spare
        except TooLongError:
            return None, "the counting was not redone (too long); --exhaustive SECONDS allows more"
        if sum(n * m for n, m in zip(many, held, strict=True)) < needed:
            return True, f"recomputed: counted with k = {k}, transfers included"
    return False, "recomputed: refuted"


def weights_at(work: Work, works: list[int], many: list[int], limit: int, k: int) -> int:
    """Return the largest of some numbers up to `limit` that the k-th function refutes; 0 for none.

    They are those just below which a count changes.
    """
    tried: set[int] = set()
    for w in works:
        # The largest of them that belong to this work.
        first = max(1, -(-(k + 1) * w // (limit + 1)))
        tried.update(
            -(-(k + 1) * w // j) - 1 for j in range(first, min(first + TRIED, (k + 1) * w))
        )
    rising = sorted(t for t in tried if limit // 2 <= t <= limit)
    return next((t for t in rising[: -TRIED - 1 : -1] if refuted(work, many, t, k)), 0)


class Fill:
    """The sets of units that one device of a kind can hold below a limit."""

    def __init__(
        self,
        work: list[int | None],
        tensors: list[Any],
        kind: int,
        weights: list[int],
        overlap: bool,
    ) -> None:
        self.work, self.weights, self.overlap = work, weights, overlap
        self.unable = sum(1 << u for u, w in enumerate(work) if w is None)
        able = [(w, u) for u, w in enumerate(work) if w is not None and weights[u]]
        self.order = [u for _, u in sorted(able, key=lambda row: Fraction(row[0], weights[row[1]]))]
        self.tensors: list[tuple[int, int, int, int]] = []
        self.of: list[list[int]] = [[] for _ in work]
        for made, readers, prices_in, prices_out in tensors:
            if prices_in[kind] or prices_out[kind]:
                read = sum(1 << u for u in readers)
                for u in (made, *readers):
                    self.of[u].append(len(self.tensors))
                self.tensors.append((1 << made, read, prices_in[kind], prices_out[kind]))
        self.spare, self.deadline = 0, 0.0

    def heavier(self, weight: int, limit: int) -> int | None:
        """Return the weight of some set heavier than `weight` whose load is below `limit`; None if there is none.

        Units are decided upon in the order of work per weight; once the set is heavy enough, those that
        share a tensor with it, the others being of no use to it.
        """
        stack = [(0, 0, self.unable, 0, 0, 0, weight + 1)]
        while stack:
            self.spare -= 1
            if self.spare < 0 or (not self.spare & 1023 and monotonic() > self.deadline):
                raise TooLongError
            place, inside, outside, work, received, sent, missing = stack.pop()
            if missing > 0:
                if place == len(self.order):
                    continue
                unit = self.order[place]
                place += 1
            else:
                near = self.near(inside) & ~inside & ~outside
                if not near:
                    return sum(w for u, w in enumerate(self.weights) if inside >> u & 1)
                unit = (near & -near).bit_length() - 1
            bit = 1 << unit
            choices = [(inside, outside | bit, work, missing)]
            more = self.work[unit]
            if more is not None:
                rest = missing - self.weights[unit]
                choices.append((inside | bit, outside, work + more, rest))
            for now, without, busy, rest in choices:
                came, went = received, sent
                for t in self.of[unit]:
                    before = self.paid(t, inside, outside)
                    after = self.paid(t, now, without)
                    came, went = came + after[0] - before[0], went + after[1] - before[1]
                least = self.least(place, rest)
                if least is not None and self.load(busy + least, came, went) < limit:
                    stack.append((place, now, without, busy, came, went, rest))
        return None

    def load(self, work: int, received: int, sent: int) -> int:
        """Return what a device takes that computes, receives and sends for so long."""
        return max(work, received, sent) if self.overlap else work + received + sent

    def paid(self, t: int, inside: int, outside: int) -> tuple[int, int]:
        """Return what the device receives and sends of a tensor for sure."""
        made, read, price_in, price_out = self.tensors[t]
        came = price_in if made & outside and read & inside else 0
        return came, price_out if made & inside and read & outside else 0

    def near(self, inside: int) -> int:
        """Return the units of all tensors that some unit inside makes or reads."""
        units = 0
        for made, read, _, _ in self.tensors:
            if (made | read) & inside:
                units |= made | read
        return units

    def least(self, place: int, missing: int) -> int | None:
        """Return the least work of what is missing if units could be divided; None if there is not enough."""
        taken = 0
        for u in self.left(place) if missing > 0 else ():
            if self.weights[u] >= missing:
                return taken - (-(self.work[u] or 0) * missing // self.weights[u])
            taken, missing = taken + (self.work[u] or 0), missing - self.weights[u]
        return None if missing > 0 else taken

    def left(self, place: int) -> Iterator[int]:
        """Yield the units with weight that nothing is decided about."""
        for i in range(place, len(self.order)):
            yield self.order[i]
