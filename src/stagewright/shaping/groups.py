# SPDX-License-Identifier: Apache-2.0
"""Sets of nodes that share a stage, as groups of a cost graph.

A node has one group.  Sets that overlap (a fused kernel inside a layer inside what the user wants
together) therefore become one group with the names of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..classes import stage_classes
from ..graph import CostGraph

__all__ = ["Joined", "NamedSet", "bind", "count_of", "joined_by"]

NamedSet = tuple[str, Sequence[int]]
"""A name for people, and the indices of the nodes that share a stage."""

_NAMES_SHOWN: Final = 3


def bind(graph: CostGraph, sets: Iterable[NamedSet]) -> CostGraph:
    """Return the graph with every given set inside one group; the groups it has are kept.

    A set of fewer than two nodes says nothing.  The name of a group that several sets form lists
    the first three of them.
    """
    named = [(name, list(nodes)) for name, nodes in sets if len(nodes) > 1]
    if not named:
        return graph
    rows: dict[int, list[int]] = {}
    for v, group in enumerate(graph.group.tolist()):
        if group >= 0:
            rows.setdefault(group, []).append(v)
    taken = set(graph.group_names)
    old = [(graph.group_names[group], nodes) for group, nodes in rows.items()]
    # What comes first lends its name first: what the user asked for, then what was there.
    every = [*((_unused(name, taken), nodes) for name, nodes in named), *old]
    root = _united([nodes for _, nodes in every], graph.num_nodes)
    names: dict[int, list[str]] = {}
    for name, nodes in every:
        names.setdefault(root[nodes[0]], []).append(name)
    inside = {v for _, nodes in every for v in nodes}
    number = {r: i for i, r in enumerate(names)}
    group = [number[root[v]] if v in inside else -1 for v in range(graph.num_nodes)]
    return graph.replace(
        group=np.array(group, np.int32), group_names=tuple(map(_label, names.values()))
    )


def _unused(name: str, taken: set[str]) -> str:
    """Return the name, numbered where another set has it; it is taken from then on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    taken.add(found)
    return found


def _label(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return " & ".join(names[:_NAMES_SHOWN]) + (f" & {more} more" if more > 0 else "")


def _united(sets: Iterable[Sequence[int]], n: int) -> list[int]:
    """Return a root per node, equal for the nodes of a set."""
    parent = list(range(n))

    def find(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    for nodes in sets:
        root = find(nodes[0])
        for v in nodes:
            parent[find(v)] = root
    return [find(v) for v in range(n)]


def count_of(number: int, what: str) -> str:
    """Return ``1 node``, ``2 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Joined:
    """What acyclicity added to groups.

    Attributes
    ----------
    nodes
        Nodes that lie between nodes of a set and are in no set themselves.
    sets
        Sets that share a stage with another set, since each has something between the other's.
    """

    nodes: int
    sets: int

    def __str__(self) -> str:
        parts = []
        if self.nodes:
            parts.append(f"{count_of(self.nodes, 'node')} between them joined")
        if self.sets:
            parts.append(f"{self.sets} of them entangled with others")
        return ", ".join(parts)


def joined_by(graph: CostGraph, sets: Sequence[NamedSet]) -> Joined:
    """Return what had to join `sets` for the quotient of the bound graph to be acyclic."""
    label, _, _ = stage_classes(graph)
    homes: dict[int, int] = {}
    for _, nodes in sets:
        homes[label[nodes[0]]] = homes.get(label[nodes[0]], 0) + 1
    inside = {v for _, nodes in sets for v in nodes}
    between = sum(1 for v, home in enumerate(label) if home in homes and v not in inside)
    return Joined(between, sum(count for count in homes.values() if count > 1))
