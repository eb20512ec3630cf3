# SPDX-License-Identifier: Apache-2.0
"""The optimum by trying everything, written apart from the package's own methods.

Sets of nodes are bit masks.  Costs follow the definition, not the compiled problem.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from stagewright.graph import FIRST, LAST, CostGraph
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of, stage_cost
from stagewright.problem import Problem

NEVER = 2**62


def best_chain(
    predecessors: Sequence[int],
    k: int,
    cost: Callable[[int], int],
    allowed: Callable[[int, int], bool] = lambda ideal, block: True,
) -> int:
    """Return the least bottleneck of a chain of at most k blocks; NEVER where none is allowed."""
    n = len(predecessors)
    full = (1 << n) - 1
    cost = cache(cost)

    def blocks(ideal: int) -> Iterator[int]:
        """Every non-empty block that may follow the ideal: node by node, in or out for good."""

        def grow(block: int, banned: int) -> Iterator[int]:
            if block:
                yield block
            for v in range(n):
                bit = 1 << v
                if (ideal | block | banned) & bit or predecessors[v] & ~(ideal | block):
                    continue
                yield from grow(block | bit, banned)
                banned |= bit

        return grow(0, 0)

    @cache
    def best(ideal: int, stages: int) -> int:
        if ideal == full:
            return 0
        if stages == 0:
            return NEVER
        least = NEVER
        for block in blocks(ideal):
            if allowed(ideal, block):
                here = cost(block)
                if here < least:
                    least = min(least, max(here, best(ideal | block, stages - 1)))
        return least

    return best(0, k)


def least_peak(graph: CostGraph, nodes: Sequence[int]) -> int:
    """Return the least peak of a stage over all orders of its nodes, in bytes: by sets that have run."""
    inside = sum(1 << v for v in nodes)
    tensors = []  # its producer, its users inside, whether others use it, its size
    before = dict.fromkeys(nodes, 0)
    rows = graph.tensor_consumers.rows()
    sizes = graph.tensor_bytes.tolist()
    for p, users, size in zip(graph.tensor_producer.tolist(), rows, sizes, strict=True):
        mask = sum(1 << u for u in users)
        if (1 << p | mask) & inside:
            tensors.append((1 << p, mask & inside, bool(mask & ~inside), max(0, size)))
        if 1 << p & inside:
            for u in users:
                if u in before:
                    before[u] |= 1 << p

    def held(done: int, running: int) -> int:
        total = 0
        for producer, users, leaves, size in tensors:
            waiting = bool(users & ~done)
            if producer & inside:
                waiting = producer == running or (bool(producer & done) and (waiting or leaves))
            total += size * waiting
        return total

    @cache
    def best(done: int) -> int:
        return min(
            (
                max(held(done, 1 << v), best(done | 1 << v))
                for v in nodes
                if not done >> v & 1 and not before[v] & ~done
            ),
            default=0,
        )

    return best(0)


def least_peak_of_all_orders(graph: CostGraph, nodes: Sequence[int]) -> int:
    """Return the same by pricing every topological order of the stage by the definition."""
    arcs = {
        (p, u)
        for p, users in zip(
            graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True
        )
        for u in users
    }
    return min(
        stage_cost(graph, Machine(1, bandwidth=10**12), order).peak_bytes
        for order in itertools.permutations(nodes)
        if not any((v, u) in arcs for i, u in enumerate(order) for v in order[i + 1 :])
    )


def graph_optimum(
    graph: CostGraph, machine: Machine, *, relaxed: bool, best_orders: bool = False
) -> int:
    """Return the least bottleneck of any plan.

    With `relaxed`, overflow counts parameters plus the largest working set of one node; else the
    peak in the graph's topological order or, with `best_orders`, in the best order of every stage.
    NEVER where no plan keeps every stage, in its best order, within a hard limit of memory.
    """
    n = graph.num_nodes
    rows = graph.tensor_consumers.rows()
    producers = graph.tensor_producer.tolist()
    predecessors = [0] * n
    for p, users in zip(producers, rows, strict=True):
        for u in users:
            predecessors[u] |= 1 << p
    groups: dict[int, int] = {}
    for v, g in enumerate(graph.group.tolist()):
        if g >= 0:
            groups[g] = groups.get(g, 0) | 1 << v
    together = [*groups.values(), *((1 << a) | (1 << b) for a, b in graph.uncuttable.tolist())]
    stage = graph.stage.tolist()
    first = sum(1 << v for v in range(n) if stage[v] == FIRST)
    last = sum(1 << v for v in range(n) if stage[v] == LAST)
    full = (1 << n) - 1

    def allowed(ideal: int, block: int) -> bool:
        if any(block & mask and block & mask != mask for mask in together):
            return False
        if block & first and ideal:
            return False
        return not block & last or ideal | block == full

    def cost(block: int) -> int:
        nodes = [v for v in graph.topological_order.tolist() if block >> v & 1]
        exact = stage_cost(graph, machine, nodes)
        limited = machine.memory_limit is not None
        if limited and not machine.fits(exact.param_bytes + least_peak(graph, nodes)):
            return NEVER
        if machine.memory is None or not (relaxed or best_orders):
            return exact.total
        if best_orders:
            held = exact.param_bytes + least_peak(graph, nodes)
            spill = machine.transfer_time(max(0, held - machine.memory))
            return exact.work + exact.io_in + exact.io_out + spill
        size = graph.tensor_bytes.tolist()
        sets = [0] * n
        for t, (p, users) in enumerate(zip(producers, rows, strict=True)):
            for v in [p, *users]:
                sets[v] += max(0, size[t])
        held = exact.param_bytes + max(sets[v] for v in nodes)
        spill = machine.transfer_time(max(0, held - machine.memory))
        return exact.work + exact.io_in + exact.io_out + spill

    return best_chain(predecessors, machine.stages, cost, allowed)


def assignment_optimum(graph: CostGraph, machine: Machine) -> int:
    """Return the least bottleneck over all assignments of nodes to numbered blocks."""
    least = NEVER
    for block in itertools.product(range(machine.stages), repeat=graph.num_nodes):
        plan = Plan.from_assignment(graph, block)
        if not problems_of(graph, machine, plan):
            costs = [stage_cost(graph, machine, nodes).total for nodes in plan.stages]
            least = min(least, max(costs))
    return least


def problem_cost(problem: Problem, nodes: set[int]) -> int:
    """Return the relaxed cost of a block of contracted nodes."""
    cost = sum(problem.work[v] for v in nodes)
    for p, users, c in zip(problem.producer, problem.consumers, problem.cost, strict=True):
        inside = [v in nodes for v in (p, *users)]
        cost += c if any(inside) and not all(inside) else 0
    if problem.memory_binds:
        params = set().union(*(problem.params_of[v] for v in nodes))
        held = sum(problem.param_bytes[p] for p in params)
        held += max(problem.working_set[v] for v in nodes)
        if problem.machine.memory is not None:
            cost += problem.machine.transfer_time(max(0, held - problem.machine.memory))
        if problem.limit is not None and held > problem.limit.nbytes:
            step = problem.limit
            cost += step.refusal + (held - step.nbytes) * step.per_byte
    return cost


def problem_optimum(problem: Problem) -> int:
    """Return the least relaxed bottleneck of any chain of ideals of a compiled problem."""
    predecessors = [0] * problem.num_nodes
    for v, row in enumerate(problem.successors()):
        for u in row:
            predecessors[u] |= 1 << v

    def cost(block: int) -> int:
        return problem_cost(problem, {v for v in range(problem.num_nodes) if block >> v & 1})

    return best_chain(predecessors, problem.machine.stages, cost)


def order_optimum(problem: Problem, order: Sequence[int]) -> int:
    """Return the least bottleneck of slicing one order, by the definition."""
    n, k = problem.num_nodes, problem.machine.stages
    cost = {
        (a, b): problem_cost(problem, set(order[a:b]))
        for a in range(n)
        for b in range(a + 1, n + 1)
    }
    best = [0] + [NEVER] * n
    for _ in range(k):
        best = [min([best[b], *(max(best[a], cost[a, b]) for a in range(b))]) for b in range(n + 1)]
    return best[n]


def anchor_optimum(problem: Problem) -> int:
    """Return max over a of min { work(S) + cut(S) : a in S } by trying all sets."""
    n = problem.num_nodes
    least = [NEVER] * n
    for mask in range(1, 1 << n):
        nodes = [v for v in range(n) if mask >> v & 1]
        value = sum(problem.work[v] for v in nodes)
        for p, users, c in zip(problem.producer, problem.consumers, problem.cost, strict=True):
            inside = sum(mask >> v & 1 for v in (p, *users))
            value += c if 0 < inside < 1 + len(users) else 0
        for v in nodes:
            least[v] = min(least[v], value)
    return max(least)
