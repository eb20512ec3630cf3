# SPDX-License-Identifier: Apache-2.0
"""Plans for devices of unequal memory, where some stages reserve more of it than others.

The search and the bounds know equal devices.  With the memory of the roomiest device no stage costs
more than it does in truth, so lower bounds (and a proof that no plan fits) hold; with that of the
tightest none costs less, so plans that fit there fit.  Both are solved.  Then the orders of their
plans are sliced again, optimally for what each position has left of its memory, and the best of all
plans at its true cost is returned with the bounds of the roomiest devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from .bound.simple import simple_bound
from .bound.types import Bound
from .errors import InfeasibleError, LimitError
from .exact.pricing import Pricing
from .graph import CostGraph
from .machine import Machine
from .plans import Plan, evaluate_all, problems_of
from .problem import Problem, compile_problem
from .reduce import reduce_problem
from .solve import Progress, Settings, Solution, solve

__all__ = ["slice_by_position", "solve_reserved"]

_MAX_SLICED: Final = 3_000
"""Nodes up to which orders are sliced by position: the costs of all pairs are held at once."""

Floats = npt.NDArray[np.float64]


def solve_reserved(
    graph: CostGraph,
    machine: Machine,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
    begun: float | None = None,
) -> Solution:
    """Return what :func:`.solve.solve` does, for devices that reserve memory differently too.

    Raises
    ------
    InfeasibleError, LimitError
        As :func:`.solve.solve` does.
    """
    if not any(machine.reserved):
        return solve(graph, machine, settings, progress, begun)
    half = replace(settings, time_limit=settings.time_limit / 2)
    roomy = replace(machine, reserved=())
    found: list[Solution] = []
    bounds: tuple[Bound, ...] = (simple_bound(compile_problem(graph, roomy)),)
    with suppress(LimitError):
        found.append(solve(graph, roomy, half, progress))
        bounds = found[0].bounds
    lower = max(bound.value for bound in bounds)
    best = _best(graph, machine, [solution.plan for solution in found])
    interrupted = any(solution.stopped_because == "interrupted" for solution in found)
    if not interrupted and (best is None or best[0] > lower):
        with suppress(LimitError, InfeasibleError):
            tight = roomy.without(max(machine.reserved))
            found.append(solve(graph, tight, half, progress))
        plans = [solution.plan for solution in found]
        best = _best(graph, machine, [*plans, *_sliced_again(graph, machine, plans)])
    if best is None or not found:
        raise LimitError(
            "no plan was found that fits beside what single stages reserve, and none was shown not to "
            "exist; give more time, reserve less, or reserve the same on all devices"
        )
    why = "interrupted" if interrupted else "what single stages reserve decides the rest of the gap"
    return replace(
        found[0],
        plan=best[1],
        bottleneck=best[0],
        bounds=bounds,
        stopped_because="the gap is closed" if best[0] == lower else why,
        seconds=sum(solution.seconds for solution in found),
    )


def _best(graph: CostGraph, machine: Machine, plans: Sequence[Plan]) -> tuple[int, Plan] | None:
    """Return the bottleneck and the plan of the best one that fits, every stage on its own device."""
    valid = [plan for plan in plans if not problems_of(graph, machine, plan)]
    priced = [(max(c.total for c in evaluate_all(graph, machine, plan)), plan) for plan in valid]
    return min(priced, key=lambda pair: pair[0], default=None)


def _sliced_again(graph: CostGraph, machine: Machine, plans: Sequence[Plan]) -> Iterator[Plan]:
    """Yield the best slicings by position of the orders of `plans` and of the graph's own order."""
    problem = reduce_problem(compile_problem(graph, machine))
    if problem.num_nodes > _MAX_SLICED or not problem.memory_binds:
        return
    pricing = Pricing(graph, machine, problem)
    for plan in [*plans, Plan((tuple(graph.topological_order.tolist()),))]:
        stage = plan.assignment(graph.num_nodes)
        home = [stage[nodes[0]] for nodes in problem.members]
        order = sorted(problem.order.tolist(), key=home.__getitem__)
        block = slice_by_position(problem, order)
        if block is not None:
            yield pricing.plan(np.array(block, np.int32))


def slice_by_position(problem: Problem, order: Sequence[int]) -> list[int] | None:
    """Return the block of each node in the best slicing of an order; None where none fits.

    Block j pays for what exceeds the memory of stage j.  Overflow counts parameters and the largest
    working set, in floating point: whoever uses the plan prices it.
    """
    n, machine = len(order), problem.machine
    cost, held = _pair_costs(problem, order)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    came: list[npt.NDArray[np.int64]] = []
    ends: list[float] = []
    for stage in range(machine.stages):
        device = machine.at(stage)
        after, start = np.full(n + 1, np.inf), np.full(n + 1, -1)
        for left in np.flatnonzero(np.isfinite(best[:n])).tolist():
            total = cost[left, left:] + _overflow(device, held[left, left:])
            reached = np.maximum(best[left], total)
            better = reached < after[left + 1 :]
            after[left + 1 :][better] = reached[better]
            start[left + 1 :][better] = left
        came.append(start)
        ends.append(float(after[n]))
        best = after
    used = int(np.argmin(ends))
    if not np.isfinite(ends[used]):
        return None
    block, right = [0] * n, n
    for stage in range(used, -1, -1):
        left = int(came[stage][right])
        for i in range(left, right):
            block[order[i]] = stage
        right = left
    return block


def _overflow(device: Machine, held: Floats) -> Floats:
    """Return picoseconds of overflow; infinite above the hard limit."""
    time = np.zeros_like(held)
    if device.memory is not None:
        time = np.maximum(0.0, held - device.memory) * (1e12 / (device.bandwidth or 1))
    if device.memory_limit is not None:
        time[held > device.memory_limit] = np.inf
    return time


def _pair_costs(problem: Problem, order: Sequence[int]) -> tuple[Floats, Floats]:
    """Return work and traffic, and bytes held, of the block of each pair of positions (left, right)."""
    n = len(order)
    position = {v: i for i, v in enumerate(order)}
    pins: list[list[tuple[list[int], int]]] = [[] for _ in range(n)]
    for producer, users, price in zip(
        problem.producer, problem.consumers, problem.cost, strict=True
    ):
        places = sorted(position[v] for v in (producer, *users))
        for place in places:
            pins[place].append((places, price))
    users_of: dict[int, list[int]] = {}
    for v, params in enumerate(problem.params_of):
        for parameter in params:
            users_of.setdefault(parameter, []).append(position[v])
    cost, held = np.zeros((n, n)), np.zeros((n, n))
    traffic, params_held, widest = np.zeros(n), np.zeros(n), np.zeros(n)
    for left in range(n - 1, -1, -1):
        v = order[left]
        traffic[left] = params_held[left] = widest[left] = 0.0
        for places, price in pins[left]:
            after = next((p for p in places if p > left), n)
            traffic[left:after] += price
            if left == places[0]:
                traffic[places[-1] :] -= price
        for parameter in problem.params_of[v]:
            after = min((p for p in users_of[parameter] if p > left), default=n)
            params_held[left:after] += problem.param_bytes[parameter]
        np.maximum(widest[left:], problem.working_set[v], out=widest[left:])
        work = np.cumsum([problem.work[u] for u in order[left:]])
        cost[left, left:] = traffic[left:] + work
        held[left, left:] = params_held[left:] + widest[left:]
    return cost, held
