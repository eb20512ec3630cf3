# SPDX-License-Identifier: Apache-2.0
"""Topological orders, and cycles by name."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from .errors import GraphError

__all__ = ["topological_order"]


def topological_order(
    names: Sequence[str], producers: Sequence[int], consumers: Sequence[Sequence[int]]
) -> list[int]:
    """Return the Kahn order that always takes the smallest index; name a cycle if there is one."""
    n = len(names)
    successors: list[list[int]] = [[] for _ in range(n)]
    indegree = [0] * n
    for producer, users in zip(producers, consumers, strict=True):
        successors[producer].extend(users)
        for user in users:
            indegree[user] += 1
    ready = [v for v in range(n) if indegree[v] == 0]
    order: list[int] = []
    while ready:
        node = heapq.heappop(ready)
        order.append(node)
        for user in successors[node]:
            indegree[user] -= 1
            if indegree[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < n:
        cycle = _some_cycle(successors, indegree)
        text = " -> ".join(f"'{names[v]}'" for v in cycle[:8])
        raise GraphError("graph", "no cycle", f"a cycle: {text}{' ...' if len(cycle) > 8 else ''}")
    return order


def _some_cycle(successors: Sequence[Sequence[int]], indegree: Sequence[int]) -> list[int]:
    """Return the nodes of one cycle; nodes with indegree > 0 lie on or behind one."""
    # Every such node has a predecessor of the same kind, so walking backwards must repeat.
    behind: dict[int, int] = {}
    for v, users in enumerate(successors):
        if indegree[v] > 0:
            for user in users:
                if indegree[user] > 0:
                    behind[user] = v
    node = next(iter(behind))
    seen: dict[int, int] = {}
    path: list[int] = []
    while node not in seen:
        seen[node] = len(path)
        path.append(node)
        node = behind[node]
    return [*path[seen[node] :][::-1], path[seen[node] :][::-1][0]]
