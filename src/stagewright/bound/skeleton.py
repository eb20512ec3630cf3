# SPDX-License-Identifier: Apache-2.0
"""The skeleton bound: for graphs whose ideals are too many to list."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..problem import Problem
from .types import Bound

__all__ = ["Relaxed", "SkeletonBound"]

_MAX_NODES = 20_000  # two bits per pair of nodes: 100 MB
_MAX_SUM = 2**60
_MAX_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Relaxed:
    """What the relaxation found.

    Attributes
    ----------
    bound
        A value of `upper` says that the incumbent is optimal.
    block
        The relaxation met a plan better than `upper` (by the largest working sets): the block of each
        contracted node.
    interrupted
        Stopped by Ctrl-C; the bound holds.
    more
        Stopped before it had done all it can.
    """

    bound: Bound
    block: npt.NDArray[np.int32] | None
    interrupted: bool
    more: bool = False


class SkeletonBound:
    """Raises a lower bound on the bottleneck of `problem` as long as it is given time.

    It covers the ideals by intervals and solves a relaxation over those, in which minimum cuts bound the
    blocks; docs/method_skeleton.md has the proofs.  Overflow counts parameters and what is
    surely alive at once, a lower bound of the true one.

    Parameters
    ----------
    problem
        Reduced, or contracted at `upper`: then only plans below `upper` need to have survived.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        whole = 2 * problem.total_work + 2 * sum(problem.cost)
        fits = problem.num_nodes <= _MAX_NODES and whole <= _MAX_SUM
        self._native = _native.Skeleton(problem.instance) if fits else None

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

        It ends after `seconds`, when another thread sets `cancel`, or after `work`, in units of
        roughly a nanosecond: equal work gives equal results.  `gauge` takes every bound that is shown on the way.
        """
        start = time.perf_counter()
        value, interrupted, more = lower, False, False
        block = np.zeros(0, np.int32)
        if self._native is not None:
            value, _, _, _, _, block, interrupted, more = self._native.bound(
                self.problem.machine.stages,
                lower,
                upper,
                max_bytes=_MAX_BYTES,
                seconds=seconds,
                cancel=cancel,
                work=work,
                gauge=gauge,
            )
        bound = Bound("skeleton", value, time.perf_counter() - start, "exhaustive")
        return Relaxed(bound, block if len(block) else None, interrupted, more)
