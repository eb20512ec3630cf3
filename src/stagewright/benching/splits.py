# SPDX-License-Identifier: Apache-2.0
"""How graphs are commonly split: equal shares along one order, one order cut optimally, partitions of METIS.

All work on the compiled problem, whose nodes are sets of nodes that have to share a stage, and give a block per
node such that every edge goes to the same or a later block.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from ..errors import MissingDependencyError
from ..graph import CostGraph
from ..problem import Problem
from ..search.orders import model_order, priced, slice_along

__all__ = [
    "SPLITS",
    "equal_layers",
    "equal_parameters",
    "equal_work",
    "metis",
    "one_order",
    "repair",
]

Blocks = list[int]


def contiguous(order: Sequence[int], weight: Sequence[int], stages: int) -> Blocks:
    """Cut an order into at most `stages` runs whose largest weight is least."""

    def runs(limit: int) -> Blocks | None:
        blocks, block, held = [0] * len(order), 0, 0
        for v in order:
            if held + weight[v] > limit and held:
                block, held = block + 1, 0
            held += weight[v]
            blocks[v] = block
        return blocks if block < stages else None

    low, high = max(weight), sum(weight)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(middle) is not None else (middle + 1, high)
    return runs(low) or [0] * len(order)


def equal_layers(problem: Problem, graph: CostGraph) -> Blocks:
    """Put as many nodes of the model into each stage, along the model's order."""
    weight = [len(nodes) for nodes in problem.members]
    return contiguous(model_order(problem, graph).tolist(), weight, problem.machine.stages)


def equal_parameters(problem: Problem, graph: CostGraph) -> Blocks | None:
    """Put as many bytes of parameters into each stage, along the model's order; None without parameters."""
    held = [0] * graph.num_nodes
    for nbytes, users in zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True):
        # A shared one counts where it is first used.
        held[min(users)] += nbytes
    if not any(held):
        return None
    weight = [sum(held[v] for v in nodes) for nodes in problem.members]
    return contiguous(model_order(problem, graph).tolist(), weight, problem.machine.stages)


def equal_work(problem: Problem, graph: CostGraph) -> Blocks:
    """Return the best balance of work along the model's order, communication left out."""
    return contiguous(model_order(problem, graph).tolist(), problem.work, problem.machine.stages)


def metis(problem: Problem, graph: CostGraph) -> Blocks | None:
    """Return METIS's partition, balanced in work, of least cut, repaired.

    Tensors are stars from the producer to each consumer.

    Raises
    ------
    MissingDependencyError
        If pymetis is not installed.
    """
    try:
        import pymetis
    except ImportError:
        raise MissingDependencyError("pymetis", "bench", "partitions of METIS") from None
    n, stages = problem.num_nodes, min(problem.machine.stages, problem.num_nodes)
    if stages == 1:
        return [0] * n
    weights: dict[tuple[int, int], int] = {}
    # METIS takes 32-bit integers; an edge of a pin costs nothing to cut but keeps its ends near.
    scale = max(1, (sum(problem.work) + sum(problem.cost)) // 10**6)
    for p, users, cost in zip(problem.producer, problem.consumers, problem.cost, strict=True):
        for u in users:
            for pair in ((p, u), (u, p)):
                weights[pair] = weights.get(pair, 0) + max(1, cost // scale)
    for a, b in problem.edges:
        weights.setdefault((a, b), 1)
        weights.setdefault((b, a), 1)
    rows: list[list[int]] = [[] for _ in range(n)]
    for a, b in sorted(weights):
        rows[a].append(b)
    with _silence():
        _, parts = pymetis.part_graph(
            stages,
            pymetis.CSRAdjacency(
                adj_starts=[0, *accumulate(map(len, rows))],
                adjacent=[b for row in rows for b in row],
            ),
            vweights=[max(1, w // scale) for w in problem.work],
            eweights=[weights[a, b] for a, row in enumerate(rows) for b in row],
            recursive=stages <= 8,
        )
    return repair(problem, model_order(problem, graph).tolist(), parts)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep METIS's remarks (on parts that stay empty) out of the tables."""
    sys.stdout.flush()
    saved, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nothing)


def repair(problem: Problem, order: Sequence[int], parts: Sequence[int]) -> Blocks:
    """Make parts acyclic: number them by the mean place of their work in the order, then move nodes.

    Nodes move either to the latest block of their predecessors (along the order) or to the earliest
    of their successors (against it); the way that leaves the lower bottleneck is taken.
    """
    total: dict[int, int] = {}
    moment: dict[int, int] = {}
    for place, v in enumerate(order):
        weight = 1 + problem.work[v]
        total[parts[v]] = total.get(parts[v], 0) + weight
        moment[parts[v]] = moment.get(parts[v], 0) + place * weight
    ranked = sorted(total, key=lambda part: (moment[part] / total[part], part))
    rank = {part: i for i, part in enumerate(ranked)}
    successors = problem.successors()
    later = [rank[part] for part in parts]
    for u in order:
        for v in successors[u]:
            later[v] = max(later[v], later[u])
    earlier = [rank[part] for part in parts]
    for u in reversed(order):
        earlier[u] = min([earlier[u], *(earlier[v] for v in successors[u])])

    return min(later, earlier, key=lambda blocks: priced(problem, blocks).bottleneck)


def one_order(problem: Problem, graph: CostGraph) -> Blocks:
    """Cut the model's own order optimally, communication included."""
    found = slice_along(problem, model_order(problem, graph))
    blocks: Blocks = found.block.tolist()
    return blocks


SPLITS: dict[str, Callable[[Problem, CostGraph], Blocks | None]] = {
    "equal-layers": equal_layers,
    "equal-parameters": equal_parameters,
    "equal-work": equal_work,
    "metis": metis,
    "one-order": one_order,
}
"""Blocks of a problem and its graph, None where the split does not apply."""
