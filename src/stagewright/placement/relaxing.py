# SPDX-License-Identifier: Apache-2.0
"""Equal devices that are each as good as the best kind there is."""

from __future__ import annotations

import numpy as np

from ..graph import CostGraph
from .devices import UNABLE, Fleet
from .workload import Workload

__all__ = ["equal_devices"]


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
