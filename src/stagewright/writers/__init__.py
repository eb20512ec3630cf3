# SPDX-License-Identifier: Apache-2.0
"""Writers: a cost graph in a format that other programs read; :func:`write_graph` is the door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..graph import CostGraph

__all__ = ["WRITABLE", "write_graph"]

WRITABLE: Final = "a name that ends in .json or .json.gz (graph file), .graphml, .dot or .gv, or .pbtxt (CostGraphDef)"


def write_graph(
    graph: CostGraph, path: str | Path, *, stage_of: Sequence[int] | None = None
) -> list[str]:
    """Write `graph` to a file in the format that its name asks for; whole or not at all.

    Parameters
    ----------
    stage_of
        Stage number of each node, which GraphML and DOT files show.

    Returns
    -------
    list[str]
        What the format cannot hold and was left out, in words.

    Raises
    ------
    InputError
        If the ending is unknown, or the graph holds what the format cannot express at all.
    """
    name = Path(path).name.lower()
    drawn = name.endswith((".graphml", ".dot", ".gv"))
    if stage_of is not None and not drawn:
        raise InputError(
            f"{path}: plan", "a .graphml, .dot or .gv file, which can show stages", "another kind"
        )
    if name.endswith((".json", ".json.gz")):
        from ..readers.graph_writer import write_graph_file

        write_graph_file(graph, path)
        return []
    if name.endswith(".graphml"):
        from .graphml import write_graphml

        write_graphml(graph, path, stage_of)
        return []
    if drawn:
        from .dot import write_dot

        write_dot(graph, path, stage_of)
        return []
    if name.endswith(".pbtxt"):
        from .cost_graph import write_cost_graph

        return write_cost_graph(graph, path)
    raise InputError(str(path), WRITABLE, "another ending")
