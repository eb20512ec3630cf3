# SPDX-License-Identifier: Apache-2.0
"""The covering bound: what the blocks below a threshold can hold."""

from __future__ import annotations

import time

from .. import _native
from ..problem import Problem
from .skeleton import Relaxed
from .types import Bound

__all__ = ["CoverBound"]

_MAX_NODES = 400  # beyond, blocks are too large to search for
_MAX_SUM = 2**60


class CoverBound:
    """Raises a lower bound on the bottleneck of `problem` as long as that helps.

    It seeks amounts on the nodes such that no block below a threshold holds a k-th of the whole
    (docs/method_cover.md).  Overflow counts parameters and what is surely alive at once.  Problems of more than
    400 nodes are left alone.

    Parameters
    ----------
    problem
        Reduced, or contracted at `upper`: then only plans below `upper` need to have survived.

    Attributes
    ----------
    fits
        Whether the problem is small enough.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        whole = 2 * problem.total_work + 2 * sum(problem.cost)
        self.fits = problem.num_nodes <= _MAX_NODES and whole <= _MAX_SUM
        self._native = _native.Cover(problem.instance) if self.fits else None

    def bound(
        self,
        lower: int,
        upper: int,
        seconds: float = 1e9,
        *,
        cancel: _native.Cancel | None = None,
        work: int = 2**63 - 1,
        gauge: _native.Gauge | None = None,
    ) -> Relaxed:
        """Raise `lower`, which is proven, towards `upper`, the cost of a known plan, in picoseconds.

        It ends when no more can be shown in this way, after `seconds`, when another thread sets
        `cancel`, or after `work`, in units of roughly a nanosecond: equal work gives equal results.  `gauge`
        takes every bound that is shown on the way.
        """
        start = time.perf_counter()
        value, interrupted = lower, False
        if self._native is not None:
            value, *_, interrupted = self._native.bound(
                self.problem.machine.stages,
                lower,
                upper,
                seconds=seconds,
                cancel=cancel,
                work=work,
                gauge=gauge,
            )
        bound = Bound("cover", value, time.perf_counter() - start, "exhaustive")
        return Relaxed(bound, None, interrupted)
