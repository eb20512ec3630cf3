# SPDX-License-Identifier: Apache-2.0
"""Contraction at a threshold: what must share a block in every plan of bottleneck <= T.

A block that holds the producer of tensor t and lacks one of its consumers costs at least
w(producer) + c(t); one that holds a consumer and lacks the producer costs at least w(consumer) + c(t).
Here w(v) is the work of v and the overflow of its own parameters and working set, which only grow
in a block.  Where that exceeds T, the two are in one block in every plan of bottleneck <= T, and so is all
that lies on paths between them.  Merged nodes have more work, so the rule is applied again.
"""

from __future__ import annotations

from ..problem import Problem, merge_classes
from ..reduce import reduce_problem

__all__ = ["contract_at"]


def contract_at(problem: Problem, threshold: int) -> Problem:
    """Return a problem with the same plans of bottleneck <= `threshold` picoseconds."""
    while True:
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
        problem = reduce_problem(problem.contract(label))
