# SPDX-License-Identifier: Apache-2.0
"""How much of the space of orders a search by random orders sees, beside a genetic search of as many evaluations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ..graph import CostGraph
from ..machine import Machine
from ..problem import Problem, compile_problem
from ..search.genetic import Genetic, search_genetic
from ..search.orders import random_order, slice_along

__all__ = ["covered", "log_orders"]

_POPULATIONS = (10, 20, 50, 100)  # members and generations, so 100 to 10,000 evaluations


def covered(graph: CostGraph, machine: Machine, count: int, seed: int) -> dict[str, Any]:
    """Return what `count` random orders, each sliced optimally, show of the space.

    Keys: `orders`, `plans` and `values` count the distinct ones; `least`, `tenth`, `median` and `most` are of
    the values, picoseconds; `log10_orders` is the logarithm of the number of topological orders, estimated;
    `random-N` is the best value of the first N orders; for each `brkga-N`, `value` is what it reaches in N
    evaluations and `as_good` the share of all random orders that reach as much.
    """
    problem = compile_problem(graph, machine)
    orders: set[bytes] = set()
    plans: set[bytes] = set()
    values: list[int] = []
    for number in range(count):
        order = random_order(problem, seed * count + number)
        orders.add(order.tobytes())
        found = slice_along(problem, order)
        plans.add(found.block.tobytes())
        values.append(found.bottleneck)
    ranked = sorted(values)
    answer: dict[str, Any] = {
        "orders": len(orders),
        "plans": len(plans),
        "values": len(set(values)),
        "least": ranked[0],
        "tenth": ranked[len(ranked) // 10],
        "median": ranked[len(ranked) // 2],
        "most": ranked[-1],
        "log10_orders": log_orders(
            problem, [random_order(problem, s).tolist() for s in range(100)]
        ),
    }
    for size in (100, 1000, 10_000):
        if size <= count:
            answer[f"random-{size}"] = min(values[:size])
    least = max(-(-problem.total_work // machine.stages), *problem.work)
    for members in _POPULATIONS:
        if members * members <= count:
            settings = Genetic(population=members, generations=members, seed=seed)
            value = search_genetic(problem, settings, least).bottleneck
            share = sum(v <= value for v in values) / count
            answer[f"brkga-{members * members}"] = {"value": value, "as_good": share}
    return answer


def log_orders(problem: Problem, orders: Sequence[Sequence[int]]) -> float:
    """Estimate the decimal logarithm of the number of topological orders from random Kahn orders.

    Knuth's estimator (Mathematics of Computation 29, 1975): the product, along a random order, of how many
    nodes were ready at each step has the number of orders as its mean.
    """
    successors = problem.successors()
    missing = [0] * problem.num_nodes
    for row in successors:
        for v in row:
            missing[v] += 1
    logs = []
    for order in orders:
        left = missing.copy()
        ready, total = sum(not count for count in left), 0.0
        for v in order:
            total += math.log10(ready)
            ready -= 1
            for u in successors[v]:
                left[u] -= 1
                ready += not left[u]
        logs.append(total)
    top = max(logs)
    return top + math.log10(statistics.fmean(10 ** (value - top) for value in logs))
