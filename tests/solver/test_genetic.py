# SPDX-License-Identifier: Apache-2.0
"""The genetic search against a plain one, its counts, its determinism."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.solver import brute, plain_genetic
from tests.solver.random_graphs import random_case

from stagewright import _native
from stagewright.benching.families import layered_model
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem
from stagewright.search.genetic import PRESETS, Genetic, RandomOrders, search_genetic
from stagewright.search.orders import Found, search_orders

GUIDES = ("depth_first", "breadth_first", "heaviest_path", "balanced_work")


def random_problem(seed: int, max_nodes: int = 9) -> Problem:
    return compile_problem(*random_case(seed, max_nodes))


def layered(nodes: int, stages: int, seed: int = 1) -> Problem:
    return compile_problem(layered_model(nodes, seed), Machine(stages=stages))


def is_topological(problem: Problem, order: list[int]) -> bool:
    position = {v: i for i, v in enumerate(order)}
    edges = [(v, u) for v, row in enumerate(problem.successors()) for u in row]
    return len(position) == problem.num_nodes and all(position[a] < position[b] for a, b in edges)


def check_plan(problem: Problem, found: Found) -> None:
    assert max(_native.block_costs(problem.instance, found.block)) == found.bottleneck
    assert max(found.block) < problem.machine.stages
    assert all(
        found.block[v] <= found.block[u] for v, row in enumerate(problem.successors()) for u in row
    )


def test_decoder_is_kahn_with_a_heap() -> None:
    for seed in range(300):
        problem = random_problem(seed, 40)
        rng = random.Random(seed)
        # Few distinct keys in some cases, so that ties by index matter.
        keys = [rng.randrange(rng.choice([3, 2**32])) for _ in range(problem.num_nodes)]
        order = _native.priority_order(problem.instance, np.array(keys, np.uint32))
        assert order.tolist() == plain_genetic.decode(problem, keys), f"seed {seed}"


@pytest.mark.parametrize("guide", GUIDES)
def test_guided_orders_are_topological(guide: str) -> None:
    for seed in range(100):
        problem = random_problem(seed, 40)
        assert is_topological(problem, _native.guided_order(problem.instance, guide).tolist()), (
            f"seed {seed}"
        )


def test_guides_do_what_they_are_called() -> None:
    """Two branches behind a source, b and d light, c and e heavy: a -> b -> d, a -> c -> e."""
    from stagewright.graph import GraphBuilder

    builder = GraphBuilder("branches")
    for name, work in zip("abcde", (1, 1, 9, 2, 9), strict=True):
        builder.add_node(name, work=work)
    for producer, users in ((0, [1, 2]), (1, [3]), (2, [4])):
        builder.add_tensor(producer, users, time=1)
    instance = compile_problem(builder.build(), Machine(stages=2)).instance

    def order(guide: str) -> str:
        return "".join("abcde"[v] for v in _native.guided_order(instance, guide))

    assert order("depth_first") == "acebd"
    assert order("breadth_first") == "abcde"
    assert order("heaviest_path") == "acebd"
    assert order("balanced_work") == "abdce"
    with pytest.raises(ValueError, match="depth_first, breadth_first"):
        _native.guided_order(instance, "sideways")


@pytest.mark.parametrize(
    "settings",
    [PRESETS["brkga-100"], Genetic(population=7, generations=12, elite=0.3, mutants=0.3)],
)
def test_bounded_evaluation_changes_nothing(settings: Genetic) -> None:
    for seed in range(40):
        problem = random_problem(seed, 24)
        settings = replace(settings, seed=seed)
        found = search_genetic(problem, settings)
        assert found.bottleneck == plain_genetic.evolve(problem, settings), f"seed {seed}"
    problem = layered(150, 6)
    assert search_genetic(problem, settings).bottleneck == plain_genetic.evolve(problem, settings)


def test_random_orders_find_the_best_of_them() -> None:
    problem = layered(150, 6)
    alone = [
        search_genetic(problem, RandomOrders(count)).bottleneck for count in (1, 10, 100, 1000)
    ]
    assert alone == sorted(alone, reverse=True)
    assert search_genetic(problem, RandomOrders(100, seed=7)).evaluations == 100


def test_never_below_the_optimum_and_true_to_its_plan() -> None:
    """Also with memory, pins and groups, which the random graphs have."""
    bound_by_memory = 0
    for seed in range(250):
        problem = random_problem(seed)
        bound_by_memory += problem.memory_binds
        optimum = brute.problem_optimum(problem)
        for name in ("random-100", "brkga-100"):
            found = search_genetic(problem, name)
            check_plan(problem, found)
            assert found.bottleneck >= optimum, f"seed {seed}, {name}"
        stopped = search_genetic(problem, "random-1000", lower=optimum)
        assert stopped.bottleneck == optimum, f"seed {seed}: 1,000 orders of 9 nodes"
    assert bound_by_memory > 30


@pytest.mark.parametrize("settings", ["brkga-100", "brkga-10000", "random-1000"])
def test_presets_count_as_the_paper_does(settings: str) -> None:
    problem = layered(60, 4)
    found = search_genetic(problem, settings)
    assert found.evaluations == int(settings.split("-")[1])
    if settings == "brkga-10000":
        assert found.decoded == 100 + 99 * 80
    assert 0 < found.optima < found.decoded


def test_result_does_not_depend_on_threads() -> None:
    settings = Genetic(population=20, generations=25, islands=5, migration=4, guided=True, seed=3)
    problem = layered(200, 8)
    first = search_genetic(problem, settings)
    for threads in (1, 2, 4, 9):
        again = search_genetic(problem, settings, threads=threads)
        assert again.block.tolist() == first.block.tolist()
        assert (again.bottleneck, again.evaluations, again.decoded, again.optima) == (
            first.bottleneck,
            first.evaluations,
            first.decoded,
            first.optima,
        )
    assert first.evaluations == 20 * 25 * 5


def test_a_warm_start_is_never_lost() -> None:
    for seed in range(60):
        problem = random_problem(seed, 30)
        start = search_orders(problem, 0)
        for name in ("random-100", "brkga-100"):
            found = search_genetic(problem, name, start=start)
            check_plan(problem, found)
            assert found.bottleneck <= start.bottleneck, f"seed {seed}, {name}"
    orders = [_native.random_order(problem.instance, "depth_first", seed) for seed in range(4)]
    best = min(
        _native.slice_order(problem.instance, order, problem.machine.stages)[0] for order in orders
    )
    assert search_genetic(problem, "brkga-100", orders=orders).bottleneck <= best


def test_lower_bound_and_clock_end_the_search() -> None:
    problem = layered(400, 8)
    reached = search_genetic(problem, "brkga-100").bottleneck
    early = search_genetic(problem, "brkga-10000", lower=reached)
    assert early.bottleneck == reached
    assert early.evaluations < 1000
    began = time.perf_counter()
    settings = Genetic(population=100, generations=10**6, islands=4)
    found = search_genetic(problem, settings, seconds=0.2, threads=2)
    assert time.perf_counter() - began < 2.0
    check_plan(problem, found)
    check_plan(problem, search_genetic(problem, settings, seconds=0.0, threads=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"population": 1}, "population: 1 members cannot hold"),
        ({"population": 10, "elite": 0.8, "mutants": 0.5}, "8 elites, 5 mutants and someone else"),
        ({"generations": 0}, "generations: expected at least 1, got 0"),
        ({"bias": 1.5}, "bias: expected 0 to 1, got 1.5"),
    ],
)
def test_settings_are_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Genetic(**values)  # type: ignore[arg-type]


def test_unknown_preset_and_too_many_orders() -> None:
    problem = layered(30, 2)
    with pytest.raises(ValueError, match="unknown preset 'brkga-7'; known: random-100"):
        search_genetic(problem, "brkga-7")
    orders = [_native.random_order(problem.instance, "random", 0)] * 10
    with pytest.raises(ValueError, match="more orders to start from"):
        search_genetic(problem, "brkga-100", orders=orders)
