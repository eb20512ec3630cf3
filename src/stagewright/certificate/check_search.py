# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: redo the proofs of plans for devices of several kinds (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py runs this file, which lies beside it,
by its path.

"No plan is below T" is redone in four steps: classes that every plan keeps together; tensors that cost T or
more if cut, whose ends are together then, too; merges that cost no block anything; and all ideals, each with
the states of the devices that reach it through blocks that cost less than T.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

Components = Callable[[list[list[int]]], list[int]]
EVIDENCE = ("recomputed", "flow", "exhaustive", "claimed")


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


@dataclass
class Problem:
    """Classes along the pipeline; per seat (a kind between two links) work, and prices of tensors."""

    after: list[set[int]]
    work: list[list[int | None]]  # per seat and class, None where it cannot run
    tensors: list[tuple[int, frozenset[int], list[int], list[int]]]  # made, read, received, sent
    params: list[set[int]]
    held: list[int]  # per class: bytes held at least while one of its nodes runs

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
        work: list[list[int | None]] = [[0] * count for _ in self.work]
        for v, c in enumerate(label):
            after[c] |= {label[w] for w in self.after[v]} - {c}
            params[c] |= self.params[v]
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
        return Problem(after, work, tensors, params, held)


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
                0 if graph.replicable[producer] else seat[end].price(size, cost)
                for seat in fleet.seats
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
    work = [[*fleet.kinds[kind].work, 0, 0] for kind, _, _ in fleet.seats]
    params: list[set[int]] = [set() for _ in range(n + 2)]
    for p, (_, users) in enumerate(graph.params):
        for v in users:
            params[v].add(p)
    if "first" not in used:
        pairs.append((0, n))
    if "last" not in used:
        pairs.append((0, n + 1))
    return Problem(after, work, tensors, params, held).united(pairs, components)


def simple_bound(problem: Problem, fleet: Any) -> int:
    """Return the least T at which all devices could take the least work of all, and each class fits.

    A stage of a kind on which no class takes less than 1 / r of its least work holds at most T r of it.
    """
    least = problem.least()
    share = [Fraction(0)] * len(fleet.kinds)
    for (kind, _, _), row in zip(fleet.seats, problem.work, strict=True):
        ratios = [Fraction(a, w) for a, w in zip(least, row, strict=True) if w and a]
        share[kind] = max(share[kind], *ratios, Fraction(0))
    low, high = max(least), sum(least) + 1
    while low < high:
        middle = (low + high) // 2
        taken = sum(k.count * int(middle * r) for k, r in zip(fleet.kinds, share, strict=True))
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


class Devices:
    """Which devices are in use: states as bits of an int, and what one more stage leads to.

    Per state stand the most least work of the devices it has used, and of those it has left, and whether some of
    them transfer for free.
    """

    def __init__(self, fleet: Any, room: list[int]) -> None:
        free = [seat[1].free and seat[2].free for seat in fleet.seats]
        self.steps: list[
            tuple[int, int, int]
        ] = []  # seat, states from which, shift (0: to a place)
        self.used: list[tuple[int, bool]] = []
        self.left: list[tuple[int, bool]] = []
        if fleet.order is not None:
            places = range(len(fleet.order))
            self.steps = [(place, (2 << place) - 1, 0) for place in places]
            row = [(room[fleet.order[place]], free[place]) for place in places]
            for place in range(len(row) + 1):
                for side, part in ((self.used, row[:place]), (self.left, row[place:])):
                    side.append((sum(r for r, _ in part), any(f for _, f in part)))
            return
        sizes = [kind.count + 1 for kind in fleet.kinds]
        masks = [0] * len(sizes)
        for state, used in enumerate(product(*map(range, sizes))):
            rest = [size - 1 - u for size, u in zip(sizes, used, strict=True)]
            for side, counts in ((self.used, used), (self.left, rest)):
                taken = sum(c * r for c, r in zip(counts, room, strict=True))
                side.append((taken, any(c and f for c, f in zip(counts, free, strict=True))))
            for q, count in enumerate(rest):
                masks[q] |= (count > 0) << state
        shift = 1
        for q in range(len(sizes) - 1, -1, -1):
            self.steps.append((q, masks[q], shift))
            shift *= sizes[q]

    def able(self, before: int, behind: int, crossing: int) -> int:
        """Return the states whose devices can do the least work on both sides, and what crosses."""
        states = 0
        for state, (used, left) in enumerate(zip(self.used, self.left, strict=True)):
            if before + (0 if used[1] else crossing) <= used[0] and (
                behind + (0 if left[1] else crossing) <= left[0]
            ):
                states |= 1 << state
        return states


