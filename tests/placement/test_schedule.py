# SPDX-License-Identifier: Apache-2.0
"""Training by a schedule: what stages hold and take, and the method against all plans of small workloads."""

from __future__ import annotations

import random
import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from tests.placement.instances import outright
from tests.placement.schedules import brute_force, random_fleet, random_training

from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.backward import training_workload
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.method import solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.schedule import Schedule
from stagewright.placement.workload import PlacedPlan, Workload, evaluate, problems_of


def compare(seeds: range, mode: str = "any") -> Counter[str]:
    """Hold the method against brute force; return what was met how often."""
    met: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(f"schedule {seed}")
        workload = random_training(rng)
        fleet = random_fleet(rng, workload.graph, mode)
        right = brute_force(workload, fleet)
        try:
            with outright(seed % 2 == 0):
                found = solve_placed(workload, fleet, time_limit=20)
        except InfeasibleError:
            assert right is None, seed
            met["infeasible"] += 1
            continue
        except LimitError:  # working sets fit, and peaks do not
            assert any(kind.memory_limit is not None for kind in fleet.kinds), seed
            met["open"] += 1
            continue
        met["planned"] += 1
        assert right is not None, seed
        assert not problems_of(workload, fleet, found.plan), seed
        costs = evaluate(workload, fleet, found.plan)
        assert max(cost.total for cost in costs) == found.bottleneck, seed
        assert found.lower_bound <= right <= found.bottleneck, seed
        exact = found.lower_bound == found.bottleneck
        if all(kind.memory is kind.memory_limit is None for kind in fleet.kinds):
            assert exact, seed
        met["optimal" if exact else "bounded"] += 1
        seats = [fleet.seat_at(device) for device in found.plan.devices]
        met["recomputed"] += any(seat.recompute for seat in seats)
        met["replicated"] += any(seat.replicas > 1 for seat in seats)
        met["stashed"] += any(cost.in_flight > 1 and cost.kept_bytes for cost in costs)
    return met


