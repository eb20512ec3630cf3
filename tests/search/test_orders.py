# SPDX-License-Identifier: Apache-2.0
"""One order and its slicings against trying all of them."""

from __future__ import annotations

import itertools

from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright.problem import Problem, compile_problem
from stagewright.search.orders import (
    OrderSearch,
    model_order,
    priced,
    random_order,
    search_orders,
    segment_costs,
    slice_along,
)


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


def test_the_order_of_the_model() -> None:
    """It is topological, keeps first nodes in turn, and no search that is given it ends above its slicing."""
    better = 0
    for seed in range(200):
        graph, machine = random_case(seed, max_nodes=14)
        problem = compile_problem(graph, machine)
        order = model_order(problem, graph)
        place = {v: i for i, v in enumerate(order.tolist())}
        assert all(place[u] < place[v] for u, row in enumerate(problem.successors()) for v in row)
        first = [min(graph.topological_order.tolist().index(v) for v in nodes) for nodes in problem.members]  # fmt: skip
        for u, v in itertools.pairwise(order.tolist()):
            assert first[u] < first[v] or v in problem.successors()[u]
        own = slice_along(problem, order)
        brief = OrderSearch(restarts=2, local_moves=0, seed=seed)
        without = search_orders(problem, 0, None, brief)
        found = search_orders(problem, 0, None, brief, order=order)
        assert found.bottleneck == min(own.bottleneck, without.bottleneck)
        better += found.bottleneck < without.bottleneck
    assert better > 3
