# SPDX-License-Identifier: Apache-2.0
"""What a workload of msr-fiddle/dnn-partitioning says of devices and passes, beside its cost graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..graph import CostGraph
from .dnn_partitioning import flag_of, graph_of_workload
from .json_file import check_object, read_json, rows_of, size_of, time_of, whole
from .notes import tell

__all__ = ["DeviceWorkload", "read_device_workload"]

_UNABLE: Final = -1


@dataclass(frozen=True, eq=False)
class DeviceWorkload:
    """A published workload.

    Attributes
    ----------
    graph
        All nodes, of both passes; work is the accelerator's, or the CPU's where it cannot run.
    backward
        Per node whether it runs in the backward pass.
    along
        Whether tensors between backward nodes run the same way as between their forward parts.
    rows
        ``accelerator`` and ``cpu``: picoseconds per node, -1 where it cannot run.
    accelerators, cpus
        How many devices of either kind the workload is for.
    memory_limit
        Bytes that nodes on one accelerator may need together.
    """

    graph: CostGraph
    backward: tuple[bool, ...]
    along: bool
    rows: Mapping[str, tuple[int, ...]]
    accelerators: int
    cpus: int
    memory_limit: int


def read_device_workload(path: Path, *, backward: bool) -> DeviceWorkload:
    """Read a workload, with its backward pass or without.

    Raises
    ------
    GraphError
        If something in the file cannot be used; the message names the path in it.
    """
    document = read_json(path)
    check_object(document, str(path), ("nodes", "edges", "maxFPGAs", "maxSizePerFPGA"), others=True)
    options = {
        "latency": "accelerator",
        "edges": "cost",
        "backward": "keep" if backward else "drop",
    }
    graph = graph_of_workload(document, path, options)
    rows = rows_of(document, "nodes", path)
    kept = [(i, row) for i, row in rows if backward or not flag_of(row, "isBackwardNode", i)]
    runs_back = tuple(flag_of(row, "isBackwardNode", i) for i, row in kept)
    along = _runs_along(graph, runs_back)
    if along:
        tell(path, "its backward tensors run the same way as its forward ones, and are taken so")
    able = [flag_of(row, "supportedOnFpga", i, default=True) for i, row in kept]
    times = {
        name: [time_of(row[key], f"{i}.{key}", "ms") for i, row in kept]
        for name, key in (("accelerator", "fpgaLatency"), ("cpu", "cpuLatency"))
    }
    fast = zip(times["accelerator"], able, strict=True)
    return DeviceWorkload(
        graph,
        runs_back,
        along,
        {
            "accelerator": tuple(time if runs else _UNABLE for time, runs in fast),
            "cpu": tuple(times["cpu"]),
        },
        whole(document["maxFPGAs"], f"{path}: maxFPGAs"),
        whole(document.get("maxCPUs", 0), f"{path}: maxCPUs"),
        size_of(document["maxSizePerFPGA"], f"{path}: maxSizePerFPGA"),
    )


def _runs_along(graph: CostGraph, backward: tuple[bool, ...]) -> bool:
    """Whether a tensor between backward nodes goes from the group of a producer to that of its consumer."""
    group = graph.group.tolist()
    forward: set[tuple[int, int]] = set()
    reverse: set[tuple[int, int]] = set()
    rows = graph.tensor_consumers.rows()
    for producer, users in zip(graph.tensor_producer.tolist(), rows, strict=True):
        for user in users:
            if backward[producer] == backward[user] and group[producer] != group[user]:
                ends = group[producer], group[user]
                (reverse if backward[producer] else forward).add(ends)
    same = len(forward & reverse)
    return same > len({(b, a) for a, b in forward} & reverse)
