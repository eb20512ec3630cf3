# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: classes for devices of several kinds, and merges that cost no block anything.

Standard library only, and nothing of this package: check_devices.py runs this file, which lies beside it,
by its path.  docs/certificate.md proves the merges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Components = Callable[[list[list[int]]], list[int]]
tools: Any = globals().get("tools")  # the names of check.py


@dataclass
class Problem:
    """Classes along the pipeline; per seat (a kind between two links) work, and prices of tensors."""

    after: list[set[int]]
    work: list[list[int | None]]  # per seat and class, None where it cannot run
    tensors: list[tuple[int, frozenset[int], list[int], list[int]]]  # made, read, received, sent
    params: list[set[int]]
    held: list[int]  # per class: bytes held at least while one of its nodes runs
    members: list[set[int]]  # the nodes of each class

    def least(self) -> list[int]:
        """Return the least work of each class on any seat."""
        columns = zip(*self.work, strict=True)
        return [min((w for w in column if w is not None), default=0) for column in columns]

    def united(self, pairs: list[tuple[int, int]], components: Components) -> Problem:
        """Unite pairs of classes and whatever would lie on a cycle then."""
        arcs = [list(row) for row in self.after]
        for a, b in pairs:
            arcs[a].append(b)
            arcs[b].append(a)
        label = components(arcs)
        count = max(label) + 1
        after: list[set[int]] = [set() for _ in range(count)]
        params: list[set[int]] = [set() for _ in range(count)]
        held = [0] * count
        members: list[set[int]] = [set() for _ in range(count)]
        work: list[list[int | None]] = [[0] * count for _ in self.work]
        for v, c in enumerate(label):
            after[c] |= {label[w] for w in self.after[v]} - {c}
            params[c] |= self.params[v]
            members[c] |= self.members[v]
            held[c] = max(held[c], self.held[v])
            for row, own in zip(work, self.work, strict=True):
                so_far, more = row[c], own[v]
                row[c] = None if so_far is None or more is None else so_far + more
        merged: dict[tuple[int, frozenset[int]], tuple[list[int], list[int]]] = {}
        for made, read, received, sent in self.tensors:
            outside = frozenset(label[v] for v in read) - {label[made]}
            if outside:
                zeros = [0] * len(received)
                r, s = merged.get((label[made], outside), (zeros, zeros))
                merged[label[made], outside] = (
                    [a + b for a, b in zip(r, received, strict=True)],
                    [a + b for a, b in zip(s, sent, strict=True)],
                )
        tensors = [(made, read, r, s) for (made, read), (r, s) in merged.items()]
        return Problem(after, work, tensors, params, held, members)


def problem_of(graph: Any, fleet: Any, components: Components) -> Problem:
    """Return the problem of a graph, everything together that the rules keep together."""
    n = len(graph.names)
    after: list[set[int]] = [set() for _ in range(n + 2)]  # n, n + 1: the first and the last stage
    held, tensors = [0] * (n + 2), []
    for producer, consumers, size, cost in graph.tensors:
        for v in {producer, *consumers}:
            held[v] += size or 0
        for consumer in consumers:
            if not fleet.backward[consumer] or (fleet.backward[producer] and fleet.along):
                after[producer].add(consumer)
            elif fleet.backward[producer]:
                after[consumer].add(producer)
        received, sent = (
            [
                0 if graph.replicable[producer] else fleet.shared(s, seat[end].price(size, cost))
                for s, seat in enumerate(fleet.seats)
            ]
            for end in (1, 2)
        )
        tensors.append((producer, frozenset(consumers), received, sent))
    home: dict[str, int] = {}
    pairs = [(home.setdefault(g, v), v) for v, g in enumerate(graph.groups) if g is not None]
    pairs += [(a, b) for a, b in graph.uncuttable]
    for v, pin in enumerate(graph.pins):
        if pin is not None:
            pairs.append((v, n if pin == "first" else n + 1))
    # Where nothing is pinned the two stand for nothing: no work, held by no block.
    used = {pin for pin in graph.pins if pin is not None}
    for v in range(n):
        if "first" in used:
            after[n].add(v)
        if "last" in used:
            after[v].add(n + 1)
    work = [[*fleet.work_at(s), 0, 0] for s in range(len(fleet.seats))]
    params: list[set[int]] = [set() for _ in range(n + 2)]
    for p, (_, users) in enumerate(graph.params):
        for v in users:
            params[v].add(p)
    if "first" not in used:
        pairs.append((0, n))
    if "last" not in used:
        pairs.append((0, n + 1))
    members = [{v} if v < n else set() for v in range(n + 2)]
    problem = Problem(after, work, tensors, params, held, members).united(pairs, components)
    if fleet.schedule is not None:
        problem = tools.beside("check_schedule.py")["turned"](problem)
    return problem


