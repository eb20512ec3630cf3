# SPDX-License-Identifier: Apache-2.0
"""What the page draws of a graph and its plan: costs, tensors, an outline, memory while stages run.

The result is plain data in rows and columns rather than objects, since a page holds all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, tensor_costs
from .outline import outline
from .view import LinkView, clean

__all__ = ["CutTensor", "Drawing", "activations", "drawing"]

_MOST_STEPS = 400
"""Points of a curve over a stage's run; more than the pixels it has would only be bytes."""


@dataclass(frozen=True)
class CutTensor:
    """A tensor that leaves its stage: time in picoseconds, paid once by each stage that sends or receives it.

    Where links differ `time` is the longest of these, and `paid` their sum in any case.  `nbytes` is None where the graph states a time instead.
    """

    producer: str
    source: int
    targets: tuple[int, ...]
    nbytes: int | None
    time: int
    paid: int


@dataclass(frozen=True)
class Drawing:
    """What the page shows of a graph.

    Attributes
    ----------
    name
        Name of the graph.
    cuts
        The tensors between stages, the most expensive first.
    data
        For the page's script: see :func:`drawing`.
    """

    name: str
    cuts: tuple[CutTensor, ...]
    data: dict[str, Any]


def drawing(
    graph: CostGraph,
    machine: Machine,
    plan: Plan,
    ends: Sequence[tuple[LinkView, LinkView]] = (),
    backward: Sequence[bool] = (),
    devices: Sequence[int] = (),
) -> Drawing:
    """Return what to draw; `plan` must be valid for `graph`.

    Where devices differ, `ends` are the links that each stage receives and sends through, and the graph's work is that
    of each node on its device; `backward` says of each node whether it belongs to the backward pass, and
    `devices` which stages share a device, between which tensors are free.

    The `data` are columns: of the nodes ``name``, ``label``, ``part`` (index of the outline's part),
    ``op`` and ``source`` (index of a text), ``work`` (ps), ``flops``, ``bytes``, ``stage``, and the nodes ``copied``, which
    each stage that needs them runs for itself; of the parts ``label`` and ``parent``; of the parameters ``bytes`` and ``users``; of the tensors ``producer``,
    ``consumers``, ``bytes`` (-1 where a time was given) and ``time`` (ps); and for each stage the curve
    ``memory``: [work done before, bytes alive] and the node at the peak.
    """
    block = plan.assignment(graph.num_nodes)
    names = [clean(name) for name in graph.node_names]
    tree = outline(names, plan.stages, backward)
    costs = [] if ends else tensor_costs(graph, machine)
    rows = graph.tensor_consumers.rows()
    producers, nbytes = graph.tensor_producer.tolist(), graph.tensor_bytes.tolist()
    crossing = [
        sorted({block[c] for c in row} - {block[p]}) for p, row in zip(producers, rows, strict=True)
    ]
    paid = [cost * (1 + len(targets)) for cost, targets in zip(costs, crossing, strict=bool(costs))]
    if ends:
        homes = [block[p] for p in producers]
        costs, paid = _by_ends(graph, homes, crossing, ends, devices or range(len(ends)))
    ops, op = _coded([clean(name) for name in graph.node_ops])
    sources, source = _coded(graph.node_sources or [""] * graph.num_nodes)
    data = {
        "nodes": {
            "name": names,
            "label": tree.node_labels,
            "part": tree.node_parents,
            "op": op,
            "source": source,
            "work": graph.work.tolist(),
            "flops": graph.flops.tolist(),
            "bytes": graph.nbytes.tolist(),
            "stage": block,
            "copied": [v for v, copied in enumerate(graph.replicable.tolist()) if copied],
        },
        "ops": ops,
        "sources": sources,
        "parts": {"label": tree.labels, "parent": tree.parents},
        "tensors": {"producer": producers, "consumers": rows, "bytes": nbytes, "time": costs},
        "params": {
            "bytes": graph.param_bytes.tolist(),
            "users": graph.param_users.rows(),
        },
        "memory": [_curve(graph, nodes, alive) for nodes, alive in activations(graph, plan)],
    }
    cuts = []
    for tensor, producer in enumerate(producers):
        home, targets = block[producer], tuple(crossing[tensor])
        free = len(devices) and {devices[target] for target in targets} == {devices[home]}
        if targets and not graph.replicable[producer] and not free:
            size = nbytes[tensor] if nbytes[tensor] >= 0 else None
            cut = CutTensor(names[producer], home, targets, size, costs[tensor], paid[tensor])
            cuts.append(cut)
    cuts.sort(key=lambda cut: (-cut.paid, cut.source, cut.producer))
    return Drawing(clean(graph.name), tuple(cuts), data)


