# SPDX-License-Identifier: Apache-2.0
"""The average-communication bound against its definition and the optimum."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.bound.problems import optimum, random_problem, wide_problem

from stagewright import _native
from stagewright.bound.average import average_bound
from stagewright.bound.simple import simple_bound
from stagewright.effort import Effort
from stagewright.problem import Problem


def by_definition(problem: Problem) -> int:
    """Return the largest of all T_i, by every ideal; `simple` where that is more."""
    n, stages = problem.num_nodes, problem.machine.stages
    successors = problem.successors()
    sides = []
    for chosen in range(1 << n):
        inside = [v for v in range(n) if chosen >> v & 1]
        if any(not chosen >> v & 1 and chosen >> u & 1 for v in range(n) for u in successors[v]):
            continue
        work = sum(problem.work[v] for v in inside)
        live = sum(
            cost
            for p, users, cost in zip(
                problem.producer, problem.consumers, problem.cost, strict=True
            )
            if chosen >> p & 1 and not all(chosen >> u & 1 for u in users)
        )
        sides.append((work + live, problem.total_work - work + live))
    stages = min(stages, n)
    return max(
        [simple_bound(problem).value]
        + [min(max(-(-x // i), -(-y // (stages - i))) for x, y in sides) for i in range(1, stages)]
    )


def test_it_is_what_its_definition_says_and_at_most_the_optimum() -> None:
    rng = random.Random(3)
    raised = 0
    for _ in range(400):
        largest = rng.choice([3, 9, 1000, 10**9, 10**15])
        problem = random_problem(rng, rng.randint(1, 9), rng.choice([1, 2, 3, 4, 8]), largest)
        found = average_bound(problem)
        assert found.bound.value == by_definition(problem), problem
        assert found.bound.value <= optimum(problem), problem
        assert found.complete
        raised += found.bound.value > simple_bound(problem).value
    assert raised > 100


def test_for_two_stages_it_is_the_optimum() -> None:
    rng = random.Random(4)
    for _ in range(100):
        problem = random_problem(rng, rng.randint(2, 14), 2, 10**9)
        found = average_bound(problem)
        assert found.bound.value == optimum(problem), problem
        assert found.block is not None
        assert max(_native.block_costs(problem.instance, found.block)) == found.bound.value


def test_what_is_shown_with_little_work_holds_and_is_the_same_again() -> None:
    problem = wide_problem()
    values, complete = [], []
    for work in (0, 10**5, 10**6, 10**7, 10**8):
        found = average_bound(problem, effort=Effort.within(60, work))
        again = average_bound(problem, effort=Effort.within(60, work))
        assert (found.bound.value, found.boundary, found.complete) == (
            again.bound.value,
            again.boundary,
            again.complete,
        )
        values.append(found.bound.value)
        complete.append(found.complete)
    assert values == sorted(values)
    assert values[0] == simple_bound(problem).value < values[-1]
    assert not complete[0]


def test_it_ends_when_cancelled() -> None:
    cancel = _native.Cancel()
    cancel.set()
    found = average_bound(wide_problem(), effort=Effort.within(60, cancel=cancel))
    assert not found.complete
    assert found.bound.value == simple_bound(wide_problem()).value


def test_sums_beyond_exact_arithmetic_are_left_to_the_simple_bound() -> None:
    small = random_problem(random.Random(6), 8, 2)
    large = replace(small, work=(1 << 60, 1 << 60, 0, 0, 0, 0, 0, 0))
    found = average_bound(large)
    assert (found.bound.value, found.boundary) == (simple_bound(large).value, 0)
    with pytest.raises(ValueError, match=r"more than 2\^61"):
        _native.average_bound(large.instance, 2, 0)
