# SPDX-License-Identifier: Apache-2.0
"""Sweeps give what single runs give: held against brute force, with the same plans valid and bounds below."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case
from tests.solver.test_rounds import QUICK as QUICK_ONE
from tests.solver.test_rounds import wide_graph

from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.plans import evaluate, problems_of
from stagewright.search.multilevel import Multilevel
from stagewright.settings import Settings
from stagewright.solve import solve
from stagewright.sweeping import Point, PointProgress, devices_for, pareto, sweep_machines

# Limited by rounds and cycles, not by time, so that load changes nothing.
QUICK = replace(QUICK_ONE, max_rounds=2, levels=Multilevel(cycles=2, windows=50))


def check_points(graph: CostGraph, points: tuple[Point, ...], context: str) -> None:
    """Every plan is valid and costs what is said; bounds and plans are monotone in the stages."""
    for point in points:
        assert point.solution is not None, context
        assert problems_of(graph, point.machine, point.solution.plan) == [], context
        costs = evaluate(graph, point.machine, point.solution.plan)
        assert max(cost.total for cost in costs) == point.period, context
        assert point.lower <= (point.period or 0), context
    for a in points:
        for b in points:
            if a.machine.is_nowhere_worse_than(b.machine):
                assert (a.period or 0) <= (b.period or 0), context
                assert a.lower <= b.lower, context


def check_random(seed: int) -> None:
    graph, machine = random_case(seed)
    other = replace(machine, bandwidth=10**12 // 3, latency=machine.latency)
    machines = [replace(m, stages=k) for m in (other, machine) for k in (3, 1, 2, 5)]
    run = sweep_machines(graph, machines)
    assert [point.machine for point in run.points] == machines
    best_orders = machine.memory is not None
    for point in run.points:
        optimum = brute.graph_optimum(
            graph, point.machine, relaxed=not best_orders, best_orders=best_orders
        )
        assert (point.period, point.lower) == (optimum, optimum), (seed, point.machine)
    check_points(graph, run.points, f"seed {seed}")


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_every_point_is_optimal_on_small_graphs(start: int) -> None:
    for seed in range(start, start + 20):
        check_random(seed)


@pytest.mark.slow
def test_every_point_is_optimal_on_many_small_graphs() -> None:
    for seed in range(60, 1000):
        check_random(seed)


def test_wide_graphs_at_any_number_of_threads() -> None:
    graph = wide_graph(50, 3)
    machines = [Machine(k) for k in (1, 2, 4, 5, 8)]
    runs = [
        sweep_machines(graph, machines, replace(QUICK, threads=threads)) for threads in (1, 2, 4)
    ]
    for run in runs:
        check_points(graph, run.points, "wide")
        assert [(p.period, p.plan) for p in run.points] == [
            (p.period, p.plan) for p in runs[0].points
        ]
    for point in runs[0].points:
        alone = solve(graph, point.machine, QUICK)
        assert point.period is not None
        assert point.lower <= alone.bottleneck
        assert alone.lower_bound <= point.period


def test_devices_that_cannot_be_used_cost_no_search() -> None:
    graph, _ = random_case(4)
    told: list[PointProgress] = []
    run = sweep_machines(graph, [Machine(k, 10**12) for k in range(1, 40)], progress=told.append)
    most = max(point.devices for point in run.points)
    assert all(point.optimal for point in run.points)
    rounds = {p.machine.stages: p.now.round for p in told}
    assert all(rounds[k] == 0 for k in range(most, 39)), "their plan and bound were taken over"


def test_without_time_every_point_still_has_a_plan() -> None:
    graph = wide_graph(60, 1)
    run = sweep_machines(graph, [Machine(k) for k in range(1, 7)], Settings(time_limit=0.0))
    assert len(run.points) == 6
    check_points(graph, run.points, "no time")
    assert not run.interrupted


def test_ctrl_c_keeps_what_was_reached() -> None:
    graph = wide_graph(80, 2)

    def interrupt(point: PointProgress) -> None:
        if point.machine.stages == 5 and point.now.phase == "search":
            signal.raise_signal(signal.SIGINT)

    run = sweep_machines(graph, [Machine(k) for k in range(2, 9)], QUICK, progress=interrupt)
    assert run.interrupted
    assert [point.machine.stages for point in run.points] == [5, 6, 7, 8]
    check_points(graph, run.points, "interrupted")


def test_points_without_a_plan_say_why() -> None:
    graph, machine = random_case(12)
    total = int(graph.param_bytes.sum()) + int(graph.tensor_bytes.clip(0).sum())
    tight = replace(machine, memory=None, memory_limit=max(1, total // 3))
    machines = [replace(tight, stages=k) for k in (1, 2, 3, 6)]
    run = sweep_machines(graph, machines)
    for point in run.points:
        optimum = brute.graph_optimum(graph, point.machine, relaxed=False, best_orders=True)
        if optimum >= brute.NEVER:
            assert point.solution is None
            assert point.impossible
            assert "no plan of" in point.why
        else:
            assert point.period == optimum
    assert any(point.impossible for point in run.points)


def test_a_target_stops_when_it_is_decided() -> None:
    graph = wide_graph(40, 5)
    machines = [Machine(k) for k in range(1, 7)]
    whole = sweep_machines(graph, machines, QUICK)
    period = whole.points[3].period or 0
    run = sweep_machines(graph, machines, replace(QUICK, max_rounds=None), target=period)
    answer = devices_for(run.points, period)
    assert answer.devices is not None
    assert answer.devices <= 4
    assert answer.proven
    for point in run.points:
        if point.machine.stages < answer.at_least:
            assert point.excludes(period)
    assert devices_for(run.points, 1).never
    assert devices_for(run.points, 1).devices is None


def test_pareto_points() -> None:
    graph, _ = random_case(7, max_nodes=8)
    run = sweep_machines(graph, [Machine(k, 10**12) for k in range(1, 12)])
    marks = pareto(run.points)
    assert marks[0]
    kept = [p for p, good in zip(run.points, marks, strict=True) if good]
    assert len({(p.devices, p.period) for p in kept}) == len(kept)
    for point, good in zip(run.points, marks, strict=True):
        better = [
            q
            for q in run.points
            if q.period is not None and point.period is not None
            if q.devices <= point.devices and q.period <= point.period
            if (q.devices, q.period) != (point.devices, point.period)
            if (q.latency or 0) <= (point.latency or 0)
        ]
        assert not (good and better)
