# SPDX-License-Identifier: Apache-2.0
"""Small random cost graphs with everything the problem allows, from a seed."""

from __future__ import annotations

import random

from stagewright.graph import FIRST, FREE, LAST, CostGraph, GraphBuilder
from stagewright.machine import Machine


def random_case(seed: int, max_nodes: int = 9) -> tuple[CostGraph, Machine]:
    """Return a graph of 1 to `max_nodes` nodes and a machine.

    Small integers on purpose: ties and exact equalities are where mistakes hide.
    """
    rng = random.Random(seed)
    builder = GraphBuilder(f"random-{seed}")
    n = rng.randint(1, max_nodes)
    constrained = rng.random() < 0.4
    pinned = rng.random() < 0.3
    heavy = rng.choice([1, 4, 20])  # how much communication weighs against work
    for v in range(n):
        builder.add_node(
            f"v{v}",
            work=rng.choice([0, 0, rng.randint(1, 10), rng.randint(1, 10)]),
            group=f"g{rng.randrange(2)}" if constrained and rng.random() < 0.25 else None,
            stage=rng.choice([FIRST, LAST]) if pinned and rng.random() < 0.12 else FREE,
            replicable=rng.random() < 0.05,
        )
    in_bytes = rng.random() < 0.7
    for v in range(n - 1):
        for _ in range(rng.choice([0, 1, 1, 1, 2, 2])):
            reach = range(v + 1, min(n, v + 1 + rng.choice([2, 4, n])))
            users = sorted(rng.sample(reach, min(len(reach), rng.choice([0, 1, 1, 1, 2, 3]))))
            size = rng.randint(0, 3 * heavy)
            if in_bytes:
                builder.add_tensor(v, users, nbytes=size)
            else:
                builder.add_tensor(v, users, time=size)
    for _ in range(rng.choice([0, 0, 1, 3])):
        users = sorted(rng.sample(range(n), min(n, rng.randint(1, 3))))
        builder.add_param(rng.randint(1, 30), users)
    if constrained and n > 1 and rng.random() < 0.5:
        builder.never_cut(*sorted(rng.sample(range(n), 2)))
    machine = Machine(
        stages=rng.randint(1, 5),
        bandwidth=rng.choice([10**12, 2 * 10**12 // 3]),
        latency=rng.choice([0, 0, 1]),
        memory=rng.choice([None, None, rng.randint(0, 40)]),
    )
    return builder.build(), machine
