# SPDX-License-Identifier: Apache-2.0
"""What is alive while a plan runs, told to searches that see single nodes only.

Searches count the largest working set of a stage's nodes as its peak, and that can be far below what the stage
needs.  Here the working set of a node grows to the bytes that are alive while it runs in a given plan.  So searches see
that plan at its true cost, and what is near it nearly so; a tensor that waits for its reader moves with the nodes that run
meanwhile.  That bounds nothing: what a search finds is priced anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .. import _native
from ..effort import Effort
from ..plans import Plan
from ..problem import Flow, Problem
from ..search.corridor import Corridor, search_corridor
from ..search.local import LocalSearch, search_locally
from ..search.orders import Found
from ..search.windows import WindowSearch, search_windows
from .pricing import Pricing

__all__ = ["AsRun", "alive_in", "as_run", "search_as_run"]


@dataclass(frozen=True)
class AsRun:
    """How to search.

    Attributes
    ----------
    tries
        Searches one after the other, each knowing what was alive in the plans of those before.
    windows
        The search by windows, which moves of nodes and a corridor follow.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    tries: int = 4
    windows: WindowSearch = field(default_factory=WindowSearch)
    seed: int = 0


def search_as_run(
    pricing: Pricing, best: Found, lower: int, settings: AsRun, effort: Effort
) -> Found:
    """Return the best plan found from `best`, both with their true costs; never a worse one.

    Stops at a bottleneck of `lower` picoseconds, when the tries are made or the effort is over.
    """
    problem, found = pricing.problem, best
    each = effort.share(1 / settings.tries)
    for i in range(settings.tries):
        if effort.over() or best.bottleneck <= lower:
            break
        seed = settings.seed + i
        problem = as_run(problem, pricing.plan(found.block, effort))
        start = Found(max(_native.block_costs(problem.instance, best.block)), best.block)
        windows = replace(settings.windows, seed=seed)
        near = search_windows(problem, lower, start, windows, effort=each.share(0.4))
        moves = LocalSearch(moves=10**12, seed=seed)
        near = search_locally(problem, lower, near, moves, effort=each.share(0.4))
        near = search_corridor(problem, lower, near, Corridor(seed=seed), effort=each.share(0.2))
        found = pricing.true_cost(near, effort)
        if found.bottleneck < best.bottleneck:
            best, problem = found, pricing.problem
    return best


def as_run(problem: Problem, plan: Plan) -> Problem:
    """Return `problem` with working sets of at least what is alive in `plan`, the order of its stages included."""
    if problem.flow is None:
        return problem
    alive = alive_in(problem.flow, plan)
    sets = (
        max(size, *(alive[v] for v in nodes))
        for size, nodes in zip(problem.working_set, problem.members, strict=True)
    )
    return replace(problem, working_set=tuple(sets))


def alive_in(flow: Flow, plan: Plan) -> list[int]:
    """Return the bytes alive while each node of the cost graph runs, by the rules of :func:`.plans.stage_cost`."""
    alive = [0] * len(flow.reads)
    position = [0] * len(alive)
    stage_of = [0] * len(alive)
    for number, nodes in enumerate(plan.stages):
        for i, v in enumerate(nodes):
            stage_of[v], position[v] = number, i
    changes = [[0] * (len(nodes) + 1) for nodes in plan.stages]
    for producer, users, nbytes in zip(flow.producer, flow.consumers, flow.nbytes, strict=True):
        home = stage_of[producer]
        last: dict[int, int] = {home: position[producer]}
        for u in users:
            last[stage_of[u]] = max(last.get(stage_of[u], 0), position[u])
        if len(last) > 1:
            last[home] = len(plan.stages[home]) - 1  # it leaves
        for number, end in last.items():
            changes[number][position[producer] if number == home else 0] += nbytes
            changes[number][end + 1] -= nbytes
    for nodes, row in zip(plan.stages, changes, strict=True):
        now = 0
        for v, change in zip(nodes, row, strict=False):
            now += change
            alive[v] = now
    return alive
