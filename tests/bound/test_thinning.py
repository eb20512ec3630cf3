# SPDX-License-Identifier: Apache-2.0
"""Without some nodes: nothing exceeds the optimum, and every plan of the rest becomes one of the whole."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.bound.problems import optimum, random_problem, with_memory
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright.effort import Effort
from stagewright.exact.must_link import contract_by_cuts
from stagewright.exact.pricing import Pricing
from stagewright.exact.program import ExactLimits, list_ideals
from stagewright.exact.thinning import Thinning, leave_out, thin
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of
from stagewright.problem import Flow, Problem, compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import Found

ENDLESS = Effort.within(1e9)


def least(problem: Problem, most: int) -> int:
    """Return the optimum of `problem`, stages in their best orders; above `most` where that is less."""
    ideals = list_ideals(problem, ExactLimits(), ENDLESS).ideals
    low, high = 0, most + 1
    while low < high:
        middle = (low + high) // 2
        answer, _, _ = ideals.decide(problem.machine.stages, middle)
        low, high = (low, middle) if answer == "yes" else (middle + 1, high)
    return low


@pytest.mark.parametrize("block", range(3))
def test_optimum_of_the_rest_is_at_most_the_optimum(block: int) -> None:
    rng = random.Random(block)
    equal = below = 0
    for seed in range(200 * block, 200 * block + 200):
        graph, machine = random_case(seed, max_nodes=7)
        problem = compile_problem(graph, machine)
        if not problem.memory_binds:
            continue
        best = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        for whole in (problem, reduce_problem(problem)):
            if whole.num_nodes < 2:
                continue
            gone = rng.sample(range(whole.num_nodes), rng.randint(1, min(3, whole.num_nodes - 1)))
            value = least(leave_out(whole, gone), min(best, whole.refusal))
            assert value <= best, f"seed {seed}"
            equal += value == best
            below += value < best
    assert equal > 3
    assert below > 20


def test_stages_pay_for_what_is_left_out() -> None:
    """The relaxed optimum of the rest stays below, and what is charged raises it."""
    rng = random.Random(7)
    raised = 0
    for _ in range(1200):
        largest = rng.choice([9, 1000, 10**9])
        stages = rng.choice([2, 3, 4])
        problem = with_memory(rng, random_problem(rng, rng.randint(2, 8), stages, largest), largest)
        count = rng.randint(1, problem.num_nodes - 1)
        gone = rng.sample(range(problem.num_nodes), count)
        rest = leave_out(problem, gone)
        assert optimum(rest) <= optimum(problem), problem
        kept = [v for v in range(problem.num_nodes) if v not in gone]
        unpaid = replace(
            rest,
            work=tuple(problem.work[v] for v in kept),
            params_of=tuple(problem.params_of[v] for v in kept),
        )
        raised += optimum(unpaid) < optimum(rest)
    assert raised > 60


def test_bounds_and_plans_of_graphs_with_too_many_ideals() -> None:
    shown = without = reached = 0
    for seed in range(400):
        graph, machine = random_case(seed, max_nodes=8)
        problem = reduce_problem(compile_problem(graph, machine))
        if not problem.memory_binds or problem.limit is not None or problem.num_nodes < 4:
            continue
        best = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        limits = ExactLimits(max_ideals=6)
        thinned = thin(problem, 2 * best, limits, ENDLESS)
        without += thinned is not None and len(thinned.gone) > 0
        found = Thinning.of(problem, 0, 2 * best + 1, limits, ENDLESS)
        assert found.lower <= best, f"seed {seed}"
        pricing = Pricing(graph, machine, problem)
        values = [pricing.true_cost(Found(0, block)).bottleneck for block in found.plans]
        assert all(value >= best for value in values), f"seed {seed}"
        shown += found.lower > 0
        reached += min(values, default=0) == best
    assert without > 20
    assert shown > 20
    assert reached > 20


def test_contraction_by_cuts_first() -> None:
    """What is contracted for an incumbent is whole enough to prove it optimal."""
    proven = contracted = 0
    for seed in range(300):
        graph, machine = random_case(seed, max_nodes=7)
        problem = compile_problem(graph, machine)
        if not problem.memory_binds or problem.limit is not None:
            continue
        best = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        small, _ = contract_by_cuts(problem.counting_alive(), best, ENDLESS)
        assert small is not None
        contracted += small.num_nodes < problem.num_nodes
        found = Thinning.of(small, 0, best + 1, ExactLimits(), ENDLESS, whole=True)
        assert found.lower == best, f"seed {seed}"
        blocks = [small.expand(block.tolist(), graph.num_nodes) for block in found.plans]
        plans = [Plan.from_assignment(graph, block) for block in blocks]
        assert all(not problems_of(graph, machine, plan) for plan in plans)
        closed = Thinning.of(small, 0, best, ExactLimits(), ENDLESS, whole=True)
        assert closed.lower == best
        proven += not closed.plans
    assert proven > 20
    assert contracted > 20


def test_precedence_leads_through_what_is_left_out() -> None:
    problem = random_problem(random.Random(3), 5, 3)
    chain = replace(
        problem,
        producer=(0, 1, 2, 3),
        consumers=((1,), (2,), (3,), (4,)),
        cost=(1, 1, 1, 1),
        edges=(),
    )
    assert leave_out(chain, [1, 2]).successors() == [[1], [2], []]


def test_equal_calls_give_equal_results() -> None:
    graph, machine = random_case(11, max_nodes=9)
    problem = reduce_problem(compile_problem(graph, machine))
    limits = ExactLimits(max_ideals=6)
    first, second = (Thinning.of(problem, 0, 10**15, limits, ENDLESS) for _ in range(2))
    assert first.lower == second.lower
    assert [p.tolist() for p in first.plans] == [p.tolist() for p in second.plans]


def test_what_is_left_out_is_paid_once() -> None:
    """Both readers of a node in one stage pay its bytes once; apart they would pay for two tensors."""
    problem = replace(
        random_problem(random.Random(3), 3, 2),
        machine=Machine(2, bandwidth=10**12, memory=0),
        work=(0, 0, 0),
        producer=(0, 0),
        consumers=((1,), (2,)),
        cost=(10, 10),
        edges=(),
        param_bytes=(12,),
        params_of=((0,), (), ()),
        flow=Flow((), (), (), ((),) * 3, ((),) * 3),
    )
    rest = leave_out(problem, [0])
    assert sorted(sum(rest.param_bytes[p] for p in row) for row in rest.params_of) == [2, 10]
    assert (optimum(rest), optimum(problem)) == (10, 12)