def test_small_workloads() -> None:
    met = compare(range(100))
    assert met["optimal"] > 60, met
    assert met["bounded"] + met["open"] < met["optimal"] // 5, met
    assert min(met[what] for what in ("infeasible", "recomputed", "replicated", "stashed")) > 4, met


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_many_small_workloads(part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(range(first, first + 1000))["optimal"] > 600


def layers(count: int = 3, params: int = 10) -> Workload:
    """Return layers of 4 forward and 6 backward, activations of 8 bytes, gradients of 2."""
    builder = GraphBuilder("layers")
    for i in range(count):
        builder.add_node(f"f{i}", work=4, group=f"layer{i}")
    for i in range(count):
        builder.add_node(f"b{i}", work=6, group=f"layer{i}")
    for i in range(count - 1):
        builder.add_tensor(i, [i + 1, count + i + 1], nbytes=8)
        builder.add_tensor(count + i + 1, [count + i], nbytes=2)
    for i in range(count):
        builder.add_param(params, [i])
    return Workload(builder.build(), (False,) * count + (True,) * count)


def fleet(count: int, limit: int | None = None, **given: Any) -> Fleet:
    """Return devices with links of a picosecond per byte."""
    kind = Kind("gpu", count, Link(10**12), memory_limit=limit)
    return Fleet((kind,), schedule=Schedule(**given))


ONE_EACH = PlacedPlan(((0, 3), (1, 4), (2, 5)), (0, 0, 0))


@pytest.mark.parametrize(("name", "flights"), [("1f1b", [3, 2, 1]), ("gpipe", [5, 5, 5])])
def test_what_stages_hold(name: str, flights: list[int]) -> None:
    """The first stage keeps nothing: its backward node reads nothing of the forward pass."""
    machine = fleet(3, name=name, microbatches=5, optimizer="momentum")
    costs = evaluate(layers(), machine, ONE_EACH)
    assert [cost.in_flight for cost in costs] == flights
    assert [cost.kept_bytes for cost in costs] == [0, 8, 8]
    # One microbatch: what it receives, keeps and sends, in both passes.
    assert [cost.peak_bytes for cost in costs] == [8 + 2, 8 + 8 + 2 + 2, 8 + 2]
    kept = [0, (flights[1] - 1) * 8, (flights[2] - 1) * 8]
    assert [cost.held_bytes for cost in costs] == [
        30 + k + cost.peak_bytes for k, cost in zip(kept, costs, strict=True)
    ]
    assert [cost.total for cost in costs] == [10 + 8 + 2, 10 + 2 * (8 + 2), 10 + 8 + 2]


def test_recomputing_keeps_what_comes_in() -> None:
    machine = fleet(1, name="gpipe", microbatches=5, recompute="always")
    whole = PlacedPlan(((0, 1, 2, 5, 4, 3),), (0,))
    (cost,) = evaluate(layers(), machine, whole)
    assert (cost.work, cost.kept_bytes) == (3 * (4 + 4 + 6), 0)
    (cost,) = evaluate(layers(), fleet(1, name="gpipe", microbatches=5), whole)
    assert (cost.work, cost.kept_bytes) == (3 * (4 + 6), 16)


def test_replicas_share_the_work_and_add_gradients_up() -> None:
    machine = fleet(4, name="1f1b", microbatches=6, replicas=2)
    assert [seat.replicas for seat in machine.seats] == [1, 2]
    plan = PlacedPlan(((0, 3), (1, 2, 5, 4)), (1, 1))
    first, second = evaluate(layers(params=12), machine, plan)
    assert (first.work, first.io_in, first.io_out) == (2 + 3, 1, 4)
    # 2 (r - 1) / r of 12 bytes once per 6 microbatches, at a picosecond per byte.
    assert (first.sync, second.sync) == (2, 4)
    # Two devices in the last stage keep one each; four from the first stage on keep two each.
    assert (first.in_flight, second.in_flight) == (2, 1)
    assert machine.schedule is not None
    assert machine.schedule.bubble(2) == Fraction(7, 6)


def test_memory_decides_between_the_schedules() -> None:
    """Within the same limit GPipe has to recompute, and 1F1B has not."""

    def period(name: str, choice: str) -> int:
        machine = fleet(2, 140, name=name, microbatches=5, recompute=choice)
        found = solve_placed(layers(4), machine)
        assert found.lower_bound == found.bottleneck
        return found.bottleneck

    assert period("1f1b", "never") == period("1f1b", "auto") == 20 + 8 + 2
    assert period("gpipe", "auto") == 20 + 8 + 8 + 2
    with pytest.raises(InfeasibleError, match="no plan keeps the limits"):
        period("gpipe", "never")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "zb"}, "schedule: expected gpipe, 1f1b or interleaved, got 'zb'"),
        ({"microbatches": 0}, "microbatches: expected a whole number from 1"),
        ({"replicas": True}, "replicas: expected a whole number from 1"),
        ({"optimizer": "lion"}, "optimizer: expected one of sgd, momentum, adam, adam-mixed, or"),
        ({"optimizer": "0"}, "optimizer: expected one of sgd"),
        ({"recompute": "some"}, "recompute: expected never, auto or always, got 'some'"),
    ],
)
def test_wrong_schedules(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        Schedule(**given)


def test_what_schedules_do_not_go_with() -> None:
    kind = Kind("gpu", 2, Link(10**12))
    with pytest.raises(InputError, match="schedule: expected devices in any order"):
        Fleet((kind,), (0, 0), schedule=Schedule())
    with pytest.raises(InputError, match="schedule: expected a workload with a backward pass"):
        solve_placed(Workload(layers().graph), fleet(2))
    with pytest.raises(InputError, match="objective: expected period or cost"):
        solve_placed(layers(), fleet(2), objective=Objective("latency"))
    with pytest.raises(InputError, match="replicas: expected a bandwidth of every kind"):
        Schedule(replicas=2).sync_rate(2, None)
    plan = PlacedPlan(((0, 3), (4, 1), (2, 5)), (0, 0, 0))
    assert problems_of(layers(), fleet(3), plan) == [
        "stage 1 runs a backward node before a forward one"
    ]
    assert problems_of(layers(), fleet(2), ONE_EACH) == ["3 devices used on 2 devices 'gpu'"]


def test_cheapest_devices_of_a_rate() -> None:
    """Replicas cost what their devices cost."""
    machine = fleet(6, name="gpipe", microbatches=100, replicas=6)
    found = solve_placed(layers(params=0), machine, objective=Objective("cost", 6))
    seats = [machine.seat_at(device) for device in found.plan.devices]
    assert found.value == found.value_bound == sum(seat.replicas for seat in seats) == 6


@pytest.mark.parametrize("seed", [7, 30, 53])
def test_memory_is_made_smaller_by_no_more_than_needed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peaks exceed what the program counts; halving the difference finds better plans than all of it at once."""
    rng = random.Random(seed)
    builder = GraphBuilder("narrowing")
    for i in range(24):
        builder.add_node(f"n{i}", work=rng.randint(5, 30))
        builder.add_param(rng.randint(1, 20) * (i + 1), [i])
        if i:
            builder.add_tensor(i - 1, [i], nbytes=rng.randint(20, 40) * (30 - i))
    workload = training_workload(builder.build(), None, None)
    kind = Kind("gpu", 4, Link(10**12), memory_limit=rng.randint(8000, 30000))
    machine = Fleet((kind,), schedule=Schedule("1f1b", microbatches=4, replicas=2))
    found = solve_placed(workload, machine, time_limit=20)
    assert not problems_of(workload, machine, found.plan)
    monkeypatch.setattr("stagewright.placement.method._HALVINGS", 0)
    at_once = solve_placed(workload, machine, time_limit=20)
    assert found.lower_bound <= found.bottleneck < at_once.bottleneck
    assert found.lower_bound == at_once.lower_bound
