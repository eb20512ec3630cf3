# SPDX-License-Identifier: Apache-2.0
"""Whether any plan can fit a hard limit of memory: what is shown by adding up.

Let least(v) be the bytes that every stage with v holds: its parameters and its working set.

**One class.**  If least(v) exceeds the limit, no stage can hold v.

**All parameters.**  A plan of j <= k stages holds every parameter at least once and in each stage the
working set of some node, so k (limit - the smallest working set) >= the bytes of all parameters.

The program over ideals decides the rest where the ideals can be listed (exact/program.py).
"""

from __future__ import annotations

from ..graph import CostGraph
from ..problem import Problem
from ..units import format_bytes

__all__ = ["why_nothing_fits"]


def why_nothing_fits(problem: Problem, graph: CostGraph) -> str:
    """Return why no plan of the compiled `problem` of `graph` fits; "" where adding up does not show it."""
    if problem.limit is None:
        return ""
    limit, stages = problem.limit.nbytes, problem.machine.stages
    held = problem.held_at_least()
    fullest = max(range(problem.num_nodes), key=held.__getitem__)
    if held[fullest] > limit:
        return f"{_name(problem, graph, fullest)} alone needs {_size(held[fullest])}"
    used = set().union(*problem.params_of)
    params = sum(problem.param_bytes[p] for p in used)
    least = min(problem.working_set)
    if params > stages * (limit - least):
        room = f"{stages} stages have room for {_size(stages * (limit - least))}"
        return f"the parameters take {_size(params)}, and {room}"
    return ""


def _name(problem: Problem, graph: CostGraph, number: int) -> str:
    nodes = problem.members[number]
    name = f"'{graph.node_names[nodes[0]]}'"
    if len(nodes) == 1:
        return f"node {name}"
    return f"what must share a stage with node {name} ({len(nodes)} nodes)"


def _size(nbytes: int) -> str:
    text = format_bytes(nbytes)
    return text if text == f"{nbytes} B" else f"{text} ({nbytes} bytes)"
