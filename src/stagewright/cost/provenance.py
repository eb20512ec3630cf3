# SPDX-License-Identifier: Apache-2.0
"""Where the work of a graph comes from, in the form that plan files keep."""

from __future__ import annotations

from typing import Any

from ..graph import SOURCES, CostGraph
from ..units import seconds_from_ps

__all__ = ["provenance"]


def provenance(graph: CostGraph) -> dict[str, Any]:
    """Return the nodes and their work (seconds) by where the work comes from.

    The names of the nodes are listed for all sources but the one that most nodes have, so that the
    source of every node is known and the list stays short.  Empty for a graph without work.
    """
    members: dict[str, list[int]] = {}
    for node, source in enumerate(graph.node_sources):
        if source:
            members.setdefault(source, []).append(node)
    most = max(members, key=lambda s: (len(members[s]), -SOURCES.index(s)), default="")
    found: dict[str, Any] = {}
    for source in sorted(members, key=SOURCES.index):
        nodes = members[source]
        found[source] = {
            "nodes": len(nodes),
            "work": seconds_from_ps(int(graph.work[nodes].sum())),
        }
        if source != most:
            found[source]["names"] = [graph.node_names[v] for v in nodes]
    return found
