# SPDX-License-Identifier: Apache-2.0
"""One order and its slicings against trying all of them."""

from __future__ import annotations

from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright.problem import Problem, compile_problem
from stagewright.search.orders import priced, random_order, segment_costs, slice_along


def problems() -> list[Problem]:
    found = [compile_problem(*random_case(seed, max_nodes=7)) for seed in range(120)]
    return [problem for problem in found if not problem.memory_binds]


def test_an_order_is_sliced_optimally_and_priced_as_by_hand() -> None:
    assert len(problems()) > 40
    for problem in problems():
        order = random_order(problem, 1).tolist()
        place = {v: i for i, v in enumerate(order)}
        successors = problem.successors()
        assert all(place[u] < place[v] for u in order for v in successors[u])
        found = slice_along(problem, order)
        assert found.bottleneck == brute.order_optimum(problem, order)
        blocks = found.block.tolist()
        assert [blocks[v] for v in order] == sorted(blocks)
        by_hand = max(
            brute.problem_cost(problem, {v for v in order if blocks[v] == b}) for b in set(blocks)
        )
        assert priced(problem, blocks).bottleneck == found.bottleneck == by_hand


def test_fewest_segments_below_a_threshold() -> None:
    for problem in problems():
        order = random_order(problem, 2).tolist()
        best = slice_along(problem, order).bottleneck
        stages = problem.machine.stages
        assert segment_costs(problem, order, best) <= stages
        if best:
            assert segment_costs(problem, order, best - 1) > stages
