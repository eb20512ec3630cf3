# SPDX-License-Identifier: Apache-2.0
"""Memory that single stages reserve: true costs by position, valid bounds, honest gaps."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from tests.solver.random_graphs import random_case

import stagewright as sw
from stagewright.certificate.build import dumps
from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate, evaluate_all, problems_of, stage_cost


def orders(graph: CostGraph, nodes: tuple[int, ...]) -> list[tuple[int, ...]]:
    arcs = [
        (p, u)
        for p, users in zip(
            graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True
        )
        for u in users
        if p in nodes and u in nodes
    ]
    return [
        order
        for order in itertools.permutations(nodes)
        if all(order.index(p) < order.index(u) for p, u in arcs)
    ]


def true_optimum(graph: CostGraph, machine: Machine) -> int | None:
    """Return the least bottleneck over all plans and orders, each stage with what is left of its memory."""
    least: int | None = None
    for block in itertools.product(range(machine.stages), repeat=graph.num_nodes):
        plan = Plan.from_assignment(graph, block)
        if problems_of(graph, Machine(machine.stages, machine.bandwidth, machine.latency), plan):
            continue
        costs = []
        for i, nodes in enumerate(plan.stages):
            left = [
                None if size is None else size - machine.reserved[i]
                for size in (machine.memory, machine.memory_limit)
            ]
            device = Machine(machine.stages, machine.bandwidth, machine.latency, left[0], left[1])
            found = [stage_cost(graph, device, order) for order in orders(graph, nodes)]
            costs.append(min((c.total for c in found if device.fits(c.held_bytes)), default=None))
        if None not in costs:
            worst = max(c for c in costs if c is not None)
            least = worst if least is None else min(least, worst)
    return least


@pytest.mark.parametrize("seed", range(40))
def test_bounds_hold_and_costs_are_true(seed: int) -> None:
    rng = random.Random(seed)
    graph, plain = random_case(seed, max_nodes=5)
    stages = rng.randint(2, 3)
    memory = rng.randint(5, 40)
    amounts = {i: rng.randint(0, memory) for i in range(stages) if rng.random() < 0.7}
    hard = seed % 3 == 0
    sizes: dict[str, Any] = {"memory_limit" if hard else "memory": memory}
    machine = Machine(stages, plain.bandwidth, plain.latency, **sizes).reserving(0, amounts)
    padded = (*machine.reserved, *[0] * stages)[:stages]
    machine = Machine(
        stages, plain.bandwidth, plain.latency, machine.memory, machine.memory_limit, padded
    )
    best = true_optimum(graph, machine)
    try:
        found = sw.plan(
            graph,
            stages,
            bandwidth=plain.bandwidth,
            latency=plain.latency / 1e12,
            constraints={"reserve": {str(i): size for i, size in amounts.items()}},
            time_limit=1,
            **sizes,
        )
    except InfeasibleError:
        assert best is None
        return
    except LimitError:
        return
    assert best is not None
    assert found.solution.lower_bound <= best <= found.solution.bottleneck
    costs = evaluate(graph, found.machine, found.plan)
    assert costs == evaluate_all(graph, found.machine, found.plan)
    assert max(cost.total for cost in costs) == found.solution.bottleneck
    assert sw.check(graph, found).valid


def test_free_nodes_that_only_spill_give_no_empty_flow() -> None:
    builder = GraphBuilder("spill")
    builder.add_node("a")
    builder.add_node("b")
    builder.add_tensor(0, [1], nbytes=0)
    builder.add_param(100, [0])
    found = sw.plan(builder.build(), 1, bandwidth="1GB/s", memory=10)
    assert sw.check(found.graph, found).problems == []


def chain() -> CostGraph:
    builder = GraphBuilder("chain")
    for v in range(6):
        builder.add_node(f"v{v}", work=10**9)
        builder.add_param(1000, [v])
    for v in range(5):
        builder.add_tensor(v, [v + 1], nbytes=10)
    return builder.build()


def test_stages_are_priced_with_their_own_memory() -> None:
    wanted = {"reserve": {"0": 2000}}
    found = sw.plan(chain(), 2, bandwidth="1MB/s", memory=4000, constraints=wanted, time_limit=4)
    assert found.machine.reserved == (2000, 0)
    document = json.loads(dumps(found.to_json()))
    assert document["machine"] == {
        "stages": 2,
        "bandwidth": 10**6,
        "latency": 0,
        "memory": 4000,
        "reserved": [2000, 0],
    }
    assert document["source"]["constraints"] == wanted | {"reserve": {"0": 2000}}
    held = [s["param_bytes"] + s["peak_bytes"] for s in document["stages"]]
    assert document["stages"][0]["overflow"] == pytest.approx(max(0, held[0] - 2000) / 1e6)
    assert document["stages"][1]["overflow"] == pytest.approx(max(0, held[1] - 4000) / 1e6)
    assert sw.check(chain(), document).valid
    for change in ([1999, 0], [0, 2000], []):
        wrong = {**document, "machine": {**document["machine"], "reserved": change}}
        assert not sw.check(chain(), wrong).valid, change
    bad = {**document, "machine": {**document["machine"], "reserved": [-1]}}
    assert not sw.check(chain(), bad).valid


def test_what_all_stages_reserve_is_less_memory() -> None:
    machine = Machine(3, bandwidth=1, memory=100).reserving(10, {0: 30, 1: 20, 2: 25})
    assert machine == Machine(3, bandwidth=1, memory=70, reserved=(10, 0, 5))
    assert [machine.at(i).memory for i in range(4)] == [60, 70, 65, 70]
    assert machine.least_memory == 60
    assert Machine(2, bandwidth=1, memory=9).reserving(4, {}) == Machine(2, bandwidth=1, memory=5)
    again = Machine.from_json(machine.to_json())
    assert again == machine


def test_no_such_stage_and_too_much() -> None:
    for reserve, message in (
        ({"2": 1}, "reserve: expected stages from 0 to 1, got 2"),
        ({"1": 5000}, "reserve of stage 1: expected at most the memory, 4000 bytes, got 5000"),
    ):
        with pytest.raises(InputError) as caught:
            sw.plan(chain(), 2, bandwidth="1MB/s", memory=4000, constraints={"reserve": reserve})
        assert str(caught.value) == message


def test_hard_limit_beside_a_reserve() -> None:
    options: dict[str, Any] = {"bandwidth": "1GB/s", "time_limit": 2}
    found = sw.plan(chain(), 2, memory_limit=4100, constraints={"reserve": {"0": 2000}}, **options)
    assert [len(nodes) for nodes in found.plan.stages] == [2, 4]
    assert sw.check(chain(), found).valid
    with pytest.raises(InfeasibleError):
        sw.plan(chain(), 2, memory_limit=2500, constraints={"reserve": {"0": 100}}, **options)
