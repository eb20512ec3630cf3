# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: redo the proofs of lower bounds (docs/certificate.md).

Standard library only, and nothing of this package: check.py runs this file, which lies beside it,
by its path.  Everything given here has been read and checked for its shape there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

tools: Any = globals().get("tools")  # the names of check.py


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
    limit: int | None

    def transfer(self, nbytes: int) -> int:
        """Return the picoseconds that `nbytes` take on a link."""


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


def load_witness(witness: Any, graph: Graph, item: str) -> None:
    """Fault unless the witness is an anchor node and, per tensor, nodes with amounts, or prices."""
    if "hours" in tools.typed(witness, dict, item):
        tools.beside("check_shares.py")["load_prices"](witness, item)
        return
    tools.keys(witness, item, ("anchor", "tensors"))
    tools.index(witness["anchor"], len(graph.names), f"{item}.anchor")
    met: set[int] = set()
    for i, entry in enumerate(tools.typed(witness["tensors"], list, f"{item}.tensors")):
        place = f"{item}.tensors[{i}]"
        tensor = tools.index(tools.two(entry, place)[0], len(graph.tensors), place)
        if tensor in met:
            raise tools.FaultError(f"{place}: expected each tensor once, got {tensor} again")
        met.add(tensor)
        for pair in tools.typed(entry[1], list, place):
            tools.index(tools.two(pair, place)[0], len(graph.names), place)
            if abs(tools.typed(pair[1], int, place)) >= 10**40:
                raise tools.FaultError(
                    f"{place}: expected at most 40 digits, got {tools.show(pair[1])}"
                )


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


# --- reductions: classes that some best plan keeps together ---------------------------------------


def reduced(graph: Graph, classes: Classes, costs: list[int]) -> Classes:
    """Join classes without losing the best plan; only for a machine without limits of memory.

    A class joins its only reader when its work and what it reads cost at most what it sends; or its
    only source, when its work and what it sends cost at most what it alone reads.  Proofs are in
    docs/certificate.md ("Reductions").
    """
    joined, work = list(range(len(classes.work))), list(classes.work)
    pinned = set(classes.of[len(graph.names) :])

    def find(c: int) -> int:
        while joined[c] != c:
            joined[c] = joined[joined[c]]
            c = joined[c]
        return c

    while True:
        readers, sources, sent, read, alone = traffic(graph, classes, costs, find)
        grown: set[int] = set()  # what was found out about these is out of date
        for c in range(len(joined)):
            if joined[c] != c or c in pinned or c in grown:
                continue
            if len(readers[c]) == 1 and work[c] + read[c] <= sent[c]:
                target = find(*readers[c])
            elif len(sources[c]) == 1 and work[c] + sent[c] <= alone[c]:
                target = find(*sources[c])
            else:
                continue
            joined[c] = target
            work[target] += work[c]
            grown.add(target)
        if not grown:
            break
    number = {c: i for i, c in enumerate(c for c in range(len(joined)) if joined[c] == c)}
    after = [set[int]() for _ in number]
    for c, followers in enumerate(classes.after):
        i = number[find(c)]
        after[i].update(number[find(d)] for d in followers)
        after[i].discard(i)
    return Classes([number[find(c)] for c in classes.of], [work[c] for c in number], after)


def traffic(
    graph: Graph, classes: Classes, costs: list[int], find: Callable[[int], int]
) -> tuple[list[set[int]], list[set[int]], list[int], list[int], list[int]]:
    """Return for each class its readers and sources, and the cost of what it sends and reads.

    The last list is the cost of the tensors that no other class reads.
    """
    count = len(classes.work)
    readers, sources = [set[int]() for _ in range(count)], [set[int]() for _ in range(count)]
    sent, read, alone = [0] * count, [0] * count, [0] * count
    for cost, (producer, consumers, _, _) in zip(costs, graph.tensors, strict=True):
        home = find(classes.of[producer])
        outside = {find(classes.of[v]) for v in consumers} - {home}
        readers[home] |= outside
        sent[home] += cost if outside else 0
        for c in outside:
            sources[c].add(home)
            read[c] += cost
            alone[c] += cost if len(outside) == 1 else 0
    return readers, sources, sent, read, alone


# --- the exhaustive proof: a dynamic program over ideals, for small graphs ------------------------


@dataclass
class Limits:
    """What a proof may spend before it gives up; without `deadline`, a few seconds' worth."""

    ideals: int = 50_000
    pairs: int = 2_000_000
    deadline: float = float("inf")
    until_look: int = 0

    @classmethod
    def of_seconds(cls, allowed: float | None) -> Limits:
        """Return the limits for an allowed time, the automatic ones for None."""
        if allowed is None:
            return cls()
        return cls(500_000, 10**12, time.monotonic() + allowed)

    def spend(self, pairs: int = 1) -> None:
        """Count some pairs of ideals, or as much work as that many take."""
        self.pairs -= pairs
        self.until_look -= pairs
        if self.until_look < 0:
            self.until_look = 1024
            if self.pairs < 0:
                raise LimitReached("too many pairs of ideals")
            if time.monotonic() > self.deadline:
                raise LimitReached("out of time")


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
        if self.masks[-1] != (1 << len(after)) - 1:  # would make everything look impossible
            raise LimitReached("the classes have no order")


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
        if machine.memory is not None or machine.limit is not None:
            held = [0] * len(graph.names)
            for producer, consumers, size, _ in graph.tensors:
                for v in (producer, *consumers):
                    held[v] += size or 0
            self.node_bytes = [(nbytes, 1 << of[v]) for v, nbytes in enumerate(held)]
            self.node_bytes.sort(reverse=True)
            self.params = [(size, mask_of(of[v] for v in users)) for size, users in graph.params]

    def overflow(self, block: int) -> int | float:
        """Return a lower bound of the overflow: parameters and the largest single working set.

        Infinite where even those exceed the hard limit.
        """
        memory, limit = self.machine.memory, self.machine.limit
        if memory is None and limit is None:
            return 0
        held = sum(size for size, users in self.params if users & block)
        held += next((nbytes for nbytes, where in self.node_bytes if where & block), 0)
        if limit is not None and held > limit:
            return float("inf")
        return 0 if memory is None else self.machine.transfer(max(0, held - memory))


