# SPDX-License-Identifier: Apache-2.0
"""A model as frameworks for layers see it: what comes first, a row of layers, what comes last.

Frameworks that cut between layers run what stands before the first layer (embeddings, masks) on the
first device and what stands after the last one (the final norm, the head) on the last.  All that they
take is how many layers each device runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..graph import FIRST, FREE, LAST, CostGraph
from ..plans import Plan
from ..shaping.granularity import block_of, module_path
from ..shaping.groups import bind

__all__ = [
    "Stack",
    "counts_plan",
    "free_of_rules",
    "layer_counts",
    "layered",
    "stack_of",
    "stages_used",
]

Path = tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """The layers of a graph in the order in which they run.

    Attributes
    ----------
    names
        Module path of each layer.
    home
        For each node the number of its layer; -1 before the first layer, ``len(names)`` after the last.
        What stands between two layers belongs to the one before it.
    """

    names: tuple[str, ...]
    home: tuple[int, ...]

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the lists that hold the layers, such as ``model.layers``."""
        return tuple(dict.fromkeys(map(_list_of, self.names)))


def stack_of(graph: CostGraph) -> Stack:
    """Find the layers of a graph by the names of its nodes.

    Raises
    ------
    InputError
        If the names tell no layers.
    """
    blocks: list[Path] = [block_of(module_path(name)) for name in graph.node_names]
    # A numbered module alone in its list is no layer where there are others: a head in a container.
    members = Counter(_list_of(".".join(path)) for path in set(blocks) if path)
    if max(members.values(), default=0) > 1:
        blocks = [path if members[_list_of(".".join(path))] > 1 else () for path in blocks]
    order = graph.topological_order.tolist()
    last = {blocks[v]: rank for rank, v in enumerate(order) if blocks[v]}
    if not last:
        raise InputError(
            f"layers of '{graph.name}'",
            "names with numbered layers in them, such as model.layers.0.mlp/linear",
            f"names like '{graph.node_names[0]}'",
            "Export for a consumer that cuts between operators: onnx, triton, json.",
        )
    # A layer's end depends on the end of the one before, so ends are in order in every order.
    number = {path: i for i, path in enumerate(sorted(last, key=last.__getitem__))}
    before, after = _around(graph, [number.get(path, -1) for path in blocks], order)
    home = [
        number[path] if path else before[v] if after[v] else len(number)
        for v, path in enumerate(blocks)
    ]
    return Stack(tuple(".".join(path) for path in number), tuple(home))


def _list_of(name: str) -> str:
    """Return the name of the list that a layer is in, without its number."""
    return name.rstrip("0123456789").rstrip("._-")


def _around(
    graph: CostGraph, own: Sequence[int], order: Sequence[int]
) -> tuple[list[int], list[bool]]:
    """Return the last layer that each node depends on (-1: none), and whether a layer needs it."""
    consumers: list[list[int]] = [[] for _ in range(graph.num_nodes)]
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        consumers[producer] += graph.tensor_consumers[tensor]
    before, after = list(own), [layer >= 0 for layer in own]
    for v in order:
        for consumer in consumers[v]:
            before[consumer] = max(before[consumer], before[v])
    for v in reversed(order):
        after[v] = after[v] or any(after[consumer] for consumer in consumers[v])
    return before, after


def layer_counts(graph: CostGraph, plan: Plan, stack: Stack) -> list[int] | None:
    """Return how many layers each stage of a plan runs; None if some layer is cut."""
    stage_of = plan.assignment(graph.num_nodes)
    where: dict[int, set[int]] = {}
    for v, layer in enumerate(stack.home):
        if 0 <= layer < len(stack.names) and block_of(module_path(graph.node_names[v])):
            where.setdefault(layer, set()).add(stage_of[v])
    if any(len(found) > 1 for found in where.values()):
        return None
    stages = [min(where[layer]) for layer in range(len(stack.names))]
    if stages != sorted(stages):
        return None
    return [stages.count(stage) for stage in range(len(plan.stages))]


def counts_plan(graph: CostGraph, stack: Stack, counts: Sequence[int]) -> Plan:
    """Return what a framework runs that is told the layers per stage.

    Stages that run nothing at all vanish: they neither compute nor, in these frameworks, do more than
    hand on what they receive.
    """
    return Plan.from_assignment(graph, _stage_of_nodes(stack, counts))


def stages_used(stack: Stack, counts: Sequence[int]) -> list[int]:
    """Return the stages that run something, which are those of :func:`counts_plan`."""
    return sorted(set(_stage_of_nodes(stack, counts)))


def _stage_of_nodes(stack: Stack, counts: Sequence[int]) -> list[int]:
    stage_of_layer = [stage for stage, count in enumerate(counts) for _ in range(count)]
    ends = [0, *stage_of_layer, len(counts) - 1]
    return [ends[layer + 1] for layer in stack.home]


def free_of_rules(graph: CostGraph) -> CostGraph:
    """Return the graph without groups, pins and uncuttable pairs: what a framework knows of them."""
    n = graph.num_nodes
    return graph.replace(
        group=np.full(n, -1, np.int32),
        group_names=(),
        stage=np.full(n, FREE, np.int32),
        uncuttable=np.zeros((0, 2), np.int32),
    )


def layered(graph: CostGraph, stack: Stack) -> CostGraph:
    """Return the graph whose plans are just those that counts of layers can say."""
    rows: dict[int, list[int]] = {}
    for v, layer in enumerate(stack.home):
        rows.setdefault(layer, []).append(v)
    pins = {-1: FIRST, len(stack.names): LAST}
    names = {-1: "before the layers", len(stack.names): "after the layers"}
    sets = [(names.get(i) or stack.names[i], rows[i]) for i in sorted(rows)]
    free = free_of_rules(graph)
    stage = np.array([pins.get(layer, FREE) for layer in stack.home], np.int32)
    return bind(free.replace(stage=stage), sets)
