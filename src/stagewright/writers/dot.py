# SPDX-License-Identifier: Apache-2.0
"""DOT, for Graphviz: nodes with their work, edges with what they carry, stages as frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import write_whole
from ..graph import FIRST, LAST, CostGraph
from ..units import format_bytes, format_time

__all__ = ["dot_text", "write_dot"]


def write_dot(graph: CostGraph, path: str | Path, stage_of: Sequence[int] | None) -> None:
    """Write a DOT file; see :func:`dot_text`."""
    write_whole(path, dot_text(graph, stage_of))


def dot_text(graph: CostGraph, stage_of: Sequence[int] | None = None) -> str:
    """Return the DOT text; the same graph gives the same text.

    A tensor with several consumers is drawn once per consumer, and labelled with its size on the first.
    """
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        "rankdir=TB;",
        'node [shape=box, style=rounded, fontname="sans-serif", fontsize=10];',
        'edge [fontname="sans-serif", fontsize=8, arrowsize=0.6];',
    ]
    if stage_of is None:
        lines += [_node(graph, v) for v in range(graph.num_nodes)]
    else:
        for stage in sorted(set(stage_of)):
            lines.append(f"subgraph cluster_{stage} {{")
            lines.append(f'label="stage {stage}"; color=gray50;')
            lines += [_node(graph, v) for v in range(graph.num_nodes) if stage_of[v] == stage]
            lines.append("}")
    costs = zip(graph.tensor_bytes.tolist(), graph.tensor_time.tolist(), strict=True)
    for tensor, (nbytes, time) in enumerate(costs):
        producer = int(graph.tensor_producer[tensor])
        text = format_bytes(nbytes) if nbytes >= 0 else format_time(time)
        for i, user in enumerate(graph.tensor_consumers[tensor]):
            label = f" [label={_quoted(text)}]" if i == 0 else ""
            lines.append(f"n{producer} -> n{user}{label};")
    return "\n".join([*lines, "}", ""])


def _node(graph: CostGraph, node: int) -> str:
    parts = [graph.node_names[node], graph.node_ops[node]]
    if graph.work[node]:
        parts.append(format_time(int(graph.work[node])))
    if graph.group[node] >= 0:
        parts.append(f"group {graph.group_names[int(graph.group[node])]}")
    pin = {FIRST: "first stage", LAST: "last stage"}.get(int(graph.stage[node]))
    parts += [pin] if pin else []
    dashed = ', style="rounded,dashed"' if graph.replicable[node] else ""
    return f"n{node} [label={_quoted(*filter(None, parts))}{dashed}];"


def _quoted(*lines: str) -> str:
    """Return a DOT string of the given lines; backslashes and quotes in them stand for themselves."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(" ".join(line.split()) for line in escaped) + '"'
