# SPDX-License-Identifier: Apache-2.0
"""Random graphs with valid plans, brute force, and a small maximum flow."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from stagewright.bound.types import Bound
from stagewright.certificate.build import dumps, plan_document
from stagewright.graph import FIRST, LAST, CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of, tensor_costs
from stagewright.readers.graph_file import write_graph_file

CHECK_FILE = Path(__file__).parents[2] / "src" / "stagewright" / "certificate" / "check.py"


def random_case(
    rng: Random, nodes: int, stages: int, *, memory: bool = False, constraints: bool = True
) -> tuple[CostGraph, Machine, Plan]:
    """Return a random graph with every feature of the problem, and a plan that is valid for it."""
    b = GraphBuilder("random")
    # Nodes in file order are shuffled against the order in which they can run.
    rank = list(range(nodes))
    rng.shuffle(rank)
    at = sorted(range(nodes), key=rank.__getitem__)
    cuts = sorted(rng.choices(range(nodes + 1), k=stages - 1)) if nodes > 1 else []
    block = [sum(rank[v] >= cut for cut in cuts) for v in range(nodes)]
    used = sorted(set(block))
    for v in range(nodes):
        pin, group = 0, None
        if constraints and rng.random() < 0.1 and block[v] in (used[0], used[-1]):
            pin = FIRST if block[v] == used[0] else LAST
        if constraints and rng.random() < 0.25:
            group = f"g{block[v]}" if rng.random() < 0.7 else f"h{block[v]}"
        b.add_node(
            f'n{v} é"' if v == 0 else f"n{v}",
            work=rng.choice((0, rng.randint(1, 9), rng.randint(1, 50))),
            stage=pin,
            group=group,
            replicable=rng.random() < 0.1,
        )
    for i, v in enumerate(at):
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            after = at[i + 1 :]
            users = rng.sample(after, min(len(after), rng.choice((0, 1, 1, 2, 3))))
            if rng.random() < 0.2:
                b.add_tensor(v, users, time=rng.randint(0, 30))
            else:
                b.add_tensor(v, users, nbytes=rng.randint(0, 40))
    for _ in range(nodes // 3):
        b.add_param(rng.randint(0, 60), rng.sample(range(nodes), rng.randint(0, min(3, nodes))))
    for _ in range(nodes // 4 if constraints else 0):
        chosen = rng.choice(used)
        same = [v for v in range(nodes) if block[v] == chosen]
        b.never_cut(rng.choice(same), rng.choice(same))
    machine = Machine(
        stages=max(stages, len(used)) + rng.randint(0, 1),
        bandwidth=rng.choice((10**12, 4 * 10**11, 3 * 10**11)),
        latency=rng.choice((0, 0, 3)),
        memory=rng.randint(0, 120) if memory else None,
    )
    return (graph := b.build()), machine, Plan.from_assignment(graph, block)


def graph_data(graph: CostGraph, folder: Path) -> Any:
    """Return the graph document as read from a graph file."""
    path = folder / "graph.json"
    write_graph_file(graph, path)
    return json.loads(path.read_text("utf-8"), parse_float=Decimal)


def document_of(
    graph: CostGraph, machine: Machine, plan: Plan, bounds: list[Bound] | None = None
) -> dict[str, Any]:
    """Return a plan document that has gone through its text; with the simple bound by default."""
    if bounds is None:
        mean = -(-graph.total_work // machine.stages)
        bounds = [Bound("simple", max(mean, int(graph.work.max())), 1e-7, "recomputed")]
    made = plan_document(graph, machine, plan, bounds, stopped_because="test", seconds=0.25, seed=1)
    parsed = json.loads(dumps(made), parse_float=Decimal)
    assert parsed.keys() == made.keys()
    return dict(parsed)


def all_plans(graph: CostGraph, machine: Machine) -> Iterator[Plan]:
    """Yield every valid plan, the order within stages aside."""
    if machine.stages > graph.num_nodes:
        machine = Machine(graph.num_nodes, machine.bandwidth, machine.latency, machine.memory)
    for block in itertools.product(range(machine.stages), repeat=graph.num_nodes):
        # Only without gaps; the rest are the same plans again.
        if set(block) == set(range(max(block) + 1)):
            plan = Plan.from_assignment(graph, block)
            if not problems_of(graph, machine, plan):
                yield plan


def all_orders(graph: CostGraph, plan: Plan) -> Iterator[Plan]:
    """Yield the plan with every order within its stages that works."""
    machine = Machine(len(plan.stages), 1)
    for orders in itertools.product(*(itertools.permutations(nodes) for nodes in plan.stages)):
        ordered = Plan(tuple(orders))
        if not problems_of(graph, machine, ordered):
            yield ordered


def brute_classes(graph: CostGraph) -> list[int]:
    """Return for each node the smallest node that shares its stage in every valid plan."""
    n = graph.num_nodes
    apart = {
        (u, v)
        for plan in all_plans(graph, Machine(2, 1))
        for u, v in itertools.combinations(range(n), 2)
        if plan.assignment(n)[u] != plan.assignment(n)[v]
    }
    return [next(u for u in range(v + 1) if (u, v) not in apart) for v in range(n)]


def anchor_witness(
    graph: CostGraph, machine: Machine, classes: list[int], anchor: int
) -> tuple[int, dict[str, Any]]:
    """Return the anchor bound of a class and its flow (Edmonds and Karp on a dictionary)."""
    room: dict[Any, dict[Any, int]] = {}
    endless = 10**18

    def arc(u: Any, v: Any, capacity: int) -> None:
        room.setdefault(u, {})[v] = room.get(u, {}).get(v, 0) + capacity
        room.setdefault(v, {}).setdefault(u, 0)

    costs = tensor_costs(graph, machine)
    pins: list[dict[int, int]] = []
    for t, producer in enumerate(graph.tensor_producer.tolist()):
        pins.append({classes[v]: v for v in [producer, *graph.tensor_consumers[t]]})
        arc(("in", t), ("out", t), costs[t])
        for c in pins[t]:
            arc(c, ("in", t), endless)
            arc(("out", t), c, endless)
    for v, work in enumerate(graph.work.tolist()):
        if classes[v] != anchor:
            arc(classes[v], "sink", work)
    full = {u: dict(row) for u, row in room.items()}
    flow = 0
    while (path := _path(room, anchor)) is not None:
        amount = min(room[u][v] for u, v in path)
        for u, v in path:
            room[u][v] -= amount
            room[v][u] += amount
        flow += amount
    tensors: list[Any] = []
    for t in range(len(pins)):
        amounts = []
        for c, v in pins[t].items():
            into = full[c][("in", t)] - room[c][("in", t)]
            out_of = full[("out", t)][c] - room[("out", t)][c]
            if into != out_of:
                amounts.append([v, into - out_of])
        if amounts:
            tensors.append([t, amounts])
    own = sum(w for v, w in enumerate(graph.work.tolist()) if classes[v] == anchor)
    return own + flow, {"anchor": anchor, "tensors": tensors}


def _path(room: dict[Any, dict[Any, int]], source: Any) -> list[tuple[Any, Any]] | None:
    came: dict[Any, Any] = {source: None}
    queue = deque([source])
    while queue and "sink" not in came:
        u = queue.popleft()
        for v, left in room.get(u, {}).items():
            if left > 0 and v not in came:
                came[v] = u
                queue.append(v)
    if "sink" not in came:
        return None
    path, v = [], "sink"
    while came[v] is not None:
        path.append((came[v], v))
        v = came[v]
    return path
