# SPDX-License-Identifier: Apache-2.0
"""The whole method: odd graphs, determinism, progress, the API's result."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.solver.random_graphs import random_case

import stagewright as sw
from stagewright.api import bound
from stagewright.errors import InputError
from stagewright.graph import FIRST, LAST, CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import problems_of
from stagewright.solve import Progress, Settings, solve


def graph_of(
    work: list[int], edges: list[tuple[int, int]], cost: int = 1, **options: object
) -> CostGraph:
    builder = GraphBuilder("odd")
    for v, w in enumerate(work):
        builder.add_node(f"v{v}", work=w)
    for a, b in edges:
        builder.add_tensor(a, [b], time=cost)
    return builder.build()


CHAIN = [(i, i + 1) for i in range(7)]


@pytest.mark.parametrize(
    ("work", "edges", "k", "bottleneck"),
    [
        ([5], [], 1, 5),
        ([5], [], 8, 5),
        ([0], [], 3, 0),
        ([3] * 8, CHAIN, 1, 24),
        ([3] * 8, CHAIN, 2, 13),
        ([3] * 8, CHAIN, 8, 5),
        ([3] * 8, CHAIN, 1000, 5),
        ([0] * 8, CHAIN, 4, 0),
        ([4, 4, 4, 4], [], 2, 8),
        ([4, 4, 4, 4], [], 4, 4),
        ([1, 2, 3], [], 2, 3),
    ],
    ids=lambda value: str(value)[:20],
)
def test_odd_graphs(work: list[int], edges: list[tuple[int, int]], k: int, bottleneck: int) -> None:
    graph = graph_of(work, edges)
    solution = solve(graph, Machine(k))
    assert solution.bottleneck == bottleneck == solution.lower_bound
    assert problems_of(graph, Machine(k), solution.plan) == []


def test_first_and_last_pinned_to_one_chain() -> None:
    builder = GraphBuilder("pinned")
    for v in range(4):
        builder.add_node(f"v{v}", work=10, stage={1: FIRST, 2: LAST}.get(v, 0))
    for v in range(3):
        builder.add_tensor(v, [v + 1], time=1)
    solution = solve(builder.build(), Machine(4))
    assert [list(nodes) for nodes in solution.plan.stages] == [[0, 1], [2, 3]]


def test_same_seed_same_plan_at_any_thread_count() -> None:
    graph, machine = random_case(11, max_nodes=9)
    runs = [
        solve(graph, machine, Settings(seed=5, threads=threads)).plan for threads in (1, 2, 4, 1)
    ]
    assert all(plan == runs[0] for plan in runs)


def test_progress_is_told_and_monotone() -> None:
    points: list[Progress] = []
    graph = graph_of([3, 1, 4, 1, 5, 9, 2, 6], CHAIN, cost=2)
    solution = solve(graph, Machine(3), progress=points.append)
    assert points == list(solution.history)
    uppers, lowers = [p.upper for p in points], [p.lower for p in points]
    assert uppers == sorted(uppers, reverse=True)
    assert lowers == sorted(lowers)
    assert lowers[-1] == uppers[-1] == solution.bottleneck


def test_bandwidth_is_needed_exactly_when_a_tensor_is_in_bytes() -> None:
    builder = GraphBuilder("bytes")
    builder.add_node("a", work=1)
    builder.add_node("b", work=1)
    builder.add_tensor(0, [1], nbytes=8)
    with pytest.raises(InputError, match="some tensor is given in bytes"):
        sw.plan(builder.build(), 2)
    assert sw.plan(graph_of([1, 1], [(0, 1)]), 2).status == "optimal"


def test_result_of_the_api(tmp_path: Path) -> None:
    result = sw.plan(graph_of([3] * 8, CHAIN), stages=2)
    assert (result.status, result.gap) == ("optimal", 0.0)
    assert result.bottleneck == result.lower_bound == 13e-12
    assert {bound.method for bound in result.bounds} >= {"simple"}
    assert sw.check(result.graph, result).exit_code == 0
    result.save(tmp_path / "plan.json")
    result.report(tmp_path / "page.html")
    assert sw.check(result.graph, tmp_path / "plan.json").exit_code == 0
    assert repr(result) == "<Result of 'odd': 2 stages, bottleneck 13 ps, optimal>"
    assert bound(result.graph, result.machine, "exact").value == 13
    with pytest.raises(InputError, match=r"method: expected simple"):
        bound(result.graph, result.machine, "guesswork")


def test_work_is_needed() -> None:
    builder = GraphBuilder("flops")
    builder.add_node("a", flops=10)
    with pytest.raises(InputError, match="work for its nodes"):
        sw.plan(builder.build(), 2)
