# SPDX-License-Identifier: Apache-2.0
"""The skeleton bound and contraction by cuts against the exact program on small random graphs."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest
from tests.bound.problems import optimum, random_problem, wide_problem

from stagewright import _native
from stagewright.bound.skeleton import SkeletonBound
from stagewright.effort import Effort
from stagewright.exact.must_link import contract_by_cuts
from stagewright.machine import Machine
from stagewright.problem import Problem

GRAPHS = 3000


def sparse_problem(n: int) -> Problem:
    rng = random.Random(6)
    consumers = tuple(
        tuple(sorted({rng.randint(v + 1, min(n - 1, v + 60)) for _ in range(2)}))
        for v in range(n - 1)
    )
    return Problem(
        machine=Machine(40),
        work=tuple(rng.randint(1, 10**9) for _ in range(n)),
        producer=tuple(range(n - 1)),
        consumers=consumers,
        cost=tuple(rng.randint(1, 10**9) for _ in range(n - 1)),
        edges=(),
        param_bytes=(),
        params_of=((),) * n,
        working_set=(0,) * n,
        members=tuple((v,) for v in range(n)),
        flow=None,
    )


def test_bound_is_the_optimum_when_refined_to_the_end() -> None:
    rng = random.Random(1)
    for _ in range(GRAPHS):
        problem = random_problem(rng, rng.randint(1, 9), rng.choice([1, 2, 3, 4, 8]))
        best = optimum(problem)
        upper = best + rng.choice([0, 0, 1, 3, 10])
        relaxed = SkeletonBound(problem).bound(0, upper)
        assert (relaxed.bound.value, relaxed.interrupted) == (best, False), problem
        if best < upper:
            assert relaxed.block is not None
            assert max(_native.block_costs(problem.instance, relaxed.block)) == best


def test_bound_is_valid_when_it_ends_early() -> None:
    rng = random.Random(2)
    early = 0
    for _ in range(GRAPHS):
        problem = random_problem(rng, rng.randint(4, 9), rng.choice([2, 3, 4]))
        best = optimum(problem)
        value, closed, *_ = _native.Skeleton(problem.instance).bound(
            problem.machine.stages, 0, best + rng.randint(0, 3), max_bytes=rng.randint(1, 12_000)
        )
        assert value <= best
        assert not closed or value == best
        early += value < best
    assert early > GRAPHS // 20


def test_bound_is_valid_with_multipliers() -> None:
    rng = random.Random(8)
    grown_again = 0
    for _ in range(60):
        largest = rng.choice([9, 1000, 10**9])
        problem = random_problem(rng, rng.randint(12, 16), rng.choice([2, 3, 4]), largest)
        best = optimum(problem)
        skeleton = _native.Skeleton(problem.instance)
        value, _, _, _, cuts, *_ = skeleton.bound(
            problem.machine.stages, 0, best + best // rng.choice([10, 50, 10**9]), max_bytes=300_000
        )
        assert value <= best
        grown_again += cuts > 400  # more than the first skeleton, with work as amount, may take
    assert grown_again > 5


def test_contraction_keeps_whether_a_plan_is_below_the_threshold() -> None:
    rng = random.Random(3)
    smaller = none = 0
    for _ in range(GRAPHS):
        problem = random_problem(rng, rng.randint(2, 9), rng.choice([2, 3, 4]))
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
    assert smaller > GRAPHS // 10
    assert none > GRAPHS // 20


def test_huge_values_do_not_overflow() -> None:
    rng = random.Random(4)
    for _ in range(200):
        problem = random_problem(rng, rng.randint(2, 8), 3, largest=2**53)
        assert SkeletonBound(problem).bound(0, problem.total_work).bound.value == optimum(problem)


def test_equal_calls_give_equal_results() -> None:
    problem = wide_problem()
    upper = problem.total_work // 2
    skeleton = _native.Skeleton(problem.instance)
    first = skeleton.bound(6, 0, upper, max_bytes=3_000_000)
    again = skeleton.bound(6, 0, upper, max_bytes=3_000_000)
    anew = _native.Skeleton(problem.instance).bound(6, 0, upper, max_bytes=3_000_000)
    assert first[:5] == again[:5] == anew[:5]
    assert first[5].tolist() == again[5].tolist() == anew[5].tolist()


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("nodes", [90, 1500])
def test_time_limit_is_kept(seconds: float, nodes: int) -> None:
    problem = wide_problem() if nodes == 90 else sparse_problem(nodes)
    _ = problem.instance
    skeleton = SkeletonBound(problem)
    start = time.perf_counter()
    relaxed = skeleton.bound(1, problem.total_work - 1, seconds)
    assert time.perf_counter() - start < seconds + 0.2
    assert relaxed.bound.value >= 1


def test_interrupt_returns_what_is_proven() -> None:
    problem = wide_problem()
    skeleton = SkeletonBound(problem)
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    relaxed = skeleton.bound(1, problem.total_work - 1, 20)
    timer.join()
    assert relaxed.interrupted
    assert relaxed.bound.value > 1
    assert relaxed.bound.seconds < 5


def test_wrong_number_of_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        _native.Skeleton(wide_problem().instance).bound(0, 1, 2)
