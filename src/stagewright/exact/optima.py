# SPDX-License-Identifier: Apache-2.0
"""The optimum for many numbers of stages from one list of ideals, where memory does not bind.

With OPT(k) the least bottleneck of k stages, OPT(k + 1) <= OPT(k): going down, what was found for more stages is a
lower bound, and a plan that leaves stages idle is optimal for every number down to those that it uses.  The
overhead OPT(k) k / W over the work W changes little from one k to the next, so it says where to look first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..effort import Effort
from ..search.orders import Found
from .program import Listing

__all__ = ["Optimum", "optima"]

_EACH = 5 * 10**8  # work for each number of stages; beyond it a search pays first
_FIRST_GUESS = 8  # the first overhead that is looked at: one in so many


@dataclass(frozen=True, eq=False)
class Optimum:
    """What was found for one number of stages.

    Attributes
    ----------
    stages
        At most so many.
    found
        The best plan of the listed problem.
    lower
        No plan has a bottleneck below this many picoseconds.
    seconds
        How long it took.
    ideals
        How many were listed.
    """

    stages: int
    found: Found
    lower: int
    seconds: float
    ideals: int

    @property
    def proven(self) -> bool:
        """Whether the plan is optimal."""
        return self.found.bottleneck == self.lower


def optima(listing: Listing, stages: Sequence[int], effort: Effort) -> Iterator[Optimum]:
    """Yield the optimum of a complete listing for each number of stages, the largest first.

    Ends early when the effort is over, and where one number takes too much work; then the last one yielded may be
    unproven.  `listing` is of a problem where memory does not bind.
    """
    problem = listing.problem
    total = problem.total_work
    heaviest = max(problem.least_costs())
    last: Optimum | None = None
    blocks = 0
    for k in sorted(set(stages), reverse=True):
        if last is not None and blocks <= k:
            yield replace(last, stages=k, seconds=0.0)
            continue
        start = time.perf_counter()
        lower = max(-(-total // k), heaviest, last.lower if last else 0)
        guess = lower + lower // _FIRST_GUESS
        if last is not None:
            guess = last.found.bottleneck * last.stages // k
        limited = replace(effort, work=min(effort.work, _EACH))
        shown, value, block, _ = listing.ideals.optimum(
            k, lower, guess, total + 1, **limited.native()
        )
        last = Optimum(
            k, Found(value, block), shown, time.perf_counter() - start, listing.ideals.count
        )
        blocks = int(np.max(block)) + 1
        yield last
        if not last.proven:
            return
