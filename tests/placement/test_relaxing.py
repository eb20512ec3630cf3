# SPDX-License-Identifier: Apache-2.0
"""Bounds by equal devices, in training and with overlap: against all plans, and where ideals are too many."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from tests.placement import instances, schedules
from tests.placement.instances import random_fleet, random_workload

from stagewright.graph import GraphBuilder
from stagewright.machine import Machine
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.method import solve_placed
from stagewright.placement.relaxing import relaxations
from stagewright.placement.schedule import Schedule
from stagewright.placement.task import compile_task
from stagewright.placement.workload import Workload, problems_of
from stagewright.solve import Settings, solve

MODES = ("any", "fixed", "overlap", "training", "along", "both", "schedule")


def compare(mode: str, seeds: range) -> Counter[str]:
    """Hold the bounds against all plans; return how often they were compared, equal, and above all work shared out."""
    met: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(f"relaxing {mode} {seed}")
        if mode == "schedule":
            workload = schedules.random_training(rng)
            fleet = schedules.random_fleet(rng, workload.graph)
            right = schedules.brute_force(workload, fleet)
        else:
            workload = random_workload(rng, "training" if mode == "both" else mode)
            fleet = random_fleet(rng, workload.graph, "overlap" if mode == "both" else mode)
            right = instances.brute_force(workload, fleet)
        if right is None:
            continue
        task = compile_task(workload, fleet)
        for equal in relaxations(workload, task):
            found = solve(equal.graph, Machine(fleet.stages), Settings(time_limit=5, seed=0))
            bound = -(-found.lower_bound // equal.times)
            assert bound <= right, (mode, seed, bound, right)
            met["compared"] += 1
            met["equal"] += bound == right
            met["above"] += bound > sum(task.least_work()) / fleet.stages
    return met


@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans(mode: str) -> None:
    met = compare(mode, range(25))
    assert met["compared"] > 15, met
    assert met["equal"] > 3, met
    assert met["above"] > 8, met


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans_at_length(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(mode, range(first, first + 1000))["compared"] > 500


def wide(rows: int, scale: int, *, training: bool) -> Workload:
    """Return chains side by side between a source and a sink with large tensors, both passes or one."""
    builder, edges = GraphBuilder("wide"), []
    back = (False, True) if training else (False,)
    count = 8 * rows + 2
    for backward in back:
        for v in range(count):
            name, group = f"{'fb'[backward]}{v}", f"g{v}" if training else None
            builder.add_node(name, work=(10 + 7 * v % 5) * (1 + backward), group=group)
    for i in range(rows):
        chain = [0, *range(1 + 8 * i, 9 + 8 * i), count - 1]
        edges += list(itertools.pairwise(chain))
    for a, b in edges:
        size = scale * (20 + (3 * a + 5 * b) % 11)
        builder.add_tensor(a, [b, count + b] if training else [b], nbytes=size)
        if training:
            builder.add_tensor(count + b, [count + a], nbytes=size)
    return Workload(builder.build(), (False,) * count + (True,) * count if training else ())


@pytest.mark.parametrize(("training", "overlap"), [(True, False), (True, True), (False, True)])
def test_too_many_ideals(training: bool, overlap: bool) -> None:
    """What crosses between stages counts, which work shared out does not say."""
    schedule = Schedule(microbatches=4) if training else None
    fleet = Fleet((Kind("gpu", 4, Link(10**12)),), overlap=overlap, schedule=schedule)
    # Beside what is computed, large tensors alone count where both happen at once.
    workload = wide(12, 10 if overlap else 1, training=training)
    found = solve_placed(workload, fleet, time_limit=4)
    assert not problems_of(workload, fleet, found.plan)
    relaxed = [bound.value for bound in found.bounds if bound.method == "relaxed"]
    assert found.bounds[0].method == "simple"
    assert found.bounds[0].value < max(relaxed) <= found.bottleneck
