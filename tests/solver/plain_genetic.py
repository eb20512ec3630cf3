# SPDX-License-Identifier: Apache-2.0
"""Sort-and-slice and BRKGA in plain Python, every member evaluated in full."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from stagewright import _native
from stagewright.problem import Problem
from stagewright.search.genetic import Genetic

_MASK = 2**64 - 1


class SplitMix:
    def __init__(self, seed: int) -> None:
        self.state = seed

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
        return z ^ (z >> 31)

    def below(self, bound: int) -> int:
        return ((self.next() >> 32) * bound) >> 32


def decode(problem: Problem, keys: Sequence[int]) -> list[int]:
    """Kahn's algorithm with a heap of (key, node)."""
    successors = problem.successors()
    missing = [0] * problem.num_nodes
    for row in successors:
        for v in row:
            missing[v] += 1
    heap = [(keys[v], v) for v, count in enumerate(missing) if count == 0]
    heapq.heapify(heap)
    order = []
    while heap:
        _, v = heapq.heappop(heap)
        order.append(v)
        for u in successors[v]:
            missing[u] -= 1
            if missing[u] == 0:
                heapq.heappush(heap, (keys[u], u))
    return order


def evolve(problem: Problem, settings: Genetic) -> int:
    """The bottleneck that one unguided island reaches from nothing."""
    n, size, elites = problem.num_nodes, settings.population, settings.num_elites
    bias = int(settings.bias * 65536 + 0.5)
    random = SplitMix(SplitMix(settings.seed).next())

    def drawn() -> list[int]:
        return [random.next() >> 32 for _ in range(n)]

    def child(elite: list[int], other: list[int]) -> list[int]:
        bits = 0
        keys = []
        for i in range(n):
            bits = random.next() if i % 4 == 0 else bits >> 16
            keys.append(elite[i] if bits & 0xFFFF < bias else other[i])
        return keys

    def cost(keys: list[int]) -> int:
        order = np.array(decode(problem, keys), np.int32)
        return _native.slice_order(problem.instance, order, problem.machine.stages)[0]

    members = [(cost(keys), keys) for keys in [drawn() for _ in range(size)]]
    for _ in range(settings.generations - 1):
        ranked = sorted(range(size), key=lambda i: members[i][0])[:elites]
        elite = [members[i] for i in ranked]
        others = [member for i, member in enumerate(members) if i not in ranked]
        born = []
        for _ in range(size - elites - settings.num_mutants):
            parent = elite[random.below(elites)][1]
            born.append(child(parent, others[random.below(len(others))][1]))
        born += [drawn() for _ in range(settings.num_mutants)]
        members = elite + [(cost(keys), keys) for keys in born]
    return min(cost for cost, _ in members)
