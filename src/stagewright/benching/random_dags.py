# SPDX-License-Identifier: Apache-2.0
"""Random DAGs of several topologies, from a seed: a set in the manner of REGAL's synthetic graphs.

50 to 200 nodes; work and tensor sizes vary by an order of magnitude; a tensor goes from each node to all
its successors, and all tensors together cost about as much as all work, so that neither
communication nor work alone decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from ..graph import CostGraph, GraphBuilder

__all__ = ["TOPOLOGIES", "random_dag", "random_dags", "random_parameters"]

Arcs = set[tuple[int, int]]


def erdos(n: int, rng: random.Random) -> Arcs:
    """Each pair u < v with equal probability, 2.5 arcs per node on average (Erdos and Renyi)."""
    chance = 5 / (n - 1)
    return {(u, v) for v in range(n) for u in range(v) if rng.random() < chance}


def barabasi(n: int, rng: random.Random) -> Arcs:
    """Each node reads one or two older ones, busy ones more likely (Barabasi and Albert)."""
    arcs: Arcs = set()
    ends = [0]
    for v in range(1, n):
        for u in {rng.choice(ends) for _ in range(rng.randint(1, 2))}:
            arcs.add((u, v))
            ends += [u, v]
    return arcs


def layered(n: int, rng: random.Random) -> Arcs:
    """Layers of 1 to 8 nodes; each node reads one to three of the layer before, some skip."""
    arcs: Arcs = set()
    previous, older, v = [0], [0], 1
    while v < n:
        layer = list(range(v, min(n, v + rng.randint(1, 8))))
        for node in layer:
            for u in rng.sample(previous, min(len(previous), rng.randint(1, 3))):
                arcs.add((u, node))
            if rng.random() < 0.1:
                arcs.add((rng.choice(older), node))
        older += layer
        previous, v = layer, layer[-1] + 1
    return arcs


def watts(n: int, rng: random.Random) -> Arcs:
    """Each node reads the two before it, one arc in ten instead any older (Watts and Strogatz)."""
    arcs: Arcs = set()
    for v in range(1, n):
        for u in (v - 1, v - 2):
            if u >= 0:
                arcs.add((rng.randrange(v) if rng.random() < 0.1 else u, v))
    return arcs


def blocks(n: int, rng: random.Random) -> Arcs:
    """Four to eight communities of interleaved nodes, nine arcs in ten inside one (stochastic block model)."""
    count = rng.randint(4, 8)
    home = [rng.randrange(count) for _ in range(n)]
    sizes = [home.count(h) for h in home]
    arcs: Arcs = set()
    for v in range(n):
        for u in range(v):
            # Of the five arcs that a node has on average, both directions counted, 4.5 stay at home.
            same = home[u] == home[v]
            chance = 4.5 / max(1, sizes[v] - 1) if same else 0.5 / max(1, n - sizes[v])
            if rng.random() < chance:
                arcs.add((u, v))
    return arcs


TOPOLOGIES: dict[str, Callable[[int, random.Random], Arcs]] = {
    "erdos": erdos,
    "barabasi": barabasi,
    "layered": layered,
    "watts": watts,
    "blocks": blocks,
}


def random_dag(topology: str, nodes: int, seed: int, communication: float = 1.0) -> CostGraph:
    """Return a graph whose tensors together cost `communication` times its work."""
    rng = random.Random(f"{topology}-{nodes}-{seed}")
    readers: dict[int, list[int]] = {}
    for u, v in sorted(TOPOLOGIES[topology](nodes, rng)):
        readers.setdefault(u, []).append(v)
    work = [int(10 ** rng.uniform(6, 7)) for _ in range(nodes)]
    sizes = {u: 10 ** rng.uniform(0, 1) for u in readers}
    scale = communication * sum(work) / sum(sizes.values())
    builder = GraphBuilder(f"{topology}-n{nodes}-s{seed}")
    for v in range(nodes):
        builder.add_node(f"v{v}", work=work[v])
    for u, users in readers.items():
        builder.add_tensor(u, users, time=int(sizes[u] * scale))
    return builder.build()


def random_parameters(count: int, seed: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield topology, nodes and seed of `count` graphs: topologies in turn, 50 to 200 nodes each."""
    rng = random.Random(seed)
    names = list(TOPOLOGIES)
    for i in range(count):
        yield names[i % len(names)], rng.randint(50, 200), rng.randrange(2**32)


def random_dags(count: int, seed: int = 0) -> Iterator[CostGraph]:
    """Yield `count` graphs of :func:`random_parameters`."""
    for topology, nodes, own_seed in random_parameters(count, seed):
        yield random_dag(topology, nodes, own_seed)
