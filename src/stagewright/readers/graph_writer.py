# SPDX-License-Identifier: Apache-2.0
"""Writing graph files; see :mod:`.graph_file` for the reader and docs/formats.md for the format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

from ..errors import GraphError
from ..files import write_whole
from ..graph import FIRST, FREE, LAST, CostGraph

__all__ = ["FORMAT", "write_graph_file"]

FORMAT: Final = "stagewright-graph/1"


def write_graph_file(graph: CostGraph, path: str | Path) -> None:
    """Write a graph file, compressed when `path` ends in ``.gz``.

    The same graph gives the same bytes.  Times are whole picoseconds, so that reading the file
    back gives an equal graph (element types are not part of the format).  The file appears whole
    or not at all: it is written under a temporary name beside `path` and then renamed.

    Raises
    ------
    InputError
        If the file cannot be written, or a name is no valid Unicode.
    """
    path = Path(path)
    try:
        content = graph_text(graph).encode()
    except UnicodeEncodeError as error:
        raise GraphError(f"graph '{graph.name}'", "names of valid Unicode", str(error)) from None
    if path.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    write_whole(path, content)


def graph_text(graph: CostGraph) -> str:
    """Return the JSON text, one node, tensor, parameter or pair per line."""
    parts = [
        f'"format": {_json(FORMAT)}',
        f'"name": {_json(graph.name)}',
        '"time_unit": "ps"',
        _section("nodes", _node_rows(graph)),
        _section("tensors", _tensor_rows(graph)),
    ]
    params = zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    if rows := [{"bytes": size, "users": users} for size, users in params]:
        parts.append(_section("params", rows))
    if pairs := graph.uncuttable.tolist():
        parts.append(_section("uncuttable", pairs))
    return "{" + ",\n".join(parts) + "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _section(key: str, rows: list[Any]) -> str:
    lines = ",\n".join(_json(row) for row in rows)
    return f'"{key}": [\n{lines}\n]' if rows else f'"{key}": []'


def _node_rows(graph: CostGraph) -> list[dict[str, Any]]:
    columns = zip(
        graph.node_names,
        graph.node_ops,
        graph.work.tolist(),
        graph.flops.tolist(),
        graph.nbytes.tolist(),
        graph.group.tolist(),
        graph.stage.tolist(),
        graph.replicable.tolist(),
        strict=True,
    )
    rows: list[dict[str, Any]] = []
    for name, op, work, flops, nbytes, group, stage, replicable in columns:
        optional = {
            "op": op,
            "flops": flops,
            "bytes": nbytes,
            "stage": {FREE: "", FIRST: "first", LAST: "last"}[stage],
            "replicable": replicable,
        }
        row = {"name": name, "work": work} | {key: v for key, v in optional.items() if v}
        if group >= 0:  # a group may have an empty name
            row["group"] = graph.group_names[group]
        rows.append(row)
    return rows


def _tensor_rows(graph: CostGraph) -> list[dict[str, Any]]:
    columns = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    return [
        {"producer": producer, "consumers": consumers}
        | ({"bytes": nbytes} if nbytes >= 0 else {"cost": time})
        for producer, consumers, nbytes, time in columns
    ]
