# SPDX-License-Identifier: Apache-2.0
"""Small random workloads whose devices hold several chunks, and the best plan of each by looking at all plans."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from graphlib import TopologicalSorter

from tests.placement.schedules import orders_of

from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.interleaving import held_of, owners
from stagewright.placement.schedule import Schedule
from stagewright.placement.sharing import loads_of
from stagewright.placement.workload import PlacedStage, Workload, stage_cost

MODES = ("plain", "recompute", "limit", "overlap")
SHAPES = ((2, 2), (2, 2), (2, 2), (2, 3), (3, 2))  # devices, chunks of each


def instance(mode: str, seed: int) -> tuple[Workload, Fleet]:
    """Return layers of a forward and a backward node with edges that skip some, and two or three devices."""
    rng = random.Random(f"interleaved {mode} {seed}")
    # Where stages have choices, or their order matters, there are more plans of fewer layers.
    most = 5 if mode == "limit" else 6
    devices, chunks = rng.choice(SHAPES[:1] if mode in ("recompute", "limit") else SHAPES)
    layers = rng.randint(devices * chunks - (rng.random() < 0.1), most)
    builder = GraphBuilder("rounds")
    for back in (False, True):
        for i in range(layers):
            group = f"g{i}" if rng.random() < 0.95 else None
            work = rng.choice([0, 1, rng.randint(0, 20)]) * (1 + back)
            builder.add_node(f"{'fb'[back]}{i}", work=work, group=group)
    for i in range(layers):
        after = [j for j in range(i + 1, layers) if rng.random() < (0.8 if j == i + 1 else 0.15)]
        keep = [layers + j for j in (i, *after) if rng.random() < 0.8]
        if after or keep:
            builder.add_tensor(i, [*after, *keep], nbytes=rng.choice([0, rng.randint(0, 9)]))
        for j in after:
            builder.add_tensor(layers + j, [layers + i], nbytes=rng.randint(0, 6))
    for _ in range(rng.randint(0, 3)):
        builder.add_param(rng.randint(0, 9), rng.sample(range(layers), rng.randint(1, 2)))
    graph = builder.build()
    kinds = []
    for q, count in enumerate([devices] if rng.random() < 0.7 else [1, devices - 1]):
        slow = [UNABLE if rng.random() < 0.04 else 2 * w + 1 for w in graph.work.tolist()]
        limit = rng.randint(30, 200) if mode == "limit" else None
        link = Link(10**12 // rng.choice([1, 2]), rng.choice([0, 1]), free=rng.random() < 0.1)
        kinds.append(Kind(f"k{q}", count, link, tuple(slow) if q else None, None, limit))
    schedule = Schedule("interleaved", devices * rng.randint(1, 4), "momentum", chunks=chunks)
    if mode == "recompute" or (mode == "limit" and rng.random() < 0.5):
        schedule = replace(schedule, recompute="auto")
    fleet = Fleet(tuple(kinds), overlap=mode == "overlap", schedule=schedule)
    return Workload(graph, (False,) * layers + (True,) * layers), fleet


def assignments(count: int, after: set[tuple[int, int]], stages: int) -> Iterator[tuple[int, ...]]:
    """Yield the stage of each unit, in all ways that keep to `after` and leave no stage empty."""
    before = {u: [a for a, b in after if b == u != a] for u in range(count)}
    order = list(TopologicalSorter(before).static_order())
    block = [-1] * count

    def extend(done: int) -> Iterator[tuple[int, ...]]:
        if done == count:
            yield tuple(block)
            return
        u = order[done]
        low = max((block[a] for a in before[u]), default=0)
        for stage in range(low, stages):
            block[u] = stage
            if stages - len(set(block) - {-1}) <= count - done - 1:
                yield from extend(done + 1)
        block[u] = -1

    yield from extend(0)


def brute_force(workload: Workload, fleet: Fleet) -> tuple[int, int] | None:
    """Return the least period of all plans, and the shortest longest chunk of those with it; None without any.

    Every stage runs in its order of least peak.
    """
    n, schedule = workload.graph.num_nodes, fleet.schedule
    assert schedule is not None
    stages = fleet.stages * schedule.chunks
    group = workload.graph.group.tolist()
    units: dict[object, list[int]] = {}
    for v in range(n):
        units.setdefault(group[v] if group[v] >= 0 else ("alone", v), []).append(v)
    home = {v: u for u, nodes in enumerate(units.values()) for v in nodes}
    after = {(home[v], home[w]) for v, row in enumerate(workload.precedence()) for w in row}
    known: dict[tuple[int, int, tuple[int, ...]], PlacedStage | None] = {}

    def least(stage: int, seat: int, nodes: tuple[int, ...]) -> PlacedStage | None:
        key = stage, seat, nodes
        if key not in known:
            limited = any(kind.memory_limit is not None for kind in fleet.kinds)
            orders = itertools.islice(orders_of(workload, nodes), None if limited else 1)
            try:
                costs = [
                    stage_cost(workload, fleet, seat, order, stages - 1 - stage) for order in orders
                ]
            except InputError:  # the kind cannot run a node
                costs = []
            known[key] = min(costs, key=lambda cost: cost.peak_bytes, default=None)
        return known[key]

    seats = [
        [s for s, seat in enumerate(fleet.seats) if seat.kind == fleet.kind_of[d]]
        for d in owners(fleet, stages)
    ]
    best: tuple[int, int] | None = None
    for block in assignments(len(units), after, stages):
        rows = [tuple(v for v in range(n) if block[home[v]] == s) for s in range(stages)]
        for row in itertools.product(*seats):
            found = [least(s, *pair) for s, pair in enumerate(zip(row, rows, strict=True))]
            costs = [cost for cost in found if cost is not None]
            if len(costs) < stages:
                continue
            period = max(c.total for c in loads_of(fleet, owners(fleet, stages), costs).values())
            value = period, max(cost.total for cost in costs)
            if best is not None and value >= best:
                continue
            held = zip(held_of(fleet, costs), fleet.kind_of, strict=True)
            if all(fleet.kinds[q].fits(size) for size, q in held):
                best = value
    return best
