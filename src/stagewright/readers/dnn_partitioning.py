# SPDX-License-Identifier: Apache-2.0
"""The door of the workloads of msr-fiddle/dnn-partitioning (NeurIPS 2020): JSON.

Per node: ``cpuLatency`` and ``fpgaLatency`` (ms), ``size`` (bytes that the device must hold), ``colorClass``
(nodes of a class share a device), ``isBackwardNode``.  Per edge: ``cost`` (ms, paid once by the sender and
once by each device that receives) and ``size`` (bytes).  Training files hold the backward pass as well, which is
left out unless it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import GraphError
from ..graph import CostGraph, GraphBuilder
from .json_file import (
    JsonObject,
    check_object,
    describe,
    name_of,
    rows_of,
    size_of,
    time_of,
    whole,
)
from .notes import tell
from .text_file import Place

__all__ = ["flag_of", "graph_of_workload"]


def graph_of_workload(document: Any, path: Path, options: Mapping[str, str]) -> CostGraph:
    """Return the graph that the parsed content of the file at `path` describes.

    Parameters
    ----------
    options
        ``latency``: work is the ``accelerator``'s latency (default) or the ``cpu``'s; nodes that the
        accelerator cannot run always take the latter.  ``edges``: tensors are priced by ``cost`` (default)
        or have the size of the edges in ``bytes``.

    Raises
    ------
    GraphError
        If something in the file cannot be used; the message names the path in it.
    """
    check_object(document, str(path), ("nodes", "edges"), others=True)
    rows = [(item, _node(row, item)) for item, row in rows_of(document, "nodes", path)]
    kept = [
        (item, row)
        for item, row in rows
        if options["backward"] == "keep" or not flag_of(row, "isBackwardNode", item)
    ]
    index = _ids(rows, kept)
    builder = GraphBuilder(path.name.partition(".")[0])
    fallen = _add_nodes(builder, kept, cpu=options["latency"] == "cpu")
    merged: dict[tuple[int, int], list[int]] = {}
    for item, row in rows_of(document, "edges", path):
        check_object(
            row,
            item,
            ("sourceId", "destId", options["edges"].replace("bytes", "size")),
            others=True,
        )
        source, target = (index[_end(row, key, item, index)] for key in ("sourceId", "destId"))
        if options["edges"] == "cost":
            price = time_of(row["cost"], f"{item}.cost", "ms")
        else:
            price = size_of(row["size"], f"{item}.size")
        if source is None or target is None:
            continue
        users = merged.setdefault((source, price), [])
        if target not in users:
            users.append(target)
    key = "time" if options["edges"] == "cost" else "nbytes"
    with Place(str(path)):
        for (source, price), users in sorted(merged.items()):
            builder.add_tensor(source, users, **{key: price})
        graph = builder.build()
    said = []
    if len(kept) < len(rows):
        said.append(f"training graph: its {len(rows) - len(kept)} backward nodes are left out")
    if fallen:
        said.append(f"nodes that only a CPU can run, with its latency: {fallen}")
    if said:
        tell(path, "; ".join(said))
    return graph


def _node(row: Any, item: str) -> JsonObject:
    check_object(row, item, ("id", "fpgaLatency", "cpuLatency"), others=True)
    return JsonObject(row)


def _ids(
    rows: list[tuple[str, JsonObject]], forward: list[tuple[str, JsonObject]]
) -> dict[int, int | None]:
    """Return the index of each node by its id; None for those that are left out."""
    index: dict[int, int | None] = {}
    for item, row in rows:
        number = whole(row["id"], f"{item}.id")
        if number in index:
            raise GraphError(f"{item}.id", "a unique id", f"{number} a second time")
        index[number] = None
    index |= {whole(row["id"], item): i for i, (item, row) in enumerate(forward)}
    return index


def _add_nodes(builder: GraphBuilder, rows: list[tuple[str, JsonObject]], *, cpu: bool) -> int:
    """Add the nodes; return how many of them the accelerator cannot run, but was to."""
    names = [name_of(row.get("name", str(row["id"])), f"{item}.name") for item, row in rows]
    unique = len(set(names)) == len(names)
    classes = [
        whole(row["colorClass"], f"{item}.colorClass")
        if row.get("colorClass") is not None
        else None
        for item, row in rows
    ]
    members = Counter(classes)
    fallen = 0
    for (item, row), name, color in zip(rows, names, classes, strict=True):
        able = flag_of(row, "supportedOnFpga", item, default=True)
        fallen += not able and not cpu
        key = "fpgaLatency" if able and not cpu else "cpuLatency"
        size = size_of(row.get("size", 0), f"{item}.size")
        with Place(item):
            node = builder.add_node(
                name if unique and name else f"{row['id']}:{name}",
                work=time_of(row[key], f"{item}.{key}", "ms"),
                group=str(color) if color is not None and members[color] > 1 else None,
            )
            if size:
                builder.add_param(size, [node])
    return fallen


def flag_of(row: JsonObject, key: str, item: str, *, default: bool = False) -> bool:
    """Return a truth value, which the published files write as true or false or as 1 or 0."""
    value = row.get(key, default)
    if value not in (0, 1):
        raise GraphError(f"{item}.{key}", "true, false, 1 or 0", describe(value))
    return bool(value)


def _end(row: JsonObject, key: str, item: str, index: Mapping[int, Any]) -> int:
    number = whole(row[key], f"{item}.{key}")
    if number not in index:
        raise GraphError(f"{item}.{key}", "the id of a node", f"{number} (unknown node)")
    return number
