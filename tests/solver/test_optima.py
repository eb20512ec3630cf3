# SPDX-License-Identifier: Apache-2.0
"""The optima of all numbers of stages from one list of ideals, against brute force; the questions behind them."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case
from tests.solver.test_rounds import wide_graph

from stagewright import _native
from stagewright.effort import Effort
from stagewright.exact.optima import optima
from stagewright.exact.program import ExactLimits, Listing, list_ideals
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem


def listing_of(seed: int) -> Listing:
    graph, machine = random_case(seed)
    return listed(compile_problem(graph, replace(machine, memory=None)))


def listed(problem: Problem) -> Listing:
    listing = list_ideals(problem, ExactLimits(), Effort.within(100))
    assert listing.ideals.complete
    return listing


def value_of(problem: Problem, block: np.ndarray[tuple[int], np.dtype[np.int32]]) -> int:
    """Return the bottleneck of a plan whose blocks must follow one another."""
    successors = problem.successors()
    assert all(block[v] <= block[u] for v in range(problem.num_nodes) for u in successors[v])
    return max(_native.block_costs(problem.instance, block))


def check_optima(seed: int) -> None:
    listing = listing_of(seed)
    problem = listing.problem
    stages = (7, 5, 4, 3, 2, 1)
    found = list(optima(listing, stages, Effort.within(100)))
    assert [optimum.stages for optimum in found] == list(stages), seed
    for optimum in found:
        k = optimum.stages
        assert optimum.proven, (seed, k)
        assert optimum.lower == brute.problem_optimum(problem.for_stages(k)), (seed, k)
        assert value_of(problem, optimum.found.block) == optimum.lower, (seed, k)
        assert int(optimum.found.block.max()) < k, (seed, k)


@pytest.mark.parametrize("start", range(0, 120, 40))
def test_every_number_of_stages_reaches_the_optimum_of_brute_force(start: int) -> None:
    for seed in range(start, start + 40):
        check_optima(seed)


@pytest.mark.slow
def test_every_number_of_stages_reaches_the_optimum_on_many_graphs() -> None:
    for seed in range(120, 1500):
        check_optima(seed)


def test_whatever_is_known_and_guessed_the_optimum_is_the_same() -> None:
    """Larger graphs, where passes from both ends and the gallop matter, against single questions."""
    rng = random.Random(3)
    for seed in range(12):
        problem = compile_problem(wide_graph(26, seed), Machine(4))
        ideals = listed(problem).ideals
        total = problem.total_work
        for k in (2, 3, 5, 9):
            low, high = 0, total
            while low < high:  # the least threshold with a yes
                middle = (low + high) // 2
                if ideals.decide(k, middle)[0] == "yes":
                    high = middle
                else:
                    low = middle + 1
            for _ in range(4):
                lower, guess = rng.randint(0, low), rng.randint(0, total + 1)
                upper = rng.choice([total + 1, 2**62, low + 1, low])
                shown, value, block, _ = ideals.optimum(k, lower, guess, upper)
                assert (shown, value) == (low, low), (seed, k, lower, guess, upper)
                assert len(block) == 0 if upper == low else value_of(problem, block) == low


def test_what_is_shown_when_the_work_is_spent_holds() -> None:
    problem = compile_problem(wide_graph(40, 2), Machine(6))
    ideals = listed(problem).ideals
    best = ideals.optimum(6, 0, 0, 2**62)[1]
    ended = set()
    for work in (0, 100, 1_000, 10_000, 100_000, 1_000_000, 10**11):
        shown, value, block, _ = ideals.optimum(6, 1, 1, 2**62, work=work)
        assert shown <= best <= value
        assert value_of(problem, block) == value
        again = ideals.optimum(6, 1, 1, 2**62, work=work)
        assert (shown, value, block.tolist()) == (again[0], again[1], again[2].tolist())
        ended.add(shown == value)
    assert ended == {False, True}


def test_optima_end_where_time_is_up() -> None:
    listing = listed(compile_problem(wide_graph(40, 2), Machine(6)))
    found = list(optima(listing, range(1, 9), Effort.within(0.0)))
    assert len(found) == 1
    assert not found[0].proven
    assert found[0].found.bottleneck == listing.problem.total_work


def test_memory_is_refused() -> None:
    for seed in range(100):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        if problem.memory_binds:
            with pytest.raises(ValueError, match="expected an instance without memory"):
                listed(problem).ideals.optimum(2, 0, 0, 10)
            return
    pytest.fail("no case with memory among the seeds")
