# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: redo the proofs of lower bounds (docs/certificate.md).

Standard library only, and nothing of this package: check.py runs this file, which lies beside it,
by its path.  Everything given here has been read and checked for its shape there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

EVIDENCE = ("recomputed", "flow", "exhaustive", "claimed")


class Graph(Protocol):
    """What is looked at of a graph; a tensor is (producer, consumers, bytes or None, time)."""

    names: list[str]
    work: list[int]
    groups: list[str | None]
    pins: list[str | None]
    tensors: list[tuple[int, list[int], int | None, int | None]]
    params: list[tuple[int, list[int]]]
    uncuttable: list[list[int]]


class Machine(Protocol):
    """What is looked at of a machine."""

    stages: int
    memory: int | None

    def transfer(self, nbytes: int) -> int:
        """Return the picoseconds that `nbytes` take on a link."""


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


# --- classes: nodes that share a stage in every valid plan --------------------------------------


def precedence(graph: Graph) -> list[list[int]]:
    """Return arcs u -> v that say: in every valid plan the stage of u is at most that of v.

    With a pinned node come two more vertices, n for the first stage and n + 1 for the last.
    """
    n = len(graph.names)
    after: list[list[int]] = [[] for _ in range(n)]
    for producer, consumers, _, _ in graph.tensors:
        after[producer] += consumers
    home: dict[str, int] = {}
    pairs = [(home.setdefault(g, v), v) for v, g in enumerate(graph.groups) if g is not None]
    for a, b in [*pairs, *graph.uncuttable]:
        after[a].append(b)
        after[b].append(a)
    if any(graph.pins):
        for v, pin in enumerate(graph.pins):
            after[v] += [n, n + 1] if pin == "first" else [n + 1]
        after += [list(range(n)), [v for v, pin in enumerate(graph.pins) if pin == "last"]]
    return after


def components(after: list[list[int]]) -> list[int]:
    """Return the strongly connected component of each vertex, numbered along the arcs (Tarjan)."""
    n = len(after)
    seen, low, component, waiting = [0] * n, [0] * n, [-1] * n, list[int]()
    clock = count = 0
    for root in range(n):
        path = [] if seen[root] else [(root, iter((root,)))]
        while path:
            v, rest = path[-1]
            for w in rest:
                if not seen[w]:
                    clock += 1
                    seen[w] = low[w] = clock
                    waiting.append(w)
                    path.append((w, iter(after[w])))
                    break
                if component[w] < 0:
                    low[v] = min(low[v], low[w])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[v])
                if low[v] == seen[v] and component[v] < 0:
                    while component[v] < 0:
                        component[waiting.pop()] = count
                    count += 1
    return [count - 1 - c for c in component]


@dataclass
class Classes:
    """The classes of a graph, in an order in which every arc goes forward."""

    of: list[int]
    work: list[int]
    after: list[set[int]]

    @classmethod
    def of_graph(cls, graph: Graph) -> Classes:
        """Contract every strongly connected component of the precedence arcs."""
        arcs = precedence(graph)
        of = components(arcs)
        work, after = [0] * (max(of) + 1), [set[int]() for _ in range(max(of) + 1)]
        for v, amount in enumerate(graph.work):
            work[of[v]] += amount
        for v, followers in enumerate(arcs):
            after[of[v]].update(of[w] for w in followers)
        for c, followers_of_class in enumerate(after):
            followers_of_class.discard(c)
        return cls(of, work, after)


# --- bounds -------------------------------------------------------------------------------------


def flow_problem(graph: Graph, classes: Classes, costs: list[int], bound: dict[str, Any]) -> str:
    """Return why the flow does not prove the bound, "" when it does (docs/certificate.md)."""
    if "witness" not in bound:
        return "has no witness"
    of, sent = classes.of, [0] * len(classes.work)
    anchor = of[bound["witness"]["anchor"]]
    for t, amounts in bound["witness"]["tensors"]:
        producer, consumers, _, _ = graph.tensors[t]
        pins = {of[producer], *(of[v] for v in consumers)}
        for node, amount in amounts:
            if of[node] not in pins:
                return f"tensor {t} of the witness does not touch node {node}"
            sent[of[node]] += amount
        if sum(amount for _, amount in amounts):
            return f"tensor {t} of the witness sends another amount than it receives"
        if sum(amount for _, amount in amounts if amount > 0) > costs[t]:
            return f"tensor {t} of the witness sends more than its cost, {costs[t]} ps"
    for c, amount in enumerate(sent):
        if c != anchor and not 0 <= -amount <= classes.work[c]:
            node = classes.of.index(c)
            return f"the class of node {node} receives {-amount} ps of at most {classes.work[c]} ps"
    proven = classes.work[anchor] + sent[anchor]
    return "" if bound["value"] <= proven else f"the witness proves no more than {proven} ps"


