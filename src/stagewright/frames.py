# SPDX-License-Identifier: Apache-2.0
"""Stages, nodes, cuts and sweeps as data frames of pandas or polars, whichever is asked for.

Times are in seconds and sizes in bytes, as in the files; a value that is not known is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .errors import InputError, MissingDependencyError
from .graph import CostGraph
from .plans import Plan, tensor_costs
from .units import PS_PER_SECOND

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["LIBRARIES", "cuts_frame", "nodes_frame", "stages_frame", "sweep_frame"]

LIBRARIES: Final = ("pandas", "polars")

_STAGE_TIMES: Final = ("work", "io_in", "io_out", "overflow", "total")
_STAGE_SIZES: Final = ("param_bytes", "peak_bytes")


def stages_frame(document: Mapping[str, Any], library: str = "pandas") -> Any:
    """Return one row per stage of a plan file's content.

    Columns: ``stage``, ``nodes`` (how many), ``first``, ``last`` (their names), ``work``, ``io_in``, ``io_out``,
    ``overflow``, ``total`` (seconds), ``param_bytes``, ``peak_bytes``; for devices of several kinds ``device``, and where
    devices are shared its ``number``.
    """
    stages = document["stages"]
    columns: dict[str, list[Any]] = {
        "stage": list(range(len(stages))),
        "nodes": [len(stage["nodes"]) for stage in stages],
        "first": [stage["nodes"][0] for stage in stages],
        "last": [stage["nodes"][-1] for stage in stages],
    }
    columns |= {name: [float(stage[name]) for stage in stages] for name in _STAGE_TIMES}
    columns |= {name: [int(stage[name]) for stage in stages] for name in _STAGE_SIZES}
    for name in ("device", "number"):
        if all(name in stage for stage in stages):
            columns[name] = [stage[name] for stage in stages]
    return _frame(columns, library)


def nodes_frame(graph: CostGraph, plan: Plan, library: str = "pandas") -> Any:
    """Return one row per node, in the order in which the pipeline runs them.

    Columns: ``node`` (its name), ``op``, ``stage``, ``position`` (in the stage), ``work`` (seconds), ``source`` (where the
    work comes from), ``flops``, ``bytes`` (moved), ``out_bytes`` (of its tensors), ``group``.
    """
    rows = [(v, s, i) for s, nodes in enumerate(plan.stages) for i, v in enumerate(nodes)]
    out = [0] * graph.num_nodes
    for producer, nbytes in zip(
        graph.tensor_producer.tolist(), graph.tensor_bytes.tolist(), strict=True
    ):
        out[producer] += max(0, nbytes)
    work, flops, nbytes = graph.work.tolist(), graph.flops.tolist(), graph.nbytes.tolist()
    group = graph.group.tolist()
    columns: dict[str, list[Any]] = {
        "node": [graph.node_names[v] for v, _, _ in rows],
        "op": [graph.node_ops[v] for v, _, _ in rows],
        "stage": [s for _, s, _ in rows],
        "position": [i for _, _, i in rows],
        "work": [work[v] / PS_PER_SECOND for v, _, _ in rows],
        "source": [graph.node_sources[v] if graph.node_sources else "" for v, _, _ in rows],
        "flops": [flops[v] for v, _, _ in rows],
        "bytes": [nbytes[v] for v, _, _ in rows],
        "out_bytes": [out[v] for v, _, _ in rows],
        "group": [graph.group_names[group[v]] if group[v] >= 0 else None for v, _, _ in rows],
    }
    return _frame(columns, library)


def cuts_frame(graph: CostGraph, machine: Machine, plan: Plan, library: str = "pandas") -> Any:
    """Return one row per tensor and stage that receives it, in the order of the sending stages.

    Columns: ``tensor`` (its number in the graph), ``producer`` (the name of its node), ``from_stage``, ``to_stage``,
    ``consumers`` (in that stage), ``bytes`` (missing where the graph gives a time), ``time`` (seconds that each end pays; the
    sending stage pays once, however many receive).
    """
    stage_of = plan.assignment(graph.num_nodes)
    costs, nbytes = tensor_costs(graph, machine), graph.tensor_bytes.tolist()
    rows: list[tuple[int, int, int, int, int]] = []  # from, to, tensor, producer, consumers
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        home = stage_of[producer]
        there = [stage_of[v] for v in graph.tensor_consumers[tensor]]
        rows += [(home, s, tensor, producer, there.count(s)) for s in sorted(set(there) - {home})]
    rows.sort()
    columns: dict[str, list[Any]] = {
        "tensor": [tensor for _, _, tensor, _, _ in rows],
        "producer": [graph.node_names[producer] for _, _, _, producer, _ in rows],
        "from_stage": [home for home, *_ in rows],
        "to_stage": [to for _, to, *_ in rows],
        "consumers": [count for *_, count in rows],
        "bytes": [nbytes[t] if nbytes[t] >= 0 else None for _, _, t, _, _ in rows],
        "time": [costs[t] / PS_PER_SECOND for _, _, t, _, _ in rows],
    }
    return _frame(columns, library)


def sweep_frame(document: Mapping[str, Any], library: str = "pandas") -> Any:
    """Return one row per point of what ``stagewright sweep --json`` prints."""
    names = [name for name in document["points"][0] if name != "why"] if document["points"] else []
    plain = {name: [_plain(point[name]) for point in document["points"]] for name in names}
    return _frame(plain, library)


def _plain(value: Any) -> Any:
    """Return exact decimals as floats, which frames compute with."""
    return value if value is None or isinstance(value, (int, str)) else float(value)


def _frame(columns: Mapping[str, Sequence[Any]], library: str) -> Any:
    if library not in LIBRARIES:
        raise InputError("library", " or ".join(LIBRARIES), repr(library))
    try:
        module = import_module(library)
    except ImportError:
        raise MissingDependencyError(library, "frames", "A data frame") from None
    return module.DataFrame(dict(columns))
