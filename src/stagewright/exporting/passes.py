# SPDX-License-Identifier: Apache-2.0
"""Layers of graphs that hold the backward pass as well."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..graph import CostGraph, GraphBuilder
from .stack import Stack, stack_of

__all__ = ["stack_of_passes"]

_BACKWARD = " (backward)"


def stack_of_passes(graph: CostGraph, backward: Sequence[bool]) -> Stack:
    """Return the layers of the forward pass; a backward node is in the layer of the node whose gradient it computes.

    Raises
    ------
    InputError
        If the names tell no layers, or do not say which node a backward one belongs to.
    """
    forward = [v for v, back in enumerate(backward) if not back]
    number = {v: i for i, v in enumerate(forward)}
    builder = GraphBuilder(graph.name)
    for v in forward:
        builder.add_node(graph.node_names[v])
    rows = graph.tensor_consumers.rows()
    for producer, users in zip(graph.tensor_producer.tolist(), rows, strict=True):
        if producer in number:
            builder.add_tensor(
                number[producer], [number[u] for u in users if u in number], nbytes=0
            )
    stack = stack_of(builder.build())
    home = []
    for v, name in enumerate(graph.node_names):
        partner = v if v in number else graph.index_of.get(name.removesuffix(_BACKWARD))
        if partner not in number:
            raise InputError(
                f"layers of '{graph.name}'",
                f"backward nodes named as forward ones with '{_BACKWARD}' behind",
                f"'{name}'",
                "Export for json or csv, which name every node.",
            )
        home.append(stack.home[number[partner]])
    return Stack(stack.names, tuple(home))
