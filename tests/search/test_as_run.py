# SPDX-License-Identifier: Apache-2.0
"""Searches that are told what is alive in a plan: by the definition, and never a worse plan."""

from __future__ import annotations

import random

import numpy as np
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright import _native
from stagewright.effort import Effort
from stagewright.exact.as_run import AsRun, alive_in, as_run, search_as_run
from stagewright.exact.pricing import Pricing
from stagewright.plans import Plan, evaluate_all, stage_cost
from stagewright.problem import Flow, compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import Found, OrderSearch, search_orders
from stagewright.search.windows import WindowSearch


def plans() -> list[tuple[Pricing, Plan]]:
    """Return plans of random graphs whose memory binds, their stages well ordered."""
    made = []
    for seed in range(150):
        graph, machine = random_case(seed, max_nodes=8)
        problem = reduce_problem(compile_problem(graph, machine))
        if not problem.memory_binds or problem.limit is not None:
            continue
        found = search_orders(problem, 0, None, OrderSearch(restarts=2, local_moves=0, seed=seed))
        pricing = Pricing(graph, machine, problem)
        made.append((pricing, pricing.plan(found.block)))
    return made


def test_most_that_is_alive_is_the_peak() -> None:
    cases = plans()
    assert len(cases) > 30
    for pricing, plan in cases:
        alive = alive_in(Flow.of(pricing.graph), plan)
        for nodes in plan.stages:
            cost = stage_cost(pricing.graph, pricing.machine, nodes)
            assert max(alive[v] for v in nodes) == cost.peak_bytes


def test_searches_see_the_plan_at_its_true_cost() -> None:
    dearer = 0
    for pricing, plan in plans():
        problem = pricing.problem
        stage_of = plan.assignment(pricing.graph.num_nodes)
        block = np.array([stage_of[nodes[0]] for nodes in problem.members], np.int32)
        costs = _native.block_costs(as_run(problem, plan).instance, block)
        true = [cost.total for cost in evaluate_all(pricing.graph, pricing.machine, plan)]
        assert list(costs) == true
        dearer += list(_native.block_costs(problem.instance, block)) != true
    assert dearer > 5


def test_never_worse_and_never_better_than_the_optimum() -> None:
    better = 0
    rng = random.Random(2)
    for seed in range(200):
        graph, machine = random_case(seed, max_nodes=7)
        problem = compile_problem(graph, machine)
        if not problem.memory_binds or problem.limit is not None:
            continue
        pricing = Pricing(graph, machine, problem)
        used = min(machine.stages, problem.num_nodes)
        block = np.zeros(problem.num_nodes, np.int32)
        block[problem.order] = np.arange(problem.num_nodes) * used // problem.num_nodes
        start = pricing.true_cost(Found(0, block))
        settings = AsRun(tries=2, windows=WindowSearch(rounds=20), seed=rng.randint(0, 9))
        work = Effort.within(1e9, 2_000_000)
        found = search_as_run(pricing, start, 0, settings, work)
        again = search_as_run(pricing, start, 0, settings, work)
        assert found.block.tolist() == again.block.tolist()
        assert found.bottleneck == pricing.value(pricing.plan(found.block))
        optimum = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        assert optimum <= found.bottleneck <= start.bottleneck
        better += found.bottleneck < start.bottleneck
    assert better > 5
