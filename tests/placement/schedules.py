# SPDX-License-Identifier: Apache-2.0
"""Small random workloads that train by a schedule, and the best plan of each by looking at all plans."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from stagewright.graph import CostGraph, GraphBuilder
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.schedule import Schedule
from stagewright.placement.workload import Workload, stage_cost

MODES = ("gpipe", "1f1b", "recompute", "replicas", "overlap", "any")


def random_training(rng: random.Random) -> Workload:
    """Return at most four forward nodes and as many backward ones, most of them with their forward node."""
    forward = rng.randint(1, 4)
    back = [v for v in range(forward) if rng.random() < 0.9] or [0]
    builder = GraphBuilder("training")
    for v in range(forward):
        group = f"g{v if rng.random() < 0.9 else 0}"
        builder.add_node(f"f{v}", work=rng.choice([0, 1, rng.randint(0, 12)]), group=group)
    for v in back:
        layer = f"g{v}" if rng.random() < 0.85 else None
        builder.add_node(f"b{v}", work=rng.choice([0, 1, rng.randint(0, 20)]), group=layer)
    number = {v: forward + i for i, v in enumerate(back)}
    for v in range(forward):
        later = [w for w in range(v + 1, forward) if rng.random() < 0.5]
        keep = [number[w] for w in (v, *later) if w in number and rng.random() < 0.7]
        if later or keep:
            builder.add_tensor(v, [*later, *keep], nbytes=rng.choice([0, rng.randint(0, 9)]))
        for w in later:
            if v in number and w in number and rng.random() < 0.8:
                builder.add_tensor(number[w], [number[v]], nbytes=rng.randint(0, 6))
    for _ in range(rng.randint(0, 3)):
        users = rng.sample(range(forward), rng.randint(1, min(2, forward)))
        builder.add_param(rng.randint(0, 9), users)
    graph = builder.build()
    return Workload(graph, (False,) * forward + (True,) * len(back))


def random_fleet(rng: random.Random, graph: CostGraph, mode: str = "any") -> Fleet:
    """Return at most four devices of one or two kinds, a schedule, and memory that often binds.

    The other modes fix a part of the schedule: its name alone, or that stages may recompute or have replicas.
    """
    kinds = []
    for q in range(rng.choice([1, 1, 2])):
        work = None
        if q:
            work = tuple(
                UNABLE if rng.random() < 0.05 else 2 * w + rng.choice([0, 1])
                for w in graph.work.tolist()
            )
        link = Link(10**12 // rng.choice([1, 2]), rng.choice([0, 1]), free=rng.random() < 0.1)
        memory = rng.randint(0, 60) if rng.random() < 0.3 else None
        limit = rng.randint(10, 120) if rng.random() < 0.5 else None
        kinds.append(Kind(f"k{q}", rng.randint(1, 3 - q), link, work, memory, limit))
    schedule = Schedule(
        rng.choice(["gpipe", "1f1b"]),
        rng.randint(1, 6),
        rng.choice(["sgd", "momentum", "adam", "1"]),
        rng.choice(["never", "auto", "auto", "always"]),
        rng.randint(1, 3),
    )
    overlap = rng.random() < 0.2
    if mode in ("gpipe", "1f1b"):
        name: Literal["gpipe", "1f1b"] = "gpipe" if mode == "gpipe" else "1f1b"
        schedule = replace(schedule, name=name, recompute="never", replicas=1)
    elif mode == "recompute":
        schedule = replace(schedule, recompute=rng.choice(["auto", "always"]))
    elif mode == "replicas":
        schedule = replace(schedule, replicas=rng.randint(2, 3))
    return Fleet(tuple(kinds), overlap=overlap or mode == "overlap", schedule=schedule)


def orders_of(workload: Workload, nodes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the orders in which a stage can run its nodes: forward ones first, producers before consumers."""
    producer = workload.graph.tensor_producer.tolist()
    rows = list(zip(producer, workload.graph.tensor_consumers.rows(), strict=True))
    passes = [[v for v in nodes if workload.backward[v] == back] for back in (False, True)]
    for ahead, back in itertools.product(*map(itertools.permutations, passes)):
        place = {v: i for i, v in enumerate((*ahead, *back))}
        if all(place[p] < place[u] for p, users in rows if p in place for u in users if u in place):
            yield *ahead, *back


def brute_force(workload: Workload, fleet: Fleet) -> int | None:
    """Return the least bottleneck of all plans, every stage in its best order; None without any."""
    n, seats = workload.graph.num_nodes, fleet.seats
    after = [(v, w) for v, row in enumerate(workload.precedence()) for w in row]
    groups: dict[int, int] = {}
    together = [
        (groups.setdefault(g, v), v) for v, g in enumerate(workload.graph.group.tolist()) if g >= 0
    ]
    known: dict[tuple[int, tuple[int, ...], int], int | None] = {}

    def least(device: int, nodes: tuple[int, ...], behind: int) -> int | None:
        key = device, nodes, behind
        if key not in known:
            seat = seats[device]
            kind, work = fleet.kinds[seat.kind], workload.work_on(fleet, seat.kind)
            able = all(work[v] != UNABLE for v in nodes)
            # Only what a stage holds depends on its order.
            bounded = kind.memory is not None or kind.memory_limit is not None
            orders = orders_of(workload, nodes) if able else iter(())
            costs = [
                stage_cost(workload, fleet, device, order, behind)
                for order in itertools.islice(orders, None if bounded else 1)
            ]
            known[key] = min((c.total for c in costs if kind.fits(c.held_bytes)), default=None)
        return known[key]

    best: int | None = None
    for k in range(1, min(n, fleet.stages) + 1):
        rows = [
            row
            for row in itertools.product(range(len(seats)), repeat=k)
            if all(
                sum(seats[s].replicas for s in row if seats[s].kind == q) <= kind.count
                for q, kind in enumerate(fleet.kinds)
            )
        ]
        for block in itertools.product(range(k), repeat=n):
            if len(set(block)) < k or any(block[v] > block[w] for v, w in after):
                continue
            if any(block[a] != block[b] for a, b in together):
                continue
            stages = [tuple(v for v in range(n) if block[v] == i) for i in range(k)]
            for row in rows:
                behind, worst = 0, 0
                for device, nodes in zip(reversed(row), reversed(stages), strict=True):
                    cost = least(device, nodes, behind)
                    if cost is None:
                        break
                    worst = max(worst, cost)
                    behind += seats[device].replicas
                else:
                    best = worst if best is None else min(best, worst)
    return best
