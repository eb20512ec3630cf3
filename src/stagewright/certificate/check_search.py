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
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

Components = Callable[[list[list[int]]], list[int]]
tools: Any = globals().get("tools")  # the names of check.py


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


@dataclass
class Cut:
    """An ideal that a plan may pass through: its classes as bits, and sums over them.

    A lane is what seats have in common that differ in what they hold alone: work and prices.
    """

    classes: int
    states: int
    work: list[int]  # per lane
    unable: list[int]  # per lane: classes that it cannot run
    live: int  # tensors with classes inside and outside, as bits
    floor: list[int]  # per lane: what they cost at their cheaper ends
    params: int  # bytes of parameters that one class alone uses
    saved: int  # bytes of tensors that one class alone saves for its backward nodes


class Search:
    """The question whether there is a plan whose blocks all cost less than a limit."""

    def __init__(
        self, problem: Any, graph: Any, fleet: Any, limit: int, allowed: float | None
    ) -> None:
        self.problem, self.graph, self.fleet, self.limit = problem, graph, fleet, limit
        self.kept: Any = None  # what classes keep between their passes, once that is asked for
        self.sizes = [size for size, _ in graph.params]
        self.steps_left = 4_000_000 if allowed is None else 10**12
        self.deadline = time.monotonic() + (1e9 if allowed is None else allowed)
        self.least = problem.least()
        self.limited = any(problem.held) or any(problem.params)
        n = len(problem.after)
        self.before = [0] * n
        for v, row in enumerate(problem.after):
            for w in row:
                self.before[w] |= 1 << v
        self.pins = [(1 << made, sum(1 << v for v in read)) for made, read, _, _ in problem.tensors]
        self.all_pins = [made | read for made, read in self.pins]
        self.touching: list[list[int]] = [[] for _ in range(n)]
        for t, (made, read, _, _) in enumerate(problem.tensors):
            for v in {made, *read}:
                self.touching[v].append(t)
        seats = range(len(fleet.seats))
        prices = [
            tuple((row_in[s], row_out[s]) for _, _, row_in, row_out in problem.tensors)
            for s in seats
        ]
        lanes: dict[Any, int] = {}
        self.lane = [
            lanes.setdefault((tuple(problem.work[s]), prices[s]), len(lanes)) for s in seats
        ]
        self.seat = [self.lane.index(lane) for lane in range(len(lanes))]  # one of each lane
        self.prices = [prices[s] for s in self.seat]
        self.cheaper = [[min(pair) for pair in row] for row in self.prices]
        # Where both ends of each tensor cost the same, it does not matter which one a block has.
        self.even = all(a == b for row in self.prices for a, b in row)
        self.charge: Any = None
        if fleet.schedule is not None:
            self.charge = tools.beside("check_schedule.py")["charge"]
        self.own_params = self.owned([set(row) for row in problem.params], self.sizes)
        self.own_saved = [0] * n
        if fleet.schedule is not None and self.limited:
            saved, sizes = tools.beside("check_schedule.py")["saved_by"](graph, fleet, problem)
            self.own_saved = self.owned(saved, sizes)
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
        states = tools.beside("check_states.py")["Devices"]
        self.devices = states(fleet, room if max(many) > 1 else [int(r) for r in room])

    @staticmethod
    def owned(rows: list[set[int]], sizes: list[int]) -> list[int]:
        """Return per class the bytes of what it alone has."""
        users: dict[int, int] = {}
        for row in rows:
            for item in row:
                users[item] = users.get(item, 0) + 1
        return [sum(sizes[item] for item in row if users[item] == 1) for row in rows]

    def spend(self, steps: int = 1) -> None:
        """Count steps of about a microsecond; LimitReached when there were too many."""
        before = self.steps_left
        self.steps_left -= steps
        if self.steps_left < 0:
            raise LimitReached("too many steps")
        if before >> 10 != self.steps_left >> 10 and time.monotonic() > self.deadline:
            raise LimitReached("out of time")

    def cuts(self) -> tuple[list[Cut], int]:
        """Return the ideals that a plan may pass through, smaller ones first, and how many there are in all."""
        total, found, count = sum(self.least), [], 0
        work = [self.problem.work[s] for s in self.seat]
        after = [sum(1 << w for w in row) for row in self.problem.after]
        ready = sum(1 << v for v, row in enumerate(self.before) if not row)
        # Per ideal the least work, what crosses it, and an ideal with the class that makes it.
        zeros = [0] * len(work)
        layer: dict[int, tuple[int, int, int, Cut]] = {
            0: (0, 0, ready, Cut(0, 1, zeros, zeros, 0, zeros, 0, 0))
        }
        while layer:
            larger: dict[int, tuple[int, int, int, Cut]] = {}
            for ideal, (done, crossing, ready, cut) in layer.items():
                count += 1
                cut.states = self.devices.able(done, total - done, crossing)
                if cut.states:
                    found.append(cut)
                self.spend(10)
                for v in bits(ready):
                    more = ideal | 1 << v
                    if more in larger:
                        continue
                    self.spend(20)
                    row = [works[v] for works in work]
                    live, floor = self.live(cut, more, v)
                    rest = ready & ~(1 << v)
                    for w in bits(after[v]):
                        if not self.before[w] & ~more:
                            rest |= 1 << w
                    larger[more] = (
                        done + self.least[v],
                        crossing + self.change(ideal, more, v),
                        rest,
                        Cut(
                            more,
                            0,
                            [w + (x or 0) for w, x in zip(cut.work, row, strict=True)],
                            [u + (x is None) for u, x in zip(cut.unable, row, strict=True)],
                            live,
                            floor,
                            cut.params + self.own_params[v],
                            cut.saved + self.own_saved[v],
                        ),
                    )
            layer = larger
        return found, count

    def live(self, cut: Cut, more: int, v: int) -> tuple[int, list[int]]:
        """Return the tensors with classes inside and outside of `more`, and what they cost; v is not in the cut."""
        live, floor = cut.live, list(cut.floor)
        for t in self.touching[v]:
            pins = self.all_pins[t]
            crosses = pins & ~more != 0
            if crosses != (live >> t & 1):
                live ^= 1 << t
                for lane, row in enumerate(self.cheaper):
                    floor[lane] += row[t] if crosses else -row[t]
        return live, floor

    def change(self, ideal: int, more: int, v: int) -> int:
        """Return by how much more crosses `more` than `ideal`, which is without class v."""
        change = 0
        for t in self.touching[v]:
            pins = self.all_pins[t]
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
        whole = (1 << len(self.problem.after)) - 1
        if cuts[-1].classes != whole:
            return False, count
        if total is None:
            return bool(self.reached(cuts) & ends), count
        sums: list[dict[int, int]] = [{} for _ in cuts]  # per state the least sum
        sums[0][0] = 0
        for i, start in enumerate(cuts):
            here = sums[i]
            states = sum(1 << state for state in here) & start.states
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
                        self.offer(sums[j], here, states & mask, shift or -2 - seat, cost, total)
        return any(ends >> state & 1 for state in sums[-1]), count

    def reached(self, cuts: list[Cut]) -> int:
        """Return the states in which devices can be once everything is done, the worse ones included.

        A state that has used at least what another one has is left out: whatever follows, the other one can do
        it as well.
        """
        worse = self.devices.worse
        states, covered = [0] * len(cuts), [0] * len(cuts)
        states[0] = 1
        classes = [cut.classes for cut in cuts]
        for i, start in enumerate(cuts):
            here = states[i] & start.states
            offers = []
            for seat, mask, shift in self.devices.steps:
                if here & mask:
                    offers.append((seat, (here & mask) << shift if shift else 1 << seat + 1))
            wanted = 0
            for _, to in offers:
                wanted |= to
            if not wanted:
                continue
            inside = start.classes
            self.spend((len(cuts) - i) // 8 + 1)
            for j in range(i + 1, len(cuts)):
                if not wanted & ~covered[j] or inside & ~classes[j]:
                    continue
                open_ = ~covered[j]
                self.spend(2)
                costs = self.costs(start, cuts[j], {seat for seat, to in offers if to & open_})
                for seat in costs:
                    for own, to in offers:
                        if own == seat and costs[seat] < self.limit:
                            for state in bits(to & ~covered[j]):
                                covered[j] |= worse[state]
                                states[j] = states[j] & ~worse[state] | 1 << state
        return covered[-1]

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
        limit, overlap = self.limit, self.fleet.overlap
        lanes: dict[int, int] = {}
        for lane in {self.lane[s] for s in seats}:
            work = end.work[lane] - start.work[lane]
            least = work if overlap else work + abs(end.floor[lane] - start.floor[lane])
            # What crosses one of the two ideals alone is cut by the block between them.
            if least < limit and end.unable[lane] == start.unable[lane]:
                lanes[lane] = work
        if not lanes:
            return {}
        # And so is what crosses both, if the block has a part in it.
        block, both = end.classes & ~start.classes, start.live & end.live
        self.spend(2)
        if self.even and not overlap:
            apart: list[int] = []
            also: list[int] = []
            for t in bits(both):
                (also if self.all_pins[t] & block else apart).append(t)
            for lane in list(lanes):
                row = self.cheaper[lane]
                lanes[lane] += start.floor[lane] + end.floor[lane]
                lanes[lane] -= sum([row[t] for t in also]) + 2 * sum([row[t] for t in apart])
                if lanes[lane] >= limit:
                    del lanes[lane]
            moved = dict.fromkeys(lanes, (0, 0))
        else:
            moved = self.moved(block, start.live | end.live, lanes)
            if not overlap:
                lanes = {q: w for q, w in lanes.items() if w + sum(moved[q]) < limit}
        compute = {s: lanes[q] for s in seats if (q := self.lane[s]) in lanes}
        sync = self.hold(start, end, block, compute)
        if overlap:
            return {s: max(c, *moved[self.lane[s]], sync.get(s, 0)) for s, c in compute.items()}
        return {s: c + sum(moved[self.lane[s]]) for s, c in compute.items()}

    def moved(self, block: int, live: int, lanes: Any) -> dict[int, tuple[int, int]]:
        """Return what a block receives and sends in each lane, of the tensors that cross one of its ends."""
        received, sent = [], []
        for t in bits(live):
            made, read = self.pins[t]
            if block & made:
                if read & ~block:
                    sent.append(t)
            elif read & block:
                received.append(t)
        found = {}
        for lane in lanes:
            row = self.prices[lane]
            found[lane] = sum([row[t][0] for t in received]), sum([row[t][1] for t in sent])
        return found

    def hold(self, start: Cut, end: Cut, block: int, compute: dict[int, int]) -> dict[int, int]:
        """Add to what a block computes what it streams, and so on, where it fits; return what adds gradients up."""
        schedule = self.fleet.schedule
        if not compute or (schedule is None and not self.limited):
            return {}
        # What its classes have alone is a lower bound of what it holds.
        params, saved = end.params - start.params, end.saved - start.saved
        factor = 1 if schedule is None else schedule.factor
        for s in list(compute):
            limit, kept = self.fleet.kinds[self.fleet.seats[s][0]].limit, 1
            if schedule is not None and not schedule.modes[s][1]:
                kept += schedule.modes[s][2]
            if limit is not None and factor * params + kept * saved > limit:
                del compute[s]
        if not compute:
            return {}
        nodes = list(bits(block))
        self.spend(4 + len(nodes) // 2)
        if schedule is not None:
            sync: dict[int, int] = self.charge(self, nodes, compute)
            return sync
        problem = self.problem
        users = {p for v in nodes for p in problem.params[v]}
        held = sum(self.sizes[p] for p in users) + max(problem.held[v] for v in nodes)
        for s in list(compute):
            kind = self.fleet.kinds[self.fleet.seats[s][0]]
            compute[s] += kind.spilled(held)
            if kind.limit is not None and held > kind.limit:
                del compute[s]
        return {}


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


def redone(
    problem: Any, graph: Any, fleet: Any, limit: int, components: Components, allowed: float | None
) -> tuple[bool | None, str]:
    """Return whether no plan has a bottleneck below `limit`, None if that stays open, and why.

    Where there is time, at first with memory left out: that has all plans too, and may merge to much less.
    """
    parts = tools.beside("check_classes.py")
    small = parts["smaller"](problem, fleet, limit, components)
    limited: bool = parts["binds"](graph, fleet)
    if allowed is not None and limited and fleet.schedule is None:
        count = len(problem.after)
        light = replace(problem, held=[0] * count, params=[set() for _ in range(count)])
        light = parts["smaller"](light, fleet, limit, components)
        if len(light.after) < len(small.after):
            allowed /= 2
            try:
                found, ideals = Search(light, graph, fleet, limit, allowed).found()
            except LimitReached:
                found = True
            if not found:
                return True, f"the search over {ideals} ideals without memory was redone"
    try:
        found, ideals = Search(small, graph, fleet, limit, allowed).found()
    except LimitReached as reason:
        return None, f"the search was not redone ({reason}); --exhaustive SECONDS allows more"
    if not found:
        return True, f"the search over {ideals} ideals was redone"
    if limited:
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
    problem = parts["relevant"](graph, fleet, components)
    simple = parts["simple_bound"](problem, fleet)

    def formula(bound: dict[str, Any], _: int) -> tuple[bool | None, str]:
        right = simple
        if "witness" in bound:
            shares = tools.beside("check_shares.py")["shared_out"]
            right = max(right, shares(problem, graph, fleet, bound["witness"]))
        return bound["value"] <= right, f"recomputed, {right} ps"

    yield from tools.beside("check_bounds.py")["weigh"](
        bounds,
        simple,
        allowed,
        formula=formula,
        flow=lambda _: (False, "flows prove nothing about devices of several kinds"),
        search=lambda value: redone(problem, graph, fleet, value, components, allowed),
    )
