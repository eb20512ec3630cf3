# SPDX-License-Identifier: Apache-2.0
"""Synthetic cost graphs for benchmarks, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..graph import CostGraph, GraphBuilder

__all__ = ["FAMILIES", "layered_model", "mixture_of_experts", "random_model", "transformer_stack"]

# Operators of a transformer's layer: picoseconds of work and of sending the output, before jitter.
_MATMUL, _SMALL, _HIDDEN, _WIDE = 40_000_000, 1_500_000, 6_000_000, 24_000_000


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


class _Model:
    """Collects operators; each has one output, whose size and work vary by a tenth around what is said."""

    def __init__(self, name: str, seed: int) -> None:
        self.rng = random.Random(f"{name}-{seed}")
        self.builder = GraphBuilder(f"{name}-{seed}")
        self.readers: list[list[int]] = []
        self.sizes: list[int] = []

    def op(self, name: str, work: int, size: int, *inputs: int) -> int:
        """Add an operator that reads the outputs of `inputs`; return its number."""
        index = self.builder.add_node(
            f"{name}.{len(self.sizes)}", work=int(work * self.rng.uniform(0.9, 1.1))
        )
        self.readers.append([])
        self.sizes.append(size)
        for v in inputs:
            self.readers[v].append(index)
        return index

    def attention(self, x: int, mask: int) -> int:
        """Add a layer's first half: norm, three projections, scores, softmax, output, residual."""
        norm = self.op("norm", _SMALL, _HIDDEN, x)
        query, key, value = (self.op(n, _MATMUL, _HIDDEN, norm) for n in ("q", "k", "v"))
        query, key, value = (self.op("heads", 0, _HIDDEN, v) for v in (query, key, value))
        scores = self.op("scores", _MATMUL // 2, _WIDE, query, self.op("turn", 0, _HIDDEN, key))
        masked = self.op("mask", _SMALL, _WIDE, scores, mask)
        weights = self.op("softmax", 2 * _SMALL, _WIDE, masked)
        context = self.op("context", _MATMUL // 2, _HIDDEN, weights, value)
        out = self.op("out", _MATMUL, _HIDDEN, self.op("join", 0, _HIDDEN, context))
        return self.op("add", _SMALL, _HIDDEN, out, x)

    def feed_forward(self, x: int, width: int = 4) -> int:
        """Add up, activation, down: `width` times the work and size of the hidden state between."""
        up = self.op("up", width * _MATMUL, width * _HIDDEN, x)
        return self.op(
            "down", width * _MATMUL, _HIDDEN, self.op("act", _SMALL, width * _HIDDEN, up)
        )

    def build(self) -> CostGraph:
        for producer, users in enumerate(self.readers):
            if users:
                size = int(self.sizes[producer] * self.rng.uniform(0.9, 1.1))
                self.builder.add_tensor(producer, sorted(set(users)), time=size)
        return self.builder.build()


def transformer_stack(nodes: int, seed: int) -> CostGraph:
    """Return a deep stack of transformer layers, 20 operators each; all read one small mask."""
    model = _Model(f"transformer-{nodes}", seed)
    mask = model.op("mask", 0, _SMALL)
    x = model.op("embed", _SMALL, _HIDDEN)
    while len(model.sizes) + 20 <= nodes:
        x = model.attention(x, mask)
        branch = model.feed_forward(model.op("norm", _SMALL, _HIDDEN, x))
        x = model.op("add", _SMALL, _HIDDEN, branch, x)
    while len(model.sizes) < nodes:
        x = model.op("head", _SMALL, _HIDDEN, x)
    return model.build()


def mixture_of_experts(nodes: int, seed: int, experts: int = 24) -> CostGraph:
    """Return transformer layers whose feed-forward part is `experts` parallel ones behind a router."""
    model = _Model(f"experts-{nodes}", seed)
    mask = model.op("mask", 0, _SMALL)
    x = model.op("embed", _SMALL, _HIDDEN)
    size = 4 * experts + 19
    while len(model.sizes) + size <= nodes:
        x = model.attention(x, mask)
        norm = model.op("norm", _SMALL, _HIDDEN, x)
        router = model.op("router", _SMALL, _SMALL, norm)
        parts = []
        for _ in range(experts):
            # The share of the tokens that this expert gets.
            tokens = model.op("gather", _SMALL // 4, 2 * _HIDDEN // experts, norm, router)
            up = model.op("up", 8 * _MATMUL // experts, 8 * _HIDDEN // experts, tokens)
            act = model.op("act", _SMALL // 4, 8 * _HIDDEN // experts, up)
            parts.append(model.op("down", 8 * _MATMUL // experts, 2 * _HIDDEN // experts, act))
        x = model.op("add", _SMALL, _HIDDEN, model.op("combine", _SMALL, _HIDDEN, *parts), x)
    while len(model.sizes) < nodes:
        x = model.op("head", _SMALL, _HIDDEN, x)
    return model.build()


def random_model(nodes: int, seed: int) -> CostGraph:
    """Return a random graph: each node reads one to three of the 32 before it, one in 50 an older one."""
    model = _Model(f"random-{nodes}", seed)
    rng = model.rng
    for v in range(nodes):
        near = range(max(0, v - 32), v)
        inputs = set(rng.sample(near, min(len(near), rng.randint(1, 3))))
        if v > 32 and rng.random() < 0.02:
            inputs.add(rng.randrange(v - 32))
        model.op("v", rng.randint(1_000_000, 10_000_000), rng.randint(100_000, 1_000_000), *inputs)
    return model.build()


# name -> a graph of so many nodes from a seed
FAMILIES: dict[str, Callable[[int, int], CostGraph]] = {
    "layered": layered_model,
    "transformer": transformer_stack,
    "experts": mixture_of_experts,
    "random": random_model,
}
