# SPDX-License-Identifier: Apache-2.0
"""Looking at cost graphs of small modules."""

from __future__ import annotations

from typing import Any

from stagewright.graph import CostGraph


def tensors(graph: CostGraph) -> dict[str, list[tuple[int, list[str]]]]:
    """Return (bytes, consumers) of the tensors of each node, by names; those that are sent only."""
    found: dict[str, list[tuple[int, list[str]]]] = {name: [] for name in graph.node_names}
    rows = graph.tensor_consumers.rows()
    for producer, row, size in zip(
        graph.tensor_producer.tolist(), rows, graph.tensor_bytes.tolist(), strict=True
    ):
        if size >= 0:
            found[graph.node_names[producer]].append((size, [graph.node_names[v] for v in row]))
    return found


def consumers(graph: CostGraph, name: str) -> list[tuple[int, list[str]]]:
    """Return the tensors of a node that somebody reads."""
    return [(size, users) for size, users in tensors(graph)[name] if users]


def params(graph: CostGraph) -> list[tuple[int, list[str]]]:
    """Return (bytes, users) of every parameter."""
    return [
        (size, [graph.node_names[v] for v in row])
        for size, row in zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    ]


def node(graph: CostGraph, name: str) -> dict[str, Any]:
    """Return what a node costs."""
    v = graph.index_of[name]
    return {
        "op": graph.node_ops[v],
        "flops": int(graph.flops[v]),
        "bytes": int(graph.nbytes[v]),
        "dtype": graph.node_dtypes[v],
        "replicable": bool(graph.replicable[v]),
    }
