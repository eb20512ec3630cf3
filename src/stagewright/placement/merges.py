# SPDX-License-Identifier: Apache-2.0
"""Merges of classes that never lose the optimum.

Let u and x be classes, x a successor of u from which all other successors of
u can be reached (or, mirrored, a predecessor that all other predecessors reach).  Take any plan in which they
are in different blocks, A with u and B with x, and move u to B: by the choice of x no precedence breaks, for
what u has to come before comes not before B, and what has to come before u is in A or earlier.  Of the tensors of
u let E be those between u and x alone, and O those that x has no part in.  Blocks other than A and B are
cut by the same tensors as before.  Those of E are no longer cut by either, and those of O may now be cut by
both.  A tensor that x has a part in was cut by both and costs no more, but for one case: what u makes for x
and for others B received before and sends now; let T be the sum of what sending those costs more than receiving.
So no block costs more if, on every seat,

    work(u) + the dearest end of all of O + T <= the cheapest end of all of E

where x can run (B), and the same without work(u) and T where u can (A); on seats where x can run u must be able
to run.  No other tensor turns round: along the pipeline u passes no consumer of its tensors.  In training,
where it could, both ends cost the same on every seat (links between neighbours are refused).  Where receiving,
sending and computing overlap, the sum says nothing, so there O must be empty, nothing turn round, u be without
work, and nothing run backward.  Where memory binds, u must hold nothing: no parameters, and no bytes while
it runs.  With replicas u must have no parameters either.  With a schedule A may be empty then, and a stage
before it has fewer devices behind it and keeps no more.
"""

from __future__ import annotations

from ..graph import Ragged
from .lowering import native_task
from .task import Task

__all__ = ["reduce_task"]


def reduce_task(task: Task) -> Task:
    """Merge classes until no rule of this module's docstring applies."""
    if task.fleet.overlap and task.training:
        return task
    native = native_task(task, [(0, 1, s, s, 0) for s in range(len(task.work))], 0)
    after = Ragged.of(task.after)
    label = native.merges(after.offsets, after.values).tolist()
    number: dict[int, int] = {}
    for v in label:
        number.setdefault(v, len(number))
    return task.united([number[v] for v in label]) if len(number) < task.size else task
