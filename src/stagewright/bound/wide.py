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
_NOTHING, _SOME, _MORE = 0.25, 0.5, 0.75
_SMALL_BLOCK = (
    30  # nodes of a block up to which the covering bound gets more in the end, however it begins
)


class WideBound:
    """The covering bound, then the skeleton bound; the better one is returned.

    A further call goes on with the blocks of the last; the shares of the time follow what each bound gained.

    Parameters
    ----------
    problem
        Reduced, or contracted at `upper`: then only plans below `upper` need to have survived.
    before
        The bounds of the problem that this one was contracted from: they begin with its shares of the time.
    """

    def __init__(self, problem: Problem, before: WideBound | None = None) -> None:
        self._cover = CoverBound(problem)
        self._skeleton = SkeletonBound(problem)
        small = problem.num_nodes <= _SMALL_BLOCK * problem.machine.stages
        self._least: float = _SOME if small else _NOTHING
        self._share: float = 0.0
        if self._cover.fits:
            self._share = (before._share if before else 0.0) or (_MORE if small else _SOME)

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
            self._share = _MORE if gain > further else _SOME if gain else self._least
        if relaxed.bound.value > covered.bound.value or covered.bound.value <= lower:
            return relaxed
        return Relaxed(covered.bound, relaxed.block, relaxed.interrupted, relaxed.more)
