# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: which devices are in use (docs/certificate.md).

Standard library only, and nothing of this package: check_search.py runs this file, which lies beside it,
by its path; the names of check.py are here as `tools`.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

tools: Any = globals().get("tools")  # the names of check.py


class Devices:
    """Which devices are in use: states as bits of an int, and what one more stage leads to.

    Per state stand the most least work of the devices it has used, and of those it has left, and whether some of
    them transfer for free.
    """

    def __init__(self, fleet: Any, room: list[int] | list[Fraction]) -> None:
        free = [seat[1].free and seat[2].free for seat in fleet.seats]
        # Seat, states from which, shift (0: to a place).
        self.steps: list[tuple[int, int, int]] = []
        # Per state those that have used at least as much: they can do nothing that it cannot.
        self.worse: list[int] = []
        self.used: list[tuple[int | Fraction, bool]] = []
        self.left: list[tuple[int | Fraction, bool]] = []
        if fleet.order is not None:
            places = range(len(fleet.order))
            self.steps = [(place, (2 << place) - 1, 0) for place in places]
            self.worse = [-1 << place for place in range(len(fleet.order) + 1)]
            row = [(room[fleet.order[place]], free[place]) for place in places]
            for place in range(len(row) + 1):
                for side, part in ((self.used, row[:place]), (self.left, row[place:])):
                    side.append((sum(r for r, _ in part), any(f for _, f in part)))
            return
        sizes = [kind.count + 1 for kind in fleet.kinds]
        masks = [0] * len(sizes)
        for state, used in enumerate(product(*map(range, sizes))):
            rest = [size - 1 - u for size, u in zip(sizes, used, strict=True)]
            for side, counts in ((self.used, used), (self.left, rest)):
                taken = sum(c * r for c, r in zip(counts, room, strict=True))
                gratis = any(c and k.link.free for c, k in zip(counts, fleet.kinds, strict=True))
                side.append((taken, gratis))
            for q, count in enumerate(rest):
                masks[q] |= (count > 0) << state
        self.worse = worse_states(sizes)
        if fleet.schedule is not None:
            self.steps = list(tools.beside("check_schedule.py")["steps_of"](fleet))
            return
        shift = 1
        for q in range(len(sizes) - 1, -1, -1):
            self.steps.append((q, masks[q], shift))
            shift *= sizes[q]

    def able(self, before: int, behind: int, crossing: int) -> int:
        """Return the states whose devices can do the least work on both sides, and what crosses."""
        states = 0
        for state, (used, left) in enumerate(zip(self.used, self.left, strict=True)):
            if before + (0 if used[1] else crossing) <= used[0] and (
                behind + (0 if left[1] else crossing) <= left[0]
            ):
                states |= 1 << state
        return states


def worse_states(sizes: list[int]) -> list[int]:
    """Return for each state, numbers in use of each kind, the states as bits that have no number less."""
    states = list(product(*map(range, sizes)))
    if len(states) > 4096:
        return [1 << state for state in range(len(states))]
    worse = [0] * len(states)
    steps = [1] * len(sizes)
    for q in range(len(sizes) - 2, -1, -1):
        steps[q] = steps[q + 1] * sizes[q + 1]
    for state in range(len(states) - 1, -1, -1):
        worse[state] = 1 << state
        for used, size, step in zip(states[state], sizes, steps, strict=True):
            if used + 1 < size:
                worse[state] |= worse[state + step]
    return worse
