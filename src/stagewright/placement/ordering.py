# SPDX-License-Identifier: Apache-2.0
"""The order in which a stage runs its nodes, and orders of all classes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from .. import _native
from ..problem import Flow
from .task import Task
from .workload import Workload

__all__ = ["drawn_order", "ordered_stage", "topological"]

_STATES: Final = 20_000
"""Sets of nodes that the search for the order of least peak may look at."""


def ordered_stage(workload: Workload, nodes: Iterable[int], *, bounded: bool) -> tuple[int, ...]:
    """Return the nodes of a stage of inference in an order that works; of least peak where memory is `bounded`."""
    graph = workload.graph
    place = np.empty(graph.num_nodes, np.int64)
    place[graph.topological_order] = np.arange(len(place))
    row = tuple(sorted(nodes, key=lambda v: int(place[v])))
    if bounded:
        flow = Flow.of(graph).native
        _, order, _ = _native.order_stage(flow, np.array(row, np.int32), max_states=_STATES)
        row = tuple(order.tolist()) or row
    return row


def topological(task: Task, wanted: Sequence[int]) -> list[int]:
    """Return a topological order as near to `wanted` as taking its first ready class gives."""
    rank = {v: i for i, v in enumerate(wanted)}
    waiting = [0] * task.size
    for row in task.after:
        for w in row:
            waiting[w] += 1
    ready = [rank[v] for v in range(task.size) if not waiting[v]]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(wanted[heapq.heappop(ready)])
        for w in task.after[order[-1]]:
            waiting[w] -= 1
            if not waiting[w]:
                heapq.heappush(ready, rank[w])
    return order


def drawn_order(task: Task, home: Sequence[int], generator: random.Random) -> list[int]:
    """Return a random topological order in which the stages that `home` has for the classes stay together."""
    waiting = [0] * task.size
    for row in task.after:
        for w in row:
            waiting[w] += 1
    # Depth first in a random order of what is ready, stage by stage.
    ready = [(home[v], generator.random(), v) for v in range(task.size) if not waiting[v]]
    order: list[int] = []
    while ready:
        first = min(row[0] for row in ready)
        number = next(i for i in range(len(ready) - 1, -1, -1) if ready[i][0] == first)
        v = ready.pop(number)[2]
        order.append(v)
        new = []
        for w in task.after[v]:
            waiting[w] -= 1
            if not waiting[w]:
                new.append((home[w], generator.random(), w))
        ready += sorted(new)
    return order
