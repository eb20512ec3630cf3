# SPDX-License-Identifier: Apache-2.0
"""Workloads from files: what runs backward, and the work of nodes on kinds of devices by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..graph import CostGraph
from ..readers import FORMATS, file_kind
from ..readers.json_file import check_object, describe, read_json, time_of
from ..units import TIME_UNITS
from .devices import UNABLE, Fleet, Kind, Link
from .workload import Workload

__all__ = ["published_fleet", "read_published", "read_work", "read_workload"]


def read_workload(
    path: str | Path,
    mode: Literal["inference", "training"] = "inference",
    read: Callable[[Path], CostGraph] | None = None,
) -> Workload:
    """Read a model and what its file says of devices.

    Parameters
    ----------
    mode
        Whether the backward pass is read as well; only workloads of dnn-partitioning hold one.
    read
        Reads the files that hold nothing but a cost graph.

    Raises
    ------
    InputError, GraphError
        If the file cannot be used, or has no backward pass to train with.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "dnn_partitioning":
        return read_published(path, mode)[0]
    if mode == "training":
        raise InputError(
            f"{path}: mode",
            "a workload of dnn-partitioning, which holds the backward pass",
            FORMATS[kind].title,
            "training_workload() adds one to other graphs.",
        )
    from ..readers import load

    return Workload((read or load)(path))


def published_fleet(path: str | Path, mode: Literal["inference", "training"]) -> Fleet:
    """Return the devices that a workload of dnn-partitioning is for: its CPUs transfer for free."""
    return read_published(path, mode)[1]


def read_published(
    path: str | Path, mode: Literal["inference", "training"]
) -> tuple[Workload, Fleet]:
    """Read a workload of dnn-partitioning, and the devices that it is for.

    Raises
    ------
    InputError, GraphError
        If the file cannot be used, or has no backward pass to train with.
    """
    from ..readers.dnn_devices import read_device_workload

    found = read_device_workload(Path(path), backward=mode == "training")
    if mode == "training" and not any(found.backward):
        raise InputError(f"{path}: mode", "inference: it has no backward nodes", "training")
    accelerator = Kind(
        "accelerator",
        found.accelerators,
        work=found.rows["accelerator"],
        memory_limit=found.memory_limit,
    )
    # A host's CPU transfers for free: the accelerators fetch and deliver.
    cpus = (Kind("cpu", found.cpus, Link(free=True), found.rows["cpu"]),) if found.cpus else ()
    workload = Workload(found.graph, found.backward, found.along, found.rows)
    return workload, Fleet((accelerator, *cpus))


def read_work(path: str | Path, graph: CostGraph) -> dict[str, tuple[int, ...]]:
    """Read a file of work beside a graph: a time per kind and node, null where it cannot run.

    ::

        {
            "format": "stagewright-work/1",
            "time_unit": "ms",
            "work": {"cpu": {"conv1": 12.5, "topk": null}},
        }

    Every node of the graph is named in every row.

    Raises
    ------
    GraphError
        If something in the file cannot be used; the message names the path in it.
    """
    path = Path(path)
    document: Any = read_json(path)
    check_object(document, str(path), ("format", "time_unit", "work"))
    if document["format"] != "stagewright-work/1":
        raise InputError(f"{path}: format", "'stagewright-work/1'", describe(document["format"]))
    unit = document["time_unit"]
    if unit not in TIME_UNITS:
        raise InputError(f"{path}: time_unit", f"one of {', '.join(TIME_UNITS)}", describe(unit))
    check_object(document["work"], f"{path}: work", (), others=True)
    rows = {}
    for name, row in document["work"].items():
        item = f"{path}: work.{name}"
        check_object(row, item, (), others=True)
        for node in row:
            if node not in graph.index_of:
                raise InputError(item, "nodes of the graph", repr(node))
        for node in graph.node_names:
            if node not in row:
                raise InputError(item, f"a time for node '{node}'", "none")
        rows[name] = tuple(
            UNABLE if row[node] is None else time_of(row[node], f"{item}.{node}", unit)
            for node in graph.node_names
        )
    return rows
