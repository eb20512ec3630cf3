# SPDX-License-Identifier: Apache-2.0
"""The anchor bound: one minimum cut per node, strong where communication dominates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import numpy as np

from .. import _native
from ..effort import Effort
from ..graph import CostGraph
from ..problem import Problem
from .types import Bound

__all__ = ["anchor_bound"]


def anchor_bound(
    problem: Problem,
    graph: CostGraph,
    *,
    ceiling: Sequence[int] | None = None,
    enough: int | None = None,
    seconds: float = 1e9,
    effort: Effort | None = None,
    gauge: _native.Gauge | None = None,
) -> tuple[Bound, bool]:
    """Return max over a of min { work(S) + cut(S) : a in S }, with a maximum flow as witness.

    The block that holds a is such a set S, and its overflow is not negative.  Groups, pins and
    uncuttable pairs are honoured: a stands for its class.

    Parameters
    ----------
    problem
        The compiled problem of `graph`, not reduced, so that the checker can follow the witness.
    ceiling
        Per contracted node the cost of a known set that contains it (its block in the incumbent);
        such nodes cannot beat that and may be skipped.
    enough
        Stop at the first value that reaches this many picoseconds.
    seconds, effort
        When to stop; `effort` wins.
    gauge
        Takes every bound that is shown on the way.

    Returns
    -------
    bound, interrupted
    """
    start = time.perf_counter()
    limit = 2**62
    above = (
        np.full(problem.num_nodes, limit, np.int64)
        if ceiling is None
        else np.array(ceiling, np.int64)
    )
    value, anchor, flow, _, _, interrupted = _native.anchor_bound(
        problem.instance,
        above,
        limit if enough is None else enough,
        **(effort or Effort.within(seconds)).native(),
        gauge=gauge,
    )
    witness = _witness(problem, graph, anchor, flow) if anchor >= 0 else None
    bound = Bound("anchor", value, time.perf_counter() - start, "flow", witness)
    return bound, interrupted


def _witness(
    problem: Problem, graph: CostGraph, anchor: int, flow: Sequence[tuple[int, int, int]]
) -> dict[str, object]:
    """Translate a flow on contracted tensors to the tensors of the graph.

    A contracted tensor stands for all tensors with its producer and consumers; its flow is
    spread over them, each up to its own cost.
    """
    from ..plans import tensor_costs

    amounts: dict[int, list[tuple[int, int]]] = {}
    for tensor, node, amount in flow:
        amounts.setdefault(tensor, []).append((node, amount))
    # A flow near one node touches little of a large graph: only tensors that start where it runs are looked at.
    sizes = np.fromiter(map(len, problem.members), np.int64, problem.num_nodes)
    class_of = np.empty(graph.num_nodes, np.int64)
    class_of[np.fromiter(chain.from_iterable(problem.members), np.int64, graph.num_nodes)] = (
        np.repeat(np.arange(problem.num_nodes), sizes)
    )
    homes = class_of[graph.tensor_producer]
    near = np.flatnonzero(np.isin(homes, [problem.producer[tensor] for tensor in amounts])).tolist()
    parts: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    rows = {t: graph.tensor_consumers[t] for t in near}
    for t in near:
        home = int(homes[t])
        outside = tuple(sorted({int(class_of[u]) for u in rows[t]} - {home}))
        if outside:
            parts.setdefault((home, outside), []).append(t)
    costs = tensor_costs(graph, problem.machine)
    tensors: list[list[object]] = []
    for tensor, entries in sorted(amounts.items()):
        originals = parts[problem.producer[tensor], problem.consumers[tensor]]
        for t, share in _spread(entries, [(t, costs[t]) for t in originals]):
            pins = {int(class_of[v]): v for v in [*rows[t], int(graph.tensor_producer[t])]}
            tensors.append([t, [[pins[node], amount] for node, amount in share]])
    return {"anchor": problem.members[anchor][0], "tensors": tensors}


def _spread(
    entries: Sequence[tuple[int, int]], room: Sequence[tuple[int, int]]
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Split a flow through one hyperedge over parallel ones with the given capacities."""
    senders = [[node, amount] for node, amount in entries if amount > 0]
    receivers = [[node, -amount] for node, amount in entries if amount < 0]
    result = []
    for tensor, cost in room:
        capacity = cost
        share: dict[int, int] = {}
        while capacity > 0 and senders:
            sender, receiver = senders[-1], receivers[-1]
            moved = min(capacity, sender[1], receiver[1])
            share[sender[0]] = share.get(sender[0], 0) + moved
            share[receiver[0]] = share.get(receiver[0], 0) - moved
            capacity -= moved
            for end, ends in ((sender, senders), (receiver, receivers)):
                end[1] -= moved
                if end[1] == 0:
                    ends.pop()
        if share:
            result.append((tensor, sorted(share.items())))
    return result