def _by_ends(
    graph: CostGraph,
    homes: Sequence[int],
    crossing: Sequence[Sequence[int]],
    ends: Sequence[tuple[LinkView, LinkView]],
    devices: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Return the longest time that one end of each tensor pays, and what all ends pay together."""
    longest, together = [], []
    sizes = zip(graph.tensor_bytes.tolist(), graph.tensor_time.tolist(), strict=True)
    for home, targets, (nbytes, time) in zip(homes, crossing, sizes, strict=True):
        # A device receives a tensor once, for the first of its stages that needs it.
        first = {devices[target]: ends[target][0] for target in reversed(targets)}
        first.pop(devices[home], None)
        if targets and not first:
            longest.append(0)
            together.append(0)
            continue
        times = [link.price(nbytes, time) for link in (ends[home][1], *first.values())]
        longest.append(max(times))
        together.append(sum(times))
    return longest, together


def activations(graph: CostGraph, plan: Plan) -> list[tuple[Sequence[int], list[int]]]:
    """Return the nodes of each stage, and the activation bytes alive while each of them runs.

    The rules are those of :func:`~stagewright.plans.stage_cost`, so the largest value is the peak.
    """
    stage_of = [0] * graph.num_nodes
    position = [0] * graph.num_nodes
    for number, nodes in enumerate(plan.stages):
        for i, node in enumerate(nodes):
            stage_of[node], position[node] = number, i
    changes = [[0] * (len(nodes) + 1) for nodes in plan.stages]
    rows = graph.tensor_consumers.rows()
    sizes = zip(graph.tensor_producer.tolist(), graph.tensor_bytes.tolist(), rows, strict=True)
    for producer, nbytes, consumers in sizes:
        home = stage_of[producer]
        last = {home: position[producer]}
        for consumer in consumers:
            stage = stage_of[consumer]
            last[stage] = max(last.get(stage, 0), position[consumer])
        if len(last) > 1:  # what leaves is held until the end
            last[home] = len(plan.stages[home]) - 1
        for stage, end in last.items():
            changes[stage][position[producer] if stage == home else 0] += max(0, nbytes)
            changes[stage][end + 1] -= max(0, nbytes)
    return [
        (nodes, list(accumulate(change))[:-1])
        for nodes, change in zip(plan.stages, changes, strict=True)
    ]


def _curve(graph: CostGraph, nodes: Sequence[int], alive: list[int]) -> list[Any]:
    """Return [start of each step in ps of work, bytes alive, node at the peak], at most so many steps."""
    starts = [0, *accumulate(int(graph.work[v]) for v in nodes)]
    step = -(-len(nodes) // _MOST_STEPS)
    kept = range(0, len(nodes), step)
    peak = max(range(len(nodes)), key=alive.__getitem__)
    return [
        [*(starts[i] for i in kept), starts[-1]],
        [max(alive[i : i + step]) for i in kept],
        nodes[peak],
    ]


def _coded(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the different texts, and the index of each among them."""
    known: dict[str, int] = {}
    codes = [known.setdefault(text, len(known)) for text in texts]
    return list(known), codes
