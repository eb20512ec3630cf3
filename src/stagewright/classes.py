# SPDX-License-Identifier: Apache-2.0
"""Which nodes every plan puts into one stage: constraints, and what acyclicity adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .graph import FIRST, LAST, CostGraph

__all__ = ["merge_classes", "reachable", "stage_classes"]


def stage_classes(
    graph: CostGraph, precedence: Sequence[Sequence[int]] | None = None
) -> tuple[list[int], int, int]:
    """Return which nodes every plan puts into one stage.

    Parameters
    ----------
    precedence
        Per node those whose stage is the same or a later one; by default the consumers of its tensors.

    Returns
    -------
    label
        Class number of each node, 0, 1, ... in order of first appearance in topological order.
    first, last
        Class of the nodes pinned to the first and last stage, -1 where there are none.
    """
    n = graph.num_nodes
    if precedence is None and not graph.has_constraints:
        rank = np.empty(n, np.int64)
        rank[graph.topological_order] = np.arange(n)
        return rank.tolist(), -1, -1
    successors = _consumers(graph) if precedence is None else precedence
    predecessors: list[list[int]] = [[] for _ in range(n)]
    for p, users in enumerate(successors):
        for u in users:
            predecessors[u].append(p)
    stage = graph.stage.tolist()
    # Whatever feeds a node of the first stage is in the first stage; likewise behind the last.
    first = reachable(predecessors, [v for v in range(n) if stage[v] == FIRST])
    last = reachable(successors, [v for v in range(n) if stage[v] == LAST])
    together: list[Iterable[int]] = list(graph.uncuttable.tolist())
    groups: dict[int, list[int]] = {}
    for v, group in enumerate(graph.group.tolist()):
        if group >= 0:
            groups.setdefault(group, []).append(v)
    together.extend(groups.values())
    order = graph.topological_order.tolist()
    while True:
        if not set(first).isdisjoint(last):
            # First and last stage are one: there is one stage, with everything in it.
            return [0] * n, 0, 0
        label = merge_classes(successors, [first, last, *together], order)
        # The merge may have drawn in nodes whose own predecessors or successors now follow.
        sizes = len(first), len(last)
        first = reachable(predecessors, _class_of(first, label))
        last = reachable(successors, _class_of(last, label))
        if (len(first), len(last)) == sizes:
            return label, label[first[0]] if first else -1, label[last[0]] if last else -1


def _consumers(graph: CostGraph) -> list[list[int]]:
    """Return the nodes that read the tensors of each node."""
    rows: list[list[int]] = [[] for _ in range(graph.num_nodes)]
    for p, users in zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True):
        rows[p].extend(users)
    return rows


def _class_of(nodes: Sequence[int], label: Sequence[int]) -> list[int]:
    """Return all nodes that share the class of the given ones (which is one class)."""
    return [v for v in range(len(label)) if label[v] == label[nodes[0]]] if nodes else []


def merge_classes(
    successors: Sequence[Sequence[int]], together: Iterable[Iterable[int]], order: Sequence[int]
) -> list[int]:
    """Return the finest classes that unite each set of `together` and have an acyclic quotient.

    Numbered in order of first appearance in `order`.
    """
    n = len(successors)
    parent = list(range(n))

    def find(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    united = False
    for nodes in together:
        iterator = iter(nodes)
        root = next(iterator, None)
        for v in iterator:
            a, b = find(root or 0), find(v)
            if a != b:
                parent[b] = a
                united = True
    if united:
        rows: list[list[int]] = [[] for _ in range(n)]
        for v in range(n):
            rows[find(v)].extend(find(s) for s in successors[v])
        component = _components(rows)
        root_of = [component[find(v)] for v in range(n)]
    else:
        root_of = list(range(n))
    number: dict[int, int] = {}
    label = [0] * n
    for v in order:
        label[v] = number.setdefault(root_of[v], len(number))
    return label


def reachable(rows: Sequence[Sequence[int]], start: Sequence[int]) -> list[int]:
    """Return `start` and everything reachable from it along `rows`."""
    seen = dict.fromkeys(start)
    queue = list(start)
    for v in queue:
        for u in rows[v]:
            if u not in seen:
                seen[u] = None
                queue.append(u)
    return list(seen)


def _components(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the strongly connected component of each node (Tarjan 1972, without recursion)."""
    n = len(rows)
    index = [-1] * n
    low = [0] * n
    component = [-1] * n
    stack: list[int] = []
    counter = found = 0
    for root in range(n):
        if index[root] >= 0:
            continue
        walk = [(root, 0)]
        while walk:
            v, i = walk.pop()
            if i == 0:
                index[v] = low[v] = counter
                counter += 1
                stack.append(v)
            for j in range(i, len(rows[v])):
                u = rows[v][j]
                if index[u] < 0:
                    walk += [(v, j + 1), (u, 0)]
                    break
                if component[u] < 0:
                    low[v] = min(low[v], index[u])
            else:
                if low[v] == index[v]:
                    while component[v] < 0:
                        component[stack.pop()] = found
                    found += 1
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[v])
    return component
