# SPDX-License-Identifier: Apache-2.0
"""The bounds for graphs whose ideals are too many to list, one after the other."""

from __future__ import annotations

import time

from .. import _native
from ..problem import Problem
from .cover import CoverBound
from .skeleton import Relaxed, SkeletonBound

__all__ = ["WideBound"]

_SHARES = (
    0.25,
    0.5,
    0.75,
)  # of the time and the work for the covering bound: behind, unknown, ahead


class WideBound:
    """The covering bound, then the skeleton bound; the better one is returned.

    A further call goes on with the blocks of the last, and the bound that raised `lower` last gets more of the time.

    Parameters
    ----------
    problem
        Reduced, or contracted at `upper`: then only plans below `upper` need to have survived.
    """

    def __init__(self, problem: Problem) -> None:
        self._cover = CoverBound(problem)
        self._skeleton = SkeletonBound(problem)
        self._share = _SHARES[1]

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
        if relaxed.bound.value > covered.bound.value:
            self._share = _SHARES[0]
        elif covered.bound.value > lower:
            self._share = _SHARES[2]
        if relaxed.bound.value > covered.bound.value or covered.bound.value <= lower:
            return relaxed
        return Relaxed(covered.bound, relaxed.block, relaxed.interrupted, relaxed.more)
