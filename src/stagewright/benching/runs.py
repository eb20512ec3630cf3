# SPDX-License-Identifier: Apache-2.0
"""One run of a grid: the instance is read, solved by the method, and measured."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StagewrightError
from ..graph import CostGraph
from ..machine import Machine
from .grid import Instance, Job
from .methods import solved

if TYPE_CHECKING:
    from ..cost.catalogue import Device

__all__ = ["answer_of", "load"]

Answer = dict[str, Any]


def answer_of(job: Job) -> Answer:
    """Return the columns of a run's result, without its key.

    A method that gives no answer leaves `upper` and `lower` empty and says why in `error`.
    """
    found: Answer = dict.fromkeys(
        ("graph_sha256", "nodes", "edges", "upper", "lower", "evidence", "stopped", "error")
    )
    _forget_peak()
    start = time.perf_counter()
    try:
        graph, machine = load(job.instance, job.stages)
        found |= {"graph_sha256": graph.sha256, "nodes": graph.num_nodes, "edges": graph.num_edges}
        start = time.perf_counter()
        if graph.num_nodes < job.stages:
            found["stopped"] = f"skipped: {graph.num_nodes} nodes for {job.stages} stages"
        else:
            found |= solved(graph, machine, job, _planned_on(job))
    except StagewrightError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    found["seconds"] = time.perf_counter() - start
    found["peak_mib"] = _peak_mib()
    return found


def _planned_on(job: Job) -> tuple[CostGraph, Machine] | None:
    if job.planned_on is None:
        return None
    return load(replace(job.instance, options=job.planned_on[1]), job.stages)


def load(instance: Instance, stages: int) -> tuple[CostGraph, Machine]:
    """Return the graph with its work, and the machine.

    Raises
    ------
    StagewrightError
        If the source or an option of the machine cannot be used.
    """
    from ..api import machine_for

    options = dict(instance.options)
    options.pop("fuse", None)
    charged = options.pop("count_graph_io", False)
    faster = options.pop("scale_link", 1.0)
    for name in ("scale_compute", "scale_memory_rate"):
        options.pop(name, None)
    graph = _graph(replace(instance, stages=(), published=()))
    machine = machine_for(stages, **options)
    if faster != 1 and machine.bandwidth is not None:
        machine = replace(machine, bandwidth=max(1, round(machine.bandwidth * faster)))
    if charged:
        from ..graph_io import count_graph_io

        graph = count_graph_io(graph, machine)
    return graph, machine


@lru_cache(maxsize=2)
def _graph(instance: Instance) -> CostGraph:
    from ..reading import read
    from .families import FAMILIES
    from .packs import graph_of_line, lines_of_pack
    from .random_dags import random_dag

    options = dict(instance.options)
    fuse = options.get("fuse")
    if instance.kind == "random":
        return random_dag(*instance.source)
    if instance.kind == "family":
        family, nodes, seed = instance.source
        return FAMILIES[family](nodes, seed)
    path, constrained = instance.source
    if instance.kind == "file":
        graph = read(path)
    else:
        graph = graph_of_line(lines_of_pack(Path(path))[instance.name], path)
    if not constrained:
        graph = graph.without_constraints()
    device = _device(options)
    if device is None or graph.work.any():
        return graph
    from ..shaping.shape import estimate

    return estimate(graph, device, fuse=fuse)


def _device(options: dict[str, Any]) -> Device | None:
    """Return the device of a machine, its rates multiplied as the grid says."""
    if "device" not in options:
        return None
    from ..cost.catalogue import load_catalogue

    found = load_catalogue().device(options["device"])
    compute, moved = (options.get(f"scale_{name}", 1.0) for name in ("compute", "memory_rate"))
    return replace(
        found,
        peak={name: round(rate * compute) for name, rate in found.peak.items()},
        memory_bandwidth=round(found.memory_bandwidth * moved),
        caches=tuple((size, round(rate * moved)) for size, rate in found.caches),
    )


def _forget_peak() -> None:
    """Start counting the process's peak memory anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mib() -> float | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        return None
    return None
