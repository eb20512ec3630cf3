# SPDX-License-Identifier: Apache-2.0
"""The bounds for wide graphs where memory binds: overflow counts, and nothing exceeds the optimum."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.bound.problems import optimum, random_problem, with_memory
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright import _native
from stagewright.bound.cover import CoverBound
from stagewright.bound.skeleton import SkeletonBound
from stagewright.effort import Effort
from stagewright.exact.must_link import contract_by_cuts
from stagewright.problem import Problem, compile_problem
from stagewright.reduce import reduce_problem

GRAPHS = 1500


def case(rng: random.Random, most_nodes: int = 9) -> Problem:
    largest = rng.choice([9, 9, 1000, 10**9])
    stages = rng.choice([1, 2, 3, 4, 8])
    return with_memory(
        rng, random_problem(rng, rng.randint(1, most_nodes), stages, largest), largest
    )


def without_memory(problem: Problem) -> Problem:
    return replace(problem, flow=None, machine=replace(problem.machine, memory=None))


def test_reference_is_the_definition() -> None:
    rng = random.Random(1)
    for _ in range(150):
        problem = case(rng, 6)
        assert optimum(problem) == brute.problem_optimum(problem)


def test_skeleton_is_the_optimum_when_refined_to_the_end() -> None:
    rng = random.Random(2)
    raised = 0
    for _ in range(GRAPHS):
        problem = case(rng)
        best = optimum(problem)
        upper = best + rng.choice([0, 0, 1, 3, 10])
        relaxed = SkeletonBound(problem).bound(0, upper)
        assert relaxed.bound.value == best, problem
        raised += best > optimum(without_memory(problem))
        if best < upper:
            assert relaxed.block is not None
            assert max(_native.block_costs(problem.instance, relaxed.block)) == best
    assert raised > GRAPHS // 3


def test_skeleton_is_valid_when_it_ends_early() -> None:
    rng = random.Random(3)
    early = 0
    for _ in range(GRAPHS):
        problem = case(rng)
        best = optimum(problem)
        value, closed, *_ = _native.Skeleton(problem.instance).bound(
            problem.machine.stages, 0, best + rng.randint(0, 3), max_bytes=rng.randint(1, 12_000)
        )
        assert value <= best
        assert not closed or value == best
        early += value < best
    assert early > GRAPHS // 20


def test_cover_is_at_most_the_optimum() -> None:
    rng = random.Random(4)
    raised = 0
    for _ in range(GRAPHS):
        problem = case(rng)
        best = optimum(problem)
        upper = best + rng.choice([0, 1, 3, best // 5])
        work = rng.choice([10_000, 100_000, 1 << 60])
        value = CoverBound(problem).bound(0, upper, work=work).bound.value
        assert value <= best, problem
        raised += value > optimum(without_memory(problem))
    assert raised > GRAPHS // 5


def test_contraction_keeps_whether_a_plan_is_below_the_threshold() -> None:
    rng = random.Random(5)
    smaller = none = 0
    for _ in range(GRAPHS):
        problem = case(rng)
        best = optimum(problem)
        threshold = max(0, best + rng.choice([-3, -1, 0, 0, 1, 4]))
        small, _ = contract_by_cuts(problem, threshold, Effort.within(1e9))
        if small is None:
            none += 1
            assert best > threshold
            continue
        smaller += small.num_nodes < problem.num_nodes
        kept = optimum(small)
        assert (kept == best) if best <= threshold else (kept > threshold)
    assert smaller > GRAPHS // 20
    assert none > GRAPHS // 20


@pytest.mark.parametrize("block", range(4))
def test_bounds_of_reduced_graphs_are_at_most_the_true_optimum(block: int) -> None:
    """Stages in their best orders, peaks by the definition: after reduction and contraction too."""
    compared = 0
    for seed in range(250 * block, 250 * block + 250):
        graph, machine = random_case(seed, max_nodes=7)
        problem = compile_problem(graph, machine)
        if not problem.memory_binds:
            continue
        compared += 1
        best = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        reduced = reduce_problem(problem).counting_alive()
        small, _ = contract_by_cuts(reduced, best, Effort.within(1e9))
        assert small is not None
        for prover in (SkeletonBound(reduced), SkeletonBound(small), CoverBound(small)):
            assert prover.bound(0, 2 * best + 5).bound.value <= best, f"seed {seed}"
    assert compared > 20


def test_what_is_alive_is_at_most_the_least_peak() -> None:
    """Of random convex blocks, over all orders; and more than the largest working set often."""
    rng = random.Random(9)
    more = 0
    for seed in range(600):
        graph, machine = random_case(seed, max_nodes=8)
        problem = compile_problem(graph, replace(machine, memory=0))
        if not problem.memory_binds or max(problem.working_set) == 0:
            continue
        order, n = problem.order.tolist(), problem.num_nodes
        begin = rng.randrange(n)
        block = order[begin : rng.randint(begin + 1, n)]
        nodes = sorted(v for c in block for v in problem.members[c])
        params = {p for c in block for p in problem.params_of[c]}
        held = _native.held_at_least(
            problem.counting_alive().instance, np.array(block, dtype=np.int32)
        )
        alive = held - sum(problem.param_bytes[p] for p in params)
        assert alive <= brute.least_peak(graph, nodes), f"seed {seed}"
        more += alive > max(problem.working_set[c] for c in block)
    assert more > 5


def test_huge_sizes_do_not_overflow() -> None:
    rng = random.Random(6)
    for _ in range(100):
        problem = with_memory(rng, random_problem(rng, rng.randint(2, 8), 3, 2**40), 2**50)
        best = optimum(problem)
        assert SkeletonBound(problem).bound(0, best).bound.value <= best
        assert CoverBound(problem).bound(0, best).bound.value <= best


def test_equal_calls_give_equal_results() -> None:
    rng = random.Random(7)
    problem = with_memory(rng, random_problem(rng, 60, 6, 10**9), 10**9)
    upper = problem.total_work // 2
    for prover in (SkeletonBound, CoverBound):
        first, again = (prover(problem).bound(0, upper, work=3 * 10**8) for _ in range(2))
        assert first.bound.value == again.bound.value > 0
