# SPDX-License-Identifier: Apache-2.0
"""The average-communication bound: what the stages on either side of a boundary cost on average.

Of a plan of k stages let I be the nodes in the first i, W all work, and live(I) the cost of the tensors that
are made in I and needed outside.  With x(I) = work(I) + live(I) and y(I) = W - work(I) + live(I) let

    T_i = min over ideals I of max(ceil(x(I) / i), ceil(y(I) / (k - i))).

No plan is better than T_i, for each i = 1 .. k - 1; the bound is the largest, or the simple bound if that is more.

*Proof.*  A tensor of live(I) is sent by the stage that makes it, one of the first i, and received by at least one
of the k - i others.  So the first i stages cost at least x(I) together and the others at least y(I): work is counted
once, and neither overflow nor what else is sent is negative.  The dearest of them costs at least the average.
I is an ideal, since the quotient graph is acyclic.  A plan of fewer stages leaves the last ones empty; then I may be
everything, and nothing else is used of it.  A tensor that crosses several boundaries counts at each of them, but
boundaries are compared and never added up.

For k = 2 the two sides are the two stages, so without overflow it is the optimum.  The total, W + 2 live(I) <= k T,
follows from both sides.  Whatever weights are put on the two sides, the empty ideal and the full one, which
send nothing, keep the weighted sum down to W / k: there is no bound from one minimum cut, and the sets are
searched by branch and bound (native/average.hpp).  All is in whole numbers, and what is shown when time is up holds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import ENDLESS, Effort
from ..problem import Problem
from .simple import simple_bound
from .types import Bound

__all__ = ["Averaged", "average_bound"]

_MAX_NODES = 20_000  # two bits per pair of nodes: 100 MB
_MAX_SUM = 2**60


@dataclass(frozen=True, eq=False)
class Averaged:
    """What came of it.

    Attributes
    ----------
    bound
        At least the simple bound.
    boundary
        The stages before the boundary that gives it; 0 where the simple bound is no less.
    complete
        All boundaries were searched to the end.
    block
        For two stages the best plan that was met, overflow left out: the block of each contracted node.
    interrupted
        Stopped by Ctrl-C; the bound holds.
    """

    bound: Bound
    boundary: int
    complete: bool
    block: npt.NDArray[np.int32] | None
    interrupted: bool


def average_bound(
    problem: Problem,
    seconds: float = 1e9,
    *,
    enough: int | None = None,
    effort: Effort | None = None,
) -> Averaged:
    """Return the largest T_i of the module's docstring, or the simple bound if that is more.

    Overflow is dropped, so it is valid with memory; groups are contracted and pins are precedence.  Problems
    of more than 20,000 nodes are left to the simple bound.

    Parameters
    ----------
    problem
        Compiled; reduced, it has the same optimum and fewer nodes.
    enough
        Stop at the first value that reaches this many picoseconds.
    seconds, effort
        When to stop; `effort` wins.  Equal work gives equal results.
    """
    start = time.perf_counter()
    simple = simple_bound(problem).value
    value, boundary, complete, interrupted = simple, 0, False, False
    block = np.zeros(0, np.int32)
    whole = problem.total_work + sum(problem.cost)
    if problem.num_nodes <= _MAX_NODES and whole <= _MAX_SUM:
        value, boundary, _, _, complete, block, interrupted = _native.average_bound(
            problem.instance,
            problem.machine.stages,
            simple,
            ENDLESS if enough is None else enough,
            **(effort or Effort.within(seconds)).native(),
        )
    bound = Bound("average", value, time.perf_counter() - start, "exhaustive")
    return Averaged(bound, boundary, complete, block if len(block) else None, interrupted)
