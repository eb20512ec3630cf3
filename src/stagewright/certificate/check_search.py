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
tools: Any = globals().get("tools")  # the names of check.py


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


class Devices:
    """Which devices are in use: states as bits of an int, and what one more stage leads to.

    Per state stand the most least work of the devices it has used, and of those it has left, and whether some of
    them transfer for free.
    """

    def __init__(self, fleet: Any, room: list[int] | list[Fraction]) -> None:
        free = [seat[1].free and seat[2].free for seat in fleet.seats]
        self.steps: list[
            tuple[int, int, int]
        ] = []  # seat, states from which, shift (0: to a place)
        self.used: list[tuple[int | Fraction, bool]] = []
        self.left: list[tuple[int | Fraction, bool]] = []
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
                gratis = any(c and k.link.free for c, k in zip(counts, fleet.kinds, strict=True))
                side.append((taken, gratis))
            for q, count in enumerate(rest):
                masks[q] |= (count > 0) << state
        if fleet.schedule is not None:
            self.steps = list(tools.beside("check_schedule.py")["steps_of"](fleet))
            return
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
    live: int  # tensors with classes inside and outside, as bits
    floor: list[int]  # per seat: what they cost at their cheaper ends


class Search:
    """The question whether there is a plan whose blocks all cost less than a limit."""

    def __init__(
        self, problem: Any, graph: Any, fleet: Any, limit: int, allowed: float | None
    ) -> None:
        self.problem, self.graph, self.fleet, self.limit = problem, graph, fleet, limit
        self.kept: Any = None  # what classes keep between their passes, once that is asked for
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
        self.cheaper = [
            [min(row_in[s], row_out[s]) for _, _, row_in, row_out in problem.tensors]
            for s in range(len(fleet.seats))
        ]
        self.price_devices()

    def price_devices(self) -> None:
        """Find what each kind can take, and what a tensor that crosses an ideal costs a side."""
        fleet, problem, seats = self.fleet, self.problem, range(len(self.fleet.seats))
        schedule = fleet.schedule
        many = [1] * len(seats) if schedule is None else [mode[0] for mode in schedule.modes]
        ratio, share = [], [Fraction(0)] * len(fleet.kinds)
        for (kind, _, _), row, devices in zip(fleet.seats, problem.work, many, strict=True):
            rows = zip(self.least, row, strict=True)
            ratio.append(max((Fraction(a, w) for a, w in rows if w and a), default=Fraction(0)))
            share[kind] = max(share[kind], ratio[-1] / devices)
        paying = [s for s in seats if not (fleet.seats[s][1].free and fleet.seats[s][2].free)]
        slowest = min((ratio[s] for s in paying), default=Fraction(0))
        charged = paying and not fleet.overlap
        self.crossing = [
            int(slowest * min(min(row_in[s], row_out[s]) for s in paying)) if charged else 0
            for _, _, row_in, row_out in problem.tensors
        ]
        room = [(self.limit - 1) * r for r in share]
        # What stages on several devices hold is not rounded down on each of them.
        self.devices = Devices(fleet, room if max(many) > 1 else [int(r) for r in room])

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
                    live = self.live(ideal)
                    floor = [sum(row[t] for t in bits(live)) for row in self.cheaper]
                    found.append(Cut(ideal, states, work, unable, live, floor))
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

    def live(self, ideal: int) -> int:
        """Return the tensors with classes inside and outside an ideal."""
        return sum(
            1 << t
            for t, (made, read) in enumerate(self.pins)
            if (made | read) & ideal and (made | read) & ~ideal
        )

    def change(self, ideal: int, more: int, v: int) -> int:
        """Return by how much more crosses `more` than `ideal`, which is without class v."""
        change = 0
        for t in self.touching[v]:
            pins = self.pins[t][0] | self.pins[t][1]
            change += self.crossing[t] * (bool(pins & ~more) - bool(pins & ideal))
        return change

    def found(self, total: int | None = None, ends: int = -1) -> tuple[bool, int]:
        """Return whether there is such a plan, and the number of ideals.

        With `total`, only plans whose stages add up to less count; `ends` has the states as bits in which
        the devices of a plan may be.
        """
        cuts, count = self.cuts()
        if not cuts or cuts[0].classes:
            return False, count
        reached: list[dict[int, int]] = [{} for _ in cuts]  # per state the least sum
        reached[0][0] = 0
        whole = (1 << len(self.problem.after)) - 1
        for i, start in enumerate(cuts):
            sums = reached[i]
            states = sum(1 << state for state in sums) & start.states
            steps = [step for step in self.devices.steps if states & step[1]]
            for j in range(i + 1, len(cuts) if steps else 0):
                end = cuts[j]
                if start.classes & ~end.classes:
                    continue
                self.spend()
                costs = self.costs(start, end, {seat for seat, _, _ in steps})
                for seat, mask, shift in steps:
                    cost = costs.get(seat, self.limit)
                    if cost < self.limit:
                        self.offer(reached[j], sums, states & mask, shift or -2 - seat, cost, total)
        last = [sums for cut, sums in zip(cuts, reached, strict=True) if cut.classes == whole]
        return any(ends >> state & 1 for sums in last for state in sums), count

    def offer(
        self,
        there: dict[int, int],
        here: dict[int, int],
        states: int,
        step: int,
        cost: int,
        total: int | None,
    ) -> None:
        """Let `states` reach an ideal by one more stage; a step is a shift, or less -1 a state."""
        for state in bits(states):
            to = state + step if step > 0 else -1 - step
            together = here[state] + cost
            if (total is None or together < total) and together < there.get(to, together + 1):
                there[to] = together

    def costs(self, start: Cut, end: Cut, seats: set[int]) -> dict[int, int]:
        """Return what the block between two ideals costs on the seats that can run it."""
        problem, block = self.problem, end.classes & ~start.classes
        compute = {
            s: end.work[s] - start.work[s]
            for s in seats
            if end.unable[s] == start.unable[s] and end.work[s] - start.work[s] < self.limit
        }
        # What crosses one of the two ideals alone is cut by the block between them.
        if not self.fleet.overlap:
            certain = list(bits(start.live ^ end.live)) if compute else []
            for s in list(compute):
                if (
                    compute[s] + abs(end.floor[s] - start.floor[s]) >= self.limit
                    or compute[s] + sum(self.cheaper[s][t] for t in certain) >= self.limit
                ):
                    del compute[s]
        if not compute:
            return compute
        nodes, sync = list(bits(block)), dict[int, int]()
        if self.fleet.schedule is not None:
            sync = tools.beside("check_schedule.py")["charge"](self, nodes, compute)
        elif self.limited:
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
            return {s: max(c, received[s], sent[s], sync.get(s, 0)) for s, c in compute.items()}
        return {s: c + received[s] + sent[s] for s, c in compute.items()}


