# SPDX-License-Identifier: Apache-2.0
"""Local search, corridors and several levels: valid plans, never worse, optimal where that is known."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest
from tests.search.test_windows import check, one_block, random_case, wide_graph
from tests.solver import brute
from tests.solver.random_graphs import random_case as constrained_case

from stagewright import _native
from stagewright.graph import GraphBuilder
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem
from stagewright.search.corridor import Corridor, search_corridor
from stagewright.search.local import LocalSearch, search_locally
from stagewright.search.multilevel import Multilevel, search_levels
from stagewright.search.orders import Found, OrderSearch, search_orders

Search = Callable[[Problem, Found, int], Found]

ENDLESS = 10**12


def local(problem: Problem, start: Found, seed: int) -> Found:
    return search_locally(problem, 0, start, LocalSearch(moves=20_000, seed=seed))


def downhill(problem: Problem, start: Found, seed: int) -> Found:
    settings = LocalSearch(moves=20_000, objective="lexicographic", seed=seed)
    return search_locally(problem, 0, start, settings)


def corridor(problem: Problem, start: Found, seed: int) -> Found:
    return search_corridor(problem, 0, start, Corridor(rounds=40, seed=seed))


def levels(problem: Problem, start: Found, seed: int) -> Found:
    return search_levels(problem, 0, start, Multilevel(cycles=2, windows=50, seed=seed))


SEARCHES: list[Search] = [local, downhill, corridor, levels]


def in_order(problem: Problem) -> Found:
    return search_orders(problem, 0, None, OrderSearch(restarts=6, local_moves=0))


@pytest.mark.parametrize(
    ("search", "misses"), [(local, 0.03), (downhill, 0.1), (corridor, 0.0), (levels, 0.03)]
)
def test_small_graphs_reach_the_optimum(search: Search, misses: float) -> None:
    cases, missed = 150, 0
    for seed in range(cases):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        start = one_block(problem)
        found = search(problem, start, seed)
        check(problem, graph, machine, found)
        best = brute.problem_optimum(problem)
        assert best <= found.bottleneck <= start.bottleneck, f"seed {seed}"
        missed += best < found.bottleneck
    assert missed <= misses * cases


@pytest.mark.parametrize("search", SEARCHES)
def test_constraints_are_kept(search: Search) -> None:
    """Groups, uncuttable pairs, pins, tensors and parameters with several users, memory."""
    for seed in range(40):
        graph, machine = constrained_case(seed, max_nodes=40)
        problem = compile_problem(graph, machine)
        found = search(problem, one_block(problem), seed)
        check(problem, graph, machine, found)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("seed", range(6))
def test_medium_graphs_stay_valid(search: Search, seed: int) -> None:
    rng = random.Random(seed)
    graph, machine = random_case(1000 + seed, max_nodes=70)
    machine = Machine(rng.choice([2, 5, 12, 40]), bandwidth=10**12, memory=rng.choice([None, 60]))
    problem = compile_problem(graph, machine)
    start = in_order(problem)
    found = search(problem, start, seed)
    check(problem, graph, machine, found)
    assert found.bottleneck <= start.bottleneck


@pytest.mark.parametrize("search", SEARCHES)
def test_budgets_make_it_deterministic(search: Search) -> None:
    problem = compile_problem(wide_graph(300), Machine(8))
    start = in_order(problem)
    runs = [search(problem, start, seed) for seed in (3, 3, 4)]
    assert runs[0].block.tolist() == runs[1].block.tolist()
    assert runs[0].evaluations == runs[1].evaluations
    assert runs[0].block.tolist() != runs[2].block.tolist()
    assert runs[0].bottleneck < start.bottleneck


def test_a_corridor_that_holds_everything_proves() -> None:
    proven = 0
    for seed in range(40):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        found = search_corridor(problem, 0, in_order(problem), Corridor(seed=seed))
        assert found.width <= Corridor().last_width
        if found.exhaustive:
            proven += 1
            assert found.bottleneck == brute.problem_optimum(problem)
    assert proven > 20


def test_a_narrow_corridor_does_not_claim_a_proof() -> None:
    problem = compile_problem(wide_graph(200), Machine(8))
    found = search_corridor(problem, 0, in_order(problem), Corridor(last_width=64))
    assert not found.exhaustive
    assert found.width == 64


def test_levels_need_no_start() -> None:
    graph, machine = wide_graph(3000), Machine(4)
    problem = compile_problem(graph, machine)
    found = search_levels(problem, 0, None, Multilevel(cycles=1, windows=200))
    check(problem, graph, machine, found)
    assert found.bottleneck < in_order(problem).bottleneck


@pytest.mark.parametrize("search", [search_locally, search_corridor, search_levels])
def test_stops_at_the_lower_bound(search: Callable[..., Found]) -> None:
    problem = compile_problem(wide_graph(300), Machine(8))
    start = in_order(problem)
    assert search(problem, start.bottleneck, start).evaluations == 0
    assert search(problem, start.bottleneck - 1, start).bottleneck < start.bottleneck


SETTINGS = [
    (search_locally, LocalSearch(moves=ENDLESS)),
    (search_corridor, Corridor(last_width=10**7, patience=10**6, rounds=10**9)),
    (search_levels, Multilevel(cycles=ENDLESS)),
]


@pytest.mark.parametrize(("search", "settings"), SETTINGS)
def test_interrupt_returns_the_best_so_far(search: Callable[..., Found], settings: object) -> None:
    problem = compile_problem(wide_graph(1500), Machine(8))
    start = in_order(problem)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    found = search(problem, 0, start, settings, seconds=30)
    timer.join()
    assert found.interrupted
    assert found.bottleneck < start.bottleneck


@pytest.mark.parametrize(("search", "settings"), SETTINGS)
def test_time_ends_it_on_large_graphs(search: Callable[..., Found], settings: object) -> None:
    graph, machine = wide_graph(20_000), Machine(16)
    problem = compile_problem(graph, machine)
    start = search_orders(problem, 0, None, OrderSearch(restarts=1, local_moves=0))
    # The settings alone would keep it busy for hours.
    found = search(problem, 0, start, settings, seconds=0.5)
    check(problem, graph, machine, found)
    assert found.bottleneck <= start.bottleneck


def test_one_node_and_one_stage_are_left_alone() -> None:
    builder = GraphBuilder("one")
    builder.add_node("v", work=7)
    single = compile_problem(builder.build(), Machine(4))
    whole = compile_problem(wide_graph(20), Machine(1))
    for search in SEARCHES:
        assert search(single, one_block(single), 0).bottleneck == 7
        assert search(whole, one_block(whole), 0).bottleneck == one_block(whole).bottleneck


def test_refuses_a_start_that_is_no_plan() -> None:
    problem = compile_problem(wide_graph(20), Machine(3))
    for block, message in (
        (np.zeros(3, np.int32), "one block number per node"),
        (np.full(20, 3, np.int32), "block numbers from 0"),
        (np.array([1] + [0] * 19, np.int32), "before its producer's"),
    ):
        for search in SEARCHES:
            with pytest.raises(ValueError, match=message):
                search(problem, Found(10**6, block), 0)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="moves: expected at least 0, got -1"):
        LocalSearch(moves=-1)
    with pytest.raises(ValueError, match="objective: expected 'smoothed' or 'lexicographic'"):
        LocalSearch(objective="steep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="heat: expected a finite number from 0, got nan"):
        LocalSearch(heat=float("nan"))
    with pytest.raises(ValueError, match="first_width: expected at least 1, got 0"):
        Corridor(first_width=0)
    with pytest.raises(ValueError, match="rounds: expected at least 0, got -1"):
        Corridor(rounds=-1)
    with pytest.raises(ValueError, match="cycles: expected at least 0, got -1"):
        Multilevel(cycles=-1)


def test_costs_stay_exact_under_many_moves() -> None:
    """The core prices a final plan by its running sums; the reference prices it afresh."""
    for seed in range(60):
        graph, _ = random_case(2000 + seed, max_nodes=60)
        problem = compile_problem(graph, Machine(6, bandwidth=10**12, memory=40))
        settings = LocalSearch(moves=40_000, heat=50.0, seed=seed)
        found = search_locally(problem, 0, one_block(problem), settings)
        assert found.bottleneck == max(_native.block_costs(problem.instance, found.block))
