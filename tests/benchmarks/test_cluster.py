# SPDX-License-Identifier: Apache-2.0
"""The mixed cluster of the examples: splits by hand are valid plans, and no better than proven ones."""

from __future__ import annotations

from fractions import Fraction

from benchmarks.cluster import MACHINE, by_hand, model, split, units
from tests.solver.random_graphs import random_case

from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.fleet_file import read_fleet
from stagewright.placement.method import solve_placed
from stagewright.placement.workload import Workload
from stagewright.shaping.shape import shape


def test_units_run_in_their_order() -> None:
    for seed in range(60):
        graph, _ = random_case(seed)
        order = units(graph)
        assert sorted(v for nodes in order for v in nodes) == list(range(graph.num_nodes)), seed
        at = {v: i for i, nodes in enumerate(order) for v in nodes}
        rows = graph.tensor_consumers.rows()
        for producer, users in zip(graph.tensor_producer.tolist(), rows, strict=True):
            assert all(at[producer] <= at[user] for user in users), seed
        homes: dict[int, set[int]] = {}
        for v, group in enumerate(graph.group.tolist()):
            homes.setdefault(group if group >= 0 else -1 - v, set()).add(at[v])
        assert all(len(home) == 1 for home in homes.values()), seed


def test_shares_are_of_the_work() -> None:
    graph = model("resnet-50 b32")
    workload = Workload(graph.replace(work=graph.flops))
    kinds = tuple(Kind(name, 1, Link(1, 0, free=True)) for name in ("a", "b"))
    flops = graph.flops.tolist()
    costs = split(workload, Fleet(kinds, (0, 1)), flops, [Fraction(1), Fraction(3)])
    assert sum(costs) == sum(flops)
    assert abs(costs[0] - sum(flops) / 4) <= max(flops)


def test_the_example_machine_and_its_splits() -> None:
    graph = model("resnet-50 b32")
    hand = by_hand(graph)
    workload = Workload(shape(graph, "layer", None))
    fleet = read_fleet(MACHINE, workload)
    found = solve_placed(workload, fleet, time_limit=20)
    assert found.bottleneck == found.lower_bound
    assert [kind.name for kind in fleet.kinds] == ["h100", "a100", "l4", "cpu"]
    for name, costs in hand.items():
        assert len(costs) == 9, name
        assert max(costs) >= found.lower_bound, name
    # Equal numbers of layers leave the processor out.
    assert hand["equal"][-1] == 0
    finer = solve_placed(Workload(graph), fleet, time_limit=20)
    assert finer.bottleneck <= found.bottleneck
