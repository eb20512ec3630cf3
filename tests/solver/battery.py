# SPDX-License-Identifier: Apache-2.0
"""Everything the solver claims about one random graph, held against brute force."""

from __future__ import annotations

import random

from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright import _native
from stagewright.bound.anchor import anchor_bound
from stagewright.bound.average import average_bound
from stagewright.bound.simple import simple_bound
from stagewright.effort import Effort
from stagewright.exact.must_link import contract_at
from stagewright.exact.pricing import Pricing
from stagewright.exact.program import ExactLimits, prove
from stagewright.plans import evaluate_all, problems_of, stage_cost
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import one_stage, search_orders
from stagewright.solve import solve


def run_battery(seed: int) -> None:
    """Raise AssertionError, naming the seed, when anything is off."""
    graph, machine = random_case(seed)
    context = f"seed {seed}"
    optimum = brute.graph_optimum(graph, machine, relaxed=True)
    assert optimum < brute.NEVER, context

    # What the plan costs when every stage runs in its best order.
    true_optimum = optimum
    if machine.memory is not None:
        true_optimum = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        assert optimum <= true_optimum, context

    # Constraints compiled away, then reduced: the same optimum each time.
    problem = compile_problem(graph, machine)
    reduced = reduce_problem(problem)
    assert brute.problem_optimum(problem) == optimum, context
    assert brute.problem_optimum(reduced) == optimum, context

    # Slicing: an order's optimum, and the cost of what it returns.
    order = _native.random_order(reduced.instance, "random", seed)
    value, block, _ = _native.slice_order(reduced.instance, order, machine.stages, 0)
    assert value == brute.order_optimum(reduced, order.tolist()), context
    assert max(_native.block_costs(reduced.instance, block)) == value, context
    if not reduced.memory_binds:
        assert _native.slice_directly(reduced.instance, order, machine.stages) == value, context

    # Bounds never exceed the optimum; the anchor bound is what its definition says.
    assert simple_bound(problem).value <= optimum, context
    anchor, _ = anchor_bound(problem, graph)
    assert anchor.value == brute.anchor_optimum(problem), context
    assert anchor.value <= optimum, context
    for each in (problem, reduced):
        averaged = average_bound(each)
        assert averaged.complete, context
        assert simple_bound(each).value <= averaged.bound.value <= optimum, context
        if machine.stages == 2 and not reduced.memory_binds:
            assert averaged.bound.value == optimum, context

    # The exact method, from a poor incumbent and through contraction at the threshold.
    pricing = Pricing(graph, machine, reduced)
    proof = prove(
        pricing, pricing.true_cost(one_stage(reduced)), 0, ExactLimits(), Effort.within(60.0)
    )
    assert proof.complete, context
    assert proof.best.bottleneck == true_optimum, context
    assert proof.lower <= true_optimum, context
    # Blocks whose best order is not found: the bound holds, the plan costs what it says.
    doubtful = prove(
        pricing,
        pricing.true_cost(one_stage(reduced)),
        0,
        ExactLimits(order_states=2),
        Effort.within(60.0),
    )
    assert doubtful.lower <= true_optimum <= doubtful.best.bottleneck, context
    if doubtful.lower > 0:
        assert doubtful.lower >= optimum, context
    above = optimum + random.Random(seed).randint(0, 3)
    contracted = contract_at(reduced, above)
    assert brute.problem_optimum(contracted) == optimum, context

    # The search is sound; the whole method is exact and its plan costs what it says.
    found = search_orders(reduced, 0, settings=None)
    assert found.bottleneck >= optimum, context
    solution = solve(graph, machine)
    assert problems_of(graph, machine, solution.plan) == [], context
    stages = [stage_cost(graph, machine, nodes) for nodes in solution.plan.stages]
    assert evaluate_all(graph, machine, solution.plan) == stages, context
    assert solution.bottleneck == max(stage.total for stage in stages), context
    assert solution.bottleneck == true_optimum == solution.lower_bound, context