# --- the exhaustive proof: a dynamic program over ideals, for small graphs ------------------------


@dataclass
class Limits:
    """What a proof may spend before it gives up; without `deadline`, a few seconds' worth."""

    ideals: int = 20_000
    pairs: int = 2_000_000
    deadline: float = float("inf")

    @classmethod
    def of_seconds(cls, allowed: float | None) -> Limits:
        """Return the limits for an allowed time, the automatic ones for None."""
        if allowed is None:
            return cls()
        return cls(500_000, 10**12, time.monotonic() + allowed)

    def spend_pair(self) -> None:
        """Count one pair of ideals."""
        self.pairs -= 1
        if self.pairs < 0 or (self.pairs % 1024 == 0 and time.monotonic() > self.deadline):
            raise LimitReached("too many pairs of ideals")


class Ideals:
    """All sets of classes closed under predecessors, as bit masks, smaller ones first.

    ``steps[i]`` lists (class, ideal) for every class that may join ideal i.  A class pinned first
    precedes all others and one pinned last follows them, so every chain of ideals obeys the pins.
    """

    def __init__(self, after: list[set[int]], limits: Limits) -> None:
        if len(after) > limits.ideals:
            raise LimitReached(f"at least {len(after)} ideals")
        before = [0] * len(after)
        for c, followers in enumerate(after):
            for d in followers:
                before[d] |= 1 << c
        self.masks, self.steps = [0], list[list[tuple[int, int]]]()
        number = {0: 0}
        ready = [[c for c in range(len(after)) if not before[c]]]
        for i, mask in enumerate(self.masks):  # grows while it is walked
            self.steps.append([])
            for c in ready[i]:
                larger = mask | 1 << c
                if larger not in number:
                    if len(number) > limits.ideals or time.monotonic() > limits.deadline:
                        raise LimitReached(f"more than {len(number) - 1} ideals")
                    number[larger] = len(self.masks)
                    self.masks.append(larger)
                    freed = [d for d in after[c] if not before[d] & ~larger]
                    ready.append([d for d in ready[i] if d != c] + freed)
                self.steps[i].append((c, number[larger]))
            ready[i] = []


class Blocks:
    """Lower bounds of the cost of blocks of classes; exact when the machine has no memory limit."""

    def __init__(self, graph: Graph, machine: Machine, classes: Classes, costs: list[int]) -> None:
        of = classes.of
        self.machine, self.work = machine, classes.work
        merged: dict[tuple[int, int], int] = {}
        for cost, (producer, consumers, _, _) in zip(costs, graph.tensors, strict=True):
            readers = mask_of(of[v] for v in consumers) & ~(1 << of[producer])
            if cost and readers:
                merged[of[producer], readers] = merged.get((of[producer], readers), 0) + cost
        self.tensors = [(1 << p, readers, cost) for (p, readers), cost in merged.items()]
        self.params: list[tuple[int, int]] = []
        self.node_bytes: list[tuple[int, int]] = []
        if machine.memory is not None:
            held = [0] * len(graph.names)
            for producer, consumers, size, _ in graph.tensors:
                for v in (producer, *consumers):
                    held[v] += size or 0
            self.node_bytes = [(nbytes, 1 << of[v]) for v, nbytes in enumerate(held)]
            self.node_bytes.sort(reverse=True)
            self.params = [(size, mask_of(of[v] for v in users)) for size, users in graph.params]

    def overflow(self, block: int) -> int:
        """Return a lower bound of the overflow: parameters and the largest single working set."""
        if self.machine.memory is None:
            return 0
        held = sum(size for size, users in self.params if users & block)
        held += next((nbytes for nbytes, where in self.node_bytes if where & block), 0)
        return self.machine.transfer(max(0, held - self.machine.memory))


def mask_of(classes: Iterable[int]) -> int:
    """Return the bit mask of a set of classes."""
    mask = 0
    for c in classes:
        mask |= 1 << c
    return mask


