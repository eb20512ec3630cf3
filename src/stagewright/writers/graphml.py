# SPDX-License-Identifier: Apache-2.0
"""GraphML: one edge per producer and consumer, with the number of the tensor that it carries.

Edges with the same ``tensor`` are one tensor: whoever sums what is sent counts it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from ..files import write_whole
from ..graph import FIRST, FREE, LAST, CostGraph

__all__ = ["graphml_text", "write_graphml"]

_NODE_KEYS: Final = {
    "name": "string",
    "op": "string",
    "work_ps": "long",
    "flops": "long",
    "bytes": "long",
    "param_bytes": "long",
    "group": "string",
    "pinned": "string",
    "replicable": "boolean",
    "stage": "int",
}
_EDGE_KEYS: Final = {"tensor": "int", "tensor_bytes": "long", "cost_ps": "long"}
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_graphml(graph: CostGraph, path: str | Path, stage_of: Sequence[int] | None) -> None:
    """Write a GraphML file; see :func:`graphml_text`."""
    write_whole(path, graphml_text(graph, stage_of))


def graphml_text(graph: CostGraph, stage_of: Sequence[int] | None = None) -> str:
    """Return the GraphML text; the same graph gives the same text.

    A parameter with several users counts for each of them in ``param_bytes``.  Characters that XML cannot hold
    are written as a backslash, x and their hexadecimal number.
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
    ]
    for kind, keys in (("node", _NODE_KEYS), ("edge", _EDGE_KEYS)):
        for key, type_ in keys.items():
            lines.append(
                f'<key id="{kind[0]}_{key}" for="{kind}" attr.name="{key}" attr.type="{type_}"/>'
            )
    lines.append(f'<graph id={quoteattr(_clean(graph.name))} edgedefault="directed">')
    for node, values in enumerate(_nodes(graph, stage_of)):
        lines.append(f'<node id="n{node}">{_data("n", values)}</node>')
    for source, target, values in _edges(graph):
        lines.append(f'<edge source="n{source}" target="n{target}">{_data("e", values)}</edge>')
    return "\n".join([*lines, "</graph>", "</graphml>", ""])


def _nodes(graph: CostGraph, stage_of: Sequence[int] | None) -> Iterator[dict[str, Any]]:
    params = [0] * graph.num_nodes
    for size, users in zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True):
        for user in users:
            params[user] += size
    pins = {FREE: None, FIRST: "first", LAST: "last"}
    for node in range(graph.num_nodes):
        group = int(graph.group[node])
        yield {
            "name": graph.node_names[node],
            "op": graph.node_ops[node] or None,
            "work_ps": int(graph.work[node]),
            "flops": int(graph.flops[node]) or None,
            "bytes": int(graph.nbytes[node]) or None,
            "param_bytes": params[node] or None,
            "group": graph.group_names[group] if group >= 0 else None,
            "pinned": pins[int(graph.stage[node])],
            "replicable": "true" if graph.replicable[node] else None,
            "stage": None if stage_of is None else stage_of[node],
        }


def _edges(graph: CostGraph) -> Iterator[tuple[int, int, dict[str, Any]]]:
    columns = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    for tensor, (producer, users, nbytes, time) in enumerate(columns):
        size = {"tensor_bytes": nbytes} if nbytes >= 0 else {"cost_ps": time}
        for user in users:
            yield producer, user, {"tensor": tensor, **size}


def _data(prefix: str, values: dict[str, Any]) -> str:
    return "".join(
        f'<data key="{prefix}_{key}">{escape(_clean(str(value)))}</data>'
        for key, value in values.items()
        if value is not None
    )


def _clean(text: str) -> str:
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
