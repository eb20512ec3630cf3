# SPDX-License-Identifier: Apache-2.0
"""Starting from a known plan, and from the bounds of more stages."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.solver.random_graphs import random_case
from tests.solver.test_rounds import QUICK, wide_graph

import stagewright as sw
from stagewright.errors import InputError
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate_all, problems_of
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import nearest
from stagewright.settings import Settings
from stagewright.solve import solve


def slices(nodes: int, stages: int) -> Plan:
    """Return a plan of consecutive nodes, which need not be good."""
    cuts = [round(i * nodes / stages) for i in range(stages + 1)]
    return Plan(tuple(tuple(range(a, b)) for a, b in itertools.pairwise(cuts)))


def value(graph: object, machine: Machine, plan: Plan) -> int:
    return max(cost.total for cost in evaluate_all(graph, machine, plan))  # type: ignore[arg-type]


def test_never_worse_than_the_start_even_without_any_time() -> None:
    graph, machine = wide_graph(80, 1), Machine(5)
    good = solve(graph, machine, QUICK)
    for plan in (slices(80, 5), slices(80, 2), good.plan):
        found = solve(graph, machine, Settings(time_limit=0.0, start=plan))
        assert problems_of(graph, machine, found.plan) == []
        assert found.bottleneck == value(graph, machine, found.plan)
        assert found.bottleneck <= value(graph, machine, plan)
    assert solve(graph, machine, Settings(time_limit=0.0)).bottleneck > good.bottleneck


def test_the_nearest_plan_is_valid_and_the_same_where_nothing_was_joined() -> None:
    for seed in range(150):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        solution = solve(graph, machine)
        stage_of = solution.plan.assignment(graph.num_nodes)
        assert nearest(problem, stage_of).bottleneck <= solution.bottleneck, f"seed {seed}"
        reduced = reduce_problem(problem)
        block = reduced.expand(nearest(reduced, stage_of).block.tolist(), graph.num_nodes)
        assert problems_of(graph, machine, Plan.from_assignment(graph, block)) == [], f"seed {seed}"


def test_the_optimum_is_found_from_any_start() -> None:
    for seed in range(150):
        graph, machine = random_case(seed)
        best = solve(graph, machine)
        again = solve(graph, machine, Settings(start=best.plan))
        assert (again.bottleneck, again.lower_bound) == (best.bottleneck, best.lower_bound)
        one = Plan((tuple(graph.topological_order.tolist()),))
        assert solve(graph, machine, Settings(start=one)).bottleneck == best.bottleneck


def test_files_and_results_and_bounds_of_more_stages(tmp_path: Path) -> None:
    graph = wide_graph(60, 2)
    four = sw.plan(graph, 4, time_limit=1)
    five = sw.plan(graph, 5, time_limit=0, start=four)
    assert five.bottleneck <= four.bottleneck
    four.save(tmp_path / "four.json")
    assert (
        sw.plan(graph, 5, time_limit=0, start=tmp_path / "four.json").bottleneck <= four.bottleneck
    )
    # Bounds of four stages hold for three, and not the other way round.
    used = list(four.plan.stages)
    merged = Plan((*used[:2], tuple(v for stage in used[2:] for v in stage)))
    three = sw.plan(graph, 3, time_limit=0, start=merged)
    from_four = sw.plan(graph, 4, time_limit=0, start=four)
    assert from_four.lower_bound == four.lower_bound
    assert three.lower_bound <= four.lower_bound * 4 / 3 + 1
    assert five.lower_bound <= four.lower_bound


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (slices(30, 5), "5 stages, the machine has 4"),
        (Plan((tuple(range(29)),)), "1 nodes are in no stage"),
        (Plan((tuple(range(20, 30)), tuple(range(20)))), "which runs later"),
    ],
)
def test_what_is_no_plan_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(wide_graph(30, 3), Machine(4), Settings(start=plan))
