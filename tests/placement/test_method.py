# SPDX-License-Identifier: Apache-2.0
"""The method for devices of several kinds against all plans of small workloads."""

from __future__ import annotations

import random

import pytest
from tests.placement.instances import (
    MODES,
    all_values,
    brute_force,
    outright,
    random_fleet,
    random_workload,
)

from stagewright.errors import InfeasibleError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.method import solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.workload import Workload, evaluate, problems_of


def compare(mode: str, seeds: range) -> int:
    """Hold the method against brute force; return how many instances had a plan."""
    planned = 0
    for seed in seeds:
        rng = random.Random(f"{mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        right = brute_force(workload, fleet)
        try:
            with outright(seed % 2 == 0):
                found = solve_placed(workload, fleet, time_limit=20)
        except InfeasibleError:
            assert right is None, (mode, seed)
            continue
        except LimitError:
            # Working sets fit and peaks did not: possible, but then memory is limited.
            assert mode == "limit", (mode, seed)
            continue
        planned += 1
        assert right is not None, (mode, seed)
        assert not problems_of(workload, fleet, found.plan), (mode, seed)
        costs = evaluate(workload, fleet, found.plan)
        assert max(cost.total for cost in costs) == found.bottleneck, (mode, seed)
        assert found.lower_bound <= right <= found.bottleneck, (mode, seed)
        if mode not in ("spill", "limit"):
            assert found.lower_bound == right == found.bottleneck, (mode, seed)
    return planned


def compare_objectives(mode: str, seeds: range) -> int:
    """Hold the other objectives against all plans; return how many questions had an answer."""
    answered = 0
    for seed in seeds:
        rng = random.Random(f"objective {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        values = all_values(workload, fleet)
        period = rng.choice(sorted({p for p, _, _ in values}) or [3]) + rng.choice([-1, 0, 0, 1])
        latency = rng.choice(sorted({t for _, t, _ in values}) or [3]) + rng.choice([-1, 0, 0, 1])
        questions = [
            (Objective("latency"), [t for _, t, _ in values]),
            (Objective("latency", period), [t for p, t, _ in values if p <= period]),
            (
                Objective("period", latency_limit=latency),
                [p for p, t, _ in values if t <= latency],
            ),
        ]
        if fleet.order is None:
            cheap = [c for p, _, c in values if p <= period]
            questions.append((Objective("cost", period), cheap))
        for objective, right in questions:
            try:
                with outright(seed % 2 == 0):
                    found = solve_placed(workload, fleet, objective=objective, time_limit=20)
            except InfeasibleError:
                assert not right, (mode, seed, objective)
                continue
            except LimitError:
                assert mode in ("spill", "limit"), (mode, seed, objective)
                continue
            answered += 1
            assert right, (mode, seed, objective)
            costs = evaluate(workload, fleet, found.plan)
            assert objective.keeps_limits(costs), (mode, seed, objective)
            assert objective.value(fleet, found.plan, costs) == found.value, (mode, seed)
            assert found.value_bound <= min(right) <= found.value, (mode, seed, objective)
            if mode not in ("spill", "limit"):
                assert found.value_bound == found.value, (mode, seed, objective)
    return answered


@pytest.mark.parametrize("mode", MODES)
def test_other_objectives(mode: str) -> None:
    assert compare_objectives(mode, range(15)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_other_objectives_at_length(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare_objectives(mode, range(first, first + 1000)) > 1000


@pytest.mark.parametrize("mode", MODES)
def test_small_workloads(mode: str) -> None:
    assert compare(mode, range(40)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_many_small_workloads(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(mode, range(first, first + 1000)) > 500


def test_a_class_that_streams_more_than_its_largest_working_set() -> None:
    """What the first plan costs is above what the program counts, and still counts as a plan."""
    assert compare_objectives("spill", range(5342, 5343)) > 1


def wide(rows: int) -> Workload:
    """Return chains side by side between a source and a sink: 9 ** rows ideals and more."""
    builder = GraphBuilder("wide")
    source = builder.add_node("source", work=5)
    ends = []
    for i in range(rows):
        last = source
        for j in range(8):
            node = builder.add_node(f"{i}.{j}", work=10 + (3 * i + 5 * j) % 7)
            builder.add_tensor(last, [node], nbytes=1 + (i + j) % 3)
            last = node
        ends.append(last)
    sink = builder.add_node("sink", work=5)
    for last in ends:
        builder.add_tensor(last, [sink], nbytes=1)
    return Workload(builder.build())


def test_too_many_ideals() -> None:
    """Then the equal devices that are as good as the best kind bound the plan."""
    workload = wide(12)
    slow = tuple(2 * w for w in workload.graph.work.tolist())
    link = Link(10**12)
    fleet = Fleet((Kind("fast", 3, link), Kind("slow", 1, link, slow)))
    found = solve_placed(workload, fleet, time_limit=3)
    assert not problems_of(workload, fleet, found.plan)
    assert found.lower_bound <= found.bottleneck
    methods = {bound.method: bound.evidence for bound in found.bounds}
    assert methods["relaxed"] == "claimed"
    # All work on 3.5 devices, and 30 % for what crosses between them.
    assert found.bottleneck < workload.graph.total_work / 3.5 * 1.3