@dataclass
class Cut:
    """An ideal that a plan may pass through: its classes as bits, work and classes that a seat cannot run."""

    classes: int
    states: int
    work: list[int]
    unable: list[int]


class Search:
    """The question whether there is a plan whose blocks all cost less than a limit."""

    def __init__(
        self, problem: Problem, graph: Any, fleet: Any, limit: int, allowed: float | None
    ) -> None:
        self.problem, self.fleet, self.limit = problem, fleet, limit
        self.sizes = [size for size, _ in graph.params]
        self.steps_left = 400_000 if allowed is None else 10**12
        self.deadline = time.monotonic() + (1e9 if allowed is None else allowed)
        self.least = problem.least()
        self.limited = any(problem.held) or any(problem.params)
        n = len(problem.after)
        self.before = [0] * n
        for v, row in enumerate(problem.after):
            for w in row:
                self.before[w] |= 1 << v
        self.pins = [(1 << made, sum(1 << v for v in read)) for made, read, _, _ in problem.tensors]
        self.touching = [
            [t for t, (made, read) in enumerate(self.pins) if (made | read) >> v & 1]
            for v in range(n)
        ]
        self.price_devices()

    def price_devices(self) -> None:
        """Find what each kind can take, and what a tensor that crosses an ideal costs a side."""
        fleet, problem, seats = self.fleet, self.problem, range(len(self.fleet.seats))
        share = [Fraction(0)] * len(fleet.kinds)
        for (kind, _, _), row in zip(fleet.seats, problem.work, strict=True):
            for a, w in zip(self.least, row, strict=True):
                if w and a:
                    share[kind] = max(share[kind], Fraction(a, w))
        paying = [s for s in seats if not (fleet.seats[s][1].free and fleet.seats[s][2].free)]
        slowest = min((share[fleet.seats[s][0]] for s in paying), default=Fraction(0))
        charged = paying and not fleet.overlap
        self.crossing = [
            int(slowest * min(min(row_in[s], row_out[s]) for s in paying)) if charged else 0
            for _, _, row_in, row_out in problem.tensors
        ]
        self.devices = Devices(fleet, [int((self.limit - 1) * r) for r in share])

    def spend(self) -> None:
        """Count a step; LimitReached when it was one too many."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise LimitReached("too many steps")
        if not self.steps_left & 1023 and time.monotonic() > self.deadline:
            raise LimitReached("out of time")

    def cuts(self) -> tuple[list[Cut], int]:
        """Return the ideals that a plan may pass through, smaller ones first, and how many there are in all."""
        n, total = len(self.problem.after), sum(self.least)
        found = []
        # Per ideal the least work, what crosses it, and for each seat work and classes unable.
        zeros = [0] * len(self.problem.work)
        layer = {0: (0, 0, zeros, zeros)}
        count = 0
        while layer:
            larger: dict[int, tuple[int, int, list[int], list[int]]] = {}
            for ideal, (done, crossing, work, unable) in layer.items():
                count += 1
                states = self.devices.able(done, total - done, crossing)
                if states:
                    found.append(Cut(ideal, states, work, unable))
                for v in range(n):
                    if ideal >> v & 1 or self.before[v] & ~ideal:
                        continue
                    self.spend()
                    more = ideal | 1 << v
                    if more not in larger:
                        row = [works[v] for works in self.problem.work]
                        larger[more] = (
                            done + self.least[v],
                            crossing + self.change(ideal, more, v),
                            [w + (x or 0) for w, x in zip(work, row, strict=True)],
                            [u + (x is None) for u, x in zip(unable, row, strict=True)],
                        )
            layer = larger
        return found, count

    def change(self, ideal: int, more: int, v: int) -> int:
        """Return by how much more crosses `more` than `ideal`, which is without class v."""
        change = 0
        for t in self.touching[v]:
            pins = self.pins[t][0] | self.pins[t][1]
            change += self.crossing[t] * (bool(pins & ~more) - bool(pins & ideal))
        return change

    def found(self) -> tuple[bool, int]:
        """Return whether there is such a plan, and the number of ideals."""
        cuts, count = self.cuts()
        reached = [0] * len(cuts)
        if not cuts or cuts[0].classes:
            return False, count
        reached[0] = 1 & cuts[0].states
        whole = (1 << len(self.problem.after)) - 1
        for i, start in enumerate(cuts):
            states = reached[i]
            steps = [step for step in self.devices.steps if states & step[1]]
            for j in range(i + 1, len(cuts) if steps else 0):
                end = cuts[j]
                if start.classes & ~end.classes:
                    continue
                self.spend()
                costs = self.costs(start, end, {seat for seat, _, _ in steps})
                for seat, mask, shift in steps:
                    if costs.get(seat, self.limit) < self.limit:
                        to = (states & mask) << shift if shift else 2 << seat
                        reached[j] |= to & end.states
        ends = [states for cut, states in zip(cuts, reached, strict=True) if cut.classes == whole]
        return any(ends), count

    def costs(self, start: Cut, end: Cut, seats: set[int]) -> dict[int, int]:
        """Return what the block between two ideals costs on the seats that can run it."""
        problem, block = self.problem, end.classes & ~start.classes
        compute = {
            s: end.work[s] - start.work[s]
            for s in seats
            if end.unable[s] == start.unable[s] and end.work[s] - start.work[s] < self.limit
        }
        if not compute:
            return compute
        nodes = [v for v in range(block.bit_length()) if block >> v & 1]
        if self.limited:
            params = {p for v in nodes for p in problem.params[v]}
            held = sum(self.sizes[p] for p in params) + max(problem.held[v] for v in nodes)
            for s in list(compute):
                kind = self.fleet.kinds[self.fleet.seats[s][0]]
                compute[s] += kind.spilled(held)
                if kind.limit is not None and held > kind.limit:
                    del compute[s]
        received, sent = dict.fromkeys(compute, 0), dict.fromkeys(compute, 0)
        for t in {t for v in nodes for t in self.touching[v]}:
            made, read = self.pins[t]
            _, _, prices_in, prices_out = problem.tensors[t]
            if block & made:
                if read & ~block:
                    for s in compute:
                        sent[s] += prices_out[s]
            elif read & block:
                for s in compute:
                    received[s] += prices_in[s]
        if self.fleet.overlap:
            return {s: max(c, received[s], sent[s]) for s, c in compute.items()}
        return {s: c + received[s] + sent[s] for s, c in compute.items()}


def judge(
    graph: Any,
    fleet: Any,
    bounds: list[dict[str, Any]],
    components: Components,
    allowed: float | None,
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    problem = problem_of(graph, fleet, components)
    limited = any(kind.memory is not None or kind.limit is not None for kind in fleet.kinds)
    if not binds(graph, fleet):
        limited = False
        problem.held = [0] * len(problem.held)
        problem.params = [set() for _ in problem.params]
    simple = proven = simple_bound(problem, fleet)
    for bound in sorted(bounds, key=lambda b: (EVIDENCE.index(b["evidence"]), -b["value"])):
        value = bound["value"]
        answer: bool | None = True
        why = "no more than what is proven already"
        if bound["evidence"] == "flow":
            answer, why = False, "flows prove nothing about devices of several kinds"
        elif bound["evidence"] == "recomputed":
            answer, why = value <= simple, f"recomputed, {simple} ps"
        elif value > proven and bound["evidence"] == "claimed" and allowed is None:
            answer, why = None, "a claim without evidence"
        elif value > proven:
            small = merged(linked(problem, fleet, value, components), fleet, components)
            try:
                found, ideals = Search(small, graph, fleet, value, allowed).found()
            except LimitReached as reason:
                answer = None
                why = f"the search was not redone ({reason}); --exhaustive SECONDS allows more"
            else:
                answer, why = True, f"the search over {ideals} ideals was redone"
                if found and limited:
                    answer, why = None, "redone with a lower bound of what stages hold: too low"
                elif found:
                    answer, why = False, "a plan below it exists"
        if answer:
            proven = max(proven, value)
        yield bound, answer, why


def binds(graph: Any, fleet: Any) -> bool:
    """Return whether some device cannot hold everything."""
    everything = sum(size for size, _ in graph.params)
    everything += sum(size or 0 for _, _, size, _ in graph.tensors)
    limits = [m for kind in fleet.kinds for m in (kind.memory, kind.limit) if m is not None]
    return bool(limits) and everything > min(limits)
