# SPDX-License-Identifier: Apache-2.0
"""The door of the workloads of msr-fiddle/piper (NeurIPS 2021): JSON, read at tensor-parallel degree 1.

Per node a table ``TMPCs``: tensor-parallel degree -> variants, each with ``timePerSample`` (seconds, forward and
backward together), ``parameterSize`` (bytes) and what training needs (memory per sample, synchronisation).  Per
edge ``communicationCost``: bytes per sample in one direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import GraphError
from ..graph import CostGraph, GraphBuilder
from .json_file import (
    JsonObject,
    check_object,
    list_of,
    name_of,
    rows_of,
    size_of,
    time_of,
    whole,
)
from .notes import tell
from .text_file import Place

__all__ = ["graph_of_piper"]

VANILLA: Final = "vanilla"


def graph_of_piper(document: Any, path: Path, options: Mapping[str, str]) -> CostGraph:
    """Return the graph that the parsed content of the file at `path` describes.

    Parameters
    ----------
    options
        ``variant``: id of the variant of each node, ``vanilla`` by default.

    Raises
    ------
    GraphError
        If something in the file cannot be used; the message names the path in it.
    """
    check_object(document, str(path), ("nodes", "edges"), others=True)
    variant = options.get("variant", VANILLA)
    builder = GraphBuilder(path.name.partition(".")[0])
    index: dict[int, int] = {}
    wider = False
    for item, row in rows_of(document, "nodes", path):
        check_object(row, item, ("id", "TMPCs"), others=True)
        number = whole(row["id"], f"{item}.id")
        if number in index:
            raise GraphError(f"{item}.id", "a unique id", f"{number} a second time")
        label = name_of(row.get("name", ""), f"{item}.name")
        chosen, place = _chosen(row["TMPCs"], f"{item}.TMPCs", variant)
        wider |= len(row["TMPCs"]) > 1
        size = size_of(chosen["parameterSize"], f"{place}.parameterSize")
        with Place(item):
            index[number] = builder.add_node(
                f"{number}:{label}" if label else str(number),
                op=label,
                work=time_of(chosen["timePerSample"], f"{place}.timePerSample", "s"),
            )
            if size:
                builder.add_param(size, [index[number]])
    _add_edges(builder, document, path, index)
    with Place(str(path)):
        graph = builder.build()
    what = "work is the time of a training sample, forward and backward together"
    tell(path, f"{what}{', at tensor-parallel degree 1' if wider else ''}, variant '{variant}'")
    return graph


def _chosen(table: Any, item: str, variant: str) -> tuple[JsonObject, str]:
    """Return the wanted variant at degree 1, and its path."""
    check_object(table, item, (), others=True)
    if "1" not in table:
        raise GraphError(item, "tensor-parallel degree 1", ", ".join(table) or "none")
    found: list[str] = []
    for i, entry in enumerate(list_of(table["1"], f"{item}.1")):
        place = f"{item}.1[{i}]"
        check_object(entry, place, ("id", "timePerSample", "parameterSize"), others=True)
        if entry["id"] == variant:
            return entry, place
        found.append(name_of(entry["id"], f"{place}.id"))
    raise GraphError(f"{item}.1", f"the variant '{variant}'", ", ".join(found) or "none")


def _add_edges(
    builder: GraphBuilder, document: JsonObject, path: Path, index: Mapping[int, int]
) -> None:
    """Add a tensor for each size that a node sends."""
    tensors: dict[tuple[int, int], list[int]] = {}
    for item, row in rows_of(document, "edges", path):
        check_object(row, item, ("sourceId", "destId", "communicationCost"), others=True)
        ends = []
        for key in ("sourceId", "destId"):
            number = whole(row[key], f"{item}.{key}")
            if number not in index:
                raise GraphError(f"{item}.{key}", "the id of a node", f"{number} (unknown node)")
            ends.append(index[number])
        size = size_of(row["communicationCost"], f"{item}.communicationCost")
        users = tensors.setdefault((ends[0], size), [])
        if ends[1] not in users:
            users.append(ends[1])
    with Place(str(path)):
        for (source, size), users in sorted(tensors.items()):
            builder.add_tensor(source, users, nbytes=size)
