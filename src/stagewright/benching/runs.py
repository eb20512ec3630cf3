# SPDX-License-Identifier: Apache-2.0
"""One run of a grid: the instance is read, solved by the method, and measured."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import StagewrightError
from ..graph import CostGraph
from ..ladder import BOUND_METHODS
from ..machine import Machine
from .grid import Instance, Job

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
        found |= _solved(graph, machine, job)
    except StagewrightError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    found["seconds"] = time.perf_counter() - start
    found["peak_mib"] = _peak_mib()
    return found


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
    graph = _graph(instance)
    machine = machine_for(stages, **options)
    if charged:
        from ..graph_io import count_graph_io

        graph = count_graph_io(graph, machine)
    return graph, machine


@lru_cache(maxsize=2)
def _graph(instance: Instance) -> CostGraph:
    from ..reading import read
    from .packs import graph_of_line, lines_of_pack
    from .random_dags import random_dag

    options = dict(instance.options)
    device, fuse = options.get("device"), options.get("fuse")
    if instance.kind == "random":
        return random_dag(*instance.source)
    (path,) = instance.source
    if instance.kind == "file":
        return read(path, device=device, fuse=fuse)
    graph = graph_of_line(lines_of_pack(Path(path))[instance.name], path)
    if device is None or graph.work.any():
        return graph
    from ..cost.catalogue import load_catalogue
    from ..shaping.shape import estimate

    return estimate(graph, load_catalogue().device(device), fuse=fuse)


def _solved(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    from ..ladder import bound, require_work
    from ..portfolio import Settings
    from ..solve import solve

    require_work(graph)
    if job.method == "plan":
        settings = Settings(time_limit=job.time_limit, seed=job.seed, threads=job.threads)
        solution = solve(graph, machine, settings)
        best = max(solution.bounds, key=lambda b: b.value)
        return {
            "upper": solution.bottleneck,
            "lower": best.value,
            "evidence": best.evidence,
            "stopped": solution.stopped_because,
        }
    if job.method in BOUND_METHODS:
        found = bound(graph, machine, job.method, time_limit=job.time_limit, seed=job.seed)
        return {"lower": found.value, "evidence": found.evidence}
    return {"upper": _searched(graph, machine, job)}


def _searched(graph: CostGraph, machine: Machine, job: Job) -> int:
    """Return the true bottleneck that a search of the paper reaches on the graph as it is."""
    from dataclasses import replace

    from ..exact.pricing import Pricing
    from ..problem import compile_problem
    from ..search.genetic import PRESETS, search_genetic

    problem = compile_problem(graph, machine)
    least = max(-(-problem.total_work // machine.stages), *problem.work)
    settings = replace(PRESETS[job.method], seed=job.seed)
    found = search_genetic(problem, settings, least, seconds=job.time_limit)
    return Pricing(graph, machine, problem).true_cost(found).bottleneck


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
