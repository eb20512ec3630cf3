# SPDX-License-Identifier: Apache-2.0
"""One reduction for many instances keeps the optimum of every one: held against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import evaluate, problems_of, stage_cost
from stagewright.robustness.costs import InstanceCosts
from stagewright.robustness.shared import SharedReduction
from stagewright.robustness.spread import Instance, Spread
from stagewright.solve import solve


def case(seed: int, count: int = 4) -> tuple[CostGraph, Machine, list[Instance]]:
    graph, machine = random_case(seed)
    machine = replace(machine, memory=None)
    spread = Spread(
        work=(0.0, 0.2, 1.5)[seed % 3],
        bytes=(0.0, 0.5)[seed % 2],
        bandwidth=(0.0, 0.8)[seed // 2 % 2],
        per=("node", "op", "all")[seed % 3],
    )
    return graph, machine, [spread.draw(graph, machine, (seed, i)) for i in range(count)]


def check(seed: int) -> int:
    graph, machine, instances = case(seed)
    shared = SharedReduction(graph, instances)
    for number, instance in enumerate(instances):
        optimum = brute.graph_optimum(instance.graph, instance.machine, relaxed=True)
        small = shared.instance(number)
        assert brute.graph_optimum(small.graph, small.machine, relaxed=True) == optimum, seed
        solution = solve(small.graph, small.machine)
        assert solution.bottleneck == optimum, seed
        plan = shared.lift(solution.plan)
        assert problems_of(graph, machine, plan) == [], seed
        costs = evaluate(instance.graph, instance.machine, plan)
        assert max(cost.total for cost in costs) == optimum, seed
    return graph.num_nodes - shared.num_nodes


def test_a_shared_reduction_keeps_every_optimum() -> None:
    assert sum(check(seed) for seed in range(60)) > 60


@pytest.mark.slow
def test_a_shared_reduction_keeps_every_optimum_at_length() -> None:
    for seed in range(60, 1500):
        check(seed)


def test_a_merge_must_hold_in_every_instance() -> None:
    b = GraphBuilder("free sources")
    a, c = b.add_node("a", work=1), b.add_node("b", work=50)
    b.add_tensor(a, [c], time=10)
    graph = b.build()

    def instance(work: int) -> Instance:
        return Instance(graph.replace(work=[work, 50]), Machine(2))

    assert SharedReduction(graph, [instance(1), instance(10)]).num_nodes == 1
    assert SharedReduction(graph, [instance(1), instance(70)]).num_nodes == 2


@pytest.mark.parametrize("seed", range(12))
def test_costs_of_many_instances_are_those_of_each(seed: int) -> None:
    graph, machine, instances = case(seed, count=3)
    if seed % 2:  # with memory, stages are priced one by one
        tight = replace(machine, memory=1, bandwidth=machine.bandwidth or 10**9)
        instances = [Instance(i.graph, tight) for i in instances]
    costs = InstanceCosts(graph, instances)
    plan = solve(graph, machine).plan
    expected = [
        [stage_cost(i.graph, i.machine, nodes).total for nodes in plan.stages] for i in instances
    ]
    np.testing.assert_array_equal(costs.stage_costs(plan), expected)
