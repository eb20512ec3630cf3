# SPDX-License-Identifier: Apache-2.0
"""The search by windows: valid plans, never worse, nearly always optimal where the optimum is known."""

from __future__ import annotations

import random
import signal
import threading
import time

import numpy as np
import pytest
from tests.solver import brute

from stagewright import _native
from stagewright.graph import FIRST, FREE, LAST, CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of
from stagewright.problem import Problem, compile_problem
from stagewright.search.orders import Found, OrderSearch, search_orders
from stagewright.search.windows import WindowSearch, search_windows
from stagewright.solve import Settings, solve


def random_case(seed: int, max_nodes: int = 9) -> tuple[CostGraph, Machine]:
    """Return a small graph with shared tensors, parameters and pins, and a machine."""
    rng = random.Random(seed)
    builder = GraphBuilder(f"case-{seed}")
    n = rng.randint(2, max_nodes)
    weight = rng.choice([1, 4, 20])
    for v in range(n):
        stage = rng.choice([FIRST, LAST]) if rng.random() < 0.04 else FREE
        builder.add_node(f"v{v}", work=rng.randint(0, 10), stage=stage)
    for v in range(n - 1):
        for _ in range(rng.choice([0, 1, 1, 2])):
            later = range(v + 1, min(n, v + 1 + rng.choice([2, 4, n])))
            users = sorted(rng.sample(later, min(len(later), rng.randint(1, 3))))
            builder.add_tensor(v, users, nbytes=rng.randint(0, 3 * weight))
    for _ in range(rng.choice([0, 1, 3])):
        builder.add_param(rng.randint(1, 30), sorted(rng.sample(range(n), min(n, 3))))
    memory = rng.choice([None, rng.randint(0, 40)])
    return builder.build(), Machine(rng.randint(1, 5), bandwidth=10**12, memory=memory)


def wide_graph(nodes: int, seed: int = 0) -> CostGraph:
    """Return a graph with far too many ideals to list."""
    rng = random.Random(seed)
    builder = GraphBuilder(f"wide-{nodes}")
    for v in range(nodes):
        builder.add_node(f"v{v}", work=rng.randint(1, 1000))
    for v in range(nodes - 1):
        later = range(v + 1, min(nodes, v + 60))
        builder.add_tensor(
            v, sorted(rng.sample(later, min(len(later), 2))), time=rng.randint(1, 300)
        )
    return builder.build()


def one_block(problem: Problem) -> Found:
    block = np.zeros(problem.num_nodes, np.int32)
    return Found(_native.block_costs(problem.instance, block)[0], block)


def check(problem: Problem, graph: CostGraph, machine: Machine, found: Found) -> None:
    assert max(_native.block_costs(problem.instance, found.block)) == found.bottleneck
    assert sorted(set(found.block.tolist())) == list(range(found.block.max() + 1))
    plan = Plan.from_assignment(graph, problem.expand(found.block.tolist(), graph.num_nodes))
    assert problems_of(graph, machine, plan) == []


def test_small_graphs_reach_the_optimum() -> None:
    missed = 0
    cases = 200
    for seed in range(cases):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        start = one_block(problem)
        found = search_windows(problem, 0, start, WindowSearch(rounds=200, seed=seed))
        check(problem, graph, machine, found)
        best = brute.problem_optimum(problem)
        assert best <= found.bottleneck <= start.bottleneck, f"seed {seed}"
        missed += best < found.bottleneck
    assert missed <= cases // 100


@pytest.mark.parametrize("seed", range(6))
def test_medium_graphs_stay_valid(seed: int) -> None:
    rng = random.Random(seed)
    graph, machine = random_case(1000 + seed, max_nodes=70)
    machine = Machine(rng.choice([2, 5, 12, 40]), bandwidth=10**12, memory=rng.choice([None, 60]))
    problem = compile_problem(graph, machine)
    start = search_orders(problem, 0, None, OrderSearch(restarts=6, local_moves=0))
    found = search_windows(problem, 0, start, WindowSearch(rounds=400, seed=seed))
    check(problem, graph, machine, found)
    assert found.bottleneck <= start.bottleneck


