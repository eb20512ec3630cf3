# SPDX-License-Identifier: Apache-2.0
"""From a graph of operators to the graph that is planned: work of kernels, units, constraints.

Everything is said in terms of the operators: they keep their names, and gain groups and pins.  So
plan files, stage files and the checker need not know that a graph was shaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..cost.catalogue import Device
from ..cost.roofline import apply_roofline
from ..errors import InputError
from ..graph import CostGraph
from ..graph_io import count_graph_io
from ..machine import Machine
from ..units import format_time
from .constraints import Constraints, ConstraintsLike, apply_constraints
from .fused_work import apply_fused_roofline
from .granularity import LEVELS, Granularity, units_of
from .groups import NamedSet, bind, count_of, joined_by

__all__ = ["as_planned", "as_run", "estimate", "require_level", "shape"]


def estimate(graph: CostGraph, device: Device, *, fuse: bool | None = None) -> CostGraph:
    """Return the graph with work estimated for a device, and a note on what was fused.

    `fuse` is on by default (None) and adds no note then if there is nothing to fuse.
    """
    if fuse is False:
        return apply_roofline(graph, device)
    fused = apply_fused_roofline(graph, device)
    if not fused.kernels:
        nothing = ("fusion: nothing to fuse",) if fuse else ()
        return fused.graph.replace(notes=(*graph.notes, *nothing))
    parts = sum(map(len, fused.kernels))
    launched = graph.num_nodes - parts + len(fused.kernels)
    before, after = format_time(fused.unfused_work), format_time(fused.graph.total_work)
    note = (
        f"fusion: {graph.num_nodes} nodes run as {launched} kernels ({parts} of them in "
        f"{len(fused.kernels)} fused ones); work {after}, unfused {before}"
    )
    return fused.graph.replace(notes=(*graph.notes, note))


def as_run(graph: CostGraph, kernels: Sequence[Sequence[str]]) -> CostGraph:
    """Return the graph with a group for the nodes of each kernel that a runtime fused, by names.

    The measured work stays as it is: it is that of the fused kernels.
    """
    index = graph.index_of
    found = [[index[name] for name in nodes if name in index] for nodes in kernels]
    sets = [(f"kernel {graph.node_names[nodes[0]]}", nodes) for nodes in found if len(nodes) > 1]
    if not sets:
        return graph
    parts = sum(len(nodes) for _, nodes in sets)
    note = (
        f"fusion: the measured runtime ran {parts} of {graph.num_nodes} nodes in "
        f"{count_of(len(sets), 'fused kernel')}; these are not cut"
    )
    return bind(graph, sets).replace(notes=(*graph.notes, note))


def require_level(level: str) -> Granularity:
    """Return `level` if it is one.

    Raises
    ------
    InputError
        If it is not.
    """
    for known in LEVELS:
        if level == known:
            return known
    raise InputError("granularity", f"one of {', '.join(LEVELS)}", repr(level))


def shape(graph: CostGraph, granularity: str, constraints: ConstraintsLike) -> CostGraph:
    """Return the graph with units of the granularity and the constraints, and notes on both.

    Raises
    ------
    InputError
        If names give no units, or a constraint cannot be met; see the functions called.
    """
    level, notes = require_level(granularity), list(graph.notes)
    units = units_of(graph, level)
    shaped = bind(graph, units)
    if units:
        notes.append(_unit_note(shaped, level, units))
    shaped, lines = apply_constraints(shaped, Constraints.of(constraints))
    return shaped.replace(notes=(*notes, *lines)) if units or lines else graph


def as_planned(graph: CostGraph, document: Any) -> CostGraph:
    """Return the graph with the granularity, constraints and charges that a plan document says it has."""
    source = document.get("source") if isinstance(document, Mapping) else None
    if not isinstance(source, Mapping) or document.get("graph_sha256") == graph.sha256:
        return graph
    if source.get("count_graph_io") and graph.io and isinstance(document.get("machine"), Mapping):
        graph = count_graph_io(graph, Machine.from_json(document["machine"]))
    return shape(graph, source.get("granularity", "op"), source.get("constraints"))


def _unit_note(graph: CostGraph, level: Granularity, units: list[NamedSet]) -> str:
    inside = sum(len(nodes) for _, nodes in units)
    alone = graph.num_nodes - inside
    joined = str(joined_by(graph, units))
    return (
        f"granularity {level}: {inside} nodes in {count_of(len(units), 'unit')}, {alone} on their own"
        + (f"; {joined}" if joined else "")
    )