def bits(number: int) -> Iterator[int]:
    """Yield the places of the bits that are set."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def judge_objective(
    graph: Any, fleet: Any, objective: Any, components: Components, allowed: float | None
) -> tuple[bool | None, str]:
    """Return whether no plan within the limits is below the bound of an objective, None if open, and why."""
    parts = tools.beside("check_classes.py")
    problem = parts["relevant"](graph, fleet, components)
    lower, total, ends = objective.lower, None, -1
    easy = {
        "period": parts["simple_bound"](problem, fleet),
        "latency": sum(problem.least()),
        "cost": min(kind.cost for kind in fleet.kinds),
    }
    if lower <= easy[objective.minimise]:
        return True, "no more than a formula says"
    if objective.minimise == "period":
        limit, total = lower, objective.latency_limit + 1
    elif objective.minimise == "latency":
        limit = total = lower
        if objective.period_limit is not None:
            limit = min(lower, objective.period_limit + 1)
    else:
        limit = objective.period_limit + 1
        sizes = [range(kind.count + 1) for kind in fleet.kinds]
        prices = [
            sum(n * kind.cost for n, kind in zip(used, fleet.kinds, strict=True))
            for used in product(*sizes)
        ]
        ends = sum(1 << state for state, price in enumerate(prices) if price < lower)
    small = parts["smaller"](problem, fleet, limit, components)
    try:
        found, ideals = Search(small, graph, fleet, limit, allowed).found(total, ends)
    except LimitReached as reason:
        return None, f"the search was not redone ({reason}); --exhaustive SECONDS allows more"
    if not found:
        return True, f"the search over {ideals} ideals was redone"
    if parts["binds"](graph, fleet):
        return None, "redone with a lower bound of what stages hold: too low"
    return False, "a plan below it exists"


def judge(
    graph: Any,
    fleet: Any,
    bounds: list[dict[str, Any]],
    components: Components,
    allowed: float | None,
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    parts = tools.beside("check_classes.py")
    problem, limited = parts["relevant"](graph, fleet, components), parts["binds"](graph, fleet)
    simple = proven = parts["simple_bound"](problem, fleet)
    for bound in sorted(bounds, key=lambda b: (EVIDENCE.index(b["evidence"]), -b["value"])):
        value = bound["value"]
        answer: bool | None = True
        why = "no more than what is proven already"
        if bound["evidence"] == "flow":
            answer, why = False, "flows prove nothing about devices of several kinds"
        elif bound["evidence"] == "recomputed":
            right = simple
            if "witness" in bound:
                shares = tools.beside("check_shares.py")["shared_out"]
                right = max(right, shares(problem, graph, fleet, bound["witness"]))
            answer, why = value <= right, f"recomputed, {right} ps"
        elif value > proven and bound["evidence"] == "claimed" and allowed is None:
            answer, why = None, "a claim without evidence"
        elif value > proven:
            small = parts["smaller"](problem, fleet, value, components)
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
