# SPDX-License-Identifier: Apache-2.0
"""The bounds for graphs whose ideals are too many to list, one after the other."""

from __future__ import annotations

import time

from .. import _native
from ..problem import Problem
from .cover import CoverBound
from .skeleton import Relaxed, SkeletonBound

__all__ = ["WideBound"]

# Of the time and the work for the covering bound: it gained nothing, something, more than the skeleton.
_SHARES = 0.25, 0.5, 0.75
_SHARES_SMALL = (
    0.5,
    0.75,
    0.9,
)  # where blocks are small: it gains more in the end, however it begins
_NEAR = 0.9  # of the incumbent
_SMALL_BLOCK = 30  # nodes of a block


def _has_small_blocks(problem: Problem) -> bool:
    """Whether stages hold few nodes, so that the covering bound pays for the time it is given."""
    return problem.num_nodes <= _SMALL_BLOCK * problem.machine.stages


class WideBound:
    """The covering bound, then the skeleton bound; the better one is returned.

    A further call goes on with the blocks of the last; the shares of the time follow what each bound gained.

    Parameters
    ----------
    problem
        Reduced, or contracted at `upper`: then only plans below `upper` need to have survived.
    before
        The bounds of the problem that this one was contracted from: they begin with its shares of the time, and go on
        with its blocks if nothing was contracted.
    """

    def __init__(self, problem: Problem, before: WideBound | None = None) -> None:
        self._problem = problem
        # What it knows holds at every threshold.
        same = before is not None and before._problem is problem
        self._cover: CoverBound = before._cover if before and same else CoverBound(problem)
        self._skeleton = SkeletonBound(problem)
        self._shares = _SHARES_SMALL if _has_small_blocks(problem) else _SHARES
        self._share: float = 0.0
        if self._cover.fits:
            self._share = (before._share if before else 0.0) or self._shares[1]

    def bound(
        self,
        lower: int,
        upper: int,
        seconds: float = 1e9,
        *,
        cancel: _native.Cancel | None = None,
        work: int = 2**63 - 1,
    ) -> Relaxed:
        """Raise `lower`, which is proven, towards `upper`, the cost of a known plan, in picoseconds.

        It ends after `seconds`, when another thread sets `cancel`, or after `work`, in units of
        roughly a nanosecond: equal work gives equal results.
        """
        start = time.perf_counter()
        share = int(work * self._share)
        covered = self._cover.bound(lower, upper, seconds * self._share, cancel=cancel, work=share)
        if covered.interrupted or covered.bound.value >= upper:
            return covered
        left = max(0.0, seconds - (time.perf_counter() - start))
        relaxed = self._skeleton.bound(
            covered.bound.value, upper, left, cancel=cancel, work=work - share
        )
        gain, further = covered.bound.value - lower, relaxed.bound.value - covered.bound.value
        if self._cover.fits and (gain or further):
            # A skeleton that alone comes near will go on.
            near = not gain and relaxed.bound.value > _NEAR * upper
            shares = _SHARES if near else self._shares
            self._share = shares[2 if gain > further else 1 if gain else 0]
        if relaxed.bound.value > covered.bound.value or covered.bound.value <= lower:
            return relaxed
        return Relaxed(covered.bound, relaxed.block, relaxed.interrupted, relaxed.more)