def some_plan_within(
    ideals: Ideals, blocks: Blocks, stages: int, most: int, limits: Limits
) -> bool:
    """Return whether at most `stages` blocks, each of cost <= `most`, cover everything."""
    masks, steps = ideals.masks, ideals.steps
    work = [0] * len(masks)
    for i, row in enumerate(steps):
        for c, j in row:
            work[j] = work[i] + blocks.work[c]
    sent: list[int | None] = [None] * len(masks)  # cost of the tensors that leave an ideal
    end = len(masks) - 1
    reached, layer = {0}, [0]
    for left in range(stages - 1, -1, -1):  # stages that remain after the one being added
        found: list[int] = []
        for i in layer:
            sources = masks[i]
            received = [(r, cost) for p, r, cost in blocks.tensors if p & sources and r & ~sources]
            met, todo = {i}, [i]
            while todo:
                for _, j in steps[todo.pop()]:
                    if j in met:
                        continue
                    met.add(j)
                    limits.spend_pair()
                    target = masks[j]
                    block = target ^ sources
                    # Work and received tensors only grow with the block, so stop where they exceed.
                    cost = work[j] - work[i] + sum(x for r, x in received if r & block)
                    if cost > most:
                        continue
                    todo.append(j)
                    if j in reached or work[end] - work[j] > left * most:
                        continue
                    if sent[j] is None:
                        sent[j] = sum(x for p, r, x in blocks.tensors if p & target and r & ~target)
                    cost += (sent[j] or 0) - sum(x for r, x in received if r & ~target)
                    if cost <= most and cost + blocks.overflow(block) <= most:
                        reached.add(j)
                        found.append(j)
        layer = found
    return end in reached


class Search:
    """Redoes exhaustive proofs within one budget for all of them."""

    def __init__(
        self,
        graph: Graph,
        machine: Machine,
        classes: Classes,
        costs: list[int],
        allowed: float | None,
    ) -> None:
        self.machine, self.after = machine, classes.after
        self.limits = Limits.of_seconds(allowed)
        self.blocks = Blocks(graph, machine, classes, costs)

    @cached_property
    def ideals(self) -> Ideals:
        """The ideals, listed once."""
        return Ideals(self.after, self.limits)

    def answer(self, value: int) -> tuple[bool | None, str]:
        """Return whether no plan is below `value`, None when that stays open, and why."""
        try:
            below = some_plan_within(
                self.ideals, self.blocks, self.machine.stages, value - 1, self.limits
            )
        except LimitReached as limit:
            self.limits.ideals = self.limits.pairs = 0  # what is left would not do either
            return None, f"the search was not redone ({limit}); --exhaustive SECONDS allows more"
        if not below:
            return True, f"the search over {len(self.ideals.masks)} ideals was redone"
        if self.machine.memory is None:
            return False, "a plan below it exists"
        return None, "the search was redone with a lower bound of the overflow, which is too low"


def simple_bound(classes: Classes, stages: int) -> int:
    """Return the larger of the mean work per stage and the most work of one class."""
    return max(-(-sum(classes.work) // stages), *classes.work)


def judge(
    graph: Graph,
    machine: Machine,
    costs: list[int],
    bounds: list[dict[str, Any]],
    allowed: float | None,
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why.

    Cheap proofs come first, since a bound below a proven one needs no proof of its own.
    """
    classes = Classes.of_graph(graph)
    simple = proven = simple_bound(classes, machine.stages)
    search: Search | None = None
    for bound in sorted(bounds, key=lambda b: (EVIDENCE.index(b["evidence"]), -b["value"])):
        value, evidence = bound["value"], bound["evidence"]
        answer: bool | None = True
        why = "no more than what is proven already"
        if evidence == "flow":
            problem = flow_problem(graph, classes, costs, bound)
            answer, why = not problem, problem or "the flow was checked"
        elif evidence == "recomputed" and bound["method"] == "simple":
            answer, why = value <= simple, f"recomputed, {simple} ps"
        elif value > proven and evidence == "claimed" and allowed is None:
            answer, why = None, "a claim without evidence"
        elif value > proven:
            search = search or Search(graph, machine, classes, costs, allowed)
            answer, why = search.answer(value)
        if answer:
            proven = max(proven, value)
        yield bound, answer, why
