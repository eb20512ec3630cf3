# SPDX-License-Identifier: Apache-2.0
"""Equal devices that are each as good as the best kind there is, and so bound plans for those that there are.

**Inference, everything one after another**: the graph with the least work of each node and the lowest price of each tensor.
No stage costs more there than on its own device.

**Training.**  Classes stand for nodes then, with their precedence along the pipeline.  A tensor costs a block that cuts it
the same, whichever of the classes in it makes it, so one of them may stand for its producer from which others follow
along the pipeline; those that do not are left out of it.  That raises the cost of no block, and what is
left demands no more precedence than there is.

**Overlap.**  A stage takes T where none of what it computes, receives and sends takes more.  So a times its work and b
times its transfers are no more than (a + 2 b) T: with a = 1 and b = 0, and with a = 2 and b = 1, the period of such a graph,
divided by a + 2 b, is a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import CostGraph, GraphBuilder
from .devices import UNABLE, Fleet
from .task import Task
from .workload import Workload

__all__ = ["Relaxation", "equal_classes", "equal_devices", "relaxations"]


@dataclass(frozen=True)
class Relaxation:
    """A graph for equal devices, the node of it that each node is in, and how often its period holds the real one."""

    graph: CostGraph
    home: tuple[int, ...]
    times: int


def relaxations(workload: Workload, task: Task) -> Iterator[Relaxation]:
    """Yield what is to be solved for as many equal devices; `task` has the classes of the workload."""
    if not task.training and not task.fleet.overlap:
        everything = tuple(range(workload.graph.num_nodes))
        yield Relaxation(equal_devices(workload, task.fleet), everything, 1)
        return
    home = [0] * workload.graph.num_nodes
    for c, nodes in enumerate(task.members):
        for v in nodes:
            home[v] = c
    for work, transfers in ((1, 0), (2, 1)) if task.fleet.overlap else ((1, 1),):
        times = work + 2 * transfers if task.fleet.overlap else 1
        yield Relaxation(equal_classes(task, work, transfers), tuple(home), times)


def equal_classes(task: Task, work: int, transfers: int) -> CostGraph:
    """Return the classes of a task as nodes, work and prices at their least and so many times."""
    builder = GraphBuilder("equal devices")
    for c, time in enumerate(task.least_work()):
        builder.add_node(f"class {c}", work=work * time)
    follow = [0] * task.size  # classes that come at the same place or later, as bits
    for v in range(task.size - 1, -1, -1):
        follow[v] = 1 << v
        for w in task.after[v]:
            follow[v] |= follow[w]
    for v, row in enumerate(task.after):
        if row:
            builder.add_tensor(v, row, time=0)
    for t, (producer, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
        price = min(min(row[t] for row in rows) for rows in (task.receive, task.send))
        pins = sum(1 << v for v in {producer, *users})
        first = max((producer, *users), key=lambda v: (follow[v] & pins).bit_count())
        behind = [v for v in users if v != first and follow[first] >> v & 1]
        if producer != first and follow[first] >> producer & 1:
            behind.append(producer)
        if behind and price and transfers:
            builder.add_tensor(first, sorted(behind), time=transfers * price)
    return builder.build()


def equal_devices(workload: Workload, fleet: Fleet) -> CostGraph:
    """Return the graph with the least work of each node on any kind, and each tensor's lowest price as its time.

    No stage costs more there than on its own device.
    """
    graph = workload.graph
    links = [link for seat in fleet.seats for link in (seat.receive, seat.send)]
    works = [workload.work_on(fleet, q) for q in range(len(fleet.kinds))]
    able = [[w for w in column if w != UNABLE] for column in zip(*works, strict=True)]
    sizes = zip(graph.tensor_bytes.tolist(), graph.tensor_time.tolist(), strict=True)
    prices = [min(link.price(*size) for link in links) for size in sizes]
    return graph.replace(
        work=[min(row) for row in able],
        tensor_bytes=np.full(len(prices), -1, np.int64),
        tensor_time=np.array(prices, np.int64),
    )