def test_rounds_make_it_deterministic() -> None:
    problem = compile_problem(wide_graph(150), Machine(8))
    start = search_orders(problem, 0, None, OrderSearch(restarts=6, local_moves=0))
    runs = [search_windows(problem, 0, start, WindowSearch(rounds=800, seed=s)) for s in (3, 3, 4)]
    assert runs[0].bottleneck == runs[1].bottleneck
    assert runs[0].block.tolist() == runs[1].block.tolist()
    assert runs[0].block.tolist() != runs[2].block.tolist()
    assert runs[0].evaluations == 800
    assert runs[0].bottleneck < start.bottleneck


def test_stops_at_the_lower_bound() -> None:
    problem = compile_problem(wide_graph(150), Machine(8))
    start = search_orders(problem, 0, None, OrderSearch(restarts=6, local_moves=0))
    enough = start.bottleneck - 1
    found = search_windows(problem, enough, start, WindowSearch(rounds=100_000))
    assert found.bottleneck <= enough
    assert found.evaluations < 100_000
    assert search_windows(problem, start.bottleneck, start).evaluations == 0


@pytest.mark.parametrize("stages", [2, 16])
def test_keeps_the_time_limit_on_large_graphs(stages: int) -> None:
    problem = compile_problem(wide_graph(1200), Machine(stages))
    start = search_orders(problem, 0, None, OrderSearch(restarts=2, local_moves=0))
    began = time.perf_counter()
    found = search_windows(problem, 0, start, WindowSearch(rounds=10**9), seconds=0.3)
    assert time.perf_counter() - began < 0.5
    assert found.bottleneck < start.bottleneck


def test_interrupt_returns_the_best_so_far() -> None:
    problem = compile_problem(wide_graph(300), Machine(8))
    start = search_orders(problem, 0, None, OrderSearch(restarts=2, local_moves=0))
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    found = search_windows(problem, 0, start, WindowSearch(rounds=10**9), seconds=30)
    timer.join()
    assert found.interrupted
    assert found.bottleneck < start.bottleneck


def test_solve_fills_the_time_with_windows() -> None:
    machine = Machine(8)
    graph = wide_graph(200)
    settings = Settings(time_limit=3, quick_work=0.1, anchor_work=0.05)
    solution = solve(graph, machine, settings)
    assert problems_of(graph, machine, solution.plan) == []
    phases = [point.phase for point in solution.history]
    assert "windows" in phases
    before = solution.history[phases.index("windows") - 1]
    assert solution.bottleneck < before.upper
    uppers = [point.upper for point in solution.history]
    assert uppers == sorted(uppers, reverse=True)


def test_one_node_and_one_stage_are_left_alone() -> None:
    builder = GraphBuilder("one")
    builder.add_node("v", work=7)
    problem = compile_problem(builder.build(), Machine(4))
    assert search_windows(problem, 0, one_block(problem)).bottleneck == 7
    problem = compile_problem(wide_graph(20), Machine(1))
    start = one_block(problem)
    assert search_windows(problem, 0, start).bottleneck == start.bottleneck


def test_refuses_a_start_that_is_no_plan() -> None:
    problem = compile_problem(wide_graph(20), Machine(3))
    value = 10**6
    for block, message in (
        (np.zeros(3, np.int32), "one block number per node"),
        (np.full(20, 3, np.int32), "block numbers from 0"),
        (np.array([1] + [0] * 19, np.int32), "before its producer's"),
    ):
        with pytest.raises(ValueError, match=message):
            search_windows(problem, 0, Found(value, block))


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="rounds: expected at least 0, got -1"):
        WindowSearch(rounds=-1)
