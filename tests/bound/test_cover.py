# SPDX-License-Identifier: Apache-2.0
"""The covering bound against the optimum, and against its linear program over all blocks."""

from __future__ import annotations

import random
import signal
import threading
import time

import numpy as np
import pytest
from tests.bound.problems import optimum, random_problem, wide_problem

from stagewright import _native
from stagewright.problem import Problem

GRAPHS = 2000


def cover(problem: Problem, lower: int, upper: int, work: int = 1 << 60) -> int:
    value = _native.Cover(problem.instance).bound(problem.machine.stages, lower, upper, work=work)[
        0
    ]
    assert lower <= value
    return value


def convex_blocks(problem: Problem) -> list[tuple[int, int]]:
    """Return (set as bits, cost) of every convex set."""
    n = problem.num_nodes
    above = [0] * n
    for v in reversed(range(n)):
        for u in problem.successors()[v]:
            above[v] |= above[u] | 1 << u
    below = [sum(1 << u for u in range(n) if above[u] >> v & 1) for v in range(n)]
    blocks = []
    for chosen in range(1, 1 << n):
        inside = [v for v in range(n) if chosen >> v & 1]
        up = down = 0
        for v in inside:
            up |= above[v]
            down |= below[v]
        if up & down & ~chosen:
            continue
        cost = sum(problem.work[v] for v in inside)
        for p, users, c in zip(problem.producer, problem.consumers, problem.cost, strict=True):
            held = sum(chosen >> v & 1 for v in (p, *users))
            cost += c if 0 < held <= len(users) else 0
        blocks.append((chosen, cost))
    return blocks


def fewest_blocks(n: int, sets: list[int]) -> float:
    """Return how many of the sets cover every node, in fractions."""
    highspy = pytest.importorskip("highspy", reason="the plain reference needs a linear solver")
    model = highspy.Highs()
    model.silent()
    for _ in range(n):
        model.addRow(1.0, highspy.kHighsInf, 0, np.array([], np.int32), np.array([]))
    for chosen in sets:
        rows = np.array([v for v in range(n) if chosen >> v & 1], np.int32)
        model.addCol(1.0, 0.0, highspy.kHighsInf, len(rows), rows, np.ones(len(rows)))
    model.run()
    if model.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return float("inf")
    return float(model.getInfo().objective_function_value)


def test_bound_is_at_most_the_optimum() -> None:
    rng = random.Random(1)
    raised = 0
    for _ in range(GRAPHS):
        largest = rng.choice([9, 1000, 10**9])
        problem = random_problem(rng, rng.randint(1, 9), rng.choice([1, 2, 3, 4, 8]), largest)
        best = optimum(problem)
        upper = best + rng.choice([0, 1, 3, best // 5])
        work = rng.choice([10_000, 30_000, 1 << 60])
        value = cover(problem, 0, upper, work)
        assert value <= best, problem
        raised += value > problem.total_work / problem.machine.stages
    assert raised > GRAPHS // 10


def test_bound_is_that_of_the_linear_program() -> None:
    rng = random.Random(2)
    compared = 0
    for _ in range(60):
        n = rng.randint(5, 8)
        problem = random_problem(rng, n, rng.choice([2, 3, 4]), 10**9)
        upper = problem.total_work
        value = cover(problem, 0, upper)
        blocks = convex_blocks(problem)
        stages = min(problem.machine.stages, n)
        below = fewest_blocks(n, [s for s, cost in blocks if cost < value])
        assert below > stages - 1e-6
        if value < upper:
            # Amounts are whole numbers and thresholds come in steps.
            room = value + upper // 500
            assert fewest_blocks(n, [s for s, cost in blocks if cost <= room]) < stages + 1e-3
            compared += 1
    assert compared > 20


def test_huge_values_do_not_overflow() -> None:
    rng = random.Random(4)
    for _ in range(100):
        problem = random_problem(rng, rng.randint(2, 8), 3, largest=2**53)
        assert cover(problem, 0, problem.total_work) <= optimum(problem)


def test_equal_calls_give_equal_results() -> None:
    problem = wide_problem()
    first = _native.Cover(problem.instance).bound(6, 0, problem.total_work // 2, work=10**9)
    again = _native.Cover(problem.instance).bound(6, 0, problem.total_work // 2, work=10**9)
    assert first == again
    assert first[0] > problem.total_work // 6


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5])
def test_time_limit_is_kept(seconds: float) -> None:
    problem = wide_problem()
    native = _native.Cover(problem.instance)
    start = time.perf_counter()
    native.bound(6, 1, problem.total_work - 1, seconds=seconds)
    assert time.perf_counter() - start < seconds + 0.2


def test_interrupt_returns_what_is_proven() -> None:
    problem = wide_problem()
    native = _native.Cover(problem.instance)
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    value, *_, interrupted = native.bound(3, 1, problem.total_work - 1, seconds=20)
    timer.join()
    assert interrupted
    assert value > 1


def test_wrong_number_of_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        _native.Cover(wide_problem().instance).bound(0, 1, 2)