def mask_of(classes: Iterable[int]) -> int:
    """Return the bit mask of a set of classes."""
    mask = 0
    for c in classes:
        mask |= 1 << c
    return mask


class Program:
    """The dynamic program: the ideals that one, two, three ... blocks of bounded cost reach."""

    def __init__(self, ideals: Ideals, blocks: Blocks, limits: Limits) -> None:
        self.masks, self.steps, self.blocks, self.limits = (
            ideals.masks,
            ideals.steps,
            blocks,
            limits,
        )
        self.work = [0] * len(self.masks)
        for i, row in enumerate(self.steps):
            for c, j in row:
                self.work[j] = self.work[i] + blocks.work[c]
        self.sent: dict[int, int] = {}  # cost of the tensors that leave an ideal
        self.scan = 1 + len(blocks.tensors) // 8  # what looking at all tensors counts for

    def some_plan_within(self, stages: int, most: int) -> bool:
        """Return whether at most `stages` blocks, each of cost <= `most`, cover everything."""
        end = len(self.masks) - 1
        reached, layer = {0}, [0]
        for left in range(stages - 1, 0, -1):  # stages that remain after the one being added
            found: list[int] = []
            for i in layer:
                for j in self.ends(i, most, self.work[end] - left * most, reached):
                    reached.add(j)
                    found.append(j)
            layer = found
            if end in reached or not layer:
                break
        # The last stage takes all that is left.
        return end in reached or any(self.cost(i, end, self.received(i)) <= most for i in layer)

    def received(self, i: int) -> list[tuple[int, int]]:
        """Return (readers, cost) of the tensors that a block behind ideal i may receive."""
        self.limits.spend(self.scan)
        mask = self.masks[i]
        return [(r, cost) for p, r, cost in self.blocks.tensors if p & mask and r & ~mask]

    def cost(self, i: int, j: int, received: list[tuple[int, int]]) -> int | float:
        """Return the cost of the block between ideals i and j."""
        target, block = self.masks[j], self.masks[j] ^ self.masks[i]
        if j not in self.sent:
            self.limits.spend(self.scan)
            tensors = self.blocks.tensors
            self.sent[j] = sum(cost for p, r, cost in tensors if p & target and r & ~target)
        io = sum(cost for r, cost in received if r & block)
        io += self.sent[j] - sum(cost for r, cost in received if r & ~target)
        return self.work[j] - self.work[i] + io + self.blocks.overflow(block)

    def ends(self, i: int, most: int, least_work: int, known: set[int]) -> Iterator[int]:
        """Yield the ideals not `known`, of work >= `least_work`, that one block reaches from i."""
        received = self.received(i)
        met, todo = {i}, [i]
        while todo:
            for _, j in self.steps[todo.pop()]:
                if j in met:
                    continue
                met.add(j)
                self.limits.spend()
                block = self.masks[j] ^ self.masks[i]
                # Work and received tensors only grow with the block, so stop where they exceed.
                held = self.work[j] - self.work[i] + sum(x for r, x in received if r & block)
                if held > most:
                    continue
                todo.append(j)
                wanted = j not in known and self.work[j] >= least_work
                if wanted and self.cost(i, j, received) <= most:
                    yield j


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
        self.limits = Limits.of_seconds(allowed)
        free = machine.memory is None and machine.limit is None
        if free and len(classes.work) <= self.limits.ideals:
            classes = reduced(graph, classes, costs)
        self.machine, self.after = machine, classes.after
        self.blocks = Blocks(graph, machine, classes, costs)

    @cached_property
    def ideals(self) -> Ideals:
        """The ideals, listed once."""
        return Ideals(self.after, self.limits)

    def answer(self, value: int) -> tuple[bool | None, str]:
        """Return whether no plan is below `value`, None when that stays open, and why."""
        try:
            program = Program(self.ideals, self.blocks, self.limits)
            below = program.some_plan_within(self.machine.stages, value - 1)
        except LimitReached as limit:
            self.limits.ideals = self.limits.pairs = 0  # what is left would not do either
            return None, f"the search was not redone ({limit}); --exhaustive SECONDS allows more"
        if not below:
            return True, f"the search over {len(self.ideals.masks)} ideals was redone"
        if self.machine.memory is None and self.machine.limit is None:
            return False, "a plan below it exists"
        return (
            None,
            "the search was redone with a lower bound of what stages hold, which is too low",
        )


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
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    classes = Classes.of_graph(graph)
    simple = simple_bound(classes, machine.stages)
    begun: list[Search] = []  # it is made once, when it is needed

    def formula(bound: dict[str, Any], _: int) -> tuple[bool | None, str] | None:
        if bound["method"] != "simple":
            return None
        return bound["value"] <= simple, f"recomputed, {simple} ps"

    def flow(bound: dict[str, Any]) -> tuple[bool | None, str]:
        problem = flow_problem(graph, classes, costs, bound)
        return not problem, problem or "the flow was checked"

    def search(value: int) -> tuple[bool | None, str]:
        if not begun:
            begun.append(Search(graph, machine, classes, costs, allowed))
        return begun[0].answer(value)

    yield from tools.beside("check_bounds.py")["weigh"](
        bounds, simple, allowed, formula=formula, flow=flow, search=search
    )
