# SPDX-License-Identifier: Apache-2.0
"""Synthetic cost graphs for benchmarks, from a seed."""

from __future__ import annotations

import random

from stagewright.graph import CostGraph, GraphBuilder


def layered_model(nodes: int, seed: int, communication: float = 0.3) -> CostGraph:
    """Return a graph shaped like a deep network: a chain of small blocks with skips.

    Each block of five to nine nodes has two branches that meet again, and every few blocks a tensor
    skips ahead.  A tensor costs about `communication` times the average work of a block.
    """
    rng = random.Random(seed)
    builder = GraphBuilder(f"layered-{nodes}-{seed}")
    previous = builder.add_node("n0", work=rng.randint(1, 10**6))
    skips: list[int] = []
    readers: dict[int, list[int]] = {}
    count = 1

    def node(*inputs: int) -> int:
        nonlocal count
        index = builder.add_node(f"n{count}", work=rng.randint(1, 10**6))
        count += 1
        for v in inputs:
            readers.setdefault(v, []).append(index)
        return index

    while count < nodes - 9:
        ends = []
        for _ in range(2):
            tip = previous
            for _ in range(rng.randint(2, 4)):
                tip = node(tip)
            ends.append(tip)
        if skips and rng.random() < 0.3:
            ends.append(skips.pop(rng.randrange(len(skips))))
        previous = node(*ends)
        if rng.random() < 0.4:
            skips.append(previous)
    while count < nodes:
        previous = node(previous)
    for producer, users in sorted(readers.items()):
        size = int(rng.uniform(0.5, 1.5) * communication * 3.5e6)
        builder.add_tensor(producer, sorted(set(users)), time=size)
    return builder.build()
