# SPDX-License-Identifier: Apache-2.0
"""Interleaved chunks: what devices do and hold, and the method against all plans of small workloads."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.placement.interleaved import MODES, brute_force, instance

from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.chunks import in_flight, moments, passes, warm_up
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.interleaved_method import period_of, solve_interleaved
from stagewright.placement.interleaving import held_of
from stagewright.placement.method import solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.schedule import Schedule
from stagewright.placement.workload import PlacedPlan, Workload, evaluate, problems_of
from stagewright.placing import place


def compare(mode: str, seeds: range) -> Counter[str]:
    """Hold the method against brute force; return what was met how often."""
    met: Counter[str] = Counter()
    for seed in seeds:
        workload, fleet = instance(mode, seed)
        right = brute_force(workload, fleet)
        try:
            found = solve_interleaved(workload, fleet, time_limit=20)
        except InfeasibleError:
            assert right is None, (mode, seed)
            met["infeasible"] += 1
            continue
        except LimitError:  # what the program counts fits, and what devices truly hold does not
            assert mode == "limit", (mode, seed)
            met["open"] += 1
            continue
        met["planned"] += 1
        assert right is not None, (mode, seed)
        assert not problems_of(workload, fleet, found.plan), (mode, seed)
        assert period_of(workload, fleet, found.plan) == found.bottleneck, (mode, seed)
        period, longest = right
        assert found.lower_bound <= period <= found.bottleneck, (mode, seed, right, found.bounds)
        if mode != "limit":
            assert found.lower_bound == found.bottleneck, (mode, seed)
            costs = evaluate(workload, fleet, found.plan)
            assert max(cost.total for cost in costs) == longest, (mode, seed)
        met["optimal"] += found.lower_bound == found.bottleneck
        seats = [fleet.seat_at(device) for device in found.plan.devices]
        met["recomputed"] += any(seat.recompute for seat in seats)
    return met


@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans(mode: str) -> None:
    met = compare(mode, range(40))
    assert met["planned"] > 5, met
    assert met["optimal"] > 0.7 * met["planned"], met
    if mode == "limit":
        assert met["recomputed"] > 1, met
        assert met["infeasible"] > 1, met


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans_at_length(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(mode, range(first, first + 1000))["planned"] > 500


@pytest.mark.parametrize(
    ("devices", "chunks", "rounds"), [(2, 2, 1), (2, 3, 4), (3, 2, 7), (4, 4, 6)]
)
def test_how_much_is_in_flight(devices: int, chunks: int, rounds: int) -> None:
    """Never more than Narayanan et al. say, and few rounds show all that many do."""
    m = devices * rounds
    for rank in range(devices):
        rows = passes(rank, devices, chunks, m)
        most = min(m * chunks, 2 * (devices - rank - 1) + (chunks - 1) * devices + 1)
        assert max(sum(held) for held, _, _ in rows) == most
        assert [back for _, _, back in rows].index(True) == warm_up(rank, devices, chunks, m) + (
            warm_up(rank, devices, chunks, m) < m * chunks
        )
        for held, chunk, _ in rows:
            assert any(
                chunk == other and all(a <= b for a, b in zip(held, more, strict=True))
                for more, other in moments(rank, devices, chunks, m)
            )
        columns = zip(*(held for held, _, _ in rows), strict=True)
        assert in_flight(rank, devices, chunks, m) == tuple(map(max, columns))
    assert in_flight(0, 4, 2, 16) == (8, 4)
    assert in_flight(3, 4, 2, 16) == (5, 1)


def test_the_passes_are_those_of_a_library_that_trains() -> None:
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules", reason="needs torch")
    for devices, chunks, m in ((2, 2, 4), (4, 2, 12), (3, 3, 6)):
        for rank in range(devices):
            other = object.__new__(schedules.ScheduleInterleaved1F1B)
            other.pp_group_size, other.n_local_stages = devices, chunks
            other.microbatches_per_round, other._n_microbatches = devices, m
            actions = [a for a in other._calculate_single_rank_operations(rank) if a is not None]
            right = [
                (a.stage_index // devices, a.computation_type.name != "FORWARD") for a in actions
            ]
            own = [(chunk, back) for _, chunk, back in passes(rank, devices, chunks, m)]
            assert own == right, (devices, chunks, m, rank)


def layers(count: int = 4, params: int = 10) -> Workload:
    """Return layers of 4 forward and 6 backward, activations of 8 bytes, gradients of 2."""
    builder = GraphBuilder("layers")
    for i in range(count):
        builder.add_node(f"f{i}", work=4, group=f"layer{i}")
    for i in range(count):
        builder.add_node(f"b{i}", work=6, group=f"layer{i}")
    for i in range(count):
        later = [] if i == count - 1 else [i + 1]
        builder.add_tensor(i, [*later, count + i], nbytes=8)
        if later:
            builder.add_tensor(count + i + 1, [count + i], nbytes=2)
        builder.add_param(params, [i])
    return Workload(builder.build(), (False,) * count + (True,) * count)


def fleet(count: int = 2, limit: int | None = None, **given: Any) -> Fleet:
    """Return devices with links of a picosecond per byte."""
    kind = Kind("gpu", count, Link(10**12), memory_limit=limit)
    given = dict[str, Any](name="interleaved", chunks=2, optimizer="momentum") | given
    return Fleet((kind,), schedule=Schedule(**given))


ONE_EACH = PlacedPlan(((0, 4), (1, 5), (2, 6), (3, 7)), (0, 0, 0, 0))


def test_what_devices_do_and_hold() -> None:
    machine = fleet(microbatches=8)
    costs = evaluate(layers(), machine, ONE_EACH)
    assert [cost.total for cost in costs] == [20, 30, 30, 20]
    assert period_of(layers(), machine, ONE_EACH) == 50
    # Device 0 runs 2 + 2 passes forward before one backward, device 1 runs 2.
    assert [cost.in_flight for cost in costs] == [4, 3, 2, 1]
    assert [cost.kept_bytes for cost in costs] == [8, 8, 8, 8]
    # One microbatch: what it receives, makes and sends, and the gradient that it waits for.
    assert [cost.peak_bytes for cost in costs] == [8 + 2, 16 + 2, 16 + 2, 16]
    # Five in flight, of which the second chunk runs one; then three, of which the first does.
    assert held_of(machine, costs) == [60 + 4 * 8 + 18, 60 + 2 * 8 + 18]
    assert machine.schedule is not None
    assert machine.schedule.bubble(4) == Fraction(17, 16)
    assert machine.schedule.step(4, 30) == 17 * 30


def test_less_bubble_for_more_transfers() -> None:
    """What interleaving is for: half of the bubble, and a period that more boundaries raise."""
    plain = fleet(microbatches=2, name="1f1b", chunks=1)
    before = solve_placed(layers(8), plain)
    found = solve_interleaved(layers(8), fleet(microbatches=2))
    assert found.lower_bound == found.bottleneck == 40 + 10 + 20
    assert before.bottleneck == 40 + 10 + 0
    assert plain.schedule is not None
    assert plain.schedule.bubble(2) == Fraction(3, 2)
    assert Schedule("interleaved", 2, chunks=2).bubble(4) == Fraction(5, 4)


def test_memory_decides() -> None:
    """Within a limit some stage has to recompute; within less there is no plan."""

    def period(limit: int, choice: str) -> int:
        found = solve_interleaved(layers(8), fleet(limit=limit, recompute=choice, microbatches=8))
        assert found.lower_bound == found.bottleneck
        return found.bottleneck

    free = period(10**6, "auto")
    assert free == period(200, "never") == 70
    assert period(190, "auto") == 74
    for limit, choice in ((190, "never"), (140, "auto")):
        with pytest.raises(InfeasibleError, match="no plan keeps the limits"):
            period(limit, choice)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"chunks": 1}, "chunks: expected 2 to 64 per device where they are interleaved, got 1"),
        ({"chunks": 65}, "chunks: expected 2 to 64"),
        ({"chunks": "2"}, "chunks: expected a whole number from 1"),
        ({"name": "1f1b"}, "chunks: expected 1 with the schedule 1f1b, got 2"),
        ({"replicas": 2}, "replicas: expected 1 where chunks are interleaved, got 2"),
        ({"microbatches": 9}, "microbatches: expected a multiple of the 2 devices"),
        ({"count": 1}, "schedule interleaved: expected at least 2 devices, got 1"),
    ],
)
def test_wrong_schedules(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        fleet(**given)


def test_what_interleaving_does_not_go_with() -> None:
    kind = Kind("gpu", 2, Link(10**12), memory=100)
    with pytest.raises(InputError, match="memory: expected a memory_limit where chunks"):
        Fleet((kind,), schedule=Schedule("interleaved", chunks=2))
    with pytest.raises(InputError, match="interleaved chunks: expected the period"):
        solve_interleaved(layers(), fleet(), objective=Objective("cost", 100))
    with pytest.raises(InfeasibleError, match=r"4 chunks \(2 devices with 2 each\) need"):
        solve_interleaved(layers(3), fleet())
    assert problems_of(layers(), fleet(), PlacedPlan(ONE_EACH.stages[:3], (0, 0, 0)))[0] == (
        "3 stages where 2 devices have 2 chunks each: 4"
    )
    mixed = Fleet(
        (Kind("a", 1, Link(10**12)), Kind("b", 1, Link(10**12))),
        schedule=Schedule("interleaved", chunks=2),
    )
    assert problems_of(layers(), mixed, ONE_EACH) == [
        "stage 1 is on another kind than device 1, which is its own",
        "stage 3 is on another kind than device 1, which is its own",
    ]
    assert problems_of(layers(), fleet(limit=93), ONE_EACH) == [
        "device 0 holds 110 bytes, the limit of 'gpu' is 93",
        "device 1 holds 94 bytes, the limit of 'gpu' is 93",
    ]


def test_wide_graphs_are_searched_along_orders() -> None:
    builder = GraphBuilder("wide")
    for back in (False, True):
        for i in range(30):
            builder.add_node(f"{'fb'[back]}{i}", work=5 + i % 7, group=f"g{i}")
    for i in range(30):
        builder.add_tensor(i, [30 + i], nbytes=1)
    workload = Workload(builder.build(), (False,) * 30 + (True,) * 30)
    found = solve_interleaved(workload, fleet(3, microbatches=6), time_limit=2)
    assert not problems_of(workload, fleet(3, microbatches=6), found.plan)
    assert found.lower_bound <= found.bottleneck < 1.05 * found.lower_bound


def test_machine_file_and_options(tmp_path: Path) -> None:
    """The schedule of the file holds unless it is given over it."""
    path = tmp_path / "machine.toml"
    path.write_text(
        '[training]\nschedule = "interleaved"\nchunks = 2\nmicrobatches = 4\n'
        '[[device]]\nkind = "gpu"\ncount = 2\nbandwidth = "1000GB/s"\n'
    )
    result = place(layers(), path, mode="training")
    assert len(result.to_json()["stages"]) == 4
    result = place(layers(8), path, mode="training", schedule={"chunks": 3, "microbatches": 6})
    assert [stage["number"] for stage in result.to_json()["stages"]] == [0, 1, 0, 1, 0, 1]
    assert result.to_json()["training"]["schedule"]["chunks"] == 3
