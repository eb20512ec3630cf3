# SPDX-License-Identifier: Apache-2.0
"""What one device can hold, transfers included, against all sets of units; and the bound against all assignments."""

from __future__ import annotations

import random
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from tests.placement.test_sharing import best_of_all, chain, instance

import stagewright.certificate
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.filling import Purse, _Sets, filling_bound
from stagewright.placement.packing import packing_bound
from stagewright.placement.task import Task
from stagewright.placement.units import compile_units

FOLDER = Path(stagewright.certificate.__file__).parent


def load_of(task: Task, kind: int, units: set[int]) -> int | None:
    """Return what a device of a kind takes that has these units, by definition; None if it cannot run one."""
    if any(task.work[kind][v] == UNABLE for v in units):
        return None
    parts = [sum(task.work[kind][v] for v in units), 0, 0]
    for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
        if p not in units and units & set(users):
            parts[1] += task.receive[kind][t]
        if p in units and set(users) - units:
            parts[2] += task.send[kind][t]
    return max(parts) if task.fleet.overlap else sum(parts)


@pytest.mark.parametrize("mode", ["any", "overlap"])
def test_sets_and_bounds_against_all(mode: str) -> None:
    sets = tight = raised = 0
    for seed in range(30):
        workload, fleet = instance(mode, seed)
        task = compile_units(workload, fleet).whole
        rng = random.Random(f"weights {seed}")
        weights = [rng.randrange(6) for _ in range(task.size)]
        rows = []
        for q in range(len(fleet.kinds)):
            every = []
            for bits in range(1 << task.size):
                units = {v for v in range(task.size) if bits >> v & 1}
                load = load_of(task, q, units)
                if load is not None:
                    every.append((load, sum(weights[v] for v in units)))
            rows.append(every)
            search = _Sets(task, q, weights, Purse(100_000))
            for needed in range(1, sum(weights) + 2):
                right = min((load for load, weight in every if weight >= needed), default=None)
                for below in (10**9, *(() if right is None else (right, right + 1))):
                    found = search.least_load(needed, below)
                    if right is None or right >= below:
                        assert found is None
                    else:
                        assert found is not None
                        assert found[0] == right
                        assert found[1] in {w for load, w in every if load == right}
                    sets += 1
        best = best_of_all(workload, fleet)
        if best is None:
            continue
        none = [0] * len(rows)
        bound = filling_bound(task, weights, none, 0, best + 1, Purse(100_000))
        # The least T at which all devices together can hold all weight, by definition.
        right = min(
            t
            for t in range(best + 2)
            if t == best + 1
            or sum(
                kind.count * max(weight for load, weight in every if load <= t)
                for kind, every in zip(fleet.kinds, rows, strict=True)
            )
            >= sum(weights)
        )
        assert bound == min(right, best + 1)
        assert bound <= best
        tight += bound == best
        raised += bound > 0
    assert sets > 500
    assert raised > 10
    assert tight > 0


def test_out_of_steps_is_a_lower_bound() -> None:
    task = compile_units(*instance("any", 3)).whole
    weights = [1] * task.size
    kinds = [0] * len(task.fleet.kinds)
    whole = filling_bound(task, weights, kinds, 0, 10**9, Purse(10**6))
    for steps in range(0, 60, 3):
        assert filling_bound(task, weights, kinds, 0, 10**9, Purse(steps)) <= whole


def test_transfers_are_counted() -> None:
    """Seven units of 3 on three devices: one has three of them, and pays for the ends of its part of the chain."""
    workload = chain([3] * 7, 1)
    fleet = Fleet((Kind("a", 3, Link(10**12)),), shared=True)
    task = compile_units(workload, fleet).whole
    assert packing_bound(task, 7, 12).value == 10  # an end of the chain: one transfer
    assert packing_bound(task, 7, 12, deadline=0).value == 9


@pytest.mark.parametrize("mode", ["any", "overlap"])
def test_checker_counts_the_same(mode: str) -> None:
    names = runpy.run_path(str(FOLDER / "check_filling.py"))
    raised = 0
    for seed in range(40):
        workload, fleet = instance(mode, seed)
        fleet = replace(fleet, kinds=fleet.kinds[:1])
        task = compile_units(workload, fleet).whole
        best = best_of_all(workload, fleet)
        if best is None or not best:
            continue
        work = [[None if w == UNABLE else w for w in row] for row in task.work]
        tensors = [
            (p, set(users), [row[t] for row in task.receive], [row[t] for row in task.send])
            for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True))
        ]
        plain = packing_bound(task, 0, best, deadline=0).value
        bound = packing_bound(task, 0, best).value
        judge = names["judge_counting"]
        assert plain <= bound <= best
        assert judge(work, tensors, fleet, bound, None)[0] is True
        assert judge(work, tensors, fleet, best + 1, None)[0] is False
        assert judge(work, tensors, fleet, bound, 0.0)[0] in (True, None)
        raised += bound > plain
    assert raised > 3
