# SPDX-License-Identifier: Apache-2.0
"""Merges of classes against their plain definition, and prices of plans against theirs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.placement.instances import MODES, random_fleet, random_workload

from stagewright.placement.devices import UNABLE, Fleet
from stagewright.placement.merges import reduce_task
from stagewright.placement.method import solve_placed
from stagewright.placement.pricing import price_stages
from stagewright.placement.task import Task, compile_task
from stagewright.placement.workload import PlacedPlan, Workload, costs_of


def instance(mode: str, seed: int) -> tuple[Workload, Fleet]:
    """Return a small random workload and devices for it."""
    rng = random.Random(f"merges {mode} {seed}")
    workload = random_workload(rng, mode)
    return workload, random_fleet(rng, workload.graph, mode)


@pytest.mark.parametrize("mode", MODES)
def test_as_defined(mode: str) -> None:
    merged = 0
    for seed in range(60):
        whole = compile_task(*instance(mode, seed))
        right, found = reduced(whole), reduce_task(whole)
        assert sorted(map(sorted, found.members)) == sorted(map(sorted, right.members))
        order = [found.members.index(nodes) for nodes in found.members]
        assert all(v < w for v in order for w in found.after[v])
        assert sum(map(sum, found.receive)) == sum(map(sum, right.receive))
        assert sorted(found.producer) == sorted(right.producer) or found.size == right.size
        merged += found.size < whole.size
    assert merged > 5 or mode == "overlap"


@pytest.mark.parametrize("mode", MODES)
def test_prices_as_defined(mode: str) -> None:
    compared = 0
    for seed in range(40):
        workload, fleet = instance(mode, seed)
        try:
            plan = solve_placed(workload, fleet, time_limit=5).plan
        except Exception:  # noqa: BLE001  # there is no plan for some
            continue
        assert price_stages(workload, fleet, plan) == costs_of(workload, fleet, plan)
        partial = PlacedPlan(plan.stages[:-1], plan.devices[:-1])
        assert price_stages(workload, fleet, partial) == costs_of(workload, fleet, partial)
        compared += 1
    assert compared > 15


def reduced(task: Task) -> Task:
    """Merge classes until no rule of placement/merges.py applies, as it is written there."""
    while True:
        merges = _Merges(task)
        if not merges.found:
            return task
        task = task.contract(merges.found)


class _Merges:
    """Pairs of classes to merge, no class in two of them: each is safe after the others."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.seats = range(len(task.work))
        self.tensors: list[list[int]] = [[] for _ in range(task.size)]
        for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
            for v in (p, *users):
                self.tensors[v].append(t)
        before: list[list[int]] = [[] for _ in range(task.size)]
        for v, row in enumerate(task.after):
            for w in row:
                before[w].append(v)
        self.found: list[tuple[int, int]] = []
        if task.fleet.overlap and task.training:
            return
        below, above = _closures(task.after, before)
        taken: set[int] = set()
        for u in range(task.size):
            ahead, behind = task.after[u], before[u]
            # Classes are in topological order: the first successor is the only one that may reach all.
            candidates = [
                (ahead[0], below, ahead) if ahead else None,
                (behind[-1], above, behind) if behind else None,
            ]
            for candidate in filter(None, candidates):
                x, reach, neighbours = candidate
                if (
                    u in taken
                    or x in taken
                    or any(not reach[x] >> w & 1 for w in neighbours if w != x)
                ):
                    continue
                if self._safe(u, x):
                    taken |= {u, x}
                    self.found.append((u, x))

    def _safe(self, u: int, x: int) -> bool:
        task = self.task
        if task.working_set[u] or task.params_of[u]:
            return False
        among = [(t, {task.producer[t], *task.consumers[t]}) for t in self.tensors[u]]
        own = [t for t, pins in among if pins == {u, x}]
        others = [t for t, pins in among if x not in pins]
        turned = [t for t, pins in among if x in pins and len(pins) > 2 and task.producer[t] == u]
        if task.fleet.overlap and (others or turned):
            return False
        for s in self.seats:
            receive, send = task.receive[s], task.send[s]
            saved = sum(min(receive[t], send[t]) for t in own)
            paid = sum(max(receive[t], send[t]) for t in others)
            sent = sum(max(0, send[t] - receive[t]) for t in turned)
            runs_u, runs_x = task.work[s][u] != UNABLE, task.work[s][x] != UNABLE
            if runs_x and not runs_u:
                return False
            if runs_x and task.work[s][u] + paid + sent > (0 if task.fleet.overlap else saved):
                return False
            if runs_u and paid > saved:
                return False
        return True


def _closures(
    after: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
) -> tuple[list[int], list[int]]:
    """Return the classes that each reaches, and those that reach it, as bits; it counts among both."""
    n = len(after)
    below, above = [0] * n, [0] * n
    for v in range(n - 1, -1, -1):
        below[v] = 1 << v
        for w in after[v]:
            below[v] |= below[w]
    for v in range(n):
        above[v] = 1 << v
        for w in before[v]:
            above[v] |= above[w]
    return below, above
