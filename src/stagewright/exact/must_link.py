# SPDX-License-Identifier: Apache-2.0
"""Contraction at a threshold: what must share a block in every plan of bottleneck <= T.

A block that holds the producer of tensor t and lacks one of its consumers costs at least
w(producer) + c(t); one that holds a consumer and lacks the producer costs at least w(consumer) + c(t).
Here w(v) is the work of v and the overflow of its own parameters and working set, which only grow
in a block.  Where that exceeds T, the two are in one block in every plan of bottleneck <= T, and so is all
that lies on paths between them.  Merged nodes have more work, so the rule is applied again.

:func:`contract_by_cuts` asks the same with all of a block's cost: the least f of a block with the one and
without the other is a minimum cut (native/must_link.hpp); there too overflow counts.
"""

from __future__ import annotations

from .. import _native
from ..classes import merge_classes
from ..effort import Effort
from ..problem import Problem
from ..reduce import reduce_problem

__all__ = ["contract_at", "contract_by_cuts"]

_SHARE = 0.2  # of the work, for the cuts between two contractions


def contract_at(problem: Problem, threshold: int, effort: Effort | None = None) -> Problem:
    """Return a problem with the same plans of bottleneck <= `threshold` picoseconds.

    When `effort` is over, contracted as far as it got.
    """
    while True:
        if effort is not None and effort.over():
            return problem
        work = problem.least_costs()
        together = []
        for p, users, c in zip(problem.producer, problem.consumers, problem.cost, strict=True):
            if work[p] + c > threshold:
                together.append([p, *users])
            else:
                together.extend([p, u] for u in users if work[u] + c > threshold)
        if not together:
            return problem
        label = merge_classes(problem.successors(), together, range(problem.num_nodes))
        problem = reduce_problem(problem.contract(label), effort)


def contract_by_cuts(
    problem: Problem, threshold: int, effort: Effort
) -> tuple[Problem | None, bool]:
    """Return a problem with a plan of bottleneck <= `threshold` picoseconds exactly if `problem` has one.

    Returns
    -------
    contracted, complete
        None when there is no such plan.  When the effort runs out, contracted as far as it got, and not complete.
    """
    while True:
        problem = contract_at(problem, threshold, effort)
        pairs, impossible, _, complete = _native.must_link(
            problem.instance, threshold, **effort.share(_SHARE).native()
        )
        if impossible:
            return None, True
        if not pairs:
            return problem, complete
        label = merge_classes(problem.successors(), pairs, range(problem.num_nodes))
        problem = reduce_problem(problem.contract(label), effort)
        if effort.over():
            return problem, False
