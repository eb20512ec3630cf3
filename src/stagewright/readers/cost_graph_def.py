# SPDX-License-Identifier: Apache-2.0
"""The door of TensorFlow's CostGraphDef as text (``.pbtxt``), the format of the REGAL set.

Per node: an id (unique on its device), ``input_info`` (node and output port it reads), ``output_info`` (bytes per
output), ``control_input`` (nodes that must run before), ``compute_cost`` (microseconds) and sizes of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from ..errors import GraphError
from ..graph import CostGraph, GraphBuilder
from ..units import to_ps
from .cost_graph_schema import cost_graph_def
from .notes import tell
from .text_file import Place, text_of

__all__ = ["read_cost_graph"]


_CONTROL_PORT: Final = -1


def read_cost_graph(path: Path) -> CostGraph:
    """Read a CostGraphDef.

    Work is ``compute_cost``, or the larger of ``compute_time`` and ``memory_time`` where that is 0.  Control
    inputs become tensors that cost nothing.  Persistent memory becomes a parameter of its node.

    Raises
    ------
    GraphError
        If the text is none, or something in it cannot be used; the message names the node.
    """
    message = cost_graph_def()
    try:
        text_format.Parse(text_of(path), message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        text = str(error).split(" : ", 1)[-1] if line is not None else str(error)
        where = f"{path}, line {line} column {column}" if line is not None else str(path)
        raise GraphError(where, "a CostGraphDef as text", f"a fault ({_short(text)})") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise GraphError(str(path), "a CostGraphDef as text", _short(str(error))) from None
    builder = GraphBuilder(path.name.partition(".")[0])
    rows = [(f"{path}: node[{i}]", node) for i, node in enumerate(message.node)]
    index = _ids(rows)
    names = [node.name for _, node in rows]
    unique = len(set(names)) == len(names)
    for item, node in rows:
        with Place(item):
            name = node.name if unique and node.name else f"{node.device}:{node.id}:{node.name}"
            work = to_ps(_work(node, item), "us", item=f"{item}.compute_cost")
            added = builder.add_node(name, work=work)
            if kept := _persistent(node, item):
                builder.add_param(kept, [added])
    unknown = _add_tensors(builder, rows, index)
    with Place(str(path)):
        graph = builder.build()
    if unknown:
        tell(path, f"outputs of unknown size counted as 0 bytes: {unknown}")
    return graph


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else f"{text[:157]}..."


def _ids(rows: list[tuple[str, Any]]) -> dict[tuple[str, int], int]:
    """Return the index of each node by device and id."""
    index: dict[tuple[str, int], int] = {}
    for i, (item, node) in enumerate(rows):
        key = (node.device, node.id)
        if key in index:
            raise GraphError(
                f"{item}.id",
                "an id that is unique on its device",
                f"{node.id} again (first in node[{index[key]}])",
            )
        index[key] = i
    return index


def _work(node: Any, item: str) -> int:
    for key in ("compute_cost", "compute_time", "memory_time"):
        if (value := getattr(node, key)) < 0:
            raise GraphError(f"{item}.{key}", "microseconds >= 0", str(value))
    return int(node.compute_cost or max(node.compute_time, node.memory_time))


def _persistent(node: Any, item: str) -> int:
    parts = (node.persistent_memory_size, node.device_persistent_memory_size)
    for part in parts:
        if part < 0:
            raise GraphError(f"{item}.persistent_memory_size", "bytes >= 0", str(part))
    return int(max(parts))


def _add_tensors(
    builder: GraphBuilder,
    rows: list[tuple[str, Any]],
    index: Mapping[tuple[str, int], int],
) -> int:
    """Add the outputs of every node, then what its control edges say; count those of unknown size."""
    readers: list[list[list[int]]] = [[[] for _ in node.output_info] for _, node in rows]
    after: list[list[int]] = [[] for _ in rows]
    for user, (item, node) in enumerate(rows):
        for place, before, port in _inputs(node, item):
            source = index.get((node.device, before))
            if source is None:
                expected = f"the id of a node{f' on {node.device}' if node.device else ''}"
                raise GraphError(place, expected, f"{before} (unknown node)")
            if port == _CONTROL_PORT:
                row = after[source]
            elif port < len(readers[source]):
                row = readers[source][port]
            else:
                count = len(readers[source])
                raise GraphError(
                    f"{place}.preceding_port",
                    f"a port below {count}, the outputs of node '{rows[source][1].name}'",
                    str(port),
                )
            if user not in row:
                row.append(user)
    unknown = 0
    for i, (item, node) in enumerate(rows):
        with Place(item):
            for output, users in zip(node.output_info, readers[i], strict=True):
                unknown += output.size < 0
                builder.add_tensor(i, users, nbytes=max(0, output.size))
            if after[i]:
                builder.add_tensor(i, after[i], time=0)
    return unknown


def _inputs(node: Any, item: str) -> Iterator[tuple[str, int, int]]:
    """Yield the place, the node and the port of each input; control inputs last."""
    for i, source in enumerate(node.input_info):
        if source.preceding_port < _CONTROL_PORT:
            port = str(source.preceding_port)
            raise GraphError(f"{item}.input_info[{i}].preceding_port", "a port >= 0", port)
        yield f"{item}.input_info[{i}]", source.preceding_node, source.preceding_port
    for i, before in enumerate(node.control_input):
        yield f"{item}.control_input[{i}]", before, _CONTROL_PORT
