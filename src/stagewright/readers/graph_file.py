# SPDX-License-Identifier: Apache-2.0
"""The door of graph files: ``stagewright-graph/1``, plain JSON or gzip (docs/formats.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..errors import GraphError
from ..graph import FIRST, FREE, LAST, CostGraph, GraphBuilder
from ..units import TIME_UNITS
from .graph_writer import FORMAT, write_graph_file
from .json_file import (
    check_object,
    describe,
    flag_of,
    indices_of,
    name_of,
    read_json,
    rows_of,
    time_of,
    whole,
)
from .text_file import Place

__all__ = ["FORMAT", "graph_of_document", "read_graph_file", "write_graph_file"]

_STAGES: Final = {"first": FIRST, "last": LAST}
_NODE_KEYS: Final = ("op", "flops", "bytes", "group", "stage", "replicable")


def read_graph_file(path: str | Path) -> CostGraph:
    """Read a graph file.

    Decimals are read exactly; times that are not whole picoseconds are rounded up.

    Raises
    ------
    InputError
        If the file cannot be read; every message names the file and the path inside it, such as
        ``model.json: nodes[3].work``.  Faults of the graph itself are :class:`GraphError`.
    """
    return graph_of_document(read_json(Path(path)), Path(path))


def graph_of_document(document: Any, path: Path) -> CostGraph:
    """Return the graph that the parsed content of the file at `path` describes."""
    check_object(
        document,
        str(path),
        ("format", "name", "time_unit", "nodes", "tensors"),
        ("params", "uncuttable"),
    )
    found = document["format"]
    if found != FORMAT:
        raise GraphError(f"{path}: format", f"'{FORMAT}'", repr(found))
    unit = name_of(document["time_unit"], f"{path}: time_unit")
    if unit not in TIME_UNITS:
        raise GraphError(f"{path}: time_unit", f"one of {', '.join(TIME_UNITS)}", repr(unit))
    builder = GraphBuilder(name_of(document["name"], f"{path}: name"))
    for item, node in rows_of(document, "nodes", path):
        _add_node(builder, node, item, unit)
    for item, tensor in rows_of(document, "tensors", path):
        _add_tensor(builder, tensor, item, unit)
    for item, param in rows_of(document, "params", path):
        _add_param(builder, param, item)
    for item, pair in rows_of(document, "uncuttable", path):
        _add_pair(builder, pair, item)
    with Place(str(path)):
        return builder.build()


def _add_node(builder: GraphBuilder, node: Any, item: str, unit: str) -> None:
    check_object(node, item, ("name", "work"), _NODE_KEYS)
    stage = FREE
    if "stage" in node:
        stage = _STAGES.get(name_of(node["stage"], f"{item}.stage"), FREE)
        if stage == FREE:
            raise GraphError(f"{item}.stage", "'first' or 'last'", describe(node["stage"]))
    group = name_of(node["group"], f"{item}.group") if "group" in node else None
    with Place(item):
        builder.add_node(
            name_of(node["name"], f"{item}.name"),
            op=name_of(node.get("op", ""), f"{item}.op"),
            work=time_of(node["work"], f"{item}.work", unit),
            flops=whole(node.get("flops", 0), f"{item}.flops"),
            nbytes=whole(node.get("bytes", 0), f"{item}.bytes"),
            group=group,
            stage=stage,
            replicable=flag_of(node.get("replicable", False), f"{item}.replicable"),
        )


def _add_tensor(builder: GraphBuilder, tensor: Any, item: str, unit: str) -> None:
    check_object(tensor, item, ("producer", "consumers"), ("bytes", "cost"))
    with Place(item):
        builder.add_tensor(
            whole(tensor["producer"], f"{item}.producer"),
            indices_of(tensor["consumers"], f"{item}.consumers"),
            nbytes=whole(tensor["bytes"], f"{item}.bytes") if "bytes" in tensor else None,
            time=time_of(tensor["cost"], f"{item}.cost", unit) if "cost" in tensor else None,
        )


def _add_param(builder: GraphBuilder, param: Any, item: str) -> None:
    check_object(param, item, ("bytes", "users"))
    with Place(item):
        builder.add_param(
            whole(param["bytes"], f"{item}.bytes"), indices_of(param["users"], f"{item}.users")
        )


def _add_pair(builder: GraphBuilder, pair: Any, item: str) -> None:
    nodes = indices_of(pair, item)
    if len(nodes) != 2:
        raise GraphError(item, "two node indices", f"{len(nodes)}")
    with Place(item):
        builder.never_cut(*nodes)