def simple_bound(problem: Problem, fleet: Any) -> int:
    """Return the least T at which all devices could take the least work of all, and each class fits.

    A stage of a kind on which no class takes less than 1 / r of its least work holds at most T r of it; on
    several devices each holds a part of that.
    """
    least = problem.least()
    share = [Fraction(0)] * len(fleet.kinds)
    several = False
    for s, ((kind, _, _), row) in enumerate(zip(fleet.seats, problem.work, strict=True)):
        devices = 1 if fleet.schedule is None else fleet.schedule.modes[s][0]
        several |= devices > 1
        ratios = [Fraction(a, w) for a, w in zip(least, row, strict=True) if w and a]
        share[kind] = max(share[kind], max(ratios, default=Fraction(0)) / devices)
    low, high = max(least), sum(least) + 1
    while low < high:
        middle = (low + high) // 2
        rows = zip(fleet.kinds, share, strict=True)
        taken = sum(
            int(k.count * middle * r) if several else k.count * int(middle * r) for k, r in rows
        )
        if taken >= sum(least):
            high = middle
        else:
            low = middle + 1
    return low


def linked(problem: Problem, fleet: Any, limit: int, components: Components) -> Problem:
    """Unite the ends of tensors that cost some block `limit` or more if they are cut.

    The two blocks pay, each on its seat, except where a device transfers for free; there may be one such
    device for this to hold.
    """
    free = [receive.free and send.free for _, receive, send in fleet.seats]
    if any(receive.free != send.free for _, receive, send in fleet.seats):
        return problem
    kinds = {seat[0] for seat, gratis in zip(fleet.seats, free, strict=True) if gratis}
    devices = sum(fleet.kinds[kind].count for kind in kinds)
    paying = [s for s, gratis in enumerate(free) if not gratis]
    if devices > 1 or not paying:
        return problem
    least, pairs = problem.least(), []
    for made, read, received, sent in problem.tensors:
        price = min(sent[s] for s in paying)
        left = (max(price, least[made]) if fleet.overlap else price + least[made]) >= limit
        for v in read:
            price = min(received[s] for s in paying)
            right = (max(price, least[v]) if fleet.overlap else price + least[v]) >= limit
            if (left and right) if devices else (left or right):
                pairs.append((made, v))
    return problem.united(pairs, components) if pairs else problem


def smaller(problem: Problem, fleet: Any, limit: int, components: Components) -> Problem:
    """Return a problem that has a plan whose blocks cost less than `limit` if the given one has."""
    return merged(linked(problem, fleet, limit, components), fleet, components)


def merged(problem: Problem, fleet: Any, components: Components) -> Problem:
    """Merge classes where moving one next to the other costs no block more (docs/certificate.md)."""
    if fleet.overlap:
        return problem
    while pairs := list(safe_pairs(problem)):
        problem = problem.united(pairs, components)
    return problem


def safe_pairs(problem: Problem) -> Iterator[tuple[int, int]]:
    """Yield pairs (u, x), none with a class of another pair, such that u may always be moved to x.

    x is the only successor of u, or the only predecessor.
    """
    n = len(problem.after)
    before: list[set[int]] = [set() for _ in range(n)]
    for v, row in enumerate(problem.after):
        for w in row:
            before[w].add(v)
    touching: list[list[int]] = [[] for _ in range(n)]
    for t, (made, read, _, _) in enumerate(problem.tensors):
        for v in (made, *read):
            touching[v].append(t)
    taken: set[int] = set()
    for u in range(n):
        if problem.held[u] or problem.params[u]:
            continue
        for row in (problem.after[u], before[u]):
            if len(row) != 1 or u in taken:
                continue
            (x,) = row
            if x not in taken and is_safe(problem, u, x, touching[u]):
                taken |= {u, x}
                yield u, x


def is_safe(problem: Problem, u: int, x: int, tensors: list[int]) -> bool:
    """Return whether moving u into the block of x costs neither block more, on any seat."""
    for s, work in enumerate(problem.work):
        of_u, of_x = work[u], work[x]
        if of_x is not None and of_u is None:
            return False
        saved = paid = turned = 0
        for t in tensors:
            made, read, received, sent = problem.tensors[t]
            pins = {made, *read}
            if pins == {u, x}:
                saved += min(received[s], sent[s])
            elif x not in pins:
                paid += max(received[s], sent[s])
            elif made == u:  # the block of x sends now what it received
                turned += max(0, sent[s] - received[s])
        if of_x is not None and (of_u or 0) + paid + turned > saved:
            return False
        if of_u is not None and paid > saved:
            return False
    return True


def relevant(graph: Any, fleet: Any, components: Components) -> Problem:
    """Return the problem of a graph, memory left out where everything fits everywhere."""
    problem = problem_of(graph, fleet, components)
    if not binds(graph, fleet):
        problem.held = [0] * len(problem.held)
        synced = fleet.schedule is not None and any(r > 1 for r, _, _ in fleet.schedule.modes)
        if not synced:
            problem.params = [set() for _ in problem.params]
    return problem


def binds(graph: Any, fleet: Any) -> bool:
    """Return whether some device cannot hold everything."""
    everything = sum(size for size, _ in graph.params)
    everything += sum(size or 0 for _, _, size, _ in graph.tensors)
    if fleet.schedule is not None:
        everything = tools.beside("check_schedule.py")["most_held"](graph, fleet)
    limits = [m for kind in fleet.kinds for m in (kind.memory, kind.limit) if m is not None]
    return bool(limits) and everything > min(limits)
