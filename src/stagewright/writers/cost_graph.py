# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's CostGraphDef as text, the format of the REGAL set; see :mod:`..readers.cost_graph_def`."""

from __future__ import annotations

from pathlib import Path

from ..errors import GraphError
from ..files import write_whole
from ..graph import CostGraph

__all__ = ["cost_graph_text", "write_cost_graph"]

_PS_PER_US = 10**6
_MAX_INT32 = 2**31 - 1


def write_cost_graph(graph: CostGraph, path: str | Path) -> list[str]:
    """Write a CostGraphDef as text and return what it could not hold; see :func:`cost_graph_text`."""
    text, left_out = cost_graph_text(graph)
    write_whole(path, text)
    return left_out


def cost_graph_text(graph: CostGraph) -> tuple[str, list[str]]:
    """Return the text, and in words what the format cannot hold.

    Work is written in whole microseconds, rounded up.  What costs nothing (tensors of replicable nodes, tensors
    priced 0) becomes a control input.  The first user of a parameter holds it.

    Raises
    ------
    GraphError
        If a tensor is priced as a time above 0: the format has sizes only.
    """
    from google.protobuf import text_format

    from ..readers.cost_graph_schema import cost_graph_def

    if graph.num_nodes > _MAX_INT32:
        raise GraphError(f"graph '{graph.name}'", "fewer than 2**31 nodes", str(graph.num_nodes))
    message = cost_graph_def()
    for node, name in enumerate(graph.node_names):
        work = -(-int(graph.work[node]) // _PS_PER_US)
        message.node.add(name=name, id=node, compute_cost=work)
    for size, users in zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True):
        if users:
            message.node[users[0]].persistent_memory_size += size
    columns = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    for tensor, (producer, users, nbytes, time) in enumerate(columns):
        if time == 0 or graph.replicable[producer]:
            for user in users:
                if producer not in message.node[user].control_input:
                    message.node[user].control_input.append(producer)
            continue
        if time > 0:
            raise GraphError(
                f"tensor {tensor} of node '{graph.node_names[producer]}'",
                "a size in bytes, which is all that a CostGraphDef has",
                f"a time of {time} ps",
                "Read the model with sizes (for dnn-partitioning: --option edges=bytes).",
            )
        made = message.node[producer]
        for user in users:
            message.node[user].input_info.add(
                preceding_node=producer, preceding_port=len(made.output_info)
            )
        made.output_info.add(size=nbytes, alias_input_port=-1)
    return text_format.MessageToString(message, as_utf8=True), _left_out(graph)


def _left_out(graph: CostGraph) -> list[str]:
    said = []
    rounded = sum(1 for w in graph.work.tolist() if w % _PS_PER_US)
    if rounded:
        more = sum(-w % _PS_PER_US for w in graph.work.tolist())
        share = 100 * more / max(1, graph.total_work)
        said.append(
            f"work of {rounded} nodes rounded up to whole microseconds ({share:.3g} % more in all)"
        )
    for count, what in (
        (len(graph.group_names), "groups"),
        (int((graph.stage != 0).sum()), "pins to the first or last stage"),
        (len(graph.uncuttable), "uncuttable pairs"),
        (int(graph.flops.any()), "operations and bytes moved"),
        (sum(len(users) > 1 for users in graph.param_users.rows()), "shared parameters"),
    ):
        if count:
            said.append(
                f"{what} left out"
                if what != "shared parameters"
                else f"{what} given to the first user"
            )
    return said
