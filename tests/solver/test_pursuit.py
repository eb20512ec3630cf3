# SPDX-License-Identifier: Apache-2.0
"""Ideals listed and the optimum found in steps, with incumbents that sink, against brute force."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.bound.problems import random_problem
from tests.solver import brute
from tests.solver.random_graphs import random_case
from tests.solver.test_optima import listed, listing_of, value_of

from stagewright import _native
from stagewright.effort import Effort
from stagewright.exact.pricing import Pricing
from stagewright.exact.program import ExactLimits, Prover
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import one_stage

_IDEALS, _BYTES = 1 << 20, 1 << 30


def pursue(
    problem: Problem, ideals: _native.IdealGraph, k: int, rng: random.Random, tree_after: int
) -> tuple[int, int, int]:
    """Return what is shown and found in steps of random work, the incumbent sinking between them, and the steps."""
    pursuit = _native.IdealPursuit(ideals, k, tree_after=tree_after)
    best = brute.problem_optimum(problem.for_stages(k))
    lower, upper = 0, rng.choice([best, best + 1, 2 * best, problem.total_work + 1])
    guess = rng.randint(lower, upper)
    for step in range(10_000):
        shown, value, block, interrupted = pursuit.go_on(
            lower, guess, upper, work=rng.choice([0, 200, 2000])
        )
        assert not interrupted
        assert lower <= shown <= max(best, lower) <= value <= upper
        if len(block):
            assert value_of(problem, block) == value < upper
            assert int(block.max()) < k
        if shown == value:
            return shown, value, step
        lower, upper = shown, value
        if rng.random() < 0.5:  # another search found something
            upper = rng.randint(best, upper)
        if rng.random() < 0.2:  # another bound
            lower = rng.randint(lower, best)
        if lower >= upper:
            return lower, upper, step
    raise AssertionError("it does not end")


@pytest.mark.parametrize("tree_after", [0, 100, -1])
def test_steps_reach_the_optimum_while_the_incumbent_sinks(tree_after: int) -> None:
    steps = 0
    for seed in range(60):
        listing = listing_of(seed)
        rng = random.Random(seed)
        for k in (2, 3, 5):
            best = brute.problem_optimum(listing.problem.for_stages(k))
            shown, value, taken = pursue(listing.problem, listing.ideals, k, rng, tree_after)
            assert shown == value == best, (seed, k)
            steps += taken
    assert steps > 60  # many of them were interrupted


def test_a_tree_of_the_ideals_finds_the_same_with_fewer_pairs() -> None:
    all_pairs = [0, 0, 0]
    for seed in range(8):
        problem = reduce_problem(random_problem(random.Random(seed), 18, 5, largest=10**6))
        listing = listed(replace(problem, machine=Machine(5)))
        above = problem.total_work + 1
        values = set()
        for i, tree_after in enumerate((0, 10**4, 2**62)):
            pursuit = _native.IdealPursuit(listing.ideals, 5, tree_after=tree_after)
            before = listing.ideals.pairs
            # From far below, so that there are questions of both answers from both ends.
            shown, value, block, _ = pursuit.go_on(0, problem.total_work // 5, above)
            assert shown == value == value_of(listing.problem, block)
            values.add(value)
            all_pairs[i] += listing.ideals.pairs - before
        assert len(values) == 1
    assert 2 * all_pairs[0] < all_pairs[2]


def test_a_list_goes_on_where_it_ended() -> None:
    for seed in range(20):
        problem = listing_of(seed).problem
        whole = _native.IdealGraph(problem.instance, _IDEALS, _BYTES)
        parts = _native.IdealGraph(problem.instance, _IDEALS, _BYTES, work=0)
        steps = 0
        while not parts.complete:
            assert not parts.too_large
            before = parts.count
            parts.list(_IDEALS, _BYTES, work=400)
            assert parts.count >= before
            steps += 1
        assert parts.count == whole.count
        assert steps > 1 or whole.count < 10
        above = problem.total_work + 1
        assert parts.optimum(3, 0, above, above)[:2] == whole.optimum(3, 0, above, above)[:2]
        # A limit is exact, and a larger one goes on.
        few = _native.IdealGraph(problem.instance, whole.count - 1, 1 << 30)
        assert few.too_large
        assert not few.complete
        few.list(whole.count, 1 << 30)
        assert few.complete
        assert not few.too_large
        assert few.count == whole.count


def test_a_proof_in_steps_is_that_in_one() -> None:
    for seed in range(40):
        graph, machine = random_case(seed)
        problem = reduce_problem(compile_problem(graph, machine))
        pricing = Pricing(graph, machine, problem)
        start = pricing.true_cost(one_stage(problem))
        limits, rng = ExactLimits(), random.Random(seed)
        whole = Prover(pricing).go_on(start, 0, limits, Effort.within(60))
        prover, best, lower = Prover(pricing), start, 0
        work = 1000
        while lower < best.bottleneck:
            proof = prover.go_on(best, lower, limits, Effort.within(60, work=work))
            assert proof.lower <= whole.best.bottleneck <= proof.best.bottleneck
            best, lower = proof.best, max(lower, proof.lower)
            if rng.random() < 0.3 and whole.best.bottleneck < best.bottleneck:
                best = whole.best
            work = work * 3 // 2  # questions with memory begin anew
            assert work < 10**12
        assert best.bottleneck == whole.best.bottleneck, seed


def test_a_pursuit_refuses_what_it_cannot_use() -> None:
    problem = listing_of(1).problem
    part = _native.IdealGraph(problem.instance, 2, 1 << 30)
    with pytest.raises(ValueError, match="not complete"):
        _native.IdealPursuit(part, 2)
