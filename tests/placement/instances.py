# SPDX-License-Identifier: Apache-2.0
"""Small random workloads and fleets, and the best plan of each by looking at all plans."""

from __future__ import annotations

import itertools
import random
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from stagewright.graph import FIRST, LAST, CostGraph, GraphBuilder
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.workload import PlacedPlan, Workload, stage_cost

MODES = ("any", "fixed", "links", "overlap", "training", "along", "spill", "limit")


def outright(allowed: bool) -> AbstractContextManager[Any]:
    """Say whether the method may look at all plans at once, as it does for graphs of this size."""
    small = 2**19 if allowed else 0
    return patch("stagewright.placement.method._SMALL", small)


def random_workload(rng: random.Random, mode: str) -> Workload:
    """Return a workload of at most seven nodes, five where the order within stages matters."""
    n = rng.randint(1, 5 if mode in ("spill", "limit") else 7)
    builder = GraphBuilder("random")
    backward = tuple(mode in ("training", "along") and rng.random() < 0.4 for _ in range(n))
    # Forward nodes come before backward ones in every order.
    backward = tuple(sorted(backward))
    pins = [0] * n
    if rng.random() < 0.15:
        pins[rng.randrange(n)] = rng.choice([FIRST, LAST])
    for v in range(n):
        group = f"g{rng.randint(0, 3)}" if rng.random() < 0.25 else None
        builder.add_node(
            f"n{v}",
            work=rng.choice([0, 0, 1, 3, rng.randint(0, 20)]),
            group=group,
            stage=pins[v],
            replicable=rng.random() < 0.05,
        )
    sized = mode in ("spill", "limit") or rng.random() < 0.3
    for v in range(n - 1):
        for _ in range(rng.choice([0, 1, 1, 2])):
            users = rng.sample(range(v + 1, n), rng.randint(1, min(3, n - 1 - v)))
            size = rng.choice([0, rng.randint(0, 12)])
            builder.add_tensor(v, users, **({"nbytes": size} if sized else {"time": size}))
    if mode in ("spill", "limit"):
        for _ in range(rng.randint(0, 3)):
            users = rng.sample(range(n), rng.randint(1, min(2, n)))
            builder.add_param(rng.randint(0, 12), users)
    if rng.random() < 0.1 and n > 1:
        builder.never_cut(*sorted(rng.sample(range(n), 2)))
    return Workload(builder.build(), backward, mode == "along")


def random_fleet(rng: random.Random, graph: CostGraph, mode: str) -> Fleet:
    """Return at most four devices of one to three kinds."""
    kinds = []
    left = 4
    for q in range(rng.randint(1, 3)):
        count = rng.randint(1, min(2, left - (2 - q)))
        left -= count
        work = None
        if rng.random() < 0.6:
            factor = rng.choice([1, 2, 3])
            work = tuple(
                UNABLE if rng.random() < 0.1 else factor * w + rng.choice([0, 0, 1])
                for w in graph.work.tolist()
            )
        bandwidth = 10**12 // rng.choice([1, 2])
        link = Link(bandwidth, rng.choice([0, 0, 2]), free=rng.random() < 0.3)
        memory = rng.randint(0, 30) if mode == "spill" and rng.random() < 0.7 else None
        limit = rng.randint(3, 40) if mode == "limit" and rng.random() < 0.8 else None
        kinds.append(Kind(f"k{q}", count, link, work, memory, limit, rng.randint(0, 3)))
    order = links = None
    if mode in ("fixed", "links") or rng.random() < 0.1:
        places = [q for q, kind in enumerate(kinds) for _ in range(kind.count)]
        rng.shuffle(places)
        order = tuple(places)
        if mode == "links":
            links = tuple(
                Link(10**12 // rng.choice([1, 3]), rng.choice([0, 1])) for _ in places[1:]
            )
    return Fleet(tuple(kinds), order, links, overlap=mode == "overlap")


def brute_force(workload: Workload, fleet: Fleet) -> int | None:
    """Return the least bottleneck of all valid plans, every stage in its best order; None without any."""
    return min((period for period, _, _ in all_values(workload, fleet)), default=None)


def all_values(workload: Workload, fleet: Fleet) -> set[tuple[int, int, int]]:
    """Return period, latency and cost of devices of all valid plans, every stage in its best order."""
    graph, n = workload.graph, workload.graph.num_nodes
    after = workload.precedence()
    pairs = [(v, w) for v in range(n) for w in after[v]]
    groups: dict[int, list[int]] = {}
    for v, group in enumerate(graph.group.tolist()):
        if group >= 0:
            groups.setdefault(group, []).append(v)
    together = [(row[0], v) for row in groups.values() for v in row]
    together += [(a, b) for a, b in graph.uncuttable.tolist()]
    pins = graph.stage.tolist()
    devices = range(len(fleet.kinds) if fleet.order is None else len(fleet.order))
    costs: dict[tuple[int, tuple[int, ...]], int | None] = {}

    def cost(device: int, nodes: tuple[int, ...]) -> int | None:
        key = (device, nodes)
        if key not in costs:
            costs[key] = _best_order(workload, fleet, device, nodes)
        return costs[key]

    values: set[tuple[int, int, int]] = set()
    for k in range(1, min(n, fleet.stages) + 1):
        sequences = [
            row
            for row in itertools.product(devices, repeat=k)
            if (
                all(a < b for a, b in itertools.pairwise(row))
                if fleet.order is not None
                else all(row.count(q) <= kind.count for q, kind in enumerate(fleet.kinds))
            )
        ]
        for block in itertools.product(range(k), repeat=n):
            if len(set(block)) < k or any(block[v] > block[w] for v, w in pairs):
                continue
            if any(block[a] != block[b] for a, b in together):
                continue
            if any(
                (p == FIRST and block[v] != 0) or (p == LAST and block[v] != k - 1)
                for v, p in enumerate(pins)
            ):
                continue
            stages = [tuple(v for v in range(n) if block[v] == i) for i in range(k)]
            for row in sequences:
                found = [cost(device, nodes) for device, nodes in zip(row, stages, strict=True)]
                totals = [value for value in found if value is not None]
                if len(totals) == len(found):
                    price = sum(fleet.kinds[fleet.seat_at(device).kind].cost for device in row)
                    values.add((max(totals), sum(totals), price))
    return values


def _best_order(
    workload: Workload, fleet: Fleet, device: int, nodes: tuple[int, ...]
) -> int | None:
    """Return the least cost of a stage over the orders of its nodes; None if it cannot run there."""
    kind = fleet.kinds[fleet.seat_at(device).kind]
    work = workload.work_on(fleet, fleet.seat_at(device).kind)
    if any(work[v] == UNABLE for v in nodes):
        return None
    bounded = kind.memory is not None or kind.memory_limit is not None
    best: int | None = None
    for order in itertools.permutations(nodes) if bounded else [nodes]:
        if bounded and not _runs(workload, order):
            continue
        found = stage_cost(workload, fleet, device, order)
        if kind.fits(found.held_bytes) and (best is None or found.total < best):
            best = found.total
    return best


def _runs(workload: Workload, order: tuple[int, ...]) -> bool:
    place = {v: i for i, v in enumerate(order)}
    graph = workload.graph
    return all(
        place[p] < place[u]
        for p, users in zip(
            graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True
        )
        if p in place
        for u in users
        if u in place
    )


def plan_of(stages: list[list[int]], devices: list[int]) -> PlacedPlan:
    """Return a plan of lists."""
    return PlacedPlan(tuple(map(tuple, stages)), tuple(devices))
